//! What a tree has that another beside it has not: both are walked together, as far down as they differ.

use slipway_core::Oid;

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
    walk.pair(old, Some(new), 0)
}

struct Walk<'a> {
    objects: &'a dyn Objects,
    visit: &'a mut dyn FnMut(Change<'_>) -> Result<bool>,
    path: Vec<u8>,
}

impl Walk<'_> {
    fn read(&self, id: Option<&Oid>) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        if let Some(id) = id {
            match self.objects.read(id, LINKED_OBJECT_BYTES_MAX, &mut data)? {
                Some(Kind::Tree) => {}
                Some(_) => data.clear(),
                None => return Err(RepoError::Missing { id: *id }),
            }
        }
        Ok(data)
    }

    /// Lays two folders side by side. The depth of folders is bounded, so recursion is.
    fn pair(&mut self, old: Option<&Oid>, new: Option<&Oid>, deep: usize) -> Result<()> {
        if deep > TREE_DEPTH_MAX {
            return Err(RepoError::TooMuch { what: "the depth of folders", max: TREE_DEPTH_MAX as u64 });
        }
        let (old_data, new_data) = (self.read(old)?, self.read(new)?);
        let hash_len = old.or(new).map_or_else(Default::default, Oid::format).id_bytes();
        let mut olds = TreeEntries::new(&old_data, hash_len).map_while(Result::ok).peekable();
        let mut news = TreeEntries::new(&new_data, hash_len).map_while(Result::ok).peekable();
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(o), Some(n)) => key(o).cmp(key(n)),
            };
            let old = if order.is_le() { olds.next() } else { None };
            let new = if order.is_ge() { news.next() } else { None };
            self.entry(old, new, deep)?;
        }
    }

    /// Entries of one name, on either side or both.
    fn entry(&mut self, old: Option<TreeEntry<'_>>, new: Option<TreeEntry<'_>>, deep: usize) -> Result<()> {
        if let (Some(o), Some(n)) = (&old, &new)
            && o.id == n.id
            && o.mode == n.mode
        {
            return Ok(());
        }
        let Some(name) = new.as_ref().or(old.as_ref()).map(|e| e.name) else { return Ok(()) };
        let before = self.path.len();
        if before > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let result = self.differ(old.as_ref(), new.as_ref(), deep);
        self.path.truncate(before);
        result
    }

    fn differ(
        &mut self,
        old: Option<&TreeEntry<'_>>,
        new: Option<&TreeEntry<'_>>,
        deep: usize,
    ) -> Result<()> {
        let is_tree = |e: &TreeEntry<'_>| e.kind() == Some(Kind::Tree);
        let path = &self.path;
        let goes_on = match (old, new) {
            (_, Some(n)) if n.kind().is_some() => {
                (self.visit)(Change::Added { id: &n.id, file: !is_tree(n), path })?
            }
            // A submodule's commit lives elsewhere: its path has changed, and nothing is added.
            (_, Some(_)) => {
                (self.visit)(Change::Removed { file: true, path })?;
                return Ok(());
            }
            (Some(o), None) => (self.visit)(Change::Removed { file: !is_tree(o), path })?,
            (None, None) => return Ok(()),
        };
        let (old, new) = (old.filter(|e| is_tree(e)), new.filter(|e| is_tree(e)));
        if goes_on && (old.is_some() || new.is_some()) {
            let (old, new) = (old.map(|e| e.id), new.map(|e| e.id));
            self.pair(old.as_ref(), new.as_ref(), deep + 1)?;
        }
        Ok(())
    }
}

/// Git's order: folders count as ending in a slash. Entries of one name and of different kinds are different entries.
fn key<'a>(entry: &TreeEntry<'a>) -> impl Iterator<Item = u8> + use<'a> {
    let slash = (entry.kind() == Some(Kind::Tree)).then_some(b'/');
    entry.name.iter().copied().chain(slash)
}
