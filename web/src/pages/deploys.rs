//! Deploys: their list, one of them with its objects, and what a sync would change.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use slipway_core::deploy::{Deploy, DeployCause, DeployState, Health, Phase};
use slipway_core::run::Failure;
use slipway_core::{DeployNumber, RepoName, UnixMillis};
use slipway_forge::{bindings, runs};

use super::builds::Before;
use super::form::Fields;
use super::frame::{Frame, go_to, html, render};
use super::mark::{Mark, change_word, took};
use crate::api::{Keys, find_deploy};
use crate::limits::{HISTORY_ROWS, OBJECT_ROWS_MAX};
use crate::link::Link;
use crate::refusal::Answer;
use crate::text::Moment;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "deploys.html")]
struct DeploysPage {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<Link>,
    target: Option<String>,
    operates: bool,
    here: Link,
    diff: Link,
    repo: RepoName,
}

struct Row {
    number: DeployNumber,
    link: Link,
    mark: Mark,
    cluster: String,
    title: String,
    commit: String,
    commit_link: Link,
    cause: String,
    when: Moment,
    took: String,
}

pub(crate) async fn list(
    visit: Visit,
    Path(repo): Path<String>,
    Keys(from): Keys<Before>,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let before = from.before.map(DeployNumber);
    let (found, bindings) = visit
        .ask(move |forge, caller| {
            let found = runs::deploys(forge, caller, &repo, before, HISTORY_ROWS)?;
            Ok((found, bindings::show(forge, caller, &repo)?))
        })
        .await?;
    let (name, now) = (&seen.record.name, visit.now());
    let under_way = found.rows.iter().any(|d| !d.run.state.is_final());
    html(&DeploysPage {
        frame: Frame::of_repo(&visit, &seen, "Deploys", "Deploys").refreshing(under_way),
        older: found.next.map(|n| Link::deploys_before(name, DeployNumber(n))),
        rows: found.rows.into_iter().map(|d| row(name, d, now)).collect(),
        target: bindings.cluster.map(|b| {
            format!(
                "{}, namespace {}, from {} of branch {}",
                b.cluster,
                b.namespace,
                b.path,
                b.branch.short()
            )
        }),
        operates: seen.operates,
        here: Link::page(name, "deploys"),
        diff: Link::page(name, "deploys/diff"),
        repo: name.clone(),
    })
}

fn row(repo: &RepoName, deploy: Deploy, now: UnixMillis) -> Row {
    Row {
        number: deploy.number,
        link: Link::deploy(repo, deploy.number),
        mark: Mark::of_deploy(&deploy),
        cluster: deploy.cluster.to_string(),
        commit: deploy.commit.short(),
        commit_link: Link::commit(repo, &deploy.commit),
        cause: cause(&deploy),
        when: Moment::of_ms(deploy.run.created, now),
        took: took(deploy.run.started, deploy.run.ended, now),
        title: deploy.title,
    }
}

fn cause(deploy: &Deploy) -> String {
    match &deploy.cause {
        DeployCause::Event => format!("push by {}", deploy.actor),
        DeployCause::Build { build, .. } => format!("build {build}"),
        DeployCause::Sync => format!("sync by {}", deploy.actor),
        DeployCause::Adopt => format!("takeover by {}", deploy.actor),
        DeployCause::Clear => format!("unbinding by {}", deploy.actor),
        DeployCause::Rollback { to } => format!("rollback to {to} by {}", deploy.actor),
    }
}

#[derive(Template)]
#[template(path = "deploy.html")]
struct DeployPage {
    frame: Frame,
    state: String,
    live: Option<Link>,
    operates: bool,
    under_way: bool,
    /// Only what was healthy once is worth going back to.
    healthy: bool,
    here: Link,
}

/// The part of a deploy's page that changes while it runs.
#[derive(Template)]
#[template(path = "deploy_state.html")]
struct DeployStatePart {
    mark: Mark,
    number: DeployNumber,
    title: String,
    cluster: String,
    phase: &'static str,
    took: String,
    cause: String,
    commit: String,
    commit_link: Link,
    created: Moment,
    failure: Option<Failure>,
    waiting: bool,
    notes: Vec<String>,
    objects: Vec<ObjectRow>,
    healthy: usize,
    total: usize,
    more: usize,
}

struct ObjectRow {
    kind: String,
    name: String,
    namespace: String,
    source: String,
    change: &'static str,
    mark: Mark,
    message: String,
}

/// The changing part as HTML: objects in trouble first.
pub(crate) fn state_html(repo: &RepoName, deploy: &Deploy, now: UnixMillis) -> Answer<String> {
    let mut objects: Vec<_> = deploy.objects.iter().collect();
    objects.sort_by_key(|o| std::cmp::Reverse(o.health));
    let total = objects.len();
    let healthy = objects.iter().filter(|o| o.health == Health::Healthy).count();
    objects.truncate(OBJECT_ROWS_MAX);
    render(&DeployStatePart {
        mark: Mark::of_deploy(deploy),
        number: deploy.number,
        title: deploy.title.clone(),
        cluster: deploy.cluster.to_string(),
        phase: phase_word(deploy),
        took: took(deploy.run.started, deploy.run.ended, now),
        cause: cause(deploy),
        commit: deploy.commit.short(),
        commit_link: Link::commit(repo, &deploy.commit),
        created: Moment::of_ms(deploy.run.created, now),
        failure: deploy.run.failure.clone().filter(|_| deploy.run.state != DeployState::Healthy),
        waiting: deploy.run.state == DeployState::Waiting,
        notes: deploy.notes.clone(),
        more: total.saturating_sub(objects.len()),
        objects: objects
            .into_iter()
            .map(|o| ObjectRow {
                kind: o.kind.clone(),
                name: o.name.clone(),
                namespace: o.namespace.clone().unwrap_or_default(),
                source: o.source.clone(),
                change: change_word(o.change),
                mark: Mark::of_health(o.health),
                message: o.message.clone(),
            })
            .collect(),
        healthy,
        total,
    })
}

fn phase_word(deploy: &Deploy) -> &'static str {
    if deploy.run.state != DeployState::Running {
        return "";
    }
    match deploy.phase {
        Phase::Render => "reading manifests",
        Phase::Apply => "applying",
        Phase::Rollout => "waiting for healthy objects",
        Phase::Prune => "deleting what left the repository",
    }
}

pub(crate) async fn show(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let deploy = find_deploy(&visit, &seen.record, &number).await?;
    let (name, number) = (&seen.record.name, deploy.number);
    let under_way = !deploy.run.state.is_final();
    html(&DeployPage {
        frame: Frame::of_repo(&visit, &seen, "Deploys", format!("Deploy {number}"))
            .crumb("deploys", Some(Link::page(name, "deploys")))
            .crumb(number.to_string(), None)
            .refreshing(under_way),
        state: state_html(name, &deploy, visit.now())?,
        live: under_way.then(|| Link::deploy_live(name, number)),
        operates: seen.operates,
        under_way,
        healthy: deploy.run.state == DeployState::Healthy,
        here: Link::deploy(name, number),
    })
}

pub(crate) async fn act(
    visit: Visit,
    Path((repo, number)): Path<(String, String)>,
    fields: Fields,
) -> Answer<Response> {
    let (forge, caller) = (visit.forge(), visit.caller());
    let (record, deploy) = match fields.verb() {
        "rollback" => runs::rollback(forge, caller, &repo, &number, None).await?,
        "cancel" => runs::cancel_deploy(forge, caller, &repo, &number).await?,
        _ => return fields.unknown_verb(),
    };
    Ok(go_to(&Link::deploy(&record.name, deploy.number)))
}

pub(crate) async fn sync(visit: Visit, Path(repo): Path<String>, fields: Fields) -> Answer<Response> {
    if fields.verb() != "sync" {
        return fields.unknown_verb();
    }
    let (record, deploy) = runs::sync(visit.forge(), visit.caller(), &repo).await?;
    Ok(go_to(&Link::deploy(&record.name, deploy.number)))
}

#[derive(Template)]
#[template(path = "deploy_diff.html")]
struct DiffPage {
    frame: Frame,
    diff: String,
    here: Link,
}

pub(crate) async fn difference(visit: Visit, Path(repo): Path<String>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let (_, diff) = runs::diff(visit.forge(), visit.caller(), &repo).await?;
    let name = &seen.record.name;
    html(&DiffPage {
        frame: Frame::of_repo(&visit, &seen, "Deploys", "What a sync would change")
            .crumb("deploys", Some(Link::page(name, "deploys")))
            .crumb("diff", None),
        diff,
        here: Link::page(name, "deploys"),
    })
}
