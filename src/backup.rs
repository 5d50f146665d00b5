//! Backups of everything: what goes into one ([`make`]), who writes it where (the command line, [`command`], or the server by its
//! schedule, [`schedule`]). What a backup is, is `slipway-backup`'s.

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use slipway_core::{Problem, ProblemKind};

use self::make::{Parts, Wants};

pub(crate) mod command;
pub(crate) mod make;
pub(crate) mod schedule;
pub(crate) mod settings;

/// Pieces that wait between who makes a backup and who takes it.
const PIECES_MAX: usize = 8;
/// The lowest priority there is (setpriority(2)), of the thread alone.
const NICE: i32 = 19;

/// Everything else goes first.
fn give_way() {
    if let Err(e) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("a backup runs at the priority of everything else: {e}");
    }
}

/// Two ends: what is written at one is read at the other. A reader hears an error that was sent, and an end without one as an end.
fn pipe() -> (Pieces, Joined) {
    let (pieces, joined) = mpsc::sync_channel(PIECES_MAX);
    (Pieces(pieces), Joined { pieces: joined, piece: bytes::Bytes::new() })
}

#[derive(Clone)]
struct Pieces(mpsc::SyncSender<io::Result<bytes::Bytes>>);

impl Pieces {
    fn send(&self, piece: io::Result<bytes::Bytes>) -> io::Result<()> {
        self.0.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Ok(bytes::Bytes::copy_from_slice(bytes)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Joined {
    pieces: mpsc::Receiver<io::Result<bytes::Bytes>>,
    piece: bytes::Bytes,
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.recv() {
                Ok(piece) => self.piece = piece?,
                Err(mpsc::RecvError) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Makes a backup on a thread of its own, and has it taken in on this one.
fn within<T>(
    parts: &Parts,
    wants: &Wants,
    stop: &AtomicBool,
    take: impl FnOnce(&mut dyn Read) -> Result<T, Problem>,
) -> Result<T, Problem> {
    std::thread::scope(|scope| {
        let (mut out, mut input) = pipe();
        let making = scope.spawn(move || {
            give_way();
            parts.write(wants, &mut out, stop)
        });
        let taken = take(&mut input);
        // Whoever still writes finds nobody there.
        drop(input);
        match (making.join(), taken) {
            (Ok(Ok(_)), taken) => taken,
            // What it was not made for says more than that it is cut short; that it is not taken says more than that nobody is there.
            (_, Err(problem)) => Err(problem),
            (Ok(Err(problem)), Ok(_)) => Err(problem),
            (Err(_), Ok(_)) => Err(Problem::new(
                ProblemKind::Broken,
                "The backup broke off inside the server.",
                "See the server's log, and report it.",
            )),
        }
    })
}
