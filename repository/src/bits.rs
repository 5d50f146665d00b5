//! A dense set of small numbers, one bit each: what walks have seen, and what bitmaps say is reachable. Ten million
//! objects take 1.2 MiB. Bits that were never put are out, whatever the length, so sets of different lengths mix.

use std::ops::Range;

/// A set of small numbers.
#[derive(Clone, Default)]
pub(crate) struct Bits(Vec<u64>);

const WORD: usize = u64::BITS as usize;

impl Bits {
    /// An empty set with room for the numbers below `len`.
    pub(crate) fn with_len(len: usize) -> Self {
        Self(vec![0; len.div_ceil(WORD)])
    }

    /// The set whose words these are: number 64·i + j is bit j of word i.
    #[cfg(test)]
    pub(crate) fn from_words(words: Vec<u64>) -> Self {
        Self(words)
    }

    /// Its words up to the last that is not zero.
    pub(crate) fn words(&self) -> &[u64] {
        let used = self.0.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        &self.0[..used]
    }

    /// The first `count` words, to be changed; the set grows to hold them.
    pub(crate) fn words_mut(&mut self, count: usize) -> &mut [u64] {
        if self.0.len() < count {
            self.0.resize(count, 0);
        }
        &mut self.0[..count]
    }

    /// True if it is in.
    pub(crate) fn has(&self, n: usize) -> bool {
        self.0.get(n / WORD).is_some_and(|word| word >> (n % WORD) & 1 == 1)
    }

    /// Puts it in; false if it was.
    pub(crate) fn put(&mut self, n: usize) -> bool {
        if n / WORD >= self.0.len() {
            self.0.resize((n / WORD + 1).next_power_of_two(), 0);
        }
        let word = &mut self.0[n / WORD];
        let new = *word >> (n % WORD) & 1 == 0;
        *word |= 1 << (n % WORD);
        new
    }

    /// Puts in all numbers from `from` up to but without `to`.
    pub(crate) fn put_range(&mut self, from: usize, to: usize) {
        if from >= to {
            return;
        }
        let words = self.words_mut(to.div_ceil(WORD));
        for (at, mask) in masks(from, to) {
            words[at] |= mask;
        }
    }

    /// Takes it out; false if it was not in.
    pub(crate) fn clear(&mut self, n: usize) -> bool {
        let was = self.has(n);
        if was {
            self.0[n / WORD] &= !(1 << (n % WORD));
        }
        was
    }

    /// How many are in.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many of the numbers of a range are in.
    pub(crate) fn count_in(&self, range: Range<usize>) -> usize {
        self.words_in(range).map(|(_, word)| word.count_ones() as usize).sum()
    }

    /// The numbers of a range that are in, ascending.
    pub(crate) fn iter_in(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        self.words_in(range).flat_map(|(start, word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                (left != 0).then(|| {
                    let at = left.trailing_zeros() as usize;
                    left &= left - 1;
                    start + at
                })
            })
        })
    }

    /// The words that a range touches, what is outside of it masked out, each with the number of its first bit.
    fn words_in(&self, range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
        let end = range.end.min(self.0.len() * WORD);
        let touched = (range.start < end).then(|| masks(range.start, end)).into_iter().flatten();
        touched.map(|(at, mask)| (at * WORD, self.0[at] & mask))
    }

    /// True if none is in.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Puts in all of `other`.
    pub(crate) fn or(&mut self, other: &Bits) {
        let theirs = other.words();
        for (word, their) in self.words_mut(theirs.len()).iter_mut().zip(theirs) {
            *word |= their;
        }
    }

    /// Takes out all of `other`.
    pub(crate) fn and_not(&mut self, other: &Bits) {
        for (word, their) in self.0.iter_mut().zip(&other.0) {
            *word &= !their;
        }
    }

    /// Takes out what is not in `other`.
    pub(crate) fn and(&mut self, other: &Bits) {
        let common = self.0.len().min(other.0.len());
        for (word, their) in self.0.iter_mut().zip(&other.0) {
            *word &= their;
        }
        self.0[common..].fill(0);
    }

    /// Keeps what is in one of both sets but not in both.
    #[cfg(test)]
    pub(crate) fn xor(&mut self, other: &Bits) {
        let theirs = other.words();
        for (word, their) in self.words_mut(theirs.len()).iter_mut().zip(theirs) {
            *word ^= their;
        }
    }

    /// The numbers that are in, ascending.
    pub(crate) fn iter(&self) -> Ones<'_> {
        Ones { words: &self.0, next: 0, word: 0 }
    }

    /// True if all numbers from `from` up to but without `to` are in.
    pub(crate) fn all_set(&self, from: usize, to: usize) -> bool {
        from >= to || masks(from, to).all(|(at, mask)| self.0.get(at).is_some_and(|word| word & mask == mask))
    }

    /// The first number from `from` on that is in.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn next_set(&self, from: usize) -> Option<usize> {
        let first = from / WORD;
        let head = self.0.get(first)? & (u64::MAX << (from % WORD));
        if head != 0 {
            return Some(first * WORD + head.trailing_zeros() as usize);
        }
        let (skipped, word) = self.0[first + 1..].iter().enumerate().find(|(_, word)| **word != 0)?;
        Some((first + 1 + skipped) * WORD + word.trailing_zeros() as usize)
    }

    /// The first number from `from` on that is out.
    #[cfg(test)]
    pub(crate) fn next_clear(&self, from: usize) -> usize {
        let first = from / WORD;
        let Some(word) = self.0.get(first) else { return from };
        let head = !word & (u64::MAX << (from % WORD));
        if head != 0 {
            return first * WORD + head.trailing_zeros() as usize;
        }
        match self.0[first + 1..].iter().enumerate().find(|(_, word)| **word != u64::MAX) {
            Some((skipped, word)) => (first + 1 + skipped) * WORD + word.trailing_ones() as usize,
            None => self.0.len() * WORD,
        }
    }
}

impl PartialEq for Bits {
    /// Length does not count, only what is in.
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl Eq for Bits {}

impl std::fmt::Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<usize> for Bits {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut bits = Self::default();
        for n in numbers {
            bits.put(n);
        }
        bits
    }
}

/// The words that a range (not empty) touches, each with the bits that belong to it.
fn masks(from: usize, to: usize) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (from / WORD, (to - 1) / WORD);
    (first..=last).map(move |at| {
        let head = if at == first { u64::MAX << (from % WORD) } else { u64::MAX };
        let tail = if at == last { u64::MAX >> (WORD - 1 - (to - 1) % WORD) } else { u64::MAX };
        (at, head & tail)
    })
}

/// The numbers of a set, ascending.
pub(crate) struct Ones<'a> {
    words: &'a [u64],
    /// The word after the one at hand.
    next: usize,
    /// What is left of the word at hand.
    word: u64,
}

impl Iterator for Ones<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.word == 0 {
            self.word = *self.words.get(self.next)?;
            self.next += 1;
        }
        let bit = self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some((self.next - 1) * WORD + bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn bits(model: &BTreeSet<usize>) -> Bits {
        model.iter().copied().collect()
    }

    #[test]
    fn length_does_not_count() {
        let mut long = Bits::with_len(10_000);
        assert!(long.is_empty());
        assert_eq!(long, Bits::default());
        assert!(long.put(64));
        assert!(!long.put(64));
        assert_eq!(long.words(), [0, 1]);
        assert_eq!(long, Bits::from_words(vec![0, 1, 0]));
        assert!(long.clear(64));
        assert!(!long.clear(64));
        assert!(!long.clear(1 << 40));
        assert_eq!(long.words(), [0u64; 0]);
    }

    #[test]
    fn ends_of_words_are_no_ends_of_ranges() {
        let mut all = Bits::default();
        all.put_range(0, 128);
        assert!(all.all_set(0, 128) && !all.all_set(0, 129) && all.all_set(500, 500));
        assert_eq!((all.next_clear(3), all.next_set(127), all.next_set(128)), (128, Some(127), None));
        assert_eq!(all.next_clear(128), 128);
        assert_eq!(all.next_clear(1 << 50), 1 << 50);
        assert_eq!(all.next_set(1 << 50), None);
        all.put_range(7, 7);
        assert_eq!(all.count(), 128);
    }

    proptest! {
        #[test]
        fn sets_work_as_sets_do(a in btree_set(0usize..700, 0..300), b in btree_set(0usize..900, 0..300)) {
            let check = |got: Bits, want: BTreeSet<usize>| {
                prop_assert_eq!(got.count(), want.len());
                prop_assert_eq!(got.is_empty(), want.is_empty());
                prop_assert_eq!(got.iter().collect::<Vec<_>>(), want.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(&got, &bits(&want));
                Ok(())
            };
            for (a, b) in [(&a, &b), (&b, &a)] {
                let with = |change: fn(&mut Bits, &Bits)| { let mut set = bits(a); change(&mut set, &bits(b)); set };
                check(with(Bits::or), a | b)?;
                check(with(Bits::and), a & b)?;
                check(with(Bits::and_not), a - b)?;
                check(with(Bits::xor), a ^ b)?;
            }
        }

        #[test]
        fn ranges_are_found(set in btree_set(0usize..400, 0..390), from in 0usize..500, len in 0usize..200) {
            let got = bits(&set);
            prop_assert_eq!(got.next_set(from), set.range(from..).next().copied());
            prop_assert_eq!(got.next_clear(from), (from..).find(|n| !set.contains(n)).unwrap());
            prop_assert_eq!(got.all_set(from, from + len), (from..from + len).all(|n| set.contains(&n)));
            let mut more = got.clone();
            more.put_range(from, from + len);
            let want: BTreeSet<usize> = set.iter().copied().chain(from..from + len).collect();
            prop_assert_eq!(more, bits(&want));
        }
    }
}
