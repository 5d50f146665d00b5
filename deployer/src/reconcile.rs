//! One reconcile: one commit's manifests to one cluster, from the first look to the last delete.
//!
//! Everything is harmless when done twice, and what could not be taken back comes after what could fail: kinds,
//! namespaces and rights are checked first, then the cluster is shown every object (server-side dry-run), then the
//! inventory is written down, then objects are written, followed until they are healthy, and only then is deleted what
//! left the repository.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use slipway_core::deploy::{Change, Health, InventoryEntry, ObjectReport, Phase};
use slipway_core::target::ClusterBinding;
use slipway_core::{Oid, RepoId, RepoName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::{Applied, Live, may_recreate, pause, to_send};
use crate::cluster::Connection;
use crate::error::{DeployError, Trouble};
use crate::health::Verdict;
use crate::journal::{Board, Journal};
use crate::limits::{ESTABLISH_MS_MAX, OBJECTS_IN_FLIGHT_MAX};
use crate::manifest::Manifest;
use crate::order::BARRIERS;
use crate::owner::{Claim, Key, Owner};
use crate::place::{Wanted, place};
use crate::prune::PruneConfirmation;
use crate::run::{Known, Run, Terms};
use crate::wishes::Apply;
use crate::words;

/// What is to be done.
#[derive(Debug)]
pub struct Reconcile<'a> {
    /// Which repository may do what in the cluster.
    pub binding: &'a ClusterBinding,
    /// Which repository; the binding's.
    pub repo: RepoId,
    /// The repository's name now, for people.
    pub repo_name: RepoName,
    /// What is applied.
    pub commit: Oid,
    /// Its manifests, from [`crate::render`].
    pub manifests: Vec<Manifest>,
    /// What [`Journal::save_inventory`] was last told for this repository and cluster.
    pub inventory: Vec<InventoryEntry>,
    /// What the commit's author said about deletes; see [`PruneConfirmation::from_message`].
    pub prune: PruneConfirmation,
    /// Objects that other repositories and servers apply, or nobody, are taken over, by an owner's word for this once.
    pub takes_all: bool,
}

impl Connection {
    /// Brings the cluster to what the manifests say and returns all objects. On an error the journal has the objects
    /// as far as it came; [`DeployError::class`] tells whether trying again can help. [`DeployError::Stopped`] follows
    /// a cancelled `stop`: at once while it waits for a rollout, after the write under way otherwise. The same call
    /// again, with the inventory last saved, goes on from there.
    pub async fn reconcile(
        &self,
        r: Reconcile<'_>,
        journal: &dyn Journal,
        stop: &CancellationToken,
    ) -> Result<Vec<ObjectReport>, DeployError> {
        if let Some(empty) = emptied(&r.manifests, &r.inventory, r.prune) {
            return Err(empty);
        }
        let owner = Owner::new(&self.server, r.repo, r.repo_name.as_str(), &r.binding.cluster);
        let wanted = place(self, r.binding, &owner, &r.manifests).await?;
        tracing::debug!(cluster = %self.name, repo = %r.repo_name, commit = %r.commit, objects = wanted.len(), "reconcile");
        let board = Board::new(journal, &wanted);
        note_hooks(&board, &r.manifests);
        let (shared, unseen) = self.shared(r.binding, &wanted).await?;
        for space in unseen {
            board.note(format!(
                "the autoscalers of namespace {space} may not be listed, so replicas are as the manifests say"
            ));
        }
        let terms = Terms { owner, shared };
        let (known, timing, takes_all) = (Known::of(&r.inventory), self.timing, r.takes_all);
        let run = Run {
            connection: self,
            terms,
            takes_all,
            binding: r.binding,
            wanted,
            known,
            board,
            stop,
            timing,
        };
        let done = run.all(r.inventory, r.prune).await;
        run.board.tell_now().await;
        done.map(|()| run.board.reports())
    }
}

/// A commit without manifests deletes everything only by word.
pub(crate) fn emptied(
    manifests: &[Manifest],
    inventory: &[InventoryEntry],
    prune: PruneConfirmation,
) -> Option<DeployError> {
    let refused = manifests.is_empty() && !inventory.is_empty() && !prune.covers(inventory.len());
    refused.then_some(DeployError::Empty { applied: inventory.len() })
}

/// Hook annotations of other tools promise an order that is not kept here; better said than found out.
fn note_hooks(board: &Board<'_>, manifests: &[Manifest]) {
    for m in manifests {
        let annotations = m.object.get("metadata").and_then(|v| v.get("annotations"));
        let has = |key: &str| annotations.is_some_and(|a| a.get(key).is_some());
        if has("argocd.argoproj.io/hook") || has("argocd.argoproj.io/sync-wave") || has("helm.sh/hook") {
            let (at, kind, name) = (m.source(), m.kind(), m.name());
            board.note(format!("{at}: {kind} {name} is applied in plain order; hooks and waves are not run"));
        }
    }
}

impl Run<'_> {
    async fn all(
        &self,
        inventory: Vec<InventoryEntry>,
        confirmed: PruneConfirmation,
    ) -> Result<(), DeployError> {
        let mut live = self.read_all().await?;
        self.check_claims(&live)?;
        self.note_shared(&live);
        self.take_over_all(&mut live).await?;
        self.dry_run_all(&live).await?;
        let left = self.left(&inventory);
        self.save(&left, |i| self.uid_of(i, live.get(i)?.as_ref()?)).await?;
        self.board.entered(Phase::Apply).await;
        let applied = self.apply_all(live).await?;
        let uid = |i: usize| applied.get(&i).map(|a| a.uid.clone()).filter(|u| !u.is_empty());
        self.save(&left, uid).await?;
        self.board.entered(Phase::Rollout).await;
        let mut rollout = self.rollout(&applied);
        if !left.is_empty() {
            self.follow(&mut rollout, &|i| self.holds(i, &applied, &left)).await?;
            self.board.entered(Phase::Prune).await;
            let uids: HashSet<String> = applied.values().map(|a| a.uid.clone()).collect();
            let kept = self.prune(&left, inventory.len(), &uids, confirmed).await?;
            self.save(&kept, uid).await?;
        }
        self.follow(&mut rollout, &|_| true).await
    }

    /// Entries that are no longer wanted, whatever their version.
    pub(crate) fn left(&self, inventory: &[InventoryEntry]) -> Vec<InventoryEntry> {
        let wanted: HashSet<&Key> = self.wanted.iter().map(|w| &w.key).collect();
        let left: BTreeMap<Key, &InventoryEntry> =
            inventory.iter().map(|e| (key_of(e), e)).filter(|(k, _)| !wanted.contains(k)).collect();
        left.into_values().cloned().collect()
    }

    /// Writes the inventory down: all that is wanted and all that is left.
    async fn save(
        &self,
        left: &[InventoryEntry],
        uid: impl Fn(usize) -> Option<String>,
    ) -> Result<(), DeployError> {
        let wanted = self.wanted.iter().enumerate().map(|(i, w)| w.entry(uid(i)));
        let entries = wanted.chain(left.iter().cloned()).collect();
        self.board.save_inventory(entries).await.map_err(DeployError::Journal)
    }

    /// The uid that is remembered of an object: not of one that is left alone and was never ours.
    fn uid_of(&self, i: usize, live: &Live) -> Option<String> {
        let wanted = self.wanted.get(i)?;
        let ours = live.claim == Claim::Ours || self.known.knows(&wanted.key, &live.uid);
        (live.left_alone.is_none() || ours).then(|| live.uid.clone())
    }

    pub(crate) fn check_claims(&self, live: &[Option<Live>]) -> Result<(), DeployError> {
        let foreign = self.foreigners(live);
        let pairs = || self.wanted.iter().zip(live).filter_map(|(w, l)| Some((w, l.as_ref()?)));
        for (wanted, live) in pairs().filter(|(_, l)| l.left_alone.is_none()) {
            let title = wanted.title();
            match (&live.claim, live.other_tool) {
                (Claim::Free, Some(tool)) => {
                    self.board.note(format!("{title} is also kept by {tool}; let only one of the two do it"));
                }
                (Claim::Other(who), _) => self.board.note(format!("{title} is taken over from {who}")),
                _ => {}
            }
        }
        if foreign.is_empty() { Ok(()) } else { Err(DeployError::Foreign(foreign)) }
    }

    /// Objects that may not be written because they are others', a sentence each.
    pub(crate) fn foreigners(&self, live: &[Option<Live>]) -> Vec<String> {
        let pairs = self.wanted.iter().zip(live).filter_map(|(w, l)| Some((w, l.as_ref()?)));
        let pairs = pairs.filter(|(_, l)| l.left_alone.is_none());
        pairs
            .filter_map(|(w, l)| Some(format!("{} {}", w.title(), self.foreign(w, &l.claim, &l.uid)?)))
            .collect()
    }

    /// Nothing is left to others in silence.
    fn note_shared(&self, live: &[Option<Live>]) {
        for (wanted, live) in self.wanted.iter().zip(live) {
            let Some(live) = live else { continue };
            for note in live.adopted.iter().flat_map(|a| &a.notes) {
                self.board.note(format!("{} {note}", wanted.title()));
            }
            if let Some(takeover) = live.takeover.as_ref().filter(|_| live.is_due()) {
                let from = takeover.from.iter().cloned().collect::<Vec<_>>().join(", ");
                self.board.note(format!("{} takes fields over from {from}", wanted.title()));
            }
        }
    }

    /// Moves other tools' fields to us, which changes nothing but who may change them: what is shown to the cluster next
    /// is then what will be.
    async fn take_over_all(&self, live: &mut [Option<Live>]) -> Result<(), DeployError> {
        let due = |l: &Live| l.takeover.is_some() && l.is_due() && l.deleting.is_none();
        let due: Vec<usize> =
            live.iter().enumerate().filter(|(_, l)| l.as_ref().is_some_and(due)).map(|(i, _)| i).collect();
        let slots: HashMap<usize, Mutex<Option<Live>>> =
            due.iter().filter_map(|i| Some((*i, Mutex::new(live.get_mut(*i)?.take())))).collect();
        let slots = &slots;
        let (moved, refused) = self
            .each(due, async |i| {
                let taken = slots.get(&i).and_then(|l| l.lock().ok()?.take());
                let (Some(wanted), Some(mut one)) = (self.wanted.get(i), taken) else { return Ok(None) };
                self.connection.take_over(wanted, &self.terms, &mut one, self.stop).await?;
                Ok(Some(one))
            })
            .await?;
        self.refuse(refused)?;
        for (i, one) in moved {
            if let Some(slot) = live.get_mut(i) {
                *slot = one;
            }
        }
        Ok(())
    }

    /// Shows the cluster everything that would be written. What depends on this very push cannot be shown before it.
    pub(crate) async fn dry_run_all(&self, live: &[Option<Live>]) -> Result<(), DeployError> {
        let is_space = |w: &Wanted| w.key.group.is_empty() && w.key.kind == "Namespace";
        let pairs = || self.wanted.iter().zip(live);
        let new_spaces: HashSet<&str> =
            pairs().filter(|(w, l)| is_space(w) && l.is_none()).map(|(w, _)| w.key.name.as_str()).collect();
        let due = |i: &usize| {
            let (Some(wanted), Some(live)) = (self.wanted.get(*i), live.get(*i)) else { return false };
            let is_new =
                wanted.new_kind || wanted.key.namespace.as_deref().is_some_and(|n| new_spaces.contains(n));
            let is_due = match live {
                Some(live) => live.is_due() && live.deleting.is_none(),
                None => wanted.wishes.apply != Apply::Never,
            };
            !is_new && is_due
        };
        let due: Vec<usize> = (0..self.wanted.len()).filter(due).collect();
        let (_, refused) = self
            .each(due, async |i| match (self.wanted.get(i), live.get(i)) {
                (Some(wanted), Some(live)) => self.show(wanted, live.as_ref()).await,
                _ => Ok(()),
            })
            .await?;
        self.refuse(refused)
    }

    async fn show(&self, wanted: &Wanted, live: Option<&Live>) -> Result<(), Trouble> {
        let (payload, title) = (to_send(wanted, live), wanted.title());
        let Err(mut error) = self.connection.send(wanted, payload, false, true).await else { return Ok(()) };
        if let Some(managers) = words::conflicts(&error) {
            self.board.note(format!("{title} takes fields over from {managers}"));
            match self.connection.send(wanted, payload, true, true).await {
                Ok(_) => return Ok(()),
                Err(e) => error = e,
            }
        }
        if error.is_no_dry_run() || error.is_webhook() {
            self.board.note(format!("{title} could not be shown to the cluster first: {error}"));
            return Ok(());
        }
        if error.code() == 422 && live.is_some_and(|l| l.takeover.is_some()) {
            // A push only looks. The deploy takes fields of other tools over before it shows what it wants, and then this
            // may be right: a port that has another number, say.
            return Ok(());
        }
        if words::is_fixed(&error) && may_recreate(wanted) {
            self.board.note(format!("{title} is deleted and made anew, as its annotation says: {error}"));
            return Ok(());
        }
        Err(self.connection.trouble(wanted, "apply", &error))
    }

    /// Ends a phase in which objects were refused; marks them.
    pub(crate) fn refuse(&self, refused: Vec<(usize, String)>) -> Result<(), DeployError> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut sentences = Vec::new();
        for (i, sentence) in refused {
            self.board.changed(i, Change::Refused);
            self.board.message(i, &sentence);
            let title = self.wanted.get(i).map(Wanted::title).unwrap_or_default();
            sentences.push(format!("{title}: {sentence}"));
        }
        Err(DeployError::Refused(sentences))
    }

    async fn apply_all(&self, live: Vec<Option<Live>>) -> Result<BTreeMap<usize, Applied>, DeployError> {
        let live: Vec<Mutex<Option<Live>>> = live.into_iter().map(Mutex::new).collect();
        let live = &live;
        let mut applied: BTreeMap<usize, Applied> = BTreeMap::new();
        for barrier in 0..BARRIERS {
            let members: Vec<usize> = self
                .wanted
                .iter()
                .enumerate()
                .filter(|(_, w)| w.barrier == barrier)
                .map(|(i, _)| i)
                .collect();
            let (done, refused) = self
                .each(members, async |i| {
                    let before = live.get(i).and_then(|l| l.lock().ok()?.take());
                    self.apply_one(i, before).await
                })
                .await?;
            self.refuse(refused)?;
            if barrier == 0 {
                self.establish(&done).await?;
            }
            applied.extend(done.into_iter().filter_map(|(i, a)| Some((i, a?))));
            self.board.tell().await;
        }
        Ok(applied)
    }

    async fn apply_one(&self, i: usize, live: Option<Live>) -> Result<Option<Applied>, Trouble> {
        let Some(wanted) = self.wanted.get(i) else { return Ok(None) };
        if self.stop.is_cancelled() {
            return Err(Trouble::Stopped);
        }
        let left_alone = match &live {
            Some(live) => live.left_alone.clone(),
            None if wanted.wishes.apply == Apply::Never => {
                self.board.changed(i, Change::Unchanged);
                self.board.verdict(i, &Verdict::new(Health::Missing, "is not made, as its manifest says"));
                return Ok(None);
            }
            None => None,
        };
        let (applied, warnings) = self.connection.apply(wanted, &self.terms, live, self.stop).await?;
        if applied.change != Change::Unchanged && wanted.key.kind == "CustomResourceDefinition" {
            let group = wanted.payload["spec"]["group"].as_str().unwrap_or_default();
            self.connection.kinds.forget(group);
        }
        for warning in warnings {
            self.board.note(format!("{}: {warning}", wanted.title()));
        }
        self.board.changed(i, applied.change);
        self.board.verdict(i, &applied.verdict);
        if let Some(why) = left_alone {
            self.board.message(i, &why);
            self.board.note(format!("{} {why}", wanted.title()));
        }
        self.board.tell().await;
        Ok(Some(applied))
    }

    /// Waits until definitions are served and namespaces active: what comes next needs them.
    async fn establish(&self, done: &[(usize, Option<Applied>)]) -> Result<(), DeployError> {
        let started = Instant::now();
        let mut waiting: BTreeSet<usize> = done
            .iter()
            .filter(|(_, a)| a.as_ref().is_some_and(|a| !a.verdict.is_settled()))
            .map(|(i, _)| *i)
            .collect();
        let mut wait_ms = 50;
        while !waiting.is_empty() {
            if self.stop.is_cancelled() {
                return Err(DeployError::Stopped);
            }
            if started.elapsed() > Duration::from_millis(ESTABLISH_MS_MAX) {
                let late = waiting.iter().filter_map(|i| self.wanted.get(*i)).map(Wanted::title).collect();
                return Err(DeployError::RolloutTimeout { after_s: ESTABLISH_MS_MAX / 1000, waiting: late });
            }
            pause(wait_ms, self.stop).await;
            wait_ms = (wait_ms * 2).min(500);
            let (seen, refused) = self
                .each(waiting.iter().copied().collect(), async |i| match self.wanted.get(i) {
                    Some(w) => Ok(self.connection.read_live(w, &self.terms).await?.map(|l| l.verdict)),
                    None => Ok(None),
                })
                .await?;
            self.refuse(refused)?;
            for (i, verdict) in seen {
                let verdict = verdict.unwrap_or_else(|| Verdict::new(Health::Missing, "is gone again"));
                self.board.verdict(i, &verdict);
                if verdict.is_settled() {
                    waiting.remove(&i);
                }
            }
        }
        Ok(())
    }

    /// Works on several objects at once. A cluster that fails or a stop ends it; objects that are refused are collected.
    pub(crate) async fn each<T, F>(
        &self,
        members: Vec<usize>,
        work: impl Fn(usize) -> F,
    ) -> Result<(Vec<(usize, T)>, Vec<(usize, String)>), DeployError>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        // Once it is over, what has not begun does not begin; what is in flight lands, so that no write is cut.
        let over = AtomicBool::new(false);
        let over = &over;
        let mut landed =
            stream::iter(members)
                .map(|i| {
                    let one = work(i);
                    async move {
                        (i, if over.load(Ordering::Relaxed) { Err(Trouble::Stopped) } else { one.await })
                    }
                })
                .buffer_unordered(OBJECTS_IN_FLIGHT_MAX);
        let (mut done, mut refused, mut ended) = (Vec::new(), Vec::new(), None);
        while let Some((i, one)) = landed.next().await {
            let error = match one {
                Ok(one) => {
                    done.push((i, one));
                    continue;
                }
                Err(Trouble::Refused(sentence)) => {
                    refused.push((i, sentence));
                    continue;
                }
                Err(Trouble::Cluster(error)) => error,
                Err(Trouble::Stopped) => DeployError::Stopped,
            };
            over.store(true, Ordering::Relaxed);
            ended.get_or_insert(error);
        }
        if let Some(error) = ended {
            return Err(error);
        }
        refused.sort();
        Ok((done, refused))
    }
}

pub(crate) fn key_of(entry: &InventoryEntry) -> Key {
    Key {
        group: entry.group.clone(),
        kind: entry.kind.clone(),
        namespace: entry.namespace.clone(),
        name: entry.name.clone(),
    }
}
