//! Reads contents of a folder of backups once more, from the disk, and compares their sums.

use std::collections::HashSet;
use std::fs;

use slipway_core::Problem;

use super::{Folder, Snapshot};
use crate::disk::{self, PourError, pour};
use crate::hashes::{Hashes, Sum};
use crate::refusal::{damaged, unreadable};
use crate::snapshot::{self, Entry};

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files whose every byte was read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were looked for alone: they are there, and have their sizes.
    pub seen: u64,
    /// Their bytes.
    pub seen_bytes: u64,
}

pub(super) struct Verifying<'a> {
    folder: &'a Folder,
    read: HashSet<Sum>,
    done: Verified,
}

impl Folder {
    /// Reads every file of these snapshots and compares its sum; what several have, once.
    ///
    /// # Errors
    /// The first that does not fit.
    pub fn verify(&self, snapshots: &[Snapshot]) -> Result<Verified, Problem> {
        let mut verifying = self.verifying();
        for one in snapshots {
            snapshot::read(&one.path, |entry| verifying.look(&entry, true))?;
        }
        Ok(verifying.done())
    }

    pub(super) fn verifying(&self) -> Verifying<'_> {
        Verifying { folder: self, read: HashSet::new(), done: Verified::default() }
    }
}

impl Verifying<'_> {
    pub(super) fn done(self) -> Verified {
        self.done
    }

    /// Looks at a file's content: reads all of it, or only whether it is there. What is found damaged is taken out of the way by
    /// whoever writes here, so that the next backup brings it again.
    pub(super) fn look(&mut self, entry: &Entry, whole: bool) -> Result<(), Problem> {
        let path = self.folder.content(&entry.sum);
        let size = entry.meta.size;
        let bad = |what: String| {
            damaged(format_args!("{}, the content of {}, {what}", path.display(), entry.meta.name))
        };
        let file = disk::open_plain(&path)?;
        let is = file.metadata().map_err(unreadable(&path))?.len();
        let mut fits = is == size;
        if fits && whole && self.read.insert(entry.sum) {
            // From the disk, and not what was only just written.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            let mut hashes = Hashes::new(&entry.meta.name);
            let take = &mut |bytes: &[u8]| {
                hashes.update(bytes);
                Ok(())
            };
            match pour(&mut &file, take) {
                Ok(()) => {}
                Err(PourError::From(e)) => return Err(unreadable(&path)(e)),
                Err(PourError::To(problem)) => return Err(problem),
            }
            let (sum, own) = hashes.finish();
            fits = sum == entry.sum && (own || entry.damaged);
            self.done.files += 1;
            self.done.bytes += size;
        } else if !whole {
            self.done.seen += 1;
            self.done.seen_bytes += size;
        }
        if fits {
            return Ok(());
        }
        if self.folder._lock.is_some() {
            // Under another name, for people to look at.
            let aside =
                self.folder.root().join("incoming").join(format!("damaged-{}", hex::encode(entry.sum)));
            drop(fs::rename(&path, aside));
            return Err(Problem {
                cure: "It is moved out of the way; back up once more, and it is sent again. Check the disk."
                    .into(),
                ..bad("is not what it was".into())
            });
        }
        Err(bad(if is == size {
            "is not what it was".into()
        } else {
            format!("has {is} bytes instead of {size}")
        }))
    }
}
