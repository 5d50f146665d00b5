//! Deltas of packs (gitformat-pack, "Deltified representation"): reading sizes, and applying one to its base. Making them is
//! in [`create`], choosing bases in [`search`].

pub(crate) mod create;
pub(crate) mod search;

use std::io::BufRead;

use crate::bulk::Bulk;
use crate::inflate::InflateError;
use crate::limits::BUFFER_BYTES;

/// git reads no delta of fewer bytes, though one that makes nothing could do with two.
pub(crate) const DELTA_BYTES_MIN: usize = 4;

/// Reads the base's and the result's size from the head of a delta; also returns where the instructions start.
pub(crate) fn sizes(delta: &[u8]) -> Option<(u64, u64, usize)> {
    let (base, used) = size(delta)?;
    let (result, more) = size(&delta[used..])?;
    Some((base, result, used + more))
}

fn size(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        let shifted = part.checked_shl(7 * i as u32).filter(|s| s >> (7 * i) == part)?;
        value |= shifted;
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Applies `delta` to `base` into `out` (cleared first), if that makes at most `result_max` bytes. Says what is wrong with the delta.
pub(crate) fn apply(
    base: &[u8],
    delta: &[u8],
    result_max: u64,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    if delta.len() < DELTA_BYTES_MIN {
        return Err("its delta is shorter than git takes one");
    }
    let (base_len, result_len, start) = sizes(delta).ok_or("its delta has no sizes")?;
    if base_len != base.len() as u64 {
        return Err("its delta is for a base of another size");
    }
    if result_len > result_max {
        return Err("its delta's result is too large");
    }
    let result_len = usize::try_from(result_len).map_err(|_| "its delta's result is too large")?;
    out.clear();
    out.reserve_exact(result_len);
    let mut rest = &delta[start..];
    while let Some((&op, tail)) = rest.split_first() {
        rest = tail;
        if op & 0x80 != 0 {
            let mut arg = |bit: u8| -> Result<usize, &'static str> {
                if op & (1 << bit) == 0 {
                    return Ok(0);
                }
                let (&byte, tail) = rest.split_first().ok_or("its delta ends inside an instruction")?;
                rest = tail;
                Ok(usize::from(byte))
            };
            let from = arg(0)? | arg(1)? << 8 | arg(2)? << 16 | arg(3)? << 24;
            let len = match arg(4)? | arg(5)? << 8 | arg(6)? << 16 {
                0 => 0x10000,
                len => len,
            };
            let copied = from.checked_add(len).and_then(|end| base.get(from..end));
            let copied = copied.ok_or("its delta copies from beyond its base")?;
            if out.len() + len > result_len {
                return Err("its delta makes more than it says");
            }
            out.extend_from_slice(copied);
        } else if op == 0 {
            return Err("its delta has the reserved instruction 0");
        } else {
            let len = usize::from(op);
            if rest.len() < len {
                return Err("its delta ends inside an insertion");
            }
            if out.len() + len > result_len {
                return Err("its delta makes more than it says");
            }
            out.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
        }
    }
    if out.len() != result_len {
        return Err("its delta makes less than it says");
    }
    Ok(())
}

/// Applies a delta that is read piece by piece to a base of any size, as [`apply`] does; nothing is held of either, nor of
/// the result, which goes to `out`. The delta's result has been found to be small enough before.
pub(crate) fn apply_stream(
    base: &Bulk,
    delta: &mut dyn BufRead,
    out: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), InflateError> {
    let broken = InflateError::Broken;
    let base_len = stream_size(delta)?;
    let mut left = stream_size(delta)?;
    if base_len != base.len() {
        return Err(broken("its delta is for a base of another size"));
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(op) = next_byte(delta)? {
        let (mut from, mut len) = (0u64, u64::from(op));
        if op == 0 {
            return Err(broken("its delta has the reserved instruction 0"));
        }
        if op & 0x80 != 0 {
            len = 0;
            for bit in 0..7u32 {
                let byte = if op & (1 << bit) == 0 { 0 } else { u64::from(must_byte(delta)?) };
                if bit < 4 { from |= byte << (8 * bit) } else { len |= byte << (8 * (bit - 4)) }
            }
            len = if len == 0 { 0x10000 } else { len };
            if from + len > base_len {
                return Err(broken("its delta copies from beyond its base"));
            }
        }
        left = left.checked_sub(len).ok_or(broken("its delta makes more than it says"))?;
        while len > 0 {
            let piece = &mut buffer[..usize::try_from(len).unwrap_or(usize::MAX).min(BUFFER_BYTES)];
            if op & 0x80 != 0 {
                base.read_exact_at(piece, from)?;
            } else {
                delta.read_exact(piece)?;
            }
            out(piece)?;
            (from, len) = (from + piece.len() as u64, len - piece.len() as u64);
        }
    }
    if left == 0 { Ok(()) } else { Err(broken("its delta makes less than it says")) }
}

fn next_byte(from: &mut dyn BufRead) -> Result<Option<u8>, InflateError> {
    let byte = from.fill_buf()?.first().copied();
    if byte.is_some() {
        from.consume(1);
    }
    Ok(byte)
}

fn must_byte(from: &mut dyn BufRead) -> Result<u8, InflateError> {
    next_byte(from)?.ok_or(InflateError::Broken("its delta ends inside an instruction"))
}

fn stream_size(from: &mut dyn BufRead) -> Result<u64, InflateError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = must_byte(from)?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            break;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(InflateError::Broken("its delta has no sizes"))
}

/// A part of the result that is copied from the base.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    /// Where in the base it starts, and where in the result, in bytes.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) len: usize,
}

/// The copied parts, in the order of the result, of a delta that was applied before.
pub(crate) fn copies(delta: &[u8]) -> impl Iterator<Item = Copied> + '_ {
    let start = sizes(delta).map_or(delta.len(), |(_, _, start)| start);
    let mut rest = delta.get(start..).unwrap_or_default();
    let mut to = 0usize;
    std::iter::from_fn(move || {
        while let Some((&op, tail)) = rest.split_first() {
            rest = tail;
            if op & 0x80 == 0 {
                rest = rest.get(usize::from(op)..).unwrap_or_default();
                to += usize::from(op);
                continue;
            }
            let mut arg = |bit: u8| {
                let (byte, tail) = if op & (1 << bit) == 0 {
                    (0, rest)
                } else {
                    rest.split_first().map_or((0, rest), |(b, t)| (*b, t))
                };
                rest = tail;
                usize::from(byte)
            };
            let from = arg(0) | arg(1) << 8 | arg(2) << 16 | arg(3) << 24;
            let len = match arg(4) | arg(5) << 8 | arg(6) << 16 {
                0 => 0x10000,
                len => len,
            };
            to = to.saturating_add(len);
            return Some(Copied { from, to: to - len, len });
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_inserts() {
        let mut out = Vec::new();
        // base 5, result 6: copy 1..4, insert "xyz"
        apply(b"hello", &[5, 6, 0x80 | 1 | 16, 1, 3, 3, b'x', b'y', b'z'], 9, &mut out).expect("valid");
        assert_eq!(out, b"ellxyz");
    }

    /// Both ways of applying a delta say the same.
    fn streamed(base: &[u8], mut delta: &[u8]) -> Option<Vec<u8>> {
        let folder = std::path::Path::new("/nowhere");
        let mut bulk = Bulk::room(0, folder).expect("small");
        std::io::Write::write_all(&mut bulk, base).expect("into memory");
        let mut made = Vec::new();
        let mut put = |piece: &[u8]| {
            made.extend_from_slice(piece);
            Ok(())
        };
        apply_stream(&bulk, &mut delta, &mut put).ok().map(|()| made)
    }

    #[test]
    fn a_delta_makes_the_same_piece_by_piece() {
        let base: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
        let other = [&base[5000..90_000], b"between", &base[..70_000], &base[100_000..]].concat();
        let delta = [
            &[0xc0, 0x9a, 0x0c][..],
            &[
                (other.len() & 0x7f) as u8 | 0x80,
                (other.len() >> 7 & 0x7f) as u8 | 0x80,
                (other.len() >> 14) as u8,
            ],
            &[0x80 | 1 | 2 | 16 | 32 | 64, 0x88, 0x13, 0x08, 0x4c, 0x01],
            b"\x07between",
            &[0x80 | 16 | 32 | 64, 0x70, 0x11, 0x01],
            &[0x80 | 1 | 2 | 4 | 16 | 32 | 64, 0xa0, 0x86, 0x01, 0xa0, 0x86, 0x01],
        ]
        .concat();
        let mut out = Vec::new();
        apply(&base, &delta, 1 << 20, &mut out).expect("valid");
        assert_eq!(out, other);
        assert_eq!(streamed(&base, &delta), Some(other));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut out = Vec::new();
        for bad in [
            &[][..],
            &[5],
            &[0x80; 12],
            &[4, 1, 1, b'x'],
            &[5, 1, 0],
            &[5, 1],
            &[5, 1, 2, b'x'],
            &[5, 9, 0x90 | 1, 3, 3],
            &[5, 1, 2, b'x', b'y'],
            &[5, 2, 0x80 | 1],
            &[5, 0, 1, b'x'],
        ] {
            assert!(apply(b"hello", bad, 9, &mut out).is_err(), "{bad:?}");
            assert!(streamed(b"hello", bad).is_none(), "{bad:?}");
        }
    }
}
