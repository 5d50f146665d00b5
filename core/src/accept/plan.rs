//! What an accepted push owes: builds and deploys, decided before the refs move. Pure but for reading pushed objects.

use super::{Bindings, CommitFacts, Incoming, Proposal};
use crate::deploy::DeployCause;
use crate::event::{Cause, Owed, Work};
use crate::git::{RefName, RefUpdate};
use crate::limits::SPEC_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::spec::Spec;

/// Most changed paths that a `paths` filter looks at; a push that changes more counts as matching.
const CHANGED_PATHS_MAX: usize = 20_000;

/// Decides what the updates owe. Pure but for reading the pushed objects.
pub(super) fn plan(
    push: &Proposal<'_>,
    updates: &[RefUpdate],
    bindings: &Bindings,
    default_branch: &RefName,
    objects: &dyn Incoming,
    notices: &mut Vec<String>,
) -> Result<Vec<Owed>, Problem> {
    let mut owed = Vec::new();
    for update in updates.iter().filter(|u| !u.is_delete()) {
        let wants_build = bindings.registry.is_some() && !matches!(push.cause, Cause::Bump { .. });
        let cluster = bindings.cluster.as_ref().filter(|b| b.branch == update.name);
        if !wants_build && cluster.is_none() {
            continue;
        }
        let Some(commit) = objects.commit(&update.new)? else { continue };
        if wants_build
            && !skipped(push, &commit, notices)
            && let Some(broken) = build_due(update, &commit, default_branch, objects, notices)?
        {
            owed.push(owe(update, &commit, Work::Build { broken }));
        }
        if let Some(binding) = cluster {
            let (cluster, cause) = (binding.cluster.clone(), deploy_cause(&push.cause));
            owed.push(owe(update, &commit, Work::Deploy { cluster, cause }));
        }
    }
    Ok(owed)
}

/// Why the deploy runs that a push owes.
fn deploy_cause(push: &Cause) -> DeployCause {
    match push {
        Cause::Bump { source, build, .. } => DeployCause::Build { source: *source, build: *build },
        Cause::Rollback { to: Some(to) } => DeployCause::Rollback { to: *to },
        Cause::Push | Cause::Edit | Cause::Rollback { to: None } => DeployCause::Event,
    }
}

fn owe(update: &RefUpdate, commit: &CommitFacts, work: Work) -> Owed {
    Owed { ref_name: update.name.clone(), commit: commit.id, title: commit.subject.clone(), work }
}

fn skipped(push: &Proposal<'_>, commit: &CommitFacts, notices: &mut Vec<String>) -> bool {
    let asked = push.options.iter().any(|o| o == "ci.skip") || commit.message.contains("[skip ci]");
    if asked {
        notices.push(format!("no build of {}: the push asks to skip it", commit.id.short()));
    }
    asked
}

/// `Some(broken)` if the update owes a build; `broken` is what is wrong with its slipway.toml.
fn build_due(
    update: &RefUpdate,
    commit: &CommitFacts,
    default_branch: &RefName,
    objects: &dyn Incoming,
    notices: &mut Vec<String>,
) -> Result<Option<Option<Problem>>, Problem> {
    let text = match objects.file(&commit.id, "slipway.toml", SPEC_BYTES_MAX) {
        Err(problem) if problem.kind != ProblemKind::TooLarge => return Err(problem),
        text => text,
    };
    let spec = text.as_ref().map_err(Clone::clone).and_then(|text| {
        let spec = text.as_deref().map(Spec::parse).transpose();
        Ok(spec.map_err(Problem::from)?.unwrap_or_default())
    });
    let spec = match spec {
        Ok(spec) => spec,
        Err(problem) => {
            // Which refs it would build cannot be known; only the default branch's mistake is worth a failed build.
            notices.push(problem.to_string());
            return Ok((update.name == *default_branch).then_some(Some(problem)));
        }
    };
    if !spec.build.on.matches_ref(&update.name, default_branch) {
        return Ok(None);
    }
    if !spec.build.on.all_paths() {
        let old = (!update.is_create()).then_some(&update.old);
        if let Some(paths) = objects.changed_paths(old, &commit.id, CHANGED_PATHS_MAX)?
            && !paths.iter().any(|p| spec.build.on.matches_path(p))
        {
            notices.push("no build: no path that slipway.toml names has changed".into());
            return Ok(None);
        }
    }
    if !objects.has_file(&commit.id, &spec.build.dockerfile)? {
        if matches!(text, Ok(None)) {
            return Ok(None);
        }
        let problem = Problem::new(
            ProblemKind::Invalid,
            format!("Commit {} has no {}.", commit.id.short(), spec.build.dockerfile),
            "Add it, or set build.dockerfile in slipway.toml to where it is.",
        );
        notices.push(problem.to_string());
        return Ok(Some(Some(problem)));
    }
    Ok(Some(None))
}
