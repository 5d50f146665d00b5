//! First pass over an incoming pack, while its bytes arrive: entry boundaries, checksums, and everything about objects
//! that are not deltas. Nothing but one commit, tag or tree is ever held whole.

use flate2::{Decompress, FlushDecompress, Status};
use gix::hash::{Kind as HashKind, hasher};
use slipway_core::Oid;

use super::entries::{Entries, Entry, Needed, raw};
use super::input::Input;
use super::{Progress, ReceiveLimits};
use crate::check;
use crate::delta;
use crate::error::{RepoError, Result};
use crate::limits::{
    BUFFER_BYTES, DELTA_RESULT_BYTES_MAX, INFLATE_FREE_BYTES, INFLATE_RATIO_MAX, PROGRESS_EVERY,
    RECEIVED_LINKED_BYTES_MAX,
};
use crate::links::each_link;
use crate::object::Kind;
use crate::packs::our_id;

/// What the first pass found.
pub(crate) struct Scanned {
    pub(crate) entries: Entries,
    pub(crate) needed: Needed,
    /// Where the last entry ended.
    pub(crate) end: u64,
    pub(crate) trailer: [u8; 20],
    pub(crate) inflated: Inflated,
}

/// The running total of bytes inflated, with its limit.
#[derive(Clone, Copy, Default)]
pub(crate) struct Inflated(u64);

impl Inflated {
    /// Adds what came out of `packed` bytes so far.
    pub(crate) fn add(&mut self, bytes: u64, packed: u64) -> Result<()> {
        self.0 = self.0.saturating_add(bytes);
        let max = INFLATE_FREE_BYTES.max(packed.saturating_mul(INFLATE_RATIO_MAX));
        if self.0 > max {
            return Err(RepoError::TooMuch { what: "the bytes that the pack inflates to", max });
        }
        Ok(())
    }
}

/// What an entry's header says.
enum Head {
    Whole(Kind),
    OfsDelta(u32),
    RefDelta([u8; 20]),
}

/// Where inflated bytes go.
enum Sink {
    /// A blob: only its hash matters.
    Hash(gix::hash::Hasher),
    /// A commit, tag or tree.
    Hold(Vec<u8>),
    /// A delta: only its sizes matter now.
    Start(Vec<u8>),
}

/// The first pass.
pub(crate) struct Scan<'a, 'i> {
    input: Input<'i>,
    limits: &'a ReceiveLimits,
    state: Decompress,
    window: Vec<u8>,
    entries: Entries,
    needed: Needed,
    inflated: Inflated,
}

impl<'a, 'i> Scan<'a, 'i> {
    pub(crate) fn new(input: Input<'i>, limits: &'a ReceiveLimits) -> Self {
        Self {
            input,
            limits,
            state: Decompress::new(true),
            window: vec![0; BUFFER_BYTES],
            entries: Entries::default(),
            needed: Needed::default(),
            inflated: Inflated::default(),
        }
    }

    /// Takes the whole pack in.
    pub(crate) fn run(mut self, progress: &dyn Fn(Progress)) -> Result<Scanned> {
        let mut head = [0u8; 12];
        self.input.exact(&mut head)?;
        let number = |i: usize| u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        if &head[..4] != b"PACK" || !(2..=3).contains(&number(4)) {
            return Err(RepoError::bad_pack("it does not start with a pack's header"));
        }
        let total = number(8);
        if total > self.limits.objects_max {
            let max = u64::from(self.limits.objects_max);
            return Err(RepoError::TooMuch { what: "the number of objects in the pack", max });
        }
        for n in 0..total {
            if n % PROGRESS_EVERY == 0 {
                progress(Progress::Receiving { objects: n, total });
            }
            self.entry()?;
        }
        progress(Progress::Receiving { objects: total, total });
        let end = self.input.offset();
        let trailer = self.input.finish()?;
        let Self { entries, needed, inflated, .. } = self;
        Ok(Scanned { entries, needed, end, trailer, inflated })
    }

    fn entry(&mut self) -> Result<()> {
        let offset = self.input.offset();
        self.input.start_crc();
        let (head, size) = self.head(offset)?;
        self.check_size(&head, size)?;
        let sink = match &head {
            Head::Whole(Kind::Blob) => {
                let mut hash = hasher(HashKind::Sha1);
                hash.update(format!("blob {size}\0").as_bytes());
                Sink::Hash(hash)
            }
            Head::Whole(_) => Sink::Hold(Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(1 << 16))),
            _ => Sink::Start(Vec::new()),
        };
        let sink = self.inflate(size, sink, offset)?;
        self.inflated.add(size, self.input.offset())?;
        let number = self.entries.all.len() as u32;
        let mut entry = Entry { offset, crc: self.input.crc(), kind: None, id: [0; 20] };
        match (head, sink) {
            (Head::Whole(kind), Sink::Hash(hash)) => {
                entry.kind = Some(kind);
                entry.id = raw(&finalize(hash)?);
            }
            (Head::Whole(kind), Sink::Hold(data)) => {
                entry.kind = Some(kind);
                entry.id = raw(&admit(kind, &data, &mut self.needed)?);
            }
            (Head::OfsDelta(base), Sink::Start(start)) => {
                self.check_delta(&start, offset)?;
                self.entries.by_offset.push((base, number));
            }
            (Head::RefDelta(base), Sink::Start(start)) => {
                self.check_delta(&start, offset)?;
                self.entries.by_id.push((base, number));
            }
            _ => return Err(RepoError::bad_pack("an entry has no kind")),
        }
        self.entries.all.push(entry);
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
                Head::OfsDelta(base.ok_or_else(|| bad("a delta's base is not an object of the pack"))?)
            }
            7 => {
                let mut id = [0; 20];
                self.input.exact(&mut id)?;
                Head::RefDelta(id)
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

    fn check_delta(&self, start: &[u8], offset: u64) -> Result<()> {
        let (base, result, _) = delta::sizes(start)
            .ok_or_else(|| RepoError::bad_pack(format!("at byte {offset}, a delta has no sizes")))?;
        let max = self.limits.object_bytes_max.min(DELTA_RESULT_BYTES_MAX);
        if base.max(result) > max {
            return Err(RepoError::TooMuch { what: "the size of one file in bytes, sent as a delta,", max });
        }
        Ok(())
    }

    /// Inflates one entry's data, which must make exactly `size` bytes.
    fn inflate(&mut self, size: u64, mut sink: Sink, offset: u64) -> Result<Sink> {
        let bad = |why: &str| RepoError::bad_pack(format!("the object at byte {offset} {why}"));
        self.state.reset(true);
        loop {
            let input = self.input.peek()?;
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(input, &mut self.window, FlushDecompress::None)
                .map_err(|_| bad("is not zlib data"))?;
            let used = (self.state.total_in() - before_in) as usize;
            let made = (self.state.total_out() - before_out) as usize;
            self.input.take(used);
            if self.state.total_out() > size {
                return Err(bad("is longer than it says"));
            }
            let bytes = &self.window[..made];
            match &mut sink {
                Sink::Hash(hash) => hash.update(bytes),
                Sink::Hold(data) => data.extend_from_slice(bytes),
                Sink::Start(start) => start.extend_from_slice(&bytes[..made.min(20 - start.len().min(20))]),
            }
            if status == Status::StreamEnd {
                break;
            }
            if used == 0 && made == 0 {
                return Err(bad("is not zlib data"));
            }
        }
        if self.state.total_out() == size { Ok(sink) } else { Err(bad("is shorter than it says")) }
    }
}

fn finalize(hash: gix::hash::Hasher) -> Result<Oid> {
    let id = hash.try_finalize().map_err(|e| RepoError::bad_pack(e.to_string()))?;
    Ok(our_id(&id))
}

/// Hashes, with a look-out for made collisions.
pub(crate) fn hash_object(kind: Kind, data: &[u8]) -> Result<Oid> {
    let mut hash = hasher(HashKind::Sha1);
    hash.update(format!("{kind} {}\0", data.len()).as_bytes());
    hash.update(data);
    finalize(hash)
}

/// Checks an object that is whole in memory and remembers its links.
pub(crate) fn admit(kind: Kind, data: &[u8], needed: &mut Needed) -> Result<Oid> {
    let id = hash_object(kind, data)?;
    let mut gitmodules = |blob| {
        needed.gitmodules.insert(blob);
    };
    check::check(kind, data, id.as_bytes().len(), &mut gitmodules)
        .map_err(|why| check::refuse(id, kind, why))?;
    each_link(&id, kind, data, &mut |target, kind| needed.add(&target, kind))?;
    Ok(id)
}
