//! What objects point at: the links inside commits, trees and tags. Pure parsing, of the parts that links need.

use gix::bstr::ByteSlice;
use slipway_core::Oid;

use crate::error::{RepoError, Result};
use crate::object::Kind;

/// The head of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitHead {
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    /// The committer's time in seconds since 1970.
    pub(crate) date: i64,
}

/// Reads a commit's tree, parents and date. A date that cannot be read counts as 0, as git has it.
pub(crate) fn commit_head(data: &[u8]) -> Option<CommitHead> {
    let mut lines = data.split(|&b| b == b'\n');
    let tree = Oid::from_hex(lines.next()?.strip_prefix(b"tree ")?)?;
    let mut parents = Vec::new();
    let mut date = 0;
    for line in lines {
        if let Some(hex) = line.strip_prefix(b"parent ") {
            parents.push(Oid::from_hex(hex)?);
        } else if line.starts_with(b"author ") {
        } else if let Some(who) = line.strip_prefix(b"committer ") {
            date = ident_date(who).unwrap_or(0);
            break;
        } else {
            break;
        }
    }
    Some(CommitHead { tree, parents, date })
}

fn ident_date(who: &[u8]) -> Option<i64> {
    let end = who.iter().rposition(|&b| b == b'>')?;
    let mut words = who[end + 1..].split(|&b| b == b' ').filter(|w| !w.is_empty());
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

/// Reads what a tag points at, and of which kind it says that is.
pub(crate) fn tag_target(data: &[u8]) -> Option<(Oid, Kind)> {
    let mut lines = data.split(|&b| b == b'\n');
    let id = Oid::from_hex(lines.next()?.strip_prefix(b"object ")?)?;
    let kind = Kind::from_bytes(lines.next()?.strip_prefix(b"type ")?)?;
    Some((id, kind))
}

/// One entry of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeEntry<'a> {
    pub(crate) mode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) id: Oid,
}

impl TreeEntry<'_> {
    /// The kind it must have; `None` for a submodule's commit, which lives elsewhere.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.mode & 0o170_000 {
            0o040_000 => Some(Kind::Tree),
            0o160_000 => None,
            _ => Some(Kind::Blob),
        }
    }
}

/// The entries of a tree; `None` once where its bytes end or break off inside one.
pub(crate) struct TreeEntries<'a> {
    rest: &'a [u8],
    hash_len: usize,
}

impl<'a> TreeEntries<'a> {
    pub(crate) fn new(data: &'a [u8], hash_len: usize) -> Self {
        Self { rest: data, hash_len }
    }

    /// Bytes that were not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self) -> Option<TreeEntry<'a>> {
        // Five or six digits, nearly always.
        let space = match self.rest {
            [_, _, _, _, _, b' ', ..] => 5,
            _ => self.rest.iter().take(12).position(|&b| b == b' ')?,
        };
        let mut mode = 0u32;
        for &digit in &self.rest[..space] {
            if !(b'0'..=b'7').contains(&digit) {
                return None;
            }
            mode = mode << 3 | u32::from(digit - b'0');
        }
        let after = &self.rest[space + 1..];
        let end = after.find_byte(0)?;
        let id = Oid::from_bytes(after.get(end + 1..end + 1 + self.hash_len)?)?;
        self.rest = &after[end + 1 + self.hash_len..];
        (space > 0).then_some(TreeEntry { mode, name: &after[..end], id })
    }
}

impl<'a> Iterator for TreeEntries<'a> {
    type Item = Result<TreeEntry<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.take().ok_or("one of its entries is not complete");
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// Calls back with everything that an object must have beside it, and the kind that must have.
pub(crate) fn each_link(
    id: &Oid,
    kind: Kind,
    data: &[u8],
    visit: &mut dyn FnMut(Oid, Kind) -> Result<()>,
) -> Result<()> {
    let broken = |why: &str| RepoError::BrokenObject { id: *id, why: why.into() };
    match kind {
        Kind::Blob => Ok(()),
        Kind::Commit => {
            let head = commit_head(data).ok_or_else(|| broken("its header is not valid"))?;
            visit(head.tree, Kind::Tree)?;
            head.parents.into_iter().try_for_each(|parent| visit(parent, Kind::Commit))
        }
        Kind::Tag => {
            let (target, kind) = tag_target(data).ok_or_else(|| broken("its header is not valid"))?;
            visit(target, kind)
        }
        Kind::Tree => {
            for entry in TreeEntries::new(data, id.as_bytes().len()) {
                let entry = entry.map_err(broken)?;
                if let Some(kind) = entry.kind() {
                    visit(entry.id, kind)?;
                }
            }
            Ok(())
        }
    }
}
