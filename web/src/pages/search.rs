//! Searching a revision's files for a text. Reads the files themselves, within a time limit and saying so; for people
//! who have signed in, since it costs more than other pages.

use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use slipway_core::{Action, Actor, Problem};
use slipway_repository::{Mode, Snapshot};

use super::files::{is_clean, shown_name};
use super::frame::{Frame, html};
use super::revision;
use crate::api::Keys;
use crate::limits::{SEARCH_BLOB_BYTES_MAX, SEARCH_BYTES_MAX, SEARCH_HITS_MAX};
use crate::link::Link;
use crate::refusal::{Answer, invalid};
use crate::visit::Visit;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SearchKeys {
    q: String,
    at: Option<String>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    here: Link,
    q: String,
    at: Option<String>,
    shown_at: String,
    files: Vec<FileHits>,
    hits: usize,
    cut: bool,
}

struct FileHits {
    path: String,
    link: Link,
    lines: Vec<(usize, Link, String)>,
}

#[derive(Default)]
struct Found {
    shown_at: String,
    files: Vec<(String, Vec<(usize, String)>)>,
    hits: usize,
    cut: bool,
}

pub(crate) async fn search(
    visit: Visit,
    Path(repo): Path<String>,
    Keys(keys): Keys<SearchKeys>,
) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    if matches!(visit.actor(), Actor::Anonymous) {
        // In the authoriser's own words for somebody who has to sign in.
        visit.may(Action::ManageSelf)?;
    }
    if keys.q.len() > SEARCH_BYTES_MAX {
        return Err(invalid(
            format!("The text has more than {SEARCH_BYTES_MAX} bytes."),
            "Search for a shorter one.",
        ));
    }
    let (q, at, time) = (keys.q.clone(), keys.at.clone(), visit.limits().search_timeout);
    let found = match keys.q.is_empty() {
        true => Found::default(),
        false => visit.git(&seen.record, move |snapshot| find(snapshot, &q, at.as_deref(), time)).await?,
    };
    let (name, at) = (&seen.record.name, keys.at.filter(|at| !at.is_empty()));
    let files = found.files.into_iter().map(|(path, lines)| {
        let link = Link::files(name, &path, at.as_deref());
        let lines = lines.into_iter().map(|(n, text)| (n, link.clone().at_line(n), text)).collect();
        FileHits { path: shown_name(&path), link, lines }
    });
    html(&SearchPage {
        frame: Frame::of_repo(&visit, &seen, "Files", "Search").crumb("search", None),
        here: Link::page(name, "search"),
        files: files.collect(),
        q: keys.q,
        at,
        shown_at: found.shown_at,
        hits: found.hits,
        cut: found.cut,
    })
}

/// Files whose name holds the text come with no line; case matters only if the text has a capital.
fn find(snapshot: &Snapshot, q: &str, at: Option<&str>, time: Duration) -> Result<Found, Problem> {
    let Some(revision) = revision::find(snapshot, at)? else { return Ok(Found::default()) };
    let deadline = Instant::now() + time;
    let fold = !q.chars().any(char::is_uppercase);
    let mut found = Found { shown_at: revision.shown, ..Found::default() };
    snapshot.walk_files(&revision.commit.id, "", &mut |entry| {
        if Instant::now() > deadline || found.hits >= SEARCH_HITS_MAX {
            found.cut = true;
            return Ok(false);
        }
        if !matches!(entry.mode, Mode::File | Mode::Executable) || !is_clean(&entry.name) {
            return Ok(true);
        }
        let room = SEARCH_HITS_MAX.saturating_sub(found.hits);
        let lines = match snapshot.file_size(entry)? <= SEARCH_BLOB_BYTES_MAX {
            true => lines_with(&snapshot.file(entry, SEARCH_BLOB_BYTES_MAX)?, q, fold, room),
            false => Vec::new(),
        };
        if !lines.is_empty() || holds(&entry.name, q, fold) {
            found.hits = found.hits.saturating_add(lines.len().max(1));
            found.files.push((entry.name.clone(), lines));
        }
        Ok(true)
    })?;
    Ok(found)
}

fn lines_with(data: &[u8], q: &str, fold: bool, max: usize) -> Vec<(usize, String)> {
    if data.contains(&0) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().enumerate().filter(|(_, line)| holds(line, q, fold)).take(max);
    lines.map(|(n, line)| (n + 1, line.chars().take(300).collect())).collect()
}

fn holds(text: &str, q: &str, fold: bool) -> bool {
    if fold { text.to_lowercase().contains(q) } else { text.contains(q) }
}
