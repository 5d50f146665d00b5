//! What the acceptance path and the deploys ask of a commit: files, facts, changed paths. Works on any place that has
//! objects, so that a push in quarantine and the repository that it goes into are read by the same lines.

use slipway_core::accept::CommitFacts;
use slipway_core::files::{Blob, Other};
use slipway_core::{Oid, Problem, ProblemKind};

use super::changes::changes;
use super::commit::{Link, peel_tree};
use super::entry::{Flow, Step, file_behind, node, walk};
use super::{Mode, Objects, path};
use crate::limits::WALK_STEPS_MAX;
use crate::{Kind, RepoError, Result};

/// The file at `path`, if it is one. Links are not followed.
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
    match blob(objects, &id, max)? {
        Blob::Whole(content) => Ok(Some(content)),
        Blob::Over(bytes) => Err(Problem::new(
            ProblemKind::TooLarge,
            format!("{} has {bytes} bytes; at most {max} are read.", super::shown_path(path)),
            "Make it smaller.",
        )),
    }
}

/// Calls back with every regular file at `path` or below it; `Ok(false)` if nothing is there.
pub(crate) fn files_at(
    objects: &dyn Objects,
    commit: &Oid,
    path: &str,
    each: &mut dyn FnMut(&str, &Oid) -> Result<bool, Problem>,
) -> Result<bool, Problem> {
    leaves_at(objects, commit, path, &mut |path, mode, id| {
        if mode.is_regular() { each(path, id) } else { Ok(true) }
    })
}

/// Calls back with every link and submodule at `path` or below it.
pub(crate) fn others_at(
    objects: &dyn Objects,
    commit: &Oid,
    path: &str,
    each: &mut dyn FnMut(&str, Other, &Oid) -> Result<bool, Problem>,
) -> Result<(), Problem> {
    leaves_at(objects, commit, path, &mut |path, mode, id| match mode {
        Mode::Link => each(path, Other::Link, id),
        Mode::Submodule => each(path, Other::Submodule, id),
        _ => Ok(true),
    })
    .map(drop)
}

/// Who is called with a path, what is there and its id; false stops.
type Leaf<'a> = dyn FnMut(&str, Mode, &Oid) -> Result<bool, Problem> + 'a;

/// Calls back with everything at `path` or below it that is not a folder; `Ok(false)` if nothing is there. What is met is
/// counted, folders too: the same tree many times within itself has no end that anybody would wait for.
fn leaves_at(objects: &dyn Objects, commit: &Oid, path: &str, each: &mut Leaf<'_>) -> Result<bool, Problem> {
    let root = peel_tree(objects, commit)?.ok_or(RepoError::Missing { id: *commit })?;
    let Some(parts) = path::components(path) else { return Ok(false) };
    let Some((mode, id)) = node(objects, &root, &parts)? else { return Ok(false) };
    let start = parts.join(&b'/');
    if mode != Mode::Tree {
        each(&path::to_text(&start), mode, &id)?;
        return Ok(true);
    }
    let (mut steps, mut said) = (0, Ok(true));
    walk(objects, &id, &start, &mut |step| {
        steps += 1;
        if steps > WALK_STEPS_MAX {
            return Err(RepoError::TooLong { what: "the number of files and folders", max: WALK_STEPS_MAX });
        }
        if let Step::File(full, row) = step {
            said = each(&path::to_text(full), row.mode, &row.id);
        }
        Ok(if matches!(said, Ok(true)) { Flow::Go } else { Flow::Stop })
    })?;
    said.map(|_| true)
}

/// Messages from `new` along first parents to `old`; of `new` alone where `old` is not met.
pub(crate) fn messages(
    objects: &dyn Objects,
    old: Option<&Oid>,
    new: &Oid,
    max: usize,
) -> Result<Vec<String>, Problem> {
    let (mut messages, mut next, mut met) = (Vec::new(), Link::peel(objects, new)?, false);
    while let Some(link) = next {
        if Some(&link.id) == old {
            met = true;
            break;
        }
        if messages.len() >= max {
            break;
        }
        messages.push(link.commit().message);
        next = link.parents.first().map(|parent| Link::peel(objects, parent)).transpose()?.flatten();
    }
    if !met {
        messages.truncate(1);
    }
    Ok(messages)
}

/// A file's content, if it has at most `max` bytes.
pub(crate) fn blob(objects: &dyn Objects, id: &Oid, max: u64) -> Result<Blob, Problem> {
    match objects.header(id)?.ok_or(RepoError::Missing { id: *id })? {
        (Kind::Blob, bytes) if bytes > max => Ok(Blob::Over(bytes)),
        (Kind::Blob, _) => {
            let object = objects.find(id, max)?.ok_or(RepoError::Missing { id: *id })?;
            Ok(Blob::Whole(object.data))
        }
        (found, _) => Err(RepoError::WrongKind { id: *id, wanted: Kind::Blob, found }.into()),
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
