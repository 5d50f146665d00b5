//! Standard output and standard error: the one place of the program that prints. A disk that is full, a reader that has left
//! or a stream that is closed costs the line, and never a panic or the process (`tests/tidy.rs` holds the rest of the house to it).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use slipway_core::{Problem, ProblemKind};

/// Whoever read standard output has left.
static LEFT: AtomicBool = AtomicBool::new(false);
/// Lines of the log that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// A line for people on standard error.
pub(crate) fn say(line: impl Display) {
    // Where this cannot be told there is nobody to tell it to.
    drop(io::stderr().lock().write_all(format!("{line}\n").as_bytes()));
}

/// A line of what was asked for on standard output.
pub(crate) fn print(line: impl Display) {
    drop(write(format!("{line}\n").as_bytes()));
}

/// A piece of what was asked for on standard output, flushed, so that a followed log is live.
///
/// # Errors
/// A [`Problem`] if it cannot be written; nothing is said of a reader that has left ([`reader_left`]).
pub(crate) fn write(bytes: &[u8]) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| {
        if e.kind() == ErrorKind::BrokenPipe {
            LEFT.store(true, Ordering::Relaxed);
        }
        Problem::new(
            ProblemKind::Cancelled,
            format!("The output cannot be written: {e}."),
            "Check where it goes to, and the space there.",
        )
    })
}

/// True once whoever read standard output (`| head`) has left: all that they wanted they have.
pub(crate) fn reader_left() -> bool {
    LEFT.load(Ordering::Relaxed)
}

/// Where the log goes: standard error. What cannot be written is counted, and the count is told once it can.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        log(&mut io::stderr().lock(), line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(out: &mut impl Write, line: &[u8]) {
    let lost = LOST.swap(0, Ordering::Relaxed);
    let told = match lost {
        0 => Ok(()),
        _ => out.write_all(format!("{lost} lines of this log could not be written here\n").as_bytes()),
    };
    let kept = told.map_err(|_| lost).and_then(|()| out.write_all(line).map_err(|_| 0));
    if let Err(lost) = kept {
        LOST.fetch_add(lost + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes lines while there is room.
    struct Disk {
        full: bool,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.full {
                return Err(io::Error::from(ErrorKind::StorageFull));
            }
            self.text.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_took_away_are_counted_and_told() {
        let mut disk = Disk { full: false, text: Vec::new() };
        log(&mut disk, b"one\n");
        disk.full = true;
        for _ in 0..3 {
            log(&mut disk, b"lost\n");
        }
        disk.full = false;
        log(&mut disk, b"two\n");
        log(&mut disk, b"three\n");
        let text = String::from_utf8(disk.text).expect("text");
        assert_eq!(text, "one\n3 lines of this log could not be written here\ntwo\nthree\n");
    }
}
