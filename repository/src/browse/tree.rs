//! Tree objects: read, searched, compared. Knows nothing of commits.
//!
//! Parsed by gix-object. A name that no checkout could hold (empty, `.`, `..`, or with a slash) makes the tree corrupt
//! for every reader, so that no archive, build context or page can be led out of its folder.

use std::cmp::Ordering;
use std::ops::Range;
use std::rc::Rc;

use gix::objs::TreeRefIter;
use gix::objs::tree::EntryKind;
use slipway_core::Oid;

use super::{Mode, Objects};
use crate::limits::TREE_BYTES_MAX;
use crate::packs::hash_kind;
use crate::{Kind, RepoError, Result};

/// One line of a tree.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: Range<usize>,
    /// As stored; old trees hold modes such as 100664.
    pub(crate) raw_mode: u16,
    pub(crate) mode: Mode,
    pub(crate) id: Oid,
}

/// A parsed tree.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    data: Vec<u8>,
    pub(crate) rows: Vec<Row>,
}

/// What stands at a path: enough to tell whether two commits agree there.
pub(crate) type Node = (Mode, Oid);

impl Tree {
    /// Reads the tree `id`.
    pub(crate) fn load(objects: &dyn Objects, id: &Oid) -> Result<Self> {
        let data = tree_data(objects, id)?;
        let rows = parse(&data, id).collect::<Result<Vec<Row>>>()?;
        Ok(Self { data, rows })
    }

    /// The name of one of its rows.
    pub(crate) fn name(&self, row: &Row) -> &[u8] {
        self.data.get(row.name.clone()).unwrap_or_default()
    }

    /// Orders two rows as git orders trees: folders as if their names ended in a slash.
    pub(crate) fn order(&self, row: &Row, other: &Tree, other_row: &Row) -> Ordering {
        gix::objs::tree::name_order(
            self.name(row),
            row.mode == Mode::Tree,
            other.name(other_row),
            other_row.mode == Mode::Tree,
        )
    }
}

/// The entry `name` of the tree `id`, without parsing more than is needed.
pub(crate) fn child(objects: &dyn Objects, id: &Oid, name: &[u8]) -> Result<Option<Node>> {
    let data = tree_data(objects, id)?;
    for row in parse(&data, id) {
        let row = row?;
        if data.get(row.name.clone()) == Some(name) {
            return Ok(Some((row.mode, row.id)));
        }
    }
    Ok(None)
}

fn tree_data(objects: &dyn Objects, id: &Oid) -> Result<Vec<u8>> {
    if is_empty_tree(id) {
        // git knows this one without storing it.
        return Ok(Vec::new());
    }
    let object = objects.find(id, TREE_BYTES_MAX)?.ok_or(RepoError::Missing { id: *id })?;
    if object.kind != Kind::Tree {
        return Err(RepoError::WrongKind { id: *id, wanted: Kind::Tree, found: object.kind });
    }
    Ok(object.data)
}

/// The hash of the repository that the id belongs to.
pub(crate) fn hash_of(id: &Oid) -> gix::hash::Kind {
    hash_kind(id.format())
}

fn is_empty_tree(id: &Oid) -> bool {
    gix::ObjectId::empty_tree(hash_of(id)).as_bytes() == id.as_bytes()
}

fn parse<'a>(data: &'a [u8], id: &'a Oid) -> impl Iterator<Item = Result<Row>> + 'a {
    let mut at = 0;
    TreeRefIter::from_bytes(data, hash_of(id)).map(move |entry| {
        let corrupt = |what: &str| RepoError::BrokenObject { id: *id, why: what.to_owned() };
        let entry = entry.map_err(|_| corrupt("its tree entries cannot be read"))?;
        let name: &[u8] = entry.filename;
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            return Err(corrupt("an entry's name is empty, '.', '..' or has a slash"));
        }
        // mode SP name NUL id
        let rest = data.get(at..).unwrap_or_default();
        let space = rest.iter().position(|&b| b == b' ').ok_or_else(|| corrupt("an entry has no mode"))?;
        let start = at + space + 1;
        let end = start + name.len();
        // Blanks within a mode are taken in one way here and in another there.
        if data.get(start..end) != Some(name) {
            return Err(corrupt("an entry's mode has blanks"));
        }
        at = end + 1 + entry.oid.as_bytes().len();
        let id = Oid::from_bytes(entry.oid.as_bytes()).ok_or_else(|| corrupt("an entry has no object id"))?;
        Ok(Row { name: start..end, raw_mode: entry.mode.value(), mode: mode_of(entry.mode.kind()), id })
    })
}

fn mode_of(kind: EntryKind) -> Mode {
    match kind {
        EntryKind::Tree => Mode::Tree,
        EntryKind::Blob => Mode::File,
        EntryKind::BlobExecutable => Mode::Executable,
        EntryKind::Link => Mode::Link,
        EntryKind::Commit => Mode::Submodule,
    }
}

/// What stands on the way to a path: the root first, as far as the path exists. Two chains of one path that have the
/// same entry at some depth are the same below it, so that the second is found without reading more trees.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Rc<[Node]>);

impl Chain {
    /// Follows `path` from the tree `root`. `near` is the chain of the same path in a neighbouring commit.
    pub(crate) fn follow(
        objects: &dyn Objects,
        root: Oid,
        path: &[Vec<u8>],
        near: Option<&Chain>,
    ) -> Result<Self> {
        let near_at = |depth: usize| near.and_then(|c| c.0.get(depth));
        let mut here = (Mode::Tree, root);
        let mut nodes = vec![here];
        for (depth, name) in path.iter().enumerate() {
            if let (Some(chain), Some(node)) = (near, near_at(depth))
                && *node == here
            {
                nodes.extend_from_slice(chain.0.get(depth + 1..).unwrap_or_default());
                break;
            }
            if here.0 != Mode::Tree {
                break;
            }
            let Some(next) = child(objects, &here.1, name)? else { break };
            nodes.push(next);
            here = next;
        }
        Ok(Self(nodes.into()))
    }

    /// What stands at the end of a path of `depth` components.
    pub(crate) fn end(&self, depth: usize) -> Option<Node> {
        self.0.get(depth).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_tree_panic(
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            mode in "[0-7 ]{0,8}",
            name in "[a-c./\\x00]{0,4}",
        ) {
            let id = Oid::Sha1([1; 20]);
            let raw = [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[7; 20], noise.as_slice()].concat();
            for data in [raw, noise] {
                for row in parse(&data, &id).flatten() {
                    let name = data.get(row.name).expect("inside the tree");
                    assert!(!name.is_empty() && !name.contains(&b'/') && !name.contains(&0));
                }
            }
        }
    }
}
