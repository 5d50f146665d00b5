//! Medians, percentiles and intervals of alternating pairs. Knows numbers only.

/// The middle value; the mean of the two middle ones where their number is even. 0 for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The value that `share` (0 to 1) of all values do not exceed (nearest rank).
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The ratios of pairs measured one after the other.
pub(crate) struct Ratio {
    /// Their median.
    pub(crate) median: f64,
    /// Lower and upper end of the interval.
    pub(crate) interval: (f64, f64),
    /// How the interval was made, for the table.
    pub(crate) kind: &'static str,
}

/// Below this many pairs a bootstrap says nothing that minimum and maximum do not.
const BOOTSTRAP_PAIRS_MIN: usize = 6;
const RESAMPLES: usize = 2000;

/// Ours by theirs, pair by pair: the median with a 95 % bootstrap interval, or minimum and maximum of few pairs.
pub(crate) fn ratio(ours: &[f64], peer: &[f64]) -> Option<Ratio> {
    let pairs: Vec<f64> = ours.iter().zip(peer).filter(|(_, p)| **p > 0.0).map(|(o, p)| o / p).collect();
    if pairs.is_empty() {
        return None;
    }
    let (interval, kind) = if pairs.len() < BOOTSTRAP_PAIRS_MIN {
        ((percentile(&pairs, 0.0), percentile(&pairs, 1.0)), "min–max")
    } else {
        (bootstrap(&pairs), "95 %")
    };
    Some(Ratio { median: median(&pairs), interval, kind })
}

fn bootstrap(pairs: &[f64]) -> (f64, f64) {
    let mut random = Random::new(pairs.len() as u64);
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let sample: Vec<f64> = pairs.iter().map(|_| pairs[random.below(pairs.len())]).collect();
        medians.push(median(&sample));
    }
    (percentile(&medians, 0.025), percentile(&medians, 0.975))
}

/// A xorshift generator: the same numbers in every run.
pub(crate) struct Random(u64);

impl Random {
    /// A generator with that seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    /// Fills with bytes that do not compress.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.next().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
}
