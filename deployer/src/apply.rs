//! One object: read it, show it to the cluster, write it. What is done with many of them is `reconcile.rs`' business.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use slipway_core::deploy::Change;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::blame::Doubt;
use crate::cluster::Connection;
use crate::error::Trouble;
use crate::health::{Verdict, health};
use crate::limits::{ESTABLISH_MS_MAX, KIND_MS_MAX, WEBHOOK_MS_MAX};
use crate::order::is_protected;
use crate::owner::{Claim, other_tool};
use crate::payload::is_unchanged;
use crate::place::Wanted;
use crate::prune::delete_call;
use crate::run::Terms;
use crate::shared::Adopted;
use crate::takeover::{MANAGER, Takeover};
use crate::wire::{APPLY, Answer, Call, CallError, JSON_PATCH};
use crate::wishes::{Apply, paused};
use crate::words;

/// What matters of an object as it is in the cluster; the object itself is not kept.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) uid: String,
    pub(crate) version: String,
    pub(crate) claim: Claim,
    pub(crate) other_tool: Option<&'static str>,
    /// Being deleted; the finalizers that hold it.
    pub(crate) deleting: Option<String>,
    /// Why it is not written, whatever is wanted: somebody said so.
    pub(crate) left_alone: Option<String>,
    /// What is sent in the place of what the manifest says: some of it is others'.
    pub(crate) adopted: Option<Adopted>,
    /// Sending the payload would change nothing.
    pub(crate) unchanged: bool,
    /// Fields of other tools to take over first.
    pub(crate) takeover: Option<Takeover>,
    pub(crate) verdict: Verdict,
    /// The object's own deadline for its rollout, in seconds.
    pub(crate) deadline_s: u64,
}

/// An object after it was written.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) change: Change,
    pub(crate) uid: String,
    pub(crate) verdict: Verdict,
    pub(crate) deadline_s: u64,
}

pub(crate) fn text(of: &Value) -> String {
    of.as_str().unwrap_or_default().to_owned()
}

fn deadline_s(object: &Value) -> u64 {
    let spec = &object["spec"];
    spec["progressDeadlineSeconds"].as_u64().or(spec["activeDeadlineSeconds"].as_u64()).unwrap_or(0)
}

/// Why an object is not written although the repository has it.
fn left_alone(wanted: &Wanted, live: &Value) -> Option<String> {
    match wanted.wishes.apply {
        Apply::Never => Some("is left alone, as its manifest says".to_owned()),
        Apply::Once => Some("is there, and its manifest says to write it only once".to_owned()),
        Apply::Always => paused(live)
            .map(|annotation| format!("is left alone, as its annotation {annotation} in the cluster says")),
    }
}

impl Live {
    pub(crate) fn of(wanted: &Wanted, terms: &Terms, object: &Value) -> Self {
        let metadata = &object["metadata"];
        let deleting = metadata["deletionTimestamp"].is_string().then(|| {
            let held = metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
            held.collect::<Vec<_>>().join(", ")
        });
        let adopted = terms.shared.adopt(&wanted.key, &wanted.wishes, &wanted.payload, object);
        let payload = adopted.as_ref().map_or(&wanted.payload, |a| &a.payload);
        Self {
            uid: text(&metadata["uid"]),
            version: text(&metadata["resourceVersion"]),
            claim: terms.owner.claim(&wanted.key, object),
            other_tool: other_tool(object),
            deleting,
            left_alone: left_alone(wanted, object),
            unchanged: is_unchanged(&wanted.key.group, payload, object),
            adopted,
            takeover: terms.shared.managers.takeover(object, &text(&wanted.payload["apiVersion"])),
            verdict: health(&wanted.key.group, &wanted.key.kind, object),
            deadline_s: deadline_s(object),
        }
    }

    /// Whether anything would be sent.
    pub(crate) fn is_due(&self) -> bool {
        !self.unchanged && self.left_alone.is_none()
    }

    fn untouched(self) -> Applied {
        Applied {
            change: Change::Unchanged,
            uid: self.uid,
            verdict: self.verdict,
            deadline_s: self.deadline_s,
        }
    }
}

/// What is sent for an object, as it is in the cluster.
pub(crate) fn to_send<'a>(wanted: &'a Wanted, live: Option<&'a Live>) -> &'a Value {
    live.and_then(|l| l.adopted.as_ref()).map_or(&wanted.payload, |a| &a.payload)
}

/// True where an object whose fixed fields changed may be deleted and made anew.
pub(crate) fn may_recreate(wanted: &Wanted) -> bool {
    wanted.wishes.recreate && !is_protected(&wanted.key.group, &wanted.key.kind)
}

impl Connection {
    /// An error of one call about one object: whose fault it is, and in which words.
    pub(crate) fn trouble(&self, wanted: &Wanted, verb: &str, error: &CallError) -> Trouble {
        if error.is_infra() {
            return Trouble::Cluster(self.infra(error));
        }
        Trouble::Refused(words::refusal(&wanted.key, verb, error))
    }

    /// The object as it is in the cluster; `None` where it, its kind or its namespace is not there.
    pub(crate) async fn read_live(&self, wanted: &Wanted, terms: &Terms) -> Result<Option<Live>, Trouble> {
        match self.call(&Call::read(wanted.path())).await {
            Ok(answer) => {
                let object = answer.object().map_err(|e| Trouble::Cluster(self.infra(&e)))?;
                Ok(Some(Live::of(wanted, terms, &object)))
            }
            Err(e) if e.code() == 404 => Ok(None),
            Err(e) => Err(self.trouble(wanted, "read", &e)),
        }
    }

    /// Sends a payload as a server-side apply.
    pub(crate) async fn send(
        &self,
        wanted: &Wanted,
        payload: &Value,
        force: bool,
        dry_run: bool,
    ) -> Result<Answer, CallError> {
        // Servers before 1.25 do not know `fieldValidation` and pass over it.
        let mut path =
            format!("{}?fieldManager={MANAGER}&force={force}&fieldValidation=Strict", wanted.path());
        if dry_run {
            path.push_str("&dryRun=All");
        }
        let body = serde_json::to_vec(payload)
            .map_err(|e| CallError::Nonsense { why: format!("the object cannot be written as JSON: {e}") })?;
        let doubt = if dry_run { Doubt::Any } else { Doubt::Written };
        let call = Call { method: Method::PATCH, path, body: Bytes::from(body), content_type: APPLY, doubt };
        self.call(&call).await
    }

    /// Writes one object. Waits for an old one that is being deleted, for a kind that this push brings, and for a
    /// webhook that is not up yet, each within its bound. `Err(Stopped)` only before the first write.
    pub(crate) async fn apply(
        &self,
        wanted: &Wanted,
        terms: &Terms,
        mut live: Option<Live>,
        stop: &CancellationToken,
    ) -> Result<(Applied, Vec<String>), Trouble> {
        if live.as_ref().is_some_and(|l| l.deleting.is_some() && l.left_alone.is_none()) {
            self.wait_gone(wanted, terms, stop).await?;
            live = None;
        }
        if let Some(there) = live.take_if(|l| !l.is_due()) {
            return Ok((there.untouched(), Vec::new()));
        }
        if let Some(live) = live.as_mut() {
            self.take_over(wanted, terms, live, stop).await?;
        }
        let payload = to_send(wanted, live.as_ref());
        let answer = match self.send_patiently(wanted, payload, stop).await? {
            Err(error) if words::is_fixed(&error) && may_recreate(wanted) => {
                let there = live.take();
                self.make_anew(wanted, terms, there.as_ref(), stop).await?
            }
            sent => sent.map_err(|e| self.trouble(wanted, "apply", &e))?,
        };
        let object = answer.object().map_err(|e| Trouble::Cluster(self.infra(&e)))?;
        let change = match &live {
            _ if answer.status == StatusCode::CREATED => Change::Created,
            Some(l) if l.version == text(&object["metadata"]["resourceVersion"]) => Change::Unchanged,
            Some(_) => Change::Configured,
            None => Change::Created,
        };
        let applied = Applied {
            change,
            uid: text(&object["metadata"]["uid"]),
            verdict: health(&wanted.key.group, &wanted.key.kind, &object),
            deadline_s: deadline_s(&object),
        };
        Ok((applied, answer.warnings))
    }

    /// Deletes exactly the object that was looked at, waits until it is gone, and writes it as the manifest says.
    async fn make_anew(
        &self,
        wanted: &Wanted,
        terms: &Terms,
        live: Option<&Live>,
        stop: &CancellationToken,
    ) -> Result<Answer, Trouble> {
        let uid = live.map(|l| l.uid.clone()).unwrap_or_default();
        match self.call(&delete_call(&wanted.path(), &uid, None)).await {
            Ok(_) => {}
            Err(e) if e.code() == 404 => {}
            Err(e) => return Err(self.trouble(wanted, "delete", &e)),
        }
        self.wait_gone(wanted, terms, stop).await?;
        let sent = self.send_patiently(wanted, &wanted.payload, stop).await?;
        sent.map_err(|e| self.trouble(wanted, "apply", &e))
    }

    async fn send_patiently(
        &self,
        wanted: &Wanted,
        payload: &Value,
        stop: &CancellationToken,
    ) -> Result<Result<Answer, CallError>, Trouble> {
        let started = Instant::now();
        let mut conflicts = 0;
        loop {
            if stop.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            let error = match self.send(wanted, payload, true, false).await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(error) => error,
            };
            let patience_ms = if error.is_webhook() {
                WEBHOOK_MS_MAX
            } else if wanted.brought && (error.code() == 404 || error.is_schema()) {
                KIND_MS_MAX
            } else if error.code() == 409 && conflicts < 5 {
                conflicts += 1;
                KIND_MS_MAX
            } else {
                0
            };
            if started.elapsed() >= Duration::from_millis(patience_ms) {
                return Ok(Err(error));
            }
            pause(250, stop).await;
        }
    }

    async fn wait_gone(
        &self,
        wanted: &Wanted,
        terms: &Terms,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let started = Instant::now();
        loop {
            let live = self.read_live(wanted, terms).await?;
            let Some(Live { deleting: Some(held), .. }) = live else { return Ok(()) };
            if stop.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            if started.elapsed() >= Duration::from_millis(ESTABLISH_MS_MAX) {
                let by =
                    if held.is_empty() { String::new() } else { format!(" (held by finalizers {held})") };
                return Err(Trouble::Refused(format!(
                    "an old object of this name is still being deleted{by}"
                )));
            }
            pause(500, stop).await;
        }
    }

    /// Moves other tools' fields to us; somebody else's change in between is read again, three times.
    pub(crate) async fn take_over(
        &self,
        wanted: &Wanted,
        terms: &Terms,
        live: &mut Live,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        for attempt in 0..4 {
            let Some(Takeover { patch, .. }) = live.takeover.take() else { return Ok(()) };
            if stop.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            let path = format!("{}?fieldManager={MANAGER}", wanted.path());
            let (body, doubt) = (Bytes::from(patch.to_string()), Doubt::Written);
            let call = Call { method: Method::PATCH, path, body, content_type: JSON_PATCH, doubt };
            let moved = match self.call(&call).await {
                Ok(answer) => {
                    let object = answer.object().map_err(|e| Trouble::Cluster(self.infra(&e)))?;
                    *live = Live { takeover: None, ..Live::of(wanted, terms, &object) };
                    return Ok(());
                }
                Err(moved) => moved,
            };
            // 422: the test of the resourceVersion failed.
            if attempt == 3 || !matches!(moved.code(), 409 | 422) {
                return Err(self.trouble(wanted, "apply", &moved));
            }
            match self.read_live(wanted, terms).await? {
                Some(now) => *live = now,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Sleeps, but not through a stop.
pub(crate) async fn pause(ms: u64, stop: &CancellationToken) {
    tokio::select! {
        () = sleep(Duration::from_millis(ms)) => {}
        () = stop.cancelled() => {}
    }
}
