//! What an accepted push owes: builds and deploys, decided before the refs move, and why not more. Pure but for reading
//! pushed objects.

use super::dockerfile::{self, Absent};
use super::idle::Whys;
use super::options::skip_word;
use super::{Bindings, CommitFacts, Incoming, Proposal};
use crate::deploy::DeployCause;
use crate::event::{Cause, Owed, Work};
use crate::git::{Oid, RefName, RefUpdate};
use crate::limits::SPEC_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::spec::Spec;

/// Most changed paths that a `paths` filter looks at; a push that changes more counts as matching.
const CHANGED_PATHS_MAX: usize = 20_000;

/// What a push owes.
pub(super) struct Plan {
    /// The work.
    pub(super) owed: Vec<Owed>,
    /// Remarks for the pusher.
    pub(super) notices: Vec<String>,
    /// Why there is no more of it, for a push that owes nothing.
    pub(super) whys: Vec<String>,
    /// The default branch that it was made for.
    pub(super) default_branch: RefName,
}

/// Decides what the updates owe.
pub(super) fn plan(
    push: &Proposal<'_>,
    updates: &[RefUpdate],
    bindings: &Bindings,
    default_branch: RefName,
    objects: &dyn Incoming,
) -> Result<Plan, Problem> {
    let (mut owed, mut notices, mut whys) = (Vec::new(), Vec::new(), Whys::default());
    for update in updates.iter().filter(|u| !u.is_delete()) {
        let wants_build = bindings.registry.is_some() && !matches!(push.cause, Cause::Bump { .. });
        let cluster = bindings.cluster.as_ref().filter(|b| b.branch == update.name);
        if let Some(other) = bindings.cluster.as_ref().filter(|_| cluster.is_none()) {
            let why = format!(
                "not the bound branch (cluster {} follows {}; an owner can bind another with --branch)",
                other.cluster,
                other.branch.short()
            );
            whys.add("deploy", &update.name, why, false);
        }
        if !wants_build && cluster.is_none() {
            continue;
        }
        let Some(commit) = objects.commit(&update.new)? else {
            let what = if wants_build { "build" } else { "deploy" };
            whys.add(what, &update.name, "it names no commit".into(), false);
            continue;
        };
        if wants_build {
            match build_due(push, update, &commit, &default_branch, objects)? {
                Due::Build => owed.push(owe(update, &commit, Work::Build { broken: None })),
                Due::Broken(problem) => {
                    notices.push(problem.to_string());
                    owed.push(owe(update, &commit, Work::Build { broken: Some(problem) }));
                }
                Due::Unknown(problem) => {
                    notices.push(problem.to_string());
                    let why = "which refs build cannot be known from its slipway.toml";
                    whys.add("build", &update.name, why.into(), false);
                }
                Due::Not { why, asked } => whys.add("build", &update.name, why, asked),
            }
        }
        if let Some(binding) = cluster {
            let (cluster, cause) = (binding.cluster.clone(), deploy_cause(&push.cause));
            owed.push(owe(update, &commit, Work::Deploy { cluster, cause }));
        }
    }
    if !owed.is_empty() {
        // Those that are told with work under way: what was asked for, or all where it is no build.
        let builds = owed.iter().any(|o: &Owed| matches!(o.work, Work::Build { .. }));
        notices.extend(whys.told(builds));
    }
    let whys = if owed.is_empty() { whys.told(false) } else { Vec::new() };
    Ok(Plan { owed, notices, whys, default_branch })
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

/// Whether an update owes a build.
enum Due {
    Build,
    /// It does, and fails before it starts with this.
    Broken(Problem),
    /// Its slipway.toml is wrong, and it is not the default branch: which refs it would build cannot be known, and only
    /// the default branch's mistake is worth a failed build.
    Unknown(Problem),
    Not {
        why: String,
        /// The push, or slipway.toml's paths, ask for it.
        asked: bool,
    },
}

fn build_due(
    push: &Proposal<'_>,
    update: &RefUpdate,
    commit: &CommitFacts,
    default_branch: &RefName,
    objects: &dyn Incoming,
) -> Result<Due, Problem> {
    if let Some(word) = skip_word(&push.options, &commit.message) {
        return Ok(Due::Not { why: format!("skipped by {word}"), asked: true });
    }
    let spec = match spec_of(&commit.id, objects)? {
        Ok(spec) => spec,
        Err(problem) if update.name == *default_branch => return Ok(Due::Broken(problem)),
        Err(problem) => return Ok(Due::Unknown(problem)),
    };
    let (written, spec) = (spec.is_some(), spec.unwrap_or_default());
    if !spec.build.on.matches_ref(&update.name, default_branch) {
        return Ok(Due::Not { why: spec.build.on.why_not(&update.name, default_branch), asked: false });
    }
    if !spec.build.on.all_paths() {
        let old = (!update.is_create()).then_some(&update.old);
        if let Some(paths) = objects.changed_paths(old, &commit.id, CHANGED_PATHS_MAX)?
            && !paths.iter().any(|p| spec.build.on.matches_path(p))
        {
            let why = "no path that slipway.toml names has changed".into();
            return Ok(Due::Not { why, asked: true });
        }
    }
    if dockerfile::find(&commit.id, &spec.build, objects)?.is_none() {
        let absent = Absent::look(&commit.id, &spec.build, objects)?;
        return Ok(if written {
            // Who wrote a slipway.toml wants a build.
            Due::Broken(absent.problem(&commit.id))
        } else {
            Due::Not { why: absent.why(), asked: false }
        });
    }
    Ok(Due::Build)
}

/// What a commit's slipway.toml says, if it has one. What is wrong with it, its size included, is told within; without, that
/// it cannot be read.
fn spec_of(commit: &Oid, objects: &dyn Incoming) -> Result<Result<Option<Spec>, Problem>, Problem> {
    match objects.file(commit, "slipway.toml", SPEC_BYTES_MAX) {
        Ok(text) => Ok(text.as_deref().map(Spec::parse).transpose().map_err(Problem::from)),
        Err(problem) if problem.kind == ProblemKind::TooLarge => Ok(Err(problem)),
        Err(problem) => Err(problem),
    }
}

/// Whether a commit can be built at all, whichever refs its slipway.toml names: somebody asks for it.
///
/// # Errors
/// `Invalid` where its slipway.toml is wrong, or its Dockerfile is not there.
pub fn buildable(commit: &Oid, objects: &dyn Incoming) -> Result<(), Problem> {
    let spec = spec_at(commit, objects)?;
    match dockerfile::find(commit, &spec.build, objects)? {
        Some(_) => Ok(()),
        None => Err(Absent::look(commit, &spec.build, objects)?.problem(commit)),
    }
}

/// What a commit's slipway.toml says; without one, the defaults.
///
/// # Errors
/// `Invalid` or `TooLarge` where it is wrong, else that it cannot be read.
pub fn spec_at(commit: &Oid, objects: &dyn Incoming) -> Result<Spec, Problem> {
    Ok(spec_of(commit, objects)??.unwrap_or_default())
}
