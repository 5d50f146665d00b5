//! Repositories: made, described, renamed, removed, maintained, and what happened in them.

use std::sync::Arc;

use slipway_core::event::Event;
use slipway_core::limits::DESCRIPTION_BYTES_MAX;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, EventId, ObjectFormat, Problem, RefName, RepoName};
use slipway_repository::{LastMaintenance, Maintained, Storage};

use crate::access::{again, is_owner, may, repo, repo_in, repository, visible_after};
use crate::bindings::staying;
use crate::caller::Caller;
use crate::default_branch;
use crate::folders;
use crate::forge::{Forge, blocking};
use crate::page::{Page, Rows};
use crate::probes;
use crate::refusal::plain_line;

/// A repository to be made.
#[derive(Clone, Debug)]
pub struct NewRepo {
    /// Its name.
    pub name: RepoName,
    /// A line about it.
    pub description: String,
    /// Readable by everyone.
    pub public: bool,
    /// The hash that makes its ids, for good.
    pub object_format: ObjectFormat,
    /// The branch that HEAD names until the first one is pushed; absent is `main`.
    pub default_branch: Option<String>,
}

/// What shall be different; absent stays.
#[derive(Clone, Debug, Default)]
pub struct RepoChange {
    /// Another name.
    pub name: Option<RepoName>,
    /// Another line about it.
    pub description: Option<String>,
    /// Readable by everyone, or not.
    pub public: Option<bool>,
    /// Another default branch: one that is there, or any while there is none.
    pub default_branch: Option<String>,
}

/// The repositories that the caller may see, by name.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn list(forge: &Forge, caller: &Caller, page: &Page) -> Result<Rows<RepoRecord>, Problem> {
    page.ask(|after, limit| visible_after(forge, caller, after, limit), |r| r.name.as_str())
}

/// How a repository is stored, and its last maintenance.
///
/// # Errors
/// What the authoriser says of reading it; a [`Problem`] where its folder cannot be read.
pub fn storage(
    forge: &Forge,
    caller: &Caller,
    name: &str,
) -> Result<(Storage, Option<LastMaintenance>), Problem> {
    let record = repo(forge, caller, name, Action::ReadRepo)?;
    let repository = repository(forge, &record)?;
    Ok((repository.storage()?, repository.last_maintenance()))
}

/// Its pushes, newest first: those before `before`, at most `limit`, and behind which the next page begins. What
/// `transfer.hideRefs` hides is left out of them, so that a page may have fewer.
///
/// # Errors
/// What the authoriser says of reading it.
pub fn events(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    before: Option<EventId>,
    limit: usize,
) -> Result<(Vec<Event>, Option<EventId>), Problem> {
    let record = repo(forge, caller, name, Action::ReadRepo)?;
    let mut events = forge.store.events_before(record.id, before, limit.saturating_add(1))?;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| event.id);
    let hidden = repository(forge, &record)?.settings()?.hidden_from_fetch.clone();
    if hidden.is_empty() {
        return Ok((events, next));
    }
    for event in &mut events {
        event.updates.retain(|u| !hidden.hides(u.name.as_str()));
        event.owed.retain(|o| !hidden.hides(o.ref_name.as_str()));
    }
    // What is left of a push to hidden refs alone would tell that there was one.
    events.retain(|e| !e.updates.is_empty());
    Ok((events, next))
}

/// Makes a repository; a user who makes one is its admin.
///
/// # Errors
/// `Conflict` for a name that is taken; `TooLarge` where the account has made as many as one may; `Invalid`; what the
/// authoriser says.
pub async fn create(forge: &Arc<Forge>, caller: &Caller, new: NewRepo) -> Result<RepoRecord, Problem> {
    may(caller, Action::CreateRepo)?;
    probes::check(forge, caller)?;
    let about = description(&new.description)?;
    let branch = new.default_branch.as_deref().map(default_branch::parse).transpose()?;
    let new = NewRepo { description: about, ..new };
    let (floor, maker) = (Arc::clone(forge), caller.user().cloned());
    let most = if is_owner(caller) { usize::MAX } else { forge.limits.repositories_per_account_max };
    let made = blocking(move || folders::make(&floor, &new, maker.as_ref(), most)).await;
    let record = probes::told(forge, caller, made)?;
    choose(forge, caller, &record, branch).await?;
    Ok(record)
}

/// Changes a repository's name, description, default branch and whether everyone may read it.
///
/// # Errors
/// `Denied` unless the caller is an admin of it; `Conflict` for a name that is taken; `NotFound` for a branch that is not
/// there; `Invalid`.
pub async fn change(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    wanted: RepoChange,
) -> Result<RepoRecord, Problem> {
    let about = wanted.description.as_deref().map(description).transpose()?;
    let branch = wanted.default_branch.as_deref().map(default_branch::parse).transpose()?;
    if branch.is_some() {
        // First, since it is refused most easily: then nothing else is changed.
        let record = admin(forge, caller, name).await?;
        choose(forge, caller, &record, branch).await?;
    }
    let wanted = RepoChange { description: about, ..wanted };
    let renames = wanted.name.is_some();
    if renames {
        probes::check(forge, caller)?;
    }
    let (floor, who, name) = (Arc::clone(forge), caller.clone(), name.to_owned());
    let rewritten = blocking(move || rewrite(&floor, &who, &name, &wanted)).await;
    let record = probes::told(forge, caller, rewritten)?;
    if renames {
        let (floor, repo) = (Arc::clone(forge), record.id);
        blocking(move || folders::link(&floor, repo)).await?;
    }
    Ok(record)
}

/// Changes what is wanted of the record as it is at this moment, all of it or nothing, so that nobody else's change is
/// undone.
fn rewrite(forge: &Forge, caller: &Caller, name: &str, wanted: &RepoChange) -> Result<RepoRecord, Problem> {
    let now = forge.now();
    forge.store.transact(|tx| {
        let record = repo_in(tx.view(), caller, name, Action::AdminRepo)?;
        tx.update_repo(record.id, now, |record| {
            let RepoChange { name, description, public, default_branch: _ } = wanted.clone();
            record.name = name.unwrap_or_else(|| record.name.clone());
            record.description = description.unwrap_or_else(|| record.description.clone());
            record.public = public.unwrap_or(record.public);
        })
    })
}

async fn choose(
    forge: &Arc<Forge>,
    caller: &Caller,
    record: &RepoRecord,
    branch: Option<RefName>,
) -> Result<(), Problem> {
    let Some(branch) = branch else { return Ok(()) };
    let (forge, caller, record) = (Arc::clone(forge), caller.clone(), record.clone());
    blocking(move || default_branch::set(&forge, &caller, &record, &branch)).await
}

/// Removes a repository with everything that belongs to it here; a remark tells what stays in its cluster.
///
/// # Errors
/// `Denied` unless the caller is an admin of it.
pub async fn remove(forge: &Arc<Forge>, caller: &Caller, name: &str) -> Result<Vec<String>, Problem> {
    let record = admin(forge, caller, name).await?;
    forge.outside.stop_repo(record.id).await?;
    let (floor, caller) = (Arc::clone(forge), caller.clone());
    // What runs may have taken its time to stop: the right is asked again.
    blocking(move || {
        let record = again(&floor, &caller, record.id, Action::AdminRepo)?;
        let bound = floor.store.bindings(record.id)?.cluster;
        let stays = bound.map(|b| staying(&floor, record.id, &b.cluster)).transpose()?.flatten();
        folders::remove(&floor, &record)?;
        let cure = "Another repository takes them over with slipway deploy adopt; to have them deleted, say slipway unbind REPO \
                    --cluster --delete-objects before it is removed.";
        Ok(stays.map(|stays| format!("{stays} {cure}")).into_iter().collect())
    })
    .await
}

/// Maintains a repository now; with `full` everything is packed anew. Takes as long as it takes.
///
/// # Errors
/// `Denied` unless the caller is an admin of it; what the maintenance says.
pub async fn maintain(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    full: bool,
) -> Result<(RepoRecord, Maintained), Problem> {
    let record = admin(forge, caller, name).await?;
    let done = forge.outside.maintain(record.id, full).await?;
    Ok((record, done))
}

async fn admin(forge: &Arc<Forge>, caller: &Caller, name: &str) -> Result<RepoRecord, Problem> {
    let (forge, caller, name) = (Arc::clone(forge), caller.clone(), name.to_owned());
    blocking(move || repo(&forge, &caller, &name, Action::AdminRepo)).await
}

fn description(raw: &str) -> Result<String, Problem> {
    plain_line(raw, "description", DESCRIPTION_BYTES_MAX)
}
