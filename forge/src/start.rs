//! A build that nobody's push owes: of a commit that somebody names, or of the default branch.

use std::collections::BTreeMap;

use slipway_core::accept::{Orders, buildable, spec_at};
use slipway_core::build::{self, Build, BuildCause};
use slipway_core::event::{Event, EventState};
use slipway_core::spec::{Params, Part, param_values};
use slipway_core::target::RepoRecord;
use slipway_core::{BuildNumber, EventId, Oid, Problem, ProblemKind, RefName};
use slipway_repository::Snapshot;
use slipway_store::View as Records;

use crate::access::{repository, view};
use crate::caller::Caller;
use crate::forge::Forge;
use crate::limits::{EVENTS_LOOKED_MAX, REFS_LOOKED_MAX};
use crate::refusal::cut;

/// What somebody wants built.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// A branch, a tag or a commit; the default branch without.
    pub revision: Option<String>,
    /// One of the commit's images (`[[image]]`); all without.
    pub image: Option<String>,
    /// Every step is done anew.
    pub no_cache: bool,
    /// Values of `[build.params.*]`.
    pub params: BTreeMap<String, String>,
}

/// Records the builds under the next numbers and starts them: one, or one for each image of the commit. Only what those who fetch
/// may see can be named. Blocking.
///
/// # Errors
/// `Conflict` where the repository is bound to no registry or the commit's build is under way; `NotFound`; `Invalid` where
/// the commit cannot be built.
pub(crate) fn start_build(
    forge: &Forge,
    caller: &Caller,
    record: &RepoRecord,
    asked: &Asked,
) -> Result<Vec<Build>, Problem> {
    // First, since it is refused most easily.
    forge.store.read(|records| Ok(check_bound(records, record)?))?;
    let wanted = wanted(forge, caller, record, asked)?;
    // Two who ask at the same moment get one build: the look at what is under way is part of the change.
    let builds = forge.store.transact(|tx| {
        check_bound(tx.view(), record)?;
        for build in &wanted {
            check_not_under_way(tx.view(), record, build)?;
        }
        wanted.iter().map(|build| tx.add_build(build.clone())).collect::<Result<Vec<_>, _>>()
    })?;
    forge.outside.begin(&Orders { builds: builds.clone(), deploys: Vec::new() });
    Ok(builds)
}

/// The parameters that the default branch's slipway.toml declares; none where it cannot be read. Blocking.
pub(crate) fn params(forge: &Forge, record: &RepoRecord) -> Result<Params, Problem> {
    let snapshot = view(forge, record)?.snapshot;
    let Ok(found) = default(&snapshot, record) else { return Ok(Params::new()) };
    let objects = forge.repositories.get(record.id)?.received_nothing()?;
    Ok(spec_at(&found.commit, &objects).map(|spec| spec.build.params).unwrap_or_default())
}

pub(crate) fn check_bound(records: Records<'_>, record: &RepoRecord) -> Result<(), Problem> {
    match records.bindings(record.id)?.registry {
        Some(_) => Ok(()),
        None => Err(Problem::new(
            ProblemKind::Conflict,
            format!("{} is not bound to a registry.", record.name),
            format!("An owner can bind it: slipway bind {} --registry NAME", record.name),
        )),
    }
}

/// The builds that shall start, not yet recorded.
fn wanted(forge: &Forge, caller: &Caller, record: &RepoRecord, asked: &Asked) -> Result<Vec<Build>, Problem> {
    let snapshot = view(forge, record)?.snapshot;
    let found = match asked.revision.as_deref().map(str::trim).filter(|r| !r.is_empty()) {
        None => default(&snapshot, record)?,
        Some(name) => named(&snapshot, record, name)?,
    };
    let who = caller.user().map(ToString::to_string);
    let actor = Actor { who, label: caller.actor.label() };
    let build = Build {
        cause: BuildCause::Start,
        no_cache: asked.no_cache,
        ..planned(forge, record, &found, actor)?
    };
    of_parts(forge, record, build, asked)
}

/// Whose build it is.
struct Actor {
    /// Who asks; `None` is nobody whom a manifest repository knows.
    who: Option<String>,
    /// How that is called where nobody has pushed the commit, either.
    label: String,
}

/// The builds of a branch's tip that nobody asks for, not yet recorded: for whoever pushed the commit, whose rights hold where
/// manifests are written.
///
/// # Errors
/// As for a build that somebody asks for.
pub(crate) fn of_tip(
    forge: &Forge,
    record: &RepoRecord,
    (branch, target): (&RefName, &Oid),
    cause: &BuildCause,
) -> Result<Vec<Build>, Problem> {
    let snapshot = repository(forge, record)?.snapshot()?;
    let found = found(&snapshot, branch.clone(), target)?;
    let actor = Actor { who: None, label: slipway_core::Actor::Server.label() };
    let build = planned(forge, record, &found, actor)?;
    // What has its time is done, not taken from what was done at another; what is for base images is taken where they are the
    // same.
    let afresh = matches!(cause, BuildCause::Schedule { .. });
    of_parts(forge, record, Build { cause: cause.clone(), afresh, ..build }, &Asked::default())
}

fn planned(forge: &Forge, record: &RepoRecord, found: &Found, actor: Actor) -> Result<Build, Problem> {
    let events = forge.store.events(record.id, EVENTS_LOOKED_MAX)?;
    let event = event_of(&events, found);
    // Whoever holds the admin socket is nobody whom a manifest repository knows: the pusher stays.
    let who = actor.who.or(event.map(|e| e.actor.clone()));
    Ok(Build::queued(
        record.id,
        BuildNumber(0),
        // Of no push: it takes nobody's place, and every push to its ref may take its.
        event.map_or(EventId(0), |e| e.id),
        found.ref_name.clone(),
        found.commit,
        found.title.clone(),
        who.unwrap_or(actor.label),
        forge.now(),
    ))
}

/// One build for each of the commit's images that are asked for.
fn of_parts(forge: &Forge, record: &RepoRecord, build: Build, asked: &Asked) -> Result<Vec<Build>, Problem> {
    let objects = forge.repositories.get(record.id)?.received_nothing()?;
    let spec = buildable(&build.commit, &objects)?;
    // Those that nobody named are not recorded: they are what the commit says.
    param_values(&spec.build.params, &asked.params)?;
    let build = Build { asked: build::Asked { params: asked.params.clone() }, ..build };
    let parts = parts(spec.parts().to_vec(), asked.image.as_deref())?;
    if parts.is_empty() {
        return Ok(vec![build]);
    }
    let of = |part: Part| Build { part: Some(part.name), needs: part.needs, ..build.clone() };
    Ok(parts.into_iter().map(of).collect())
}

/// Those of the commit's images that are asked for.
fn parts(mut all: Vec<Part>, image: Option<&str>) -> Result<Vec<Part>, Problem> {
    let Some(image) = image.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(all) };
    let names: Vec<String> = all.iter().map(|part| part.name.clone()).collect();
    all.retain(|part| part.is(image));
    if all.is_empty() {
        let cure = match names.as_slice() {
            [] => "Its slipway.toml has no [[image]]: leave the name out.".to_owned(),
            names => format!("Name one of {}.", names.join(", ")),
        };
        let told = format!("The commit has no image {:?}.", cut(image));
        return Err(Problem::new(ProblemKind::NotFound, told, cure));
    }
    Ok(all)
}

/// A commit, and the ref whose build it shall be.
struct Found {
    ref_name: RefName,
    commit: Oid,
    title: String,
}

fn default(snapshot: &Snapshot, record: &RepoRecord) -> Result<Found, Problem> {
    let head = snapshot.head();
    let tip = snapshot.find_ref(head.as_str()).map(|r| r.target);
    let tip = tip.filter(|_| head.as_branch().is_some()).ok_or_else(|| {
        Problem::new(
            ProblemKind::NotFound,
            format!("The default branch of {} has no commit.", record.name),
            "Push one, or name a branch, a tag or a commit.",
        )
    })?;
    found(snapshot, head.clone(), &tip)
}

fn named(snapshot: &Snapshot, record: &RepoRecord, name: &str) -> Result<Found, Problem> {
    let full = [format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.to_owned()];
    let is_ref = |n: &&RefName| n.as_branch().is_some() || n.as_tag().is_some();
    let known = full.iter().find_map(|full| snapshot.find_ref(full).filter(|r| is_ref(&&r.name)));
    if let Some(known) = known {
        return found(snapshot, known.name.clone(), &known.target);
    }
    let unknown = || {
        Problem::new(
            ProblemKind::NotFound,
            format!("{} has no branch, tag or commit {:?}.", record.name, cut(name)),
            "Name one that its page of branches and tags leads to.",
        )
    };
    let id = snapshot.resolve(name)?.ok_or_else(unknown)?;
    let commit = snapshot.commit(&id)?.ok_or_else(unknown)?;
    // What no ref reaches is not there for anybody.
    let ref_name = leading_to(snapshot, &commit.id)?.ok_or_else(unknown)?;
    found(snapshot, ref_name, &commit.id)
}

/// A ref that leads to the commit: the default branch if it does, else the first branch or tag of those looked at.
fn leading_to(snapshot: &Snapshot, commit: &Oid) -> Result<Option<RefName>, Problem> {
    let head = snapshot.find_ref(snapshot.head().as_str());
    let tags_last = |r: &&slipway_repository::Ref| r.name.as_branch().is_none();
    let mut refs: Vec<_> = snapshot.refs().iter().filter(|r| r.name.as_str().starts_with("refs/")).collect();
    refs.retain(|r| r.name.as_branch().is_some() || r.name.as_tag().is_some());
    refs.sort_by_key(tags_last);
    for one in head.into_iter().chain(refs).take(REFS_LOOKED_MAX) {
        let tip = one.peeled.unwrap_or(one.target);
        if one.name.as_str() != "HEAD" && snapshot.is_ancestor(commit, &tip)? {
            return Ok(Some(one.name.clone()));
        }
    }
    Ok(None)
}

fn found(snapshot: &Snapshot, ref_name: RefName, target: &Oid) -> Result<Found, Problem> {
    let commit = snapshot.commit(target)?.ok_or_else(|| {
        Problem::new(
            ProblemKind::Invalid,
            format!("{} names no commit.", ref_name.short()),
            "Name a branch, a tag of a commit, or a commit.",
        )
    })?;
    let title = commit.subject().to_owned();
    Ok(Found { ref_name, commit: commit.id, title })
}

pub(crate) fn check_not_under_way(
    records: Records<'_>,
    record: &RepoRecord,
    wanted: &Build,
) -> Result<(), Problem> {
    let unfinished = records.unfinished_builds_of(record.id)?;
    match unfinished.iter().find(|b| b.commit == wanted.commit && b.part == wanted.part) {
        None => Ok(()),
        Some(build) => Err(Problem::new(
            ProblemKind::Conflict,
            format!("Build {} of commit {} is under way.", build.number, build.commit.short()),
            format!("Follow it: slipway build log {} {} --follow", record.name, build.number),
        )),
    }
}

/// The push that brought the commit to that ref, or to any.
fn event_of<'a>(events: &'a [Event], found: &Found) -> Option<&'a Event> {
    let accepted = || events.iter().filter(|e| e.state == EventState::Accepted);
    let brought = |e: &&Event| e.updates.iter().any(|u| u.new == found.commit);
    let there = |e: &&Event| e.updates.iter().any(|u| u.new == found.commit && u.name == found.ref_name);
    accepted().find(there).or_else(|| accepted().find(brought))
}
