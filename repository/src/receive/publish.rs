//! Out of quarantine: files flushed, renamed in the right order, and kept from `git gc` until the refs have moved.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::IncomingPack;
use crate::durable::{make_inner, sync_folder};
use crate::error::{RepoError, Result};
use crate::sweep::KEEP_WORDS;

/// Files on their way to the disk, while everything else goes on.
pub(crate) struct Flush {
    started: Vec<(PathBuf, io::Result<JoinHandle<io::Result<()>>>)>,
}

impl Flush {
    /// Starts with one file, whose bytes are all written.
    pub(crate) fn start(path: &Path, file: File) -> Self {
        let mut flush = Self { started: Vec::new() };
        flush.add(path, file);
        flush
    }

    /// Starts with another: on a thread each, so that one flush of the disk's journal serves them all.
    pub(crate) fn add(&mut self, path: &Path, file: File) {
        let name = "flush-pack".to_owned();
        let started = std::thread::Builder::new().name(name).spawn(move || file.sync_all());
        self.started.push((path.to_owned(), started));
    }

    /// Returns once all is on the disk.
    fn finish(self) -> Result<()> {
        for (path, started) in self.started {
            let done = match started {
                Ok(thread) => {
                    thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread ended early")))
                }
                // No thread was to be had; the file is done here.
                Err(_) => File::open(&path).and_then(|file| file.sync_all()),
            };
            done.map_err(RepoError::io("flush", &path))?;
        }
        Ok(())
    }
}

/// Tells `git gc` to leave a pack alone (git-repack(1), `.keep`) while no ref leads to its objects yet. Dropped, it is
/// taken back.
pub(crate) struct Keep(PathBuf);

impl Keep {
    /// `None` if somebody keeps the pack already.
    fn new(path: PathBuf) -> Result<Option<Self>> {
        match File::create_new(&path) {
            Ok(mut file) => {
                let keep = Self(path);
                let words = format!("{KEEP_WORDS}{}\n", std::process::id());
                file.write_all(words.as_bytes()).map_err(RepoError::io("write", &keep.0))?;
                Ok(Some(keep))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(RepoError::io("create", &path)(e)),
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), "a pack is kept from gc until the next start: {e}");
        }
    }
}

impl IncomingPack {
    /// Moves the pack into the repository, durable on return; where that fails, nothing of it stays there.
    pub(super) fn publish(&mut self) -> Result<()> {
        self.move_in().inspect_err(|_| self.take_back())
    }

    /// A pack without its index exists for nobody, and takes room on a disk that may be full. The same pack may have been
    /// here before: then it has its index.
    fn take_back(&self) {
        let target = self.objects.join("pack").join(&self.name);
        if target.exists() {
            return;
        }
        for extension in ["pack", "rev"] {
            // Not there is what is wanted.
            drop(fs::remove_file(target.with_extension(extension)));
        }
    }

    fn move_in(&mut self) -> Result<()> {
        let again = RepoError::Fault { what: "a pack that could not be published was to be published again" };
        self.flush.take().ok_or(again)?.finish()?;
        let folder = self.objects.join("pack");
        let target = folder.join(&self.name);
        let move_over = |extension: &str| {
            let to = target.with_extension(extension);
            fs::rename(self.path.with_extension(extension), &to).map_err(RepoError::io("rename", &to))
        };
        // The same pack may be here already: then its files are the same, byte for byte.
        if let Err(e) = move_over("pack") {
            if folder.is_dir() {
                return Err(e);
            }
            make_inner(&folder).map_err(RepoError::io("create", &folder))?;
            sync_folder(&self.objects)?;
            move_over("pack")?;
        }
        if self.has_reverse {
            move_over("rev")?;
        }
        self.keep = Keep::new(target.with_extension("keep"))?;
        // The index comes last: a pack without one does not exist for anybody.
        move_over("idx")?;
        sync_folder(&folder)?;
        self.quarantine = None;
        Ok(())
    }
}
