//! Everything as of one moment while changes go on: it is read piece by piece, each piece in its turn among the changes, and of
//! whatever is changed before the reading has come to it the value from before is kept. So nobody waits for longer than a piece takes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{MutexGuard, PoisonError};

use super::{Disk, PROBE_FACT, SEAL_KEY};
use crate::engine::Tree;
use crate::error::StoreError;
use crate::limits::{COPY_HELD_BYTES_MAX, COPY_PIECE};

/// A copy under way.
#[derive(Default)]
pub(super) struct Copying {
    /// All keys up to this one are copied.
    copied: Option<Vec<u8>>,
    /// What others had, or that they were not there, at the moment of the copy.
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

type Pieces = BTreeMap<Vec<u8>, Vec<u8>>;

impl Copying {
    /// A key is about to be changed from `old`.
    pub(super) fn note(&mut self, key: &[u8], old: Option<&[u8]>) {
        let is_copied = self.copied.as_deref().is_some_and(|copied| key <= copied);
        if !is_copied && !self.before.contains_key(key) {
            self.bytes += key.len() + old.map_or(0, <[u8]>::len);
            self.before.insert(key.to_vec(), old.map(<[u8]>::to_vec));
        }
    }

    /// Puts what was there before in the place of what is there now, for keys up to `last` (`None`: all).
    fn undo(&mut self, piece: &mut Pieces, last: Option<&[u8]>) {
        let later = match last {
            Some(last) => {
                let mut later = self.before.split_off(last);
                // `split_off` keeps the key itself with what follows.
                if let Some(old) = later.remove(last) {
                    self.before.insert(last.to_vec(), old);
                }
                later
            }
            None => BTreeMap::new(),
        };
        for (key, old) in std::mem::replace(&mut self.before, later) {
            self.bytes -= key.len() + old.as_ref().map_or(0, Vec::len);
            match old {
                Some(old) => drop(piece.insert(key, old)),
                None => drop(piece.remove(&key)),
            }
        }
    }
}

impl Disk {
    /// All facts and records as they lie there at one moment, pieces included and the seal left out. `at` is called at that
    /// moment, while nothing can be changed; then changes go on.
    pub(crate) fn raw<E: From<StoreError>>(
        &self,
        at: &mut dyn FnMut(),
        mut each: impl FnMut(Tree, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let _alone = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let (facts, opening) = {
            let mut seal = self.turn();
            let open = match self.opened() {
                Some(open) => open,
                None => self.writable(&mut seal)?,
            };
            let facts: Result<Vec<_>, _> = open.meta.iter().collect();
            let facts = facts.map_err(|e| self.unreadable(e))?;
            at();
            *self.copying() = Some(Copying::default());
            (facts, open.opening)
        };
        let _end = EndOfCopy(self);
        for (name, value) in facts.iter().filter(|(name, _)| *name != PROBE_FACT.as_bytes()) {
            each(Tree::Meta, name, value)?;
        }
        loop {
            let turn = self.turn();
            let (piece, is_last) = self.next_piece(opening)?;
            let much_changes = self.copying().as_ref().is_some_and(|copy| copy.bytes > COPY_HELD_BYTES_MAX);
            // What is kept for the copy has a bound: from there on changes wait for it.
            let _held = much_changes.then_some(turn);
            for (key, value) in piece.iter().filter(|(key, _)| *key != SEAL_KEY) {
                each(Tree::Records, key, value)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Notes, for a copy that may be under way, what a change is about to replace. Whoever calls has the turn.
    pub(super) fn note_before(&self, key: &[u8], old: Option<&[u8]>) {
        if let Some(copy) = self.copying().as_mut() {
            copy.note(key, old);
        }
    }

    /// The next keys with what they had at the moment of the copy. Whoever calls has the turn.
    fn next_piece(&self, opening: u64) -> Result<(Pieces, bool), StoreError> {
        // Files that were opened anew may have less than what was noted was changed from.
        let open = self.opened().filter(|open| open.opening == opening).ok_or_else(|| StoreError::Disk {
            path: self.path.clone(),
            doing: "copied",
            cause: "it was opened anew after a failed write".to_owned(),
        })?;
        let mut copying = self.copying();
        let Some(copy) = copying.as_mut() else { return Ok((Pieces::new(), true)) };
        let from = copy.copied.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut piece = Pieces::new();
        for pair in open.records.range::<Vec<u8>, _>((from, Bound::Unbounded)).take(COPY_PIECE) {
            let (key, value) = pair.map_err(|e| self.unreadable(e))?;
            piece.insert(key.to_vec(), value.to_vec());
        }
        let last = if piece.len() < COPY_PIECE { None } else { piece.keys().next_back().cloned() };
        copy.undo(&mut piece, last.as_deref());
        let is_last = last.is_none();
        copy.copied = last;
        Ok((piece, is_last))
    }

    fn copying(&self) -> MutexGuard<'_, Option<Copying>> {
        // Every change of it is whole where a panic could come.
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is kept for a copy that has ended, however it did.
struct EndOfCopy<'a>(&'a Disk);

impl Drop for EndOfCopy<'_> {
    fn drop(&mut self) {
        *self.0.copying() = None;
    }
}
