//! The build context: a commit's folder as a tar stream, straight from the object store.
//!
//! No checkout and no copy of the whole: a thread that may block reads one file at a time into a bounded channel whose
//! other end is the request body. Attributes such as `export-ignore` do not apply: a build context is not an archive.
//! Knows no engine.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use slipway_core::Oid;
use slipway_core::limits::Limits;
use slipway_repository::{Entry, Mode, Snapshot};
use tokio::sync::{mpsc, oneshot};

use crate::error::HookError;
use crate::ignore::Ignore;
use crate::limits::{CONTEXT_CHUNK_BYTES, CONTEXT_CHUNKS_WAITING, IGNORE_BYTES_MAX, LFS_POINTER_BYTES_MAX};
use crate::log::BuildLog;

/// The files of one commit, as far as a build context needs them.
pub(crate) trait Files: Send + Sync {
    /// Every entry below `path` in git's order, with its full path.
    fn walk(
        &self,
        path: &str,
        each: &mut dyn FnMut(&Entry) -> Result<bool, HookError>,
    ) -> Result<(), HookError>;
    /// The entry at `path`.
    fn entry(&self, path: &str) -> Result<Option<Entry>, HookError>;
    /// A blob's size in bytes.
    fn size(&self, id: &Oid) -> Result<u64, HookError>;
    /// A blob's bytes, at most `max` of them.
    fn blob(&self, id: &Oid, max: u64) -> Result<Vec<u8>, HookError>;
    /// A blob's bytes, read piece by piece.
    fn content(&self, id: &Oid) -> Result<Box<dyn io::Read>, HookError> {
        Ok(Box::new(io::Cursor::new(self.blob(id, u64::MAX)?)))
    }
    /// Seconds since 1970 of the commit.
    fn committed_at(&self) -> Result<u64, HookError>;

    /// A file's bytes, if it is there, is a file, and is not larger than `max`.
    fn file(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, HookError> {
        match self.entry(path)? {
            Some(entry) if matches!(entry.mode, Mode::File | Mode::Executable) => {
                self.blob(&entry.id, max).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A commit of a repository.
pub(crate) struct CommitFiles {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) commit: Oid,
}

impl Files for CommitFiles {
    fn walk(
        &self,
        path: &str,
        each: &mut dyn FnMut(&Entry) -> Result<bool, HookError>,
    ) -> Result<(), HookError> {
        let mut failed = None;
        self.snapshot.walk_files(&self.commit, path, &mut |entry| match each(entry) {
            Ok(go_on) => Ok(go_on),
            Err(e) => {
                failed = Some(e);
                Ok(false)
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>, HookError> {
        Ok(self.snapshot.entry(&self.commit, path)?)
    }

    fn size(&self, id: &Oid) -> Result<u64, HookError> {
        let found = self.snapshot.object_size(id)?;
        found.map(|(_, size)| size).ok_or_else(|| missing(id))
    }

    fn blob(&self, id: &Oid, max: u64) -> Result<Vec<u8>, HookError> {
        self.snapshot.object(id, max)?.map(|o| o.data).ok_or_else(|| missing(id))
    }

    fn content(&self, id: &Oid) -> Result<Box<dyn io::Read>, HookError> {
        let content = self.snapshot.reader(id)?;
        Ok(Box::new(content))
    }

    fn committed_at(&self) -> Result<u64, HookError> {
        let commit = self.snapshot.commit(&self.commit)?.ok_or_else(|| missing(&self.commit))?;
        Ok(u64::try_from(commit.committer.at).unwrap_or(0))
    }
}

fn missing(id: &Oid) -> HookError {
    HookError::Internal { what: "reading the commit", why: format!("the object {id} is missing") }
}

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct ContextPlan {
    /// `build.context`, cleaned: no slash at its ends, "" is the root.
    pub(crate) folder: String,
    /// `build.dockerfile`, cleaned, from the repository's root.
    pub(crate) dockerfile: String,
}

impl ContextPlan {
    /// Takes the paths of slipway.toml.
    pub(crate) fn new(folder: &str, dockerfile: &str) -> Self {
        Self { folder: clean(folder), dockerfile: clean(dockerfile) }
    }

    /// The Dockerfile's name in the context: where it is, or, if it lies outside, a name that nothing else has.
    pub(crate) fn dockerfile_in_context(&self) -> String {
        self.inside(&self.dockerfile).map_or_else(|| ".slipway.Dockerfile".to_owned(), str::to_owned)
    }

    /// The path within the context, if it lies there.
    pub(crate) fn inside<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.folder.is_empty() {
            Some(path)
        } else {
            path.strip_prefix(self.folder.as_str())?.strip_prefix('/')
        }
    }
}

/// A path without `.`, empty components and slashes at its ends. (`..` was refused when slipway.toml was read.)
pub(crate) fn clean(path: &str) -> String {
    path.split('/').filter(|p| !p.is_empty() && *p != ".").collect::<Vec<_>>().join("/")
}

/// A context on its way.
pub(crate) struct ContextStream {
    /// The tar's bytes.
    pub(crate) chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// What came of it, told after the last chunk.
    pub(crate) outcome: oneshot::Receiver<Result<Sent, HookError>>,
    /// Raw file bytes sent so far: a sign of life.
    pub(crate) progress: Arc<AtomicU64>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Files, links included.
    pub(crate) files: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Files that .dockerignore left out.
    pub(crate) ignored: usize,
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
    files.walk(&plan.folder, &mut |entry| {
        let Some(name) = plan.inside(&entry.name) else { return Ok(true) };
        // The engine needs the Dockerfile even where it is ignored. (It does not need the ignore file: that is ours to obey.)
        if entry.name != plan.dockerfile && ignore.matches(name) {
            packing.sent.ignored += 1;
            return Ok(true);
        }
        packing.add(name, entry)?;
        Ok(true)
    })?;
    if plan.inside(&plan.dockerfile).is_none() {
        let entry = files
            .entry(&plan.dockerfile)?
            .ok_or_else(|| HookError::NoDockerfile { path: plan.dockerfile.clone() })?;
        packing.add(&plan.dockerfile_in_context(), &entry)?;
    }
    let sent = packing.sent;
    packing.tar.into_inner().and_then(|mut chunks| chunks.flush()).map_err(gone)?;
    Ok(sent)
}

/// `<Dockerfile>.dockerignore` if there is one, else `.dockerignore` of the context.
fn read_ignore(files: &dyn Files, plan: &ContextPlan) -> Result<Ignore, HookError> {
    let own = format!("{}.dockerignore", plan.dockerfile);
    let common = if plan.folder.is_empty() {
        ".dockerignore".to_owned()
    } else {
        format!("{}/.dockerignore", plan.folder)
    };
    for path in [own, common] {
        if let Some(text) = files.file(&path, IGNORE_BYTES_MAX)? {
            return Ignore::parse(&path, &text);
        }
    }
    Ok(Ignore::default())
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
        let most = self.limits.build_context_file_size_max;
        if size > most {
            return Err(HookError::Context {
                path: entry.name.clone(),
                why: format!("it has {} MiB and may have {}", size >> 20, most >> 20),
                cure: "Leave it out in .dockerignore and fetch it during the build.".into(),
            });
        }
        self.sent.bytes = self.sent.bytes.saturating_add(size);
        let most = self.limits.build_context_size_max;
        if self.sent.bytes > most {
            return Err(HookError::ContextTooLarge { what: "bytes", limit: most });
        }
        let is_short = size <= LFS_POINTER_BYTES_MAX as u64;
        if is_short && is_lfs_pointer(&self.files.blob(&entry.id, size)?) {
            return Err(HookError::Context {
                path: entry.name.clone(),
                why: "it is a Git LFS pointer, and this server does not have its content".into(),
                cure: "Commit the file itself (git lfs migrate export), or leave it out in .dockerignore."
                    .into(),
            });
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

/// The pointer format's own test: git-lfs/docs/spec.md.
fn is_lfs_pointer(data: &[u8]) -> bool {
    data.len() <= LFS_POINTER_BYTES_MAX && data.starts_with(b"version https://git-lfs.github.com/spec/")
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

#[cfg(test)]
pub(crate) mod tests;
