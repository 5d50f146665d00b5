//! What a tree has that another beside it has not: both are walked together, as far down as they differ.

use std::cmp::Ordering;

use slipway_core::Oid;

use crate::check::compare;
use crate::error::{RepoError, Result};
use crate::limits::{LINKED_OBJECT_BYTES_MAX, TREE_DEPTH_MAX};
use crate::links::{TreeEntries, TreeEntry};
use crate::object::{Kind, Objects};

/// A difference.
pub(super) enum Change<'a> {
    /// In the new tree, and not the same in the old one.
    Added {
        /// Its id.
        id: &'a Oid,
        /// A file and not a folder.
        file: bool,
        /// Its path.
        path: &'a [u8],
    },
    /// In the old tree alone.
    Removed {
        /// A file and not a folder.
        file: bool,
        /// Its path.
        path: &'a [u8],
    },
}

/// Calls back with every difference, the root tree first; of a folder what is in it follows if the call returned true.
pub(super) fn each_change(
    objects: &dyn Objects,
    old: Option<&Oid>,
    new: &Oid,
    visit: &mut dyn FnMut(Change<'_>) -> Result<bool>,
) -> Result<()> {
    if old == Some(new) || !visit(Change::Added { id: new, file: false, path: b"" })? {
        return Ok(());
    }
    let mut walk = Walk { objects, visit, path: Vec::new() };
    // The folders on the way to those at hand.
    let mut open = vec![walk.enter(old, Some(new))?];
    while let Some(pair) = open.last_mut() {
        match walk.go_on(pair)? {
            Some(_) if open.len() > TREE_DEPTH_MAX => {
                return Err(RepoError::TooMuch { what: "the depth of folders", max: TREE_DEPTH_MAX as u64 });
            }
            Some((old, new)) => open.push(walk.enter(old.as_ref(), new.as_ref())?),
            None => drop(open.pop()),
        }
    }
    Ok(())
}

struct Walk<'a> {
    objects: &'a dyn Objects,
    visit: &'a mut dyn FnMut(Change<'_>) -> Result<bool>,
    path: Vec<u8>,
}

/// Two folders side by side.
struct Pair {
    old: Folder,
    new: Folder,
    /// Bytes of the path that leads here.
    path: usize,
}

/// A folder, read up to a byte.
struct Folder {
    data: Vec<u8>,
    at: usize,
    hash_len: usize,
}

impl Folder {
    /// The next entry and where it ends.
    fn peek(&self) -> Option<(TreeEntry<'_>, usize)> {
        let mut entries = TreeEntries::new(self.data.get(self.at..)?, self.hash_len);
        let entry = entries.next()?.ok()?;
        Some((entry, self.data.len() - entries.left()))
    }
}

/// Folders to lay side by side: the old and the new one.
type Below = (Option<Oid>, Option<Oid>);

impl Walk<'_> {
    fn read(&self, id: Option<&Oid>) -> Result<Folder> {
        let mut data = Vec::new();
        if let Some(id) = id {
            match self.objects.read(id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
                Some(Kind::Tree) => {}
                Some(_) => data.clear(),
                None => return Err(RepoError::Missing { id: *id }),
            }
        }
        Ok(Folder { data, at: 0, hash_len: id.map_or(0, |id| id.as_bytes().len()) })
    }

    fn enter(&self, old: Option<&Oid>, new: Option<&Oid>) -> Result<Pair> {
        Ok(Pair { old: self.read(old)?, new: self.read(new)?, path: self.path.len() })
    }

    /// Goes on to the next folders that are to be looked into.
    fn go_on(&mut self, pair: &mut Pair) -> Result<Option<Below>> {
        loop {
            self.path.truncate(pair.path);
            let (old, new) = (pair.old.peek(), pair.new.peek());
            let order = match (&old, &new) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => compare(old, new),
            };
            let (old, new) = (old.filter(|_| order.is_le()), new.filter(|_| order.is_ge()));
            let ends = (old.map_or(pair.old.at, |(_, end)| end), new.map_or(pair.new.at, |(_, end)| end));
            let below = self.entry(old.map(|(entry, _)| entry), new.map(|(entry, _)| entry))?;
            (pair.old.at, pair.new.at) = ends;
            if below.is_some() {
                return Ok(below);
            }
        }
    }

    /// Entries of one name, on either side or both. What is below them is to be looked into if that is returned.
    fn entry(&mut self, old: Option<TreeEntry<'_>>, new: Option<TreeEntry<'_>>) -> Result<Option<Below>> {
        if let (Some(o), Some(n)) = (&old, &new)
            && o.id == n.id
            && o.mode == n.mode
        {
            return Ok(None);
        }
        let Some(name) = new.as_ref().or(old.as_ref()).map(|e| e.name) else { return Ok(None) };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let is_tree = |e: &TreeEntry<'_>| e.kind() == Some(Kind::Tree);
        let path = &self.path;
        let goes_on = match (&old, &new) {
            (_, Some(n)) if n.kind().is_some() => {
                (self.visit)(Change::Added { id: &n.id, file: !is_tree(n), path })?
            }
            // A submodule's commit lives elsewhere: its path has changed, and nothing is added.
            (_, Some(_)) => {
                (self.visit)(Change::Removed { file: true, path })?;
                false
            }
            (Some(o), None) => (self.visit)(Change::Removed { file: !is_tree(o), path })?,
            (None, None) => false,
        };
        let tree = |entry: Option<TreeEntry<'_>>| entry.filter(is_tree).map(|e| e.id);
        let below = (tree(old), tree(new));
        Ok((goes_on && below != (None, None)).then_some(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders within one another without end.
    struct Endless;

    impl Objects for Endless {
        fn read(&self, id: &Oid, _: u64, data: &mut Vec<u8>) -> Result<Option<Kind>> {
            *data = [b"40000 a\0".as_slice(), id.as_bytes()].concat();
            Ok(Some(Kind::Tree))
        }

        fn header(&self, _: &Oid) -> Result<Option<(Kind, u64)>> {
            Ok(None)
        }
    }

    #[test]
    fn folders_within_one_another_have_an_end_that_is_no_crash() {
        let mut deepest = 0;
        let result = each_change(&Endless, None, &Oid::Sha1([1; 20]), &mut |change| {
            if let Change::Added { path, .. } = change {
                deepest = deepest.max(path.len());
            }
            Ok(true)
        });
        assert!(matches!(result, Err(RepoError::TooMuch { .. })), "{result:?}");
        assert_eq!(deepest, 2 * (TREE_DEPTH_MAX + 1) - 1);
    }
}
