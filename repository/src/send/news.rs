//! What a tree has that the trees beside it have not: all are walked together, as far down as they differ.
//!
//! Between a commit and its parents that is little and never changes, so it is kept ([`super::parts`]): those who fetch
//! the same commits from wherever they stand share it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use slipway_core::Oid;

use crate::check::compare;
use crate::error::{RepoError, Result};
use crate::limits::{LINKED_OBJECT_BYTES_MAX, NEWS_MAX, NEWS_TREES_BYTES_MAX, TREE_DEPTH_MAX};
use crate::links::{TreeEntries, TreeEntry};
use crate::object::{Kind, Objects};

/// An object that is new in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct New {
    /// Its id.
    pub(crate) id: Oid,
    /// What the first of the trees beside has at the same path, if that is of the same kind.
    pub(crate) was: Option<Oid>,
    /// How many of those that follow in the list are below it.
    pub(crate) below: u32,
}

/// Reads trees, the latest of which it keeps: one commit's new tree is the next one's old tree.
pub(crate) struct Trees<'a> {
    objects: &'a dyn Objects,
    kept: HashMap<Oid, Arc<[u8]>>,
    bytes: usize,
    data: Vec<u8>,
}

impl<'a> Trees<'a> {
    /// Reads from `objects`.
    pub(crate) fn new(objects: &'a dyn Objects) -> Self {
        Self { objects, kept: HashMap::new(), bytes: 0, data: Vec::new() }
    }

    fn read(&mut self, id: &Oid) -> Result<Arc<[u8]>> {
        if let Some(data) = self.kept.get(id) {
            return Ok(data.clone());
        }
        match self.objects.read(id, LINKED_OBJECT_BYTES_MAX, &mut self.data)? {
            Some(Kind::Tree) => {}
            Some(kind) => {
                return Err(RepoError::BrokenObject {
                    id: *id,
                    why: format!("a tree is expected and it is a {kind}"),
                });
            }
            None => return Err(RepoError::Missing { id: *id }),
        }
        let data: Arc<[u8]> = self.data.as_slice().into();
        if self.bytes + data.len() > NEWS_TREES_BYTES_MAX {
            self.kept.clear();
            self.bytes = 0;
        }
        self.bytes += data.len();
        self.kept.insert(*id, data.clone());
        Ok(data)
    }

    /// What `tree` has and none of the trees `beside` has at the same path, each folder before what is in it; `None` if
    /// that is more than [`NEWS_MAX`].
    ///
    /// # Errors
    /// [`RepoError::Stopped`] once `stop` is set; others if a tree is missing or broken.
    pub(crate) fn news(&mut self, tree: &Oid, beside: &[Oid], stop: &AtomicBool) -> Result<Option<Vec<New>>> {
        let mut list = Vec::new();
        if beside.contains(tree) {
            return Ok(Some(list));
        }
        // Folders on the way to the one at hand.
        let mut open = vec![self.enter(*tree, beside, &mut list)?];
        while let Some(folder) = open.last_mut() {
            if stop.load(Relaxed) {
                return Err(RepoError::Stopped);
            }
            match folder.go_on(&mut list)? {
                Step::Down(..) if open.len() >= TREE_DEPTH_MAX => {
                    return Err(RepoError::TooMuch {
                        what: "the depth of folders",
                        max: TREE_DEPTH_MAX as u64,
                    });
                }
                Step::Down(tree, beside) => open.push(self.enter(tree, &beside, &mut list)?),
                Step::Done => drop(open.pop()),
                Step::TooMuch => return Ok(None),
            }
        }
        Ok(Some(list))
    }

    fn enter(&mut self, tree: Oid, beside: &[Oid], list: &mut Vec<New>) -> Result<Folder> {
        list.push(New { id: tree, was: beside.first().copied(), below: 0 });
        let mut olds = Vec::with_capacity(beside.len());
        for old in beside {
            olds.push((self.read(old)?, 0));
        }
        Ok(Folder { tree, data: self.read(&tree)?, at: 0, olds, place: list.len() - 1 })
    }
}

/// A new folder, read up to where the walk is.
struct Folder {
    tree: Oid,
    data: Arc<[u8]>,
    at: usize,
    /// The folders beside it, each read as far.
    olds: Vec<(Arc<[u8]>, usize)>,
    /// Its own place in the list.
    place: usize,
}

enum Step {
    /// Into this folder, beside these.
    Down(Oid, Vec<Oid>),
    Done,
    TooMuch,
}

impl Folder {
    /// Puts what is new into the list, up to the next folder.
    fn go_on(&mut self, list: &mut Vec<New>) -> Result<Step> {
        let Self { tree, data, at, olds, .. } = self;
        let len = tree.as_bytes().len();
        let mut olds: Vec<Beside<'_>> =
            olds.iter_mut().map(|(data, at)| Beside::new(data, at, len)).collect();
        let mut entries = TreeEntries::new(&data[*at..], len);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|why| RepoError::BrokenObject { id: *tree, why: why.into() })?;
            if list.len() >= NEWS_MAX {
                return Ok(Step::TooMuch);
            }
            let Some(kind) = entry.kind() else { continue };
            let mut like = Vec::new();
            if olds.iter_mut().any(|old| old.has(&entry, &mut like)) {
                continue;
            }
            if kind == Kind::Tree {
                *at = data.len() - entries.left();
                return Ok(Step::Down(entry.id, like));
            }
            list.push(New { id: entry.id, was: like.first().copied(), below: 0 });
        }
        list[self.place].below = (list.len() - self.place - 1) as u32;
        Ok(Step::Done)
    }
}

/// The entries of a tree beside the new one, up to where that is.
struct Beside<'a> {
    data: &'a [u8],
    /// Where the next entry begins.
    at: &'a mut usize,
    hash_len: usize,
}

impl<'a> Beside<'a> {
    fn new(data: &'a [u8], at: &'a mut usize, hash_len: usize) -> Self {
        Self { data, at, hash_len }
    }

    /// True if it has the entry; what it has instead, of the same name and kind, goes to `like`.
    fn has(&mut self, entry: &TreeEntry<'_>, like: &mut Vec<Oid>) -> bool {
        let mut entries = TreeEntries::new(&self.data[*self.at..], self.hash_len);
        // An old tree that is broken at one place is no base beyond it, and nothing else depends on it.
        while let Some(Ok(here)) = entries.next() {
            let order = compare(&here, entry);
            if order != Ordering::Greater {
                *self.at = self.data.len() - entries.left();
            }
            match order {
                Ordering::Less => {}
                Ordering::Equal if here.kind() == entry.kind() && here.id == entry.id => return true,
                Ordering::Equal if here.kind() == entry.kind() => {
                    like.push(here.id);
                    return false;
                }
                Ordering::Equal | Ordering::Greater => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trees by id: the id of a tree is its number, repeated.
    #[derive(Default)]
    struct Shelf(HashMap<Oid, Vec<u8>>);

    fn id(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).unwrap()
    }

    impl Shelf {
        fn tree(mut self, n: u8, entries: &[(&str, &str, u8)]) -> Self {
            let mut data = Vec::new();
            for (mode, name, of) in entries {
                data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
                data.extend_from_slice(&[*of; 20]);
            }
            self.0.insert(id(n), data);
            self
        }

        fn news(&self, tree: u8, beside: &[u8]) -> Vec<(u8, Option<u8>, u32)> {
            let beside: Vec<Oid> = beside.iter().map(|n| id(*n)).collect();
            let found = Trees::new(self).news(&id(tree), &beside, &AtomicBool::new(false)).unwrap().unwrap();
            let n = |id: Oid| id.as_bytes()[0];
            found.into_iter().map(|new| (n(new.id), new.was.map(n), new.below)).collect()
        }
    }

    impl Objects for Shelf {
        fn read(&self, id: &Oid, _: u64, data: &mut Vec<u8>) -> Result<Option<Kind>> {
            let found = self.0.get(id);
            data.clear();
            data.extend_from_slice(found.map(Vec::as_slice).unwrap_or_default());
            Ok(found.map(|_| Kind::Tree))
        }

        fn header(&self, _: &Oid) -> Result<Option<(Kind, u64)>> {
            Ok(None)
        }
    }

    fn shelf() -> Shelf {
        Shelf::default()
            .tree(
                1,
                &[("100644", "a", 10), ("100644", "dir.c", 11), ("40000", "dir", 2), ("40000", "same", 9)],
            )
            .tree(2, &[("100644", "x", 12), ("100644", "y", 13)])
            .tree(
                3,
                &[("100644", "a", 10), ("100644", "dir.c", 21), ("40000", "dir", 4), ("40000", "same", 9)],
            )
            .tree(4, &[("100644", "new", 20), ("100644", "x", 22), ("100644", "y", 13)])
    }

    #[test]
    fn differences_alone_are_told_each_folder_before_what_is_in_it() {
        // The folder "same" is in no shelf: who looked into it would fail.
        let all = [(3, Some(1), 4), (21, Some(11), 0), (4, Some(2), 2), (20, None, 0), (22, Some(12), 0)];
        assert_eq!(shelf().news(3, &[1]), all);
        assert_eq!(shelf().news(1, &[1]), []);
    }

    #[test]
    fn what_any_of_several_has_is_not_new() {
        // A merge of 1 and 3: dir from 3, dir.c from 1.
        let shelf = shelf().tree(
            5,
            &[("100644", "a", 30), ("100644", "dir.c", 11), ("40000", "dir", 4), ("40000", "same", 9)],
        );
        assert_eq!(shelf.news(5, &[1, 3]), [(5, Some(1), 1), (30, Some(10), 0)]);
        assert_eq!(shelf.news(5, &[3]), [(5, Some(3), 2), (30, Some(10), 0), (11, Some(21), 0)]);
    }

    #[test]
    fn a_file_that_became_a_folder_is_new_and_a_submodule_is_nothing() {
        let shelf =
            shelf().tree(6, &[("160000", "a", 40), ("100644", "dir", 41)]).tree(7, &[("40000", "dir.c", 2)]);
        assert_eq!(shelf.news(6, &[1]), [(6, Some(1), 1), (41, None, 0)]);
        assert_eq!(shelf.news(7, &[1]), [(7, Some(1), 3), (2, None, 2), (12, None, 0), (13, None, 0)]);
    }

    #[test]
    fn too_many_are_told_as_such_and_folders_within_one_another_have_an_end() {
        let names: Vec<String> = (0..NEWS_MAX).map(|n| format!("{n:08}")).collect();
        let entries: Vec<_> = names.iter().map(|name| ("100644", name.as_str(), 50)).collect();
        let shelf = Shelf::default().tree(8, &entries).tree(9, &[("40000", "again", 9)]);
        let stop = AtomicBool::new(false);
        assert_eq!(Trees::new(&shelf).news(&id(8), &[], &stop).unwrap(), None);
        let deep = Trees::new(&shelf).news(&id(9), &[], &stop);
        assert!(matches!(deep, Err(RepoError::TooMuch { .. })), "{deep:?}");
        stop.store(true, Relaxed);
        assert!(matches!(Trees::new(&shelf).news(&id(8), &[], &stop), Err(RepoError::Stopped)));
    }
}
