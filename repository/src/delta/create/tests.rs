//! Deltas that are made here are applied again; sizes and time are bounded.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::apply;
use super::*;

/// Makes the delta, applies it, and says how long it is.
fn round(base: &[u8], target: &[u8]) -> usize {
    let index = DeltaIndex::new(base);
    if target.is_empty() {
        assert_eq!(create(&index, target, usize::MAX), None, "git may not take it");
        return 0;
    }
    let delta = create(&index, target, usize::MAX).expect("no limit");
    let mut out = Vec::new();
    apply(base, &delta, u64::MAX, &mut out).expect("valid");
    assert!(out == target, "{} bytes from {} bytes come out wrong", target.len(), base.len());
    let again = create(&index, target, delta.len());
    assert!(again.is_some_and(|again| again == delta), "as much as allowed is allowed");
    assert_eq!(create(&index, target, delta.len() - 1), None);
    delta.len()
}

/// Bytes without order (xorshift).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn likes_make_small_deltas() {
    let base = noise(1, 100_000);
    assert_eq!(round(&base, &base), 3 + 3 + 1 + 4, "two copies make 100000 bytes");
    let mut longer = base.clone();
    longer.extend_from_slice(b"more");
    assert!(round(&base, &longer) < 24);
    let mut changed = base.clone();
    changed[50_000] ^= 1;
    changed.insert(70_000, 7);
    changed.drain(20_000..20_100);
    changed.splice(0..0, *b"start");
    assert!(round(&base, &changed) < 60);
    let swapped = [&base[60_000..], &base[..60_000]].concat();
    assert!(round(&base, &swapped) < 40);
}

/// Rows of a name and 20 bytes, like a tree's: between two changed rows too little is alike for a block.
#[test]
fn changed_ids_of_a_tree_cost_only_themselves() {
    let row = |n: u64, id: u64| [format!("100644 file{n:04}.c\0").as_bytes(), &noise(id, 20)].concat();
    let base: Vec<u8> = (0..200).flat_map(|n| row(n, n)).collect();
    let target: Vec<u8> =
        (0..200).flat_map(|n| row(n, if n.is_multiple_of(2) { n } else { n + 999 })).collect();
    assert!(round(&base, &target) < 100 * (20 + 7), "{}", round(&base, &target));
}

#[test]
fn far_and_long_copies_are_cut_to_what_the_format_has() {
    let base = [&vec![0; 16 << 20][..], &noise(2, 0x4_0000)].concat();
    let end = base.len() - 70_000;
    let target =
        [&noise(3, 300)[..], &base[end..], &base[(16 << 20) + 0x100..][..0x2_0001], &noise(4, 5)].concat();
    let len = round(&base, &target);
    assert!(len < 300 + 5 + 60, "{len}");
    let base = noise(2, 0x4_0000);
    let copies = |len: usize| round(&base, &base[0x100..0x100 + len]);
    assert_eq!(copies(0x1_0000), 3 + 3 + 2, "one copy, without a length");
    assert!(copies(0x1_0001) > copies(0x1_0000) && copies(0x2_0000) > copies(0x1_0000));
}

#[test]
fn nothing_is_a_base_and_a_target_too() {
    for (base, target) in [("", ""), ("", "abc"), ("abc", ""), ("abc", "abc"), ("aaaaaaaaaaaaaaaa", "a")] {
        round(base.as_bytes(), target.as_bytes());
    }
    assert_eq!(create(&DeltaIndex::new(&b""[..]), &noise(5, 1000), 500), None);
}

/// Content made to hit one bucket again and again is no slower than any other, give or take.
#[test]
fn hostile_content_takes_no_more_than_linear_time() {
    // Every row starts alike and goes on in its own way.
    let rows = |seed: u64, len: usize| -> Vec<u8> {
        noise(seed, len / 40 * 24).chunks(24).flat_map(|own| [&[7; 16], own].concat()).collect()
    };
    let size = 1 << 20;
    let period = |n: usize| (0..size).map(|i| (i % n) as u8).collect::<Vec<u8>>();
    let mut broken = period(64);
    broken.iter_mut().step_by(4000).for_each(|b| *b ^= 0x55);
    let cases = [
        (rows(1, size), rows(2, size)),
        (vec![0; size], vec![0; size - 1]),
        (vec![0; size], [vec![0; size / 2], vec![1], vec![0; size / 2]].concat()),
        (period(16), period(17)),
        (period(64), broken.clone()),
        (broken.clone(), broken.iter().rev().copied().collect()),
    ];
    for (base, target) in cases {
        let index = DeltaIndex::new(&base[..]);
        let indexed = index_bytes_max(base.len() as u64) as usize;
        assert!(index.memory() <= indexed);
        let start = Instant::now();
        create(&index, &target, usize::MAX).expect("no limit");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
}

/// A base of repeated and of random parts, and a target that takes from it.
fn pair() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 0..400usize).prop_map(|(byte, len)| vec![byte; len]),
        proptest::collection::vec(0..3u8, 0..200),
        "[a-c \n]{0,120}".prop_map(String::into_bytes),
    ];
    let base = proptest::collection::vec(part.clone(), 0..12).prop_map(|parts| parts.concat());
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), part);
    (base, proptest::collection::vec(edit, 0..10)).prop_map(|(base, edits)| {
        let mut target = Vec::new();
        for (from, to, fresh) in edits {
            let at = |index: prop::sample::Index| index.index(base.len() + 1);
            let (from, to) = (at(from).min(at(to)), at(from).max(at(to)));
            target.extend_from_slice(&base[from..to]);
            target.extend_from_slice(&fresh);
        }
        (base, target)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_made_makes_the_target((base, target) in pair()) {
        let len = round(&base, &target);
        prop_assert!(len <= target.len() + target.len().div_ceil(INSERT_MAX) + 10);
    }

    #[test]
    fn any_bytes_do(base in proptest::collection::vec(any::<u8>(), 0..400), target in proptest::collection::vec(any::<u8>(), 0..400)) {
        round(&base, &target);
    }

    #[test]
    fn both_ends_are_measured(a in proptest::collection::vec(0..2u8, 0..40), b in proptest::collection::vec(0..2u8, 0..40)) {
        let slow = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
        prop_assert_eq!(common(&a, &b), slow);
        let slow = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
        prop_assert_eq!(common_end(&a, &b), slow);
    }
}
