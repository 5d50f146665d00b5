//! Making a thin pack whole: bases that only the repository has are put at its end, then its count and checksum are
//! set right (as git does it; nothing that arrived moves).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc, Decompress, FlushDecompress, Status};
use slipway_core::{ObjectFormat, Oid};

use super::entries::Entries;
use crate::bulk::{Bulk, Taken};
use crate::digest::Digest;
use crate::error::{RepoError, Result};
use crate::inflate::FAST_ROOM;
use crate::limits::{COPIED_BASE_BYTES_MAX, RECEIVE_BUFFER_BYTES};
use crate::object::Kind;
use crate::pack::{EntryHeader, EntryKind, Pack, write_type_and_size};
use crate::snapshot::Snapshot;

/// An object of the repository that deltas of the pack build on.
pub(crate) struct Borrowed {
    pub(crate) kind: Kind,
    pub(crate) data: Bulk,
    /// Its bytes as a pack has them, if they were at hand.
    packed: Option<Vec<u8>>,
}

/// Reads one; `None` if it is not there. What lies whole in a pack need not be packed again.
pub(crate) fn borrow(snapshot: &Snapshot, id: &Oid, max: u64) -> Result<Option<Borrowed>> {
    let packs = snapshot.packs.load();
    if let Some(place) = packs.locate(id) {
        let pack = packs.pack(place);
        let entry = pack.header(pack.offset_at(place.position))?;
        if let EntryKind::Whole(kind) = entry.kind
            && entry.size <= max.min(COPIED_BASE_BYTES_MAX)
            && let Some((data, packed)) = copy(pack, &entry)?
        {
            let data = Bulk::Memory(data, Taken::default());
            return Ok(Some(Borrowed { kind, data, packed: Some(packed) }));
        }
    }
    match snapshot.object_size(id)? {
        Some((_, size)) if size > max => Err(RepoError::ObjectTooLarge { id: *id, size, max }),
        _ => Ok(snapshot.bulk(id)?.map(|(kind, data)| Borrowed { kind, data, packed: None })),
    }
}

/// An entry's data inflated, and as it is stored; `None` if it is stored strangely.
fn copy(pack: &Pack, entry: &EntryHeader) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let size = entry.size as usize;
    // What does not shrink grows by little.
    let mut packed = vec![0; size + size / 100 + 64];
    let got = pack.read_raw(&mut packed, entry.data_offset)?;
    let mut data = Vec::with_capacity(size + FAST_ROOM);
    let mut state = Decompress::new(true);
    let status = state.decompress_vec(&packed[..got], &mut data, FlushDecompress::Finish);
    packed.truncate(state.total_in() as usize);
    Ok((matches!(status, Ok(Status::StreamEnd)) && data.len() == size).then_some((data, packed)))
}

/// What is written behind the others, and kept in memory as long as all is little.
struct Appended<'a> {
    file: &'a File,
    at: u64,
    crc: Crc,
    kept: Option<Vec<u8>>,
}

impl Appended<'_> {
    /// Writes an object's bytes, compressed.
    fn pack(&mut self, data: &Bulk) -> io::Result<()> {
        let mut zlib =
            ZlibEncoder::new(BufWriter::with_capacity(RECEIVE_BUFFER_BYTES, self), Compression::fast());
        let mut failed = None;
        let each = &mut |piece: &[u8]| {
            if failed.is_none() {
                failed = zlib.write_all(piece).err();
            }
            Ok(())
        };
        data.each_piece(each).map_err(io::Error::other)?;
        failed.map_or(Ok(()), Err)?;
        zlib.finish()?.flush()
    }
}

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.crc.update(bytes);
        // A pack that is small no more is read from its file.
        self.kept.take_if(|kept| kept.len() + bytes.len() > 2 * RECEIVE_BUFFER_BYTES);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of a pack that grows.
pub(crate) struct End<'a> {
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
    /// Where the next entry goes.
    pub(crate) offset: u64,
    /// All bytes of the pack before that, if they are few.
    pub(crate) small: Option<Vec<u8>>,
    /// What was appended, by number, as far as it is little in all.
    pub(crate) ready: HashMap<u32, Vec<u8>>,
    ready_bytes: usize,
}

impl<'a> End<'a> {
    pub(crate) fn new(file: &'a File, path: &'a Path, offset: u64, small: Option<Vec<u8>>) -> Self {
        Self { file, path, offset, small, ready: HashMap::new(), ready_bytes: 0 }
    }

    /// Appends an object.
    pub(crate) fn append(&mut self, id: &Oid, object: Borrowed, entries: &mut Entries) -> Result<()> {
        let Borrowed { kind, data, packed } = object;
        let mut head = Vec::with_capacity(16);
        write_type_and_size(kind.pack_code(), data.len(), &mut head);
        let mut out = Appended { file: self.file, at: self.offset, crc: Crc::new(), kept: self.small.take() };
        let written = match packed {
            Some(packed) => out.write_all(&[head, packed].concat()),
            None => out.write_all(&head).and_then(|()| out.pack(&data)),
        };
        written.map_err(RepoError::io("write", self.path))?;
        let number = entries.push_whole(self.offset, out.crc.sum(), kind);
        entries.set_id(number, id);
        (self.offset, self.small) = (out.at, out.kept);
        if let Bulk::Memory(data, _) = data
            && self.ready_bytes + data.len() <= RECEIVE_BUFFER_BYTES
        {
            self.ready_bytes += data.len();
            self.ready.insert(number, data);
        }
        Ok(())
    }

    /// Takes those of the entries from number `from` on that are not to be kept out of the pack and out of `entries`; the
    /// others move up. Nothing builds on entries any more.
    pub(crate) fn close_up(
        &mut self,
        entries: &mut Entries,
        from: u32,
        keep: &dyn Fn(u32) -> bool,
    ) -> Result<()> {
        let mut to = entries.offset(from);
        let mut moved = Vec::new();
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        for number in (from..entries.len() as u32).filter(|n| keep(*n)) {
            let mut at = entries.offset(number);
            let next = number + 1;
            let until = if (next as usize) < entries.len() { entries.offset(next) } else { self.offset };
            moved.push((number, to));
            while at < until {
                let want = buffer.len().min(usize::try_from(until - at).unwrap_or(usize::MAX));
                let piece = &mut buffer[..want];
                let copied =
                    self.file.read_exact_at(piece, at).and_then(|()| self.file.write_all_at(piece, to));
                copied.map_err(RepoError::io("write", self.path))?;
                (at, to) = (at + want as u64, to + want as u64);
            }
        }
        entries.close_up(from, &moved);
        (self.offset, self.small) = (to, None);
        self.ready.clear();
        self.file.set_len(to).map_err(RepoError::io("write", self.path))
    }

    /// Sets the count in the header and returns the checksum of the whole.
    pub(crate) fn recount(&self, format: ObjectFormat, count: u32) -> Result<Oid> {
        let failed = |doing| RepoError::io(doing, self.path);
        self.file.write_all_at(&count.to_be_bytes(), 8).map_err(failed("write"))?;
        let mut digest = Digest::new(format);
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        let mut at = 0;
        while at < self.offset {
            let want = buffer.len().min(usize::try_from(self.offset - at).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut buffer[..want], at).map_err(failed("read"))?;
            digest.update(&buffer[..want]);
            at += want as u64;
        }
        Ok(digest.finish())
    }

    /// Ends the pack.
    pub(crate) fn seal(&self, trailer: &Oid) -> Result<()> {
        self.file.write_all_at(trailer.as_bytes(), self.offset).map_err(RepoError::io("write", self.path))
    }
}
