//! How a database is opened so that no harm comes to it. sled mends what it takes for a torn end while it opens, and so destroys what
//! could still be read behind a damaged spot. Therefore the files are set aside first and put back if what was opened is not all that
//! was acknowledged. Knows files and their names, and no record.
//!
//! Beside the folder `db`: `db.lock` keeps a second process away; `db.copying` is a copy that is not whole yet, `db.opening` a whole one,
//! `db.new` a database that is being made, `db.discarded` one that goes. Each step is one `rename`, so `kill -9` between any
//! two of them is answered by [`Folder::take`] at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::limits::{
    CLEAN_EVERY_MS, LOCK_WAIT_MS, MEND_ROOM_BYTES, OPEN_BYTES_PER_SECOND, OPEN_SECONDS_MIN, SEGMENT_BYTES,
};

/// sled's own data file in the folder.
pub(super) const DATA_FILE: &str = "db";

/// A database's folder that this process alone may touch, as long as this lives.
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes it, waiting a moment for another process to let go, and undoes what a start that was cut off has left.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let failed = |e: io::Error| failed(path, &e);
        let above = parent(path);
        DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(failed)?;
        let lock = lock_file(&beside(path, "lock")).map_err(failed)?;
        wait_for(|| lock.try_lock(), path)?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.wait_for_older_server()?;
        folder.recover().map_err(failed)?;
        Ok(folder)
    }

    /// A server of version 0.1 knows nothing of `db.lock`, and locks sled's data file alone.
    fn wait_for_older_server(&self) -> Result<(), StoreError> {
        match File::open(self.path.join(DATA_FILE)) {
            Ok(file) => {
                wait_for(|| file.try_lock(), &self.path)?;
                file.unlock().map_err(|e| failed(&self.path, &e))
            }
            // Whatever it is, opening says it better.
            Err(_) => Ok(()),
        }
    }

    fn recover(&self) -> io::Result<()> {
        for name in ["copying", "new", "discarded"] {
            remove(&beside(&self.path, name))?;
        }
        drop(fs::remove_file(beside(&self.path, "probe")));
        if beside(&self.path, "opening").exists() {
            tracing::warn!(path = %self.path.display(), "an opening of the database was cut off; its files are put back");
            self.put_back()?;
        }
        Ok(())
    }

    /// Waits until the engine, whose last threads may still end, has let go of its file.
    pub(super) fn wait_until_closed(&self) -> Result<(), StoreError> {
        self.wait_for_older_server()
    }

    /// Whether there is room to open the database anew, which takes two copies of it, and whether the disk takes a write.
    pub(super) fn has_room(&self) -> Result<(), StoreError> {
        let probe = beside(&self.path, "probe");
        let room = || {
            if super::room::free(parent(&self.path))? < 2 * size_of(&self.path)? + MEND_ROOM_BYTES as u64 {
                return Err(io::Error::from(ErrorKind::StorageFull));
            }
            let mut file = File::create(&probe)?;
            file.write_all(&vec![0x5a; SEGMENT_BYTES])?;
            file.sync_all()
        };
        let room = room();
        // Whatever came of it, its room is needed for better things.
        drop(fs::remove_file(&probe));
        room.map_err(|e| StoreError::Disk { path: self.path.clone(), doing: "written", cause: e.to_string() })
    }

    /// Puts a fresh copy of the files in their place, every byte of it written and synced.
    pub(super) fn renew(&self) -> Result<(), StoreError> {
        let failed = |e: io::Error| StoreError::Disk {
            path: self.path.clone(),
            doing: "written",
            cause: e.to_string(),
        };
        let copying = beside(&self.path, "copying");
        let copied = remove(&copying)
            .and_then(|()| copy(&self.path, &copying))
            .and_then(|()| fs::rename(&copying, beside(&self.path, "opening")))
            .and_then(|()| sync(parent(&self.path)));
        if let Err(e) = copied {
            drop(remove(&copying));
            return Err(failed(e));
        }
        self.put_back().map_err(failed)
    }

    /// True if there is no database yet, nor anything of one.
    pub(super) fn is_new(&self) -> Result<bool, StoreError> {
        match fs::read_dir(&self.path) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
            Err(e) => Err(failed(&self.path, &e)),
        }
    }

    /// Copies the files aside. A full disk is no reason not to start: then there is no copy, and one warning.
    pub(super) fn set_aside(&self) -> Result<(), StoreError> {
        let copying = beside(&self.path, "copying");
        let copied = copy(&self.path, &copying)
            .and_then(|()| fs::rename(&copying, beside(&self.path, "opening")))
            .and_then(|()| sync(parent(&self.path)));
        match copied {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::StorageFull || e.kind() == ErrorKind::QuotaExceeded => {
                remove(&copying).map_err(|e| failed(&self.path, &e))?;
                tracing::warn!(path = %self.path.display(), "there is no room to set the database's files aside while it is opened");
                Ok(())
            }
            Err(e) => Err(failed(&self.path, &e)),
        }
    }

    /// What was opened is whole: the copy goes.
    pub(super) fn keep(&self) -> Result<(), StoreError> {
        self.discard(&beside(&self.path, "opening")).map_err(|e| failed(&self.path, &e))
    }

    /// What was opened is not whole: the files are as they were before. Without a copy they stay as they are.
    pub(super) fn put_back(&self) -> io::Result<()> {
        let copy = beside(&self.path, "opening");
        if !copy.exists() {
            return Ok(());
        }
        let discarded = beside(&self.path, "discarded");
        remove(&discarded)?;
        if self.path.exists() {
            fs::rename(&self.path, &discarded)?;
        }
        fs::rename(&copy, &self.path)?;
        sync(parent(&self.path))?;
        remove(&discarded)
    }

    /// An empty folder where a new database is made before it has its name. Private, since sled itself would let everyone on
    /// the host read hashes of tokens and cookies.
    pub(super) fn draft(&self) -> Result<PathBuf, StoreError> {
        let draft = beside(&self.path, "new");
        DirBuilder::new().mode(0o700).create(&draft).map_err(|e| failed(&self.path, &e))?;
        Ok(draft)
    }

    /// Gives the new database its name, which is free or an empty folder's.
    pub(super) fn publish(&self) -> Result<(), StoreError> {
        let draft = beside(&self.path, "new");
        let publish = || {
            sync_all(&draft)?;
            fs::rename(&draft, &self.path)?;
            sync(parent(&self.path))
        };
        publish().map_err(|e| failed(&self.path, &e))
    }

    /// Moves the database away under that name, for people to look at.
    pub(super) fn move_away(&self, suffix: &str) -> Result<PathBuf, StoreError> {
        let to = beside(&self.path, suffix);
        fs::rename(&self.path, &to)
            .and_then(|()| sync(parent(&self.path)))
            .map_err(|e| failed(&self.path, &e))?;
        Ok(to)
    }

    /// The name goes durably before the files do: half a folder is never taken for a whole one.
    fn discard(&self, which: &Path) -> io::Result<()> {
        let discarded = beside(&self.path, "discarded");
        remove(&discarded)?;
        match fs::rename(which, &discarded) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        }
        sync(parent(&self.path))?;
        remove(&discarded)
    }
}

/// A copy of a database's files, to be read with whatever that does to them. It goes with this value.
pub(super) struct Copy(PathBuf);

impl Copy {
    /// Copies the folder; whoever asks holds its lock.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let to = Self(beside(path, "copying"));
        copy(path, &to.0).map_err(|e| failed(path, &e))?;
        Ok(to)
    }

    /// Copies anew, without sled's snapshots of its own state.
    pub(super) fn renew_without_snapshots(&self, path: &Path) -> io::Result<()> {
        remove(&self.0)?;
        copy(path, &self.0)?;
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // The next start removes what is left.
        drop(remove(&self.0));
    }
}

/// Why sled did not open.
pub(super) enum Refusal {
    /// What lies there cannot be what was written.
    Damaged(String),
    /// The system does not let us.
    System(String),
}

/// Opens sled on a thread of its own, since on some kinds of damage it panics, and on others it never ends.
pub(super) fn open_sled(path: &Path) -> Result<sled::Db, Refusal> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(slipway_core::limits::in_force().database_cache_max)
        .flush_every_ms(Some(CLEAN_EVERY_MS))
        .segment_size(SEGMENT_BYTES);
    let (done, opened) = mpsc::sync_channel(1);
    let opener = move || {
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
        // Whoever waited may have given up.
        drop(done.send(opened));
    };
    let thread = std::thread::Builder::new().name("database opening".into()).spawn(opener);
    thread.map_err(|e| Refusal::System(e.to_string()))?;
    let bytes = fs::metadata(path.join(DATA_FILE)).map_or(0, |facts| facts.len());
    let patience = Duration::from_secs(OPEN_SECONDS_MIN + bytes / OPEN_BYTES_PER_SECOND);
    match opened.recv_timeout(patience) {
        Ok(Ok(Ok(database))) => Ok(database),
        Ok(Ok(Err(error))) => Err(refusal(error)),
        Ok(Err(_)) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(Refusal::Damaged("its log is not what the engine writes".to_owned()))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(Refusal::Damaged(format!("the engine has not read its log in {} s", patience.as_secs())))
        }
    }
}

fn refusal(error: sled::Error) -> Refusal {
    match &error {
        // Errors of the system have a number; the others are sled's own words for bytes that do not fit.
        sled::Error::Io(e) if e.raw_os_error().is_some() => Refusal::System(super::plain(error)),
        _ => Refusal::Damaged(super::plain(error)),
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Disk { path: path.to_owned(), doing: "opened", cause: error.to_string() }
}

fn wait_for(mut try_lock: impl FnMut() -> Result<(), TryLockError>, path: &Path) -> Result<(), StoreError> {
    let give_up = Instant::now() + Duration::from_millis(LOCK_WAIT_MS);
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => return Err(failed(path, &e)),
        }
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `PATH.SUFFIX`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The bytes of all files of a folder.
fn size_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// Copies a folder, each file synced.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync(to)
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_all(&entry.path())? } else { sync(&entry.path())? }
    }
    sync(folder)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
