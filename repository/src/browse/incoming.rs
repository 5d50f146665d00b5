//! What the acceptance path asks of a push: files, commits, changed paths. Works on any place that has objects.

use slipway_core::accept::CommitFacts;
use slipway_core::{Oid, Problem};

use super::changes::changes;
use super::commit::{Link, peel_tree};
use super::entry::{file_behind, node};
use super::{Objects, path};
use crate::{Kind, RepoError, Result};

/// The file at `path`, if it is one and has at most `max` bytes. Links are not followed.
pub(crate) fn file(
    objects: &dyn Objects,
    commit: &Oid,
    path: &str,
    max: u64,
) -> Result<Option<Vec<u8>>, Problem> {
    let Some(parts) = path::components(path) else { return Ok(None) };
    let Some((mode, id)) = node(objects, commit, &parts)? else { return Ok(None) };
    if !mode.is_regular() {
        return Ok(None);
    }
    match objects.header(&id)?.ok_or(RepoError::Missing { id })? {
        (Kind::Blob, bytes) if bytes <= max => Ok(objects.find(&id, max)?.map(|object| object.data)),
        _ => Ok(None),
    }
}

/// True if `path` is a file, or a link that leads to one.
pub(crate) fn has_file(objects: &dyn Objects, commit: &Oid, path: &str) -> Result<bool, Problem> {
    Ok(file_behind(objects, commit, path)?.is_some())
}

/// The commit that `id` names, tags peeled.
pub(crate) fn commit(objects: &dyn Objects, id: &Oid) -> Result<Option<CommitFacts>, Problem> {
    let commit = Link::peel(objects, id)?.map(|link| link.commit());
    Ok(commit.map(|c| CommitFacts { id: c.id, subject: c.subject().to_owned(), message: c.message }))
}

/// The paths that differ, or `None` if there are more than `max`.
pub(crate) fn changed_paths(
    objects: &dyn Objects,
    old: Option<&Oid>,
    new: &Oid,
    max: usize,
) -> Result<Option<Vec<String>>, Problem> {
    let tree = |id: &Oid| peel_tree(objects, id)?.ok_or(RepoError::Missing { id: *id });
    let (old, new) = (old.map(tree).transpose()?, tree(new)?);
    let mut paths: Vec<String> = Vec::new();
    let mut all = true;
    changes(objects, old.as_ref(), Some(&new), &mut |change| {
        all = paths.len() < max;
        if all {
            paths.push(path::to_text(&change.path));
        }
        Ok(all)
    })?;
    Ok(all.then_some(paths))
}
