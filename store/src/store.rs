//! [`Store`]: an engine, and the vault for secrets. What is recorded, and how, is told in `records/`, subject by subject.

use std::cell::Cell;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use slipway_core::Problem;
use slipway_core::limits::Limits;

use crate::backup::Copied;
use crate::disk::Disk;
use crate::engine::{Engine, Memory};
use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::tx::Tx;
use crate::vault::Vault;
use crate::view::View;
use crate::{backup, export, salvage, upkeep};

/// Everything that Slipway remembers besides git objects and build logs. A handle: cloning it is cheap.
///
/// Every method blocks, and what it changes is durable when it returns. Errors are [`Problem`]s: `NotFound` for what is
/// not there (where a method does not return an `Option`), `Conflict` for a name taken or a thing still in use, `TooLarge`
/// where a limit is reached, `Broken` for a failing disk or a damaged record. Of each repository the newest settled events
/// and the newest final builds and deploys are kept, older ones go; what is not settled or not final stays. Ids and
/// numbers are never given twice.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
    vault: Arc<Vault>,
    limits: Arc<Limits>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.engine.folder().display())
    }
}

impl Store {
    /// Opens the database in `db_dir`, or makes one there. Blocking; up to a second while another process holds it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it, [`StoreError::TooNew`] for a newer format,
    /// [`StoreError::Damaged`] where it is not all that was acknowledged (then its files stay as they are),
    /// [`StoreError::WrongMasterKey`], or [`StoreError::Disk`].
    pub fn open(db_dir: &Path, master_key: &MasterKey) -> Result<Self, StoreError> {
        let vault = vault(db_dir, master_key)?;
        if Disk::is_new(db_dir)? {
            Disk::make(db_dir, None, |disk| upkeep::begin(disk, &vault))?;
        }
        Self::over(Arc::new(Disk::open(db_dir)?), vault)
    }

    /// An empty store that lives as long as the process: for tests.
    ///
    /// # Errors
    /// [`StoreError::WrongMasterKey`] for a key that the cipher does not take.
    pub fn in_memory(master_key: &MasterKey) -> Result<Self, StoreError> {
        let (memory, vault) = (Memory::new(), vault(Path::new("memory"), master_key)?);
        upkeep::begin(&memory, &vault)?;
        Self::over(Arc::new(memory), vault)
    }

    fn over(engine: Arc<dyn Engine>, vault: Vault) -> Result<Self, StoreError> {
        upkeep::check(&*engine, &vault)?;
        Ok(Self { engine, vault: Arc::new(vault), limits: Arc::default() })
    }

    /// The same with limits of its own on what is recorded and kept; without, what is usual holds.
    #[must_use]
    pub fn with_limits(self, limits: Arc<Limits>) -> Self {
        Self { limits, ..self }
    }

    /// One consistent look at the records. What is asked in it must be asked of the view, never of the store.
    ///
    /// # Errors
    /// What `look` says; `Broken` for a failing disk.
    pub fn read<T>(&self, look: impl FnOnce(View<'_>) -> Result<T, StoreError>) -> Result<T, Problem> {
        let _inside = Inside::enter();
        let (mut look, mut answer) = (Some(look), None);
        self.engine.read(&mut |ground| {
            if let Some(look) = look.take() {
                answer = Some(look(View { ground, staged: None, vault: &self.vault })?);
            }
            Ok(())
        })?;
        Ok(answer.expect("an engine that has read has let look"))
    }

    /// Several records as one: all that `prepare` writes is durable on return, or nothing of it where it fails. What it has
    /// read is still so when that is written; for this it may run more than once, so it must do nothing but look and
    /// write. A [`Problem`] of the caller's own takes everything back as well. What is asked in it must be asked of the
    /// change and its view, never of the store.
    ///
    /// # Errors
    /// What `prepare` says; `Broken` for a failing disk.
    pub fn transact<T>(
        &self,
        mut prepare: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, Problem> {
        let _inside = Inside::enter();
        Ok(change(&*self.engine, (&self.vault, &self.limits), &mut prepare)?)
    }

    /// Writes everything as of one moment, for [`crate::restore`]; says how many lines. Secrets stay encrypted: keep
    /// the master key with it, and apart from it.
    ///
    /// # Errors
    /// A [`Problem`] where `out` or the data folder cannot be written.
    pub fn backup(&self, out: &mut dyn Write) -> Result<u64, Problem> {
        Ok(backup::write(&*self.engine, out)?)
    }

    /// Copies everything as of one moment. `at` is called at that moment, while nothing can be recorded; it must not ask the
    /// store. Changes go on beside the copying.
    ///
    /// # Errors
    /// A [`Problem`] where the data folder cannot be written.
    pub fn copy(&self, at: &mut dyn FnMut()) -> Result<Copied, Problem> {
        Ok(backup::copy(&*self.engine, at)?)
    }

    /// Writes all records as lines of plain JSON, as of one moment, without any secret (docs/backup.md has the form); says how many.
    ///
    /// # Errors
    /// A [`Problem`] where `out` or the data folder cannot be written, or a record cannot be read.
    pub fn export(&self, out: &mut dyn Write) -> Result<u64, Problem> {
        Ok(export::write(backup::copy(&*self.engine, &mut || ())?, out)?)
    }
}

impl Store {
    /// Asks whether a change would be taken now: one just was, or a small one is that changes no record.
    ///
    /// # Errors
    /// A [`Problem`] that says what the disk says.
    pub fn check_writable(&self) -> Result<(), Problem> {
        Ok(self.engine.check_writable()?)
    }

    /// Opens the database anew if a write has failed and there is room again, and says how often that was done within this
    /// process. Where that has grown, what was answered with an error before may stand in the records, or not.
    ///
    /// # Errors
    /// A [`Problem`] where it still cannot be written.
    pub fn mend(&self) -> Result<u64, Problem> {
        Ok(self.engine.mend()?)
    }

    /// Writes all records to a file beside the database, in place of the one of last time: what [`crate::salvage`] falls back on. Says
    /// how many lines.
    ///
    /// # Errors
    /// A [`Problem`] where it cannot be written.
    pub fn keep_copy(&self) -> Result<u64, Problem> {
        Ok(backup::keep(&*self.engine, &salvage::copy_file(self.engine.folder()))?)
    }
}

/// Several records of an engine as one.
pub(crate) fn change<T>(
    engine: &dyn Engine,
    (vault, limits): (&Vault, &Limits),
    mut prepare: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut answer = None;
    engine.transact(&mut |ground| {
        let mut tx = Tx::new(ground, vault, limits);
        answer = Some(prepare(&mut tx)?);
        Ok(tx.into_batch())
    })?;
    Ok(answer.expect("an engine that has written has let prepare"))
}

fn vault(db_dir: &Path, key: &MasterKey) -> Result<Vault, StoreError> {
    Vault::new(key).ok_or_else(|| StoreError::WrongMasterKey { path: db_dir.to_owned() })
}

thread_local! {
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// Finds out, in tests, who asks the store from inside of a look or a change: that would wait for itself.
struct Inside;

impl Inside {
    fn enter() -> Self {
        debug_assert!(!LOOKING.replace(true), "the store is asked from inside of a look or a change");
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        LOOKING.set(false);
    }
}

#[cfg(test)]
mod tests;
