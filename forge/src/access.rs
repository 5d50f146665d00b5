//! The one door: from a name to a record, from the record to what the caller may do with it, and from there to what they
//! may see. No surface looks a repository up, asks the authoriser or opens objects in any other way.
//!
//! Rights are asked again when something is done, not only when it is asked for: a long answer, a push that has been on
//! its way for an hour and a page that follows a build all come back to [`again`].

use std::collections::BTreeSet;
use std::sync::Arc;

use slipway_core::accept::Rights;
use slipway_core::event::EventState;
use slipway_core::target::RepoRecord;
use slipway_core::{
    Action, Actor, Problem, ProblemKind, RepoId, RepoName, Standing, UnixMillis, UserName, authorise,
};
use slipway_repository::{Repository, Side, View};
use slipway_store::View as Records;

use crate::caller::{Caller, Credential};
use crate::forge::Forge;
use crate::limits::{EMPTY_LOOK_BACK, PAGE_ROWS_MAX};

/// A repository that the caller may see, and what more they may do with it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its record.
    pub record: RepoRecord,
    /// Retry and cancel builds, sync and roll back deploys.
    pub operates: bool,
    /// Change settings and grants.
    pub admins: bool,
}

/// A repository opened for one of Git's services.
#[derive(Clone)]
pub struct Opened {
    /// Its record.
    pub record: RepoRecord,
    /// Its objects and refs. What of them a service shows is its [`View`].
    pub repository: Arc<Repository>,
    /// What those who fetch see at this moment, where it was opened for reading.
    pub view: Option<View>,
}

/// Asks about an action that concerns no repository.
///
/// # Errors
/// What [`authorise`] says.
pub fn may(caller: &Caller, action: Action) -> Result<(), Problem> {
    authorise(&caller.actor, None, action, "")
}

/// Asks about actions on somebody's own keys and tokens; those of others are an owner's business.
///
/// # Errors
/// What [`authorise`] says.
pub fn may_manage(caller: &Caller, user: &UserName) -> Result<(), Problem> {
    may(caller, if caller.user() == Some(user) { Action::ManageSelf } else { Action::AdminServer })
}

/// True if the caller may do what reaches beyond one repository.
pub fn is_owner(caller: &Caller) -> bool {
    may(caller, Action::AdminServer).is_ok()
}

/// The repository of that name, if the caller may do `action` with it. An unknown repository, a name that cannot be one
/// and a repository that the caller may not see give the same answer.
///
/// # Errors
/// What [`authorise`] says.
pub fn repo(forge: &Forge, caller: &Caller, name: &str, action: Action) -> Result<RepoRecord, Problem> {
    forge.store.read(|records| Ok(repo_in(records, caller, name, action)?))
}

/// The same as part of a larger look, or of a change.
pub(crate) fn repo_in(
    records: Records<'_>,
    caller: &Caller,
    name: &str,
    action: Action,
) -> Result<RepoRecord, Problem> {
    let record = match RepoName::parse(name) {
        Ok(name) => records.repo_by_name(&name)?,
        Err(_) => None,
    };
    let shown: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    judge(records, &caller.actor, record, action, &shown)
}

/// The name that the repository has now which was called `name` before, for a caller who may do `action` with it: a former
/// name tells nobody more than the new one would. `None` while a repository bears the name.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn moved(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    action: Action,
) -> Result<Option<RepoName>, Problem> {
    let Ok(name) = RepoName::parse(name) else { return Ok(None) };
    forge.store.read(|records| {
        if records.repo_by_name(&name)?.is_some() {
            return Ok(None);
        }
        let Some(record) = records.repo_by_former_name(&name)? else { return Ok(None) };
        let standing = standing(records, &caller.actor, &record)?;
        let may = authorise(&caller.actor, Some(standing), action, name.as_str()).is_ok();
        Ok(may.then_some(record.name))
    })
}

fn judge(
    records: Records<'_>,
    actor: &Actor,
    record: Option<RepoRecord>,
    action: Action,
    shown: &str,
) -> Result<RepoRecord, Problem> {
    let standing = match &record {
        Some(record) => Some(standing(records, actor, record)?),
        None => None,
    };
    authorise(actor, standing, action, shown)?;
    record.ok_or_else(|| Problem::no_such_repository(shown))
}

/// What a repository says about an actor.
pub(crate) fn standing(records: Records<'_>, actor: &Actor, repo: &RepoRecord) -> Result<Standing, Problem> {
    let role = match actor.user() {
        Some(user) => records.role(user, repo.id)?,
        None => None,
    };
    Ok(Standing { public: repo.public, role })
}

/// The repository of that name for a page, with what the caller may do on it.
///
/// # Errors
/// What [`authorise`] says of reading it.
pub fn see(forge: &Forge, caller: &Caller, name: &str) -> Result<Seen, Problem> {
    let (record, standing) = forge.store.read(|records| {
        let record = repo_in(records, caller, name, Action::ReadRepo)?;
        let standing = standing(records, &caller.actor, &record)?;
        Ok((record, standing))
    })?;
    let may = |action| authorise(&caller.actor, Some(standing), action, name).is_ok();
    Ok(Seen { operates: may(Action::OperateRepo), admins: may(Action::AdminRepo), record })
}

/// The repositories that the caller may see, by name.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn visible(forge: &Forge, caller: &Caller) -> Result<Vec<RepoRecord>, Problem> {
    visible_after(forge, caller, None, usize::MAX)
}

/// The same from a cursor on, at most `limit`.
pub(crate) fn visible_after(
    forge: &Forge,
    caller: &Caller,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<RepoRecord>, Problem> {
    let (mut seen, mut after) = (Vec::new(), after.map(str::to_owned));
    loop {
        let next = forge.store.read(|records| {
            let some = records.repos_after(after.as_deref(), PAGE_ROWS_MAX)?;
            let last = some.last().map(|repo| repo.name.to_string());
            for repo in some {
                let standing = standing(records, &caller.actor, &repo)?;
                if authorise(&caller.actor, Some(standing), Action::ReadRepo, repo.name.as_str()).is_ok() {
                    seen.push(repo);
                }
            }
            Ok(last)
        })?;
        if next.is_none() || seen.len() >= limit {
            seen.truncate(limit);
            return Ok(seen);
        }
        after = next;
    }
}

/// What those who fetch see of a repository: never what `transfer.hideRefs` hides.
///
/// # Errors
/// A [`Problem`] where the repository cannot be read.
pub fn view(forge: &Forge, record: &RepoRecord) -> Result<View, Problem> {
    shown(forge, record, &*repository(forge, record)?)
}

/// The objects and refs of a repository, for the server's own work. What people see of them is a [`view`].
///
/// # Errors
/// `Broken` where its folder cannot be read.
pub(crate) fn repository(forge: &Forge, record: &RepoRecord) -> Result<Arc<Repository>, Problem> {
    let repository = match forge.repositories.get(record.id) {
        Ok(repository) => repository,
        // Removed while it was asked for: not there, and not broken.
        Err(_) if forge.store.repo(record.id)?.is_none() => {
            return Err(Problem::no_such_repository(record.name.as_str()));
        }
        Err(e) => return Err(e.into()),
    };
    let (says, is) = (repository.object_format(), record.object_format);
    if says != is {
        return Err(Problem::new(
            ProblemKind::Broken,
            format!("{} was made with ids of {is}, and its folder is read as one of {says}.", record.name),
            "Put its config file back: extensions.objectFormat in it names the hash.",
        ));
    }
    Ok(repository)
}

/// What those who fetch see, if it is all there: a branch that cannot be read is not left out as if there were none, or
/// whoever mirrors the repository would drop it too.
fn shown(forge: &Forge, record: &RepoRecord, repository: &Repository) -> Result<View, Problem> {
    let view = repository.view(Side::Fetch)?;
    view.snapshot.check_refs()?;
    if view.whole.refs().is_empty() {
        check_empty(forge, record)?;
    }
    Ok(view)
}

/// Asks whether a repository without a single ref is one that nothing was pushed to, or one whose refs are lost.
fn check_empty(forge: &Forge, record: &RepoRecord) -> Result<(), Problem> {
    let mut told = BTreeSet::new();
    for event in forge.store.events(record.id, EMPTY_LOOK_BACK)? {
        if event.state != EventState::Accepted {
            continue;
        }
        for update in event.updates {
            // The newest word on each ref counts.
            if told.insert(update.name.clone()) && !update.is_delete() {
                return Err(Problem::new(
                    ProblemKind::Broken,
                    format!(
                        "All branches and tags of {} are gone from the disk; {} was pushed and never deleted.",
                        record.name,
                        update.name.short()
                    ),
                    "Put its folder back from a backup, or push again.",
                ));
            }
        }
    }
    Ok(())
}

/// Opens a repository for one of Git's services, if the caller may do `action` with it.
///
/// # Errors
/// What [`repo`] says; a [`Problem`] where the repository cannot be read.
pub fn open(forge: &Forge, caller: &Caller, name: &str, action: Action) -> Result<Opened, Problem> {
    let record = repo(forge, caller, name, action)?;
    let repository = repository(forge, &record)?;
    let view = match action {
        Action::ReadRepo => Some(shown(forge, &record, &repository)?),
        _ => None,
    };
    Ok(Opened { record, repository, view })
}

/// Whether the caller may still do `action` with the repository: the credential, the account, the role and the
/// repository are all looked up anew, the repository by its id, so that one which took its name since is another's.
///
/// # Errors
/// What [`authorise`] says now; `Unauthenticated` where the credential is gone.
pub fn again(forge: &Forge, caller: &Caller, repo: RepoId, action: Action) -> Result<RepoRecord, Problem> {
    let now = forge.now();
    forge.store.read(|records| Ok(again_in(records, now, caller, repo, action)?))
}

/// The same as part of a larger look, or of a change.
pub(crate) fn again_in(
    records: Records<'_>,
    now: UnixMillis,
    caller: &Caller,
    repo: RepoId,
    action: Action,
) -> Result<RepoRecord, Problem> {
    let actor = renew_in(records, now, caller)?;
    let record = records.repo(repo)?;
    let shown = record.as_ref().map(|r| r.name.to_string()).unwrap_or_default();
    judge(records, &actor, record, action, &shown)
}

/// A right that is asked again when it is used.
pub struct Pass {
    forge: Arc<Forge>,
    caller: Caller,
    repo: RepoId,
    action: Action,
}

impl Pass {
    /// For that caller to do `action` with the repository of that id.
    pub fn new(forge: &Arc<Forge>, caller: &Caller, repo: RepoId, action: Action) -> Self {
        Self { forge: Arc::clone(forge), caller: caller.clone(), repo, action }
    }
}

impl Rights for Pass {
    fn still(&self) -> Result<(), Problem> {
        again(&self.forge, &self.caller, self.repo, self.action).map(drop)
    }

    fn may_go_unchecked(&self) -> Result<(), Problem> {
        again(&self.forge, &self.caller, self.repo, Action::AdminRepo).map(drop)
    }
}

/// Who the caller is now, by the credential that they came with.
///
/// # Errors
/// `Unauthenticated` where the credential, or the account behind it, is gone.
pub fn renew(forge: &Forge, caller: &Caller) -> Result<Actor, Problem> {
    let now = forge.now();
    forge.store.read(|records| Ok(renew_in(records, now, caller)?))
}

fn renew_in(records: Records<'_>, now: UnixMillis, caller: &Caller) -> Result<Actor, Problem> {
    match &caller.credential {
        Credential::None | Credential::Host => Ok(caller.actor.clone()),
        Credential::Key { fingerprint } => {
            let key = records.key(fingerprint)?.ok_or_else(|| gone("key"))?;
            account(records, &key.user)
        }
        Credential::Token { sha256, .. } => {
            let token = records.token_by_value(sha256)?.filter(|t| !t.expired(now));
            let token = token.ok_or_else(|| gone("token"))?;
            match account(records, &token.user)? {
                Actor::User { name, owner } => Ok(Actor::Token { name, owner, scopes: token.scopes }),
                other => Ok(other),
            }
        }
        Credential::Session { sha256 } => {
            let session = records.session(sha256, now)?.ok_or_else(|| gone("session"))?;
            account(records, &session.user)
        }
    }
}

fn account(records: Records<'_>, user: &UserName) -> Result<Actor, Problem> {
    let user = records.user(user)?.ok_or_else(|| gone("account"))?;
    Ok(Actor::User { name: user.name, owner: user.owner })
}

pub(crate) fn gone(what: &str) -> Problem {
    Problem::new(
        ProblemKind::Unauthenticated,
        format!("The {what} that this was asked with is not valid any more."),
        "Sign in again, or ask an owner of this server.",
    )
}
