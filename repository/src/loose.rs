//! Loose objects: one zlib file each (gitrepository-layout, `objects/[0-9a-f][0-9a-f]`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use slipway_core::Oid;

use crate::bulk::{Bulk, take_in};
use crate::error::{RepoError, Result};
use crate::inflate::{InflateError, Inflating, Source, inflate_prefix};
use crate::object::Kind;

/// The longest header: kind, space, twenty digits, NUL.
const HEADER_BYTES_MAX: u64 = 32;

/// Its file.
pub(crate) struct LooseFile(File);

impl Source for LooseFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

/// Where the object's file is if it is loose.
pub(crate) fn path_of(objects: &Path, id: &Oid) -> PathBuf {
    let hex = id.to_string();
    let (folder, name) = hex.split_at(2);
    objects.join(folder).join(name)
}

/// An open loose object, its header read.
pub(crate) struct Loose {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    header_len: usize,
    file: LooseFile,
}

impl Loose {
    /// Opens it; `None` if there is none.
    pub(crate) fn open(objects: &Path, id: &Oid) -> Result<Option<Self>> {
        let path = path_of(objects, id);
        let file = match File::open(&path) {
            Ok(file) => LooseFile(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(RepoError::io("read", &path)(e)),
        };
        let mut head = Vec::new();
        inflate_prefix(&file, 0, HEADER_BYTES_MAX, &mut head, false).map_err(|e| failed(id, &path, e))?;
        let (kind, size, header_len) = parse(&head)
            .ok_or_else(|| RepoError::BrokenObject { id: *id, why: "its header is not valid".into() })?;
        Ok(Some(Self { kind, size, header_len, file }))
    }

    /// Inflated bytes before the content.
    pub(crate) fn header_len(&self) -> usize {
        self.header_len
    }

    /// Reads the content into `out` (cleared first).
    pub(crate) fn read(&self, id: &Oid, objects: &Path, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let len = self.size.saturating_add(self.header_len as u64);
        let done = inflate_prefix(&self.file, 0, len, out, true)
            .map_err(|e| failed(id, &path_of(objects, id), e))?;
        if !done {
            return Err(RepoError::BrokenObject { id: *id, why: "it is shorter than it says".into() });
        }
        out.drain(..self.header_len);
        Ok(())
    }
}

impl Loose {
    /// The content, in memory only if it is small or there is room.
    pub(crate) fn bulk(&self, id: &Oid, objects: &Path) -> Result<Bulk> {
        let folder = objects.parent().unwrap_or(objects).join("slipway");
        let mut bulk = Bulk::room(self.size, &folder)?;
        if let Bulk::Memory(data, _) = &mut bulk {
            self.read(id, objects, data)?;
            return Ok(bulk);
        }
        let size = self.size;
        let mut content = self.content().map_err(RepoError::io("read", objects))?;
        take_in(&mut content, size, &mut bulk).map_err(RepoError::io("read", objects))?;
        Ok(bulk)
    }

    /// The content, to be read piece by piece.
    pub(crate) fn content(&self) -> io::Result<Inflating<LooseFile>> {
        let head = self.header_len as u64;
        let mut content =
            Inflating::new(LooseFile(self.file.0.try_clone()?), 0, head.saturating_add(self.size));
        let mut header = [0; HEADER_BYTES_MAX as usize];
        let header = header.get_mut(..self.header_len).unwrap_or_default();
        io::Read::read_exact(&mut content, header)?;
        Ok(content)
    }
}

fn failed(id: &Oid, path: &Path, e: InflateError) -> RepoError {
    match e {
        InflateError::Io(source) => RepoError::io("read", path)(source),
        InflateError::Broken(why) => RepoError::BrokenObject { id: *id, why: why.into() },
    }
}

/// Reads a header: the kind, the content's size, the header's length.
pub(crate) fn parse(head: &[u8]) -> Option<(Kind, u64, usize)> {
    let end = head.iter().position(|&b| b == 0)?;
    let text = std::str::from_utf8(&head[..end]).ok()?;
    let (kind, size) = text.split_once(' ')?;
    if size.is_empty() || !size.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Kind::from_bytes(kind.as_bytes())?, size.parse().ok()?, end + 1))
}
