//! A dense set of small numbers.

/// A set of numbers, one bit each; grows as it is filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set with room for numbers below `len`.
    pub(crate) fn with_len(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// True if it is in.
    pub(crate) fn has(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// Puts it in; false if it was.
    pub(crate) fn put(&mut self, n: usize) -> bool {
        if n / 64 >= self.0.len() {
            self.0.resize((n / 64 + 1).next_power_of_two(), 0);
        }
        let word = &mut self.0[n / 64];
        let new = *word >> (n % 64) & 1 == 0;
        *word |= 1 << (n % 64);
        new
    }

    /// How many there are within a range.
    pub(crate) fn count_in(&self, range: std::ops::Range<usize>) -> usize {
        self.words_in(range).map(|(_, word)| word.count_ones() as usize).sum()
    }

    /// The numbers within a range, ascending.
    pub(crate) fn iter_in(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = usize> {
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

    /// Words with what is outside of the range masked out, and the number of each word's first bit.
    fn words_in(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
        let end = range.end.min(self.0.len() * 64);
        let first = range.start / 64;
        let words = self.0.get(first..end.div_ceil(64)).unwrap_or_default();
        words.iter().enumerate().map(move |(i, word)| {
            let start = (first + i) * 64;
            let mut word = *word;
            if start < range.start {
                word &= u64::MAX << (range.start - start);
            }
            if start + 64 > end {
                word &= u64::MAX >> (start + 64 - end);
            }
            (start, word)
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}
