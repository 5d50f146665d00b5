//! A small pack whose objects are large: three deltas that copy a base of zeros again and again.

use crate::Outcome;
use crate::pack::{BLOB, NONE, OFS_DELTA, Pack, id, push};

const BASE_BYTES: usize = 16 << 20;
const COPIES: usize = 31;
const DELTAS: u32 = 3;
/// Most that one instruction copies.
const COPY_BYTES: usize = (1 << 24) - 1;

/// A push of it, under a tag of that number.
pub(crate) fn request(number: u64) -> Outcome<Vec<u8>> {
    let base = vec![0; BASE_BYTES];
    let mut pack = Pack::of(1 + DELTAS);
    let at = pack.entry(BLOB, &[], &base)?;
    for extra in 0..DELTAS {
        let back = pack.back_to(at);
        pack.entry(OFS_DELTA, &back, &delta(extra as u8))?;
    }
    Ok(push(NONE, &id("blob", &base), &format!("refs/tags/bomb{number}"), &pack.end()))
}

/// Copies of the whole base, and a byte that makes it unlike the others.
fn delta(last: u8) -> Vec<u8> {
    let mut out = Vec::new();
    size(&mut out, BASE_BYTES);
    size(&mut out, COPIES * COPY_BYTES + 1);
    for _ in 0..COPIES {
        // A copy from 0 of 0xffffff bytes: all three bytes of the size follow.
        out.extend_from_slice(&[0x80 | 0x10 | 0x20 | 0x40, 0xff, 0xff, 0xff]);
    }
    out.extend_from_slice(&[1, last]);
    out
}

fn size(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}
