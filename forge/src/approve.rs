//! Approval of deploys that wait for it: a promotion of what a build has pushed, forward only.

use slipway_core::build::Build;
use slipway_core::target::RepoRecord;
use slipway_core::{BuildNumber, Problem, ProblemKind};

use crate::caller::Caller;
use crate::forge::Forge;
use crate::moving::{Files, Wanted, judged};
use crate::promote::{pushed_build, queue_promotion};
use crate::refusal::cut;

/// Records the promotion of a build to the targets that wait for approval (`to`; none: all of them) and starts it. Blocking.
///
/// # Errors
/// `Conflict` where none waits, or a newer build has been approved of; `NotFound`; what promotions are refused for.
pub(crate) fn queue_approval(
    forge: &Forge,
    caller: &Caller,
    record: &RepoRecord,
    number: BuildNumber,
    to: &[String],
) -> Result<Build, Problem> {
    let build = pushed_build(forge, record, number)?;
    let files = Files::read(forge, record, &build)?;
    let said = files.said();
    let waits =
        |target: &String| said.wants_approval(target) && said.may_deploy(target, &build.ref_name).is_ok();
    let all: Vec<&String> = files.own.deploy.keys().filter(|target| waits(target)).collect();
    let asked: Vec<&String> = match to {
        [] => all.clone(),
        names => {
            let found = names.iter().map(|name| known(name, &all));
            found.collect::<Result<_, _>>()?
        }
    };
    if asked.is_empty() {
        return Err(none_waits(number));
    }
    for target in &asked {
        if let Some(why) = judged(forge, record, &build, &Wanted::Deploy((*target).clone()))? {
            let told = format!("Build {number} is not approved for [deploy.{target}]: {why}.");
            let cure = format!(
                "To go back to it on purpose: slipway build promote {} {number} --to {target}",
                record.name
            );
            return Err(Problem::new(ProblemKind::Conflict, told, cure));
        }
    }
    let targets: Vec<String> = asked.into_iter().map(|target| format!("deploy.{target}")).collect();
    queue_promotion(forge, caller, record, number, &targets)
}

fn known<'a>(name: &str, all: &[&'a String]) -> Result<&'a String, Problem> {
    let bare = name.strip_prefix("deploy.").unwrap_or(name);
    all.iter().copied().find(|target| *target == bare).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|target| target.as_str()).collect();
        let cure = match names.as_slice() {
            [] => "slipway.toml has none with approve = true that builds of this ref may write.".to_owned(),
            names => format!("Name one of {}.", names.join(", ")),
        };
        Problem::new(
            ProblemKind::NotFound,
            format!("No deploy called {:?} waits for approval.", cut(name)),
            cure,
        )
    })
}

fn none_waits(number: BuildNumber) -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        format!("Nothing of build {number} waits for approval."),
        "slipway build promote moves what does not wait.",
    )
}
