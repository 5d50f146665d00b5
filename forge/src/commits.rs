//! Commits that the server makes for people: the manifest bump and the rollback. They go the way of every push.

use slipway_core::accept::{Proposal, Rights, Verdict};
use slipway_core::event::Cause;
use slipway_core::target::RepoRecord;
use slipway_core::{Oid, Problem, RefName, RefUpdate};
use slipway_repository::{Edit, Repository, Signature};

use crate::forge::Forge;

/// A commit to be made.
pub struct NewCommit<'a> {
    /// Where.
    pub record: &'a RepoRecord,
    /// Its objects.
    pub repository: &'a Repository,
    /// On which branch.
    pub branch: &'a RefName,
    /// On top of what; nothing for a branch's first.
    pub parent: Option<Oid>,
    /// What it changes.
    pub edits: &'a [Edit],
    /// Its message.
    pub message: &'a str,
    /// Why it is made.
    pub cause: Cause,
    /// For whom, as records call them.
    pub actor: String,
    /// Whether they may still have it made.
    pub rights: &'a dyn Rights,
}

/// Makes the commit as the server and takes it through the acceptance path.
///
/// # Errors
/// A [`Problem`] where it cannot be made or judged; what is refused is told in the verdict.
pub fn commit(forge: &Forge, new: NewCommit<'_>) -> Result<(Oid, Verdict), Problem> {
    let who = Signature {
        name: "Slipway".into(),
        email: "slipway@localhost".into(),
        at_ms: forge.now().0,
        offset_minutes: 0,
    };
    let (commit, mut objects) =
        new.repository.commit(new.parent.as_ref(), new.edits, new.message, &who, &who)?;
    let proposal = Proposal {
        repo: new.record.id,
        repo_name: &new.record.name,
        actor: new.actor,
        cause: new.cause,
        updates: vec![RefUpdate {
            name: new.branch.clone(),
            old: new.parent.unwrap_or_else(|| commit.zero_like()),
            new: commit,
        }],
        atomic: true,
        options: Vec::new(),
        certificate: None,
        rights: new.rights,
    };
    let verdict = forge.acceptance.accept(proposal, new.repository, &mut objects)?;
    Ok((commit, verdict))
}
