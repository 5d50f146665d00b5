//! One object: read it, show it to the cluster, write it. What is done with many of them is `reconcile.rs`' business.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use slipway_core::deploy::Change;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::Connection;
use crate::error::Trouble;
use crate::health::{Verdict, health};
use crate::limits::{ESTABLISH_MS_MAX, KIND_MS_MAX, WEBHOOK_MS_MAX};
use crate::owner::{Claim, Owner, other_tool};
use crate::payload::is_unchanged;
use crate::place::Wanted;
use crate::takeover::{MANAGER, takeover};
use crate::wire::{APPLY, Answer, Call, CallError, JSON_PATCH};
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
    /// Sending the payload would change nothing.
    pub(crate) unchanged: bool,
    /// Fields of kubectl's to take over first.
    pub(crate) takeover: Option<Value>,
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

impl Live {
    fn of(wanted: &Wanted, owner: &Owner, object: &Value) -> Self {
        let metadata = &object["metadata"];
        let deleting = metadata["deletionTimestamp"].is_string().then(|| {
            let held = metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
            held.collect::<Vec<_>>().join(", ")
        });
        Self {
            uid: text(&metadata["uid"]),
            version: text(&metadata["resourceVersion"]),
            claim: owner.claim(&wanted.key, object),
            other_tool: other_tool(object),
            deleting,
            unchanged: is_unchanged(&wanted.payload, object),
            takeover: takeover(object, &text(&wanted.payload["apiVersion"])),
            verdict: health(&wanted.key.group, &wanted.key.kind, object),
            deadline_s: deadline_s(object),
        }
    }
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
    pub(crate) async fn read_live(&self, wanted: &Wanted, owner: &Owner) -> Result<Option<Live>, Trouble> {
        match self.call(&Call::get(wanted.path())).await {
            Ok(answer) => {
                let object = answer.object().map_err(|e| Trouble::Cluster(self.infra(&e)))?;
                Ok(Some(Live::of(wanted, owner, &object)))
            }
            Err(e) if e.code() == 404 => Ok(None),
            Err(e) => Err(self.trouble(wanted, "read", &e)),
        }
    }

    /// Sends the payload as a server-side apply.
    pub(crate) async fn send(
        &self,
        wanted: &Wanted,
        force: bool,
        dry_run: bool,
    ) -> Result<Answer, CallError> {
        // Servers before 1.25 do not know `fieldValidation` and pass over it.
        let mut path =
            format!("{}?fieldManager={MANAGER}&force={force}&fieldValidation=Strict", wanted.path());
        if dry_run {
            path.push_str("&dryRun=All");
        }
        let body = serde_json::to_vec(&wanted.payload)
            .map_err(|e| CallError::Nonsense { why: format!("the object cannot be written as JSON: {e}") })?;
        self.call(&Call { method: Method::PATCH, path, body: Bytes::from(body), content_type: APPLY }).await
    }

    /// Writes one object. Waits for an old one that is being deleted, for a kind that this push brings, and for a
    /// webhook that is not up yet, each within its bound. `Err(Stopped)` only before the first write.
    pub(crate) async fn apply(
        &self,
        wanted: &Wanted,
        owner: &Owner,
        mut live: Option<Live>,
        stop: &CancellationToken,
    ) -> Result<(Applied, Vec<String>), Trouble> {
        if live.as_ref().is_some_and(|l| l.deleting.is_some()) {
            self.wait_gone(wanted, owner, stop).await?;
            live = None;
        }
        if let Some(live) = live.as_mut() {
            if live.unchanged {
                let (uid, verdict) = (live.uid.clone(), live.verdict.clone());
                let applied =
                    Applied { change: Change::Unchanged, uid, verdict, deadline_s: live.deadline_s };
                return Ok((applied, Vec::new()));
            }
            self.take_over(wanted, owner, live, stop).await?;
        }
        let answer = self.send_patiently(wanted, stop).await?;
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

    async fn send_patiently(&self, wanted: &Wanted, stop: &CancellationToken) -> Result<Answer, Trouble> {
        let started = Instant::now();
        let mut conflicts = 0;
        loop {
            if stop.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            let error = match self.send(wanted, true, false).await {
                Ok(answer) => return Ok(answer),
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
                return Err(self.trouble(wanted, "apply", &error));
            }
            pause(250, stop).await;
        }
    }

    async fn wait_gone(
        &self,
        wanted: &Wanted,
        owner: &Owner,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let started = Instant::now();
        loop {
            let live = self.read_live(wanted, owner).await?;
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

    /// Moves kubectl's fields to us; somebody else's change in between is read again, three times.
    async fn take_over(
        &self,
        wanted: &Wanted,
        owner: &Owner,
        live: &mut Live,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        for attempt in 0..4 {
            let Some(patch) = live.takeover.take() else { return Ok(()) };
            if stop.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            let path = format!("{}?fieldManager={MANAGER}", wanted.path());
            let body = Bytes::from(patch.to_string());
            let call = Call { method: Method::PATCH, path, body, content_type: JSON_PATCH };
            let Err(moved) = self.call(&call).await else { return Ok(()) };
            // 422: the test of the resourceVersion failed.
            if attempt == 3 || !matches!(moved.code(), 409 | 422) {
                return Err(self.trouble(wanted, "apply", &moved));
            }
            match self.read_live(wanted, owner).await? {
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
