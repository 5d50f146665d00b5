//! What is deleted, what is kept and why. The decision is pure; carrying it out is bound to the object's uid and
//! resourceVersion, so that nothing is deleted but what was looked at.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use slipway_core::accept::PRUNE as OPTION;
use slipway_core::deploy::{Change, InventoryEntry};
use slipway_core::target::ClusterBinding;
use tokio::time::Instant;

use crate::apply::{pause, text};
use crate::blame::Doubt;
use crate::error::{DeployError, Trouble};
use crate::kinds::Kind;
use crate::limits::{DELETE_MS_MAX, PRUNE_ALWAYS, PRUNE_PERCENT};
use crate::order::{BARRIERS, barrier, is_protected};
use crate::owner::{Claim, Key, Owner, PRUNE};
use crate::reconcile::key_of;
use crate::run::Run;
use crate::wire::{Call, CallError, JSON};
use crate::words;

/// What the author of a commit said about deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PruneConfirmation {
    /// Nothing: small prunes only.
    #[default]
    None,
    /// So many objects may go.
    UpTo(usize),
    /// All may go.
    All,
}

impl PruneConfirmation {
    /// What was said in any of the messages of a push, or by its options: the most that anybody said.
    pub fn of_push(messages: &[String], options: &[String]) -> Self {
        let said = messages.iter().map(|m| Self::from_message(m));
        let asked = options.iter().filter_map(|o| o.strip_prefix(OPTION)?.strip_prefix('='));
        said.chain(asked.map(Self::read)).max().unwrap_or_default()
    }

    /// Reads `N` or `all`; anything else confirms nothing.
    pub fn read(said: &str) -> Self {
        match said.trim() {
            all if all.eq_ignore_ascii_case("all") => Self::All,
            n => n.parse().map_or(Self::None, Self::UpTo),
        }
    }

    /// Reads the trailer `Slipway-Prune: N` or `Slipway-Prune: all` of a commit message.
    pub fn from_message(message: &str) -> Self {
        let said = message.lines().rev().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case("slipway-prune").then(|| value.trim())
        });
        said.map_or(Self::None, Self::read)
    }

    pub(crate) fn covers(self, deletes: usize) -> bool {
        match self {
            Self::None => false,
            Self::UpTo(n) => deletes <= n,
            Self::All => true,
        }
    }
}

/// What is said of an object that waits for a confirmation.
const HELD: &str = "kept: too many objects would be deleted at once";

/// What becomes of an object that left the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is not there any more.
    Gone,
    /// It is not ours any more: forgotten, and why.
    Released(String),
    /// It stays, and stays remembered, and why.
    Kept(String),
    /// It stays until somebody confirms that so many may go.
    Held,
    /// It is deleted, if it is still exactly this.
    Delete { uid: String, version: String },
}

/// Decides about one object from what is remembered and what is in the cluster.
pub(crate) fn fate(
    entry: &InventoryEntry,
    live: Option<&Value>,
    owner: &Owner,
    binding: &ClusterBinding,
    applied: &HashSet<String>,
) -> Fate {
    let Some(live) = live else { return Fate::Gone };
    let key = key_of(entry);
    let metadata = &live["metadata"];
    let uid = text(&metadata["uid"]);
    if entry.uid.as_ref().is_some_and(|remembered| *remembered != uid) {
        return Fate::Released("another object has its name by now".into());
    }
    match owner.claim(&key, live) {
        Claim::Ours => {}
        Claim::Free => return Fate::Released("it no longer carries Slipway's marks".into()),
        Claim::Other(who) => return Fate::Released(format!("it is applied by {who} now")),
    }
    if applied.contains(&uid) {
        // The same object under another group (`extensions` and `networking.k8s.io` Ingress): just written.
        return Fate::Released("it is still applied, under another API group".into());
    }
    if !binding.prune {
        return Fate::Kept("prune is off for this binding".into());
    }
    if is_protected(&entry.group, &entry.kind) {
        return Fate::Kept(format!("a {} is never deleted by itself; delete it in the cluster", entry.kind));
    }
    if let Some(annotation) = opt_out(live) {
        return Fate::Kept(format!("its annotation {annotation} says so"));
    }
    if let Some(parent) = metadata["ownerReferences"].as_array().and_then(|o| o.first()) {
        let (kind, name) = (text(&parent["kind"]), text(&parent["name"]));
        return Fate::Kept(format!("it belongs to {kind} {name}, which deletes it"));
    }
    if !binding.allows(entry.namespace.as_deref()) {
        return Fate::Kept("the binding no longer allows its namespace".into());
    }
    Fate::Delete { uid, version: text(&metadata["resourceVersion"]) }
}

/// The annotation of a live object that forbids its deletion, in the spellings of this and other tools.
fn opt_out(live: &Value) -> Option<String> {
    let annotations = live["metadata"]["annotations"].as_object()?;
    let exact = [
        (PRUNE, "disabled"),
        (PRUNE, "never"),
        // Whoever paused an object in the cluster did not mean that it goes.
        ("slipway.dev/apply", "never"),
        ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
        ("kustomize.toolkit.fluxcd.io/reconcile", "disabled"),
        ("kustomize.toolkit.fluxcd.io/ssa", "Ignore"),
        ("kapp.k14s.io/delete-strategy", "orphan"),
        ("client.lifecycle.config.k8s.io/deletion", "detach"),
        ("cli-utils.sigs.k8s.io/on-remove", "keep"),
        ("helm.sh/resource-policy", "keep"),
    ];
    let is = |key: &str, value: &str| {
        annotations.get(key).and_then(Value::as_str).is_some_and(|v| v.eq_ignore_ascii_case(value))
    };
    if let Some((key, value)) = exact.iter().find(|(k, v)| is(k, v)) {
        return Some(format!("{key}: {value}"));
    }
    let argo = "argocd.argoproj.io/sync-options";
    let options = annotations.get(argo).and_then(Value::as_str)?;
    let held = ["Prune=false", "Prune=confirm", "Delete=false", "Delete=confirm"];
    let option = options.split(',').map(str::trim).find(|o| held.contains(o))?;
    Some(format!("{argo}: {option}"))
}

/// True if so many deletes need no confirmation: [`PRUNE_ALWAYS`], or [`PRUNE_PERCENT`] of what there was.
pub(crate) fn within_budget(deletes: usize, inventory: usize) -> bool {
    deletes <= PRUNE_ALWAYS.max(inventory.saturating_mul(PRUNE_PERCENT) / 100)
}

/// One object that left the repository, with its place on the board.
struct Leaving {
    entry: InventoryEntry,
    kind: Option<Kind>,
    fate: Fate,
    at: usize,
}

impl Run<'_> {
    /// Deletes what may be deleted and returns what stays in the inventory.
    pub(crate) async fn prune(
        &self,
        left: &[InventoryEntry],
        inventory: usize,
        applied: &HashSet<String>,
        confirmed: PruneConfirmation,
    ) -> Result<Vec<InventoryEntry>, DeployError> {
        let mut leaving = self.judge(left, applied).await?;
        let deletes = leaving.iter().filter(|l| matches!(l.fate, Fate::Delete { .. })).count();
        if !within_budget(deletes, inventory) && !confirmed.covers(deletes) {
            self.board.note(format!(
                "{deletes} of {inventory} objects left the repository and are kept: so many are only deleted if a \
                 commit message of the push has a line `Slipway-Prune: {deletes}`, or by git push -o deploy.prune={deletes}"
            ));
            for one in leaving.iter_mut().filter(|l| matches!(l.fate, Fate::Delete { .. })) {
                one.fate = Fate::Held;
            }
        }
        for one in &mut leaving {
            one.at = self.post(one);
        }
        let gone = self.delete_all(&leaving, applied).await?;
        let kept = leaving.into_iter().filter(|l| match l.fate {
            Fate::Gone | Fate::Released(_) => false,
            Fate::Kept(_) | Fate::Held => true,
            Fate::Delete { .. } => !gone.contains(&l.at),
        });
        Ok(kept.map(|l| l.entry).collect())
    }

    /// Writes a leaving object on the board; what is not there any more is not worth a line.
    fn post(&self, one: &Leaving) -> usize {
        let (key, version) = (key_of(&one.entry), &one.entry.version);
        match &one.fate {
            Fate::Gone => usize::MAX,
            Fate::Released(why) | Fate::Kept(why) => {
                self.board.add(&key, version, Change::Kept, &format!("kept: {why}"))
            }
            Fate::Held => self.board.add(&key, version, Change::Held, HELD),
            Fate::Delete { .. } => self.board.add(&key, version, Change::Pending, "is to be deleted"),
        }
    }

    /// What would become of each object that left the repository.
    pub(crate) async fn fates(
        &self,
        left: &[InventoryEntry],
        applied: &HashSet<String>,
    ) -> Result<Vec<(InventoryEntry, Fate)>, DeployError> {
        Ok(self.judge(left, applied).await?.into_iter().map(|l| (l.entry, l.fate)).collect())
    }

    async fn judge(
        &self,
        left: &[InventoryEntry],
        applied: &HashSet<String>,
    ) -> Result<Vec<Leaving>, DeployError> {
        let (judged, refused) = self
            .each((0..left.len()).collect(), async |i| match left.get(i) {
                Some(entry) => self.judge_one(entry, applied).await.map(Some),
                None => Ok(None),
            })
            .await?;
        let mut leaving: Vec<Leaving> = judged.into_iter().filter_map(|(_, l)| l).collect();
        for (i, why) in refused {
            let Some(entry) = left.get(i).cloned() else { continue };
            leaving.push(Leaving { entry, kind: None, fate: Fate::Kept(why), at: 0 });
        }
        leaving.sort_by(|a, b| a.entry.cmp(&b.entry));
        Ok(leaving)
    }

    async fn judge_one(&self, entry: &InventoryEntry, applied: &HashSet<String>) -> Result<Leaving, Trouble> {
        let infra = |e: &CallError| Trouble::Cluster(self.connection.infra(e));
        let kind = self.connection.kind_in_any_version(&entry.group, &entry.version, &entry.kind).await;
        let Some(kind) = kind.map_err(|e| self.connection.trouble_of(&e))? else {
            // Asked just now: the kind is gone, and its objects with it.
            return Ok(Leaving { entry: entry.clone(), kind: None, fate: Fate::Gone, at: 0 });
        };
        let path = kind.object(entry.namespace.as_deref(), &entry.name);
        let live = match self.connection.call(&Call::read(path)).await {
            Ok(answer) => Some(answer.object().map_err(|e| infra(&e))?),
            Err(e) if e.code() == 404 => None,
            Err(e) if e.is_infra() => return Err(infra(&e)),
            Err(e) => return Err(Trouble::Refused(words::refusal(&key_of(entry), "read", &e))),
        };
        let fate = fate(entry, live.as_ref(), &self.terms.owner, self.binding, applied);
        Ok(Leaving { entry: entry.clone(), kind: Some(kind), fate, at: 0 })
    }

    /// Deletes in reverse order of writing; returns the places of those that are gone for sure.
    async fn delete_all(
        &self,
        leaving: &[Leaving],
        applied: &HashSet<String>,
    ) -> Result<HashSet<usize>, DeployError> {
        let mut gone = HashSet::new();
        for level in (0..BARRIERS).rev() {
            let members = leaving.iter().enumerate().filter(|(_, l)| {
                matches!(l.fate, Fate::Delete { .. }) && barrier(&l.entry.group, &l.entry.kind) == level
            });
            let members: Vec<usize> = members.map(|(i, _)| i).collect();
            let (done, refused) = self
                .each(members, async |i| match leaving.get(i) {
                    Some(one) => self.delete(one, applied).await,
                    None => Ok(false),
                })
                .await?;
            for (i, confirmed) in done {
                let Some(one) = leaving.get(i).filter(|_| confirmed) else { continue };
                gone.insert(one.at);
            }
            for (i, sentence) in refused {
                let Some(one) = leaving.get(i) else { continue };
                self.board.changed(one.at, Change::Refused);
                self.board.message(one.at, &sentence);
                self.board.note(format!("{} was not deleted: {sentence}", key_of(&one.entry).title()));
            }
            self.board.tell().await;
        }
        Ok(gone)
    }

    /// Deletes one object; `Ok(true)` if it is gone, `Ok(false)` if it stays for now.
    async fn delete(&self, one: &Leaving, applied: &HashSet<String>) -> Result<bool, Trouble> {
        let Some(kind) = &one.kind else { return Ok(false) };
        let key = key_of(&one.entry);
        let path = kind.object(key.namespace.as_deref(), &key.name);
        let mut fate_now = one.fate.clone();
        for attempt in 0..4 {
            let Fate::Delete { uid, version } = &fate_now else { break };
            if self.stop.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            match self.connection.call(&delete_call(&path, uid, Some(version))).await {
                Ok(_) => {
                    self.board.changed(one.at, Change::Pruned);
                    self.board.message(one.at, "");
                    return self.wait_deleted(one, &key, &path, uid).await;
                }
                Err(e) if e.code() == 404 => {
                    self.board.changed(one.at, Change::Pruned);
                    self.board.message(one.at, "");
                    return Ok(true);
                }
                // It changed since it was looked at: look again.
                Err(e) if e.code() == 409 && attempt < 3 => {
                    fate_now = self.judge_one(&one.entry, applied).await?.fate;
                }
                Err(e) if e.is_infra() => return Err(Trouble::Cluster(self.connection.infra(&e))),
                Err(e) => return Err(Trouble::Refused(words::refusal(&key, "delete", &e))),
            }
        }
        let (change, why, is_gone) = match fate_now {
            Fate::Gone => (Change::Pruned, String::new(), true),
            Fate::Released(why) => (Change::Kept, format!("kept: {why}"), true),
            Fate::Kept(why) => (Change::Kept, format!("kept: {why}"), false),
            Fate::Held => (Change::Held, HELD.into(), false),
            Fate::Delete { .. } => (Change::Kept, "kept: it changes all the time".into(), false),
        };
        self.board.changed(one.at, change);
        self.board.message(one.at, &why);
        Ok(is_gone)
    }

    async fn wait_deleted(&self, one: &Leaving, key: &Key, path: &str, uid: &str) -> Result<bool, Trouble> {
        let started = Instant::now();
        let mut wait_ms = 20;
        loop {
            let held = match self.connection.call(&Call::get(path)).await {
                Err(e) if e.code() == 404 => return Ok(true),
                Err(e) => return Err(Trouble::Cluster(self.connection.infra(&e))),
                Ok(answer) => {
                    let live = answer.object().map_err(|e| Trouble::Cluster(self.connection.infra(&e)))?;
                    if text(&live["metadata"]["uid"]) != uid {
                        return Ok(true);
                    }
                    live["metadata"]["finalizers"].to_string()
                }
            };
            let late = started.elapsed() > Duration::from_millis(DELETE_MS_MAX);
            if late || self.stop.is_cancelled() {
                self.board.message(one.at, &format!("is still being deleted; finalizers {held}"));
                self.board
                    .note(format!("{} is still being deleted; the next deploy looks again", key.title()));
                return Ok(false);
            }
            pause(wait_ms, self.stop).await;
            wait_ms = (wait_ms * 2).min(1_000);
        }
    }
}

/// Deletes exactly that object, and where a version is given exactly what was looked at.
pub(crate) fn delete_call(path: &str, uid: &str, version: Option<&str>) -> Call {
    let mut options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": uid},
    });
    if let Some(version) = version {
        options["preconditions"]["resourceVersion"] = version.into();
    }
    Call {
        method: Method::DELETE,
        path: path.to_owned(),
        body: Bytes::from(options.to_string()),
        content_type: JSON,
        doubt: Doubt::Written,
    }
}

#[cfg(test)]
mod tests;
