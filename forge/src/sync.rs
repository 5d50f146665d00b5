//! A deploy that nobody's push owes: of the commit that the bound branch has now.

use slipway_core::accept::Orders;
use slipway_core::deploy::{Deploy, DeployCause};
use slipway_core::target::{ClusterBinding, RepoRecord};
use slipway_core::{ClusterName, Oid, Problem, ProblemKind, RepoId};
use slipway_repository::Repository;
use slipway_store::View as Records;

use crate::access::repository;
use crate::caller::Caller;
use crate::forge::Forge;

/// Records a deploy of the bound branch's commit for that cause, and starts it. Blocking.
///
/// # Errors
/// `Denied` where the repository is not bound to a cluster that is known; `NotFound` while the branch is not there, unless
/// nothing is to be applied.
pub(crate) fn queue_sync(
    forge: &Forge,
    caller: &Caller,
    repo: RepoId,
    cause: &DeployCause,
) -> Result<Deploy, Problem> {
    let (record, binding) = forge.store.read(|records| Ok(bound(records, repo)?))?;
    let repository = repository(forge, &record)?;
    let (tip, title) = match tip(&repository, &binding)? {
        Some(tip) => (tip, title(&repository, &tip)?),
        None if *cause == DeployCause::Clear => (Oid::ZERO_SHA1, String::new()),
        None => return Err(no_branch(&record, &binding)),
    };
    let (who, now) = (caller.actor.label(), forge.now());
    let mut deploy = forge.store.transact(|tx| {
        // Whoever unbinds it meanwhile is not followed by a deploy to what was bound.
        let (_, binding) = bound(tx.view(), repo)?;
        let (title, who) = (title.clone(), who.clone());
        tx.add_deploy(Deploy::queued(repo, None, cause.clone(), binding.cluster, tip, title, who, now))
    })?;
    // A push between the look at the branch and this record has an older number: this one takes its place, so it must
    // carry its commit. One that comes later still has a newer number and wins by that.
    if let Some(moved) = self::tip(&repository, &binding)?.filter(|now| *now != tip) {
        deploy.commit = moved;
        deploy.title = self::title(&repository, &moved)?;
        forge.store.put_deploy(&deploy)?;
    }
    forge.outside.begin(&Orders { builds: Vec::new(), deploys: vec![deploy.clone()] });
    Ok(deploy)
}

fn bound(records: Records<'_>, repo: RepoId) -> Result<(RepoRecord, ClusterBinding), Problem> {
    let record = records.repo(repo)?.ok_or_else(|| {
        Problem::new(ProblemKind::NotFound, "The repository is gone.", "Nothing needs to be done.")
    })?;
    let binding = records.bindings(repo)?.cluster.ok_or_else(|| unbound(&record, None))?;
    match records.cluster(&binding.cluster)? {
        Some(_) => Ok((record, binding)),
        None => Err(unbound(&record, Some(&binding.cluster))),
    }
}

fn tip(repository: &Repository, binding: &ClusterBinding) -> Result<Option<Oid>, Problem> {
    Ok(repository.snapshot()?.target_of(binding.branch.as_str())?)
}

fn title(repository: &Repository, commit: &Oid) -> Result<String, Problem> {
    let commit = repository.snapshot()?.commit(commit)?;
    Ok(commit.map(|c| c.subject().to_owned()).unwrap_or_default())
}

fn no_branch(record: &RepoRecord, binding: &ClusterBinding) -> Problem {
    let what = format!("{} has no branch {} yet.", record.name, binding.branch.short());
    Problem::new(ProblemKind::NotFound, what, "Push it first.")
}

fn unbound(record: &RepoRecord, cluster: Option<&ClusterName>) -> Problem {
    let to = cluster.map_or("a cluster".to_owned(), |c| format!("cluster {c}"));
    Problem::new(
        ProblemKind::Denied,
        format!("{} is not bound to {to}.", record.name),
        format!("An owner can bind it: slipway bind {} --cluster NAME", record.name),
    )
}
