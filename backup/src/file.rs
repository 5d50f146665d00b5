//! A backup as one file, to be carried away.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use slipway_core::{Problem, ProblemKind};

use crate::disk;
use crate::folder::Verified;
use crate::limits::BUFFER_BYTES;
use crate::reader::{self, Head, Meta, Sink};
use crate::refusal::unwritable;
use crate::writer::End;

/// Writes a backup to a file of that name, `-` aside: the whole of it, synced and read once more, or none.
///
/// # Errors
/// A file that is there, a disk that fails, a stream that is not whole.
pub fn write_file(input: &mut dyn Read, path: &Path) -> Result<(Head, End, Verified), Problem> {
    if path.exists() {
        let what = format!("{} is there already.", path.display());
        return Err(Problem::new(ProblemKind::Conflict, what, "Name a file that is not there yet."));
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".part");
    let draft = Draft(PathBuf::from(draft));
    let mut file = disk::create_anew(&draft.0)?;
    let mut copied = Copied { from: input, to: &mut file, failed: None };
    let read = reader::read(&mut copied, &mut Nothing);
    if let Some(e) = copied.failed.take() {
        return Err(unwritable(path)(e));
    }
    let (head, end) = read?;
    // What follows the end is the tar's own.
    std::io::copy(&mut copied, &mut std::io::sink()).map_err(unwritable(path))?;
    file.sync_all().map_err(unwritable(path))?;
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut counted = Counted::default();
    let again = reader::read(&mut disk::open_plain(&draft.0)?, &mut counted)?;
    if again != (head.clone(), end.clone()) {
        return Err(crate::refusal::damaged("what was read once more is not what was written"));
    }
    disk::put(&draft.0, path)?;
    Ok((head, end, counted.0))
}

/// A file that goes, unless it has been given its name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        drop(disk::remove(&self.0));
    }
}

/// What is read is written, too.
struct Copied<'a> {
    from: &'a mut dyn Read,
    to: &'a mut File,
    failed: Option<std::io::Error>,
}

impl Read for Copied<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(BUFFER_BYTES);
        let read = self.from.read(&mut buffer[..most])?;
        if let Err(e) = self.to.write_all(&buffer[..read]) {
            let told = std::io::Error::new(e.kind(), e.to_string());
            self.failed = Some(e);
            return Err(told);
        }
        Ok(read)
    }
}

/// Files are looked at and not kept.
pub(crate) struct Nothing;

impl Sink for Nothing {
    fn file(&mut self, _: &Meta, _: &mut dyn Read) -> Result<(), Problem> {
        Ok(())
    }
}

/// Counts them.
#[derive(Default)]
pub(crate) struct Counted(pub(crate) Verified);

impl Sink for Counted {
    fn file(&mut self, meta: &Meta, _: &mut dyn Read) -> Result<(), Problem> {
        self.0.files += 1;
        self.0.bytes = self.0.bytes.saturating_add(meta.size);
        Ok(())
    }
}
