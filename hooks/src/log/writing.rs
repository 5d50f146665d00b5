//! The writing thread's side of a log. Past its bound a log goes on with its end: the last words of a flood say what went
//! wrong. They are kept in memory, and written before the next word of the program's own, or when nothing follows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};

use tokio::sync::{mpsc, watch};

use super::{Entry, LogLength, size};
use crate::limits::{LOG_RESERVE_BYTES, LOG_TAIL_BYTES};

/// One log that is being written.
pub(super) struct Writing<'a> {
    file: File,
    most: u64,
    bytes: u64,
    /// What found no room: the last of it.
    tail: VecDeque<Vec<u8>>,
    tail_bytes: u64,
    /// Bytes that came before the tail and are gone, since it was written last.
    left_out: u64,
    /// Bytes that the disk did not take since it last took some.
    lost: u64,
    length: &'a watch::Sender<LogLength>,
}

impl<'a> Writing<'a> {
    /// Appends to a file that has `bytes`, of `most` but for the end and what is vital.
    pub(super) fn new(file: File, most: u64, bytes: u64, length: &'a watch::Sender<LogLength>) -> Self {
        Self { file, most, bytes, tail: VecDeque::new(), tail_bytes: 0, left_out: 0, lost: 0, length }
    }

    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Entry>) {
        while let Some(entry) = inbox.blocking_recv() {
            match entry {
                Entry::Text { bytes, vital } => self.text(bytes, vital),
                Entry::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
        self.end();
    }

    pub(super) fn text(&mut self, line: Vec<u8>, vital: bool) {
        if vital {
            self.end();
            if self.has_room(line.len() as u64) {
                self.write(&line);
            }
        } else if self.tail.is_empty() && self.bytes + line.len() as u64 <= self.most {
            self.write(&line);
        } else {
            self.keep(line);
        }
    }

    /// Writes what was kept, after how much is missing before it.
    pub(super) fn end(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        let (tail_bytes, left_out) =
            (std::mem::take(&mut self.tail_bytes), std::mem::take(&mut self.left_out));
        if tail.is_empty() || !self.has_room(tail_bytes) {
            return;
        }
        if left_out > 0 {
            let note = size::note(self.most, left_out);
            self.write(note.as_bytes());
        }
        tail.iter().for_each(|line| self.write(line));
    }

    /// True where words past the bound have room.
    fn has_room(&self, bytes: u64) -> bool {
        self.bytes + bytes <= self.most + LOG_RESERVE_BYTES
    }

    fn keep(&mut self, line: Vec<u8>) {
        self.tail_bytes += line.len() as u64;
        self.tail.push_back(line);
        while self.tail_bytes > LOG_TAIL_BYTES && self.tail.len() > 1 {
            let gone = self.tail.pop_front().map_or(0, |line| line.len() as u64);
            self.tail_bytes -= gone;
            self.left_out += gone;
        }
    }

    fn write(&mut self, line: &[u8]) {
        let lost = self.lost;
        let told = match lost {
            0 => Ok(()),
            _ => self.append(
                format!("[{lost} bytes of the log are lost: the disk did not take them]\n").as_bytes(),
            ),
        };
        match told.and_then(|()| self.append(line)) {
            Ok(()) => self.lost = 0,
            Err(e) => {
                if lost == 0 {
                    tracing::warn!(error = %e, "a build log cannot be written; the build goes on without it");
                }
                self.lost += line.len() as u64;
            }
        }
        self.bytes = self.file.metadata().map_or(self.bytes, |meta| meta.len());
        let bytes = self.bytes;
        self.length.send_modify(|length| length.bytes = bytes);
    }

    /// Appends all of it, or nothing: half a line would run into the next one that finds room.
    fn append(&self, line: &[u8]) -> io::Result<()> {
        (&self.file).write_all(line).inspect_err(|_| {
            // What readers have seen of it they have; the file is opened for appending, so that nothing is overwritten.
            drop(self.file.set_len(self.bytes));
        })
    }
}
