//! Files and folders of a commit: one entry, a folder's entries, every file below a path. Knows nothing of history.

use slipway_core::Oid;

use super::commit::peel_tree;
use super::tree::{Chain, Node, Row, Tree};
use super::{Objects, path};
use crate::limits::{LINK_BYTES_MAX, LINK_HOPS_MAX, SIZED_ENTRIES_MAX, TREE_DEPTH_MAX};
use crate::{Kind, RepoError, Result};

/// What a tree entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A folder.
    Tree,
    /// A regular file.
    File,
    /// A regular file that may be run.
    Executable,
    /// A symbolic link; its content is its target.
    Link,
    /// A commit of another repository.
    Submodule,
}

impl Mode {
    /// True for [`Mode::File`] and [`Mode::Executable`].
    pub fn is_regular(self) -> bool {
        matches!(self, Self::File | Self::Executable)
    }

    /// The digits that git shows: `100644` and so on.
    pub fn octal(self) -> &'static str {
        match self {
            Self::Tree => "040000",
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Link => "120000",
            Self::Submodule => "160000",
        }
    }
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, or its full path where the call says so. Bytes that are not UTF-8 are written so that the text can be
    /// handed back as a path; [`shown_path`](crate::shown_path) makes it fit for people.
    pub name: String,
    /// What it is.
    pub mode: Mode,
    /// The blob or tree, or the submodule's commit.
    pub id: Oid,
    /// Bytes. Files and links only, where cheaply known.
    pub size: Option<u64>,
}

/// What stands at `path` of the commit or tree `id`; `Ok(None)` also if `id` is a blob's.
pub(crate) fn node(objects: &dyn Objects, id: &Oid, parts: &[Vec<u8>]) -> Result<Option<Node>> {
    let Some(root) = peel_tree(objects, id)? else { return Ok(None) };
    Ok(Chain::follow(objects, root, parts, None)?.end(parts.len()))
}

/// The entry at `path`, its name being the last component.
pub(crate) fn entry(objects: &dyn Objects, id: &Oid, path: &str) -> Result<Option<Entry>> {
    let Some(parts) = path::components(path) else { return Ok(None) };
    let Some((mode, id)) = node(objects, id, &parts)? else { return Ok(None) };
    let name = parts.last().map(|name| path::to_text(name)).unwrap_or_default();
    Ok(Some(Entry { name, mode, id, size: size(objects, mode, &id)? }))
}

/// The entries of the tree (or of the commit's root): folders first, then by name.
pub(crate) fn entries(objects: &dyn Objects, id: &Oid) -> Result<Vec<Entry>> {
    let root = peel_tree(objects, id)?.ok_or(RepoError::Missing { id: *id })?;
    let tree = Tree::load(objects, &root)?;
    let sized = tree.rows.len() <= SIZED_ENTRIES_MAX;
    let mut rows: Vec<&Row> = tree.rows.iter().collect();
    rows.sort_by_key(|row| (row.mode != Mode::Tree, tree.name(row)));
    let entry = |row: &&Row| {
        let size = if sized { size(objects, row.mode, &row.id)? } else { None };
        Ok(Entry { name: path::to_text(tree.name(row)), mode: row.mode, id: row.id, size })
    };
    rows.iter().map(entry).collect()
}

/// The entries of the tree (or of the commit's root) by the bytes of their names; no object but the tree is looked at.
pub(crate) fn listing(objects: &dyn Objects, id: &Oid) -> Result<Vec<Entry>> {
    let root = peel_tree(objects, id)?.ok_or(RepoError::Missing { id: *id })?;
    let tree = Tree::load(objects, &root)?;
    let mut rows: Vec<&Row> = tree.rows.iter().collect();
    rows.sort_unstable_by_key(|row| tree.name(row));
    let entry =
        |row: &&Row| Entry { name: path::to_text(tree.name(row)), mode: row.mode, id: row.id, size: None };
    Ok(rows.iter().map(entry).collect())
}

fn size(objects: &dyn Objects, mode: Mode, id: &Oid) -> Result<Option<u64>> {
    if matches!(mode, Mode::Tree | Mode::Submodule) {
        return Ok(None);
    }
    Ok(objects.header(id)?.map(|(_, bytes)| bytes))
}

/// Calls back with everything below `path` that is not a folder, in the order of git's index. Holds one parsed tree
/// per level.
pub(crate) fn walk_files(
    objects: &dyn Objects,
    id: &Oid,
    path: &str,
    each: &mut dyn FnMut(&Entry) -> Result<bool>,
) -> Result<()> {
    let missing = || RepoError::NoSuchPath { path: path.to_owned() };
    let parts = path::components(path).ok_or_else(missing)?;
    let (mode, id) = node(objects, id, &parts)?.ok_or_else(missing)?;
    let start = parts.join(&b'/');
    if mode != Mode::Tree {
        return each(&Entry { name: path::to_text(&start), mode, id, size: None }).map(drop);
    }
    walk(objects, &id, &start, &mut |step| match step {
        Step::Enter(..) | Step::Leave => Ok(Flow::Go),
        Step::File(full, row) => {
            let entry = Entry { name: path::to_text(full), mode: row.mode, id: row.id, size: None };
            Ok(if each(&entry)? { Flow::Go } else { Flow::Stop })
        }
    })
}

/// What [`walk`] meets.
pub(crate) enum Step<'a> {
    /// A folder, by its full path and id, about to be entered; also the first one.
    Enter(&'a [u8], &'a Tree, &'a Oid),
    /// Anything else, by its full path.
    File(&'a [u8], &'a Row),
    /// The end of the folder entered last.
    Leave,
}

/// How [`walk`] goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Further.
    Go,
    /// Not into this folder (no [`Step::Leave`] follows).
    Skip,
    /// Not at all.
    Stop,
}

/// Walks a tree depth first without recursion: the depth comes from outside.
pub(crate) fn walk(
    objects: &dyn Objects,
    root: &Oid,
    start: &[u8],
    each: &mut dyn FnMut(Step<'_>) -> Result<Flow>,
) -> Result<()> {
    let mut walk = Walk::new(*root, start);
    while walk.step(objects, each)? {}
    Ok(())
}

/// A walk that goes on whenever its next step is asked for. Holds one parsed tree per level.
pub(crate) struct Walk {
    /// Where it begins, until it has.
    root: Option<Oid>,
    full: Vec<u8>,
    /// The folders entered: each with its next row, and the length of its path.
    open: Vec<(Tree, usize, usize)>,
}

impl Walk {
    pub(crate) fn new(root: Oid, start: &[u8]) -> Self {
        Self { root: Some(root), full: start.to_vec(), open: Vec::new() }
    }

    /// One step. False once there is none.
    pub(crate) fn step(
        &mut self,
        objects: &dyn Objects,
        each: &mut dyn FnMut(Step<'_>) -> Result<Flow>,
    ) -> Result<bool> {
        if let Some(root) = self.root.take() {
            let first = Tree::load(objects, &root)?;
            if each(Step::Enter(&self.full, &first, &root))? != Flow::Go {
                return Ok(false);
            }
            self.open.push((first, 0, self.full.len()));
            return Ok(true);
        }
        let Some((tree, next, len)) = self.open.last_mut() else { return Ok(false) };
        self.full.truncate(*len);
        let Some(row) = tree.rows.get(*next) else {
            self.open.pop();
            return Ok(each(Step::Leave)? != Flow::Stop);
        };
        *next += 1;
        if !self.full.is_empty() {
            self.full.push(b'/');
        }
        self.full.extend_from_slice(tree.name(row));
        if row.mode != Mode::Tree {
            return Ok(each(Step::File(&self.full, row))? != Flow::Stop);
        }
        let inner = Tree::load(objects, &row.id)?;
        match each(Step::Enter(&self.full, &inner, &row.id))? {
            Flow::Stop => return Ok(false),
            Flow::Skip => {}
            Flow::Go if self.open.len() >= TREE_DEPTH_MAX => {
                return Err(RepoError::TooLong { what: "the depth of folders", max: TREE_DEPTH_MAX });
            }
            Flow::Go => self.open.push((inner, 0, self.full.len())),
        }
        Ok(true)
    }
}

/// The file that `path` leads to, links inside the tree followed; `None` if there is none.
pub(crate) fn file_behind(objects: &dyn Objects, id: &Oid, path: &str) -> Result<Option<Node>> {
    let Some(root) = peel_tree(objects, id)? else { return Ok(None) };
    let Some(mut todo) = path::components(path) else { return Ok(None) };
    todo.reverse();
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        if part == b".." {
            // Only a link's target brings one.
            if done.pop().is_none() {
                return Ok(None);
            }
            continue;
        }
        done.push(part);
        let Some(here) = Chain::follow(objects, root, &done, None)?.end(done.len()) else { return Ok(None) };
        match here.0 {
            Mode::Tree => {}
            Mode::Submodule => return Ok(None),
            Mode::File | Mode::Executable => return Ok(todo.is_empty().then_some(here)),
            Mode::Link => {
                hops += 1;
                let Some(target) = link_target(objects, &here.1)?.filter(|_| hops <= LINK_HOPS_MAX) else {
                    return Ok(None);
                };
                done.pop();
                todo.extend(target.into_iter().rev());
            }
        }
    }
    Ok(None)
}

/// The components of a link's target; `None` if it leaves the repository or is too long to be meant.
fn link_target(objects: &dyn Objects, id: &Oid) -> Result<Option<Vec<Vec<u8>>>> {
    let (kind, bytes) = objects.header(id)?.ok_or(RepoError::Missing { id: *id })?;
    if kind != Kind::Blob || bytes > LINK_BYTES_MAX {
        return Ok(None);
    }
    let object = objects.find(id, LINK_BYTES_MAX)?.ok_or(RepoError::Missing { id: *id })?;
    if object.data.first() == Some(&b'/') {
        return Ok(None);
    }
    let parts = object.data.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    Ok(Some(parts.map(<[u8]>::to_vec).collect()))
}
