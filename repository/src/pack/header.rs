//! The header of a pack's entry (gitformat-pack): what it is, how large, and what it builds upon. Knows bytes, and no file.

use crate::object::Kind;

/// What an entry's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A whole object.
    Whole(Kind),
    /// A delta against the entry at this offset.
    OfsDelta(u64),
    /// A delta against the object whose id starts at this offset.
    RefDelta([u8; 32]),
}

/// An entry's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryHeader {
    pub(crate) kind: EntryKind,
    /// Inflated size in bytes: of the object, or of the delta itself.
    pub(crate) size: u64,
    /// Where the compressed bytes start.
    pub(crate) data_offset: u64,
}

/// Longest entry header: ten bytes of size, then ten of distance or 32 of id.
pub(crate) const HEADER_BYTES_MAX: usize = 10 + 32;

/// Reads an entry's header from the bytes at `offset`.
pub(crate) fn parse_header(raw: &[u8], offset: u64, hash_len: usize) -> Option<EntryHeader> {
    let first = *raw.first()?;
    let mut size = u64::from(first & 0x0f);
    let mut at = 1;
    let mut shift = 4;
    let mut more = first & 0x80 != 0;
    while more {
        let byte = *raw.get(at)?;
        let part = u64::from(byte & 0x7f);
        if shift > 57 && part >> (64 - shift) != 0 {
            return None;
        }
        size |= part << shift;
        shift += 7;
        at += 1;
        more = byte & 0x80 != 0;
        if more && shift > 63 {
            return None;
        }
    }
    let kind = match first >> 4 & 7 {
        1 => EntryKind::Whole(Kind::Commit),
        2 => EntryKind::Whole(Kind::Tree),
        3 => EntryKind::Whole(Kind::Blob),
        4 => EntryKind::Whole(Kind::Tag),
        6 => {
            let mut byte = *raw.get(at)?;
            at += 1;
            let mut distance = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                byte = *raw.get(at)?;
                at += 1;
                distance = distance.checked_add(1)?.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
            }
            if distance == 0 {
                return None;
            }
            EntryKind::OfsDelta(offset.checked_sub(distance)?)
        }
        7 => {
            let mut id = [0u8; 32];
            id[..hash_len].copy_from_slice(raw.get(at..at + hash_len)?);
            at += hash_len;
            EntryKind::RefDelta(id)
        }
        _ => return None,
    };
    Some(EntryHeader { kind, size, data_offset: offset + at as u64 })
}

/// Appends an entry's type and size.
pub(crate) fn write_type_and_size(code: u8, size: u64, out: &mut Vec<u8>) {
    let mut byte = code << 4 | (size & 0x0f) as u8;
    let mut rest = size >> 4;
    while rest != 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

/// Appends the distance of an offset delta.
pub(crate) fn write_distance(distance: u64, out: &mut Vec<u8>) {
    let mut bytes = [0u8; 10];
    let mut at = bytes.len() - 1;
    let mut rest = distance;
    bytes[at] = (rest & 0x7f) as u8;
    rest >>= 7;
    while rest != 0 {
        rest -= 1;
        at -= 1;
        bytes[at] = 0x80 | (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.extend_from_slice(&bytes[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_their_bytes() {
        for size in [0, 1, 15, 16, 2047, 2048, 1 << 20, 1 << 40, u64::MAX] {
            let mut raw = Vec::new();
            write_type_and_size(3, size, &mut raw);
            let header = parse_header(&raw, 7, 20).expect("valid");
            assert_eq!((header.kind, header.size), (EntryKind::Whole(Kind::Blob), size));
            for distance in [1, 127, 128, 16511, 16512, 1 << 33] {
                let mut raw = Vec::new();
                write_type_and_size(6, size, &mut raw);
                write_distance(distance, &mut raw);
                let header = parse_header(&raw, 1 << 40, 20).expect("valid");
                assert_eq!(header.kind, EntryKind::OfsDelta((1 << 40) - distance));
                assert_eq!(header.data_offset, (1 << 40) + raw.len() as u64);
                for cut in 0..raw.len() {
                    assert!(parse_header(&raw[..cut], 1 << 40, 20).is_none());
                }
            }
        }
        assert!(parse_header(&[0x60, 9], 4, 20).is_none(), "a base before the file");
        assert!(parse_header(&[0xff; 42], 4, 20).is_none());
    }
}
