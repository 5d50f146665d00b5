//! Builds: their list, one of them with its stages, its failure and its log.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use slipway_core::build::{Build, BuildCause, BuildState, FirstLine, Stage, TestVerdict};
use slipway_core::kept::{KeptFile, TestReport};
use slipway_core::moving::{Move, Name};
use slipway_core::run::Failure;
use slipway_core::spec::Params;
use slipway_core::{BuildNumber, ProblemKind, RepoName, UnixMillis};
use slipway_forge::kept::Kept;
use slipway_forge::logs::Log;
use slipway_forge::{bindings, runs, schedules};

use super::build_log;

use super::form::Fields;
use super::frame::{Frame, go_to, html, render};
use super::mark::{Mark, StageState, took};
use crate::api::schedules::{Row as ScheduleRow, rows as schedule_rows};
use crate::api::{Keys, find_build, log_response};
use crate::limits::HISTORY_ROWS;
use crate::link::Link;
use crate::refusal::{Answer, Refusal};
use crate::text::{Moment, size};
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "builds.html")]
struct BuildsPage {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<Link>,
    bound: bool,
    operates: bool,
    /// What may be said of a build that is started here.
    params: Params,
    schedules: Vec<Scheduled>,
    /// Why a later slipway.toml is not what holds.
    unread: Option<String>,
    here: Link,
    repo: RepoName,
    badge: Link,
    /// What shows the badge in a README.
    markdown: String,
}

/// What starts builds by itself.
struct Scheduled {
    row: ScheduleRow,
    next: Option<Moment>,
    last: Option<Moment>,
    builds: Vec<(BuildNumber, Link)>,
}

struct Row {
    number: BuildNumber,
    link: Link,
    mark: Mark,
    title: String,
    ref_name: String,
    /// Which of the commit's images; empty where there is the one.
    part: String,
    commit: String,
    commit_link: Link,
    actor: String,
    /// Why it is there, where nobody pushed it.
    why: String,
    when: Moment,
    took: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Before {
    pub(crate) before: Option<u64>,
}

pub(crate) async fn list(
    visit: Visit,
    Path(repo): Path<String>,
    Keys(from): Keys<Before>,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let before = from.before.map(BuildNumber);
    let operates = seen.operates;
    let (found, bindings, params, (schedules, unread)) = visit
        .ask(move |forge, caller| {
            let found = runs::builds(forge, caller, &repo, before, HISTORY_ROWS)?;
            let params = if operates { runs::params(forge, caller, &repo)? } else { Params::new() };
            let scheduled = schedule_rows(schedules::list(forge, caller, &repo)?.1);
            Ok((found, bindings::show(forge, caller, &repo)?, params, scheduled))
        })
        .await?;
    let (name, now) = (&seen.record.name, visit.now());
    let under_way = found.rows.iter().any(|b| !b.run.state.is_final());
    html(&BuildsPage {
        frame: Frame::of_repo(&visit, &seen, "Builds", "Builds").refreshing(under_way),
        older: found.next.map(|n| Link::builds_before(name, BuildNumber(n))),
        rows: found.rows.into_iter().map(|b| row(name, b, now)).collect(),
        bound: bindings.registry.is_some(),
        operates,
        params,
        schedules: schedules.into_iter().map(|row| scheduled(name, row, now)).collect(),
        unread,
        here: Link::page(name, "builds"),
        repo: name.clone(),
        badge: Link::page(name, "badge.svg"),
        markdown: {
            let here = &visit.shared.parts.addresses.http;
            let (picture, page) = (Link::page(name, "badge.svg"), Link::page(name, "builds"));
            format!("[![build]({here}{picture})]({here}{page})")
        },
    })
}

fn scheduled(repo: &RepoName, row: ScheduleRow, now: UnixMillis) -> Scheduled {
    let moment = |at: Option<UnixMillis>| at.map(|at| Moment::of_ms(at, now));
    let builds = row.builds.iter().map(|number| (*number, Link::build(repo, *number))).collect();
    Scheduled { next: moment(row.next), last: moment(row.last), builds, row }
}

fn row(repo: &RepoName, build: Build, now: UnixMillis) -> Row {
    Row {
        why: if build.cause == BuildCause::Push { String::new() } else { build.cause.words() },
        number: build.number,
        link: Link::build(repo, build.number),
        mark: Mark::of_build(&build),
        ref_name: build.ref_name.short().to_owned(),
        part: build.part.unwrap_or_default(),
        commit: build.commit.short(),
        commit_link: Link::commit(repo, &build.commit),
        when: Moment::of_ms(build.run.created, now),
        took: took(build.run.started, build.run.ended, now),
        title: build.title,
        actor: build.actor,
    }
}

#[derive(Template)]
#[template(path = "build.html")]
struct BuildPage {
    frame: Frame,
    state: String,
    live: Option<Link>,
    raw: Link,
    /// The stages that are over, as HTML.
    groups: String,
    /// What is not in them: the stage under way, or a log without stages.
    log: String,
    /// Files that were kept of the test: path, size, address.
    files: Vec<(String, String, Link)>,
    /// Bytes of the log that the page leaves out.
    left_out: u64,
    operates: bool,
    under_way: bool,
    promotes: bool,
    approves: bool,
    here: Link,
}

/// The part of a build's page that changes while it runs; sent to live pages as it is.
#[derive(Template)]
#[template(path = "build_state.html")]
struct BuildStatePart {
    mark: Mark,
    number: BuildNumber,
    part: String,
    title: String,
    took: String,
    stages: Vec<StageRow>,
    failure: Option<Failure>,
    first_line: Option<FirstLine>,
    first_link: Link,
    tests: Option<TestReport>,
    waiting: bool,
    ref_name: String,
    commit: String,
    commit_link: Link,
    actor: String,
    cause: String,
    params: Vec<(String, String)>,
    created: Moment,
    retries: u32,
    image: Option<String>,
    tags: String,
    digest: String,
    signed: Option<Link>,
    contents: Option<(u64, bool, Link)>,
    unattached: Vec<String>,
    bumps: Vec<BumpRow>,
    left: Vec<Move>,
}

struct StageRow {
    title: &'static str,
    mark: Mark,
    took: String,
}

struct BumpRow {
    repo: String,
    link: Option<Link>,
    text: String,
}

/// The changing part as HTML.
pub(crate) fn state_html(repo: &RepoName, build: &Build, now: UnixMillis) -> Answer<String> {
    let has = |stage: &Stage| match stage {
        Stage::Bump => !build.bumps.is_empty(),
        Stage::Contents => build.attached.owed || build.stage == Stage::Contents,
        _ => true,
    };
    let stages = Stage::ALL.into_iter().filter(has);
    let pushed = build.pushed.as_ref();
    render(&BuildStatePart {
        mark: Mark::of_build(build),
        number: build.number,
        part: build.part.clone().unwrap_or_default(),
        title: build.title.clone(),
        took: took(build.run.started, build.run.ended, now),
        stages: stages.map(|stage| stage_row(build, stage, now)).collect(),
        failure: build.run.failure.clone().filter(|_| build.run.state != BuildState::Succeeded),
        first_line: build.results.first_line.clone().filter(|_| build.run.state != BuildState::Succeeded),
        first_link: first_link(repo, build),
        tests: build.results.tests.clone(),
        waiting: build.run.state == BuildState::Waiting,
        ref_name: build.ref_name.short().to_owned(),
        commit: build.commit.short(),
        commit_link: Link::commit(repo, &build.commit),
        actor: build.actor.clone(),
        cause: build.cause.words(),
        params: build.asked.params.clone().into_iter().collect(),
        created: Moment::of_ms(build.run.created, now),
        retries: build.run.retries,
        image: pushed.map(|p| p.name.clone()),
        tags: pushed.map(|p| p.tags.join(", ")).unwrap_or_default(),
        digest: pushed.map(|p| p.digest.to_string()).unwrap_or_default(),
        signed: build.attached.signed.then(|| Link::stated(repo, build.number, "provenance")),
        contents: build
            .attached
            .contents
            .as_ref()
            .map(|found| (found.packages, found.partial, Link::stated(repo, build.number, "sbom"))),
        unattached: build.attached.notes.clone(),
        bumps: build.bumps.iter().map(|bump| bump_row(build, bump)).collect(),
        left: build.moves.iter().filter(|m| m.left.is_some()).cloned().collect(),
    })
}

/// The place of the log where the failure begins: it is marked on the page, if it is among what the page shows.
fn first_link(repo: &RepoName, build: &Build) -> Link {
    let offset = build.results.first_line.as_ref().map_or(0, |line| line.offset);
    Link::build_log_from(repo, build.number, offset)
}

fn bump_row(build: &Build, bump: &slipway_core::build::Bump) -> BumpRow {
    let name = Name::Deploy(bump.target.clone());
    let stays = build.moves.iter().any(|m| m.name == name && m.left.is_some());
    let repo = RepoName::parse(&bump.repo).ok();
    BumpRow {
        repo: bump.repo.clone(),
        link: repo.as_ref().zip(bump.commit.as_ref()).map(|(repo, commit)| Link::commit(repo, commit)),
        text: match (&bump.commit, bump.done) {
            _ if bump.failed.is_some() => format!("{}: could not be written", bump.target),
            (Some(commit), _) => format!("{} {}", bump.target, commit.short()),
            (None, true) if stays => format!("{}: left as it is", bump.target),
            (None, true) => format!("{}: had it already", bump.target),
            (None, false) => format!("{}: not yet", bump.target),
        },
    }
}

fn stage_row(build: &Build, stage: Stage, now: UnixMillis) -> StageRow {
    let time = build.stages.iter().rev().find(|t| t.stage == stage);
    let state = stage_state(build, stage);
    let took = match (state, time) {
        (StageState::Skipped | StageState::Ahead, _) | (_, None) => String::new(),
        (_, Some(t)) => took(Some(t.started), t.ended.or(build.run.ended), now),
    };
    StageRow { title: stage.title(), mark: Mark::of_stage(state), took }
}

fn stage_state(build: &Build, stage: Stage) -> StageState {
    let Some(time) = build.stages.iter().rev().find(|t| t.stage == stage) else { return StageState::Ahead };
    if stage == build.stage && build.run.state != BuildState::Succeeded {
        return match build.run.state {
            BuildState::Running => StageState::Running,
            BuildState::Waiting => StageState::Waiting,
            BuildState::Failed => StageState::Failed,
            BuildState::Queued => StageState::Ahead,
            _ => StageState::Stopped,
        };
    }
    let no_test = stage == Stage::Test && build.test == TestVerdict::None;
    match (time.skipped || no_test, stage < build.stage || build.run.state == BuildState::Succeeded) {
        (true, _) => StageState::Skipped,
        (false, true) => StageState::Done,
        (false, false) => StageState::Ahead,
    }
}

pub(crate) async fn show(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let build = find_build(&visit, &seen.record, &number).await?;
    let (name, number) = (&seen.record.name, build.number);
    let log = Log::new(visit.forge(), visit.caller(), seen.record.id, number);
    let first = build.results.first_line.as_ref().map(|line| line.offset);
    let under_way = !build.run.state.is_final();
    let kept = Kept::new(visit.forge(), visit.caller(), seen.record.id, number);
    // What was kept is told by the record where the files are gone.
    let kept = visit.ask(move |_, _| Ok(kept.all().unwrap_or_default())).await?;
    let file = |file: KeptFile| {
        let link = Link::artifact(name, number, &file.path);
        (file.path, size(file.bytes), link)
    };
    let files = kept.files.into_iter().map(file).collect();
    let read = visit.ask(move |_, _| build_log::read(&log, first, under_way)).await;
    let shown = match read {
        // What is recorded of the build is shown all the same.
        Err(Refusal(problem)) if matches!(problem.kind, ProblemKind::Broken | ProblemKind::NotFound) => {
            build_log::Shown::words(&problem)
        }
        read => read?,
    };
    html(&BuildPage {
        frame: Frame::of_repo(&visit, &seen, "Builds", format!("Build {number}"))
            .crumb("builds", Some(Link::page(name, "builds")))
            .crumb(number.to_string(), None)
            .refreshing(under_way),
        state: state_html(name, &build, visit.now())?,
        live: under_way.then(|| Link::build_live(name, number, shown.end)),
        raw: Link::build_log(name, number),
        groups: shown.groups,
        log: shown.rest,
        left_out: shown.left_out,
        files,
        operates: seen.operates,
        under_way,
        promotes: !under_way && build.pushed.is_some(),
        approves: !under_way && build.moves.iter().any(Move::awaits_approval),
        here: Link::build(name, number),
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct At {
    offset: u64,
}

pub(crate) async fn raw_log(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    Keys(at): Keys<At>,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let number = find_build(&visit, &seen.record, &number).await?.number;
    log_response(&visit, Log::new(visit.forge(), visit.caller(), seen.record.id, number), at.offset, false)
        .await
}

pub(crate) async fn start(visit: Visit, Path(repo): Path<String>, fields: Fields) -> Answer<Response> {
    let (revision, image, no_cache) =
        (fields.filled("ref"), fields.filled("image"), fields.ticked("no-cache"));
    let mut params = fields.after("param-");
    // What was left as it was is not asked for: of another commit than the form was made of it may not be known.
    let (name, has) = (repo.clone(), !params.is_empty());
    if has {
        let usual = visit.ask(move |forge, caller| runs::params(forge, caller, &name)).await?;
        params.retain(|name, value| usual.get(name).is_none_or(|param| param.usual() != value));
    }
    let asked = runs::Asked { revision, image, no_cache, params };
    let (record, builds) = runs::start(visit.forge(), visit.caller(), &repo, asked).await?;
    Ok(go_to(&match builds.as_slice() {
        [build] => Link::build(&record.name, build.number),
        _ => Link::page(&record.name, "builds"),
    }))
}

pub(crate) async fn act(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    fields: Fields,
) -> Answer<Response> {
    let (forge, caller) = (visit.forge(), visit.caller());
    let (record, build) = match fields.verb() {
        "retry" => runs::retry(forge, caller, &repo, &number).await?,
        "promote" => {
            let to = fields.filled("to").into_iter().collect();
            runs::promote(forge, caller, &repo, &number, to).await?
        }
        "approve" => runs::approve(forge, caller, &repo, &number, Vec::new()).await?,
        "cancel" => runs::cancel_build(forge, caller, &repo, &number).await?,
        _ => return fields.unknown_verb(),
    };
    Ok(go_to(&Link::build(&record.name, build.number)))
}
