//! What is left out of a pack on its way (git-rev-list(1), `--filter`), and the walk over trees that obeys it.
//!
//! A filter is a set of conditions that all have to hold: `combine:` only adds to it. So it is boiled down once, to
//! [`Rules`], and the walk asks those: what all conditions let through at one place is sent. (git's `combine:` sends a
//! little less where an object lies in several places.) Objects asked for by id are sent whatever the filter says.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use slipway_core::Oid;

pub use super::sparse::Sparse;
use crate::bitmaps::LeftOut;
use crate::error::{RepoError, Result};
use crate::limits::{FILTER_PLACES_MAX, TREE_DEPTH_MAX};
use crate::links::TreeEntries;
use crate::object::{Kind, Objects};

/// What is left out of a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Nothing.
    #[default]
    None,
    /// All blobs (`blob:none`).
    BlobNone,
    /// Blobs of so many bytes and more (`blob:limit`).
    BlobLimit(u64),
    /// Trees and blobs so many steps below a commit and deeper; its root tree is at 0 (`tree`).
    Tree(u32),
    /// Everything that is not of that kind (`object:type`).
    Type(Kind),
    /// Blobs whose paths the patterns do not match (`sparse:oid`).
    Sparse(Arc<Sparse>),
    /// What any of them leaves out (`combine`).
    All(Vec<Filter>),
}

/// A filter, boiled down.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Blobs of so many bytes and more stay; 0: all of them, without asking for sizes.
    blob_bytes: u64,
    /// Trees and blobs so deep stay.
    depth: u32,
    /// What is sent, by kind, in the order commit, tree, blob, tag.
    kinds: [bool; 4],
    sparse: Vec<Arc<Sparse>>,
}

impl Filter {
    /// Boils it down.
    pub(crate) fn rules(&self) -> Rules {
        let mut rules = Rules { blob_bytes: u64::MAX, depth: u32::MAX, kinds: [true; 4], sparse: Vec::new() };
        rules.add(self);
        rules
    }
}

fn slot(kind: Kind) -> usize {
    match kind {
        Kind::Commit => 0,
        Kind::Tree => 1,
        Kind::Blob => 2,
        Kind::Tag => 3,
    }
}

impl Rules {
    fn add(&mut self, filter: &Filter) {
        match filter {
            Filter::None => {}
            Filter::BlobNone => self.blob_bytes = 0,
            Filter::BlobLimit(bytes) => self.blob_bytes = self.blob_bytes.min(*bytes),
            Filter::Tree(depth) => self.depth = self.depth.min(*depth),
            Filter::Type(kind) => {
                for (at, sent) in self.kinds.iter_mut().enumerate() {
                    *sent &= at == slot(*kind);
                }
            }
            Filter::Sparse(sparse) => self.sparse.push(sparse.clone()),
            Filter::All(parts) => parts.iter().for_each(|part| self.add(part)),
        }
    }

    fn sends(&self, kind: Kind) -> bool {
        self.kinds[slot(kind)]
    }

    /// What is left out wherever it lies, if that is all there is to the filter.
    pub(crate) fn left_out(&self) -> Option<LeftOut> {
        let anywhere = matches!(self.depth, 0 | u32::MAX) && self.sparse.is_empty();
        let stays = |kind: &Kind| match kind {
            Kind::Commit | Kind::Tag => !self.sends(*kind),
            Kind::Tree => !self.sends(*kind) || self.depth == 0,
            Kind::Blob => !self.sends(*kind) || self.depth == 0 || self.blob_bytes == 0,
        };
        let kinds = || [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag].into_iter().filter(stays).collect();
        anywhere.then(|| LeftOut { kinds: kinds(), blobs_from: self.blob_bytes })
    }

    fn enters(&self, depth: u32) -> bool {
        depth < self.depth && (self.sends(Kind::Tree) || self.sends(Kind::Blob))
    }

    /// True if a blob that lies where its depth and its path let it through is sent.
    fn sends_blob(&self, size: impl FnOnce() -> Result<u64>) -> Result<bool> {
        Ok(match self.blob_bytes {
            0 => false,
            u64::MAX => true,
            max => size()? < max,
        })
    }
}

/// Where the walk stands.
struct Place {
    id: Oid,
    depth: u32,
    /// Empty unless paths matter.
    path: Vec<u8>,
    /// For each list of patterns, what becomes of a file here that no pattern names.
    inside: Vec<bool>,
}

/// A walk over trees under a filter. It remembers where it has been.
pub(crate) struct FilteredWalk {
    rules: Rules,
    /// The least depth at which each tree was walked.
    depths: HashMap<Oid, u32>,
    /// Trees and paths (hashed) that were walked, where paths matter.
    places: HashSet<(Oid, u64)>,
    hash: RandomState,
}

impl FilteredWalk {
    /// Has been nowhere yet.
    pub(crate) fn new(filter: &Filter) -> Self {
        Self {
            rules: filter.rules(),
            depths: HashMap::new(),
            places: HashSet::new(),
            hash: RandomState::new(),
        }
    }

    /// True if objects of that kind are sent at all, unless they were asked for by id.
    pub(crate) fn sends(&self, kind: Kind) -> bool {
        self.rules.sends(kind)
    }

    /// True if anything below a commit is sent.
    pub(crate) fn looks_below_commits(&self) -> bool {
        self.rules.enters(0)
    }

    /// Walks the tree `root`. `asked` says that it was asked for by id: then it is sent whatever the filter says, and
    /// depth counts from its entries, as in git. `skip` names what the other side has; `take` takes an object.
    pub(crate) fn walk(
        &mut self,
        objects: &dyn Objects,
        root: &Oid,
        asked: bool,
        skip: &dyn Fn(&Oid) -> bool,
        take: &mut dyn FnMut(&Oid) -> Result<()>,
    ) -> Result<()> {
        let mut data = Vec::new();
        let inside = vec![false; self.rules.sparse.len()];
        let mut open = vec![Place { id: *root, depth: 0, path: Vec::new(), inside }];
        let mut first = asked;
        while let Some(mut place) = open.pop() {
            let by_id = std::mem::take(&mut first);
            if !by_id && (!self.rules.enters(place.depth) || skip(&place.id)) {
                continue;
            }
            if by_id || self.rules.sends(Kind::Tree) {
                take(&place.id)?;
            }
            if !self.is_new(&place, by_id)? {
                continue;
            }
            for (inside, sparse) in place.inside.iter_mut().zip(&self.rules.sparse) {
                *inside = sparse.matches(&place.path, true).unwrap_or(*inside);
            }
            let Some(Kind::Tree) =
                objects.read(&place.id, crate::limits::LINKED_OBJECT_BYTES_MAX, &mut data)?
            else {
                return Err(RepoError::Missing { id: place.id });
            };
            let depth = if by_id { 0 } else { place.depth.saturating_add(1) };
            self.entries(objects, &place, depth, &data, skip, take, &mut open)?;
        }
        Ok(())
    }

    /// True if what is below has to be looked at: never before, or only deeper down, or only under other paths.
    fn is_new(&mut self, place: &Place, by_id: bool) -> Result<bool> {
        if self.rules.sparse.is_empty() {
            // An explicit root gives its entries one step more than it has itself as an entry.
            let depth = if by_id { 0 } else { place.depth.saturating_add(1) };
            let before = self.depths.insert(place.id, depth);
            let deeper = |before: u32| self.rules.depth != u32::MAX && depth < before;
            return Ok(match before {
                None => true,
                Some(before) if deeper(before) => true,
                Some(before) => {
                    self.depths.insert(place.id, before);
                    false
                }
            });
        }
        if usize::try_from(place.depth).unwrap_or(usize::MAX) > TREE_DEPTH_MAX {
            return Err(RepoError::TooLong {
                what: "the number of folders within one another",
                max: TREE_DEPTH_MAX,
            });
        }
        let path = self.hash.hash_one((&place.path, place.depth, by_id));
        if self.places.len() >= FILTER_PLACES_MAX {
            return Err(RepoError::TooLong {
                what: "the number of paths that the filter looks at",
                max: FILTER_PLACES_MAX,
            });
        }
        Ok(self.places.insert((place.id, path)))
    }

    #[allow(clippy::too_many_arguments)]
    fn entries(
        &self,
        objects: &dyn Objects,
        place: &Place,
        depth: u32,
        data: &[u8],
        skip: &dyn Fn(&Oid) -> bool,
        take: &mut dyn FnMut(&Oid) -> Result<()>,
        open: &mut Vec<Place>,
    ) -> Result<()> {
        let rules = &self.rules;
        for entry in TreeEntries::new(data, place.id.as_bytes().len()) {
            let entry = entry.map_err(|why| RepoError::BrokenObject { id: place.id, why: why.into() })?;
            let path = || if rules.sparse.is_empty() { Vec::new() } else { join(&place.path, entry.name) };
            match entry.kind() {
                Some(Kind::Tree) if rules.enters(depth) => {
                    open.push(Place { id: entry.id, depth, path: path(), inside: place.inside.clone() });
                }
                Some(Kind::Tree) | None => {}
                Some(_) => {
                    if depth >= rules.depth
                        || !rules.sends(Kind::Blob)
                        || rules.blob_bytes == 0
                        || skip(&entry.id)
                    {
                        continue;
                    }
                    let path = path();
                    let shown = rules
                        .sparse
                        .iter()
                        .zip(&place.inside)
                        .all(|(sparse, inside)| sparse.matches(&path, false).unwrap_or(*inside));
                    let size = || match objects.header(&entry.id)? {
                        Some((_, size)) => Ok(size),
                        None => Err(RepoError::Missing { id: entry.id }),
                    };
                    if shown && rules.sends_blob(size)? {
                        take(&entry.id)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combined_filters_leave_out_what_any_of_them_does() {
        let all = Filter::All(vec![
            Filter::BlobLimit(100),
            Filter::All(vec![Filter::Tree(3), Filter::BlobLimit(7), Filter::Tree(9)]),
            Filter::Type(Kind::Blob),
        ]);
        let rules = all.rules();
        assert_eq!((rules.blob_bytes, rules.depth), (7, 3));
        assert!(rules.sends(Kind::Blob) && !rules.sends(Kind::Commit) && !rules.sends(Kind::Tree));
        assert_eq!(rules.left_out(), None);
        let kinds = |filter: Filter| filter.rules().left_out().map(|out| out.kinds);
        assert_eq!(kinds(Filter::None), Some(vec![]));
        assert_eq!(kinds(Filter::BlobNone), Some(vec![Kind::Blob]));
        let bare = Filter::All(vec![Filter::Tree(0), Filter::BlobNone]);
        assert_eq!(kinds(bare), Some(vec![Kind::Tree, Kind::Blob]));
        assert_eq!(kinds(Filter::Tree(1)), None);
        assert_eq!(kinds(Filter::Type(Kind::Tree)), Some(vec![Kind::Commit, Kind::Blob, Kind::Tag]));
        assert_eq!(Filter::BlobLimit(9).rules().left_out(), Some(LeftOut { kinds: vec![], blobs_from: 9 }));
        let none = Filter::All(vec![Filter::Type(Kind::Blob), Filter::Type(Kind::Tree)]).rules();
        assert!([Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag].iter().all(|k| !none.sends(*k)));
    }
}
