//! Which branch is a repository's default: the first that is pushed where there is none, or the one that an admin names.
//! Knows nothing of how HEAD is written.

use super::Acceptance;
use super::ports::{RefStore, Rights};
use crate::git::{RefName, RefUpdate};
use crate::id::RepoId;
use crate::name::RepoName;
use crate::problem::{Problem, ProblemKind};

/// What the first branch is called most often, first choice first.
const USUAL: [&str; 2] = ["refs/heads/main", "refs/heads/master"];

impl Acceptance {
    /// The default branch once these updates are made; `head` is what it was when last looked at. Refs are looked at only
    /// where a branch is made: most pushes make none.
    pub(super) fn default_after(
        &self,
        refs: &dyn RefStore,
        updates: &[RefUpdate],
        head: &RefName,
    ) -> Result<RefName, Problem> {
        if made_branches(updates).next().is_none() {
            return Ok(head.clone());
        }
        match self.first_branch(refs, updates)? {
            Some(branch) => Ok(branch),
            None => refs.default_branch(),
        }
    }

    /// Makes the first branch of a repository its default. Called once the refs have moved, and again by whoever settles
    /// what a crash cut off: the refs tell whether these updates brought the first branches.
    pub(super) fn adopt(&self, refs: &dyn RefStore, moved: &[RefUpdate]) -> Result<Option<RefName>, Problem> {
        let first = self.first_branch(refs, moved)?;
        if let Some(branch) = &first {
            refs.make_default(branch)?;
        }
        Ok(first)
    }

    /// The same, with a sentence for the pusher. A HEAD that cannot be written keeps no push from being accepted: there is
    /// a verb for it.
    pub(super) fn adopt_and_tell(
        &self,
        repo: &RepoName,
        refs: &dyn RefStore,
        moved: &[RefUpdate],
    ) -> Option<String> {
        match self.adopt(refs, moved) {
            Ok(branch) => branch.map(|b| format!("{} is the default branch of {repo} now", b.short())),
            Err(problem) => Some(format!(
                "the default branch is not set: {} Set it with: slipway repo set {repo} --default-branch NAME",
                problem.what
            )),
        }
    }

    /// The branch that these updates make the default, if the repository has no other. `None` if HEAD names it already.
    fn first_branch(&self, refs: &dyn RefStore, updates: &[RefUpdate]) -> Result<Option<RefName>, Problem> {
        let made: Vec<&RefName> = made_branches(updates).collect();
        if self.refs_alone || made.is_empty() || refs.has_branch_besides(&made)? {
            return Ok(None);
        }
        let head = refs.default_branch()?;
        // A detached HEAD was made so by hand.
        if head.as_branch().is_none() || made.contains(&&head) {
            return Ok(None);
        }
        let usual = USUAL.iter().find_map(|name| made.iter().find(|m| m.as_str() == *name));
        Ok(usual.or(made.first()).map(|name| (*name).clone()))
    }

    /// Makes a branch the default because somebody says so. It must be there, unless the repository has no branch at all.
    /// Blocking.
    ///
    /// # Errors
    /// `Invalid` for what is no branch; `NotFound` for a branch that is not there; what `rights` say now.
    pub fn make_default(
        &self,
        repo: (RepoId, &RepoName),
        branch: &RefName,
        refs: &dyn RefStore,
        rights: &dyn Rights,
    ) -> Result<(), Problem> {
        let Some(short) = branch.as_branch() else {
            return Err(Problem::new(
                ProblemKind::Invalid,
                format!("{branch} is no branch."),
                "Name a branch of the repository.",
            ));
        };
        let _turn = self.turn(repo.0);
        self.settle_before(repo.0, refs)?;
        rights.still()?;
        if refs.current(branch)?.is_none() && refs.has_branch_besides(&[])? {
            return Err(Problem::new(
                ProblemKind::NotFound,
                format!("{} has no branch {short}.", repo.1),
                "Push it first, or name a branch that is there.",
            ));
        }
        refs.make_default(branch)
    }
}

fn made_branches(updates: &[RefUpdate]) -> impl Iterator<Item = &RefName> {
    let made = |u: &&RefUpdate| u.is_create() && !u.is_delete() && u.name.as_branch().is_some();
    updates.iter().filter(made).map(|u| &u.name)
}

/// What to do where the deletion of a default branch is refused: with a branch that the same push makes, if there is one.
pub fn default_branch_cure(repo: &RepoName, kept: Option<&RefName>) -> String {
    let other = kept.and_then(RefName::as_branch).unwrap_or("OTHER");
    format!("Make another branch the default first: slipway repo set {repo} --default-branch {other}")
}
