//! Writes one pack of objects of several, in a given order. Deltas stay as they are stored, wherever their base comes
//! along; what is stored whole, or would be for want of its base, is compared with others of its name anew.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::bufread::ZlibEncoder;
use sha1::{Digest, Sha1};

use super::combine::{Entry, publish, write_indexes};
use super::go_on;
use super::order::Item;
use crate::bits::Bits;
use crate::delta;
use crate::delta::search::{Candidate, Outcome, Role, Settings, search};
use crate::error::{RepoError, Result};
use crate::limits::{
    DELTA_DEPTH_MAX, RECEIVE_BUFFER_BYTES, REPACK_DEPTH, REPACK_WINDOW, REPACK_WINDOW_BYTES,
};
use crate::pack::{EntryKind, write_distance, write_type_and_size};
use crate::packs::{PackSet, base_offset};
use crate::quarantine::Quarantine;
use crate::snapshot::Snapshot;

/// Writes the pack, durable on return, and says where it is.
pub(super) fn rewrite(
    snapshot: &Snapshot,
    packs: &PackSet,
    items: &[Item],
    stop: &AtomicBool,
) -> Result<PathBuf> {
    let quarantine = Quarantine::new(&snapshot.objects)?;
    let stored = Stored::new(packs, items, stop)?;
    let spool = quarantine.path().join("deltas");
    let found = find_deltas(&stored, &spool, stop)?;
    let path = quarantine.path().join("repacked.pack");
    let mut writer = Writer::new(&path, &stored, &found)?;
    for number in 0..items.len() {
        go_on(stop)?;
        writer.with_bases(number)?;
    }
    let (entries, sum) = writer.finish()?;
    drop(found);
    write_indexes(packs, entries, &path, &sum, None)?;
    go_on(stop)?;
    publish(&path, &snapshot.objects.join("pack"), &sum)
}

/// The objects as they are stored now.
struct Stored<'a> {
    packs: &'a PackSet,
    items: &'a [Item],
    /// Number of the object that each is a delta on; `None` if it is whole, or its base does not come along.
    bases: Vec<Option<u32>>,
    candidates: Vec<Candidate>,
    /// Bytes that those take that are stored whole.
    whole_bytes: HashMap<u32, u64>,
}

impl<'a> Stored<'a> {
    fn new(packs: &'a PackSet, items: &'a [Item], stop: &AtomicBool) -> Result<Self> {
        let mut numbers = vec![u32::MAX; packs.count()];
        for (item, number) in items.iter().zip(0u32..) {
            numbers[packs.rank(item.place)] = number;
        }
        let mut stored = Self {
            packs,
            items,
            bases: Vec::with_capacity(items.len()),
            candidates: Vec::with_capacity(items.len()),
            whole_bytes: HashMap::new(),
        };
        let mut head = Vec::new();
        for (item, number) in items.iter().zip(0u32..) {
            go_on(stop)?;
            let pack = packs.pack(item.place);
            let offset = pack.offset_at(item.place.position);
            let entry = pack.header(offset)?;
            let (base, size) = match entry.kind {
                EntryKind::Whole(_) => {
                    let end = pack.rank_of(offset).map_or(offset, |rank| pack.end_of_rank(rank));
                    stored.whole_bytes.insert(number, end.saturating_sub(entry.data_offset));
                    (None, entry.size)
                }
                _ => {
                    pack.inflate_start(&entry, 20, &mut head)?;
                    let sizes =
                        delta::sizes(&head).ok_or_else(|| pack.broken(offset, "its delta has no sizes"))?;
                    let base = base_offset(pack, offset, &entry)?;
                    let rank = pack
                        .rank_of(base)
                        .ok_or_else(|| pack.broken(offset, "its delta's base is no entry"))?;
                    let id = crate::packs::our_id(pack.id_at(pack.at_rank(rank)));
                    let number = packs.locate(&id).map(|place| numbers[packs.rank(place)]);
                    (number.filter(|number| *number != u32::MAX), sizes.1)
                }
            };
            stored.bases.push(base);
            let role = base.map_or(Role::Search, Role::Known);
            let (kind, name_hash) = (item.kind, item.name_hash);
            stored.candidates.push(Candidate { kind, size, name_hash, role });
        }
        Ok(stored)
    }

    fn read(&self, number: usize, data: &mut Vec<u8>) -> Result<()> {
        self.packs.read(self.items[number].place, u64::MAX, data).map(drop)
    }
}

/// Where a new delta is kept until it is written.
struct Made {
    base: u32,
    /// Bytes of the delta before compression.
    size: u64,
    from: u64,
    len: u64,
}

/// What the search found out.
struct Found {
    deltas: HashMap<u32, Made>,
    /// Those that are to be whole, however they are stored.
    whole: Bits,
    spool: File,
    path: PathBuf,
}

fn find_deltas(stored: &Stored<'_>, spool: &Path, stop: &AtomicBool) -> Result<Found> {
    let file = File::options().read(true).write(true).create_new(true).open(spool);
    let file = file.map_err(RepoError::io("create", spool))?;
    let found = Found { deltas: HashMap::new(), whole: Bits::default(), spool: file, path: spool.to_owned() };
    let found = Mutex::new((found, 0u64));
    let settings = Settings {
        window: REPACK_WINDOW,
        depth: REPACK_DEPTH,
        window_bytes: REPACK_WINDOW_BYTES,
        threads: 1,
        stop,
    };
    let read = |number: u32, data: &mut Vec<u8>| {
        go_on(stop)?;
        stored.read(number as usize, data)
    };
    let sink = |number: u32, outcome: Outcome| {
        let mut held = found.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, end) = &mut *held;
        match outcome {
            Outcome::Whole => drop(found.whole.put(number as usize)),
            Outcome::Delta { base, delta } => {
                let bytes = deflated(&delta, &found.path)?;
                // What hangs below it hangs there whether it is whole or not.
                if stored.whole_bytes.get(&number).is_some_and(|whole| *whole <= bytes.len() as u64) {
                    return Ok(());
                }
                found.spool.write_all_at(&bytes, *end).map_err(RepoError::io("write", &found.path))?;
                let (size, len) = (delta.len() as u64, bytes.len() as u64);
                found.deltas.insert(number, Made { base, size, from: *end, len });
                *end += len;
            }
        }
        Ok(())
    };
    search(&stored.candidates, &settings, &read, &sink)?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner).0)
}

fn deflated(data: &[u8], path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(data.len() / 2 + 64);
    let done = ZlibEncoder::new(data, Compression::default()).read_to_end(&mut bytes);
    done.map_err(RepoError::io("compress for", path))?;
    Ok(bytes)
}

/// A pack being written.
struct Writer<'a> {
    stored: &'a Stored<'a>,
    found: &'a Found,
    path: &'a Path,
    out: BufWriter<File>,
    hash: Sha1,
    crc: flate2::Crc,
    at: u64,
    /// Where each object was put; 0 until it was.
    placed: Vec<u64>,
    entries: Vec<Entry>,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(path: &'a Path, stored: &'a Stored<'a>, found: &'a Found) -> Result<Self> {
        let count = u32::try_from(stored.items.len()).map_err(|_| RepoError::TooMuch {
            what: "the number of objects in one pack",
            max: u64::from(u32::MAX),
        })?;
        let file = File::create_new(path).map_err(RepoError::io("create", path))?;
        let mut writer = Self {
            stored,
            found,
            path,
            out: BufWriter::with_capacity(RECEIVE_BUFFER_BYTES, file),
            hash: Sha1::new(),
            crc: flate2::Crc::new(),
            at: 0,
            placed: vec![0; stored.items.len()],
            entries: Vec::with_capacity(stored.items.len()),
            buffer: vec![0; RECEIVE_BUFFER_BYTES],
        };
        let mut head = Vec::from(*b"PACK\0\0\0\x02");
        head.extend_from_slice(&count.to_be_bytes());
        writer.put(&head)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.crc.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(RepoError::io("write", self.path))
    }

    fn base(&self, number: usize) -> Option<u32> {
        match self.found.deltas.get(&(number as u32)) {
            Some(made) => Some(made.base),
            None if self.found.whole.has(number) => None,
            None => self.stored.bases[number],
        }
    }

    /// Writes the object, after all that it builds on.
    fn with_bases(&mut self, number: usize) -> Result<()> {
        let mut open = vec![number];
        while let Some(&top) = open.last() {
            if self.placed[top] == 0 {
                if let Some(base) = self.base(top).filter(|base| self.placed[*base as usize] == 0) {
                    if open.len() > DELTA_DEPTH_MAX {
                        return Err(RepoError::Invalid {
                            what: "deltas build on one another in a ring".into(),
                        });
                    }
                    open.push(base as usize);
                    continue;
                }
                self.entry(top)?;
            }
            open.pop();
        }
        Ok(())
    }

    fn entry(&mut self, number: usize) -> Result<()> {
        let begins = self.at;
        self.crc.reset();
        let found = self.found;
        match (found.deltas.get(&(number as u32)), self.base(number)) {
            (Some(made), _) => self.made(made)?,
            (None, Some(base)) => self.copied(number, Some(base))?,
            (None, None) if self.stored.whole_bytes.contains_key(&(number as u32)) => {
                self.copied(number, None)?;
            }
            (None, None) => self.whole(number)?,
        }
        self.placed[number] = begins;
        let place = self.stored.items[number].place;
        self.entries.push(Entry { place, offset: begins, crc: self.crc.sum(), copied: false });
        Ok(())
    }

    fn delta_head(&mut self, size: u64, base: u32) -> Result<()> {
        let mut head = Vec::with_capacity(24);
        write_type_and_size(6, size, &mut head);
        write_distance(self.at - self.placed[base as usize], &mut head);
        self.put(&head)
    }

    fn made(&mut self, made: &Made) -> Result<()> {
        self.delta_head(made.size, made.base)?;
        let (mut from, mut buffer) = (made.from, std::mem::take(&mut self.buffer));
        let end = made.from + made.len;
        while from < end {
            let room = usize::try_from(end - from).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.found.spool.read_exact_at(&mut buffer[..room], from);
            read.map_err(RepoError::io("read", &self.found.path))?;
            self.put(&buffer[..room])?;
            from += room as u64;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// An entry as it is stored; a delta's header names the base by its new distance. What is copied must be what was
    /// once indexed.
    fn copied(&mut self, number: usize, base: Option<u32>) -> Result<()> {
        let place = self.stored.items[number].place;
        let pack = self.stored.packs.pack(place);
        let start = pack.offset_at(place.position);
        let rank = pack.rank_of(start).ok_or_else(|| pack.broken(start, "its index has no such entry"))?;
        let (entry, end) = (pack.header(start)?, pack.end_of_rank(rank));
        let mut sum = flate2::Crc::new();
        if let Some(base) = base {
            self.delta_head(entry.size, base)?;
        }
        let (mut at, mut buffer) = (start, std::mem::take(&mut self.buffer));
        while at < end {
            // The head apart from the data.
            let upto = if at < entry.data_offset { entry.data_offset.min(end) } else { end };
            let room = usize::try_from(upto - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = pack.read_raw(&mut buffer[..room], at)?;
            if got == 0 {
                return Err(pack.broken(at, "it ends early"));
            }
            sum.update(&buffer[..got]);
            if base.is_none() || at >= entry.data_offset {
                self.put(&buffer[..got])?;
            }
            at += got as u64;
        }
        self.buffer = buffer;
        match pack.crc_at(place.position) {
            Some(crc) if crc != sum.sum() => {
                Err(pack.broken(start, "its bytes do not match the index's checksum"))
            }
            _ => Ok(()),
        }
    }

    fn whole(&mut self, number: usize) -> Result<()> {
        let mut data = Vec::new();
        let place = self.stored.items[number].place;
        let kind = self.stored.packs.read(place, u64::MAX, &mut data)?;
        let mut head = Vec::with_capacity(16);
        write_type_and_size(kind.pack_code(), data.len() as u64, &mut head);
        self.put(&head)?;
        let bytes = deflated(&data, self.path)?;
        self.put(&bytes)
    }

    fn finish(self) -> Result<(Vec<Entry>, [u8; 20])> {
        let failed = |e| RepoError::io("write", self.path)(e);
        let sum: [u8; 20] = self.hash.finalize().into();
        let mut file = self.out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.write_all(&sum).map_err(failed)?;
        file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok((self.entries, sum))
    }
}
