//! What a commit changed, for people: files, renames, hunks. Knows nothing of pages; whatever a limit leaves out is
//! reported as `cut`.

use slipway_core::Oid;

use super::changes::{Change, changes};
use super::commit::peel_tree;
use super::lines::{self, Hunk, Room};
use super::renames::{self, Move, is_binary};
use super::tree::Node;
use super::{Mode, Objects, path};
use crate::limits::{CHANGES_MAX, DIFF_BYTES_MAX, DIFF_TEXT_BYTES_MAX};
use crate::{Kind, RepoError, Result};

/// How much of a difference is worked out.
#[derive(Clone, Copy, Debug)]
pub struct DiffLimits {
    /// Most files listed.
    pub files_max: usize,
    /// Most lines in the hunks of all files together, context included.
    pub lines_max: usize,
    /// Largest file that is compared, in bytes.
    pub blob_bytes_max: u64,
    /// Unchanged lines shown around each change.
    pub context: usize,
}

/// The difference of two commits.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// In the order of git's index; a renamed file stands at its new path.
    pub files: Vec<FileDiff>,
    /// Lines added in the files listed.
    pub added: usize,
    /// Lines removed in the files listed.
    pub removed: usize,
    /// More files changed than are listed.
    pub cut: bool,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its content or its x bit changed.
    Modified,
    /// It has another path, and perhaps other content.
    Renamed,
    /// It became another kind of thing (a link, a submodule).
    TypeChanged,
}

/// The difference of one file.
#[derive(Clone, Debug)]
pub struct FileDiff {
    /// What happened.
    pub kind: ChangeKind,
    /// Its path before; for an added file its path now.
    pub old_path: String,
    /// Its path now; for a removed file its path before.
    pub new_path: String,
    /// What it was.
    pub old_mode: Option<Mode>,
    /// What it is.
    pub new_mode: Option<Mode>,
    /// Its content is not text: there are no hunks and no counts.
    pub binary: bool,
    /// A limit left hunks out (and, for a file over the size limit, the counts).
    pub cut: bool,
    /// Lines added.
    pub added: usize,
    /// Lines removed.
    pub removed: usize,
    /// The changed lines.
    pub hunks: Vec<Hunk>,
}

/// The difference between two commits (or trees); `old: None` is the empty tree.
pub(crate) fn diff(objects: &dyn Objects, old: Option<&Oid>, new: &Oid, limits: &DiffLimits) -> Result<Diff> {
    let tree = |id: &Oid| peel_tree(objects, id)?.ok_or(RepoError::Missing { id: *id });
    let (old, new) = (old.map(tree).transpose()?, tree(new)?);
    let mut found = Vec::new();
    let mut all = true;
    changes(objects, old.as_ref(), Some(&new), &mut |change| {
        all = found.len() < CHANGES_MAX;
        if all {
            found.push(change);
        }
        Ok(all)
    })?;
    let moves = renames::find(objects, found, all)?;
    let mut diff = Diff { cut: !all || moves.len() > limits.files_max, ..Diff::default() };
    let mut work = Work {
        objects,
        limits,
        room: Room { lines: limits.lines_max, text_bytes: DIFF_TEXT_BYTES_MAX },
        bytes_left: DIFF_BYTES_MAX,
    };
    for change in moves.into_iter().take(limits.files_max) {
        let file = work.file(change)?;
        diff.added += file.added;
        diff.removed += file.removed;
        diff.files.push(file);
    }
    Ok(diff)
}

struct Work<'a> {
    objects: &'a dyn Objects,
    limits: &'a DiffLimits,
    room: Room,
    bytes_left: u64,
}

/// A file's content, or why there is none.
enum Content {
    Text(Vec<u8>),
    Binary,
    TooLarge,
}

impl Work<'_> {
    fn file(&mut self, Move { change, from }: Move) -> Result<FileDiff> {
        let Change { path, old, new } = change;
        let new_path = path::to_text(&path);
        let mut file = FileDiff {
            kind: kind(old, new, from.is_some()),
            old_path: from.map_or_else(|| new_path.clone(), |from| path::to_text(&from)),
            new_path,
            old_mode: old.map(|(mode, _)| mode),
            new_mode: new.map(|(mode, _)| mode),
            binary: false,
            cut: false,
            added: 0,
            removed: 0,
            hunks: Vec::new(),
        };
        if old.map(|(_, id)| id) == new.map(|(_, id)| id) {
            return Ok(file);
        }
        match (self.content(old)?, self.content(new)?) {
            (Content::Text(old), Content::Text(new)) => {
                let lines = lines::compare(&old, &new, self.limits.context, &mut self.room);
                file.added = lines.added;
                file.removed = lines.removed;
                file.hunks = lines.hunks;
                file.cut = lines.cut;
            }
            (Content::TooLarge, _) | (_, Content::TooLarge) => file.cut = true,
            (Content::Binary, _) | (_, Content::Binary) => file.binary = true,
        }
        Ok(file)
    }

    fn content(&mut self, node: Option<Node>) -> Result<Content> {
        let Some((mode, id)) = node else { return Ok(Content::Text(Vec::new())) };
        if mode == Mode::Submodule {
            // As git writes it: the commit lies in another repository.
            return Ok(Content::Text(format!("Subproject commit {id}\n").into_bytes()));
        }
        let (kind, bytes) = self.objects.header(&id)?.ok_or(RepoError::Missing { id })?;
        if kind != Kind::Blob {
            return Err(RepoError::WrongKind { id, wanted: Kind::Blob, found: kind });
        }
        if bytes > self.limits.blob_bytes_max || bytes > self.bytes_left {
            return Ok(Content::TooLarge);
        }
        self.bytes_left -= bytes;
        let object = self.objects.find(&id, bytes)?.ok_or(RepoError::Missing { id })?;
        Ok(if is_binary(&object.data) { Content::Binary } else { Content::Text(object.data) })
    }
}

fn kind(old: Option<Node>, new: Option<Node>, renamed: bool) -> ChangeKind {
    let same_type = |a: Mode, b: Mode| a == b || (a.is_regular() && b.is_regular());
    match (old, new) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        _ if renamed => ChangeKind::Renamed,
        (Some((a, _)), Some((b, _))) if same_type(a, b) => ChangeKind::Modified,
        _ => ChangeKind::TypeChanged,
    }
}
