//! sled as an engine: one change after another under `disk.rs`'s own lock, so that nothing is ever prepared twice.
//! Decides nothing; what is promised of the disk is told there.

use std::ops::Bound;
use std::path::Path;

use super::{Engine, Look, Pairs, Reader, Span, Taker, Writer};
use crate::disk::{Disk, Records};
use crate::error::StoreError;
use crate::keys::Key;

impl Engine for Disk {
    fn read(&self, look: Reader<'_>) -> Result<(), StoreError> {
        self.look(|records| look(&records))
    }

    fn transact(&self, prepare: Writer<'_>) -> Result<(), StoreError> {
        self.change(|records| prepare(&records))
    }

    fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Disk::fact(self, name)
    }

    fn put_fact(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        Disk::put_fact(self, name, value)
    }

    fn each(&self, at: &mut dyn FnMut(), take: Taker<'_>) -> Result<(), StoreError> {
        self.raw(at, take)
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        Disk::check_writable(self)
    }

    fn mend(&self) -> Result<u64, StoreError> {
        Disk::mend(self)
    }

    fn folder(&self) -> &Path {
        self.path()
    }
}

impl Look for Records<'_> {
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.value(key)?.map(|value| value.to_vec()))
    }

    fn has(&self, key: &Key) -> Result<bool, StoreError> {
        self.there(key)
    }

    fn span(&self, span: &Span) -> Pairs<'_> {
        let Some((from, to)) = span.range() else { return Box::new(std::iter::empty()) };
        let bytes = |bound: Bound<&Key>| bound.map(|key| key.bytes().to_vec());
        let mut pairs = self.pairs((bytes(from), bytes(to)));
        let down = span.down;
        Box::new(std::iter::from_fn(move || if down { pairs.next_back() } else { pairs.next() }))
    }
}
