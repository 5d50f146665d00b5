//! Branches and tags.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use slipway_core::{Oid, UnixMillis};
use slipway_repository::{Commit, Snapshot};

use super::frame::{Frame, html};
use crate::limits::REF_ROWS_MAX;
use crate::link::Link;
use crate::refusal::Answer;
use crate::text::Moment;
use crate::visit::{Seen, Visit};

#[derive(Template)]
#[template(path = "refs.html")]
struct RefsPage {
    frame: Frame,
    branches: Vec<Row>,
    tags: Vec<Row>,
    default_branch: String,
    compare: Link,
    cut: bool,
}

struct Row {
    name: String,
    /// Its files, its history, its archive; none where it leads to no commit: there are no such pages of that.
    pages: Option<(Link, Link, Link)>,
    /// Against the default branch; none for that branch itself and for tags.
    compare: Option<Link>,
    tip: Option<(String, Link, String, Moment)>,
}

struct Found {
    name: String,
    branch: bool,
    target: Oid,
    commit: Option<Commit>,
}

pub(crate) async fn refs(visit: Visit, Path(repo): Path<String>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let (head, found, cut) = visit.git(&seen.record, read).await?;
    let now = visit.now();
    let (branches, tags): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|f| f.branch);
    let rows = |found: Vec<Found>| found.into_iter().map(|f| row(&seen, &head, f, now)).collect::<Vec<_>>();
    let mut tags = rows(tags);
    tags.reverse();
    html(&RefsPage {
        frame: Frame::of_repo(&visit, &seen, "Branches and tags", "Branches and tags"),
        branches: rows(branches),
        tags,
        compare: Link::page(&seen.record.name, "compare"),
        default_branch: head,
        cut,
    })
}

fn read(snapshot: &Snapshot) -> Result<(String, Vec<Found>, bool), slipway_core::Problem> {
    snapshot.check_tips()?;
    let named = snapshot.refs().iter().filter(|r| r.name.as_branch().is_some() || r.name.as_tag().is_some());
    let mut found = Vec::new();
    let mut cut = false;
    for r in named {
        if found.len() == REF_ROWS_MAX {
            cut = true;
            break;
        }
        found.push(Found {
            name: r.name.short().to_owned(),
            branch: r.name.as_branch().is_some(),
            target: r.target,
            commit: snapshot.commit(&r.target)?,
        });
    }
    Ok((snapshot.head().short().to_owned(), found, cut))
}

fn row(seen: &Seen, head: &str, found: Found, now: UnixMillis) -> Row {
    let name = &seen.record.name;
    // A tag and a branch of the same short name: the full name tells them apart.
    let rev = if found.branch { found.name.clone() } else { format!("refs/tags/{}", found.name) };
    Row {
        pages: found.commit.as_ref().map(|_| {
            let files = Link::files(name, "", Some(&rev));
            (files, Link::log(name, "", Some(&rev)), Link::archive(name, &rev))
        }),
        compare: (found.branch && found.name != head).then(|| Link::compare(name, head, &found.name)),
        tip: found.commit.map(|c| {
            let when = Moment::of_seconds(c.committer.at, now);
            (c.subject().to_owned(), Link::commit(name, &c.id), found.target.short(), when)
        }),
        name: found.name,
    }
}
