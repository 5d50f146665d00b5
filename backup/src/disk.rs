//! Files and folders that only their owner reads, made durable.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use slipway_core::{Problem, ProblemKind};

use crate::limits::BUFFER_BYTES;
use crate::refusal::{unreadable, unwritable};

/// Makes a folder, and those above it.
pub(crate) fn make(folder: &Path) -> Result<(), Problem> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unwritable(folder))
}

/// A new file; one that is there is an error.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).read(true).create_new(true).mode(0o600).open(path)
}

/// A file in place of what an earlier try has left.
pub(crate) fn create_anew(path: &Path) -> Result<File, Problem> {
    remove(path)?;
    create(path).map_err(unwritable(path))
}

/// A file to lock.
pub(crate) fn lock_file(path: &Path) -> Result<File, Problem> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    file.map_err(unwritable(path))
}

/// A file without a name in that folder.
pub(crate) fn nameless(folder: &Path) -> io::Result<File> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".backup-{}-{number}", std::process::id()));
    let file = create(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Problem> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unwritable(path)(e)),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_all(folder: &Path) -> Result<(), Problem> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unwritable(folder)(e)),
        _ => Ok(()),
    }
}

/// Moves a file or folder to its place, durably.
pub(crate) fn put(from: &Path, to: &Path) -> Result<(), Problem> {
    fs::rename(from, to).map_err(unwritable(to))?;
    // Of a name alone, the folder is the one where we are.
    sync(to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Makes new names in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<(), Problem> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(unwritable(folder))
}

/// Makes everything on the file system of that folder durable: thousands of files in one go.
pub(crate) fn sync_file_system(folder: &Path) -> Result<(), Problem> {
    let sync = || Ok(rustix::fs::syncfs(File::open(folder)?)?);
    sync().map_err(unwritable(folder))
}

/// Refuses where there is no room for so many bytes.
pub(crate) fn need_room(folder: &Path, bytes: u64) -> Result<(), Problem> {
    let stat = rustix::fs::statvfs(folder).map_err(|e| unreadable(folder)(e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::TooLarge,
        format!(
            "The backup needs {} MiB, and {} has {} MiB free.",
            bytes >> 20,
            folder.display(),
            free >> 20
        ),
        "Free some space, or name another folder.",
    ))
}

/// Hands all bytes over, in large pieces.
pub(crate) fn pour(
    from: &mut dyn Read,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
) -> Result<(), PourError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(PourError::From(e)),
        };
        take(&buffer[..read]).map_err(PourError::To)?;
    }
}

/// Which side failed.
pub(crate) enum PourError {
    From(io::Error),
    To(Problem),
}

/// Opens a file to read: a file and nothing else, whatever its name leads to.
pub(crate) fn open_plain(path: &Path) -> Result<File, Problem> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
        .map_err(unreadable(path))?;
    if file.metadata().map_err(unreadable(path))?.is_file() {
        return Ok(file);
    }
    Err(unreadable(path)(io::Error::other("it is no plain file")))
}
