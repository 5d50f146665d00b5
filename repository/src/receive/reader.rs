//! Reading entries of the incoming pack again, once its bytes are here: from memory if they are few, else from the file
//! through a window that is wide where reading goes on and narrow where it jumps.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};

use crate::error::{RepoError, Result};
use crate::inflate::{FAST_ROOM, Source};
use crate::limits::{READ_AHEAD_BYTES, READ_JUMP_BYTES};
use crate::pack::{EntryHeader, HEADER_BYTES_MAX, parse_header};

/// Where a pack's bytes are.
#[derive(Clone, Copy)]
pub(crate) struct PackBytes<'a> {
    pub(crate) file: &'a File,
    /// All of them, if they are few.
    pub(crate) small: Option<&'a [u8]>,
    pub(crate) hash_len: usize,
}

impl Source for PackBytes<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let Some(small) = self.small else { return FileExt::read_at(self.file, buffer, offset) };
        let rest = usize::try_from(offset).ok().and_then(|at| small.get(at..)).unwrap_or_default();
        let got = rest.len().min(buffer.len());
        buffer[..got].copy_from_slice(&rest[..got]);
        Ok(got)
    }
}

/// One thread's way to them.
pub(crate) struct Reader<'a> {
    bytes: PackBytes<'a>,
    window: Vec<u8>,
    start: u64,
    /// Not here while it is at work.
    state: Option<Decompress>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: PackBytes<'a>) -> Self {
        Self { bytes, window: Vec::new(), start: 0, state: None }
    }

    /// The bytes at hand from `offset` on, at least `min` unless the file ends before.
    fn at(&mut self, offset: u64, min: usize) -> io::Result<&[u8]> {
        if let Some(small) = self.bytes.small {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(small.len());
            return Ok(&small[from..]);
        }
        let skip = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let inside = skip.filter(|skip| skip.saturating_add(min) <= self.window.len());
        let from = match inside {
            Some(skip) => skip,
            None => {
                let goes_on = skip.is_some_and(|skip| skip <= self.window.len() + READ_JUMP_BYTES);
                self.fill(offset, if goes_on { READ_AHEAD_BYTES } else { READ_JUMP_BYTES })?;
                0
            }
        };
        Ok(&self.window[from..])
    }

    fn fill(&mut self, offset: u64, want: usize) -> io::Result<()> {
        self.window.resize(want, 0);
        self.start = offset;
        let mut filled = 0;
        while filled < want {
            match self.bytes.file.read_at(&mut self.window[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.window.truncate(filled);
        Ok(())
    }

    /// The header of the entry at `offset`, which was scanned before.
    pub(crate) fn header(&mut self, offset: u64) -> Result<EntryHeader> {
        let hash_len = self.bytes.hash_len;
        let raw = self.at(offset, HEADER_BYTES_MAX).map_err(|e| changed(offset, &e.to_string()))?;
        parse_header(raw, offset, hash_len).ok_or_else(|| changed(offset, "its header is not valid"))
    }

    /// Inflates the entry's data, which must make exactly as many bytes as its header says, into `out` (cleared first).
    pub(crate) fn inflate(&mut self, entry: &EntryHeader, out: &mut Vec<u8>) -> Result<()> {
        let mut offset = entry.data_offset;
        let goal = usize::try_from(entry.size).map_err(|_| changed(offset, "it is too large"))?;
        out.clear();
        let mut state = self.state.take().unwrap_or_else(|| Decompress::new(true));
        state.reset(true);
        let done = loop {
            out.reserve((goal - out.len()).min(1 << 20) + FAST_ROOM);
            let input = match self.at(offset, 1) {
                Ok(input) => input,
                Err(e) => break Err(changed(offset, &e.to_string())),
            };
            let before = (state.total_in(), out.len());
            let Ok(status) = state.decompress_vec(input, out, FlushDecompress::None) else {
                break Err(changed(offset, "it is not zlib data"));
            };
            let used = state.total_in() - before.0;
            offset += used;
            if out.len() > goal {
                break Err(changed(offset, "it is longer than it says"));
            }
            if status == Status::StreamEnd {
                break if out.len() == goal {
                    Ok(())
                } else {
                    Err(changed(offset, "it is shorter than it says"))
                };
            }
            if used == 0 && out.len() == before.1 {
                break Err(changed(offset, "it is not zlib data"));
            }
        };
        self.state = Some(state);
        done
    }
}

fn changed(offset: u64, why: &str) -> RepoError {
    RepoError::bad_pack(format!("the object at byte {offset} cannot be read back: {why}"))
}
