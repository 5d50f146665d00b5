//! First pass over an incoming pack, while its bytes arrive: entry boundaries, checksums, and everything about objects
//! that are not deltas. Of large packs the objects are hashed and checked by other threads ([`super::pool`]).

use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use gix::hash::Hasher;
use slipway_core::Oid;

use super::admit::{admit, finish_hash, start_hash};
use super::entries::Entries;
use super::input::{Arrived, Input};
use super::links::{Links, Recent};
use super::pool::Pool;
use super::{Progress, ReceiveLimits};
use crate::check::Checks;
use crate::delta;
use crate::error::{RepoError, Result};
use crate::inflate::FAST_ROOM;
use crate::limits::{
    BATCH_OBJECT_BYTES_MAX, BUFFER_BYTES, DELTA_RESULT_BYTES_MAX, INFLATE_FREE_BYTES, INFLATE_RATIO_MAX,
    PROGRESS_EVERY, RECEIVED_LINKED_BYTES_MAX,
};
use crate::object::Kind;

/// What the first pass found.
pub(crate) struct Scanned {
    pub(crate) entries: Entries,
    pub(crate) links: Links,
    /// Where the last entry ended.
    pub(crate) end: u64,
    pub(crate) arrived: Arrived,
    /// Bytes that the pack inflated to so far.
    pub(crate) inflated: u64,
}

/// Refuses a pack of `packed` bytes that inflated to `bytes` so far, if that is out of all proportion.
pub(crate) fn check_inflated(bytes: u64, packed: u64) -> Result<()> {
    let max = INFLATE_FREE_BYTES.max(packed.saturating_mul(INFLATE_RATIO_MAX));
    if bytes > max {
        return Err(RepoError::TooMuch { what: "the bytes that the pack inflates to", max });
    }
    Ok(())
}

/// What an entry's header says.
enum Head {
    Whole(Kind),
    OffsetDelta(u32),
    IdDelta(Oid),
}

/// Where the bytes of a stream go that are not held.
enum Sink {
    Hash(Hasher),
    /// The sizes at the start of a delta.
    Start(Vec<u8>),
}

/// The first pass.
pub(crate) struct Scan<'a, 'i> {
    input: Input<'i>,
    limits: &'a ReceiveLimits,
    state: Decompress,
    window: Vec<u8>,
    held: Vec<u8>,
    entries: Entries,
    checks: Arc<Checks>,
    inflated: u64,
}

/// Who hashes and checks whole objects.
enum Checkers<'a> {
    Here(&'a Links, Recent),
    Threads(Pool, &'a Links, Recent),
}

impl<'a, 'i> Scan<'a, 'i> {
    pub(crate) fn new(
        input: Input<'i>,
        limits: &'a ReceiveLimits,
        entries: Entries,
        checks: Arc<Checks>,
    ) -> Self {
        Self {
            input,
            limits,
            state: Decompress::new(true),
            window: Vec::new(),
            held: Vec::new(),
            entries,
            checks,
            inflated: 0,
        }
    }

    /// Takes the whole pack in.
    pub(crate) fn run(mut self, progress: &dyn Fn(Progress)) -> Result<Scanned> {
        let total = self.header()?;
        let links = Links::new(total, self.limits.exact_links_max).with_checks(self.checks.clone());
        let threads = if total < self.limits.parallel_from { 1 } else { self.limits.threads() };
        if threads == 1 {
            self.all(total, &mut Checkers::Here(&links, Recent::new(&links)), progress)?;
        } else {
            let format = self.entries.format();
            // Inflating keeps one thread busy; one or two more keep up with it.
            let helpers = (threads - 1).min(crate::limits::SCAN_HELPERS_MAX);
            std::thread::scope(|scope| {
                let pool = Pool::start(scope, helpers, format, &links);
                let mut checks = Checkers::Threads(pool, &links, Recent::new(&links));
                self.all(total, &mut checks, progress)?;
                let Checkers::Threads(pool, ..) = checks else { return Ok(()) };
                pool.finish(&self.entries)
            })?;
        }
        progress(Progress::Receiving { objects: total, total });
        let end = self.input.offset();
        let arrived = self.input.finish()?;
        Ok(Scanned { entries: self.entries, links, end, arrived, inflated: self.inflated })
    }

    /// Returns how many objects follow.
    fn header(&mut self) -> Result<u32> {
        let mut head = [0u8; 12];
        self.input.exact(&mut head)?;
        let number = |i: usize| u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        if &head[..4] != b"PACK" || !(2..=3).contains(&number(4)) {
            return Err(RepoError::bad_pack("it does not start with a pack's header"));
        }
        if number(8) > self.limits.objects_max {
            let max = u64::from(self.limits.objects_max);
            return Err(RepoError::TooMuch { what: "the number of objects in the pack", max });
        }
        Ok(number(8))
    }

    fn all(&mut self, total: u32, checks: &mut Checkers<'_>, progress: &dyn Fn(Progress)) -> Result<()> {
        for n in 0..total {
            if n % PROGRESS_EVERY == 0 {
                progress(Progress::Receiving { objects: n, total });
            }
            self.entry(checks)?;
        }
        Ok(())
    }

    fn entry(&mut self, checks: &mut Checkers<'_>) -> Result<()> {
        let offset = self.input.offset();
        self.input.start_crc();
        let (head, size) = self.head(offset)?;
        self.check_size(&head, size)?;
        match head {
            Head::Whole(kind) => self.whole(kind, size, offset, checks)?,
            Head::OffsetDelta(base) => {
                self.delta(size, offset)?;
                let crc = self.input.crc();
                self.entries.push_offset_delta(offset, crc, base);
            }
            Head::IdDelta(base) => {
                self.delta(size, offset)?;
                let crc = self.input.crc();
                self.entries.push_id_delta(offset, crc, &base);
            }
        }
        self.inflated = self.inflated.saturating_add(size);
        check_inflated(self.inflated, self.input.offset())
    }

    /// A whole object: small ones are held and go to the threads, large blobs are hashed as they come.
    fn whole(&mut self, kind: Kind, size: u64, offset: u64, checks: &mut Checkers<'_>) -> Result<()> {
        let format = self.entries.format();
        if let Checkers::Threads(pool, ..) = checks
            && size <= BATCH_OBJECT_BYTES_MAX
        {
            self.hold(size, offset, pool.bytes())?;
            let crc = self.input.crc();
            let number = self.entries.push_whole(offset, crc, kind);
            return pool.put(number, kind, &self.entries);
        }
        let id = if kind == Kind::Blob && size > BATCH_OBJECT_BYTES_MAX {
            match self.stream(size, Sink::Hash(start_hash(format, kind, size)), offset)? {
                Sink::Hash(state) => finish_hash(state)?,
                Sink::Start(_) => return Err(RepoError::bad_pack("an entry has no kind")),
            }
        } else {
            let mut data = std::mem::take(&mut self.held);
            data.clear();
            self.hold(size, offset, &mut data)?;
            let (Checkers::Here(links, recent) | Checkers::Threads(_, links, recent)) = checks;
            let id = admit(format, kind, &data, links, recent)?;
            if data.capacity() as u64 <= BATCH_OBJECT_BYTES_MAX * 2 {
                self.held = data;
            }
            id
        };
        let crc = self.input.crc();
        let number = self.entries.push_whole(offset, crc, kind);
        self.entries.set_id(number, &id);
        Ok(())
    }

    /// A delta: only its sizes matter now.
    fn delta(&mut self, size: u64, offset: u64) -> Result<()> {
        let Sink::Start(start) = self.stream(size, Sink::Start(Vec::new()), offset)? else { return Ok(()) };
        let (base, result, _) = delta::sizes(&start)
            .ok_or_else(|| RepoError::bad_pack(format!("at byte {offset}, a delta has no sizes")))?;
        let max = self.limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX);
        if base.max(result) > max {
            return Err(RepoError::TooMuch { what: "the size of one file in bytes, sent as a delta,", max });
        }
        Ok(())
    }

    fn head(&mut self, offset: u64) -> Result<(Head, u64)> {
        let bad = |why: &str| RepoError::bad_pack(format!("at byte {offset}, {why}"));
        let first = self.input.byte()?;
        let mut size = u64::from(first & 0x0f);
        let mut shift = 4;
        let mut byte = first;
        while byte & 0x80 != 0 {
            byte = self.input.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift > 60 || part << shift >> shift != part {
                return Err(bad("an object's size is too large"));
            }
            size |= part << shift;
            shift += 7;
        }
        let head = match first >> 4 & 7 {
            1 => Head::Whole(Kind::Commit),
            2 => Head::Whole(Kind::Tree),
            3 => Head::Whole(Kind::Blob),
            4 => Head::Whole(Kind::Tag),
            6 => {
                let distance = self.distance().ok_or_else(|| bad("a delta's distance is not valid"));
                let base = distance??;
                let base = offset.checked_sub(base).and_then(|at| self.entries.at_offset(at));
                Head::OffsetDelta(base.ok_or_else(|| bad("a delta's base is not an object of the pack"))?)
            }
            7 => {
                let mut raw = [0; 32];
                let id = &mut raw[..self.entries.format().id_bytes()];
                self.input.exact(id)?;
                Head::IdDelta(Oid::from_bytes(id).ok_or_else(|| bad("a delta's base has no id"))?)
            }
            _ => return Err(bad("an entry is of no known type")),
        };
        Ok((head, size))
    }

    /// `None` if it is too large.
    fn distance(&mut self) -> Option<Result<u64>> {
        let mut value = 0u64;
        loop {
            let byte = match self.input.byte() {
                Ok(byte) => byte,
                Err(e) => return Some(Err(e)),
            };
            value = value.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
            if byte & 0x80 == 0 {
                return Some(Ok(value));
            }
            value = value.checked_add(1)?;
        }
    }

    fn check_size(&self, head: &Head, size: u64) -> Result<()> {
        let (what, max) = match head {
            Head::Whole(Kind::Blob) => ("the size of one file in bytes", self.limits.object_bytes_max),
            Head::Whole(_) => (
                "the size of one commit, tag or folder in bytes",
                self.limits.object_bytes_max.min(RECEIVED_LINKED_BYTES_MAX),
            ),
            _ => ("the size of one delta in bytes", self.limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX)),
        };
        if size > max { Err(RepoError::TooMuch { what, max }) } else { Ok(()) }
    }

    /// Inflates one entry's data, which must make exactly `size` bytes, and appends them to `out`.
    fn hold(&mut self, size: u64, offset: u64, out: &mut Vec<u8>) -> Result<()> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let goal = out.len().saturating_add(size);
        self.state.reset(true);
        loop {
            // What the header says is not trusted with memory ahead of the bytes.
            out.reserve((goal - out.len()).min(1 << 20) + FAST_ROOM);
            let before = (self.state.total_in(), out.len());
            let status = self
                .state
                .decompress_vec(self.input.peek()?, out, FlushDecompress::None)
                .map_err(|_| bad(offset, "is not zlib data"))?;
            let used = (self.state.total_in() - before.0) as usize;
            self.input.take(used);
            if out.len() > goal {
                return Err(bad(offset, "is longer than it says"));
            }
            if status == Status::StreamEnd {
                break;
            }
            if used == 0 && out.len() == before.1 {
                return Err(bad(offset, "is not zlib data"));
            }
        }
        if out.len() == goal { Ok(()) } else { Err(bad(offset, "is shorter than it says")) }
    }

    /// Inflates one entry's data, which must make exactly `size` bytes, into the sink.
    fn stream(&mut self, size: u64, mut sink: Sink, offset: u64) -> Result<Sink> {
        self.state.reset(true);
        if self.window.is_empty() {
            self.window = vec![0; BUFFER_BYTES];
        }
        loop {
            let input = self.input.peek()?;
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(input, &mut self.window, FlushDecompress::None)
                .map_err(|_| bad(offset, "is not zlib data"))?;
            let used = (self.state.total_in() - before_in) as usize;
            let made = (self.state.total_out() - before_out) as usize;
            self.input.take(used);
            if self.state.total_out() > size {
                return Err(bad(offset, "is longer than it says"));
            }
            let bytes = &self.window[..made];
            match &mut sink {
                Sink::Hash(hash) => hash.update(bytes),
                Sink::Start(start) => start.extend_from_slice(&bytes[..made.min(20 - start.len().min(20))]),
            }
            if status == Status::StreamEnd {
                break;
            }
            if used == 0 && made == 0 {
                return Err(bad(offset, "is not zlib data"));
            }
        }
        if self.state.total_out() == size { Ok(sink) } else { Err(bad(offset, "is shorter than it says")) }
    }
}

fn bad(offset: u64, why: &str) -> RepoError {
    RepoError::bad_pack(format!("the object at byte {offset} {why}"))
}
