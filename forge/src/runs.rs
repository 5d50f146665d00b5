//! Builds and deploys: what was recorded of them, and the verbs that act on them.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use slipway_core::build::Build;
use slipway_core::deploy::{Deploy, DeployCause};
use slipway_core::spec::Params;
use slipway_core::target::RepoRecord;
use slipway_core::{Action, BuildNumber, DeployNumber, Oid, Problem, ProblemKind, RefName, RepoId};

use crate::access::{again, may, repo, repository, see};
use crate::approve::queue_approval;
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::outside::Change;
use crate::promote::queue_promotion;
use crate::refusal::missing;
use crate::retry::queued_again;
use crate::rollback::roll_back;
pub use crate::start::Asked;
use crate::start::start_build;
use crate::stop::{stop_build, stop_deploy};
use crate::sync::queue_sync;

/// Builds or deploys, newest first, and the number behind which the next page begins.
pub struct Newest<T> {
    /// The repository.
    pub record: RepoRecord,
    /// The rows.
    pub rows: Vec<T>,
    /// To be given as `before`; `None` at the end.
    pub next: Option<u64>,
}

/// The builds of a repository, newest first: those before `before`, at most `limit`.
///
/// # Errors
/// What the authoriser says of reading it.
pub fn builds(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    before: Option<BuildNumber>,
    limit: usize,
) -> Result<Newest<Build>, Problem> {
    let seen = see(forge, caller, name)?;
    let mut rows = forge.store.builds(seen.record.id, before, limit.saturating_add(1))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|b| b.number.0);
    if !seen.operates {
        let shown = shown(forge, &seen.record)?;
        rows.retain(|b| shown.has(&b.ref_name));
    }
    Ok(Newest { record: seen.record, rows, next })
}

/// The build of that number, or the newest for `latest`.
///
/// # Errors
/// What the authoriser says of reading the repository; `NotFound`.
pub fn build(forge: &Forge, caller: &Caller, repo: RepoId, number: &str) -> Result<Build, Problem> {
    let record = again(forge, caller, repo, Action::ReadRepo)?;
    let found = match number.parse::<BuildNumber>() {
        Ok(n) => forge.store.build(repo, n)?,
        Err(_) if number == "latest" => forge.store.builds(repo, None, 1)?.into_iter().next(),
        Err(_) => None,
    };
    let found = match found {
        Some(build) if may_see(forge, caller, &record, &build.ref_name)? => Some(build),
        _ => None,
    };
    found.ok_or_else(|| missing(format!("{} has no build {}.", record.name, short(number))))
}

/// The deploys of a repository, newest first: those before `before`, at most `limit`.
///
/// # Errors
/// What the authoriser says of reading it.
pub fn deploys(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    before: Option<DeployNumber>,
    limit: usize,
) -> Result<Newest<Deploy>, Problem> {
    let record = repo(forge, caller, name, Action::ReadRepo)?;
    let mut rows = forge.store.deploys(record.id, before, limit.saturating_add(1))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|d| d.number.0);
    if !follows_shown(forge, caller, &record)? {
        rows.clear();
    }
    Ok(Newest { record, rows, next })
}

/// The deploy of that number, or the newest for `latest`.
///
/// # Errors
/// What the authoriser says of reading the repository; `NotFound`.
pub fn deploy(forge: &Forge, caller: &Caller, repo: RepoId, number: &str) -> Result<Deploy, Problem> {
    let record = again(forge, caller, repo, Action::ReadRepo)?;
    let found = match number.parse::<DeployNumber>() {
        Ok(n) => forge.store.deploy(repo, n)?,
        Err(_) if number == "latest" => forge.store.deploys(repo, None, 1)?.into_iter().next(),
        Err(_) => None,
    };
    let found = if follows_shown(forge, caller, &record)? { found } else { None };
    found.ok_or_else(|| missing(format!("{} has no deploy {}.", record.name, short(number))))
}

/// The builds of these commits that the caller may see, the newest of each first, at most `limit` of each.
///
/// # Errors
/// What the authoriser says of reading the repository.
pub(crate) fn builds_of(
    forge: &Forge,
    caller: &Caller,
    record: &RepoRecord,
    commits: &[Oid],
    limit: usize,
) -> Result<Vec<Build>, Problem> {
    let seen = see(forge, caller, record.name.as_str())?;
    let mut all = forge.store.builds_of_commits(record.id, commits, limit)?;
    if !seen.operates && !all.is_empty() {
        let shown = shown(forge, record)?;
        all.retain(|build| shown.has(&build.ref_name));
    }
    Ok(all)
}

/// The same of deploys.
///
/// # Errors
/// What the authoriser says of reading the repository.
pub(crate) fn deploys_of(
    forge: &Forge,
    caller: &Caller,
    record: &RepoRecord,
    commits: &[Oid],
    limit: usize,
) -> Result<Vec<Deploy>, Problem> {
    let all = forge.store.deploys_of_commits(record.id, commits, limit)?;
    if all.is_empty() || follows_shown(forge, caller, record)? { Ok(all) } else { Ok(Vec::new()) }
}

/// The last build and the last deploy of a repository that the caller may see, for a list of repositories.
///
/// # Errors
/// `Broken` for a failing disk.
pub fn last(
    forge: &Forge,
    caller: &Caller,
    record: &RepoRecord,
) -> Result<(Option<Build>, Option<Deploy>), Problem> {
    let build = match forge.store.builds(record.id, None, 1)?.pop() {
        Some(build) if may_see(forge, caller, record, &build.ref_name)? => Some(build),
        _ => None,
    };
    let deploy = forge.store.deploys(record.id, None, 1)?.pop();
    let deploy = if deploy.is_some() && follows_shown(forge, caller, record)? { deploy } else { None };
    Ok((build, deploy))
}

/// The refs of a repository that those who fetch may know of.
struct Shown(slipway_repository::Hidden);

impl Shown {
    fn has(&self, name: &RefName) -> bool {
        self.0.is_empty() || !self.0.hides(name.as_str())
    }
}

fn shown(forge: &Forge, record: &RepoRecord) -> Result<Shown, Problem> {
    // Of the settings alone: objects that cannot be read do not change what is hidden.
    Ok(Shown(repository(forge, record)?.settings()?.hidden_from_fetch.clone()))
}

/// What is hidden from those who fetch is hidden here as well, but for those who look after builds and deploys: they see
/// all that is recorded, also of a repository whose settings cannot be read.
fn may_see(forge: &Forge, caller: &Caller, record: &RepoRecord, name: &RefName) -> Result<bool, Problem> {
    match shown(forge, record) {
        Ok(shown) if shown.has(name) => Ok(true),
        hidden => match see(forge, caller, record.name.as_str())?.operates {
            true => Ok(true),
            false => hidden.map(|_| false),
        },
    }
}

/// Whether the branch that the bound cluster follows may be known.
fn follows_shown(forge: &Forge, caller: &Caller, record: &RepoRecord) -> Result<bool, Problem> {
    match forge.store.bindings(record.id)?.cluster {
        Some(binding) => may_see(forge, caller, record, &binding.branch),
        None => Ok(true),
    }
}

/// Queues the same commit again under a new number.
///
/// # Errors
/// `Denied` for those who may not operate the repository; `Conflict` while it is under way; `NotFound`.
pub async fn retry(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    number: &str,
) -> Result<(RepoRecord, Build), Problem> {
    let (record, number) =
        operated(forge, caller, name, number, |f, c, id, n| Ok(build(f, c, id, n)?.number)).await?;
    let (floor, who, repo) = (Arc::clone(forge), caller.clone(), record.id);
    let build = blocking(move || queued_again(&floor, &who, repo, number)).await?;
    Ok((record, build))
}

/// Lets `[deploy.*]` targets that wait for approval have what a build has pushed: `to`, or all that wait. Recorded as a promotion is.
///
/// # Errors
/// `Denied` for those who may not operate the repository, or not write the manifests; `Conflict` where nothing waits, or a newer
/// build has been approved of; `NotFound`.
pub async fn approve(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    number: &str,
    to: Vec<String>,
) -> Result<(RepoRecord, Build), Problem> {
    queued_by(forge, caller, (name, number), to, queue_approval).await
}

/// Moves names that others follow to what a build has pushed, without building: `to`, tags and `[deploy.*]` targets, or what
/// builds of its ref move by themselves. The promotion is recorded under a number of its own, with who asked for it.
///
/// # Errors
/// `Denied` for those who may not operate the repository, or not write the manifests; `Conflict` where that build has
/// pushed nothing that could be moved to; `NotFound`.
pub async fn promote(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    number: &str,
    to: Vec<String>,
) -> Result<(RepoRecord, Build), Problem> {
    queued_by(forge, caller, (name, number), to, queue_promotion).await
}

/// Records a promotion of a build to the names that are given.
type Queue = fn(&Forge, &Caller, &RepoRecord, BuildNumber, &[String]) -> Result<Build, Problem>;

/// Records a promotion by that rule.
async fn queued_by(
    forge: &Arc<Forge>,
    caller: &Caller,
    (name, number): (&str, &str),
    to: Vec<String>,
    queue: Queue,
) -> Result<(RepoRecord, Build), Problem> {
    let (record, number) =
        operated(forge, caller, name, number, |f, c, id, n| Ok(build(f, c, id, n)?.number)).await?;
    let (floor, who) = (Arc::clone(forge), caller.clone());
    blocking(move || {
        let build = queue(&floor, &who, &record, number, &to)?;
        Ok((record, build))
    })
    .await
}

/// The parameters that builds of the default branch may be given, by its slipway.toml. Blocking.
///
/// # Errors
/// `Denied` for those who may not operate the repository; a [`Problem`] where it cannot be read.
pub fn params(forge: &Forge, caller: &Caller, name: &str) -> Result<Params, Problem> {
    let record = repo(forge, caller, name, Action::OperateRepo)?;
    crate::start::params(forge, &record)
}

/// Queues the builds of a branch, a tag or a commit that those who fetch may see; without one, of the default branch. It moves
/// the names that others follow (`latest`, manifests) only as [`crate::moving`] has it.
///
/// # Errors
/// `Denied` for those who may not operate the repository; `Conflict` while that commit is being built, and where the
/// repository is bound to no registry; `Invalid` where the commit cannot be built; `NotFound`.
pub async fn start(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    asked: Asked,
) -> Result<(RepoRecord, Vec<Build>), Problem> {
    let record = operated_repo(forge, caller, name).await?;
    let (floor, who) = (Arc::clone(forge), caller.clone());
    blocking(move || {
        let builds = start_build(&floor, &who, &record, &asked)?;
        Ok((record, builds))
    })
    .await
}

/// Stops a build that is not over; the build as it stands then.
///
/// # Errors
/// `Denied` for those who may not operate the repository; `Conflict` once it is over; `NotFound`.
pub async fn cancel_build(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    number: &str,
) -> Result<(RepoRecord, Build), Problem> {
    let (record, number) =
        operated(forge, caller, name, number, |f, c, id, n| Ok(build(f, c, id, n)?.number)).await?;
    let build = stop_build(forge, record.id, number).await?;
    Ok((record, build))
}

/// Queues a deploy of the bound branch's commit.
///
/// # Errors
/// `Denied` for those who may not operate the repository, and where it is not bound.
pub async fn sync(forge: &Arc<Forge>, caller: &Caller, name: &str) -> Result<(RepoRecord, Deploy), Problem> {
    let record = operated_repo(forge, caller, name).await?;
    let (floor, who, repo) = (Arc::clone(forge), caller.clone(), record.id);
    let deploy = blocking(move || queue_sync(&floor, &who, repo, &DeployCause::Sync)).await?;
    Ok((record, deploy))
}

/// Objects that the bound branch describes and that others apply: another repository, a server whose data was lost, nobody. A
/// sentence each.
///
/// # Errors
/// `Denied` for those who own no server; what the cluster says.
pub async fn adoptable(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
) -> Result<(RepoRecord, Vec<String>), Problem> {
    may(caller, Action::AdminServer)?;
    let record = operated_repo(forge, caller, name).await?;
    let objects = forge.outside.adoptable(record.id).await?;
    Ok((record, objects))
}

/// Queues a deploy of the bound branch's commit that takes those over.
///
/// # Errors
/// `Denied` for those who own no server, and where it is not bound.
pub async fn adopt(forge: &Arc<Forge>, caller: &Caller, name: &str) -> Result<(RepoRecord, Deploy), Problem> {
    may(caller, Action::AdminServer)?;
    let record = operated_repo(forge, caller, name).await?;
    let (floor, who, repo) = (Arc::clone(forge), caller.clone(), record.id);
    let deploy = blocking(move || queue_sync(&floor, &who, repo, &DeployCause::Adopt)).await?;
    Ok((record, deploy))
}

/// Commits the state of an earlier deploy, and gives the deploy that this owes. `prune` is what is said about objects that this
/// deletes: how many may go, or `all`.
///
/// # Errors
/// `Denied` for those who may not operate the repository; `Conflict` where it is in that state; `Invalid`; `NotFound`.
pub async fn rollback(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    to: &str,
    prune: Option<String>,
) -> Result<(RepoRecord, Deploy), Problem> {
    let (record, to) =
        operated(forge, caller, name, to, |f, c, id, n| Ok(deploy(f, c, id, n)?.number)).await?;
    let (floor, caller, repo) = (Arc::clone(forge), caller.clone(), record.id);
    let deploy = blocking(move || {
        let to = deploy(&floor, &caller, repo, &to.to_string())?;
        let binding = floor.store.bindings(repo)?.cluster.ok_or_else(|| unbound(&record))?;
        Ok((roll_back(&floor, &caller, &binding, &to, prune.as_deref())?, record))
    });
    let (deploy, record) = deploy.await?;
    Ok((record, deploy))
}

/// Stops a deploy that is not over; the deploy as it stands then.
///
/// # Errors
/// `Denied` for those who may not operate the repository; `Conflict` once it is over; `NotFound`.
pub async fn cancel_deploy(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    number: &str,
) -> Result<(RepoRecord, Deploy), Problem> {
    let (record, number) =
        operated(forge, caller, name, number, |f, c, id, n| Ok(deploy(f, c, id, n)?.number)).await?;
    let deploy = stop_deploy(forge, record.id, number).await?;
    Ok((record, deploy))
}

/// What a sync would change in the cluster now, as text. The cluster is asked for this, so it takes the right to operate.
///
/// # Errors
/// `Denied` for those who may not operate the repository; what the cluster says.
pub async fn diff(forge: &Arc<Forge>, caller: &Caller, name: &str) -> Result<(RepoRecord, String), Problem> {
    let record = operated_repo(forge, caller, name).await?;
    let diff = forge.outside.diff(record.id).await?;
    Ok((record, diff))
}

/// A notice for every changed build or deploy from now on; says what changed, not what became of it.
pub fn changes(forge: &Forge) -> BoxStream<'static, Change> {
    forge.outside.changes()
}

async fn operated_repo(forge: &Arc<Forge>, caller: &Caller, name: &str) -> Result<RepoRecord, Problem> {
    let (forge, caller, name) = (Arc::clone(forge), caller.clone(), name.to_owned());
    blocking(move || repo(&forge, &caller, &name, Action::OperateRepo)).await
}

/// A repository that the caller may operate, and the number of one of its runs.
async fn operated<N: Send + 'static>(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &str,
    number: &str,
    find: fn(&Forge, &Caller, RepoId, &str) -> Result<N, Problem>,
) -> Result<(RepoRecord, N), Problem> {
    let (forge, caller) = (Arc::clone(forge), caller.clone());
    let (name, number) = (name.to_owned(), number.to_owned());
    blocking(move || {
        let record = repo(&forge, &caller, &name, Action::OperateRepo)?;
        let number = find(&forge, &caller, record.id, &number)?;
        Ok((record, number))
    })
    .await
}

fn unbound(record: &RepoRecord) -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        format!("{} is not bound to a cluster.", record.name),
        format!("An owner can bind it: slipway bind {} --cluster NAME", record.name),
    )
}

fn short(raw: &str) -> String {
    raw.chars().take(20).collect()
}
