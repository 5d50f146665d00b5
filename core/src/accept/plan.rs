//! What an accepted push owes: builds and deploys, decided before the refs move, and why not more. Pure but for reading
//! pushed objects.

use super::dockerfile::{self, Absent};
use super::idle::Whys;
use super::options::skip_word;
use super::{Bindings, CommitFacts, Incoming, Proposal};
use crate::ceilings::{Beyond, Ceilings};
use crate::deploy::DeployCause;
use crate::event::{Cause, Owed, Work};
use crate::git::{Oid, RefName, RefUpdate};
use crate::limits::SPEC_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::spec::Spec;

/// Most changed paths that a `paths` filter looks at; a push that changes more counts as matching.
const CHANGED_PATHS_MAX: usize = 20_000;

/// Most work that one push starts.
const BUILDS_OWED_MAX: usize = 10_000;

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
    (bindings, most): (&Bindings, &Ceilings),
    default_branch: RefName,
    objects: &dyn Incoming,
) -> Result<Plan, Problem> {
    let mut plan = Plan { owed: Vec::new(), notices: Vec::new(), whys: Vec::new(), default_branch };
    let mut whys = Whys::default();
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
            let default_branch = plan.default_branch.clone();
            for wanted in builds_due(push, update, &commit, (&default_branch, most), objects)? {
                wanted.note((update, &commit), &mut plan, &mut whys);
            }
        }
        if let Some(binding) = cluster {
            let (cluster, cause) = (binding.cluster.clone(), deploy_cause(&push.cause));
            plan.owed.push(owe(update, &commit, Work::Deploy { cluster, cause }));
        }
    }
    if plan.owed.is_empty() {
        plan.whys = whys.told(false);
    } else {
        // Those that are told with work under way: what was asked for, or all where it is no build.
        let builds = plan.owed.iter().any(|o: &Owed| matches!(o.work, Work::Build { .. }));
        plan.notices.extend(whys.told(builds));
    }
    Ok(plan)
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

/// One image of a commit, and whether it is to be built.
struct Wanted {
    /// Its name and what it needs, where slipway.toml has several.
    part: Option<(String, Vec<String>)>,
    due: Due,
    /// What its test asks for and may not have: the build will fail of it.
    beyond: Option<Beyond>,
}

impl Wanted {
    /// What holds for the commit as a whole.
    fn whole(due: Due) -> Vec<Self> {
        vec![Self { part: None, due, beyond: None }]
    }

    /// Notes what is owed, or why nothing is.
    fn note(self, (update, commit): (&RefUpdate, &CommitFacts), plan: &mut Plan, whys: &mut Whys) {
        let name = self.part.as_ref().map(|(name, _)| name.clone());
        let broken = match self.due {
            Due::Build => {
                let told =
                    self.beyond.map(|Beyond { what, cure }| format!("{what}: the build will fail. {cure}"));
                plan.notices.extend(told.filter(|told| !plan.notices.contains(told)));
                None
            }
            Due::Broken(problem) => {
                plan.notices.push(problem.to_string());
                Some(problem)
            }
            Due::Unknown(problem) => {
                plan.notices.push(problem.to_string());
                let why = "which refs build cannot be known from its slipway.toml";
                return whys.add("build", &update.name, why.into(), false);
            }
            Due::Not { why, asked } => {
                let why = name.map_or(why.clone(), |name| format!("image {name}: {why}"));
                return whys.add("build", &update.name, why, asked);
            }
        };
        if plan.owed.len() >= BUILDS_OWED_MAX {
            let why = format!("one push starts {BUILDS_OWED_MAX} builds at most");
            return whys.add("build", &update.name, why, true);
        }
        let (part, needs) = self.part.map_or((None, Vec::new()), |(name, needs)| (Some(name), needs));
        plan.owed.push(owe(update, commit, Work::Build { broken, part, needs }));
    }
}

fn builds_due(
    push: &Proposal<'_>,
    update: &RefUpdate,
    commit: &CommitFacts,
    (default_branch, most): (&RefName, &Ceilings),
    objects: &dyn Incoming,
) -> Result<Vec<Wanted>, Problem> {
    if let Some(word) = skip_word(&push.options, &commit.message) {
        return Ok(Wanted::whole(Due::Not { why: format!("skipped by {word}"), asked: true }));
    }
    let spec = match spec_of(&commit.id, objects)? {
        Ok(spec) => spec,
        Err(problem) if update.name == *default_branch => return Ok(Wanted::whole(Due::Broken(problem))),
        Err(problem) => return Ok(Wanted::whole(Due::Unknown(problem))),
    };
    let (written, spec) = (spec.is_some(), spec.unwrap_or_default());
    let wanted = |spec: &Spec, part: Option<(String, Vec<String>)>| {
        let due = build_due(update, commit, (spec, written), default_branch, objects)?;
        Ok(Wanted { part, due, beyond: most.refuses(&spec.test) })
    };
    if spec.parts().is_empty() {
        return Ok(vec![wanted(&spec, None)?]);
    }
    let parts = spec.parts().iter();
    parts.map(|p| wanted(&p.spec, Some((p.name.clone(), p.needs.clone())))).collect()
}

fn build_due(
    update: &RefUpdate,
    commit: &CommitFacts,
    (spec, written): (&Spec, bool),
    default_branch: &RefName,
    objects: &dyn Incoming,
) -> Result<Due, Problem> {
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

/// What a commit's slipway.toml says, where all that it names can be built, whichever refs it names: somebody asks for it.
///
/// # Errors
/// `Invalid` where its slipway.toml is wrong, or a Dockerfile is not there.
pub fn buildable(commit: &Oid, objects: &dyn Incoming) -> Result<Spec, Problem> {
    let spec = spec_at(commit, objects)?;
    let one = spec.parts().is_empty().then_some(&spec.build);
    for build in spec.parts().iter().map(|part| &part.spec.build).chain(one) {
        if dockerfile::find(commit, build, objects)?.is_none() {
            return Err(Absent::look(commit, build, objects)?.problem(commit));
        }
    }
    Ok(spec)
}

/// What a commit's slipway.toml says; without one, the defaults.
///
/// # Errors
/// `Invalid` or `TooLarge` where it is wrong, else that it cannot be read.
pub fn spec_at(commit: &Oid, objects: &dyn Incoming) -> Result<Spec, Problem> {
    Ok(spec_of(commit, objects)??.unwrap_or_default())
}
