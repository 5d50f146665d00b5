//! Builds and deploys: numbered, found by repository, by event and while unfinished. One code for both; what they mean
//! is core's matter.

use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::{BuildNumber, DeployNumber, EventId, RepoId, UnixMillis};

use super::{refusal, repos};
use crate::disk::{Change, Disk, Scan, View};
use crate::error::StoreError;
use crate::keys::{self, Counter, Key};
use crate::limits::{BUILDS_KEPT, DEPLOYS_KEPT, LIST_MAX, PRUNE_LOOKS, PRUNED_PER_WRITE};

/// A kind of numbered work.
pub(super) trait Numbered: Serialize + DeserializeOwned {
    /// Its name in sentences.
    const WHAT: &'static str;
    /// How many are kept per repository.
    const KEPT: u64;
    fn repo(&self) -> RepoId;
    fn number(&self) -> u64;
    fn set_number(&mut self, number: u64);
    fn event(&self) -> Option<EventId>;
    fn is_final(&self) -> bool;
    fn created(&self) -> UnixMillis;
    fn counter(repo: RepoId) -> Counter;
    fn all_of(repo: RepoId) -> Key;
    fn key(repo: RepoId, number: u64) -> Key;
    fn unfinished() -> Key;
    fn unfinished_mark(repo: RepoId, number: u64) -> Key;
    fn of_event(event: EventId) -> Key;
    fn event_mark(event: EventId, repo: RepoId, number: u64) -> Key;
}

impl Numbered for Build {
    const WHAT: &'static str = "build";
    const KEPT: u64 = BUILDS_KEPT;
    fn repo(&self) -> RepoId {
        self.repo
    }
    fn number(&self) -> u64 {
        self.number.0
    }
    fn set_number(&mut self, number: u64) {
        self.number = BuildNumber(number);
    }
    fn event(&self) -> Option<EventId> {
        Some(self.event)
    }
    fn is_final(&self) -> bool {
        self.run.state.is_final()
    }
    fn created(&self) -> UnixMillis {
        self.run.created
    }
    fn counter(repo: RepoId) -> Counter {
        Counter::Builds(repo)
    }
    fn all_of(repo: RepoId) -> Key {
        keys::builds(repo)
    }
    fn key(repo: RepoId, number: u64) -> Key {
        keys::build(repo, BuildNumber(number))
    }
    fn unfinished() -> Key {
        keys::unfinished_builds()
    }
    fn unfinished_mark(repo: RepoId, number: u64) -> Key {
        keys::unfinished_build(repo, BuildNumber(number))
    }
    fn of_event(event: EventId) -> Key {
        keys::builds_of(event)
    }
    fn event_mark(event: EventId, repo: RepoId, number: u64) -> Key {
        keys::build_of(event, repo, BuildNumber(number))
    }
}

impl Numbered for Deploy {
    const WHAT: &'static str = "deploy";
    const KEPT: u64 = DEPLOYS_KEPT;
    fn repo(&self) -> RepoId {
        self.repo
    }
    fn number(&self) -> u64 {
        self.number.0
    }
    fn set_number(&mut self, number: u64) {
        self.number = DeployNumber(number);
    }
    fn event(&self) -> Option<EventId> {
        self.event
    }
    fn is_final(&self) -> bool {
        self.run.state.is_final()
    }
    fn created(&self) -> UnixMillis {
        self.run.created
    }
    fn counter(repo: RepoId) -> Counter {
        Counter::Deploys(repo)
    }
    fn all_of(repo: RepoId) -> Key {
        keys::deploys(repo)
    }
    fn key(repo: RepoId, number: u64) -> Key {
        keys::deploy(repo, DeployNumber(number))
    }
    fn unfinished() -> Key {
        keys::unfinished_deploys()
    }
    fn unfinished_mark(repo: RepoId, number: u64) -> Key {
        keys::unfinished_deploy(repo, DeployNumber(number))
    }
    fn of_event(event: EventId) -> Key {
        keys::deploys_of(event)
    }
    fn event_mark(event: EventId, repo: RepoId, number: u64) -> Key {
        keys::deploy_of(event, repo, DeployNumber(number))
    }
}

pub(super) fn one<W: Numbered>(disk: &Disk, repo: RepoId, number: u64) -> Result<Option<W>, StoreError> {
    disk.read(|view| view.get(&W::key(repo, number)))
}

pub(super) fn newest<W: Numbered>(
    disk: &Disk,
    repo: RepoId,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<W>, StoreError> {
    let before = before.map(|number| W::key(repo, number));
    let scan = before.as_ref().map_or(Scan::Down, Scan::DownFrom);
    disk.read(|view| view.records(&W::all_of(repo), scan).take(limit.min(LIST_MAX)).collect())
}

pub(super) fn unfinished<W: Numbered>(disk: &Disk) -> Result<Vec<W>, StoreError> {
    let mut found: Vec<W> = disk.read(|view| marked(view, &W::unfinished()))?;
    found.sort_by_key(|work| (work.created(), work.repo(), work.number()));
    Ok(found)
}

pub(super) fn of_event<W: Numbered>(disk: &Disk, event: EventId) -> Result<Vec<W>, StoreError> {
    disk.read(|view| marked(view, &W::of_event(event)))
}

/// What an event owes, seen from inside a change.
pub(super) fn owed<W: Numbered>(view: View<'_>, event: EventId) -> Result<Vec<W>, StoreError> {
    marked(view, &W::of_event(event))
}

fn marked<W: Numbered>(view: View<'_>, marks: &Key) -> Result<Vec<W>, StoreError> {
    let mut found = Vec::new();
    for mark in view.keys(marks, Scan::Up) {
        if let Some((repo, number)) = mark?.last_two_numbers() {
            found.extend(view.get(&W::key(RepoId(repo), number))?);
        }
    }
    Ok(found)
}

pub(super) fn put<W: Numbered>(disk: &Disk, work: &W) -> Result<(), StoreError> {
    disk.write(|change| {
        let key = W::key(work.repo(), work.number());
        let old: W = change.get(&key)?.ok_or_else(|| {
            refusal::missing(W::WHAT, format!("{} in repository number {}", work.number(), work.repo()))
        })?;
        if old.event() != work.event() {
            unmark_event(change, &old)?;
        }
        mark(change, work)?;
        change.put(key, work).map(drop)
    })
}

pub(super) fn add<W: Numbered>(disk: &Disk, work: W) -> Result<W, StoreError> {
    disk.write(|change| {
        repos::must_exist(change, work.repo())?;
        insert(change, work)
    })
}

/// Gives new work its number and records it, as part of a change.
pub(super) fn insert<W: Numbered>(change: &mut Change<'_>, mut work: W) -> Result<W, StoreError> {
    let number = repos::count_up(change, W::counter(work.repo()))?;
    work.set_number(number);
    mark(change, &work)?;
    change.put(W::key(work.repo(), number), &work)?;
    prune::<W>(change, work.repo(), number)?;
    Ok(work)
}

fn mark<W: Numbered>(change: &mut Change<'_>, work: &W) -> Result<(), StoreError> {
    let (repo, number) = (work.repo(), work.number());
    if let Some(event) = work.event() {
        change.mark(W::event_mark(event, repo, number));
    }
    let unfinished = W::unfinished_mark(repo, number);
    if work.is_final() {
        return change.remove(unfinished);
    }
    change.mark(unfinished);
    Ok(())
}

fn unmark_event<W: Numbered>(change: &mut Change<'_>, work: &W) -> Result<(), StoreError> {
    match work.event() {
        Some(event) => change.remove(W::event_mark(event, work.repo(), work.number())),
        None => Ok(()),
    }
}

fn forget<W: Numbered>(change: &mut Change<'_>, work: &W) -> Result<(), StoreError> {
    let (repo, number) = (work.repo(), work.number());
    unmark_event(change, work)?;
    change.remove(W::unfinished_mark(repo, number))?;
    change.remove(W::key(repo, number))
}

/// Removes the oldest final work beyond what is kept, some per write.
fn prune<W: Numbered>(change: &mut Change<'_>, repo: RepoId, newest: u64) -> Result<(), StoreError> {
    let oldest_kept = newest.saturating_sub(W::KEPT).saturating_add(1);
    let mut gone = 0;
    let view = change.before();
    for key in view.keys(&W::all_of(repo), Scan::Up).take(PRUNE_LOOKS) {
        let key = key?;
        let too_old = key.last_number().is_some_and(|number| number < oldest_kept);
        if !too_old || gone == PRUNED_PER_WRITE {
            break;
        }
        let Some(work) = change.get::<W>(&key)?.filter(Numbered::is_final) else { continue };
        forget(change, &work)?;
        gone += 1;
    }
    Ok(())
}

/// Forgets a repository's builds and deploys, as part of its removal.
pub(super) fn remove_of_repo(change: &mut Change<'_>, repo: RepoId) -> Result<(), StoreError> {
    remove_all::<Build>(change, repo)?;
    remove_all::<Deploy>(change, repo)
}

fn remove_all<W: Numbered>(change: &mut Change<'_>, repo: RepoId) -> Result<(), StoreError> {
    let view = change.before();
    for work in view.records::<W>(&W::all_of(repo), Scan::Up) {
        forget(change, &work?)?;
    }
    change.remove(keys::counter(W::counter(repo)))
}
