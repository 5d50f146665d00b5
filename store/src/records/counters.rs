//! Numbers that are counted: ids given, and how many there are of something.

use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::tx::Tx;

impl Tx<'_> {
    /// The next number.
    pub(crate) fn count_up(&mut self, which: Counter) -> Result<u64, StoreError> {
        let next = self.count(which)?.saturating_add(1);
        self.put(keys::counter(which), &next)?;
        Ok(next)
    }

    /// That many fewer.
    pub(crate) fn count_down(&mut self, which: Counter, by: u64) -> Result<(), StoreError> {
        let left = self.count(which)?.saturating_sub(by);
        self.put(keys::counter(which), &left).map(drop)
    }

    /// The number now.
    pub(crate) fn count(&self, which: Counter) -> Result<u64, StoreError> {
        Ok(self.get(&keys::counter(which))?.unwrap_or(0))
    }
}
