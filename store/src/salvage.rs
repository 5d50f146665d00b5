//! What a damaged database can still say, taken over into a new one; and the rule that a database that is whole is never
//! replaced. For people who have no backup: what is lost stays lost. A removal that was lost would bring back what was removed, so
//! tokens and sessions are not taken over: a key can be looked at before it is relied on, a token that somebody stole cannot.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use slipway_core::limits::Limits;
use slipway_core::{Problem, ProblemKind, RepoId};

use crate::backup::{self, Restored};
use crate::codec;
use crate::disk::Disk;
use crate::engine::Tree;
use crate::error::StoreError;
use crate::keys::{self, Counter};
use crate::limits::{RESTORE_BATCH, SALVAGE_GAP};
use crate::master_key::MasterKey;
use crate::store::change;
use crate::tx::Tx;
use crate::upkeep;
use crate::vault::Vault;

/// Makes a new database in `db_dir` of every record of the damaged one that can still be read (as a rule, what was written before the
/// damaged spot) and fits its checksum, or of the copy that the server has made of its records, whichever has more; tokens and
/// sessions are left out. The damaged one
/// is moved to `DB_DIR.ASIDE`. Ids and numbers go on after a gap, so that those of lost records are not given again.
///
/// # Errors
/// A [`Problem`] where the database is whole or missing, nothing of it can be read, or the disk fails.
pub fn salvage(db_dir: &Path, master_key: &MasterKey, aside: &str) -> Result<Restored, Problem> {
    let wrong_key = || StoreError::WrongMasterKey { path: db_dir.to_owned() };
    let vault = Vault::new(master_key).ok_or_else(wrong_key)?;
    let (kept, missing) = (copy_of(db_dir), Disk::is_new(db_dir)?);
    let mut copied = None;
    let (records, moved) = beside_no_whole_one(db_dir, aside, |disk| {
        let records = match &kept {
            Some(copy) if copy.records > readable(db_dir) => {
                copied = Some(copy.made);
                take_copy(&copy.file, disk)?
            }
            _ if missing => 0,
            _ => take_over(db_dir, disk)?,
        };
        if records == 0 {
            return Err(nothing_left(db_dir).into());
        }
        change(disk, (&vault, &Limits::default()), leave_gaps)?;
        upkeep::begin(disk, &vault)?;
        Ok(records)
    })?;
    Ok(Restored { records, moved, copied })
}

/// The copy that the server makes now and then of its records.
struct Kept {
    file: PathBuf,
    records: u64,
    made: SystemTime,
}

/// Where the server keeps a copy of its records, beside the database.
pub(crate) fn copy_file(db_dir: &Path) -> PathBuf {
    let mut name = db_dir.as_os_str().to_owned();
    name.push(".copy");
    PathBuf::from(name)
}

/// That copy, if there is one that is whole.
fn copy_of(db_dir: &Path) -> Option<Kept> {
    let file = copy_file(db_dir);
    let mut open = File::open(&file).ok()?;
    let made = open.metadata().and_then(|facts| facts.modified()).ok()?;
    let records = backup::check(&mut open).ok()?;
    Some(Kept { file, records, made })
}

/// How many records of the damaged database can be read.
fn readable(db_dir: &Path) -> u64 {
    let mut records = 0;
    let counted = Disk::leftovers(db_dir, |key, value| {
        records += u64::from(fits(key, value));
        Ok(())
    });
    if counted.is_err() { 0 } else { records }
}

/// An empty database is never put beside what people own.
fn nothing_left(db_dir: &Path) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("Nothing of the database in {} can be read any more; it is left as it is.", db_dir.display()),
        "Bring a backup back with `slipway restore FROM --records`. Without one, move the database away: the server then asks for what to do \
         with repos, builds and keys.",
    )
}

/// Makes a database where there is none, or a damaged one, which is moved aside.
pub(crate) fn beside_no_whole_one<T>(
    db_dir: &Path,
    aside: &str,
    fill: impl FnOnce(&Disk) -> Result<T, StoreError>,
) -> Result<(T, Option<PathBuf>), StoreError> {
    if Disk::is_new(db_dir)? {
        return Disk::make(db_dir, None, fill);
    }
    match Disk::open(db_dir) {
        Ok(_) => Err(StoreError::Refused(Problem::new(
            ProblemKind::Conflict,
            format!("The database in {} is whole; it is not replaced.", db_dir.display()),
            format!("If it must go, move {} away first, or name another data folder.", db_dir.display()),
        ))),
        Err(StoreError::Damaged { .. }) => Disk::make(db_dir, Some(aside), fill),
        Err(other) => Err(other),
    }
}

fn take_copy(from: &Path, to: &Disk) -> Result<u64, StoreError> {
    let mut open = File::open(from).map_err(|e| StoreError::Disk {
        path: from.to_owned(),
        doing: "read",
        cause: e.to_string(),
    })?;
    let (mut batch, mut records) = (Vec::new(), 0);
    backup::each(&mut open, |(tree, key, value)| {
        if tree == Tree::Records && !keys::is_token_or_session(&key) {
            records += 1;
            batch.push((tree, key, value));
        }
        if batch.len() >= RESTORE_BATCH { to.put_raw(std::mem::take(&mut batch)) } else { Ok(()) }
    })?;
    to.put_raw(batch)?;
    Ok(records)
}

fn take_over(from: &Path, to: &Disk) -> Result<u64, StoreError> {
    let (mut batch, mut records) = (Vec::new(), 0);
    Disk::leftovers(from, |key, value| {
        if fits(key, value) && !keys::is_token_or_session(key) {
            records += 1;
            batch.push((Tree::Records, key.to_vec(), value.to_vec()));
        }
        if batch.len() >= RESTORE_BATCH { to.put_raw(std::mem::take(&mut batch)) } else { Ok(()) }
    })?;
    to.put_raw(batch)?;
    Ok(records)
}

/// Marks have no value and pieces no head; all others are checked.
fn fits(key: &[u8], value: &[u8]) -> bool {
    value.is_empty() || keys::is_piece(key) || codec::unframe(key, value).is_ok()
}

/// Raises every counter of ids and numbers.
fn leave_gaps(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    for counter in [Counter::RepoIds, Counter::EventIds] {
        raise(tx, counter)?;
    }
    for key in tx.view().all_keys(&keys::repos())? {
        let repo = RepoId(key.last_number().unwrap_or_default());
        let work = [Counter::Builds(repo), Counter::Deploys(repo)];
        for counter in work.into_iter().chain([Counter::Webhooks(repo), Counter::Deliveries(repo)]) {
            raise(tx, counter)?;
        }
    }
    Ok(())
}

fn raise(tx: &mut Tx<'_>, counter: Counter) -> Result<(), StoreError> {
    let last = tx.count(counter)?;
    tx.put(keys::counter(counter), &last.saturating_add(SALVAGE_GAP)).map(drop)
}
