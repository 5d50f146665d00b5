//! What was found out about one generation while it was asked, kept for the next question, and its door to the answers
//! that all generations share. Everything here follows from the generation alone: lost, it is found out anew. Knows no
//! generation, and no way to find anything out.

use std::collections::{BinaryHeap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};

use slipway_core::Oid;

use crate::bitmaps::Bitmaps;
use crate::bits::Bits;
use crate::graph::{Ancestors, Node};
use crate::marks::Marks;
use crate::memo::Memo;
use crate::send::cache::Recipes;

/// What was found out so far about one generation.
pub(crate) struct Findings {
    /// What its refs point at, annotated tags and what they lead to alike.
    pub(crate) tips: OnceLock<HashSet<Oid>>,
    pub(crate) roots: OnceLock<Roots>,
    pub(crate) commits: Mutex<Option<Ancestors>>,
    pub(crate) content: Mutex<Option<Content>>,
    /// Everything, once that is known.
    pub(crate) all: OnceLock<Arc<Marks>>,
    /// Looked for when first asked for.
    pub(crate) bitmaps: OnceLock<Option<Arc<Bitmaps>>>,
    pub(crate) tags_digest: OnceLock<[u8; 32]>,
    /// What those who show it made of it.
    pub(crate) memo: Memo,
    pub(crate) answers: Answers,
}

/// The answers that repositories keep together, and which of them are one repository's.
#[derive(Clone)]
pub(crate) struct Answers {
    /// The repository's number in `recipes`.
    pub(crate) repository: u64,
    pub(crate) recipes: Arc<Recipes>,
}

impl Findings {
    /// Nothing yet.
    pub(crate) fn new(answers: Answers) -> Self {
        Self {
            tips: OnceLock::new(),
            roots: OnceLock::new(),
            commits: Mutex::default(),
            content: Mutex::default(),
            all: OnceLock::new(),
            bitmaps: OnceLock::new(),
            tags_digest: OnceLock::new(),
            memo: Memo::default(),
            answers,
        }
    }
}

/// What the refs point at, by kind.
#[derive(Default)]
pub(crate) struct Roots {
    pub(crate) commits: Vec<Oid>,
    pub(crate) tags: HashSet<Oid>,
    /// Trees and blobs that refs point at.
    pub(crate) others: Vec<Oid>,
}

/// A walk over commits and all that their trees hold, newest first. Of a commit that is seen, the parents are seen or
/// wait to be.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) seen: Marks,
    pub(crate) queued: Bits,
    pub(crate) next: BinaryHeap<(i64, Node)>,
}

impl Content {
    /// A walk that has seen these, with nothing waiting.
    pub(crate) fn new(seen: Marks) -> Self {
        Self { seen, queued: Bits::default(), next: BinaryHeap::new() }
    }
}
