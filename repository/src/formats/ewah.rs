//! EWAH bitmaps: 64-bit words where runs of equal words (all zeros, all ones) are told by their length. The layout is
//! that of git's bitmap-format, Appendix A: the number of bits, the number of words, the words, and the position of the
//! last run-length word. A run-length word says: bit 0, which bit repeats; 32 bits, for how many words; 31 bits, how
//! many literal words follow it.
//!
//! Nothing is decoded before it is asked for, and no length is believed: a bitmap is read against the number of bits
//! that there may be, so it costs no more memory than that many bits whatever it says.

use super::{Broken, u32_at};
use crate::bits::Bits;

const REPEATS_MAX: u64 = u32::MAX as u64;
const LITERALS_MAX: u64 = (1 << 31) - 1;
const WORD_BITS: usize = 64;

/// A compressed bitmap in some file.
#[derive(Clone, Copy)]
pub(crate) struct Ewah<'a> {
    /// Whole words of 8 bytes.
    words: &'a [u8],
    /// How many bits there may be.
    limit: usize,
}

/// Words of a bitmap that come after one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run<'a> {
    /// So many words of zeros.
    Zeros(usize),
    /// So many words of ones.
    Ones(usize),
    /// These words, 8 bytes each, big-endian.
    Literal(&'a [u8]),
}

impl<'a> Ewah<'a> {
    /// The bitmap that starts `data`, and its length in bytes. `limit`: the number of bits that it may have.
    pub(crate) fn parse(data: &'a [u8], limit: u32) -> Result<(Self, usize), Broken> {
        const CUT: Broken = Broken("its end cuts a bitmap");
        let bits = u32_at(data, 0).ok_or(CUT)?;
        let count = u32_at(data, 4).ok_or(CUT)?;
        // git counts whole words.
        if u64::from(bits) > u64::from(limit).next_multiple_of(WORD_BITS as u64) {
            return Err(Broken("a bitmap is longer than there are objects"));
        }
        let len = (count as usize).checked_mul(8).ok_or(CUT)?;
        let words = data.get(8..).and_then(|rest| rest.get(..len)).ok_or(CUT)?;
        let last_run = u32_at(data, 8 + len).ok_or(CUT)?;
        if last_run != 0 && last_run >= count {
            return Err(Broken("a bitmap's last run is not in it"));
        }
        Ok((Self { words, limit: limit as usize }, 12 + len))
    }

    /// Its length in the file in bytes.
    pub(crate) fn len(&self) -> usize {
        12 + self.words.len()
    }

    /// Its words in order, as runs. The iterator ends after the first error.
    pub(crate) fn runs(&self) -> Runs<'a> {
        let words_left = self.limit.div_ceil(WORD_BITS);
        let tail = (!self.limit.is_multiple_of(WORD_BITS)).then(|| u64::MAX << (self.limit % WORD_BITS));
        Runs { words: self.words, literals: 0, words_left, tail }
    }

    /// Puts its numbers into `bits`; part of them if there is an error.
    pub(crate) fn or_into(&self, bits: &mut Bits) -> Result<(), Broken> {
        self.apply(bits, |word, ours| *word |= ours)
    }

    /// Puts in what was out and takes out what was in; part of it if there is an error.
    pub(crate) fn xor_into(&self, bits: &mut Bits) -> Result<(), Broken> {
        self.apply(bits, |word, ours| *word ^= ours)
    }

    /// Its numbers as a set.
    pub(crate) fn decode(&self) -> Result<Bits, Broken> {
        let mut bits = Bits::with_len(self.limit);
        self.or_into(&mut bits)?;
        Ok(bits)
    }

    fn apply(&self, bits: &mut Bits, change: impl Fn(&mut u64, u64)) -> Result<(), Broken> {
        let words = bits.words_mut(self.limit.div_ceil(WORD_BITS));
        let mut at = 0;
        for run in self.runs() {
            match run? {
                Run::Zeros(count) => at += count,
                Run::Ones(count) => {
                    words[at..at + count].iter_mut().for_each(|word| change(word, u64::MAX));
                    at += count;
                }
                Run::Literal(raw) => {
                    for (word, ours) in words[at..].iter_mut().zip(literals(raw)) {
                        change(word, ours);
                    }
                    at += raw.len() / 8;
                }
            }
        }
        Ok(())
    }
}

/// The words of a literal run.
pub(crate) fn literals(raw: &[u8]) -> impl Iterator<Item = u64> + '_ {
    raw.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word))
}

/// The runs of a bitmap.
pub(crate) struct Runs<'a> {
    words: &'a [u8],
    /// Literal words that follow before the next run-length word.
    literals: usize,
    /// How many words there may still be.
    words_left: usize,
    /// Those bits of the last word that may not be, if it is not full.
    tail: Option<u64>,
}

impl<'a> Runs<'a> {
    fn advance(&mut self) -> Result<Option<Run<'a>>, Broken> {
        loop {
            if self.literals > 0 {
                return self.literal().map(Some);
            }
            let Some((head, rest)) = self.words.split_first_chunk() else { return Ok(None) };
            let head = u64::from_be_bytes(*head);
            self.words = rest;
            // 31 bits: a word of any machine holds them.
            self.literals = (head >> 33) as usize;
            let repeats = (head >> 1 & REPEATS_MAX) as usize;
            if repeats > 0 {
                return self.repeat(head & 1 == 1, repeats).map(Some);
            }
        }
    }

    fn literal(&mut self) -> Result<Run<'a>, Broken> {
        let count = std::mem::take(&mut self.literals);
        let raw =
            self.words.get(..count.saturating_mul(8)).ok_or(Broken("a bitmap's words are cut short"))?;
        self.words = &self.words[raw.len()..];
        self.take(count)?;
        let last = literals(&raw[raw.len() - 8..]).next().unwrap_or(0);
        if self.words_left == 0 && self.tail.is_some_and(|tail| last & tail != 0) {
            return Err(Broken("a bitmap has bits beyond the objects"));
        }
        Ok(Run::Literal(raw))
    }

    fn repeat(&mut self, ones: bool, count: usize) -> Result<Run<'a>, Broken> {
        self.take(count)?;
        if ones && self.words_left == 0 && self.tail.is_some() {
            return Err(Broken("a bitmap has bits beyond the objects"));
        }
        Ok(if ones { Run::Ones(count) } else { Run::Zeros(count) })
    }

    fn take(&mut self, count: usize) -> Result<(), Broken> {
        let left = self.words_left.checked_sub(count);
        self.words_left = left.ok_or(Broken("a bitmap has more words than there are objects"))?;
        Ok(())
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Result<Run<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let run = self.advance();
        if run.is_err() {
            (self.words, self.literals) = (&[], 0);
        }
        run.transpose()
    }
}

/// Compresses words.
struct Encoder {
    words: Vec<u64>,
    /// Where the last run-length word is.
    run: usize,
}

impl Encoder {
    fn push(&mut self, word: u64) {
        if word == 0 || word == u64::MAX { self.repeat(word & 1) } else { self.literal(word) }
    }

    fn repeat(&mut self, bit: u64) {
        let head = self.words[self.run];
        let repeats = head >> 1 & REPEATS_MAX;
        if head >> 33 == 0 && (repeats == 0 || head & 1 == bit) && repeats < REPEATS_MAX {
            self.words[self.run] = (repeats + 1) << 1 | bit;
        } else {
            self.start(1 << 1 | bit);
        }
    }

    fn literal(&mut self, word: u64) {
        if self.words[self.run] >> 33 == LITERALS_MAX {
            self.start(0);
        }
        self.words[self.run] += 1 << 33;
        self.words.push(word);
    }

    fn start(&mut self, head: u64) {
        self.run = self.words.len();
        self.words.push(head);
    }
}

/// Compresses the words (number 64·i + j is bit j of word i) and appends the bitmap, with its lengths, to `out` unless
/// it would have more than `bytes_max` bytes; says whether it did. `bits`: how many bits the bitmap says that it has.
pub(crate) fn encode_words(
    words: impl Iterator<Item = u64>,
    bits: u32,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut encoder = Encoder { words: vec![0], run: 0 };
    let words_max = bytes_max.saturating_sub(12) / 8;
    for word in words {
        encoder.push(word);
        if encoder.words.len() > words_max {
            return false;
        }
    }
    // At most one word for each of 2^32 bits / 64, and a run-length word for each: it fits.
    out.reserve(12 + encoder.words.len() * 8);
    out.extend_from_slice(&bits.to_be_bytes());
    out.extend_from_slice(&(encoder.words.len() as u32).to_be_bytes());
    encoder.words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
    out.extend_from_slice(&(encoder.run as u32).to_be_bytes());
    true
}

/// The bitmap of the numbers of `bits` below `bit_len`, with its lengths.
pub(crate) fn encode(bits: &Bits, bit_len: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let count = (bit_len as usize).div_ceil(WORD_BITS);
    let words = bits.words();
    let words = &words[..words.len().min(count)];
    encode_words(words.iter().copied(), bit_len, usize::MAX, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Sets with runs of both kinds and of all lengths.
    fn sets() -> impl Strategy<Value = (Bits, u32)> {
        vec((0usize..700, 0usize..400, any::<u8>()), 0..12).prop_flat_map(|pieces| {
            let mut bits = Bits::default();
            let mut at = 0;
            for (gap, len, noise) in pieces {
                at += gap;
                bits.put_range(at, at + len);
                bits.put(at + len + usize::from(noise));
                at += len;
            }
            let len = bits.words().len() * 64;
            let least = (0..len).rev().find(|n| bits.has(*n)).map_or(0, |n| n + 1);
            (Just(bits), least as u32..least as u32 + 200)
        })
    }

    proptest! {
        #[test]
        fn sets_survive_their_bytes((bits, len) in sets(), (other, _) in sets(), more in vec(any::<u8>(), 0..9)) {
            let mut raw = encode(&bits, len);
            let size = raw.len();
            raw.extend(more);
            let (ewah, used) = Ewah::parse(&raw, len).unwrap();
            prop_assert_eq!(used, size);
            prop_assert_eq!(&ewah.decode().unwrap(), &bits);
            let (mut or, mut xor) = (other.clone(), other.clone());
            ewah.or_into(&mut or).unwrap();
            ewah.xor_into(&mut xor).unwrap();
            let (mut want_or, mut want_xor) = (other.clone(), other);
            want_or.or(&bits);
            want_xor.xor(&bits);
            prop_assert_eq!(or, want_or);
            prop_assert_eq!(xor, want_xor);
            prop_assert!(size <= 12 + 8 * (1 + 2 * bits.words().len()));
        }

        #[test]
        fn no_bytes_do_harm(raw in vec(any::<u8>(), 0..200), limit in 0u32..5000) {
            if let Ok((ewah, _)) = Ewah::parse(&raw, limit) {
                let _ = ewah.decode();
            }
        }

        #[test]
        fn broken_bytes_do_no_harm((bits, len) in sets(), at in any::<prop::sample::Index>(), flip in 1u8..=255) {
            let mut raw = encode(&bits, len);
            let at = at.index(raw.len());
            prop_assert!(Ewah::parse(&raw[..at], len).is_err());
            raw[at] ^= flip;
            if let Ok((ewah, _)) = Ewah::parse(&raw, len)
                && let Ok(got) = ewah.decode()
            {
                prop_assert!(got.next_set(len as usize).is_none());
            }
        }
    }

    #[test]
    fn runs_are_short() {
        assert_eq!(encode(&Bits::default(), 0), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut bits = Bits::default();
        bits.put_range(64 * 1000, 64 * 5_000_000);
        bits.put(64 * 5_000_001);
        let raw = encode(&bits, 64 * 5_000_002);
        assert_eq!(raw.len(), 12 + 8 * 4, "zeros; ones; a zero word and a literal");
        let (ewah, _) = Ewah::parse(&raw, 64 * 5_000_002).unwrap();
        let runs: Vec<_> = ewah.runs().map(|run| run.unwrap()).collect();
        let one = [0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(runs, [Run::Zeros(1000), Run::Ones(4_999_000), Run::Zeros(1), Run::Literal(&one)]);
    }

    #[test]
    fn bits_beyond_the_objects_are_refused() {
        let mut bits = Bits::default();
        bits.put_range(0, 128);
        let raw = encode(&bits, 128);
        assert!(Ewah::parse(&raw, 64).is_err(), "its length");
        let (ewah, _) = Ewah::parse(&raw, 127).unwrap();
        assert!(ewah.decode().is_err(), "a run of ones");
        bits.clear(66);
        let raw = encode(&bits, 128);
        assert!(Ewah::parse(&raw, 127).unwrap().0.decode().is_err(), "a literal");
        assert_eq!(Ewah::parse(&raw, 128).unwrap().0.decode().unwrap(), bits);
    }

    #[test]
    fn a_long_repetition_costs_nothing() {
        let mut raw = encode(&Bits::default(), 64);
        raw[8..16].copy_from_slice(&(u64::from(u32::MAX) << 1 | 1).to_be_bytes());
        let (ewah, _) = Ewah::parse(&raw, 64).unwrap();
        assert!(ewah.decode().is_err());
        raw[8..16].copy_from_slice(&(LITERALS_MAX << 33).to_be_bytes());
        let (ewah, _) = Ewah::parse(&raw, u32::MAX).unwrap();
        assert!(ewah.runs().next().unwrap().is_err());
    }
}
