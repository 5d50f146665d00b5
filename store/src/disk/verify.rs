//! Whether an open database is all that was acknowledged: its records add up to the seal, and the seal is as new as the
//! witness says. Knows no record's meaning.
//!
//! A database of format 1 has neither. All that can be asked of it is that each record fits its own checksum; then it is sealed.

use std::fs::File;
use std::path::Path;

use super::seal::{SEAL_KEY, Seal};
use super::witness::Witness;
use super::{Origin, plain};
use crate::codec::{self, Framed};
use crate::error::StoreError;
use crate::keys::{Key, is_piece};
use crate::upkeep::{FORMAT_FACT, SEALED_FORMAT, UNSEALED_FORMAT};

/// What was opened.
pub(super) struct Files<'a> {
    pub(super) path: &'a Path,
    pub(super) database: &'a sled::Db,
    pub(super) records: &'a sled::Tree,
    pub(super) meta: &'a sled::Tree,
    pub(super) log: &'a File,
}

impl Files<'_> {
    /// The seal and the witness of a database that is whole.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it is not, [`StoreError::Disk`] where the disk fails.
    pub(super) fn check(&self, origin: Origin) -> Result<(Seal, Witness), StoreError> {
        if origin == Origin::New {
            return self.seal(Seal::default());
        }
        let stored = self.records.get(SEAL_KEY).map_err(|e| self.unreadable(&plain(e)))?;
        let witness = Witness::open(self.path).map_err(|e| self.unreadable(&e))?;
        let sealed_before = !self.is_unsealed_format()?;
        let Some(stored) = stored else {
            return match witness {
                None if !sealed_before => self.seal_first(),
                _ => Err(self.damaged("its seal is missing")),
            };
        };
        let seal = Seal::from_bytes(&stored).ok_or_else(|| self.damaged("its seal cannot be read"))?;
        self.check_sum(&seal)?;
        match witness {
            Some((witness, Some(acknowledged))) => {
                self.check_end(&seal, acknowledged)?;
                Ok((seal, witness))
            }
            Some((_, None)) => Err(self.damaged("its witness file cannot be read")),
            // Cut off while it was sealed for the first time.
            None if !sealed_before => self.seal(seal),
            None => Err(self.damaged("its witness file is missing")),
        }
    }

    fn check_sum(&self, seal: &Seal) -> Result<(), StoreError> {
        let mut found = Seal::default();
        self.each(|key, value| {
            found.add(key, value);
            Ok(())
        })?;
        if found.same_records(seal) {
            return Ok(());
        }
        let (found, sealed) = (found.records, seal.records);
        let cause = if found == sealed {
            format!("its {found} records are not the ones that were written")
        } else {
            format!("{found} records can be read of {sealed}")
        };
        Err(self.damaged(&cause))
    }

    fn check_end(&self, seal: &Seal, acknowledged: u64) -> Result<(), StoreError> {
        match acknowledged.checked_sub(seal.changes) {
            None | Some(0) => Ok(()),
            Some(1) => Err(self.damaged("its last acknowledged change is missing")),
            Some(missing) => {
                Err(self.damaged(&format!("its last {missing} acknowledged changes are missing")))
            }
        }
    }

    /// Seals a database of format 1 as it is found.
    fn seal_first(&self) -> Result<(Seal, Witness), StoreError> {
        let mut found = Seal::default();
        self.each(|key, value| {
            let framed = !value.is_empty() && !is_piece(key);
            if framed
                && let Err(cause) = codec::unframe(key, value).map(|head| matches!(head, Framed::Inline(_)))
            {
                return Err(self.damaged(&format!("the record of {} {cause}", Key::from_bytes(key))));
            }
            found.add(key, value);
            Ok(())
        })?;
        tracing::info!(path = %self.path.display(), records = found.records, "the database is sealed for the first time");
        self.seal(found)
    }

    /// Writes seal, witness and format, in this order, each durable before the next.
    fn seal(&self, seal: Seal) -> Result<(Seal, Witness), StoreError> {
        let unwritable =
            |cause: String| StoreError::Disk { path: self.path.to_owned(), doing: "written", cause };
        let settle = || {
            self.database.flush().map_err(|e| unwritable(plain(e)))?;
            self.log.sync_data().map_err(|e| unwritable(e.to_string()))
        };
        self.records.insert(SEAL_KEY, seal.to_bytes().as_slice()).map_err(|e| unwritable(plain(e)))?;
        settle()?;
        let witness = Witness::create(self.path, seal.changes).map_err(|e| unwritable(e.to_string()))?;
        if self.is_unsealed_format()? {
            self.meta.insert(FORMAT_FACT, SEALED_FORMAT).map_err(|e| unwritable(plain(e)))?;
            settle()?;
        }
        Ok((seal, witness))
    }

    fn is_unsealed_format(&self) -> Result<bool, StoreError> {
        let format = self.meta.get(FORMAT_FACT).map_err(|e| self.unreadable(&plain(e)))?;
        Ok(format.is_some_and(|format| format == UNSEALED_FORMAT))
    }

    fn each(&self, mut look: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for pair in self.records {
            let (key, value) = pair.map_err(|e| self.unreadable(&plain(e)))?;
            if key != SEAL_KEY {
                look(&key, &value)?;
            }
        }
        Ok(())
    }

    fn damaged(&self, cause: &str) -> StoreError {
        StoreError::Damaged { path: self.path.to_owned(), cause: cause.to_owned() }
    }

    fn unreadable(&self, cause: &dyn std::fmt::Display) -> StoreError {
        StoreError::Disk { path: self.path.to_owned(), doing: "read", cause: cause.to_string() }
    }
}
