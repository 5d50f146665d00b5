//! Inflating zlib streams through one reused state per thread (its set-up costs more than most objects).

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use crate::limits::{BUFFER_BYTES, STREAM_BUFFER_BYTES};

/// Room beyond an object's end, in bytes, with which its last bytes are inflated as fast as the others.
pub(crate) const FAST_ROOM: usize = 320;

/// Why inflating stopped.
#[derive(Debug)]
pub(crate) enum InflateError {
    /// The bytes are no zlib stream, or it makes another amount than announced.
    Broken(&'static str),
    /// The source failed.
    Io(std::io::Error),
}

impl From<std::io::Error> for InflateError {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e)
    }
}

thread_local! {
    static STATE: RefCell<(Decompress, Vec<u8>)> =
        RefCell::new((Decompress::new(true), vec![0; BUFFER_BYTES]));
}

/// A place to read compressed bytes from: fills the buffer's start from an offset, returns how many; 0 at the end.
pub(crate) trait Source {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize>;
}

/// Inflates the stream at `offset`, which must make exactly `size` bytes, into `out` (cleared first).
pub(crate) fn inflate_exact(
    source: &dyn Source,
    offset: u64,
    size: u64,
    out: &mut Vec<u8>,
) -> Result<(), InflateError> {
    out.clear();
    // What the stream says it makes is not trusted with memory ahead of its bytes.
    out.reserve(usize::try_from(size).unwrap_or(usize::MAX).min(1 << 20) + FAST_ROOM);
    let made = inflate_prefix(source, offset, size, out, true)?;
    if made { Ok(()) } else { Err(InflateError::Broken("it is shorter than it says")) }
}

/// Inflates at most `size` bytes into `out`, appended; with `exact` the stream must also end there. Returns whether
/// `size` bytes were made.
pub(crate) fn inflate_prefix(
    source: &dyn Source,
    mut offset: u64,
    size: u64,
    out: &mut Vec<u8>,
    exact: bool,
) -> Result<bool, InflateError> {
    let size = usize::try_from(size).map_err(|_| InflateError::Broken("it is too large"))?;
    let goal = out.len().checked_add(size).ok_or(InflateError::Broken("it is too large"))?;
    STATE.with_borrow_mut(|(state, buffer)| {
        state.reset(true);
        let mut window = buffer.len().min(size.saturating_add(512));
        loop {
            let got = source.read_at(&mut buffer[..window], offset)?;
            window = buffer.len();
            if got == 0 {
                return Err(InflateError::Broken("it ends early"));
            }
            let mut input = &buffer[..got];
            loop {
                // More than the goal, so that a stream that makes too much shows itself.
                out.reserve((goal - out.len()).min(1 << 20) + FAST_ROOM);
                let (before_in, before_out) = (state.total_in(), out.len());
                let status = state
                    .decompress_vec(input, out, FlushDecompress::None)
                    .map_err(|_| InflateError::Broken("it is not zlib data"))?;
                let used = (state.total_in() - before_in) as usize;
                input = &input[used..];
                offset += used as u64;
                if out.len() > goal {
                    out.truncate(goal);
                    return if exact {
                        Err(InflateError::Broken("it is longer than it says"))
                    } else {
                        Ok(true)
                    };
                }
                if status == Status::StreamEnd {
                    return Ok(out.len() == goal);
                }
                if !exact && out.len() == goal {
                    return Ok(true);
                }
                if used == 0 && out.len() == before_out {
                    if input.is_empty() {
                        break;
                    }
                    return Err(InflateError::Broken("it is not zlib data"));
                }
            }
        }
    })
}

impl<S: Source + ?Sized> Source for &S {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

impl<S: Source + ?Sized> Source for std::sync::Arc<S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

/// A zlib stream that is read piece by piece, and holds no more of it than a buffer.
pub(crate) struct Inflating<S> {
    source: S,
    offset: u64,
    left: u64,
    state: Decompress,
    buffer: Vec<u8>,
    at: usize,
}

impl<S: Source> Inflating<S> {
    /// The stream at `offset`, which makes `size` bytes.
    pub(crate) fn new(source: S, offset: u64, size: u64) -> Self {
        Self { source, offset, left: size, state: Decompress::new(true), buffer: Vec::new(), at: 0 }
    }

    fn fill(&mut self) -> std::io::Result<()> {
        self.buffer.resize(STREAM_BUFFER_BYTES, 0);
        let got = self.source.read_at(&mut self.buffer, self.offset)?;
        self.buffer.truncate(got);
        (self.at, self.offset) = (0, self.offset + got as u64);
        Ok(())
    }
}

impl<S: Source> std::io::Read for Inflating<S> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let want = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        loop {
            if self.at == self.buffer.len() {
                self.fill()?;
            }
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let broken = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
            let input = &self.buffer[self.at..];
            let status = self
                .state
                .decompress(input, &mut out[..want], FlushDecompress::None)
                .map_err(|_| broken("it is not zlib data"))?;
            let used = (self.state.total_in() - before_in) as usize;
            let made = (self.state.total_out() - before_out) as usize;
            self.at += used;
            if made > 0 {
                self.left -= made as u64;
                return Ok(made);
            }
            if status == Status::StreamEnd {
                return Err(broken("it is shorter than it says"));
            }
            // Without any progress there is either no more of it, though it has not ended, or it is no such stream.
            if used == 0 {
                let more = self.at < self.buffer.len();
                return Err(broken(if more { "it is not zlib data" } else { "it ends early" }));
            }
        }
    }
}
