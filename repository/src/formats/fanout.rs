//! Sorted ids and the table of how many begin with each byte, as `.idx` files and multi-pack indexes have them.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Broken, u32_at};

/// Bytes of the table: one number for each first byte.
pub(crate) const FANOUT_BYTES: usize = 256 * 4;

/// Where a file keeps its ids. The file's bytes are given to each call.
pub(crate) struct Fanout {
    counts_at: usize,
    ids_at: usize,
    count: u32,
    hash_len: usize,
}

impl Fanout {
    /// Checks the table at `counts_at`, and that the file is long enough for the ids at `ids_at`.
    pub(crate) fn parse(
        data: &[u8],
        counts_at: usize,
        ids_at: usize,
        hash_len: usize,
    ) -> Result<Self, Broken> {
        let table = data.get(counts_at..).and_then(|rest| rest.get(..FANOUT_BYTES));
        let table = table.ok_or(Broken("it ends in its table of first bytes"))?;
        let counts = || table.as_chunks().0.iter().map(|count| u32::from_be_bytes(*count));
        if !counts().is_sorted() {
            return Err(Broken("its table of first bytes is not in order"));
        }
        let fanout = Self { counts_at, ids_at, count: counts().next_back().unwrap_or(0), hash_len };
        let room = data.len().saturating_sub(ids_at) / hash_len;
        if room < fanout.count as usize {
            return Err(Broken("it ends in its ids"));
        }
        Ok(fanout)
    }

    /// How many ids there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Where the ids end.
    pub(crate) fn end(&self) -> usize {
        self.ids_at + self.count as usize * self.hash_len
    }

    /// The id at a position.
    pub(crate) fn id<'a>(&self, data: &'a [u8], position: u32) -> Option<&'a [u8]> {
        if position >= self.count {
            return None;
        }
        data.get(self.ids_at + position as usize * self.hash_len..)?.get(..self.hash_len)
    }

    /// The position of an id.
    pub(crate) fn find(&self, data: &[u8], id: &[u8]) -> Option<u32> {
        let first = *id.first()?;
        let range = self.bucket(data, first, first);
        let at = self.first_that(data, range.clone(), |other| other.cmp(id) != Ordering::Less);
        (at < range.end && self.id(data, at)? == id).then_some(at)
    }

    /// The positions of the ids that begin with these hexadecimal digits; `None` if they are none or too many.
    pub(crate) fn prefix(&self, data: &[u8], digits: &str) -> Option<Range<u32>> {
        if digits.is_empty() || digits.len() > self.hash_len * 2 {
            return None;
        }
        let padded = |with: char| -> Option<Vec<u8>> {
            let len = self.hash_len * 2;
            hex::decode(digits.chars().chain(std::iter::repeat(with)).take(len).collect::<String>()).ok()
        };
        let (low, high) = (padded('0')?, padded('f')?);
        let range = self.bucket(data, low[0], high[0]);
        let start = self.first_that(data, range.clone(), |id| id >= &low[..]);
        let end = self.first_that(data, start..range.end, |id| id > &high[..]);
        Some(start..end)
    }

    fn bucket(&self, data: &[u8], from: u8, to: u8) -> Range<u32> {
        let count =
            |byte: u8| u32_at(data, self.counts_at + usize::from(byte) * 4).unwrap_or(0).min(self.count);
        let start = from.checked_sub(1).map_or(0, count);
        start..count(to).max(start)
    }

    fn first_that(&self, data: &[u8], range: Range<u32>, is: impl Fn(&[u8]) -> bool) -> u32 {
        let Range { mut start, mut end } = range;
        while start < end {
            let middle = start + (end - start) / 2;
            if self.id(data, middle).is_some_and(&is) {
                end = middle;
            } else {
                start = middle + 1;
            }
        }
        start
    }
}

/// Gathers, from ids in order, the table that stands before them.
pub(crate) fn fanout_of<'a>(ids: impl Iterator<Item = &'a [u8]>) -> [u32; 256] {
    let mut counts = [0u32; 256];
    ids.for_each(|id| counts[usize::from(id.first().copied().unwrap_or(0))] += 1);
    for byte in 1..256 {
        counts[byte] += counts[byte - 1];
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(ids: &[[u8; 20]]) -> Vec<u8> {
        let mut data = vec![9; 3];
        fanout_of(ids.iter().map(|id| &id[..])).iter().for_each(|c| data.extend(c.to_be_bytes()));
        ids.iter().for_each(|id| data.extend(id));
        data
    }

    #[test]
    fn ids_and_their_beginnings_are_found() {
        let mut ids: Vec<[u8; 20]> = (0..120u32)
            .map(|n| {
                let mut id = [0; 20];
                id[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
                id
            })
            .collect();
        ids.sort_unstable();
        let data = file(&ids);
        let fanout = Fanout::parse(&data, 3, 3 + FANOUT_BYTES, 20).unwrap();
        assert_eq!((fanout.count(), fanout.end()), (120, data.len()));
        for (id, at) in ids.iter().zip(0..) {
            assert_eq!(fanout.find(&data, id), Some(at));
            assert_eq!(fanout.id(&data, at), Some(&id[..]));
            let mut other = *id;
            other[19] = 1;
            assert_eq!(fanout.find(&data, &other), None);
            for digits in [1, 2, 3, 40] {
                let prefix = hex::encode(id)[..digits].to_owned();
                let range = fanout.prefix(&data, &prefix).unwrap();
                let want: Vec<u32> =
                    (0..120).filter(|n| hex::encode(ids[*n as usize]).starts_with(&prefix)).collect();
                assert_eq!(range.collect::<Vec<_>>(), want);
            }
        }
        assert_eq!(fanout.id(&data, 120), None);
        assert_eq!((fanout.find(&data, &[]), fanout.find(&data, &[0; 32])), (None, None));
        assert!(fanout.prefix(&data, "").is_none() && fanout.prefix(&data, "xy").is_none());
        assert!(fanout.prefix(&data, &"0".repeat(41)).is_none() && fanout.prefix(&data, "é").is_none());
    }

    #[test]
    fn broken_tables_are_refused() {
        let data = file(&[[1; 20], [2; 20]]);
        assert!(Fanout::parse(&data[..data.len() - 1], 3, 3 + FANOUT_BYTES, 20).is_err());
        assert!(Fanout::parse(&data[..900], 3, 3 + FANOUT_BYTES, 20).is_err());
        assert!(Fanout::parse(&data, usize::MAX, 3 + FANOUT_BYTES, 20).is_err());
        let mut data = data;
        data[3] = 1;
        assert!(Fanout::parse(&data, 3, 3 + FANOUT_BYTES, 20).is_err());
    }
}
