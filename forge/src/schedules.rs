//! Builds that start by themselves: at times, at night, and when base images move. The rule of what is due is core's
//! ([`slipway_core::schedule`]); here the default branch is read, and what is due is recorded with the builds that it makes.
//!
//! They are the server's own, as the builds of pushes are: whoever could push to the default branch has had them set. They are built
//! for whoever pushed the commit, whose right to write manifests is asked when manifests are written, so that somebody who
//! has lost it deploys nothing by a schedule, either.

use std::collections::BTreeSet;

use slipway_core::accept::{Orders, spec_at};
use slipway_core::build::{Build, BuildCause};
use slipway_core::schedule::{Begun, Pace, Schedules, Timer, said};
use slipway_core::target::RepoRecord;
use slipway_core::{BuildNumber, Oid, Problem, ProblemKind, RefName, RepoId, UnixMillis};
use slipway_repository::Snapshot;

use crate::access::{Seen, repository, see, view};
use crate::caller::Caller;
use crate::forge::Forge;
use crate::limits::{SCHEDULED_BRANCHES_MAX, WAIT_FOR_ROOM_MS};
use crate::start::{check_bound, check_not_under_way, of_tip};

mod bases;

/// What a repository waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// When something is due.
    pub due: Option<UnixMillis>,
    /// The base images, with their tags, after whose moves it is to be looked at again; `None` where none matter.
    pub bases: Option<BTreeSet<String>>,
}

impl Watch {
    fn of(schedules: Option<&Schedules>) -> Self {
        let Some(schedules) = schedules else { return Self::default() };
        let bases = schedules.bases.as_ref().map(|bases| bases::names(bases).collect());
        Self { due: schedules.next(), bases }
    }
}

/// The repositories whose builds may start by themselves. Blocking.
///
/// # Errors
/// A [`Problem`] where the records cannot be read.
pub fn watched(forge: &Forge) -> Result<BTreeSet<RepoId>, Problem> {
    forge.store.read(|records| {
        let mut all: BTreeSet<RepoId> = records.scheduled()?.into_iter().collect();
        for registry in records.registries_after(None, usize::MAX)? {
            all.extend(records.bound_to_registry(&registry.name)?);
        }
        Ok(all)
    })
}

/// Reads what the default branch asks for now, and whether base images have moved. Blocking.
///
/// # Errors
/// A [`Problem`] where records or repository cannot be read.
pub fn look(forge: &Forge, id: RepoId) -> Result<Watch, Problem> {
    let Some(record) = forge.store.repo(id)? else { return Ok(Watch::default()) };
    let bound = forge.store.read(|records| Ok(records.bindings(id)?.registry.is_some()))?;
    let tip = if bound { tip(&*repository(forge, &record)?.snapshot()?) } else { None };
    let Some((head, commit)) = tip else {
        forget(forge, id)?;
        return Ok(Watch::default());
    };
    let known = forge.store.schedules(id)?.filter(|known| known.commit == commit && known.unread.is_none());
    let spec = match known {
        Some(_) => None,
        None => Some(spec_at(&commit, &forge.repositories.get(id)?.received_nothing()?)),
    };
    if let Some(Err(problem)) = &spec
        && !matches!(problem.kind, ProblemKind::Invalid | ProblemKind::TooLarge)
    {
        return Err(problem.clone());
    }
    let (pace, now) = (pace(forge), forge.now());
    let kept = forge.store.transact(|tx| {
        let before = tx.view().schedules(id)?;
        let mut after = match (&spec, before.clone()) {
            (None, Some(before)) => before.reckoned(pace, now),
            (None, None) => return Ok(None),
            (Some(Ok(spec)), before) => said(id, commit, spec, before.as_ref(), (pace, now)),
            // What held goes on: its builds fail with the same words, where people look.
            (Some(Err(problem)), Some(before)) => Schedules { unread: Some(problem.what.clone()), ..before },
            (Some(Err(_)), None) => return Ok(None),
        };
        bases::look(tx.view(), &record, &head, &mut after, (forge.limits.rebuild_delay, now))?;
        if after.is_idle() && after.unread.is_none() {
            if before.is_some() {
                tx.remove_schedules(id)?;
            }
            return Ok(None);
        }
        if before.as_ref() != Some(&after) {
            tx.put_schedules(&after)?;
        }
        Ok(Some(after))
    })?;
    Ok(Watch::of(kept.as_ref()))
}

fn forget(forge: &Forge, id: RepoId) -> Result<(), Problem> {
    if forge.store.schedules(id)?.is_some() {
        forge.store.transact(|tx| tx.remove_schedules(id))?;
    }
    Ok(())
}

fn tip(snapshot: &Snapshot) -> Option<(RefName, Oid)> {
    let head = snapshot.head();
    let tip = snapshot.find_ref(head.as_str()).filter(|_| head.as_branch().is_some())?;
    Some((head.clone(), tip.peeled.unwrap_or(tip.target)))
}

fn pace(forge: &Forge) -> Pace {
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Pace { spread_ms: ms(forge.limits.schedule_spread), least_ms: ms(forge.limits.schedule_interval_min) }
}

/// Starts what is due in a repository. What is due and the builds are recorded together. Blocking.
///
/// # Errors
/// A [`Problem`] where records or repository cannot be read.
pub fn start_due(forge: &Forge, id: RepoId) -> Result<Watch, Problem> {
    let is_due = |due: Option<UnixMillis>| due.is_some_and(|due| due <= forge.now());
    let before = forge.store.schedules(id)?;
    if is_due(before.as_ref().and_then(Schedules::next)) && !has_room(forge)? {
        let due = Some(forge.now().plus_ms(WAIT_FOR_ROOM_MS));
        return Ok(Watch { due, ..Watch::of(before.as_ref()) });
    }
    // What the branch says now holds, not what it said when the time was reckoned.
    let watch = look(forge, id)?;
    let now = forge.now();
    if !is_due(watch.due) {
        return Ok(watch);
    }
    let (Some(record), Some(schedules)) = (forge.store.repo(id)?, forge.store.schedules(id)?) else {
        return Ok(watch);
    };
    let snapshot = repository(forge, &record)?.snapshot()?;
    for timer in schedules.timers.iter().filter(|timer| timer.next <= now) {
        let cause = match timer.nightly {
            true => BuildCause::Nightly,
            false => BuildCause::Schedule { name: timer.name.clone() },
        };
        let wanted = wanted(forge, &record, &snapshot, timer, &cause);
        let begun = begin(forge, &record, wanted, |all, begun| {
            let timer = all.timers.iter_mut().find(|one| one.name == timer.name && one.next == timer.next)?;
            timer.last = Some(begun);
            timer.next = timer.after(id, pace(forge), now);
            Some(())
        })?;
        forge.outside.begin(&Orders { builds: begun, deploys: Vec::new() });
    }
    if let Some(owed) = schedules.bases.and_then(|bases| bases.owed).filter(|owed| owed.due <= now) {
        let cause = bases::cause(&owed);
        let head = tip(&snapshot);
        let wanted =
            head.map_or_else(Vec::new, |(head, tip)| vec![of_branch(forge, &record, (&head, &tip), &cause)]);
        let begun = begin(forge, &record, wanted, |all, begun| bases::begun(all, &owed, begun))?;
        forge.outside.begin(&Orders { builds: begun, deploys: Vec::new() });
    }
    Ok(Watch::of(forge.store.schedules(id)?.as_ref()))
}

/// Whether more builds may wait that nobody asked for.
fn has_room(forge: &Forge) -> Result<bool, Problem> {
    let waiting = forge.store.unfinished_builds()?.iter().filter(|b| b.cause.is_by_itself()).count();
    Ok(waiting < forge.limits.scheduled_builds_max)
}

/// Builds that could be recorded, or why there are none of a branch.
type Wanted = Result<Vec<Build>, String>;

fn wanted(
    forge: &Forge,
    record: &RepoRecord,
    snapshot: &Snapshot,
    timer: &Timer,
    cause: &BuildCause,
) -> Vec<Wanted> {
    let head = snapshot.head();
    let branches = snapshot.refs().iter().filter(|r| r.name.as_branch().is_some());
    let mut all: Vec<_> = branches.filter(|r| timer.builds(&r.name, head)).collect();
    let more = all.len().saturating_sub(SCHEDULED_BRANCHES_MAX);
    all.truncate(SCHEDULED_BRANCHES_MAX);
    let mut wanted: Vec<Wanted> =
        all.iter().map(|r| of_branch(forge, record, (&r.name, &r.target), cause)).collect();
    if more > 0 {
        wanted.push(Err(format!(
            "{more} more branches are left out: {SCHEDULED_BRANCHES_MAX} are built at a time"
        )));
    }
    if wanted.is_empty() {
        wanted.push(Err("there is no such branch".to_owned()));
    }
    wanted
}

fn of_branch(forge: &Forge, record: &RepoRecord, tip: (&RefName, &Oid), cause: &BuildCause) -> Wanted {
    of_tip(forge, record, tip, cause).map_err(|problem| format!("{}: {problem}", tip.0.short()))
}

/// Records builds together with what `note` makes of them. Where that is not as it was any more (`None`), nothing is recorded.
fn begin(
    forge: &Forge,
    record: &RepoRecord,
    wanted: Vec<Wanted>,
    note: impl Fn(&mut Schedules, Begun) -> Option<()>,
) -> Result<Vec<Build>, Problem> {
    let now = forge.now();
    let begun = forge.store.transact(|tx| {
        let (mut builds, mut told) = (Vec::new(), Vec::new());
        let bound = check_bound(tx.view(), record).err();
        for one in &wanted {
            match (one, &bound) {
                (Err(why), _) => told.push(why.clone()),
                (_, Some(problem)) => told.push(problem.what.clone()),
                (Ok(some), None) => {
                    for build in some {
                        match check_not_under_way(tx.view(), record, build) {
                            Ok(()) => builds.push(tx.add_build(build.clone())?),
                            Err(problem) => told.push(problem.what),
                        }
                    }
                }
            }
        }
        let Some(mut all) = tx.view().schedules(record.id)? else { return Err(gone().into()) };
        told.truncate(SCHEDULED_BRANCHES_MAX + 1);
        let numbers = builds.iter().map(|build| build.number).collect();
        match note(&mut all, Begun { at: now, builds: numbers, told }) {
            Some(()) => tx.put_schedules(&all)?,
            None => return Err(gone().into()),
        }
        Ok(builds)
    });
    match begun {
        Err(problem) if problem == gone() => Ok(Vec::new()),
        begun => begun,
    }
}

/// What was due is not any more: another has come first.
fn gone() -> Problem {
    Problem::new(ProblemKind::Conflict, "The schedule has changed meanwhile.", "Nothing needs to be done.")
}

/// The build of that number, if it is over. Blocking.
///
/// # Errors
/// A [`Problem`] where the records cannot be read.
pub fn ended(forge: &Forge, repo: RepoId, number: BuildNumber) -> Result<Option<Build>, Problem> {
    Ok(forge.store.build(repo, number)?.filter(|build| build.run.state.is_final()))
}

/// What starts builds of a repository by itself; nothing where nothing does.
///
/// # Errors
/// What the authoriser says of reading the repository.
pub fn list(forge: &Forge, caller: &Caller, name: &str) -> Result<(RepoRecord, Option<Schedules>), Problem> {
    let Seen { record, operates, .. } = see(forge, caller, name)?;
    // It is told by the default branch's file: of one that is hidden nothing is told.
    let shown = operates || tip(&view(forge, &record)?.snapshot).is_some();
    let schedules = if shown { forge.store.schedules(record.id)? } else { None };
    Ok((record, schedules))
}
