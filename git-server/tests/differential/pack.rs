//! Packs written by hand, and read without any of the code that is tested (gitformat-pack(5)).

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use flate2::{Decompress, FlushDecompress, Status};
use slipway_core::Oid;

use crate::history::{Kind, hash, object_id};

/// One entry to write.
pub(crate) enum Entry<'a> {
    Whole(Kind, &'a [u8]),
    /// A delta whose base is named, and may be elsewhere.
    Onto(Oid, Vec<u8>),
    /// A delta whose base is the entry of that number.
    Behind(usize, Vec<u8>),
}

/// A pack of these entries, its checksum behind it.
pub(crate) fn write(sha256: bool, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = b"PACK\0\0\0\x02".to_vec();
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    let mut starts = Vec::new();
    for entry in entries {
        let start = out.len();
        starts.push(start);
        let (code, data) = match entry {
            Entry::Whole(kind, data) => (*kind as u8, *data),
            Entry::Behind(_, data) => (6, &data[..]),
            Entry::Onto(_, data) => (7, &data[..]),
        };
        let mut byte = code << 4 | (data.len() & 15) as u8;
        let mut size = data.len() >> 4;
        while size > 0 {
            out.push(byte | 0x80);
            byte = (size & 0x7f) as u8;
            size >>= 7;
        }
        out.push(byte);
        match entry {
            Entry::Whole(..) => {}
            Entry::Onto(base, _) => out.extend_from_slice(base.as_bytes()),
            Entry::Behind(base, _) => put_distance(&mut out, start - starts[*base]),
        }
        let mut zlib = flate2::write::ZlibEncoder::new(&mut out, flate2::Compression::fast());
        zlib.write_all(data).unwrap();
        zlib.finish().unwrap();
    }
    seal(sha256, out)
}

/// Puts the checksum behind a pack.
pub(crate) fn seal(sha256: bool, mut pack: Vec<u8>) -> Vec<u8> {
    let sum = hash(sha256, &[&pack]);
    pack.extend_from_slice(&sum);
    pack
}

fn put_distance(out: &mut Vec<u8>, mut distance: usize) {
    let mut bytes = vec![(distance & 0x7f) as u8];
    while distance > 0x7f {
        distance = (distance >> 7) - 1;
        bytes.insert(0, 0x80 | (distance & 0x7f) as u8);
    }
    out.extend(bytes);
}

/// A delta: what both have in common at the front and the back is copied, the rest is inserted.
pub(crate) fn delta(base: &[u8], target: &[u8]) -> Vec<u8> {
    let front = base.iter().zip(target).take_while(|(a, b)| a == b).count().min(0xff_ffff);
    let rest = base.len().min(target.len()) - front;
    let back = base.iter().rev().zip(target.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let mut out = Vec::new();
    put_size(&mut out, base.len());
    put_size(&mut out, target.len());
    put_copy(&mut out, 0, front);
    for piece in target[front..target.len() - back].chunks(127) {
        out.push(piece.len() as u8);
        out.extend_from_slice(piece);
    }
    put_copy(&mut out, base.len() - back, back);
    out
}

pub(crate) fn put_size(out: &mut Vec<u8>, mut size: usize) {
    while size > 0x7f {
        out.push(0x80 | (size & 0x7f) as u8);
        size >>= 7;
    }
    out.push(size as u8);
}

fn put_copy(out: &mut Vec<u8>, from: usize, len: usize) {
    if len == 0 {
        return;
    }
    out.push(0xff);
    out.extend_from_slice(&(from as u32).to_le_bytes());
    out.extend_from_slice(&(len as u32).to_le_bytes()[..3]);
}

/// Gives objects that are not in the pack.
pub(crate) type Outside<'a> = &'a dyn Fn(&Oid) -> Option<(Kind, Vec<u8>)>;

/// What an entry turned out to be.
enum Found {
    Whole(Kind, Vec<u8>),
    Onto(Oid, Vec<u8>),
    Behind(usize, Vec<u8>),
}

/// Reads a pack: all of its objects' ids, each of which comes once, with every base in it or given by `outside`.
pub(crate) fn read(sha256: bool, pack: &[u8], outside: Outside<'_>) -> Result<BTreeMap<Oid, Kind>, String> {
    let width = if sha256 { 32 } else { 20 };
    let (body, sum) = pack.split_at_checked(pack.len().saturating_sub(width)).ok_or("too short")?;
    if hash(sha256, &[body]) != sum {
        return Err("its checksum is wrong".into());
    }
    if body.get(..8) != Some(b"PACK\0\0\0\x02") {
        return Err("its header is wrong".into());
    }
    let count = u32::from_be_bytes(body.get(8..12).ok_or("too short")?.try_into().unwrap());
    let (mut at, mut found) = (12, BTreeMap::new());
    for _ in 0..count {
        let (entry, end) = read_entry(body, at, width)?;
        found.insert(at, entry);
        at = end;
    }
    if at != body.len() {
        return Err(format!("{} bytes too many", body.len() - at));
    }
    resolve(sha256, found, outside)
}

fn read_entry(body: &[u8], start: usize, width: usize) -> Result<(Found, usize), String> {
    let mut at = start;
    let next = |at: &mut usize| {
        *at += 1;
        body.get(*at - 1).copied().ok_or("cut short")
    };
    let first = next(&mut at)?;
    let (code, mut size, mut shift, mut more) = (first >> 4 & 7, usize::from(first & 15), 4, first);
    while more & 0x80 != 0 {
        more = next(&mut at)?;
        size |= usize::from(more & 0x7f) << shift;
        shift += 7;
    }
    let (mut base, mut before) = (None, None);
    if code == 7 {
        base = Oid::from_bytes(body.get(at..at + width).ok_or("cut short")?);
        at += width;
    } else if code == 6 {
        let mut byte = next(&mut at)?;
        let mut distance = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = next(&mut at)?;
            distance = (distance + 1) << 7 | usize::from(byte & 0x7f);
        }
        before = Some(start.checked_sub(distance).ok_or("a base before the pack")?);
    }
    let mut data = Vec::with_capacity(size + 1);
    let mut zlib = Decompress::new(true);
    loop {
        let input = body.get(at + zlib.total_in() as usize..).unwrap_or_default();
        data.reserve(1);
        let (read, made) = (zlib.total_in(), data.len());
        let status =
            zlib.decompress_vec(input, &mut data, FlushDecompress::None).map_err(|e| e.to_string())?;
        match status {
            Status::StreamEnd => break,
            _ if zlib.total_in() == read && data.len() == made => return Err("cut short".into()),
            _ => {}
        }
    }
    if data.len() != size {
        return Err(format!("an entry of {} bytes that should have {size}", data.len()));
    }
    let end = at + zlib.total_in() as usize;
    let kind = match code {
        1 => Kind::Commit,
        2 => Kind::Tree,
        3 => Kind::Blob,
        4 => Kind::Tag,
        6 => return Ok((Found::Behind(before.unwrap_or_default(), data), end)),
        7 => return Ok((Found::Onto(base.ok_or("no base")?, data), end)),
        _ => return Err(format!("an entry of type {code}")),
    };
    Ok((Found::Whole(kind, data), end))
}

fn resolve(
    sha256: bool,
    mut open: BTreeMap<usize, Found>,
    outside: Outside<'_>,
) -> Result<BTreeMap<Oid, Kind>, String> {
    let mut by_place: HashMap<usize, Oid> = HashMap::new();
    let mut done: BTreeMap<Oid, (Kind, Vec<u8>)> = BTreeMap::new();
    let mut lean_outside = false;
    while !open.is_empty() {
        let mut left = BTreeMap::new();
        let before = open.len();
        for (at, entry) in open {
            let inside = match &entry {
                Found::Whole(kind, data) => Some((*kind, data.clone())),
                Found::Behind(base, data) => match by_place.get(base) {
                    Some(id) => Some((done[id].0, apply(&done[id].1, data)?)),
                    None => None,
                },
                Found::Onto(base, data) => {
                    match done.get(base).cloned().or_else(|| outside(base).filter(|_| lean_outside)) {
                        Some((kind, base)) => Some((kind, apply(&base, data)?)),
                        None => None,
                    }
                }
            };
            let Some((kind, data)) = inside else {
                left.insert(at, entry);
                continue;
            };
            let id = object_id(sha256, kind, &data);
            by_place.insert(at, id);
            if done.insert(id, (kind, data)).is_some() {
                return Err(format!("{id} is in it twice"));
            }
        }
        if left.len() == before {
            // A base in the pack comes before one outside.
            if lean_outside {
                return Err(format!("{before} deltas without a base that the client has"));
            }
            lean_outside = true;
        }
        open = left;
    }
    Ok(done.into_iter().map(|(id, (kind, _))| (id, kind)).collect())
}

/// Applies a delta.
fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = delta.iter().copied();
    let mut size = || -> Result<usize, String> {
        let (mut size, mut shift) = (0, 0);
        loop {
            let byte = bytes.next().ok_or("a delta cut short")?;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(size);
            }
        }
    };
    let (from, to) = (size()?, size()?);
    if from != base.len() {
        return Err(format!("a delta for {from} bytes on a base of {}", base.len()));
    }
    let mut out = Vec::with_capacity(to);
    while let Some(code) = bytes.next() {
        if code & 0x80 == 0 {
            let before = out.len();
            out.extend(bytes.by_ref().take(usize::from(code)));
            if code == 0 || out.len() != before + usize::from(code) {
                return Err("a delta with a broken insert".into());
            }
            continue;
        }
        let mut number = |bits: &[u8]| -> Result<usize, String> {
            let mut value = 0;
            for (shift, bit) in bits.iter().enumerate() {
                if code & bit != 0 {
                    value |= usize::from(bytes.next().ok_or("a delta cut short")?) << (8 * shift);
                }
            }
            Ok(value)
        };
        let at = number(&[1, 2, 4, 8])?;
        let len = match number(&[16, 32, 64])? {
            0 => 0x10000,
            len => len,
        };
        out.extend_from_slice(base.get(at..at + len).ok_or("a delta that copies from beyond its base")?);
    }
    if out.len() == to {
        Ok(out)
    } else {
        Err(format!("a delta of {} bytes that should have {to}", out.len()))
    }
}
