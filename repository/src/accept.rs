//! What core asks of a repository and of a push: the traits of `slipway_core::accept` and `slipway_core::files`.

use std::collections::HashSet;

use slipway_core::accept::{CommitFacts, Incoming, RefStore};
use slipway_core::files::{Blob, Files, Other};
use slipway_core::{Oid, Problem, RefName, RefUpdate};

use crate::browse::incoming;
use crate::error::{RepoError, Result};
use crate::receive::Received;
use crate::refs::{RawRefs, update};
use crate::repository::{Repository, peel};
use crate::snapshot::Snapshot;

impl Repository {
    /// Points HEAD at a branch, born or not.
    ///
    /// # Errors
    /// [`RepoError::RefRefused`] if the name is no branch's.
    pub fn set_head(&self, branch: &RefName) -> Result<()> {
        if branch.as_branch().is_none() {
            return Err(RepoError::RefRefused {
                name: branch.clone(),
                why: "is no branch, and HEAD names one".into(),
            });
        }
        let _turn = self.write_turn();
        self.holds().before_write(self.root())?;
        update::set_head(self.root(), branch)
    }
}

impl RefStore for Repository {
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem> {
        Ok(self.snapshot()?.target_of(name.as_str())?)
    }

    fn update(&self, updates: &[RefUpdate], atomic: bool) -> Result<Vec<Result<(), Problem>>, Problem> {
        let _turn = self.write_turn();
        let snapshot = self.snapshot()?;
        let known = |id: &Oid| Ok(peel(&snapshot, id)?.map(|end| (end != *id).then_some(end)));
        self.holds().before_write(self.root())?;
        let outcomes = update::update(self.root(), updates, atomic, &known)?;
        Ok(outcomes.into_iter().map(|o| o.map_err(Problem::from)).collect())
    }

    fn default_branch(&self) -> Result<RefName, Problem> {
        let snapshot = self.snapshot()?;
        snapshot.check_head()?;
        Ok(snapshot.head().clone())
    }

    fn has_branch_besides(&self, these: &[&RefName]) -> Result<bool, Problem> {
        let these: HashSet<&RefName> = these.iter().copied().collect();
        let is_other = |name: &RefName| name.as_branch().is_some() && !these.contains(name);
        let snapshot = self.snapshot()?;
        if snapshot.refs().iter().any(|r| is_other(&r.name)) {
            return Ok(true);
        }
        // A branch that leads nowhere is not shown, and is there all the same: what is damaged has a history.
        Ok(RawRefs::read(self.root())?.refs.keys().any(is_other))
    }

    fn make_default(&self, branch: &RefName) -> Result<(), Problem> {
        Ok(self.set_head(branch)?)
    }
}

impl Files for Snapshot {
    fn files_at(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
    ) -> Result<bool, Problem> {
        incoming::files_at(self, commit, path, each)
    }

    fn others_at(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&str, Other, &Oid) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        incoming::others_at(self, commit, path, each)
    }

    fn messages(&self, old: Option<&Oid>, new: &Oid, max: usize) -> Result<Vec<String>, Problem> {
        incoming::messages(self, old, new, max)
    }

    fn blob(&self, id: &Oid, max: u64) -> Result<Blob, Problem> {
        incoming::blob(self, id, max)
    }
}

impl Files for Received {
    fn files_at(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
    ) -> Result<bool, Problem> {
        incoming::files_at(self, commit, path, each)
    }

    fn others_at(
        &self,
        commit: &Oid,
        path: &str,
        each: &mut dyn FnMut(&str, Other, &Oid) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        incoming::others_at(self, commit, path, each)
    }

    fn messages(&self, old: Option<&Oid>, new: &Oid, max: usize) -> Result<Vec<String>, Problem> {
        incoming::messages(self, old, new, max)
    }

    fn blob(&self, id: &Oid, max: u64) -> Result<Blob, Problem> {
        incoming::blob(self, id, max)
    }
}

impl Incoming for Received {
    fn file(&self, commit: &Oid, path: &str, max: u64) -> Result<Option<Vec<u8>>, Problem> {
        incoming::file(self, commit, path, max)
    }

    fn has_file(&self, commit: &Oid, path: &str) -> Result<bool, Problem> {
        incoming::has_file(self, commit, path)
    }

    fn commit(&self, id: &Oid) -> Result<Option<CommitFacts>, Problem> {
        incoming::commit(self, id)
    }

    fn changed_paths(
        &self,
        old: Option<&Oid>,
        new: &Oid,
        max: usize,
    ) -> Result<Option<Vec<String>>, Problem> {
        incoming::changed_paths(self, old, new, max)
    }

    fn publish(&mut self) -> Result<(), Problem> {
        self.publish_objects().map_err(Problem::from)
    }

    fn narrow(&mut self, updates: &[RefUpdate]) {
        self.narrow_ends(updates);
    }
}
