//! Builds and deploys by their commit, so that a page of commits asks of each what was made of it, and reads nothing else.
//!
//! Each has a mark under its commit, written with its record. Up to which number marks were written is recorded: those of records from
//! before there were marks, or that an earlier Slipway wrote since, are made up for when somebody asks.

use slipway_core::build::Build;
use slipway_core::deploy::Deploy;
use slipway_core::{Oid, Problem, RepoId};

use super::work::Numbered;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{LIST_MAX, MARKED_PER_WRITE};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

/// Work that is found by its commit.
pub(crate) trait OfCommit: Numbered {
    /// What is made of a commit.
    fn of_commit(repo: RepoId, commit: &Oid) -> Key;
    /// Up to which number there are marks.
    fn marked_to(repo: RepoId) -> Key;
}

impl OfCommit for Build {
    fn of_commit(repo: RepoId, commit: &Oid) -> Key {
        keys::builds_of_commit(repo, commit)
    }
    fn marked_to(repo: RepoId) -> Key {
        keys::builds_by_commit(repo)
    }
}

impl OfCommit for Deploy {
    fn of_commit(repo: RepoId, commit: &Oid) -> Key {
        keys::deploys_of_commit(repo, commit)
    }
    fn marked_to(repo: RepoId) -> Key {
        keys::deploys_by_commit(repo)
    }
}

impl View<'_> {
    /// The newest of each commit, at most `limit` of one.
    fn of_commits<W: OfCommit>(
        &self,
        repo: RepoId,
        commits: &[Oid],
        limit: usize,
    ) -> Result<Vec<W>, StoreError> {
        let mut found = Vec::new();
        for commit in commits {
            for mark in self.keys(&W::of_commit(repo, commit), Scan::Down).take(limit.min(LIST_MAX)) {
                if let Some(number) = mark?.last_number() {
                    found.extend(self.one::<W>(repo, number)?);
                }
            }
        }
        Ok(found)
    }

    /// True if some of a repository's have no mark.
    fn lacks_marks<W: OfCommit>(&self, repo: RepoId) -> Result<bool, StoreError> {
        let marked: u64 = self.get(&W::marked_to(repo))?.unwrap_or(0);
        let newest = self.keys(&W::all_of(repo), Scan::Down).next().transpose()?;
        Ok(newest.and_then(|key| key.last_number()).is_some_and(|newest| newest > marked))
    }
}

impl Tx<'_> {
    /// Marks new work.
    pub(crate) fn mark_commit<W: Numbered>(&mut self, work: &W) -> Result<(), StoreError> {
        let Some((mark, marked_to)) = work.commit_mark() else { return Ok(()) };
        self.mark(mark);
        let marked: u64 = self.get(&marked_to)?.unwrap_or(0);
        if marked + 1 == work.number() { self.put(marked_to, &work.number()).map(drop) } else { Ok(()) }
    }

    /// Marks some of what has no mark; false once all have.
    fn make_up_marks<W: OfCommit>(&mut self, repo: RepoId) -> Result<bool, StoreError> {
        let marked: u64 = self.get(&W::marked_to(repo))?.unwrap_or(0);
        let last = W::key(repo, marked);
        let some: Vec<W> = self
            .view()
            .records(&W::all_of(repo), Scan::UpAfter(&last))
            .take(MARKED_PER_WRITE)
            .collect::<Result<_, _>>()?;
        let Some(newest) = some.last().map(Numbered::number) else { return Ok(false) };
        for work in &some {
            if let Some((mark, _)) = work.commit_mark() {
                self.mark(mark);
            }
        }
        self.put(W::marked_to(repo), &newest)?;
        Ok(true)
    }
}

impl Store {
    /// The builds of these commits, the newest of each first, at most `limit` of each.
    pub fn builds_of_commits(
        &self,
        repo: RepoId,
        commits: &[Oid],
        limit: usize,
    ) -> Result<Vec<Build>, Problem> {
        self.of_commits(repo, commits, limit)
    }

    /// The deploys of these commits, the newest of each first, at most `limit` of each.
    pub fn deploys_of_commits(
        &self,
        repo: RepoId,
        commits: &[Oid],
        limit: usize,
    ) -> Result<Vec<Deploy>, Problem> {
        self.of_commits(repo, commits, limit)
    }

    fn of_commits<W: OfCommit>(
        &self,
        repo: RepoId,
        commits: &[Oid],
        limit: usize,
    ) -> Result<Vec<W>, Problem> {
        loop {
            let found = self.read(|view| match view.lacks_marks::<W>(repo)? {
                true => Ok(None),
                false => view.of_commits(repo, commits, limit).map(Some),
            })?;
            match found {
                Some(found) => return Ok(found),
                None => drop(self.transact(|tx| tx.make_up_marks::<W>(repo))?),
            }
        }
    }
}
