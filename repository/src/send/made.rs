//! The bytes of an answer that are stored nowhere else.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::durable::make_inner;
use crate::error::{RepoError, Result};
use crate::limits::MADE_MEMORY_BYTES_MAX;
use crate::sweep::SPOOL;

/// Bytes that are stored nowhere else: in memory up to a bound, and then in a file that has no name.
#[derive(Default)]
pub(super) struct Made {
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    filed: u64,
    folder: PathBuf,
}

impl Made {
    /// None yet; a file goes below `folder`.
    pub(super) fn below(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> usize {
        self.memory.len()
    }

    /// Bytes on disk.
    pub(super) fn filed(&self) -> u64 {
        self.filed
    }

    /// Bytes in all.
    pub(super) fn len(&self) -> u64 {
        self.filed + self.memory.len() as u64
    }

    /// Puts bytes behind the others.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() > MADE_MEMORY_BYTES_MAX { self.spill() } else { Ok(()) }
    }

    /// Moves what is in memory to the file.
    fn spill(&mut self) -> Result<()> {
        if self.file.is_none() {
            self.file = Some(nameless(&self.folder)?);
        }
        if let Some(file) = &self.file {
            file.write_all_at(&self.memory, self.filed)
                .map_err(RepoError::io("write", &self.folder.join(SPOOL)))?;
            self.filed += self.memory.len() as u64;
            self.memory = Vec::new();
        }
        Ok(())
    }

    /// Nothing more is put.
    pub(super) fn close(&mut self) -> Result<()> {
        if self.file.is_some() {
            return self.spill();
        }
        self.memory.shrink_to_fit();
        Ok(())
    }

    /// Reads from byte `from` what one read gives; `None` if it would have to wait for the disk and `now` says not to.
    pub(super) fn read(&self, out: &mut [u8], from: u64, now: bool) -> Result<Option<usize>> {
        let Some(file) = &self.file else {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let bytes = self.memory.get(from..).unwrap_or_default();
            let got = bytes.len().min(out.len());
            out[..got].copy_from_slice(&bytes[..got]);
            return Ok(Some(got));
        };
        let got =
            if now { crate::pack::read_now(file, out, from) } else { file.read_at(out, from).map(Some) };
        let path = self.folder.join(SPOOL);
        match got.map_err(RepoError::io("read", &path))? {
            Some(0) if !out.is_empty() => {
                Err(RepoError::io("read", &path)(io::ErrorKind::UnexpectedEof.into()))
            }
            got => Ok(got),
        }
    }
}

/// A file in the folder that is gone from it already.
fn nameless(folder: &Path) -> Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    make_inner(folder).map_err(RepoError::io("create", folder))?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{SPOOL}{}-{number}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(RepoError::io("create", &path))?;
    fs::remove_file(&path).map_err(RepoError::io("remove", &path))?;
    Ok(file)
}
