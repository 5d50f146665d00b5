//! Builds and deploys: numbered, found by repository, by event and while unfinished. One code for both; what they mean
//! is core's matter.

use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_core::build::{Build, LogRemoved};
use slipway_core::delivery::Told;
use slipway_core::deploy::Deploy;
use slipway_core::limits::Limits;
use slipway_core::run::Machine;
use slipway_core::{BuildNumber, DeployNumber, EventId, Problem, ProblemKind, RepoId, UnixMillis};

use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys::{self, Counter, Key};
use crate::limits::{LIST_MAX, PRUNE_LOOKS, PRUNED_PER_WRITE};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

/// A kind of numbered work.
pub(crate) trait Numbered: Machine + Serialize + DeserializeOwned {
    /// Its name in sentences.
    const WHAT: &'static str;
    /// How many are kept per repository.
    fn kept(limits: &Limits) -> usize;
    fn repo(&self) -> RepoId;
    fn number(&self) -> u64;
    fn set_number(&mut self, number: u64);
    fn event(&self) -> Option<EventId>;
    fn is_final(&self) -> bool;
    fn created(&self) -> UnixMillis;
    /// What those who listen are told once it is final.
    fn told(&self) -> Option<Told>;
    fn counter(repo: RepoId) -> Counter;
    fn all_of(repo: RepoId) -> Key;
    fn key(repo: RepoId, number: u64) -> Key;
    fn unfinished() -> Key;
    fn unfinished_mark(repo: RepoId, number: u64) -> Key;
    fn of_event(event: EventId) -> Key;
    fn event_mark(event: EventId, repo: RepoId, number: u64) -> Key;
    /// Its mark under its commit, and where is recorded up to which number there are such marks.
    fn commit_mark(&self) -> Option<(Key, Key)> {
        None
    }
}

impl Numbered for Build {
    const WHAT: &'static str = "build";
    fn kept(limits: &Limits) -> usize {
        limits.builds_kept
    }
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
    fn told(&self) -> Option<Told> {
        Some(Told::Build { build: self.number })
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
    fn commit_mark(&self) -> Option<(Key, Key)> {
        let mark = keys::builds_of_commit(self.repo, &self.commit).number(self.number.0);
        Some((mark, keys::builds_by_commit(self.repo)))
    }
}

impl Numbered for Deploy {
    const WHAT: &'static str = "deploy";
    fn kept(limits: &Limits) -> usize {
        limits.deploys_kept
    }
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
    fn told(&self) -> Option<Told> {
        Some(Told::Deploy { deploy: self.number })
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
    fn commit_mark(&self) -> Option<(Key, Key)> {
        let mark = keys::deploys_of_commit(self.repo, &self.commit).number(self.number.0);
        Some((mark, keys::deploys_by_commit(self.repo)))
    }
}

/// Whoever writes has lost the work: what it has to say of it is of the past.
fn taken<W: Numbered>(work: &W) -> StoreError {
    let told = format!("Another has taken {} {} over.", W::WHAT, work.number());
    refusal::refuse(ProblemKind::Conflict, told, "Nothing needs to be done: it goes on there.")
}

impl View<'_> {
    /// The build of that number.
    pub fn build(&self, repo: RepoId, number: BuildNumber) -> Result<Option<Build>, StoreError> {
        self.one(repo, number.0)
    }

    /// The newest builds of a repository, at most `limit`.
    pub fn newest_builds(&self, repo: RepoId, limit: usize) -> Result<Vec<Build>, StoreError> {
        self.newest(repo, None, limit)
    }

    /// The deploys of a repository that are not over.
    pub fn unfinished_deploys_of(&self, repo: RepoId) -> Result<Vec<Deploy>, StoreError> {
        Ok(self.unfinished::<Deploy>()?.into_iter().filter(|deploy| deploy.repo == repo).collect())
    }

    /// Builds of a repository that are not final.
    pub fn unfinished_builds_of(&self, repo: RepoId) -> Result<Vec<Build>, StoreError> {
        self.marked(&keys::unfinished_builds_of(repo))
    }

    /// The build or deploy of that number.
    pub(crate) fn one<W: Numbered>(&self, repo: RepoId, number: u64) -> Result<Option<W>, StoreError> {
        self.get(&W::key(repo, number))
    }

    /// The newest ones, those before `before`, at most `limit`.
    pub(crate) fn newest<W: Numbered>(
        &self,
        repo: RepoId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<W>, StoreError> {
        let before = before.map(|number| W::key(repo, number));
        let scan = before.as_ref().map_or(Scan::Down, Scan::DownFrom);
        self.records(&W::all_of(repo), scan).take(limit.min(LIST_MAX)).collect()
    }

    /// Those that are not final, of all repositories, oldest first.
    pub(crate) fn unfinished<W: Numbered>(&self) -> Result<Vec<W>, StoreError> {
        let mut found: Vec<W> = self.marked(&W::unfinished())?;
        found.sort_by_key(|work| (work.created(), work.repo(), work.number()));
        Ok(found)
    }

    /// What an event owes.
    pub(crate) fn owed<W: Numbered>(&self, event: EventId) -> Result<Vec<W>, StoreError> {
        self.marked(&W::of_event(event))
    }

    pub(crate) fn marked<W: Numbered>(&self, marks: &Key) -> Result<Vec<W>, StoreError> {
        let mut found = Vec::new();
        for mark in self.keys(marks, Scan::Up) {
            if let Some((repo, number)) = mark?.last_two_numbers() {
                found.extend(self.one(RepoId(repo), number)?);
            }
        }
        Ok(found)
    }
}

impl Tx<'_> {
    /// Records a new build under the next number of its repository; the number in `build` is ignored.
    pub fn add_build(&mut self, build: Build) -> Result<Build, StoreError> {
        self.insert(build)
    }

    /// Records a new deploy under the next number of its repository; the number in `deploy` is ignored.
    pub fn add_deploy(&mut self, deploy: Deploy) -> Result<Deploy, StoreError> {
        self.insert(deploy)
    }

    /// Replaces what is recorded under its number.
    pub(crate) fn replace<W: Numbered>(&mut self, work: &W) -> Result<(), StoreError> {
        let key = W::key(work.repo(), work.number());
        let old: W = self.get(&key)?.ok_or_else(|| {
            refusal::missing(W::WHAT, format!("{} in repository number {}", work.number(), work.repo()))
        })?;
        if old.run().is_taken_from(work.run()) {
            return Err(taken(work));
        }
        if old.event() != work.event() {
            self.unmark_event(&old)?;
        }
        self.mark_work(work)?;
        self.put(key, work)?;
        if work.is_final() && !old.is_final() { self.owe_end(work) } else { Ok(()) }
    }

    /// Gives new work its number and records it.
    pub(crate) fn insert<W: Numbered>(&mut self, mut work: W) -> Result<W, StoreError> {
        self.need_repo(work.repo())?;
        let number = self.count_up(W::counter(work.repo()))?;
        work.set_number(number);
        self.mark_work(&work)?;
        self.mark_commit(&work)?;
        self.put(W::key(work.repo(), number), &work)?;
        self.prune_work::<W>(work.repo(), number)?;
        Ok(work)
    }

    fn mark_work<W: Numbered>(&mut self, work: &W) -> Result<(), StoreError> {
        let (repo, number) = (work.repo(), work.number());
        if let Some(event) = work.event() {
            self.mark(W::event_mark(event, repo, number));
        }
        let unfinished = W::unfinished_mark(repo, number);
        if work.is_final() {
            return self.remove(unfinished);
        }
        self.mark(unfinished);
        Ok(())
    }

    fn unmark_event<W: Numbered>(&mut self, work: &W) -> Result<(), StoreError> {
        match work.event() {
            Some(event) => self.remove(W::event_mark(event, work.repo(), work.number())),
            None => Ok(()),
        }
    }

    pub(crate) fn forget_work<W: Numbered>(&mut self, work: &W) -> Result<(), StoreError> {
        let (repo, number) = (work.repo(), work.number());
        self.unmark_event(work)?;
        if let Some((mark, _)) = work.commit_mark() {
            self.remove(mark)?;
        }
        self.remove(W::unfinished_mark(repo, number))?;
        self.remove(W::key(repo, number))
    }

    /// Removes the oldest final work beyond what is kept, some per write.
    fn prune_work<W: Numbered>(&mut self, repo: RepoId, newest: u64) -> Result<(), StoreError> {
        let oldest_kept = newest.saturating_sub(W::kept(self.limits) as u64).saturating_add(1);
        let mut old = Vec::new();
        for key in self.view().keys(&W::all_of(repo), Scan::Up).take(PRUNE_LOOKS) {
            let key = key?;
            if key.last_number().is_none_or(|number| number >= oldest_kept) {
                break;
            }
            old.push(key);
        }
        let mut gone = 0;
        for key in old {
            if gone == PRUNED_PER_WRITE {
                break;
            }
            let Some(work) = self.get::<W>(&key)?.filter(Numbered::is_final) else { continue };
            self.forget_work(&work)?;
            gone += 1;
        }
        Ok(())
    }

    /// Forgets a repository's builds and deploys, as part of its removal.
    pub(crate) fn remove_work_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        self.remove_all_work::<Build>(repo)?;
        self.remove(keys::builds_by_commit(repo))?;
        self.remove_all_work::<Deploy>(repo)?;
        self.remove(keys::deploys_by_commit(repo))
    }

    pub(crate) fn remove_all_work<W: Numbered>(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for key in self.view().all_keys(&W::all_of(repo))? {
            if let Some(work) = self.get::<W>(&key)? {
                self.forget_work(&work)?;
            }
        }
        self.remove(keys::counter(W::counter(repo)))
    }
}

impl Store {
    /// The build of that number.
    pub fn build(&self, repo: RepoId, number: BuildNumber) -> Result<Option<Build>, Problem> {
        self.read(|view| view.one(repo, number.0))
    }
    /// Builds, newest first, those before `before` (`None`: from the newest), at most `limit`.
    pub fn builds(
        &self,
        repo: RepoId,
        before: Option<BuildNumber>,
        limit: usize,
    ) -> Result<Vec<Build>, Problem> {
        self.read(|view| view.newest(repo, before.map(|n| n.0), limit))
    }
    /// Builds that are not final, of all repositories, oldest first.
    pub fn unfinished_builds(&self) -> Result<Vec<Build>, Problem> {
        self.read(|view| view.unfinished())
    }
    /// The builds that an event owes.
    pub fn builds_of_event(&self, event: EventId) -> Result<Vec<Build>, Problem> {
        self.read(|view| view.owed(event))
    }
    /// Replaces a build's record; `Conflict` for who has lost its lease.
    pub fn put_build(&self, build: &Build) -> Result<(), Problem> {
        self.transact(|tx| tx.replace(build))
    }
    /// Records that the log of a build that is over is kept no longer. False where it is not over, and nothing is recorded.
    pub fn remove_log(
        &self,
        repo: RepoId,
        number: BuildNumber,
        removed: &LogRemoved,
    ) -> Result<bool, Problem> {
        self.transact(|tx| {
            let Some(mut build) = tx.view().build(repo, number)? else { return Ok(true) };
            if !build.run.state.is_final() {
                return Ok(false);
            }
            build.results.log_removed.get_or_insert_with(|| removed.clone());
            tx.replace(&build)?;
            Ok(true)
        })
    }
    /// Records a new build (a retry) under the next number of its repository; the number in `build` is ignored.
    pub fn add_build(&self, build: Build) -> Result<Build, Problem> {
        self.transact(|tx| tx.insert(build.clone()))
    }

    /// The deploy of that number.
    pub fn deploy(&self, repo: RepoId, number: DeployNumber) -> Result<Option<Deploy>, Problem> {
        self.read(|view| view.one(repo, number.0))
    }
    /// Deploys, newest first, those before `before` (`None`: from the newest), at most `limit`.
    pub fn deploys(
        &self,
        repo: RepoId,
        before: Option<DeployNumber>,
        limit: usize,
    ) -> Result<Vec<Deploy>, Problem> {
        self.read(|view| view.newest(repo, before.map(|n| n.0), limit))
    }
    /// Deploys that are not final, of all repositories, oldest first.
    pub fn unfinished_deploys(&self) -> Result<Vec<Deploy>, Problem> {
        self.read(|view| view.unfinished())
    }
    /// The deploys that an event owes.
    pub fn deploys_of_event(&self, event: EventId) -> Result<Vec<Deploy>, Problem> {
        self.read(|view| view.owed(event))
    }
    /// Replaces a deploy's record; `Conflict` for who has lost its lease.
    pub fn put_deploy(&self, deploy: &Deploy) -> Result<(), Problem> {
        self.transact(|tx| tx.replace(deploy))
    }
    /// Records a new deploy (a sync, a rollback) under the next number; the number in `deploy` is ignored.
    pub fn add_deploy(&self, deploy: Deploy) -> Result<Deploy, Problem> {
        self.transact(|tx| tx.insert(deploy.clone()))
    }
}
