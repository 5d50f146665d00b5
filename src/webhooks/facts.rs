//! What a delivery tells of, read when it is sent. Blocking. Knows no form in which it is told.

use slipway_core::accept::RefStore;
use slipway_core::build::Build;
use slipway_core::delivery::{Delivery, Told};
use slipway_core::deploy::Deploy;
use slipway_core::target::RepoRecord;
use slipway_core::webhook::Webhook;
use slipway_core::{Problem, ProblemKind, RefName, RefUpdate, Secret};
use slipway_repository::{ChangeKind, Commit, DiffLimits, Repository, Snapshot};

use crate::rooms::Rooms;

/// Most commits that one delivery lists, as Gitea does.
const COMMITS_MAX: usize = 20;
/// Most changed files that are listed of one commit.
const FILES_MAX: usize = 300;

/// Everything that a message is made of.
pub(super) struct Facts {
    pub(super) repo: RepoRecord,
    pub(super) default_branch: RefName,
    pub(super) webhook: Webhook,
    pub(super) secret: Option<Secret>,
    pub(super) what: What,
}

/// What happened.
pub(super) enum What {
    Push(Push),
    Build(Box<Build>),
    Deploy(Box<Deploy>),
}

/// A ref that moved.
pub(super) struct Push {
    pub(super) actor: String,
    pub(super) update: RefUpdate,
    /// Newest last, as consumers expect them; those on the way of first parents.
    pub(super) commits: Vec<Listed>,
    /// What was there before is not in it any more.
    pub(super) forced: bool,
}

/// A commit with the files that it changes.
pub(super) struct Listed {
    pub(super) commit: Commit,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) modified: Vec<String>,
}

/// Reads them.
pub(super) fn gather(rooms: &Rooms, delivery: &Delivery) -> Result<Facts, Problem> {
    let store = &rooms.store;
    let repo = store.repo(delivery.repo)?.ok_or_else(|| gone("repository"))?;
    let webhook = store.webhook(repo.id, delivery.webhook)?.ok_or_else(|| gone("webhook"))?;
    let secret = store.webhook_secret(repo.id, webhook.number)?;
    let repository = rooms.repositories.get(repo.id)?;
    let what = match &delivery.told {
        Told::Push { actor, update, .. } => What::Push(push(&repository, actor, update)?),
        Told::Build { build } => {
            let build = store.build(repo.id, *build)?.ok_or_else(|| gone("build"))?;
            shown(&repository, &build.ref_name)?;
            What::Build(Box::new(build))
        }
        Told::Deploy { deploy } => {
            What::Deploy(Box::new(store.deploy(repo.id, *deploy)?.ok_or_else(|| gone("deploy"))?))
        }
    };
    let default_branch = RefStore::default_branch(repository.as_ref())?;
    Ok(Facts { repo, default_branch, webhook, secret, what })
}

fn gone(what: &str) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("The {what} is gone."), "Nothing needs to be done.")
}

/// What git hides from those who fetch, nobody is told of.
fn shown(repository: &Repository, name: &RefName) -> Result<(), Problem> {
    if !repository.settings()?.hidden_from_fetch.hides(name.as_str()) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::Denied,
        format!("{name} is hidden in this repository (transfer.hideRefs)."),
        "Nothing needs to be done: what is hidden is told to nobody.",
    ))
}

fn push(repository: &Repository, actor: &str, update: &RefUpdate) -> Result<Push, Problem> {
    shown(repository, &update.name)?;
    let snapshot = repository.snapshot()?;
    let (commits, forced) = if update.is_delete() {
        (Vec::new(), false)
    } else {
        (commits(&snapshot, update)?, is_forced(&snapshot, update)?)
    };
    Ok(Push { actor: actor.to_owned(), update: update.clone(), commits, forced })
}

/// A commit that has gone since makes the list shorter, not the delivery impossible.
fn commits(snapshot: &Snapshot, update: &RefUpdate) -> Result<Vec<Listed>, Problem> {
    let mut found = Vec::new();
    let mut next = Some(update.new);
    while let Some(id) = next.filter(|id| *id != update.old) {
        let Some(commit) = snapshot.commit(&id)? else { break };
        let parent = commit.parents.first().copied();
        found.push(listed(snapshot, commit)?);
        // Of a new branch the tip alone is news.
        next = parent.filter(|_| !update.is_create() && found.len() < COMMITS_MAX);
    }
    found.reverse();
    Ok(found)
}

fn listed(snapshot: &Snapshot, commit: Commit) -> Result<Listed, Problem> {
    let names = DiffLimits { files_max: FILES_MAX, lines_max: 0, blob_bytes_max: 0, context: 0 };
    let diff = snapshot.diff(commit.parents.first(), &commit.id, &names)?;
    let mut listed = Listed { commit, added: Vec::new(), removed: Vec::new(), modified: Vec::new() };
    for file in diff.files {
        match file.kind {
            ChangeKind::Added => listed.added.push(file.new_path),
            ChangeKind::Removed => listed.removed.push(file.old_path),
            ChangeKind::Modified | ChangeKind::TypeChanged => listed.modified.push(file.new_path),
            ChangeKind::Renamed => {
                listed.removed.push(file.old_path);
                listed.added.push(file.new_path);
            }
        }
    }
    Ok(listed)
}

fn is_forced(snapshot: &Snapshot, update: &RefUpdate) -> Result<bool, Problem> {
    if update.is_create() || !update.name.as_str().starts_with("refs/heads/") {
        return Ok(false);
    }
    match (snapshot.commit(&update.old)?, snapshot.commit(&update.new)?) {
        (Some(_), Some(_)) => Ok(!snapshot.is_ancestor(&update.old, &update.new)?),
        _ => Ok(false),
    }
}
