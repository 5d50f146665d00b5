//! The bytes of an answer, pulled a buffer at a time: nothing is made ahead of the one who sends.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::Compression;
use flate2::bufread::ZlibEncoder;
use flate2::read::ZlibDecoder;
use sha1::{Digest, Sha1};
use slipway_core::Oid;

use super::plan::{Base, Item, Plan};
use crate::error::{RepoError, Result};
use crate::limits::LINKED_OBJECT_BYTES_MAX;
use crate::loose::{Loose, path_of};
use crate::object::Objects;
use crate::pack::{write_distance, write_type_and_size};
use crate::snapshot::Snapshot;

/// A pack on its way out.
pub struct PackStream {
    snapshot: Arc<Snapshot>,
    plan: Plan,
    /// Where each item began in the answer, as far as it is sent.
    begun: Vec<u64>,
    /// Bytes given out.
    sent: u64,
    hash: Sha1,
    /// Made bytes to give out before anything else, and how many of them are.
    ready: Vec<u8>,
    ready_at: usize,
    current: Current,
}

/// What bytes come from once those at the ready are out.
enum Current {
    /// The next item.
    Next,
    /// A range of a pack.
    Copy { pack: u32, at: u64, end: u64 },
    /// A loose object being packed.
    Loose(Box<dyn Read + Send>),
    /// Nothing: the trailer is out.
    Done,
}

impl PackStream {
    pub(crate) fn new(snapshot: Arc<Snapshot>, plan: Plan) -> Self {
        let mut ready = Vec::from(*b"PACK\0\0\0\x02");
        ready.extend_from_slice(&plan.count.to_be_bytes());
        let begun = Vec::with_capacity(plan.items.len());
        Self { snapshot, plan, begun, sent: 0, hash: Sha1::new(), ready, ready_at: 0, current: Current::Next }
    }

    /// How many objects it has.
    pub fn objects(&self) -> u32 {
        self.plan.count
    }

    /// Fills `out` (what it held is replaced) with up to `max` bytes of the pack; false at the end, with `out` empty.
    /// Never holds more than its buffers, but for an object that must be made anew from a delta.
    ///
    /// # Errors
    /// Where the repository's files cannot be read; the pack is then worthless.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>, max: usize) -> Result<bool> {
        // Not cleared first: bytes that will be overwritten need not be zeroed.
        out.resize(max, 0);
        let mut filled = 0;
        while filled < max {
            let before = filled;
            if self.ready_at < self.ready.len() {
                let n = (self.ready.len() - self.ready_at).min(max - filled);
                out[filled..filled + n].copy_from_slice(&self.ready[self.ready_at..self.ready_at + n]);
                self.ready_at += n;
                filled += n;
            } else {
                match self.more(&mut out[filled..])? {
                    Some(n) => filled += n,
                    None => break,
                }
            }
            self.sent += (filled - before) as u64;
            if !matches!(self.current, Current::Done) {
                self.hash.update(&out[before..filled]);
            }
        }
        out.truncate(filled);
        Ok(filled > 0)
    }

    /// Fills some of `out`, or sets the next thing up and fills none; `None` at the end.
    fn more(&mut self, out: &mut [u8]) -> Result<Option<usize>> {
        match &mut self.current {
            Current::Done => Ok(None),
            Current::Next => {
                self.ready.clear();
                self.ready_at = 0;
                self.next_item()?;
                Ok(Some(0))
            }
            Current::Copy { pack, at, end } => {
                let pack = &self.plan.packs.packs()[*pack as usize];
                let want = out.len().min(usize::try_from(*end - *at).unwrap_or(usize::MAX));
                let got = pack.read_raw(&mut out[..want], *at)?;
                if got == 0 {
                    return Err(pack.broken(*at, "it ends early"));
                }
                *at += got as u64;
                if at == end {
                    self.current = Current::Next;
                }
                Ok(Some(got))
            }
            Current::Loose(source) => match source.read(out) {
                Ok(0) => {
                    self.current = Current::Next;
                    Ok(Some(0))
                }
                Ok(n) => Ok(Some(n)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
                Err(e) => Err(RepoError::io("read", &self.snapshot.objects)(e)),
            },
        }
    }

    fn next_item(&mut self) -> Result<()> {
        let Some(&item) = self.plan.items.get(self.begun.len()) else {
            let sum: [u8; 20] = std::mem::take(&mut self.hash).finalize().into();
            self.ready.extend_from_slice(&sum);
            self.current = Current::Done;
            return Ok(());
        };
        self.begun.push(self.sent);
        match item {
            Item::Run { pack, start, end } => self.current = Current::Copy { pack, at: start, end },
            Item::Delta { pack, start, end, base } => self.delta(pack, start, end, base)?,
            Item::Whole { place, .. } => {
                let mut data = Vec::new();
                let kind = self.plan.packs.read(place, u64::MAX, &mut data)?;
                write_type_and_size(kind.pack_code(), data.len() as u64, &mut self.ready);
                ZlibEncoder::new(data.as_slice(), Compression::default())
                    .read_to_end(&mut self.ready)
                    .map_err(RepoError::io("compress from", &self.snapshot.objects))?;
            }
            Item::Loose(number) => {
                let id = self.plan.loose[number as usize];
                self.loose(&id)?;
            }
        }
        Ok(())
    }

    fn delta(&mut self, pack: u32, start: u64, end: u64, base: Base) -> Result<()> {
        let stored = &self.plan.packs.packs()[pack as usize];
        let header = stored.header(start)?;
        match base {
            Base::Sent { pack, offset } => {
                write_type_and_size(6, header.size, &mut self.ready);
                write_distance(self.sent - self.sent_at(pack, offset)?, &mut self.ready);
            }
            Base::Named(place) => {
                write_type_and_size(7, header.size, &mut self.ready);
                self.ready.extend_from_slice(self.plan.packs.id(place).as_bytes());
            }
        }
        self.current = Current::Copy { pack, at: header.data_offset, end };
        Ok(())
    }

    /// Where in the answer the entry stored at `offset` of a pack was put.
    fn sent_at(&self, pack: u32, offset: u64) -> Result<u64> {
        let items = &self.plan.items[..self.begun.len()];
        let after = items.partition_point(|item| item.source() <= (pack, offset));
        let number = after.checked_sub(1);
        let found = number.and_then(|n| {
            let (p, start) = items[n].source();
            (p == pack && start <= offset).then(|| self.begun[n] + (offset - start))
        });
        found.ok_or_else(|| {
            self.plan.packs.packs()[pack as usize].broken(offset, "its place in the answer is lost")
        })
    }

    /// Loose objects are one stream with their header inside: they are inflated and deflated on the way.
    fn loose(&mut self, id: &Oid) -> Result<()> {
        let objects = &self.snapshot.objects;
        let Some(loose) = Loose::open(objects, id)? else {
            // Packed by another program since the plan was made.
            let mut data = Vec::new();
            let kind = self.snapshot.read(id, u64::MAX, &mut data)?.ok_or(RepoError::Missing { id: *id })?;
            write_type_and_size(kind.pack_code(), data.len() as u64, &mut self.ready);
            ZlibEncoder::new(data.as_slice(), Compression::default())
                .read_to_end(&mut self.ready)
                .map_err(RepoError::io("compress from", objects))?;
            return Ok(());
        };
        write_type_and_size(loose.kind.pack_code(), loose.size, &mut self.ready);
        let path = path_of(objects, id);
        if loose.size <= LINKED_OBJECT_BYTES_MAX.min(1 << 20) {
            let mut data = Vec::new();
            loose.read(id, objects, &mut data)?;
            ZlibEncoder::new(data.as_slice(), Compression::default())
                .read_to_end(&mut self.ready)
                .map_err(RepoError::io("compress from", &path))?;
            return Ok(());
        }
        let mut inflated = ZlibDecoder::new(File::open(&path).map_err(RepoError::io("read", &path))?);
        io::copy(&mut inflated.by_ref().take(loose.header_len() as u64), &mut io::sink())
            .map_err(RepoError::io("read", &path))?;
        let exact = Exact { source: inflated, left: loose.size };
        self.current =
            Current::Loose(Box::new(ZlibEncoder::new(io::BufReader::new(exact), Compression::fast())));
        Ok(())
    }
}

/// A source that must have just so many bytes.
struct Exact<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| io::Error::other("the object is longer than it says"))?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("the object is shorter than it says"));
        }
        Ok(n)
    }
}
