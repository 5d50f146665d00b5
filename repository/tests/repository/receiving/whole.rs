//! Sound packs: whole ones, thin ones that are made whole, long chains and wide fans of deltas.

use super::*;

#[test]
fn takes_whole_histories_in_as_git_would() {
    let (small, large) = (ReceiveLimits::default(), as_if_large());
    for (seed, more, limits) in [
        (11, &["--delta-base-offset"][..], small),
        (12, &[], small),
        (13, &["--depth=200", "--window=100"], small),
        (14, &["--window=0"], small),
        (15, &["--delta-base-offset"], large),
        (16, &["--depth=200", "--window=100"], large),
    ] {
        let lab = Lab::new();
        let source = lab.bare("source.git");
        import(&source, seed, 120);
        let (repository, path) = lab.create("app");
        push_everything(&repository, &source, &pack_all(&source, more), &limits);
        judge(&path);
        assert_eq!(reachable(&path, &["--all"]), reachable(&source, &["--all"]));
        assert_eq!(refs_of(&path), refs_of(&source));
    }
}

#[test]
fn takes_thin_packs_in_and_makes_them_whole() {
    for seed in 21..25 {
        let lab = Lab::new();
        let source = lab.bare("source.git");
        import(&source, seed, 150);
        let (repository, path) = lab.create("app");
        let line = git(&source, &["rev-list", "--first-parent", "--reverse", "main"]);
        let line: Vec<Oid> = line.lines().map(oid).collect();
        let mut old: Option<Oid> = None;
        let mut appended = 0;
        for new in line.iter().step_by(7).chain(line.last()) {
            if old == Some(*new) {
                continue;
            }
            let revs = old.map_or(format!("{new}\n"), |old| format!("{new}\n^{old}\n"));
            let pack = pack_revs(&source, &revs, &["--thin", "--delta-base-offset"]);
            let announced = u32::from_be_bytes(pack[8..12].try_into().unwrap());
            let limits = if seed % 2 == 0 { as_if_large() } else { ReceiveLimits::default() };
            let mut received = receive_with(&repository, &pack, &limits).unwrap();
            appended += received.object_count() - announced;
            assert!(received.publish().is_err(), "not checked yet");
            connected(&received, &[*new]).unwrap();
            assert!(Incoming::commit(&received, new).unwrap().is_some());
            assert!(!repository.snapshot().unwrap().contains(new).unwrap(), "seen before it is published");
            received.publish().unwrap();
            received.publish().unwrap();
            set(&repository, "refs/heads/main", old, Some(*new)).unwrap();
            old = Some(*new);
        }
        assert!(appended > 0, "no pack was thin");
        judge(&path);
        assert_eq!(reachable(&path, &["--all"]), reachable(&source, &["main"]));
    }
}

#[test]
fn an_empty_pack_is_a_pack() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    let mut received = receive(&repository, &by_hand(&[])).unwrap();
    assert_eq!(received.object_count(), 0);
    connected(&received, &[]).unwrap();
    received.publish().unwrap();
    judge(&path);
    let none = repository.received_nothing().unwrap();
    let id = blob_id(b"nowhere");
    assert!(matches!(connected(&none, &[id]), Err(RepoError::NotConnected { id: i }) if i == id));
}

#[test]
fn long_chains_and_wide_fans_of_deltas_are_resolved() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    // A chain as long as git makes them, on a base of some size; and a second one beside it at each step.
    let base = vec![b'a'; 5_000];
    let mut parts = vec![Part::Whole(3, &base)];
    let mut previous = 0;
    for step in 0..1000usize {
        let mut append = number(base.len() + step);
        append.extend(number(base.len() + step + 1));
        let copy = base.len() + step;
        append.extend([0x80 | 0x70, copy as u8, (copy >> 8) as u8, (copy >> 16) as u8, 1, b'b']);
        let mut side = append.clone();
        *side.last_mut().unwrap() = b'c';
        parts.push(Part::Ofs(previous, side));
        parts.push(Part::Ofs(previous, append));
        previous = parts.len() - 1;
    }
    let pack = by_hand(&parts);
    assert_eq!(receive_with(&repository, &pack, &as_if_large()).unwrap().object_count(), 2001);
    let mut received = receive(&repository, &pack).unwrap();
    assert_eq!(received.object_count(), 2001);
    let mut last = base.clone();
    last.extend(vec![b'b'; 1000]);
    connected(&received, &[blob_id(&last)]).unwrap();
    received.publish().unwrap();
    assert_eq!(repository.snapshot().unwrap().object(&blob_id(&last), 1 << 20).unwrap().unwrap().data, last);
    judge(&path);
}
