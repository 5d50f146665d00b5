//! Packs that are cut short, damaged or made to harm: refused, and nothing of them stays.

use super::*;

#[test]
fn a_pack_cut_short_anywhere_is_refused_and_leaves_nothing() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 31, 40);
    let pack = pack_all(&source, &["--delta-base-offset"]);
    let (repository, path) = lab.create("app");
    for i in 0..50 {
        let cut = pack.len() * i / 50;
        match receive(&repository, &pack[..cut]) {
            Err(RepoError::Truncated { bytes }) => assert_eq!(bytes, cut as u64),
            other => panic!("cut at {cut}: {:?}", other.err()),
        }
    }
    for cut in pack.len() - 21..pack.len() {
        assert!(matches!(receive(&repository, &pack[..cut]), Err(RepoError::Truncated { .. })));
    }
    assert_eq!(std::fs::read_dir(path.join("objects/pack")).unwrap().count(), 0);
    judge(&path);
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 32, 25);
    let pack = pack_all(&source, &["--delta-base-offset"]);
    let (repository, path) = lab.create("app");
    let mut random = Random(7);
    for round in 0..600 {
        let mut bad = pack.clone();
        let bit = random.below(bad.len() as u64 * 8);
        bad[(bit / 8) as usize] ^= 1 << (bit % 8);
        let resealed = round % 2 == 0;
        if resealed {
            // With the checksum set right again, so that what lies behind it is put to the test.
            bad.truncate(bad.len() - 20);
            bad = seal(bad);
        }
        let limits = if round % 3 == 0 { as_if_large() } else { ReceiveLimits::default() };
        match receive_with(&repository, &bad, &limits) {
            // Other content is other objects, and then the links are broken, or it is a valid pack all the same.
            Ok(received) => assert!(resealed || received.object_count() == 0, "bit {bit}"),
            Err(RepoError::Io { .. } | RepoError::BrokenPack { .. } | RepoError::BrokenObject { .. }) => {
                panic!("bit {bit}: blamed on the server")
            }
            Err(_) => {}
        }
    }
    judge(&path);
}

#[test]
fn garbage_is_refused_with_a_clear_sentence() {
    let lab = Lab::new();
    let (repository, _) = lab.create("app");
    let mut random = Random(3);
    for len in [1, 12, 40, 1000, 100_000] {
        let mut garbage: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        assert!(receive(&repository, &garbage).is_err());
        garbage.splice(..12.min(len), *b"PACK\0\0\0\x02\0\0\0\x07");
        assert!(receive(&repository, &garbage).is_err());
    }
    let e = receive(&repository, b"GET / HTTP/1.1\r\n\r\n").err().unwrap();
    let problem = slipway_core::Problem::from(e);
    assert_eq!(problem.what, "The pack is not valid: it does not start with a pack's header.");
}

#[test]
fn rings_and_orphans_of_deltas_are_refused() {
    let lab = Lab::new();
    let (repository, _) = lab.create("app");
    for limits in [ReceiveLimits::default(), as_if_large()] {
        rings_and_orphans(&repository, &limits);
    }
}

fn rings_and_orphans(repository: &Repository, limits: &ReceiveLimits) {
    let receive = |pack: &[u8]| receive_with(repository, pack, limits);
    let far = blob_id(b"nobody has this");
    let a = receive(&by_hand(&[Part::Ref(far, copying(15, 1))]));
    assert!(matches!(a, Err(RepoError::BadPack { .. })), "{:?}", a.err());
    let ring = by_hand(&[Part::Ref(blob_id(b"1"), copying(1, 1)), Part::Ref(blob_id(b"2"), copying(1, 1))]);
    assert!(matches!(receive(&ring), Err(RepoError::BadPack { .. })));
    let twice = by_hand(&[Part::Whole(3, b"x"), Part::Whole(3, b"x")]);
    assert!(matches!(receive(&twice), Err(RepoError::BadPack { .. })));
    let wrong_size = by_hand(&[Part::Whole(3, b"x"), Part::Ofs(0, copying(2, 1))]);
    assert!(matches!(receive(&wrong_size), Err(RepoError::BadPack { .. })));
}

#[test]
fn what_git_could_not_read_is_not_kept() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    let refused = |pack: &[u8], why: &str| match receive(&repository, pack) {
        Err(RepoError::BadPack { why: said }) => assert!(said.contains(why), "{said}"),
        other => panic!("{why}: {:?}", other.err()),
    };
    // A delta that makes nothing needs two bytes; git reads none of less than four.
    let short = by_hand(&[Part::Whole(3, b"abc"), Part::Ofs(0, vec![3, 0])]);
    refused(&short, "shorter than git takes one");
    let mut longer = by_hand(&[Part::Whole(3, b"abc")]);
    longer.extend(b"more");
    refused(&longer, "goes on behind its end");
    judge(&path);
}

#[test]
fn numbers_beyond_all_measure_are_refused() {
    let lab = Lab::new();
    let (repository, _) = lab.create("app");
    let with = |entry: &[u8]| {
        let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
        pack.extend_from_slice(entry);
        pack.extend([0; 64]);
        seal(pack)
    };
    // Sizes and distances of more than 64 bits, and of 64 bits.
    let (long, most) = ([0xff; 12], [[0xff; 9].as_slice(), &[0x7f]].concat());
    let mut far = vec![0x65];
    far.extend([0xff; 12]);
    let huge = [&[0xbf][..], &most].concat();
    for entry in [&long[..], &huge, &far, &[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let refused = receive(&repository, &with(entry));
        assert!(
            matches!(refused, Err(RepoError::BadPack { .. } | RepoError::TooMuch { .. })),
            "{entry:02x?}"
        );
    }
    for sizes in [&long[..], &[3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
        let refused = receive(&repository, &by_hand(&[Part::Whole(3, b"abc"), Part::Ofs(0, sizes.to_vec())]));
        assert!(
            matches!(refused, Err(RepoError::BadPack { .. } | RepoError::TooMuch { .. })),
            "{sizes:02x?}"
        );
    }
}
