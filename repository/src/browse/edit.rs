//! Commits of our own: edits on the pages and the manifest bump. Makes the objects; who may publish them is decided
//! elsewhere.
//!
//! Only what is new is written: the changed files, the folders on the way to them, the commit. Everything else of the
//! parent's tree stays as it is, odd old modes included. The objects become one small pack and take the same way in as
//! a push, so that one piece of code checks and stores.

use std::collections::{BTreeMap, HashSet};

use gix::bstr::ByteSlice;
use slipway_core::{ObjectFormat, Oid};

use super::commit::Link;
use super::tree::Tree;
use super::{Mode, Objects, path};
use crate::limits::{
    EDIT_BYTES_MAX, EDIT_FOLDERS_DEEP_MAX, EDIT_PATH_BYTES_MAX, EDITS_MAX, MESSAGE_BYTES_MAX,
    SIGNATURE_BYTES_MAX,
};
use crate::packs::hash_kind;
use crate::{Kind, RepoError, Result};

mod pack;
#[cfg(test)]
mod tests;

/// One file changed by [`Repository::commit`](crate::Repository::commit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Its path from the root, without a slash at either end.
    pub path: String,
    /// Its content from now on; `None` removes it.
    pub content: Option<Vec<u8>>,
    /// Sets the x bit. Where this is false a file that has the bit keeps it.
    pub executable: bool,
}

/// Who makes a commit, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name for people.
    pub name: String,
    /// Mail address.
    pub email: String,
    /// Milliseconds since 1970; git keeps the seconds.
    pub at_ms: u64,
    /// Minutes east of UTC.
    pub offset_minutes: i32,
}

/// What a commit says besides its tree.
pub(crate) struct Words<'a> {
    pub(crate) message: &'a str,
    pub(crate) author: &'a Signature,
    pub(crate) committer: &'a Signature,
}

/// A commit and what was made for it.
pub(crate) struct Made {
    pub(crate) commit: Oid,
    /// As a pack, ready to be received.
    pub(crate) pack: Vec<u8>,
}

/// Makes the commit that carries out `edits` on top of `parent`.
pub(crate) fn make(
    objects: &dyn Objects,
    format: ObjectFormat,
    parent: Option<&Oid>,
    edits: &[Edit],
    words: &Words<'_>,
) -> Result<Made> {
    let bytes: usize = edits.iter().filter_map(|e| e.content.as_ref()).map(Vec::len).sum();
    if edits.len() > EDITS_MAX {
        return Err(RepoError::TooLong { what: "the number of files in one commit", max: EDITS_MAX });
    }
    if bytes > EDIT_BYTES_MAX {
        return Err(RepoError::TooLong {
            what: "the size of all files of one commit in bytes",
            max: EDIT_BYTES_MAX,
        });
    }
    let parent = match parent {
        Some(id) => Some(Link::peel(objects, id)?.ok_or(RepoError::Missing { id: *id })?),
        None => None,
    };
    let mut maker = Maker { objects, format, edits, pack: pack::Pack::new(format), packed: HashSet::new() };
    let mut root = Folder::default();
    for (at, edit) in edits.iter().enumerate() {
        root.insert(edit, at)?;
    }
    let old_tree = parent.as_ref().map(|link| link.tree);
    let tree = match maker.folder(&root, old_tree.as_ref(), "")? {
        Some(tree) => tree,
        None => maker.store(Kind::Tree, Vec::new())?,
    };
    if old_tree == Some(tree) && !edits.is_empty() {
        return Err(RepoError::NothingChanged);
    }
    let commit =
        maker.store(Kind::Commit, commit_text(&tree, parent.map(|link| link.id).as_ref(), words)?)?;
    Ok(Made { commit, pack: maker.pack.finish() })
}

/// A root commit with these files, and the pack that holds it: what a client that has nothing yet pushes. `message` as
/// for [`Repository::commit`](crate::Repository::commit); SHA-1.
///
/// # Errors
/// [`RepoError::BadEdit`] for a path that no tree may hold, [`RepoError::NoSuchPath`] for a removal.
pub fn first_commit(edits: &[Edit], message: &str, who: &Signature) -> Result<(Oid, Vec<u8>)> {
    let words = Words { message, author: who, committer: who };
    let made = make(&Nothing, ObjectFormat::Sha1, None, edits, &words)?;
    Ok((made.commit, made.pack))
}

/// A place without objects.
struct Nothing;

impl Objects for Nothing {
    fn read(&self, _: &Oid, _: u64, _: &mut Vec<u8>) -> Result<Option<Kind>> {
        Ok(None)
    }
    fn header(&self, _: &Oid) -> Result<Option<(Kind, u64)>> {
        Ok(None)
    }
}

/// The edits below one folder; the numbers are positions in the list of edits.
#[derive(Default)]
struct Folder {
    files: BTreeMap<Vec<u8>, usize>,
    folders: BTreeMap<Vec<u8>, Folder>,
}

impl Folder {
    fn insert(&mut self, edit: &Edit, at: usize) -> Result<()> {
        let refuse = |why: String| RepoError::BadEdit { path: edit.path.clone(), why };
        let raw = path::to_bytes(&edit.path);
        if raw.len() > EDIT_PATH_BYTES_MAX {
            return Err(refuse(format!("it is longer than {EDIT_PATH_BYTES_MAX} bytes")));
        }
        let mut parts: Vec<&[u8]> = raw.split(|&b| b == b'/').collect();
        if parts.len() > EDIT_FOLDERS_DEEP_MAX {
            return Err(refuse(format!("it is more than {EDIT_FOLDERS_DEEP_MAX} folders deep")));
        }
        for part in &parts {
            check_name(part).map_err(refuse)?;
        }
        let name = parts.pop().unwrap_or_default();
        let folder = parts.iter().fold(self, |f, part| f.folders.entry(part.to_vec()).or_default());
        match folder.files.insert(name.to_vec(), at) {
            None => Ok(()),
            Some(_) => Err(refuse("it is edited twice".into())),
        }
    }
}

/// Names that some checkout would take for git's own folder, or could not write.
fn check_name(name: &[u8]) -> Result<(), String> {
    if name.contains(&0) {
        return Err("it holds NUL".into());
    }
    let options = gix::validate::path::component::Options {
        protect_windows: false,
        protect_hfs: true,
        protect_ntfs: true,
    };
    gix::validate::path::component(name.as_bstr(), None, options).map(drop).map_err(|e| e.to_string())
}

struct Maker<'a> {
    objects: &'a dyn Objects,
    format: ObjectFormat,
    edits: &'a [Edit],
    pack: pack::Pack,
    packed: HashSet<Oid>,
}

/// A tree being rewritten: modes as stored.
type Rows = BTreeMap<Vec<u8>, (u16, Mode, Oid)>;

impl Maker<'_> {
    /// Rewrites the tree `old`; `None` if nothing is left in it. Depth is bounded by the edits' paths.
    fn folder(&mut self, folder: &Folder, old: Option<&Oid>, here: &str) -> Result<Option<Oid>> {
        if folder.files.is_empty() && folder.folders.is_empty() {
            return Ok(old.copied());
        }
        let mut rows = match old {
            Some(id) => read_rows(self.objects, id)?,
            None => Rows::new(),
        };
        let edits = self.edits;
        let edited = |at: &usize| edits.get(*at);
        for (name, edit) in folder.files.iter().filter_map(|(name, at)| Some((name, edited(at)?))) {
            if edit.content.is_none() {
                match rows.get(name) {
                    Some((_, mode, _)) if *mode != Mode::Tree => rows.remove(name),
                    _ => return Err(RepoError::NoSuchPath { path: edit.path.clone() }),
                };
            }
        }
        for (name, inner) in &folder.folders {
            let full = format!("{here}{}/", path::to_text(name));
            let old = match rows.get(name) {
                Some((_, Mode::Tree, id)) => Some(*id),
                None => None,
                Some(_) => return Err(in_the_way(full.trim_end_matches('/'), "it is not a folder")),
            };
            match self.folder(inner, old.as_ref(), &full)? {
                Some(id) => rows.insert(name.clone(), (0o040_000, Mode::Tree, id)),
                None => rows.remove(name),
            };
        }
        for (name, edit) in folder.files.iter().filter_map(|(name, at)| Some((name, edited(at)?))) {
            if let Some(content) = &edit.content {
                let mode = mode_after(rows.get(name), edit)?;
                let id = self.store(Kind::Blob, content.clone())?;
                rows.insert(name.clone(), (mode, Mode::File, id));
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        self.store(Kind::Tree, tree_text(&rows)).map(Some)
    }

    /// Adds the object to the pack unless it is there already.
    fn store(&mut self, kind: Kind, data: Vec<u8>) -> Result<Oid> {
        let broken = |why: String| RepoError::Invalid { what: why };
        let gix_kind = match kind {
            Kind::Commit => gix::objs::Kind::Commit,
            Kind::Tree => gix::objs::Kind::Tree,
            Kind::Blob => gix::objs::Kind::Blob,
            Kind::Tag => gix::objs::Kind::Tag,
        };
        let id = gix::objs::compute_hash(hash_kind(self.format), gix_kind, &data)
            .map_err(|e| broken(format!("the content cannot be stored: {e}")))?;
        let id = Oid::from_bytes(id.as_bytes()).ok_or_else(|| broken("the hash has no name here".into()))?;
        // What lies here already may lead nowhere: of an attempt that a crash cut off once its objects were here, no ref tells.
        if self.packed.insert(id) {
            self.pack.add(kind, &data)?;
        }
        Ok(id)
    }
}

fn in_the_way(path: &str, why: &str) -> RepoError {
    RepoError::BadEdit { path: path.to_owned(), why: why.to_owned() }
}

/// The mode of an edited file: as it was, the x bit added if asked for.
fn mode_after(old: Option<&(u16, Mode, Oid)>, edit: &Edit) -> Result<u16> {
    match old {
        None if edit.executable => Ok(0o100_755),
        None => Ok(0o100_644),
        Some((_, Mode::File | Mode::Executable, _)) if edit.executable => Ok(0o100_755),
        Some((raw, Mode::File | Mode::Executable, _)) => Ok(*raw),
        Some((_, Mode::Tree, _)) => Err(in_the_way(&edit.path, "there is a folder of that name")),
        Some((_, Mode::Link, _)) => {
            Err(in_the_way(&edit.path, "it is a symbolic link; edit the file that it names"))
        }
        Some((_, Mode::Submodule, _)) => Err(in_the_way(&edit.path, "it is a submodule")),
    }
}

fn read_rows(objects: &dyn Objects, id: &Oid) -> Result<Rows> {
    let tree = Tree::load(objects, id)?;
    Ok(tree.rows.iter().map(|row| (tree.name(row).to_vec(), (row.raw_mode, row.mode, row.id))).collect())
}

fn tree_text(rows: &Rows) -> Vec<u8> {
    let mut order: Vec<_> = rows.iter().collect();
    let is_tree = |row: &(u16, Mode, Oid)| row.1 == Mode::Tree;
    order.sort_by(|(a, x), (b, y)| gix::objs::tree::name_order(a, is_tree(x), b, is_tree(y)));
    let mut text = Vec::new();
    for (name, (mode, _, id)) in order {
        text.extend_from_slice(format!("{mode:o} ").as_bytes());
        text.extend_from_slice(name);
        text.push(0);
        text.extend_from_slice(id.as_bytes());
    }
    text
}

fn commit_text(tree: &Oid, parent: Option<&Oid>, words: &Words<'_>) -> Result<Vec<u8>> {
    if words.message.len() > MESSAGE_BYTES_MAX {
        return Err(RepoError::TooLong { what: "the message's size in bytes", max: MESSAGE_BYTES_MAX });
    }
    let message = words.message.trim_matches('\n');
    if message.contains('\0') || message.trim().is_empty() {
        return Err(RepoError::Invalid { what: "the message is empty or holds NUL".into() });
    }
    let mut text = format!("tree {tree}\n");
    if let Some(parent) = parent {
        text += &format!("parent {parent}\n");
    }
    text += &format!("author {}\ncommitter {}\n\n", line(words.author)?, line(words.committer)?);
    text += message;
    text.push('\n');
    Ok(text.into_bytes())
}

/// `Name <mail> seconds ±hhmm`, without the characters that would break the line.
fn line(who: &Signature) -> Result<String> {
    let clean = |text: &str| {
        let kept: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect();
        kept.trim().to_owned()
    };
    let (name, email) = (clean(&who.name), clean(&who.email));
    if name.is_empty() || name.len() + email.len() > SIGNATURE_BYTES_MAX {
        let what = format!("the name of a commit's author must have 1 to {SIGNATURE_BYTES_MAX} bytes");
        return Err(RepoError::Invalid { what });
    }
    let minutes = who.offset_minutes.clamp(-14 * 60, 14 * 60);
    let sign = if minutes < 0 { '-' } else { '+' };
    let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
    Ok(format!("{name} <{email}> {} {sign}{hours:02}{rest:02}", who.at_ms / 1000))
}
