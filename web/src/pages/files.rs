//! Folders and files at a revision, with their README.

use std::time::Instant;

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use slipway_core::{ObjectFormat, Oid, Problem, ProblemKind, RepoName, UnixMillis};
use slipway_repository::{Budget, Entry, Mode, Snapshot};

use super::frame::{Frame, go_to, html};
use super::revision::{self, Revision};
use crate::api::Keys;
use crate::limits::{
    FOLDER_ROWS_MAX, HISTORY_COMMITS_MAX, LAST_CHANGE_TIME, README_BYTES_MAX, SHOWN_LINES_MAX,
};
use crate::link::Link;
use crate::markdown::{self, Place};
use crate::refusal::{Answer, Refusal, missing};
use crate::text::{Moment, escape_into, size};
use crate::visit::{Seen, Visit};

/// The revision of a page that takes one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct At {
    pub(crate) at: Option<String>,
}

/// An entry of the menu of revisions.
pub(crate) struct Choice {
    pub(crate) text: String,
    pub(crate) link: Link,
}

#[derive(Template)]
#[template(path = "folder.html")]
struct FolderPage {
    frame: Frame,
    at: String,
    menu: Vec<Choice>,
    rows: Vec<Row>,
    cut: bool,
    readme: Option<(String, String)>,
    tip: Tip,
    /// Only on the repository's own page.
    about: Option<About>,
    search: Link,
    history: Link,
}

struct About {
    description: String,
    public: bool,
    /// Its ids are SHA-256, which a client must be told before it has anything.
    sha256: bool,
    http: String,
    ssh: String,
    archive: Link,
}

/// The newest commit of what is shown.
struct Tip {
    title: String,
    author: String,
    link: Link,
    short: String,
    when: Moment,
}

struct Row {
    name: String,
    link: Option<Link>,
    folder: bool,
    note: &'static str,
    size: String,
    change: Option<(String, Link, Moment)>,
}

#[derive(Template)]
#[template(path = "empty.html")]
struct EmptyPage {
    frame: Frame,
    about: About,
    branch: String,
    /// There are branches, and the default is none of them.
    others: Option<Link>,
    name: RepoName,
}

#[derive(Template)]
#[template(path = "file.html")]
struct FilePage {
    frame: Frame,
    name: String,
    at: String,
    menu: Vec<Choice>,
    size: String,
    lines: usize,
    code: Option<String>,
    prose: Option<String>,
    why_not: &'static str,
    raw: Link,
    history: Link,
    permalink: Link,
}

/// What lies at a path.
enum Found {
    Empty { branch: String, others: bool },
    Folder(Box<Folder>),
    File(Box<File>),
}

struct Folder {
    revision: Revision,
    menu: Vec<String>,
    entries: Vec<Entry>,
    cut: bool,
    changes: Vec<(String, slipway_repository::Commit)>,
    readme: Option<(String, String)>,
}

struct File {
    revision: Revision,
    menu: Vec<String>,
    entry: Entry,
    bytes: u64,
    /// Unless it is too large.
    text: Option<Vec<u8>>,
}

pub(crate) async fn summary(visit: Visit, Path(repo): Path<String>, Keys(at): Keys<At>) -> Answer<Response> {
    if let Some(Ok(name)) = repo.strip_suffix(".git").map(RepoName::parse) {
        return Ok(go_to(&Link::repo(&name)));
    }
    show(&visit, &repo, "", at.at, true).await
}

pub(crate) async fn root(visit: Visit, Path(repo): Path<String>, Keys(at): Keys<At>) -> Answer<Response> {
    show(&visit, &repo, "", at.at, false).await
}

pub(crate) async fn files(
    visit: Visit,
    Path((repo, path)): Path<(String, String)>,
    Keys(at): Keys<At>,
) -> Answer<Response> {
    let clean = path.trim_end_matches('/');
    if clean != path {
        let seen = visit.see(&repo).await?;
        let link = Link::files(&seen.record.name, clean, at.at.as_deref());
        return Ok(Redirect::permanent(link.as_str()).into_response());
    }
    show(&visit, &repo, &path, at.at, false).await
}

/// Blame needs an index that does not exist yet; better said than faked.
pub(crate) async fn no_blame(visit: Visit, Path((repo, _)): Path<(String, String)>) -> Answer<Response> {
    visit.see(&repo).await?;
    let problem = Problem::new(
        ProblemKind::Unavailable,
        "Blame is not there yet.",
        "Look at the file's history, or run git blame in a clone.",
    );
    let mut response = Refusal(problem).into_response();
    *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
    Ok(response)
}

async fn show(visit: &Visit, repo: &str, path: &str, at: Option<String>, summary: bool) -> Answer<Response> {
    let seen = visit.see(repo).await?;
    if !is_clean(path) {
        return Err(missing("There is no such file or folder."));
    }
    let wanted = path.to_owned();
    let shown_max = visit.limits().shown_file_size_max;
    match visit.git(&seen.record, move |snapshot| find(snapshot, &wanted, at.as_deref(), shown_max)).await? {
        Found::Empty { branch, others } => {
            let frame = Frame::of_repo(visit, &seen, "Files", "");
            html(&EmptyPage {
                frame,
                about: about(visit, &seen, "HEAD"),
                branch,
                others: others.then(|| Link::page(&seen.record.name, "refs")),
                name: seen.record.name.clone(),
            })
        }
        Found::Folder(folder) => html(&folder_page(visit, &seen, path, *folder, summary)),
        Found::File(file) => html(&file_page(visit, &seen, path, *file)),
    }
}

/// Git has no entry with such a name, and no address shall pretend so.
pub(crate) fn is_clean(path: &str) -> bool {
    path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0')
}

fn find(snapshot: &Snapshot, path: &str, at: Option<&str>, shown_max: u64) -> Result<Found, Problem> {
    let Some(revision) = revision::find(snapshot, at)? else {
        if !path.is_empty() {
            return Err(nothing_at(path));
        }
        let others = snapshot.refs().iter().any(|r| r.name.as_branch().is_some());
        return Ok(Found::Empty { branch: snapshot.head().short().to_owned(), others });
    };
    let menu = revision::menu(snapshot);
    let entry = match path {
        "" => None,
        path => Some(snapshot.entry(&revision.commit.id, path)?.ok_or_else(|| nothing_at(path))?),
    };
    let tree = match &entry {
        None => revision.commit.tree,
        Some(entry) if entry.mode == Mode::Tree => entry.id,
        Some(entry) => return read_file(snapshot, revision, menu, entry.clone(), shown_max),
    };
    let mut entries = snapshot.entries(&tree)?;
    let cut = entries.len() > FOLDER_ROWS_MAX;
    entries.truncate(FOLDER_ROWS_MAX);
    let budget = Budget { deadline: Instant::now() + LAST_CHANGE_TIME, commits_max: HISTORY_COMMITS_MAX };
    let changes = snapshot.last_changes(&revision.commit.id, path, &budget)?;
    let readme = read_readme(snapshot, &entries)?;
    Ok(Found::Folder(Box::new(Folder { revision, menu, entries, cut, changes, readme })))
}

fn read_file(
    snapshot: &Snapshot,
    revision: Revision,
    menu: Vec<String>,
    entry: Entry,
    shown_max: u64,
) -> Result<Found, Problem> {
    if entry.mode == Mode::Submodule {
        return Err(Problem::new(
            ProblemKind::NotFound,
            format!(
                "{} is a submodule: commit {} of another repository.",
                shown_name(&entry.name),
                entry.id.short()
            ),
            "Look into .gitmodules for where that repository lies.",
        ));
    }
    let bytes = snapshot.file_size(&entry)?;
    let text = match bytes <= shown_max {
        true => Some(snapshot.file(&entry, shown_max)?),
        false => None,
    };
    Ok(Found::File(Box::new(File { revision, menu, entry, bytes, text })))
}

fn read_readme(snapshot: &Snapshot, entries: &[Entry]) -> Result<Option<(String, String)>, Problem> {
    let is_file =
        |e: &&Entry| matches!(e.mode, Mode::File | Mode::Executable) && markdown::is_readme(&e.name);
    let Some(entry) = entries.iter().find(is_file) else { return Ok(None) };
    if snapshot.file_size(entry)? > README_BYTES_MAX {
        return Ok(None);
    }
    let text = String::from_utf8(snapshot.file(entry, README_BYTES_MAX)?);
    Ok(text.ok().map(|text| (entry.name.clone(), text)))
}

fn folder_page(visit: &Visit, seen: &Seen, path: &str, folder: Folder, summary: bool) -> FolderPage {
    let (name, now) = (&seen.record.name, visit.now());
    let Folder { revision, menu, entries, cut, changes, readme } = folder;
    let at = revision.asked.as_deref();
    let place = Place { repo: name, folder: path, at };
    let readme = readme.map(|(file, text)| {
        let html = if markdown::is_markdown(&file) {
            markdown::render(&text, &place)
        } else {
            markdown::plain(&text)
        };
        (file, html)
    });
    let rows = entries.iter().map(|entry| row(name, path, at, entry, &changes, now)).collect();
    FolderPage {
        frame: crumbs(Frame::of_repo(visit, seen, "Files", path), name, path, at),
        menu: choices(menu, |rev| Link::files(name, path, Some(rev))),
        rows,
        cut,
        readme,
        tip: tip(name, &revision.commit, now),
        about: summary.then(|| about(visit, seen, &revision.shown)),
        search: Link::page(name, "search"),
        history: Link::log(name, path, at),
        at: revision.shown,
    }
}

fn row(
    repo: &RepoName,
    folder: &str,
    at: Option<&str>,
    entry: &Entry,
    changes: &[(String, slipway_repository::Commit)],
    now: UnixMillis,
) -> Row {
    let path = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
    let change = changes.iter().find(|(name, _)| *name == entry.name).map(|(_, commit)| {
        (
            commit.subject().to_owned(),
            Link::commit(repo, &commit.id),
            Moment::of_seconds(commit.committer.at, now),
        )
    });
    let is_tree = entry.mode == Mode::Tree;
    Row {
        name: if is_tree { format!("{}/", shown_name(&entry.name)) } else { shown_name(&entry.name) },
        link: (entry.mode != Mode::Submodule && is_clean(&path)).then(|| Link::files(repo, &path, at)),
        folder: is_tree,
        note: match entry.mode {
            Mode::Tree | Mode::File => "",
            Mode::Executable => "executable",
            Mode::Link => "link",
            Mode::Submodule => "submodule",
        },
        size: entry.size.map(size).unwrap_or_default(),
        change,
    }
}

/// A name in which nothing invisible changes what a reader sees.
pub(crate) fn shown_name(name: &str) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

fn tip(repo: &RepoName, commit: &slipway_repository::Commit, now: UnixMillis) -> Tip {
    Tip {
        title: commit.subject().to_owned(),
        author: commit.author.name.clone(),
        link: Link::commit(repo, &commit.id),
        short: commit.id.short(),
        when: Moment::of_seconds(commit.committer.at, now),
    }
}

fn about(visit: &Visit, seen: &Seen, at: &str) -> About {
    let (name, addresses) = (&seen.record.name, &visit.shared.parts.addresses);
    About {
        description: seen.record.description.clone(),
        public: seen.record.public,
        sha256: seen.record.object_format == ObjectFormat::Sha256,
        http: format!("{}/{name}", addresses.http),
        ssh: format!("ssh://git@{}/{name}", addresses.ssh),
        archive: Link::archive(name, at),
    }
}

pub(crate) fn choices(menu: Vec<String>, link: impl Fn(&str) -> Link) -> Vec<Choice> {
    menu.into_iter().map(|text| Choice { link: link(&text), text }).collect()
}

/// The way down a path, each step a link.
pub(crate) fn crumbs(mut frame: Frame, repo: &RepoName, path: &str, at: Option<&str>) -> Frame {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    for (depth, part) in parts.iter().enumerate() {
        let last = depth + 1 == parts.len();
        let way = parts.iter().take(depth + 1).copied().collect::<Vec<_>>().join("/");
        frame = frame.crumb(shown_name(part), (!last).then(|| Link::files(repo, &way, at)));
    }
    frame
}

fn file_page(visit: &Visit, seen: &Seen, path: &str, file: File) -> FilePage {
    let name = &seen.record.name;
    let File { revision, menu, entry, bytes, text } = file;
    let at = revision.asked.as_deref();
    let commit: Oid = revision.commit.id;
    let (text, why_not) = match text {
        None => (None, "The file is too large to be shown here."),
        Some(data) if data.contains(&0) => (None, "The file is not text."),
        Some(data) => match data.iter().filter(|b| **b == b'\n').count() > SHOWN_LINES_MAX {
            true => (None, "The file has too many lines to be shown here."),
            false => (Some(String::from_utf8_lossy(&data).into_owned()), ""),
        },
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let place = Place { repo: name, folder, at };
    let base = path.rsplit('/').next().unwrap_or(path);
    FilePage {
        frame: crumbs(Frame::of_repo(visit, seen, "Files", path), name, path, at),
        name: shown_name(base),
        menu: choices(menu, |rev| Link::files(name, path, Some(rev))),
        size: entry.size.map_or_else(|| size(bytes), size),
        lines: text.as_ref().map_or(0, |t| t.lines().count()),
        code: text.as_deref().map(numbered),
        prose: text.as_deref().filter(|_| markdown::is_markdown(path)).map(|t| markdown::render(t, &place)),
        why_not,
        raw: Link::raw(name, path, at),
        history: Link::log(name, path, at),
        permalink: Link::files(name, path, Some(&commit.to_string())),
        at: revision.shown,
    }
}

/// Lines with numbers that can be linked to. Written straight into one string: this is the longest part of any page.
fn numbered(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    for (index, line) in text.lines().enumerate() {
        let n = index + 1;
        let _ = write!(out, "<span class=\"l\" id=\"L{n}\"><a href=\"#L{n}\">{n}</a>");
        escape_into(&mut out, line);
        out.push_str("\n</span>");
    }
    out
}

fn nothing_at(path: &str) -> Problem {
    let shown: String = shown_name(path).chars().take(200).collect();
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no {shown:?} at this revision."),
        "Look at the folder, or at another branch.",
    )
}
