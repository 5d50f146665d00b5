//! Where a backup is taken from: a folder of backups and one snapshot of it, a file, or what comes in on a pipe.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use slipway_core::{Problem, ProblemKind};

use crate::disk;
use crate::file::Counted;
use crate::folder::{Folder, Snapshot, Verified, time_of};
use crate::name::Name;
use crate::reader::{self, Head, Meta, Sink};
use crate::refusal::{damaged, none, unwritable};
use crate::snapshot;
use crate::trouble::{Trouble, Troubles};

/// A backup to read.
pub enum Source {
    /// One that can be read once.
    Stream(Box<dyn Read + Send>),
    /// A file.
    File(PathBuf),
    /// A snapshot of a folder.
    Snapshot(Folder, Box<Snapshot>),
}

/// Which snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// That of the number.
    Number(u64),
    /// The newest that is no later than this, in milliseconds since 1970.
    Until(u64),
}

impl When {
    /// `12`, `2026-11-29`, `2026-11-29T17:05` or `2026-11-29T17:05:12Z`, in UTC. Of a day or a minute, its end is meant.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let text = text.trim_end_matches('Z').replace(' ', "T");
        let whole = match text.len() {
            10 => format!("{text}T23:59:59Z"),
            16 => format!("{text}:59Z"),
            _ => format!("{text}Z"),
        };
        let at = time::OffsetDateTime::parse(&whole, &time::format_description::well_known::Rfc3339).ok()?;
        let ms = at.unix_timestamp().checked_mul(1000)?.checked_add(999)?;
        u64::try_from(ms).ok().map(Self::Until)
    }
}

/// What a backup comes to.
pub(crate) struct Summary {
    pub(crate) head: Head,
    pub(crate) troubles: Troubles,
    pub(crate) read: Verified,
}

impl Source {
    /// A file, or a snapshot of a folder: the newest whole one, unless another is named.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(path: &Path, when: Option<&When>) -> Result<Self, Problem> {
        if path.is_dir() {
            let folder = Folder::open(path)?;
            let snapshot = choose(&folder, when)?;
            return Ok(Self::Snapshot(folder, Box::new(snapshot)));
        }
        if when.is_some() {
            return Err(none(format!(
                "{} is no folder of backups: it has one backup alone.",
                path.display()
            )));
        }
        disk::open_plain(path)?;
        Ok(Self::File(path.to_owned()))
    }

    /// Which one, in words.
    pub fn name(&self) -> String {
        match self {
            Self::Stream(_) => "the backup".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Snapshot(folder, snapshot) => {
                format!("snapshot {} of {} ({})", snapshot.number, folder.root().display(), snapshot.time())
            }
        }
    }

    /// Newer snapshots that were passed over since not everything is in them.
    pub fn passed_over(&self) -> Vec<String> {
        let Self::Snapshot(folder, chosen) = self else { return Vec::new() };
        let (all, _) = folder.snapshots().unwrap_or_default();
        let newer = all.iter().filter(|one| one.number > chosen.number && !one.is_whole());
        newer.map(|one| format!("{} ({})", one.number, one.time())).collect()
    }

    /// Reads all of it and compares every sum; says how much that was, and how much of it is not in the backup or damaged.
    ///
    /// # Errors
    /// The first that does not fit.
    pub fn verify(&mut self) -> Result<(Verified, String, u64), Problem> {
        let summary = self.each(&mut Counted::default())?;
        let troubles = summary.troubles.told.len() as u64 + summary.troubles.more;
        Ok((summary.read, time_of(summary.head.at), troubles))
    }

    /// Writes the records of a backup to `to`; everything else is looked at, too.
    ///
    /// # Errors
    /// What does not fit, a disk that fails.
    pub fn records(&mut self, to: &mut File) -> Result<(), Problem> {
        let mut records = Records { to, found: false };
        self.each(&mut records)?;
        if records.found { Ok(()) } else { Err(damaged("it has no records")) }
    }

    /// True if it can be read more than once.
    pub(crate) fn can_be_read_again(&self) -> bool {
        !matches!(self, Self::Stream(_))
    }

    /// Hands every file over, checked.
    pub(crate) fn each(&mut self, sink: &mut dyn Sink) -> Result<Summary, Problem> {
        match self {
            Self::Stream(input) => from_stream(input, sink),
            Self::File(path) => from_stream(&mut disk::open_plain(path)?, sink),
            Self::Snapshot(folder, snapshot) => from_snapshot(folder, snapshot, sink),
        }
    }
}

/// Takes the records alone.
struct Records<'a> {
    to: &'a mut File,
    found: bool,
}

impl Sink for Records<'_> {
    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> Result<(), Problem> {
        if meta.name.as_str() == Name::RECORDS {
            self.found = true;
            std::io::copy(content, self.to).map_err(unwritable(Path::new("A copy of the records")))?;
        }
        Ok(())
    }
}

fn from_stream(input: &mut dyn Read, sink: &mut dyn Sink) -> Result<Summary, Problem> {
    let (head, end) = reader::read(input, sink)?;
    let read = Verified { files: end.files, bytes: end.bytes, ..Verified::default() };
    Ok(Summary { head, troubles: end.troubles, read })
}

fn from_snapshot(folder: &Folder, snapshot: &Snapshot, sink: &mut dyn Sink) -> Result<Summary, Problem> {
    // The whole of the list is looked at before the first file is.
    let (head, tally) = snapshot::read(&snapshot.path, |_| Ok(()))?;
    sink.begin(&head)?;
    let mut read = Verified::default();
    snapshot::read(&snapshot.path, |entry| {
        let path = folder.content(&entry.sum);
        let bad = || {
            damaged(format_args!(
                "{}, the content of {}, is not what it was",
                path.display(),
                entry.meta.name
            ))
        };
        let mut file = disk::open_plain(&path)?;
        if file.metadata().map_or(true, |facts| facts.len() != entry.meta.size) {
            return Err(bad());
        }
        let (sum, is_whole) = reader::take(&entry.meta, &mut file, sink)?;
        if sum != entry.sum || !(is_whole || entry.damaged) {
            return Err(bad());
        }
        read.files += 1;
        read.bytes += entry.meta.size;
        sink.checked(&entry.meta, &sum, is_whole)
    })?;
    Ok(Summary { head, troubles: tally.troubles, read })
}

fn choose(folder: &Folder, when: Option<&When>) -> Result<Snapshot, Problem> {
    let (mut snapshots, broken) = folder.snapshots()?;
    let missing = |what: String| {
        Problem::new(
            ProblemKind::NotFound,
            format!("{} has no {what}.", folder.root().display()),
            "See `slipway backup list`.",
        )
    };
    let at = match when {
        None if snapshots.is_empty() => match broken.into_iter().next() {
            Some(problem) => return Err(problem),
            None => return Err(missing("snapshot yet".to_owned())),
        },
        None => match snapshots.iter().rposition(Snapshot::is_whole) {
            Some(at) => at,
            None => return Err(none_whole(folder, &snapshots)),
        },
        Some(When::Number(number)) => snapshots
            .iter()
            .position(|s| s.number == *number)
            .ok_or_else(|| missing(format!("snapshot {number} that can be read")))?,
        Some(When::Until(ms)) => snapshots
            .iter()
            .rposition(|s| s.at <= *ms)
            .ok_or_else(|| missing(format!("snapshot of {} or before", time_of(*ms))))?,
    };
    Ok(snapshots.swap_remove(at))
}

/// There are snapshots, and not everything is in any of them: which one is put back all the same is for people to say.
fn none_whole(folder: &Folder, snapshots: &[Snapshot]) -> Problem {
    let Some(newest) = snapshots.last() else { return none("There is no snapshot.") };
    let (troubles, more) = newest.troubles();
    let lacks = troubles.first().map_or(String::new(), |Trouble { what, why, left_out }| {
        let others = troubles.len() as u64 - 1 + more;
        let others = if others == 0 { String::new() } else { format!(", and {others} more") };
        let which = if *left_out { "is not in it" } else { "is damaged in it" };
        format!(": {what} {which} ({why}){others}")
    });
    Problem::new(
        ProblemKind::Broken,
        format!(
            "No snapshot of {} is whole; of the newest, {} ({}){lacks}.",
            folder.root().display(),
            newest.number,
            newest.time()
        ),
        format!(
            "Restore from another folder of backups, or name the snapshot to take it as it is: --snapshot {}.",
            newest.number
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_named_by_number_day_minute_or_second() {
        assert_eq!(When::parse("12"), Some(When::Number(12)));
        assert_eq!(When::parse("1970-01-01"), Some(When::Until(86_399_999)));
        assert_eq!(When::parse("1970-01-01T00:01"), Some(When::Until(119_999)));
        assert_eq!(When::parse("1970-01-01 00:00:10"), Some(When::Until(10_999)));
        assert_eq!(When::parse("1970-01-01T00:00:10Z"), Some(When::Until(10_999)));
        for wrong in ["", "yesterday", "-1", "1970-13-01", "1970-01-01T25:00"] {
            assert_eq!(When::parse(wrong), None, "{wrong}");
        }
    }
}
