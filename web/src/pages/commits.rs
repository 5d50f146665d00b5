//! History: lists of commits, one commit with its diff, two revisions compared.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use slipway_core::limits::Limits;
use slipway_core::target::RepoRecord;
use slipway_core::{Oid, Problem, ProblemKind, RepoName, UnixMillis};
use slipway_repository::{Budget, Commit, Snapshot};

use super::difference::{self, Difference};
use super::files::{Choice, choices, crumbs, is_clean};
use super::frame::{Frame, go_to, html};
use super::{revision, statuses};
use crate::api::Keys;
use crate::assets::ASSETS;
use crate::limits::{HISTORY_COMMITS_MAX, HISTORY_ROWS, HISTORY_SKIP_MAX};
use crate::link::Link;
use crate::refusal::{Answer, invalid, missing};
use crate::text::Moment;
use crate::visit::Visit;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogKeys {
    at: Option<String>,
    skip: usize,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    frame: Frame,
    at: String,
    path: String,
    menu: Vec<Choice>,
    rows: Vec<CommitRow>,
    older: Option<Link>,
    newer: Option<Link>,
    cut: bool,
}

pub(crate) struct CommitRow {
    pub(crate) title: String,
    pub(crate) author: String,
    pub(crate) link: Link,
    pub(crate) files: Link,
    pub(crate) short: String,
    pub(crate) when: Moment,
    /// What is said of it, as HTML.
    pub(crate) said: String,
}

impl CommitRow {
    pub(crate) fn new(repo: &RepoName, commit: &Commit, now: UnixMillis) -> Self {
        let title = commit.subject().trim();
        Self {
            title: if title.is_empty() { "(no message)".to_owned() } else { title.to_owned() },
            author: commit.author.name.clone(),
            link: Link::commit(repo, &commit.id),
            files: Link::files(repo, "", Some(&commit.id.to_string())),
            short: commit.id.short(),
            when: Moment::of_seconds(commit.committer.at, now),
            said: String::new(),
        }
    }

    /// Rows of these commits, with a mark for what is said of each.
    async fn all(visit: &Visit, record: &RepoRecord, commits: &[Commit]) -> Answer<Vec<Self>> {
        let said = statuses::of(visit, record, commits.iter().map(|c| c.id).collect()).await?;
        let row = |commit| Self::new(&record.name, commit, visit.now());
        Ok(commits.iter().map(|c| Self { said: said.mark(&c.id), ..row(c) }).collect())
    }
}

pub(crate) async fn root_log(
    visit: Visit,
    Path(repo): Path<String>,
    Keys(keys): Keys<LogKeys>,
) -> Answer<Response> {
    log(&visit, &repo, "", keys).await
}

pub(crate) async fn path_log(
    visit: Visit,
    Path((repo, path)): Path<(String, String)>,
    Keys(keys): Keys<LogKeys>,
) -> Answer<Response> {
    log(&visit, &repo, path.trim_end_matches('/'), keys).await
}

fn budget(limits: &Limits) -> Budget {
    Budget { deadline: Instant::now() + limits.history_timeout, commits_max: HISTORY_COMMITS_MAX }
}

async fn log(visit: &Visit, repo: &str, path: &str, keys: LogKeys) -> Answer<Response> {
    let seen = visit.see(repo).await?;
    let skip = keys.skip;
    if skip > HISTORY_SKIP_MAX || !is_clean(path) {
        return Err(missing("There is no history that far back, or no such path."));
    }
    let (wanted, limits) = (path.to_owned(), Arc::clone(visit.limits()));
    let read = move |snapshot: &Snapshot| {
        let Some(revision) = revision::find(snapshot, keys.at.as_deref())? else { return Ok(None) };
        let path = (!wanted.is_empty()).then_some(wanted.as_str());
        let page = snapshot.log(&revision.commit.id, path, skip, HISTORY_ROWS, &budget(&limits))?;
        Ok(Some((revision, page, revision::menu(snapshot))))
    };
    let name = &seen.record.name;
    let frame = Frame::of_repo(visit, &seen, "History", "History");
    let Some((revision, page, menu)) = visit.git(&seen.record, read).await? else {
        // The repository's own page says how to make the first.
        return Ok(go_to(&Link::repo(name)));
    };
    if page.commits.is_empty() && skip == 0 && !page.cut && !path.is_empty() {
        let shown = super::files::shown_name(path);
        return Err(missing(format!("No commit of {} has touched {shown:?}.", revision.shown)));
    }
    let at = revision.asked.clone().unwrap_or_else(|| revision.shown.clone());
    html(&LogPage {
        frame: crumbs(frame, name, path, revision.asked.as_deref()),
        path: super::files::shown_name(path),
        menu: choices(menu, |rev| Link::log(name, path, Some(rev))),
        rows: CommitRow::all(visit, &seen.record, &page.commits).await?,
        older: page.more.then(|| Link::log_after(name, path, &at, skip.saturating_add(page.commits.len()))),
        newer: (skip > 0).then(|| Link::log_after(name, path, &at, skip.saturating_sub(HISTORY_ROWS))),
        cut: page.cut,
        at: revision.shown,
    })
}

#[derive(Template)]
#[template(path = "commit.html")]
struct CommitPage {
    frame: Frame,
    title: String,
    body: String,
    oid: String,
    author: String,
    author_mail: String,
    authored: Moment,
    /// Who committed it, where that is somebody else.
    committer: Option<String>,
    committed: Moment,
    parents: Vec<(String, Link)>,
    files: Link,
    /// What is said of it, as HTML.
    said: String,
    diff: Difference,
}

pub(crate) async fn commit(
    visit: Visit,
    Path((repo, oid)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let asked = oid.clone();
    let id = Oid::parse(&oid).ok();
    let said = statuses::of(&visit, &seen.record, id.into_iter().collect()).await?;
    let said = id.map(|id| said.all(&id)).unwrap_or_default();
    let etag = entity_tag(&visit, &format!("commit {} {oid} {said}", seen.record.id));
    // Answered before the repository is opened: what an id names never changes, and what is said of it is in the tag.
    if Oid::parse(&oid).is_ok() && matches_tag(request.headers(), &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let bounds = difference::bounds(visit.limits());
    let read = move |snapshot: &Snapshot| {
        let commit = revision::must(snapshot, &asked)?;
        let diff = snapshot.diff(commit.parents.first(), &commit.id, &bounds)?;
        Ok((commit, diff))
    };
    let (commit, diff) = visit.git(&seen.record, read).await?;
    let (name, now) = (&seen.record.name, visit.now());
    let full = commit.id.to_string();
    if full != oid {
        return Ok(go_to(&Link::commit(name, &commit.id)));
    }
    let other = commit.committer.name != commit.author.name;
    let mut response = html(&CommitPage {
        frame: Frame::of_repo(&visit, &seen, "History", commit.subject()).crumb(commit.id.short(), None),
        title: commit.subject().to_owned(),
        body: commit.message.split_once('\n').map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default(),
        author: commit.author.name.clone(),
        author_mail: commit.author.email.clone(),
        authored: Moment::of_seconds(commit.author.at, now),
        committer: other.then(|| commit.committer.name.clone()),
        committed: Moment::of_seconds(commit.committer.at, now),
        parents: commit.parents.iter().map(|p| (p.short(), Link::commit(name, p))).collect(),
        files: Link::files(name, "", Some(&full)),
        said,
        diff: difference::shown(name, &diff, &full),
        oid: full,
    })?;
    response.headers_mut().insert(ETAG, etag);
    Ok(response)
}

/// Names what a page by id shows to this visitor with these assets and this version.
fn entity_tag(visit: &Visit, what: &str) -> HeaderValue {
    let parts = &visit.shared.parts;
    let csrf = visit.visitor.csrf.as_deref().unwrap_or_default();
    let all = format!("{} {} {} {csrf} {what}", parts.version, ASSETS.style, visit.actor().label());
    let hex: String = Sha256::digest(all.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

pub(super) fn matches_tag(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let given = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let wanted = tag.to_str().unwrap_or_default();
    given.split(',').any(|t| t.trim().trim_start_matches("W/") == wanted)
}

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    frame: Frame,
    old: String,
    new: String,
    rows: Vec<CommitRow>,
    more: bool,
    unrelated: bool,
    diff: Difference,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct CompareKeys {
    old: String,
    new: String,
}

/// The form of the page of branches and tags: its answer is the canonical address.
pub(crate) async fn compare_form(
    visit: Visit,
    Path(repo): Path<String>,
    Keys(keys): Keys<CompareKeys>,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    if keys.old.is_empty() || keys.new.is_empty() {
        return Err(invalid("Two revisions are needed.", "Name both: …/compare/OLD...NEW."));
    }
    Ok(go_to(&Link::compare(&seen.record.name, keys.old.trim(), keys.new.trim())))
}

pub(crate) async fn compare(visit: Visit, Path((repo, range)): Path<(String, String)>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let Some((old, new)) = range.split_once("...").map(|(a, b)| (a.to_owned(), b.to_owned())) else {
        return Err(invalid("Two revisions are needed.", "Name both: …/compare/OLD...NEW."));
    };
    let (from, to, limits) = (old.clone(), new.clone(), Arc::clone(visit.limits()));
    let read = move |snapshot: &Snapshot| between(snapshot, &from, &to, &limits);
    let found = visit.git(&seen.record, read).await?;
    html(&ComparePage {
        frame: Frame::of_repo(&visit, &seen, "History", format!("{old}...{new}"))
            .crumb(format!("{old}...{new}"), None),
        rows: CommitRow::all(&visit, &seen.record, &found.commits).await?,
        more: found.more,
        unrelated: found.unrelated,
        diff: difference::shown(&seen.record.name, &found.diff, &found.tip.to_string()),
        old,
        new,
    })
}

struct Between {
    tip: Oid,
    commits: Vec<Commit>,
    more: bool,
    unrelated: bool,
    diff: slipway_repository::Diff,
}

/// What `new` has that `old` has not: `git log old..new` and `git diff old...new`.
fn between(snapshot: &Snapshot, old: &str, new: &str, limits: &Limits) -> Result<Between, Problem> {
    let (old, new) = (revision::must(snapshot, old)?, revision::must(snapshot, new)?);
    let base = snapshot.merge_base(&old.id, &new.id)?;
    let bounds = difference::bounds(limits);
    let diff = snapshot.diff(Some(base.as_ref().unwrap_or(&old.id)), &new.id, &bounds)?;
    let budget = budget(limits);
    let page = snapshot.log(&new.id, None, 0, HISTORY_ROWS, &budget)?;
    let mut commits = Vec::new();
    for commit in page.commits {
        if Instant::now() > budget.deadline {
            return Err(Problem::new(
                ProblemKind::TimedOut,
                "The two revisions lie too far apart to be compared here.",
                "Compare them in a clone: git log OLD..NEW",
            ));
        }
        if !snapshot.is_ancestor(&commit.id, &old.id)? {
            commits.push(commit);
        }
    }
    let more = page.more && commits.len() == HISTORY_ROWS;
    Ok(Between { tip: new.id, commits, more, unrelated: base.is_none(), diff })
}
