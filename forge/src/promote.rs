//! A deliberate return, or a step ahead: the names that others follow are moved to what an earlier build has pushed, by
//! somebody who says so. Nothing is built; the promotion is work like a build, recorded under a number of its own.

use slipway_core::accept::Orders;
use slipway_core::build::{Build, BuildCause};
use slipway_core::moving::{Name, tags};
use slipway_core::spec::{Scope, Spec, TagFacts};
use slipway_core::target::RepoRecord;
use slipway_core::{BuildNumber, Problem, ProblemKind, RepoName};

use crate::bump::check_leave;
use crate::caller::Caller;
use crate::forge::Forge;
use crate::images::path_of;
use crate::limits::NAMES_PROMOTED_MAX;
use crate::moving::{Files, place};
use crate::refusal::{cut, no_build};

/// Records the promotion of a build to `to` (tags and `[deploy.*]` targets by name; none: all that builds of its ref move by
/// themselves) and starts it. Blocking.
///
/// # Errors
/// `Conflict` where that build has pushed nothing, or elsewhere; `Denied` where the caller may not write the manifests;
/// `NotFound` for a build or a name that is not there.
pub(crate) fn queue_promotion(
    forge: &Forge,
    caller: &Caller,
    record: &RepoRecord,
    number: BuildNumber,
    to: &[String],
) -> Result<Build, Problem> {
    let build = pushed_build(forge, record, number)?;
    check_same_image(forge, record, &build)?;
    let files = Files::read(forge, record, &build)?;
    let to = if to.is_empty() { moved_by_itself(&files, &build)? } else { named(&files, &build, to)? };
    // Whoever holds the admin socket is nobody whom a manifest repository knows: the pusher stays.
    let actor = caller.user().map_or_else(|| build.actor.clone(), ToString::to_string);
    let cause = BuildCause::Promote { of: build.number, to: to.clone(), by: caller.actor.label() };
    let none = || Problem::new(ProblemKind::Conflict, nothing_pushed(number), BUILD_IT);
    let asked = Build { actor: actor.clone(), cause: cause.clone(), ..build.clone() };
    let mut targets = Vec::new();
    for name in &to {
        if let Name::Deploy(target) = name {
            let manifests: RepoName = place(forge, record, &asked, target)?.repo;
            check_leave(forge, record, &asked, &manifests)?;
            targets.push((target.clone(), manifests.to_string()));
        }
    }
    let promotion = Build::promotion(&build, targets, actor, cause, forge.now()).ok_or_else(none)?;
    let promotion = forge.store.add_build(promotion)?;
    forge.outside.begin(&Orders { builds: vec![promotion.clone()], deploys: Vec::new() });
    Ok(promotion)
}

const BUILD_IT: &str = "Name one that has, or build its commit again: slipway build retry.";

fn nothing_pushed(number: BuildNumber) -> String {
    format!("Build {number} has pushed no image.")
}

/// The build of that number, or the one whose image it promoted.
pub(crate) fn pushed_build(
    forge: &Forge,
    record: &RepoRecord,
    number: BuildNumber,
) -> Result<Build, Problem> {
    let found = |number| forge.store.build(record.id, number)?.ok_or_else(|| no_build(number));
    let build = found(number)?;
    let build = match build.promotes() {
        Some(of) => found(of)?,
        None => build,
    };
    if build.pushed.is_none() {
        return Err(Problem::new(ProblemKind::Conflict, nothing_pushed(number), BUILD_IT));
    }
    Ok(build)
}

/// What was pushed elsewhere cannot be moved to here.
fn check_same_image(forge: &Forge, record: &RepoRecord, build: &Build) -> Result<(), Problem> {
    let image = forge.store.read(|records| {
        let Some(binding) = records.bindings(record.id)?.registry else { return Ok(None) };
        let path = path_of(&binding, build.part.as_deref());
        Ok(records.registry(&binding.registry)?.map(|registry| registry.image(&path)))
    })?;
    let pushed = build.pushed.as_ref().map(|p| p.name.clone()).unwrap_or_default();
    if image.as_ref() == Some(&pushed) {
        return Ok(());
    }
    let now = image.unwrap_or_else(|| "no registry".into());
    Err(Problem::new(
        ProblemKind::Conflict,
        format!("Build {} was pushed to {pushed}, and {} is bound to {now} now.", build.number, record.name),
        "Build its commit again: slipway build retry.",
    ))
}

/// What builds of that ref move without being asked.
fn moved_by_itself(files: &Files, build: &Build) -> Result<Vec<Name>, Problem> {
    let said = files.said();
    let commit = build.commit.to_string();
    let tags = tags(&said, &facts(build, &commit)).moving.into_iter();
    let tags = tags.filter(|t| t.denied.is_none() && t.scope != Scope::Build).map(|t| Name::Tag(t.text));
    let targets = files.own.deploy.keys().filter(|t| said.deploys(t, &build.ref_name).is_ok());
    let all: Vec<Name> = tags.chain(targets.map(|t| Name::Deploy(t.clone()))).collect();
    if all.is_empty() {
        return Err(Problem::new(
            ProblemKind::Invalid,
            format!("Builds of {} move nothing by themselves.", build.ref_name.short()),
            format!("Name what shall move: --to NAME ({}).", listed(&known(files, build))),
        ));
    }
    Ok(all)
}

/// The names that people gave.
fn named(files: &Files, build: &Build, to: &[String]) -> Result<Vec<Name>, Problem> {
    let known = known(files, build);
    let mut names: Vec<Name> = Vec::new();
    if to.len() > NAMES_PROMOTED_MAX {
        let what = format!("{} names are too many; {NAMES_PROMOTED_MAX} can be moved at once.", to.len());
        return Err(Problem::new(
            ProblemKind::Invalid,
            what,
            "Promote the build to some of them, then to the others.",
        ));
    }
    for asked in to {
        let is_asked = |name: &&Name| match name {
            Name::Tag(tag) => tag == asked,
            Name::Deploy(target) => {
                asked == target || *asked == format!("deploy.{target}") || *asked == name.to_string()
            }
        };
        let found: Vec<&Name> = known.iter().filter(is_asked).collect();
        match found.as_slice() {
            [one] if names.contains(one) => {}
            [one] => names.push((*one).clone()),
            [] => {
                return Err(Problem::new(
                    ProblemKind::NotFound,
                    format!("slipway.toml has no tag that moves and no [deploy.*] called {:?}.", cut(asked)),
                    format!("Name one of {}.", listed(&known)),
                ));
            }
            _ => {
                return Err(Problem::new(
                    ProblemKind::Invalid,
                    format!("A tag and a [deploy.*] are called {:?}.", cut(asked)),
                    format!("Say deploy.{} for the manifests, or rename one.", cut(asked)),
                ));
            }
        }
    }
    Ok(names)
}

/// Every name that slipway.toml of the default branch has, and that of the commit where it is the default branch's; of another
/// ref's own file only what is that ref's own: whoever can push nothing else names nothing that others follow.
fn known(files: &Files, build: &Build) -> Vec<Name> {
    let commit = build.commit.to_string();
    let facts = facts(build, &commit);
    let mut known: Vec<Name> = Vec::new();
    let is_default = build.ref_name == files.default_branch;
    for spec in files.of_default.iter().chain(is_default.then_some(&files.own)) {
        known.extend(tags_of(spec, &facts, &[Scope::Shared, Scope::Ref]).map(Name::Tag));
        known.extend(spec.deploy.keys().map(|target| Name::Deploy(target.clone())));
    }
    known.extend(tags_of(&files.own, &facts, &[Scope::Ref]).map(Name::Tag));
    known.sort();
    known.dedup();
    known
}

fn tags_of(spec: &Spec, facts: &TagFacts<'_>, scopes: &[Scope]) -> impl Iterator<Item = String> {
    let filled = spec.push.tags.iter().filter_map(|tag| tag.template.fill(facts));
    filled.filter(|tag| scopes.contains(&tag.scope)).map(|tag| tag.text)
}

fn facts<'a>(build: &'a Build, commit: &'a str) -> TagFacts<'a> {
    let (number, created) = (build.number, build.run.created);
    TagFacts { commit, ref_name: &build.ref_name, number, created }
}

fn listed(names: &[Name]) -> String {
    let said = names.iter().map(|name| match name {
        Name::Tag(tag) => tag.clone(),
        Name::Deploy(target) => target.clone(),
    });
    said.collect::<Vec<_>>().join(", ")
}
