//! What is remembered of a repository's maintenance, in `slipway/maintenance`: a word and its value a line. Lost, it is
//! made anew.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::durable::make_inner;
use crate::error::{RepoError, Result};
use crate::limits::MAINTENANCE_RECORD_BYTES_MAX;

/// The last maintenance of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastMaintenance {
    /// When it ended.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// True if everything was packed anew.
    pub full: bool,
    /// What went wrong, a sentence's core without the full stop; `None` if nothing did.
    pub failure: Option<String>,
}

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) last: Option<LastMaintenance>,
    /// When everything was last packed anew; before that ever happened, when the repository was first maintained.
    pub(super) full: Option<SystemTime>,
    /// Objects that there were then.
    pub(super) full_objects: u64,
    /// The checksum, in hex, of the multi-pack index that it last wrote bitmaps for.
    pub(super) bitmaps: Option<String>,
}

/// True if maintenance of the repository at `root` wrote the bitmaps that belong to a pack or index of that checksum, and
/// has written none since.
pub(crate) fn wrote_bitmaps(root: &Path, checksum: &[u8]) -> bool {
    Record::read(root).bitmaps.is_some_and(|ours| ours == hex::encode(checksum))
}

fn path(root: &Path) -> PathBuf {
    root.join("slipway/maintenance")
}

impl Record {
    /// Reads it. What cannot be read counts as never written.
    pub(super) fn read(root: &Path) -> Self {
        let mut text = String::new();
        let read = File::open(path(root))
            .and_then(|file| file.take(MAINTENANCE_RECORD_BYTES_MAX).read_to_string(&mut text));
        if read.is_err() {
            return Self::default();
        }
        let value = |word: &str| {
            text.lines().find_map(|line| line.split_once(' ').filter(|(w, _)| *w == word)).map(|(_, v)| v)
        };
        let number = |word: &str| value(word).and_then(|v| v.parse::<u64>().ok());
        let time = |word: &str| UNIX_EPOCH.checked_add(Duration::from_millis(number(word)?));
        let last = time("ended").map(|ended| LastMaintenance {
            ended,
            took: Duration::from_millis(number("took").unwrap_or(0)),
            full: value("kind") == Some("full"),
            failure: value("failure").map(str::to_owned),
        });
        let bitmaps = value("bitmaps").map(str::to_owned);
        Self { last, full: time("full"), full_objects: number("full_objects").unwrap_or(0), bitmaps }
    }

    /// Writes it. Not flushed: an old one is as good after a crash.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let mut text = String::new();
        let mut line = |word: &str, value: &str| {
            // One line each, whatever a failure says.
            let value: String =
                value.chars().take(1000).map(|c| if c.is_control() { ' ' } else { c }).collect();
            text.push_str(&format!("{word} {value}\n"));
        };
        if let Some(last) = &self.last {
            line("ended", &ms(last.ended).to_string());
            line("took", &last.took.as_millis().to_string());
            line("kind", if last.full { "full" } else { "roll-up" });
            if let Some(failure) = &last.failure {
                line("failure", failure);
            }
        }
        if let Some(full) = self.full {
            line("full", &ms(full).to_string());
            line("full_objects", &self.full_objects.to_string());
        }
        if let Some(bitmaps) = &self.bitmaps {
            line("bitmaps", bitmaps);
        }
        let path = path(root);
        let part = path.with_extension("part");
        let folder = path.parent().unwrap_or(root);
        make_inner(folder).map_err(RepoError::io("create", folder))?;
        fs::write(&part, text).map_err(RepoError::io("write", &part))?;
        fs::rename(&part, &path).map_err(RepoError::io("rename", &path))
    }
}

fn ms(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_comes_back_and_nonsense_counts_as_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Record::read(folder.path()), Record::default());
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let record = Record {
            last: Some(LastMaintenance {
                ended: at,
                took: Duration::from_millis(12),
                full: true,
                failure: Some("it\nfailed".into()),
            }),
            full: Some(at),
            full_objects: 7,
            bitmaps: Some("0123abcd".into()),
        };
        record.write(folder.path()).expect("written");
        let read = Record::read(folder.path());
        assert_eq!(read.last.as_ref().and_then(|l| l.failure.as_deref()), Some("it failed"));
        assert_eq!((read.full, read.full_objects, &read.bitmaps), (record.full, 7, &record.bitmaps));
        fs::write(path(folder.path()), "ended soon\nfull\nfull_objects -1\n").expect("written");
        assert_eq!(Record::read(folder.path()), Record::default());
    }
}
