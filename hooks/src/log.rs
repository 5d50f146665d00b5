//! The logs of builds: one file each below its repository's id, appended by one writing thread, read by anybody while it
//! grows.
//!
//! Knows no engine and no HTTP: whoever follows a log gets bytes and a signal that there are more. Writing never
//! blocks an async worker (a thread of the blocking pool owns the file) and never fails a build: a full disk costs the
//! log, not the image.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use slipway_core::build::Stage;
use slipway_core::{BuildNumber, RepoId, Secret};
use tokio::sync::{mpsc, oneshot, watch};

mod adopt;
pub(crate) mod files;
pub(crate) mod mask;
mod parts;
mod size;
mod writing;
use self::mask::Masker;
use self::writing::Writing;
use crate::limits::{LOG_ENTRIES_WAITING, LOG_LINE_BYTES_MAX, LOG_READ_BYTES_MAX};

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLength {
    /// Bytes that can be read.
    pub bytes: u64,
    /// Nothing will follow.
    pub closed: bool,
}

type Key = (RepoId, BuildNumber);

/// The folder `DATA/builds`.
#[derive(Debug)]
pub struct BuildLogs {
    root: PathBuf,
    /// Largest log, in bytes.
    most: u64,
    live: Mutex<HashMap<Key, Weak<Live>>>,
}

/// A log that somebody writes or follows.
#[derive(Debug, Default)]
struct Live {
    length: watch::Sender<LogLength>,
    /// Whoever holds it may write to the file: a later writer waits for an earlier one's last words.
    turn: Mutex<()>,
}

impl BuildLogs {
    /// Uses that folder; it is made when the first log is.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), most: size::usual(), live: Mutex::default() }
    }

    /// Opens the log for writing, at its end if there is one already (a build taken up again). Must be called inside a
    /// tokio runtime. Clones share a writer; a second writer's words come after all of the first one's.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub async fn writer(
        &self,
        repo: RepoId,
        number: BuildNumber,
        secrets: &[Secret],
    ) -> io::Result<BuildLog> {
        let path = self.path(repo, number);
        let opened = tokio::task::spawn_blocking(move || open(&path)).await.map_err(io::Error::other)?;
        let (file, bytes) = opened?;
        let live = self.live(repo, number);
        live.length.send_modify(|length| {
            length.bytes = length.bytes.max(bytes);
            length.closed = false;
        });
        let (entries, inbox) = mpsc::channel(LOG_ENTRIES_WAITING);
        let most = self.most;
        tokio::task::spawn_blocking(move || {
            let turn = live.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = file.metadata().map_or(bytes, |meta| meta.len());
            Writing::new(file, most, bytes, &live.length).run(inbox);
            drop(turn);
        });
        Ok(BuildLog {
            folder: self.root.join(repo.to_string()),
            entries,
            secrets: Arc::new(RwLock::new((secrets.to_vec(), Arc::new(Masker::new(secrets))))),
        })
    }

    /// Reads up to `max` bytes from `offset` (blocking: file system). Empty at the end, and where there is no log.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(&self, repo: RepoId, number: BuildNumber, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        read_at(&self.path(repo, number), offset, max)
    }

    /// The log's length in bytes (blocking: file system); 0 where there is none.
    ///
    /// # Errors
    /// Where the file system does not answer.
    pub fn len(&self, repo: RepoId, number: BuildNumber) -> io::Result<u64> {
        length_of(&self.path(repo, number))
    }

    /// Follows a log from `offset`: of a build that waits, runs, or was closed in this process. For a build that ended
    /// before this process began nothing will ever come; [`BuildLogs::read`] is for those.
    ///
    /// # Errors
    /// Where the file system does not answer.
    pub async fn follow(&self, repo: RepoId, number: BuildNumber, offset: u64) -> io::Result<LogFollower> {
        let path = self.path(repo, number);
        let live = self.live(repo, number);
        let there = path.clone();
        let bytes =
            tokio::task::spawn_blocking(move || length_of(&there)).await.map_err(io::Error::other)??;
        live.length.send_if_modified(|length| {
            let more = bytes > length.bytes;
            length.bytes = length.bytes.max(bytes);
            more
        });
        Ok(LogFollower { path, length: live.length.subscribe(), offset, _live: live })
    }

    /// Says that nothing will follow, to whoever follows.
    pub fn close(&self, repo: RepoId, number: BuildNumber) {
        let key = (repo, number);
        if let Some(live) = self.all().get(&key).and_then(Weak::upgrade) {
            live.length.send_modify(|length| length.closed = true);
        }
    }

    /// The numbers of the builds of a repository that have a log, in order (blocking: file system).
    ///
    /// # Errors
    /// Where the folder cannot be read; that there is none is fine.
    pub fn list(&self, repo: RepoId) -> io::Result<Vec<BuildNumber>> {
        let entries = match std::fs::read_dir(self.root.join(repo.to_string())) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            found.extend(number.map(BuildNumber));
        }
        found.sort_unstable_by_key(|number| number.0);
        Ok(found)
    }

    /// The file of a log, to be read; `None` if there is none (blocking: file system).
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn file(&self, repo: RepoId, number: BuildNumber) -> io::Result<Option<File>> {
        match File::open(self.path(repo, number)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    /// Size, with the files that are kept beside it, and last change of each log of a repository, by number (blocking: file system).
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn sizes(&self, repo: RepoId) -> io::Result<Vec<(BuildNumber, u64, SystemTime)>> {
        let mut found = Vec::new();
        for number in self.list(repo)? {
            match std::fs::metadata(self.path(repo, number)) {
                Ok(meta) => {
                    let beside: u64 = self.kept(repo, number).map_or(0, |kept| kept.bytes());
                    found.push((number, meta.len().saturating_add(beside), meta.modified()?));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// Removes one build's log, and what was kept beside it (blocking: file system).
    ///
    /// # Errors
    /// Where it cannot be removed; that there is none is fine.
    pub fn remove_one(&self, repo: RepoId, number: BuildNumber) -> io::Result<()> {
        ignore_missing(std::fs::remove_file(self.outline_path(repo, number)))?;
        ignore_missing(std::fs::remove_dir_all(self.files_folder(repo, number)))?;
        ignore_missing(std::fs::remove_file(self.path(repo, number)))
    }

    /// Removes a repository's logs (blocking: file system).
    ///
    /// # Errors
    /// Where the folder cannot be removed; that there is none is fine.
    pub fn remove(&self, repo: RepoId) -> io::Result<()> {
        ignore_missing(std::fs::remove_dir_all(self.root.join(repo.to_string())))
    }

    fn path(&self, repo: RepoId, number: BuildNumber) -> PathBuf {
        self.root.join(repo.to_string()).join(format!("{number}.log"))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Weak<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a log's writers and readers share, whoever comes first.
    fn live(&self, repo: RepoId, number: BuildNumber) -> Arc<Live> {
        let mut all = self.all();
        all.retain(|_, live| live.strong_count() > 0);
        let key = (repo, number);
        if let Some(live) = all.get(&key).and_then(Weak::upgrade) {
            return live;
        }
        let live = Arc::new(Live::default());
        all.insert(key, Arc::downgrade(&live));
        live
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

fn length_of(path: &Path) -> io::Result<u64> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

fn read_at(path: &Path, offset: u64, max: usize) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(max.min(LOG_READ_BYTES_MAX) as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads a log while it grows.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    length: watch::Receiver<LogLength>,
    offset: u64,
    // Keeps the channel alive where the reader came before the writer.
    _live: Arc<Live>,
}

impl LogFollower {
    /// The next bytes, at most `max`; waits for them. `None` once the log is closed and read to its end.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn next(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        loop {
            let now = *self.length.borrow_and_update();
            if now.bytes > self.offset {
                let (path, offset) = (self.path.clone(), self.offset);
                let read = tokio::task::spawn_blocking(move || read_at(&path, offset, max))
                    .await
                    .map_err(io::Error::other)??;
                if !read.is_empty() {
                    self.offset += read.len() as u64;
                    return Ok(Some(read.into()));
                }
            }
            if now.closed || self.length.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// The writing end of one build's log. Clones share it; when the last one is dropped, all is written.
#[derive(Clone, Debug)]
pub struct BuildLog {
    /// Where the logs of the same repository lie.
    pub(crate) folder: PathBuf,
    entries: mpsc::Sender<Entry>,
    secrets: Arc<RwLock<(Vec<Secret>, Arc<Masker>)>>,
}

#[derive(Debug)]
enum Entry {
    /// Whole lines, masked; `vital` ones are written past the limit.
    Text {
        bytes: Vec<u8>,
        vital: bool,
    },
    Flush(oneshot::Sender<()>),
}

impl BuildLog {
    /// Writes `== clone repository` and the like.
    pub async fn stage(&self, stage: Stage) {
        self.vital(&format!("== {}", stage.title())).await;
    }

    /// Writes one line of the program's own.
    pub async fn line(&self, line: &str) {
        self.text(line.as_bytes(), false).await;
    }

    /// Writes a line that must be seen even in a log that is full: a verdict.
    pub async fn vital(&self, line: &str) {
        self.text(line.as_bytes(), true).await;
    }

    /// Writes one line of output, as it is but for secrets and its length.
    pub async fn output(&self, line: &[u8]) {
        self.text(line, false).await;
    }

    /// Like [`BuildLog::line`], from a thread that may block.
    pub fn blocking_line(&self, line: &str) {
        let bytes = self.prepare(line.as_bytes());
        // The writer is gone only when the process ends.
        let _ = self.entries.blocking_send(Entry::Text { bytes, vital: false });
    }

    /// Hides this secret too, from now on.
    pub fn hide(&self, secret: Secret) {
        let mut held = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        if !held.0.contains(&secret) {
            held.0.push(secret);
            held.1 = Arc::new(Masker::new(&held.0));
        }
    }

    /// Waits until all that was written so far can be read.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    pub(crate) fn masker(&self) -> Arc<Masker> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    async fn text(&self, line: &[u8], vital: bool) {
        let bytes = self.prepare(line);
        let _ = self.entries.send(Entry::Text { bytes, vital }).await;
    }

    fn prepare(&self, line: &[u8]) -> Vec<u8> {
        broken(&self.masker().mask(line))
    }
}

/// The line with its end, and in several where it is longer than a line may be: nothing of it is lost.
fn broken(line: &[u8]) -> Vec<u8> {
    let most = LOG_LINE_BYTES_MAX * 2;
    let mut out = Vec::with_capacity(line.len() + 1 + line.len() / most);
    let mut rest = line;
    while rest.len() > most {
        // Not within a character of UTF-8, whose further bytes begin with 10.
        let back = (0..4).find(|back| rest[most - back] & 0xc0 != 0x80).unwrap_or(0);
        let (piece, more) = rest.split_at(most - back);
        out.extend_from_slice(piece);
        out.push(b'\n');
        rest = more;
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests;
