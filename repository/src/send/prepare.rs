//! A plan carried out: the recipe of its answer, with the bytes that had to be made for it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::bufread::ZlibEncoder;
use flate2::read::ZlibDecoder;
use slipway_core::Oid;

use super::fresh::{Fresh, deflate, fresh};
use super::made::Made;
use super::parts::Body;
use super::plan::{Base, Item, Plan};
use super::recipe::{Content, MADE, Piece, Recipe};
use crate::error::{RepoError, Result};
use crate::limits::{BUFFER_BYTES, COPIED_ENTRY_BYTES_MAX, FRESH_OBJECT_BYTES_MAX, LINKED_OBJECT_BYTES_MAX};
use crate::loose::{Loose, path_of};
use crate::object::{Kind, Objects};
use crate::pack::{Window, write_distance, write_type_and_size};
use crate::packs::Place;
use crate::snapshot::Snapshot;

/// Carries a plan out. Also tells where each of its items began.
pub(crate) fn prepare(snapshot: &Snapshot, plan: &Plan<'_>, stop: &AtomicBool) -> Result<(Recipe, Vec<u64>)> {
    let root = snapshot.objects.parent().unwrap_or(&snapshot.objects);
    let mut kitchen = Kitchen {
        snapshot,
        plan,
        fresh: if plan.rewrites { HashMap::new() } else { fresh(snapshot, plan, stop)? },
        made: Made::below(root.join("slipway")),
        pieces: Vec::new(),
        begun: Vec::with_capacity(plan.items.len()),
        early: HashMap::new(),
        window: Window::default(),
        len: 0,
    };
    let mut head = Vec::from(*b"PACK\0\0\0\x02");
    head.extend_from_slice(&plan.count.to_be_bytes());
    kitchen.make(&head)?;
    for item in &plan.items {
        if stop.load(Ordering::Relaxed) {
            return Err(RepoError::Stopped);
        }
        kitchen.begun.push(kitchen.len);
        kitchen.item(item)?;
    }
    let Kitchen { mut made, pieces, begun, len, .. } = kitchen;
    made.close()?;
    let trailer = whole_pack(plan).transpose()?.flatten();
    snapshot.check_ground()?;
    let content = Content { made, pieces, objects: plan.count, len };
    Ok((Recipe::new(plan.packs.clone(), snapshot.format, content, trailer), begun))
}

/// The checksum of a pack that is sent as it is stored.
fn whole_pack(plan: &Plan<'_>) -> Option<Result<Option<Oid>>> {
    let [Item::Run { pack, start: 12, end }] = plan.items[..] else { return None };
    let pack = &plan.packs.packs()[pack as usize];
    (end == pack.entries_end()).then(|| pack.own_trailer())
}

/// A recipe in the making.
struct Kitchen<'a> {
    snapshot: &'a Snapshot,
    plan: &'a Plan<'a>,
    fresh: HashMap<Place, Fresh>,
    made: Made,
    pieces: Vec<Piece>,
    /// Where each item began in the answer.
    begun: Vec<u64>,
    /// Where the entries went that are ahead of their order.
    early: HashMap<(u32, u64), u64>,
    /// What was read of the packs last.
    window: Window,
    len: u64,
}

impl Kitchen<'_> {
    fn piece(&mut self, source: u32, from: u64, len: u64) {
        let joins = self
            .pieces
            .last()
            .is_some_and(|last| last.source == source && last.from + (self.len - last.begins) == from);
        if !joins && len > 0 {
            self.pieces.push(Piece { begins: self.len, from, source });
        }
        self.len += len;
    }

    fn make(&mut self, bytes: &[u8]) -> Result<()> {
        let from = self.made.len();
        self.made.put(bytes)?;
        self.piece(MADE, from, bytes.len() as u64);
        Ok(())
    }

    /// Small stretches are copied: a piece of their own and a read for each would cost more.
    fn copy(&mut self, pack: u32, start: u64, end: u64) -> Result<()> {
        let stored = &self.plan.packs.packs()[pack as usize];
        // A reverse index that lies gives stretches that end before they begin.
        let len = end.checked_sub(start).ok_or_else(|| stored.broken(start, "it ends before it begins"))?;
        if len > COPIED_ENTRY_BYTES_MAX as u64 {
            self.piece(pack, start, len);
            return Ok(());
        }
        let from = self.made.len();
        self.made.put(self.window.bytes(stored, start, end)?)?;
        self.piece(MADE, from, len);
        Ok(())
    }

    fn item(&mut self, item: &Item) -> Result<()> {
        match *item {
            Item::Run { pack, start, end } => self.copy(pack, start, end),
            Item::Early { pack, start, end } => {
                self.early.insert((pack, start), self.len);
                self.copy(pack, start, end)
            }
            Item::Delta { pack, start, end, base } => self.delta(pack, start, end, base),
            Item::Whole { place, .. } if self.fresh.contains_key(&place) => self.fresh(place),
            Item::Whole { place, .. } => self.whole_from(place),
            Item::Loose(number) => {
                let plan = self.plan;
                self.loose(&plan.loose[number as usize])
            }
        }
    }

    /// A stored object, without its delta.
    fn whole_from(&mut self, place: Place) -> Result<()> {
        let packs = &self.plan.packs;
        let key = (packs.id(place), None);
        let kept = &self.snapshot.findings.answers.recipes.parts.bodies;
        if let Some(body) = kept.get(&key).flatten() {
            let kind = packs.header(place)?.0;
            return self.body(kind.pack_code(), None, &body);
        }
        let mut data = Vec::new();
        let kind = packs.read(place, u64::MAX, &mut data)?;
        if self.plan.rewrites || data.len() as u64 > FRESH_OBJECT_BYTES_MAX {
            return self.whole(kind, &data);
        }
        let body = Arc::new(deflate(&data)?);
        kept.put(key, Some(body.clone()));
        self.body(kind.pack_code(), None, &body)
    }

    fn whole(&mut self, kind: Kind, data: &[u8]) -> Result<()> {
        self.body(kind.pack_code(), None, &deflate(data)?)
    }

    /// Where in the answer the object went, if it is in a pack and went before what is being put now.
    fn sent_before(&self, id: &Oid) -> Option<u64> {
        let place = self.plan.packs.locate(id)?;
        let stored = (place.pack, self.plan.packs.pack(place).offset_at(place.position));
        if let Some(at) = self.early.get(&stored) {
            return Some(*at);
        }
        let items = &self.plan.items[..self.begun.len()];
        let number = items.partition_point(|item| item.source() <= stored).checked_sub(1)?;
        let (pack, start) = items[number].source();
        let is_there = match items[number] {
            Item::Run { end, .. } => pack == stored.0 && stored.1 < end,
            Item::Delta { .. } | Item::Whole { .. } => (pack, start) == stored,
            Item::Early { .. } | Item::Loose(_) => false,
        };
        is_there.then(|| self.begun[number] + (stored.1 - start)).filter(|at| *at < self.len)
    }

    /// Puts an entry: its head, and what it holds.
    fn body(&mut self, code: u8, base: Option<&Oid>, body: &Body) -> Result<()> {
        let mut head = Vec::with_capacity(48);
        write_type_and_size(code, body.size, &mut head);
        head.extend_from_slice(base.map_or(&[], Oid::as_bytes));
        self.make(&head)?;
        self.make(&body.deflated)
    }

    /// A delta that was made for this answer. It names its base by distance where it can: that is shorter, and go-git up
    /// to 5.4 does not find a base by id that is a delta itself.
    fn fresh(&mut self, place: Place) -> Result<()> {
        let Some(Fresh { base, body }) = self.fresh.remove(&place) else { return Ok(()) };
        if let Some(at) = self.plan.ofs.then(|| self.sent_before(&base)).flatten() {
            let mut head = Vec::with_capacity(48);
            write_type_and_size(6, body.size, &mut head);
            write_distance(self.len - at, &mut head);
            self.make(&head)?;
            return self.make(&body.deflated);
        }
        self.body(7, Some(&base), &body)
    }

    fn delta(&mut self, pack: u32, start: u64, end: u64, base: Base) -> Result<()> {
        let header = self.window.header(&self.plan.packs.packs()[pack as usize], start)?;
        let mut bytes = Vec::with_capacity(48);
        match base {
            Base::Sent { pack, offset } => {
                write_type_and_size(6, header.size, &mut bytes);
                write_distance(self.len - self.sent_at(pack, offset)?, &mut bytes);
            }
            Base::Named(place) => {
                write_type_and_size(7, header.size, &mut bytes);
                bytes.extend_from_slice(self.plan.packs.id(place).as_bytes());
            }
        }
        self.make(&bytes)?;
        self.copy(pack, header.data_offset, end)
    }

    /// Where in the answer the entry stored at `offset` of a pack was put.
    fn sent_at(&self, pack: u32, offset: u64) -> Result<u64> {
        if let Some(at) = self.early.get(&(pack, offset)) {
            return Ok(*at);
        }
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
        let mut data = Vec::new();
        let Some(loose) = Loose::open(objects, id)? else {
            // Packed by another program since the plan was made.
            let kind = self.snapshot.read(id, u64::MAX, &mut data)?.ok_or(RepoError::Missing { id: *id })?;
            return self.whole(kind, &data);
        };
        if loose.size <= LINKED_OBJECT_BYTES_MAX.min(1 << 20) {
            loose.read(id, objects, &mut data)?;
            return self.whole(loose.kind, &data);
        }
        let mut head = Vec::new();
        write_type_and_size(loose.kind.pack_code(), loose.size, &mut head);
        self.make(&head)?;
        let path = path_of(objects, id);
        let failed = RepoError::io("read", &path);
        let mut stream = match stream(&path, loose.header_len() as u64, loose.size) {
            Ok(stream) => stream,
            Err(e) => return Err(failed(e)),
        };
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => self.make(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(RepoError::io("read", &path)(e)),
            }
        }
    }
}

/// The content of a loose object, packed.
fn stream(path: &Path, header: u64, size: u64) -> io::Result<impl Read> {
    let mut inflated = ZlibDecoder::new(File::open(path)?);
    io::copy(&mut Read::by_ref(&mut inflated).take(header), &mut io::sink())?;
    let exact = Exact { source: inflated, left: size };
    Ok(ZlibEncoder::new(io::BufReader::new(exact), Compression::fast()))
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
