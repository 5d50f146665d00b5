//! Follows what was applied until it is healthy, fails, or time is up.
//!
//! It looks often at first, so that a quick rollout is noticed at once, and less often later. Troubles that heal by
//! themselves now and then (an image that is not there yet, a crash while a database starts) get a grace.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;
use slipway_core::deploy::{Change, Health, InventoryEntry};
use tokio::time::Instant;

use crate::apply::{Applied, pause};
use crate::error::{DeployError, Trouble};
use crate::health::{Verdict, health, is_built_in};
use crate::limits::{
    REASON_PAUSE_MS, ROLLOUT_MS_MAX, ROLLOUT_PAUSE_MS_MAX, ROLLOUT_PAUSE_MS_MIN, SILENCE_MS_MAX,
};
use crate::place::Wanted;
use crate::reason::{Ail, Ailment};
use crate::run::Run;
use crate::wire::Call;

/// What is followed until it is healthy.
pub(crate) struct Rollout {
    started: Instant,
    waiting: BTreeMap<usize, Waiting>,
}

/// An object that is not healthy yet.
struct Waiting {
    verdict: Verdict,
    /// How long it may take from the rollout's start.
    limit_ms: u64,
    /// What ails it, and since when it is the same.
    ailment: Option<(Ailment, Instant)>,
    looked: Option<Instant>,
}

/// What one look at an object showed.
struct Look {
    verdict: Verdict,
    /// `None`: its pods were not looked at this time.
    ailment: Option<Option<Ailment>>,
}

impl Run<'_> {
    /// All that is to be followed, each with its time.
    pub(crate) fn rollout(&self, applied: &BTreeMap<usize, Applied>) -> Rollout {
        let followed = applied.iter().filter_map(|(i, a)| {
            let wishes = &self.wanted.get(*i)?.wishes;
            let limit_ms = match wishes.timeout_s.or(self.binding.rules.timeout_s) {
                Some(s) => s.saturating_mul(1000),
                None => self.timing.rollout_ms.max(own_ms(a)),
            };
            let waiting = Waiting { verdict: a.verdict.clone(), limit_ms, ailment: None, looked: None };
            (!a.verdict.is_settled() && !wishes.unwaited).then_some((*i, waiting))
        });
        Rollout { started: Instant::now(), waiting: followed.collect() }
    }

    /// Waits until nothing that is `needed` is left. Ends with an error as soon as one object is not going to be healthy
    /// by itself.
    pub(crate) async fn follow(
        &self,
        rollout: &mut Rollout,
        needed: &(dyn Fn(usize) -> bool + Sync),
    ) -> Result<(), DeployError> {
        let Rollout { started, waiting } = rollout;
        let mut heard = Instant::now();
        let mut wait_ms = ROLLOUT_PAUSE_MS_MIN;
        let mut first = true;
        while waiting.keys().any(|i| needed(*i)) {
            if self.stop.is_cancelled() {
                return Err(DeployError::Stopped);
            }
            if let Some(late) = self.late(waiting, *started) {
                return Err(late);
            }
            if !first {
                pause(wait_ms, self.stop).await;
                wait_ms = (wait_ms * 5 / 4).min(ROLLOUT_PAUSE_MS_MAX);
            }
            first = false;
            match self.look_at_all(waiting).await {
                Ok(looks) => {
                    heard = Instant::now();
                    self.take(waiting, looks);
                }
                // A cluster that restarts for a moment does not undo a rollout.
                Err(DeployError::Unreachable { .. })
                    if heard.elapsed() < Duration::from_millis(SILENCE_MS_MAX) => {}
                Err(error) => return Err(error),
            }
            self.board.tell().await;
            let failed = self.failed(waiting);
            if !failed.is_empty() {
                return Err(DeployError::Rollout(failed));
            }
        }
        self.board.tell_now().await;
        Ok(())
    }

    /// Whether an object that is not healthy yet keeps what left the repository from being deleted: it may be about to take
    /// its place. Pods run on everything in their namespace; what a custom resource does nobody knows, so it counts while it
    /// is new; all else counts for its own kind alone.
    pub(crate) fn holds(
        &self,
        i: usize,
        applied: &BTreeMap<usize, Applied>,
        left: &[InventoryEntry],
    ) -> bool {
        let Some(w) = self.wanted.get(i) else { return false };
        let (group, kind) = (w.key.group.as_str(), w.key.kind.as_str());
        let is_new = applied.get(&i).is_none_or(|a| a.change != Change::Unchanged);
        let reaches_all = runs_pods(group, kind) || (is_new && !is_built_in(group));
        left.iter().any(|entry| {
            let near = match (&w.key.namespace, &entry.namespace) {
                (Some(ours), Some(its)) => ours == its,
                _ => true,
            };
            near && (reaches_all || (entry.group == group && entry.kind == kind))
        })
    }

    async fn look_at_all(
        &self,
        waiting: &BTreeMap<usize, Waiting>,
    ) -> Result<HashMap<usize, Look>, DeployError> {
        let deep =
            |w: &Waiting| w.looked.is_none_or(|t| t.elapsed() >= Duration::from_millis(REASON_PAUSE_MS));
        let members = waiting.keys().copied().collect();
        let look = async |i: usize| {
            // A cancelled look writes nothing, so a stop may cut it short.
            tokio::select! {
                seen = self.look(i, waiting.get(&i).is_some_and(deep)) => seen,
                () = self.stop.cancelled() => Err(Trouble::Stopped),
            }
        };
        let (seen, refused) = self.each(members, look).await?;
        self.refuse_reading(refused)?;
        Ok(seen.into_iter().filter_map(|(i, l)| Some((i, l?))).collect())
    }

    fn refuse_reading(&self, refused: Vec<(usize, String)>) -> Result<(), DeployError> {
        let title = |i: usize| self.wanted.get(i).map(Wanted::title).unwrap_or_default();
        if refused.is_empty() {
            return Ok(());
        }
        Err(DeployError::Refused(refused.into_iter().map(|(i, s)| format!("{}: {s}", title(i))).collect()))
    }

    async fn look(&self, i: usize, deep: bool) -> Result<Option<Look>, Trouble> {
        let Some(wanted) = self.wanted.get(i) else { return Ok(None) };
        let object = match self.connection.call(&Call::get(wanted.path())).await {
            Ok(answer) => answer.object().map_err(|e| Trouble::Cluster(self.connection.infra(&e)))?,
            Err(e) if e.code() == 404 => return Ok(Some(Look { verdict: missing(wanted), ailment: None })),
            Err(e) => return Err(self.connection.trouble(wanted, "read", &e)),
        };
        let verdict = health(&wanted.key.group, &wanted.key.kind, &object);
        // An object that fails says why once more than it says how it is: ask its pods before giving up.
        let deep = (deep || verdict.health == Health::Degraded) && !verdict.is_settled();
        let ailment = if deep { Some(self.connection.ailment(wanted, &object).await) } else { None };
        Ok(Some(Look { verdict, ailment }))
    }

    fn take(&self, waiting: &mut BTreeMap<usize, Waiting>, looks: HashMap<usize, Look>) {
        for (i, look) in looks {
            let Some(one) = waiting.get_mut(&i) else { continue };
            if let Some(ailment) = look.ailment {
                one.looked = Some(Instant::now());
                one.ailment = match (ailment, one.ailment.take()) {
                    // The same trouble goes on, though its words may change.
                    (Some(now), Some((before, since))) if now.ail == before.ail => Some((now, since)),
                    (Some(now), _) => Some((now, Instant::now())),
                    // Between two crashes a container runs for a moment: that is no recovery.
                    (None, Some((before, since)))
                        if before.ail == Ail::Crash
                            && since.elapsed() < Duration::from_millis(self.timing.crash_grace_ms) =>
                    {
                        Some((before, since))
                    }
                    (None, _) => None,
                };
            }
            one.verdict = look.verdict;
            if let Some((ailment, _)) = &one.ailment
                && !one.verdict.is_settled()
            {
                one.verdict.message = ailment.words.clone();
            }
            self.board.verdict(i, &one.verdict);
            if one.verdict.is_settled() {
                waiting.remove(&i);
            }
        }
    }

    /// Objects that are not going to be healthy by themselves, with the reason; with them, what ails the others.
    fn failed(&self, waiting: &BTreeMap<usize, Waiting>) -> Vec<String> {
        let is_past = |one: &Waiting| {
            one.ailment.as_ref().is_some_and(|(ailment, since)| {
                self.grace_ms(ailment).is_some_and(|ms| since.elapsed() >= Duration::from_millis(ms))
            })
        };
        let is_lost = |one: &Waiting| matches!(one.verdict.health, Health::Degraded | Health::Missing);
        let mut over = false;
        for (i, one) in waiting {
            if is_past(one) {
                self.board.verdict(*i, &Verdict::new(Health::Degraded, one.verdict.message.clone()));
            }
            over |= is_past(one) || is_lost(one);
        }
        if !over {
            return Vec::new();
        }
        let ails = |one: &Waiting| one.ailment.as_ref().is_some_and(|(a, _)| a.ail > Ail::Waits);
        let told = waiting.iter().filter(|(_, one)| is_lost(one) || ails(one));
        told.map(|(i, one)| self.tell_of(*i, one)).collect()
    }

    fn grace_ms(&self, ailment: &Ailment) -> Option<u64> {
        match ailment.ail {
            Ail::Never => Some(0),
            Ail::Image => Some(self.timing.image_grace_ms),
            Ail::Crash | Ail::Refused => Some(self.timing.crash_grace_ms),
            // A node may join, a probe may turn green: only the deploy's own deadline ends that.
            Ail::Waits => None,
        }
    }

    /// Told once an object has had its time.
    fn late(&self, waiting: &BTreeMap<usize, Waiting>, started: Instant) -> Option<DeployError> {
        let is_late = |w: &&Waiting| started.elapsed() >= Duration::from_millis(w.limit_ms);
        let after_s = waiting.values().find(is_late)?.limit_ms / 1000;
        let waiting = waiting.iter().map(|(i, one)| self.tell_of(*i, one)).collect();
        Some(DeployError::RolloutTimeout { after_s, waiting })
    }

    fn tell_of(&self, i: usize, one: &Waiting) -> String {
        let title = self.wanted.get(i).map(Wanted::title).unwrap_or_default();
        format!("{title}: {}", one.verdict.message)
    }
}

/// The time that an object asks for itself, if it is more than ten minutes.
fn own_ms(applied: &Applied) -> u64 {
    let ms = applied.deadline_s.saturating_mul(1000);
    if ms > 600_000 { ms.min(ROLLOUT_MS_MAX) } else { 0 }
}

fn runs_pods(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job" | "CronJob")
            | ("", "Pod" | "ReplicationController")
    )
}

/// An object that is not there: deleted by somebody, or a job that clears itself away when done.
fn missing(wanted: &Wanted) -> Verdict {
    let clears = wanted.payload.pointer("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_number);
    if wanted.key.kind == "Job" && clears {
        return Verdict::new(Health::Healthy, "ran to its end and was cleared away");
    }
    Verdict::new(Health::Missing, "was deleted while its rollout was followed")
}
