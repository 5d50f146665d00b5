//! Events: intended, then accepted together with the work they owe, or abandoned. Decides nothing about that work.

use std::collections::BTreeSet;

use slipway_core::accept::{Bindings, Ledger, NO_CACHE, Orders};
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::{Deploy, DeployCause};
use slipway_core::event::{Event, EventState, Owed, Work};
use slipway_core::run::{Failure, FailureClass};
use slipway_core::{
    BuildNumber, ClusterName, EventId, Problem, ProblemKind, RefName, RefUpdate, RepoId, UnixMillis,
};

use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::limits::{LIST_MAX, PRUNE_LOOKS, PRUNED_PER_WRITE};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// The event of that id.
    pub fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.get(&keys::event(id))
    }

    /// A repository's events, newest first: those before `before` (`None`: from the newest), at most `limit`.
    pub fn events_before(
        &self,
        repo: RepoId,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let before = before.map(|id| keys::event_of(repo, id));
        let scan = before.as_ref().map_or(Scan::Down, Scan::DownFrom);
        let keys = self.keys(&keys::events_of(repo), scan).take(limit.min(LIST_MAX));
        self.events_by(keys)
    }

    /// The events that are still *intended*, oldest first.
    pub fn intended(&self) -> Result<Vec<Event>, StoreError> {
        self.events_by(self.keys(&keys::intended_events(), Scan::Up))
    }

    fn events_by(
        &self,
        keys: impl Iterator<Item = Result<keys::Key, StoreError>>,
    ) -> Result<Vec<Event>, StoreError> {
        let mut found = Vec::new();
        for key in keys {
            if let Some(id) = key?.last_number() {
                found.extend(self.event(EventId(id))?);
            }
        }
        Ok(found)
    }

    fn must_event(&self, id: EventId) -> Result<Event, StoreError> {
        self.event(id)?.ok_or_else(|| refusal::missing("event", id))
    }

    /// What was recorded when the event was accepted. What was tried again since has higher numbers.
    fn orders_of(&self, event: &Event) -> Result<Orders, StoreError> {
        let mut orders = Orders { builds: self.owed(event.id)?, deploys: self.owed(event.id)? };
        let is_build = |owed: &&Owed| matches!(owed.work, Work::Build { .. });
        let all = due(event, &event.updates).count();
        let builds = due(event, &event.updates).filter(is_build).count();
        orders.builds.truncate(builds);
        orders.deploys.truncate(all - builds);
        Ok(orders)
    }
}

impl Tx<'_> {
    /// Records the event as *intended* and gives it an id (the one that it has is ignored).
    pub fn intend(&mut self, event: &mut Event) -> Result<(), StoreError> {
        self.need_repo(event.repo)?;
        event.id = EventId(self.count_up(Counter::EventIds)?);
        event.state = EventState::Intended;
        self.count_up(Counter::EventsKept(event.repo))?;
        self.mark(keys::intended_event(event.id));
        self.put_event(event)?;
        self.prune_events(event.repo)
    }

    /// Makes it *accepted* and records what it owes for what `moved`; see [`Ledger::accept`].
    pub fn accept(
        &mut self,
        id: EventId,
        moved: &[RefUpdate],
        now: UnixMillis,
    ) -> Result<Orders, StoreError> {
        let mut event = self.view().must_event(id)?;
        match event.state {
            EventState::Intended => {}
            EventState::Accepted => return self.view().orders_of(&event),
            EventState::Abandoned => return Err(settled(id, "abandoned")),
        }
        let mut orders = Orders::default();
        for owed in due(&event, moved) {
            match &owed.work {
                Work::Build { broken, part, needs } => {
                    let build = build(&event, owed, broken.as_ref(), now);
                    let build = Build { part: part.clone(), needs: needs.clone(), ..build };
                    orders.builds.push(self.insert(build)?);
                }
                Work::Deploy { cluster, cause } => {
                    let deploy = deploy(&event, owed, cluster, cause, now);
                    orders.deploys.push(self.insert(deploy)?);
                }
            }
        }
        event.updates = moved.to_vec();
        event.state = EventState::Accepted;
        let repo = event.repo;
        self.owe_push(&event, &orders, now)?;
        self.settle_event(event)?;
        if !moved.is_empty() {
            self.touch_repo(repo, now)?;
        }
        Ok(orders)
    }

    /// Makes it *abandoned*; fine if it was.
    pub fn abandon(&mut self, id: EventId) -> Result<(), StoreError> {
        let mut event = self.view().must_event(id)?;
        match event.state {
            EventState::Intended => {}
            EventState::Abandoned => return Ok(()),
            EventState::Accepted => return Err(settled(id, "accepted")),
        }
        event.state = EventState::Abandoned;
        self.settle_event(event)
    }

    fn settle_event(&mut self, mut event: Event) -> Result<(), StoreError> {
        event.lease = None;
        self.remove(keys::intended_event(event.id))?;
        self.put_event(&event)
    }

    /// Writes the event and keeps the repository's sum of sizes.
    fn put_event(&mut self, event: &Event) -> Result<(), StoreError> {
        let sized = keys::event_of(event.repo, event.id);
        let old: u64 = self.get(&sized)?.unwrap_or(0);
        let bytes = u64::try_from(self.put(keys::event(event.id), event)?).unwrap_or(u64::MAX);
        self.put(sized, &bytes)?;
        let sum = Counter::EventBytesKept(event.repo);
        let total = self.count(sum)?.saturating_sub(old).saturating_add(bytes);
        self.put(keys::counter(sum), &total).map(drop)
    }

    /// Removes the oldest settled events beyond what is kept, some per write, oldest first.
    fn prune_events(&mut self, repo: RepoId) -> Result<(), StoreError> {
        let mut count = self.count(Counter::EventsKept(repo))?;
        let mut bytes = self.count(Counter::EventBytesKept(repo))?;
        let most = self.limits;
        let fits =
            |count: u64, bytes: u64| count <= most.pushes_kept as u64 && bytes <= most.pushes_kept_size;
        if fits(count, bytes) {
            return Ok(());
        }
        let oldest = self.view().keys(&keys::events_of(repo), Scan::Up).take(PRUNE_LOOKS);
        let oldest: Vec<_> = oldest.collect::<Result<_, _>>()?;
        let (mut gone, mut freed) = (0, 0);
        for key in oldest {
            if fits(count, bytes) || gone == PRUNED_PER_WRITE {
                break;
            }
            let Some(id) = key.last_number().map(EventId) else { continue };
            if self.has(&keys::intended_event(id))? {
                continue;
            }
            let size: u64 = self.get(&key)?.unwrap_or(0);
            self.remove(keys::event(id))?;
            self.remove(key)?;
            (count, bytes) = (count.saturating_sub(1), bytes.saturating_sub(size));
            (gone, freed) = (gone + 1, freed + size);
        }
        self.count_down(Counter::EventsKept(repo), gone as u64)?;
        self.count_down(Counter::EventBytesKept(repo), freed)
    }

    /// Forgets a repository's events, as part of its removal.
    pub(crate) fn remove_events_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for key in self.view().all_keys(&keys::events_of(repo))? {
            if let Some(id) = key.last_number().map(EventId) {
                self.remove(keys::intended_event(id))?;
                self.remove(keys::event(id))?;
            }
            self.remove(key)?;
        }
        self.remove(keys::counter(Counter::EventsKept(repo)))?;
        self.remove(keys::counter(Counter::EventBytesKept(repo)))
    }
}

impl Ledger for Store {
    fn intend(&self, mut event: Event) -> Result<Event, Problem> {
        self.transact(|tx| tx.intend(&mut event))?;
        Ok(event)
    }
    fn accept(&self, id: EventId, moved: &[RefUpdate], now: UnixMillis) -> Result<Orders, Problem> {
        self.transact(|tx| tx.accept(id, moved, now))
    }
    fn abandon(&self, id: EventId) -> Result<(), Problem> {
        self.transact(|tx| tx.abandon(id))
    }
    fn intended(&self) -> Result<Vec<Event>, Problem> {
        self.read(|view| view.intended())
    }
    fn bindings(&self, repo: RepoId) -> Result<Bindings, Problem> {
        self.read(|view| view.bindings(repo))
    }
}

impl Store {
    /// The event of that id.
    pub fn event(&self, id: EventId) -> Result<Option<Event>, Problem> {
        self.read(|view| view.event(id))
    }
    /// A repository's newest events, newest first, at most `limit`.
    pub fn events(&self, repo: RepoId, limit: usize) -> Result<Vec<Event>, Problem> {
        self.events_before(repo, None, limit)
    }
    /// A repository's events, newest first: those before `before` (`None`: from the newest), at most `limit`.
    pub fn events_before(
        &self,
        repo: RepoId,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Event>, Problem> {
        self.read(|view| view.events_before(repo, before, limit))
    }
}

/// What the event owes for the refs that moved.
fn due<'a>(event: &'a Event, moved: &'a [RefUpdate]) -> impl Iterator<Item = &'a Owed> {
    let refs: BTreeSet<&RefName> = moved.iter().map(|update| &update.name).collect();
    event.owed.iter().filter(move |owed| refs.contains(&owed.ref_name))
}

fn settled(id: EventId, as_what: &str) -> StoreError {
    let told = format!("Event {id} was {as_what} before.");
    refusal::refuse(ProblemKind::Conflict, told, "Look at the repository's refs and push again if need be.")
}

/// A build as the event owes it. What is known to be broken is recorded as failed and never starts.
fn build(event: &Event, owed: &Owed, broken: Option<&Problem>, now: UnixMillis) -> Build {
    let mut build = Build::queued(
        event.repo,
        BuildNumber(0),
        event.id,
        owed.ref_name.clone(),
        owed.commit,
        owed.title.clone(),
        event.actor.clone(),
        now,
    );
    build.no_cache = event.has_option(NO_CACHE);
    if let Some(problem) = broken {
        build.run.state = BuildState::Failed;
        build.run.failure = Some(Failure { class: FailureClass::User, problem: problem.clone() });
        build.run.ended = Some(now);
    }
    build
}

fn deploy(event: &Event, owed: &Owed, cluster: &ClusterName, cause: &DeployCause, now: UnixMillis) -> Deploy {
    Deploy::queued(
        event.repo,
        Some(event.id),
        cause.clone(),
        cluster.clone(),
        owed.commit,
        owed.title.clone(),
        event.actor.clone(),
        now,
    )
}
