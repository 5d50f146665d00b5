//! The context as a tar stream, for builders that take one with the request: the classic builder, and Podman's.
//!
//! A thread that may block reads one file at a time into a bounded channel whose other end is the request body.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use slipway_core::limits::Limits;
use slipway_repository::{Entry, Mode};
use tokio::sync::{mpsc, oneshot};

use super::{ContextPlan, Files, Sent, check_no_pointer, check_size, read_ignore};
use crate::error::HookError;
use crate::limits::{CONTEXT_CHUNK_BYTES, CONTEXT_CHUNKS_WAITING, LFS_POINTER_BYTES_MAX};
use crate::log::BuildLog;

/// A context on its way.
pub(crate) struct ContextStream {
    /// The tar's bytes.
    pub(crate) chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// What came of it, told after the last chunk.
    pub(crate) outcome: oneshot::Receiver<Result<Sent, HookError>>,
    /// Raw file bytes sent so far: a sign of life.
    pub(crate) progress: Arc<AtomicU64>,
}

/// Starts sending, on a thread that may block. Dropping the receiver ends it.
pub(crate) fn stream(
    files: Arc<dyn Files>,
    plan: ContextPlan,
    limits: Arc<Limits>,
    log: Option<BuildLog>,
) -> ContextStream {
    let (sender, chunks) = mpsc::channel(CONTEXT_CHUNKS_WAITING);
    let (told, outcome) = oneshot::channel();
    let progress = Arc::new(AtomicU64::new(0));
    let seen = progress.clone();
    tokio::task::spawn_blocking(move || {
        let result = send((files.as_ref(), &plan), &limits, log.as_ref(), sender.clone(), &seen);
        if let Err(e) = &result {
            // The engine must not take a cut context for a whole one.
            let _ = sender.blocking_send(Err(io::Error::other(e.to_string())));
        }
        let _ = told.send(result);
    });
    ContextStream { chunks, outcome, progress }
}

fn send(
    (files, plan): (&dyn Files, &ContextPlan),
    limits: &Limits,
    log: Option<&BuildLog>,
    sender: mpsc::Sender<io::Result<Bytes>>,
    progress: &AtomicU64,
) -> Result<Sent, HookError> {
    let out = Chunks { sender, waiting: Vec::with_capacity(CONTEXT_CHUNK_BYTES) };
    let ignore = read_ignore(files, plan)?;
    let mut packing = Packing {
        files,
        limits,
        tar: tar::Builder::new(out),
        at: files.committed_at()?,
        sent: Sent::default(),
        progress,
        log,
    };
    // These builders take the Dockerfile from the context, and out of it where the .dockerignore in it says so: the one that
    // they find is the one that holds.
    let rules = plan.outside(".dockerignore");
    files.walk(&plan.folder, &mut |entry| {
        let Some(name) = plan.inside(&entry.name) else { return Ok(true) };
        let is_ignored = ignore.matches(name);
        packing.sent.ignored += usize::from(is_ignored);
        if entry.name == rules || is_ignored && entry.name != plan.dockerfile {
            return Ok(true);
        }
        packing.add(name, entry)?;
        Ok(true)
    })?;
    for path in plan.ignore_files() {
        if let Some(entry) = files.entry(&path)?.filter(|entry| entry.mode.is_regular()) {
            packing.add(".dockerignore", &entry)?;
            break;
        }
    }
    if plan.inside(&plan.dockerfile).is_none() {
        let entry = files
            .entry(&plan.dockerfile)?
            .ok_or_else(|| HookError::NoDockerfile { path: plan.dockerfile.clone() })?;
        packing.add(&plan.dockerfile_in_context(), &entry)?;
    }
    let mut sent = packing.sent;
    (sent.fetched, sent.fetched_bytes) = (sent.files, sent.bytes);
    packing.tar.into_inner().and_then(|mut chunks| chunks.flush()).map_err(gone)?;
    Ok(sent)
}

struct Packing<'a> {
    files: &'a dyn Files,
    limits: &'a Limits,
    tar: tar::Builder<Chunks>,
    at: u64,
    sent: Sent,
    progress: &'a AtomicU64,
    log: Option<&'a BuildLog>,
}

impl Packing<'_> {
    fn add(&mut self, name: &str, entry: &Entry) -> Result<(), HookError> {
        let most = self.limits.build_context_files_max;
        if self.sent.files >= most {
            return Err(HookError::ContextTooLarge { what: "files", limit: most as u64 });
        }
        match entry.mode {
            Mode::Tree => return Ok(()),
            Mode::Submodule => {
                if let Some(log) = self.log {
                    log.blocking_line(&format!(
                        "note: {} is a submodule and is not part of the build context",
                        entry.name
                    ));
                }
                return Ok(());
            }
            Mode::Link => self.add_link(name, entry)?,
            Mode::File | Mode::Executable => self.add_file(name, entry)?,
        }
        self.sent.files += 1;
        Ok(())
    }

    fn header(&self, mode: u32, size: u64, kind: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.at);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    fn add_file(&mut self, name: &str, entry: &Entry) -> Result<(), HookError> {
        let size = match entry.size {
            Some(size) => size,
            None => self.files.size(&entry.id)?,
        };
        check_size(&entry.name, size, self.limits)?;
        self.sent.bytes = self.sent.bytes.saturating_add(size);
        let most = self.limits.build_context_size_max;
        if self.sent.bytes > most {
            return Err(HookError::ContextTooLarge { what: "bytes", limit: most });
        }
        if size <= LFS_POINTER_BYTES_MAX as u64 {
            check_no_pointer(&entry.name, &self.files.blob(&entry.id, size)?)?;
        }
        let mode = if entry.mode == Mode::Executable { 0o755 } else { 0o644 };
        let mut header = self.header(mode, size, tar::EntryType::Regular);
        let content = self.files.content(&entry.id)?;
        self.tar.append_data(&mut header, name, content).map_err(|e| refused(name, e))?;
        self.progress.fetch_add(size + 512, Ordering::Relaxed);
        Ok(())
    }

    fn add_link(&mut self, name: &str, entry: &Entry) -> Result<(), HookError> {
        let target = self.files.blob(&entry.id, 4096)?;
        let mut header = self.header(0o777, 0, tar::EntryType::Symlink);
        // The tar crate tidies link targets up (`./a`, `b/`); a short one is written as it is.
        if header.set_link_name_literal(&target).is_ok() {
            self.tar.append_data(&mut header, name, io::empty()).map_err(|e| refused(name, e))
        } else {
            self.tar.append_link(&mut header, name, os_path(&target)).map_err(|e| refused(name, e))
        }
    }
}

#[cfg(unix)]
fn os_path(raw: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(raw))
}

fn refused(name: &str, e: io::Error) -> HookError {
    if e.kind() == io::ErrorKind::BrokenPipe {
        return gone(e);
    }
    HookError::Context {
        path: name.to_owned(),
        why: crate::error::one_line(&e.to_string()),
        cure: "Give it a shorter, plain name.".into(),
    }
}

/// Nobody takes the context any more: the build has ended otherwise.
fn gone(_: io::Error) -> HookError {
    HookError::Stopped
}

/// Collects the tar's many small writes into chunks.
struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    waiting: Vec<u8>,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.waiting, Vec::with_capacity(CONTEXT_CHUNK_BYTES));
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CONTEXT_CHUNK_BYTES.saturating_sub(self.waiting.len()).max(1);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.waiting.extend_from_slice(taken);
        if self.waiting.len() >= CONTEXT_CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
