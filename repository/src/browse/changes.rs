//! What differs between two trees: paths, modes and ids. Reads no file's content.

use std::cmp::Ordering;

use slipway_core::Oid;

use super::tree::{Node, Row, Tree};
use super::{Mode, Objects};
use crate::limits::TREE_DEPTH_MAX;
use crate::{RepoError, Result};

/// One path that differs. Folders do not appear; a file that gave way to a folder is removed, and the folder's files
/// are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: Vec<u8>,
    pub(crate) old: Option<Node>,
    pub(crate) new: Option<Node>,
}

/// Two trees side by side, and how far they have been compared.
struct Pair {
    old: Tree,
    new: Tree,
    i: usize,
    j: usize,
    /// Bytes of the path that lead here.
    len: usize,
}

/// Calls back with every difference in the order of git's index; false stops. `None` is the empty tree. Subtrees with
/// the same id are never read.
pub(crate) fn changes(
    objects: &dyn Objects,
    old: Option<&Oid>,
    new: Option<&Oid>,
    each: &mut dyn FnMut(Change) -> Result<bool>,
) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let mut path = Vec::new();
    let mut open = vec![pair(objects, old, new, 0)?];
    while let Some(top) = open.last_mut() {
        path.truncate(top.len);
        let Some((old, new)) = top.step(&mut path) else {
            open.pop();
            continue;
        };
        let folder = |node: Option<Node>| node.filter(|(mode, _)| *mode == Mode::Tree).map(|(_, id)| id);
        let (old_folder, new_folder) = (folder(old), folder(new));
        if old_folder.is_none() && new_folder.is_none() {
            if !each(Change { path: path.clone(), old, new })? {
                return Ok(());
            }
            continue;
        }
        if open.len() >= TREE_DEPTH_MAX {
            return Err(RepoError::TooLong { what: "the depth of folders", max: TREE_DEPTH_MAX });
        }
        // Names sort apart if only one of them is a folder: both are folders here, or one is absent.
        open.push(pair(objects, old_folder.as_ref(), new_folder.as_ref(), path.len())?);
    }
    Ok(())
}

fn pair(objects: &dyn Objects, old: Option<&Oid>, new: Option<&Oid>, len: usize) -> Result<Pair> {
    let load = |id: Option<&Oid>| id.map_or(Ok(Tree::default()), |id| Tree::load(objects, id));
    Ok(Pair { old: load(old)?, new: load(new)?, i: 0, j: 0, len })
}

impl Pair {
    /// The next name that differs, appended to `path`.
    fn step(&mut self, path: &mut Vec<u8>) -> Option<(Option<Node>, Option<Node>)> {
        loop {
            let (a, b) = (self.old.rows.get(self.i), self.new.rows.get(self.j));
            let order = match (a, b) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => self.old.order(a, &self.new, b),
            };
            let a = a.filter(|_| order != Ordering::Greater);
            let b = b.filter(|_| order != Ordering::Less);
            self.i += usize::from(a.is_some());
            self.j += usize::from(b.is_some());
            let node = |row: &Row| (row.mode, row.id);
            let (old, new) = (a.map(node), b.map(node));
            if old == new {
                continue;
            }
            let name = match (a, b) {
                (Some(a), _) => self.old.name(a),
                (None, Some(b)) => self.new.name(b),
                (None, None) => b"",
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            return Some((old, new));
        }
    }
}
