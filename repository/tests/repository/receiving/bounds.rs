//! The bounds of what is taken in.

use super::*;

#[test]
fn a_chain_of_ten_thousand_deltas_is_refused_before_long() {
    let lab = Lab::new();
    let (repository, _) = lab.create("app");
    let base = vec![b'a'; 12_000];
    let chain: Vec<Part<'_>> = std::iter::once(Part::Whole(3, &base))
        .chain((0..10_000).map(|n| {
            // Each takes one byte more off the front than the one before it.
            let left = base.len() - n;
            let mut delta = number(left);
            delta.extend(number(left - 1));
            let len = left - 1;
            delta.extend([0x80 | 0x71, 1, len as u8, (len >> 8) as u8, (len >> 16) as u8]);
            Part::Ofs(n, delta)
        }))
        .collect();
    let begun = std::time::Instant::now();
    match receive(&repository, &by_hand(&chain)) {
        Err(RepoError::TooMuch { what, .. }) => assert_eq!(what, "the length of a chain of deltas"),
        other => panic!("{:?}", other.err()),
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn limits_hold() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    for limits in [ReceiveLimits::default(), as_if_large()] {
        limits_hold_with(&repository, limits);
    }
    judge(&path);
}

fn limits_hold_with(repository: &Repository, limits: ReceiveLimits) {
    let limits = ReceiveLimits {
        pack_bytes_max: 100_000,
        objects_max: 30,
        object_bytes_max: 1 << 20,
        depth_max: 5,
        ..limits
    };
    let over = |pack: &[u8]| match receive_with(repository, pack, &limits) {
        Err(RepoError::TooMuch { what, .. }) => what,
        other => panic!("{:?}", other.err()),
    };
    let mut random = Random(1);
    let noise: Vec<u8> = (0..200_000).map(|_| random.next() as u8).collect();
    assert_eq!(over(&by_hand(&[Part::Whole(3, &noise)])), "the pack's size in bytes");
    let mut many = b"PACK\0\0\0\x02\xff\xff\xff\xff".to_vec();
    many.extend([0; 40]);
    assert_eq!(over(&seal(many)), "the number of objects in the pack");
    assert_eq!(over(&by_hand(&[Part::Whole(3, &vec![0; 2 << 20])])), "the size of one file in bytes");
    // A bomb: kilobytes that say they become gigabytes.
    let bomb = by_hand(&[Part::Whole(3, &vec![0; 1 << 20]), Part::Ofs(0, copying(1 << 20, 4000))]);
    assert_eq!(over(&bomb), "the size of one file in bytes, sent as a delta,");
    let chain: Vec<Part<'_>> = std::iter::once(Part::Whole(3, b"x"))
        .chain((0..8).map(|i| Part::Ofs(i, copying(1 << i, 2))))
        .collect();
    assert_eq!(over(&by_hand(&chain)), "the length of a chain of deltas");
    receive_with(repository, &by_hand(&chain[..6]), &limits).unwrap();
    // Stopped by the caller.
    let stop = AtomicBool::new(true);
    let stopped = repository.receive(&mut &noise[..], &limits, &|_| {}, &stop);
    assert!(matches!(stopped, Err(RepoError::Stopped)));
}
