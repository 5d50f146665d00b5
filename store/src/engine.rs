//! What the store asks of a database: an ordered map from bytes to bytes, looked at consistently and changed all-or-nothing.
//!
//! Knows keys and bytes, not what the records say: that is told once, above (`view.rs`, `tx.rs`, `records/`), for every
//! engine. Another database is one more implementation of [`Engine`], and the suites of `engine/conformance.rs` and
//! `tests/store/` run over it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use crate::error::StoreError;
use crate::keys::Key;

#[cfg(test)]
mod conformance;
mod embedded;
mod memory;

pub(crate) use self::memory::Memory;

/// What a change writes, and (`None`) removes.
pub(crate) type Batch = BTreeMap<Key, Option<Vec<u8>>>;
/// Looks at the map.
pub(crate) type Reader<'a> = &'a mut dyn FnMut(&dyn Look) -> Result<(), StoreError>;
/// Looks at the map, and says what shall change.
pub(crate) type Writer<'a> = &'a mut dyn FnMut(&dyn Look) -> Result<Batch, StoreError>;
/// Takes one fact or record as it lies there.
pub(crate) type Taker<'a> = &'a mut dyn FnMut(Tree, &[u8], &[u8]) -> Result<(), StoreError>;
/// Keys with their values.
pub(crate) type Pairs<'a> = Box<dyn Iterator<Item = Result<(Key, Vec<u8>), StoreError>> + 'a>;

/// A database.
pub(crate) trait Engine: Send + Sync {
    /// Runs `look` once over one state of the map: no change is seen by half.
    fn read(&self, look: Reader<'_>) -> Result<(), StoreError>;

    /// Runs `prepare` over one state of the map and writes what it hands back, all of it or nothing, durable on return.
    /// What it has read is still so at the moment of writing: an engine that finds it changed runs `prepare` again. Where
    /// `prepare` fails, nothing is written. Also where it writes nothing, what it has seen is durable on return.
    fn transact(&self, prepare: Writer<'_>) -> Result<(), StoreError>;

    /// One of the database's own facts (`upkeep.rs`).
    fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes one of them, durable on return.
    fn put_fact(&self, name: &str, value: &[u8]) -> Result<(), StoreError>;

    /// All facts and records as of one moment, for backups. `at` is called at that moment, while nothing can be changed;
    /// afterwards changes go on beside it.
    fn each(&self, at: &mut dyn FnMut(), take: Taker<'_>) -> Result<(), StoreError>;
    /// Whether a change would be taken now; what keeps it from being taken is mended where that can be.
    fn check_writable(&self) -> Result<(), StoreError>;
    /// Mends what an earlier failure has left, if there is any, and says how often that was done: changes that were not
    /// acknowledged before may have been lost then, or made.
    fn mend(&self) -> Result<u64, StoreError>;
    /// The folder it lies in, for people and for files of a moment.
    fn folder(&self) -> &Path;
}

/// One state of the map.
pub(crate) trait Look {
    /// The value of that key.
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError>;
    /// True if the key is there.
    fn has(&self, key: &Key) -> Result<bool, StoreError>;
    /// The keys of a span in its order.
    fn span(&self, span: &Span) -> Pairs<'_>;
}

/// A stretch of keys, and which way it is walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where the stretch begins.
    pub(crate) from: Bound<Key>,
    /// Where it ends.
    pub(crate) to: Bound<Key>,
    /// From its end to its beginning.
    pub(crate) down: bool,
}

impl Span {
    /// The keys that begin with `prefix`, as far as `scan` goes.
    pub(crate) fn of(prefix: &Key, scan: Scan<'_>) -> Self {
        let past = || prefix.past().map_or(Bound::Unbounded, Bound::Excluded);
        let (from, to, down) = match scan {
            Scan::Up => (Bound::Included(prefix.clone()), past(), false),
            Scan::UpAfter(key) => (Bound::Excluded(key.clone()), past(), false),
            Scan::Down => (Bound::Included(prefix.clone()), past(), true),
            Scan::DownFrom(key) => (Bound::Included(prefix.clone()), Bound::Excluded(key.clone()), true),
        };
        Self { from, to, down }
    }

    /// The same as a range of an ordered map; `None` where it holds no key by its own bounds.
    pub(crate) fn range(&self) -> Option<(Bound<&Key>, Bound<&Key>)> {
        let empty = match (&self.from, &self.to) {
            (Bound::Excluded(a), Bound::Excluded(b)) => a >= b,
            (Bound::Included(a), Bound::Excluded(b)) | (Bound::Excluded(a), Bound::Included(b)) => a >= b,
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        };
        (!empty).then_some((self.from.as_ref(), self.to.as_ref()))
    }
}

/// Where a scan of the keys with one beginning starts, and which way it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scan<'a> {
    /// From the first key to the last.
    Up,
    /// From the first key after this one to the last.
    UpAfter(&'a Key),
    /// From the last key to the first.
    Down,
    /// From the last key before this one to the first.
    DownFrom(&'a Key),
}

/// One of the two parts of a database, for backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// What is recorded.
    Records,
    /// The database's own facts.
    Meta,
}
