//! The database's own facts: its format, with the steps from older ones, and whether the master key fits it.
//!
//! The tree `meta` has `format`, a decimal number, and `key-check`, a fixed text sealed under the master key. Both
//! must stay readable for every later version.

use slipway_core::Secret;

use crate::codec;
use crate::engine::Engine;
use crate::error::StoreError;
use crate::keys::Key;
use crate::vault::{Sealed, Vault};

/// The format that this program writes.
pub(crate) const FORMAT: u32 = 2;
/// Where the format lies among the facts.
pub(crate) const FORMAT_FACT: &str = "format";
/// The format without seal and witness: 0.1 wrote it. Opening brings it to [`SEALED_FORMAT`] (`disk/verify.rs`).
pub(crate) const UNSEALED_FORMAT: &[u8] = b"1";
/// The first format with them.
pub(crate) const SEALED_FORMAT: &[u8] = b"2";

/// One step: brings a database from the format of its place in [`STEPS`] (counted from 1) to the next one. It must be
/// harmless when done twice: the new format is recorded after it.
type Step = fn(&dyn Engine) -> Result<(), StoreError>;

/// From format 1 to 2, from 2 to 3, and so on. Whatever is open is sealed by now, a backup of format 1 included.
const STEPS: [Step; FORMAT as usize - 1] = [|_| Ok(())];

const KEY_CHECK_FACT: &str = "key-check";
const KEY_CHECK_TEXT: &str = "slipway";

/// Writes the facts of a database that is being made.
pub(crate) fn begin(disk: &dyn Engine, vault: &Vault) -> Result<(), StoreError> {
    put_format(disk, FORMAT)?;
    check_key(disk, vault)
}

/// Brings the database to this program's format and checks that the master key fits.
pub(crate) fn check(disk: &dyn Engine, vault: &Vault) -> Result<(), StoreError> {
    match format(disk)? {
        None => return Err(damaged("the format of the database", "it is missing")),
        Some(0) => return Err(damaged("the format of the database", "it is 0")),
        Some(found) if found > FORMAT => {
            return Err(StoreError::TooNew { path: disk.folder().to_owned(), found, known: FORMAT });
        }
        Some(found) => {
            for (step, from) in STEPS.iter().zip(1..).skip_while(|(_, from)| *from < found) {
                tracing::info!(from, to = from + 1, "bringing the database to a newer format");
                step(disk)?;
                put_format(disk, from + 1)?;
            }
        }
    }
    check_key(disk, vault)
}

fn format(disk: &dyn Engine) -> Result<Option<u32>, StoreError> {
    let Some(raw) = disk.fact(FORMAT_FACT)? else { return Ok(None) };
    let found = std::str::from_utf8(&raw).ok().and_then(|text| text.parse().ok());
    found.map(Some).ok_or_else(|| damaged("the format of the database", "it is not a number"))
}

fn put_format(disk: &dyn Engine, format: u32) -> Result<(), StoreError> {
    disk.put_fact(FORMAT_FACT, format.to_string().as_bytes())
}

fn check_key(disk: &dyn Engine, vault: &Vault) -> Result<(), StoreError> {
    let key = Key::from_bytes(KEY_CHECK_FACT.as_bytes());
    let wrong = || StoreError::WrongMasterKey { path: disk.folder().to_owned() };
    let Some(raw) = disk.fact(KEY_CHECK_FACT)? else {
        let sealed = vault.seal(&key, &Secret::new(KEY_CHECK_TEXT)).ok_or_else(wrong)?;
        let body = codec::to_body(&sealed).map_err(|cause| record(KEY_CHECK_FACT, cause))?;
        return disk.put_fact(KEY_CHECK_FACT, &body);
    };
    let sealed: Sealed =
        codec::from_body(&raw).map_err(|cause| record("the check of the master key", cause))?;
    match vault.open(&key, &sealed) {
        Some(text) if text.expose() == KEY_CHECK_TEXT => Ok(()),
        _ => Err(wrong()),
    }
}

fn record(what: &str, cause: codec::CodecError) -> StoreError {
    StoreError::Record { what: what.to_owned(), cause }
}

fn damaged(what: &str, why: &'static str) -> StoreError {
    record(what, codec::CodecError::Damaged { why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::master_key::MasterKey;

    fn vault(folder: &std::path::Path) -> Vault {
        let key = MasterKey::load_or_create(&folder.join("master")).expect("made");
        Vault::new(&key).expect("right length")
    }

    fn fresh(folder: &std::path::Path) -> (Disk, Vault) {
        let (path, vault) = (folder.join("db"), vault(folder));
        Disk::make(&path, None, |disk| begin(disk, &vault)).expect("made");
        (Disk::open(&path).expect("opens"), vault)
    }

    #[test]
    fn a_newer_format_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (disk, vault) = fresh(folder.path());
        check(&disk, &vault).expect("as it was");
        put_format(&disk, FORMAT + 1).expect("written");
        let problem = slipway_core::Problem::from(check(&disk, &vault).expect_err("refused"));
        assert!(problem.what.contains("has format 3; this program reads up to 2"), "{problem}");
        assert!(problem.cure.contains("newer one"), "{problem}");
    }

    #[test]
    fn a_broken_format_is_not_taken_for_a_fresh_database() {
        let folder = tempfile::tempdir().expect("temp folder");
        let (disk, vault) = fresh(folder.path());
        for bad in ["", "0", "one", "-1", "99999999999"] {
            disk.put_fact(FORMAT_FACT, bad.as_bytes()).expect("written");
            assert!(matches!(check(&disk, &vault), Err(StoreError::Record { .. })), "{bad:?}");
        }
    }
}
