//! A revision in an address, looked up and checked: only what the repository's refs reach is shown.

use slipway_core::{Oid, Problem, ProblemKind};
use slipway_repository::{Commit, Kind, Ref, Snapshot};

use crate::limits::{REF_MENU_MAX, REV_BYTES_MAX};

/// The revision that a page shows.
pub(crate) struct Revision {
    /// As the address names it; `None` is the default branch.
    pub(crate) asked: Option<String>,
    /// What people call it.
    pub(crate) shown: String,
    pub(crate) commit: Commit,
}

/// Looks a revision up; `None` for a default branch without commits. Blocking.
pub(crate) fn find(snapshot: &Snapshot, asked: Option<&str>) -> Result<Option<Revision>, Problem> {
    let asked = asked.filter(|rev| !rev.is_empty());
    let rev = match asked {
        Some(rev) => rev,
        None => snapshot.head().as_str(),
    };
    let commit = peel(snapshot, rev)?;
    if commit.is_none() {
        // Before something is said not to be there, or a repository to be empty.
        snapshot.check_tips()?;
    }
    match commit {
        Some(commit) => {
            Ok(Some(Revision { asked: asked.map(str::to_owned), shown: shown(asked, snapshot), commit }))
        }
        None if asked.is_none() => Ok(None),
        None => Err(unknown(snapshot, rev)),
    }
}

/// Looks up a revision that must exist. Blocking.
pub(crate) fn must(snapshot: &Snapshot, rev: &str) -> Result<Commit, Problem> {
    match peel(snapshot, rev)? {
        Some(commit) => Ok(commit),
        None => {
            snapshot.check_tips()?;
            Err(unknown(snapshot, rev))
        }
    }
}

fn peel(snapshot: &Snapshot, rev: &str) -> Result<Option<Commit>, Problem> {
    if rev.len() > REV_BYTES_MAX {
        return Ok(None);
    }
    let Some(id) = snapshot.resolve(rev)? else { return Ok(None) };
    let Some(commit) = snapshot.commit(&id)? else { return Ok(None) };
    // An id may name what a push left behind and no ref reaches any more.
    if snapshot.is_visible(&commit.id)? { Ok(Some(commit)) } else { Ok(None) }
}

fn shown(asked: Option<&str>, snapshot: &Snapshot) -> String {
    match asked {
        Some(rev) => match Oid::parse(rev) {
            Ok(oid) => oid.short(),
            Err(_) => rev.to_owned(),
        },
        None => snapshot.head().short().to_owned(),
    }
}

fn unknown(snapshot: &Snapshot, rev: &str) -> Problem {
    let shown: String = rev.chars().take(100).collect();
    let named = |r: &&Ref| r.name.as_str() == rev || (r.name.as_tag().is_some() && r.name.short() == rev);
    if snapshot.refs().iter().any(|r| named(&r)) {
        return Problem::new(
            ProblemKind::NotFound,
            format!("{shown:?} names no commit, and there are pages of commits alone."),
            "Fetch it with git, and look at it with git show.",
        );
    }
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no revision {shown:?} here."),
        "Name a branch, a tag or a commit; the page of branches and tags lists them.",
    )
}

/// The branches and tags that a page's menu offers, the default branch first. Blocking.
pub(crate) fn menu(snapshot: &Snapshot) -> Vec<String> {
    let head = snapshot.head();
    let short = |name: &slipway_core::RefName| {
        (name.as_branch().is_some() || name.as_tag().is_some()).then(|| name.short().to_owned())
    };
    let is_commit = |r: &&Ref| {
        let kind = snapshot.object_size(&r.peeled.unwrap_or(r.target));
        r.name.as_tag().is_none() || matches!(kind, Ok(Some((Kind::Commit, _))))
    };
    let others =
        snapshot.refs().iter().filter(|r| r.name != *head).filter(is_commit).filter_map(|r| short(&r.name));
    short(head).into_iter().chain(others).take(REF_MENU_MAX).collect()
}
