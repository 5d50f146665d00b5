//! A backup on its way into a folder: contents go to their places as they come, and a list says what has come, so that one that is
//! cut off is gone on with.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use slipway_core::{Problem, ProblemKind};

use super::Folder;
use crate::disk::{self, PourError, pour};
use crate::hashes::Sum;
use crate::limits::KNOWN_MAX;
use crate::reader::{Head, Meta, Sink};
use crate::refusal::{damaged, unreadable, unwritable};
use crate::snapshot::{self, Entry, Lines};
use crate::stamp::Stamp;

/// A file that is here already: what is in it.
pub(super) struct Here {
    sum: Sum,
    size: u64,
}

/// What came that was not here.
#[derive(Clone, Copy, Default)]
pub(super) struct New {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// The lists of what comes (`sent`), and of what was here already (`kept`).
fn list(folder: &Folder, which: &str) -> PathBuf {
    folder.root().join("incoming").join(which)
}

/// Files that are here, by their stamps, with their contents where they should be.
pub(super) fn earlier(folder: &Folder) -> Result<HashMap<Stamp, Here>, Problem> {
    let mut found = HashMap::new();
    let mut add = |entry: &Entry| {
        let path = folder.content(&entry.sum);
        if entry.damaged
            || found.len() >= KNOWN_MAX
            || !(entry.meta.name.is_object() || entry.meta.name.is_log())
        {
            return;
        }
        let is_there =
            fs::metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() == entry.meta.size);
        let Some(file) = is_there.then(|| fs::File::open(&path).ok()).flatten() else { return };
        let Meta { name, size, modified_s } = &entry.meta;
        let Ok(stamp) = Stamp::of(name, *size, *modified_s, &file) else { return };
        found.extend(stamp.map(|stamp| (stamp, Here { sum: entry.sum, size: entry.meta.size })));
    };
    if let Some(newest) = folder.snapshots()?.0.last() {
        // One that is damaged is as good as none: everything is sent.
        let read = snapshot::read(&newest.path, |entry| {
            add(&entry);
            Ok(())
        });
        drop(read);
    }
    for path in unfinished(folder)? {
        snapshot::read_unfinished(&path, |entry| add(&entry));
    }
    Ok(found)
}

/// The lists of backups that were cut off.
pub(super) fn unfinished(folder: &Folder) -> Result<Vec<PathBuf>, Problem> {
    let incoming = folder.root().join("incoming");
    let mut found = Vec::new();
    for entry in fs::read_dir(&incoming).map_err(unreadable(&incoming))? {
        let entry = entry.map_err(unreadable(&incoming))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "sent" || name.starts_with("earlier-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The lists are of no more use: there is a snapshot.
pub(super) fn forget(folder: &Folder) -> Result<(), Problem> {
    for path in unfinished(folder)? {
        disk::remove(&path)?;
    }
    disk::remove(&list(folder, "kept"))
}

/// Hands over all files of the backup that has come, and whether each was sent.
pub(super) fn each(
    folder: &Folder,
    take: &mut dyn FnMut(&Entry, bool) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut done = Ok(());
    for (which, is_new) in [("sent", true), ("kept", false)] {
        snapshot::read_unfinished(&list(folder, which), |entry| {
            if done.is_ok() {
                done = take(&entry, is_new);
            }
        });
    }
    done
}

pub(super) struct Receiving<'a> {
    folder: &'a Folder,
    here: HashMap<Stamp, Here>,
    sent: Option<Lines>,
    kept: Option<Lines>,
    pub(super) new: New,
}

impl<'a> Receiving<'a> {
    pub(super) fn begin(folder: &'a Folder) -> Result<Self, Problem> {
        let here = earlier(folder)?;
        let sent = list(folder, "sent");
        if sent.exists() {
            let free = (0..).map(|n| list(folder, &format!("earlier-{n}"))).find(|path| !path.exists());
            if let Some(free) = free {
                disk::put(&sent, &free)?;
            }
        }
        Ok(Self { folder, here, sent: None, kept: None, new: New::default() })
    }

    /// Everything that was written is handed to the system.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (lines, which) in [(&mut self.sent, "sent"), (&mut self.kept, "kept")] {
            if let Some(lines) = lines {
                lines.flush(&list(self.folder, which))?;
            }
        }
        Ok(())
    }

    fn content(&self) -> PathBuf {
        list(self.folder, "content")
    }
}

impl Sink for Receiving<'_> {
    fn begin(&mut self, head: &Head) -> Result<(), Problem> {
        self.sent = Some(Lines::begin(&list(self.folder, "sent"), head)?);
        self.kept = Some(Lines::begin(&list(self.folder, "kept"), head)?);
        Ok(())
    }

    fn file(&mut self, _: &Meta, content: &mut dyn Read) -> Result<(), Problem> {
        let path = self.content();
        let mut file = disk::create_anew(&path)?;
        let mut take = |bytes: &[u8]| file.write_all(bytes).map_err(unwritable(&path));
        match pour(content, &mut take) {
            Ok(()) => Ok(()),
            Err(PourError::To(problem)) => Err(problem),
            Err(PourError::From(e)) => Err(Problem::new(
                ProblemKind::Broken,
                format!("The backup cannot be read: {e}."),
                "Check that the server runs, and try again: what has come is not sent again.",
            )),
        }
    }

    fn checked(&mut self, meta: &Meta, sum: &[u8; 32], is_whole: bool) -> Result<(), Problem> {
        let place = self.folder.content(sum);
        if !place.exists() {
            self.new.files += 1;
            self.new.bytes += meta.size;
        }
        if let Some(above) = place.parent() {
            disk::make(above)?;
        }
        // One that is there may be damaged by now; this one is not.
        fs::rename(self.content(), &place).map_err(unwritable(&place))?;
        let path = list(self.folder, "sent");
        let entry = Entry { meta: meta.clone(), sum: *sum, damaged: !is_whole };
        if let Some(lines) = &mut self.sent {
            lines.entry(&path, &entry)?;
            // What is sent again after a crash is what is costly.
            if meta.size >= 1 << 20 || self.new.files.is_multiple_of(64) {
                lines.flush(&path)?;
            }
        }
        Ok(())
    }

    fn kept(&mut self, meta: &Meta, stamp: Stamp) -> Result<(), Problem> {
        let here = self.here.get(&stamp).filter(|here| here.size == meta.size);
        let here =
            here.ok_or_else(|| damaged(format_args!("it counts on {}, which is not here", meta.name)))?;
        let entry = Entry { meta: meta.clone(), sum: here.sum, damaged: false };
        match &mut self.kept {
            Some(lines) => lines.entry(&list(self.folder, "kept"), &entry),
            None => Ok(()),
        }
    }
}
