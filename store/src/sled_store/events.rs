//! Events: intended, then accepted together with the work they owe, or abandoned. Decides nothing about that work.

use std::collections::BTreeSet;

use slipway_core::accept::Orders;
use slipway_core::build::{Build, BuildState};
use slipway_core::deploy::{Deploy, DeployCause};
use slipway_core::event::{Event, EventState, Owed, Work};
use slipway_core::run::{Failure, FailureClass};
use slipway_core::{
    BuildNumber, ClusterName, EventId, Problem, ProblemKind, RefName, RefUpdate, RepoId, UnixMillis,
};

use super::{refusal, repos, work};
use crate::disk::{Change, Disk, Scan};
use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::limits::{EVENT_BYTES_KEPT, EVENTS_KEPT, LIST_MAX, PRUNE_LOOKS, PRUNED_PER_WRITE};

pub(super) fn intend(disk: &Disk, mut event: Event) -> Result<Event, StoreError> {
    disk.write(|change| {
        repos::must_exist(change, event.repo)?;
        event.id = EventId(repos::count_up(change, Counter::EventIds)?);
        event.state = EventState::Intended;
        repos::count_up(change, Counter::EventsKept(event.repo))?;
        change.mark(keys::intended_event(event.id));
        put(change, &event)?;
        prune(change, event.repo)?;
        Ok(event)
    })
}

pub(super) fn accept(
    disk: &Disk,
    id: EventId,
    moved: &[RefUpdate],
    now: UnixMillis,
) -> Result<Orders, StoreError> {
    disk.write(|change| {
        let mut event = must_get(change, id)?;
        match event.state {
            EventState::Intended => {}
            EventState::Accepted => {
                return orders_of(change, &event);
            }
            EventState::Abandoned => return Err(settled(id, "abandoned")),
        }
        let mut orders = Orders::default();
        for owed in due(&event, moved) {
            match &owed.work {
                Work::Build { broken } => {
                    let build = build(&event, owed, broken.as_ref(), now);
                    orders.builds.push(work::insert(change, build)?);
                }
                Work::Deploy { cluster, cause } => {
                    let deploy = deploy(&event, owed, cluster, cause, now);
                    orders.deploys.push(work::insert(change, deploy)?);
                }
            }
        }
        event.updates = moved.to_vec();
        event.state = EventState::Accepted;
        settle(change, &event)?;
        Ok(orders)
    })
}

/// What the event owes for the refs that moved.
fn due<'a>(event: &'a Event, moved: &'a [RefUpdate]) -> impl Iterator<Item = &'a Owed> {
    let refs: BTreeSet<&RefName> = moved.iter().map(|update| &update.name).collect();
    event.owed.iter().filter(move |owed| refs.contains(&owed.ref_name))
}

/// What was recorded when the event was accepted. What was tried again since has higher numbers.
fn orders_of(change: &Change<'_>, event: &Event) -> Result<Orders, StoreError> {
    let view = change.before();
    let mut orders = Orders { builds: work::owed(view, event.id)?, deploys: work::owed(view, event.id)? };
    let all = due(event, &event.updates).count();
    let builds = due(event, &event.updates).filter(|owed| matches!(owed.work, Work::Build { .. })).count();
    orders.builds.truncate(builds);
    orders.deploys.truncate(all - builds);
    Ok(orders)
}

pub(super) fn abandon(disk: &Disk, id: EventId) -> Result<(), StoreError> {
    disk.write(|change| {
        let mut event = must_get(change, id)?;
        match event.state {
            EventState::Intended => {}
            EventState::Abandoned => return Ok(()),
            EventState::Accepted => return Err(settled(id, "accepted")),
        }
        event.state = EventState::Abandoned;
        settle(change, &event)
    })
}

fn must_get(change: &Change<'_>, id: EventId) -> Result<Event, StoreError> {
    change.get(&keys::event(id))?.ok_or_else(|| refusal::missing("event", id))
}

fn settled(id: EventId, as_what: &str) -> StoreError {
    let told = format!("Event {id} was {as_what} before.");
    refusal::refuse(ProblemKind::Conflict, told, "Look at the repository's refs and push again if need be.")
}

fn settle(change: &mut Change<'_>, event: &Event) -> Result<(), StoreError> {
    change.remove(keys::intended_event(event.id))?;
    put(change, event)
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

/// Writes the event and keeps the repository's sum of sizes.
fn put(change: &mut Change<'_>, event: &Event) -> Result<(), StoreError> {
    let sized = keys::event_of(event.repo, event.id);
    let old: u64 = change.get(&sized)?.unwrap_or(0);
    let bytes = u64::try_from(change.put(keys::event(event.id), event)?).unwrap_or(u64::MAX);
    change.put(sized, &bytes)?;
    let sum = Counter::EventBytesKept(event.repo);
    let total = repos::count(change, sum)?.saturating_sub(old).saturating_add(bytes);
    change.put(keys::counter(sum), &total).map(drop)
}

/// Removes the oldest settled events beyond what is kept, some per write, oldest first.
fn prune(change: &mut Change<'_>, repo: RepoId) -> Result<(), StoreError> {
    let mut count = repos::count(change, Counter::EventsKept(repo))?;
    let mut bytes = repos::count(change, Counter::EventBytesKept(repo))?;
    let view = change.before();
    let (mut gone, mut freed) = (0, 0);
    for key in view.keys(&keys::events_of(repo), Scan::Up).take(PRUNE_LOOKS) {
        if (count <= EVENTS_KEPT && bytes <= EVENT_BYTES_KEPT) || gone == PRUNED_PER_WRITE {
            break;
        }
        let key = key?;
        let Some(id) = key.last_number().map(EventId) else { continue };
        if change.has(&keys::intended_event(id))? {
            continue;
        }
        let size: u64 = change.get(&key)?.unwrap_or(0);
        change.remove(keys::event(id))?;
        change.remove(key)?;
        (count, bytes) = (count.saturating_sub(1), bytes.saturating_sub(size));
        (gone, freed) = (gone + 1, freed + size);
    }
    if gone > 0 {
        repos::count_down(change, Counter::EventsKept(repo), gone as u64)?;
        repos::count_down(change, Counter::EventBytesKept(repo), freed)?;
    }
    Ok(())
}

pub(super) fn intended(disk: &Disk) -> Result<Vec<Event>, StoreError> {
    disk.read(|view| {
        let mut found = Vec::new();
        for mark in view.keys(&keys::intended_events(), Scan::Up) {
            if let Some(id) = mark?.last_number() {
                found.extend(view.get(&keys::event(EventId(id)))?);
            }
        }
        Ok(found)
    })
}

pub(super) fn by_id(disk: &Disk, id: EventId) -> Result<Option<Event>, StoreError> {
    disk.read(|view| view.get(&keys::event(id)))
}

pub(super) fn newest(disk: &Disk, repo: RepoId, limit: usize) -> Result<Vec<Event>, StoreError> {
    disk.read(|view| {
        let mut found = Vec::new();
        for key in view.keys(&keys::events_of(repo), Scan::Down).take(limit.min(LIST_MAX)) {
            if let Some(id) = key?.last_number() {
                found.extend(view.get(&keys::event(EventId(id)))?);
            }
        }
        Ok(found)
    })
}

/// Forgets a repository's events, as part of its removal.
pub(super) fn remove_of_repo(change: &mut Change<'_>, repo: RepoId) -> Result<(), StoreError> {
    let view = change.before();
    for key in view.keys(&keys::events_of(repo), Scan::Up) {
        let key = key?;
        if let Some(id) = key.last_number().map(EventId) {
            change.remove(keys::intended_event(id))?;
            change.remove(keys::event(id))?;
        }
        change.remove(key)?;
    }
    change.remove(keys::counter(Counter::EventsKept(repo)))?;
    change.remove(keys::counter(Counter::EventBytesKept(repo)))
}
