//! Taking packs in and moving refs, with stock git as the other side and as the judge.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha1::{Digest, Sha1};
use slipway_core::accept::{Incoming, RefStore};
use slipway_core::{Oid, RefName, RefUpdate};
use slipway_repository::*;

use crate::support::*;

fn receive(repository: &Repository, pack: &[u8]) -> Result<Received> {
    receive_with(repository, pack, &ReceiveLimits::default())
}

fn receive_with(repository: &Repository, pack: &[u8], limits: &ReceiveLimits) -> Result<Received> {
    // Odd pieces, as a network gives them.
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = (self.1 * 7 + 13) % 5000;
            let n = self.0.len().min(out.len()).min(self.1 + 1);
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }
    repository.receive(&mut Pieces(pack, 1), limits, &|_| {}, &AtomicBool::new(false))
}

/// As for a pack of a million objects on a machine of four processors.
fn as_if_large() -> ReceiveLimits {
    ReceiveLimits { threads: 4, parallel_from: 1, exact_links_max: 0, ..ReceiveLimits::default() }
}

fn connected(received: &Received, tips: &[Oid]) -> Result<()> {
    received.check_connected(tips, &AtomicBool::new(false))
}

fn set(repository: &Repository, name: &str, old: Option<Oid>, new: Option<Oid>) -> Result<(), String> {
    let update = RefUpdate {
        name: RefName::parse(name).unwrap(),
        old: old.unwrap_or(Oid::ZERO_SHA1),
        new: new.unwrap_or(Oid::ZERO_SHA1),
    };
    repository.update(&[update], false).unwrap().remove(0).map_err(|p| p.to_string())
}

/// All that the refs of `from` reach, as a pack.
fn pack_all(from: &Path, more: &[&str]) -> Vec<u8> {
    let mut args = vec!["pack-objects", "--revs", "--all", "--stdout", "-q"];
    args.extend(more);
    git_in(from, &args, b"")
}

fn pack_revs(from: &Path, revs: &str, more: &[&str]) -> Vec<u8> {
    let mut args = vec!["pack-objects", "--revs", "--stdout", "-q"];
    args.extend(more);
    git_in(from, &args, revs.as_bytes())
}

fn pack_list(from: &Path, ids: &[Oid]) -> Vec<u8> {
    let list: String = ids.iter().map(|id| format!("{id}\n")).collect();
    git_in(from, &["pack-objects", "--stdout", "-q"], list.as_bytes())
}

fn refs_of(path: &Path) -> Vec<(String, Oid)> {
    let text = git(path, &["for-each-ref", "--format=%(refname) %(objectname)"]);
    text.lines().map(|l| l.split_once(' ').map(|(n, id)| (n.to_owned(), oid(id))).unwrap()).collect()
}

fn push_everything(repository: &Repository, from: &Path, pack: &[u8], limits: &ReceiveLimits) {
    let mut received = receive_with(repository, pack, limits).unwrap();
    let refs = refs_of(from);
    let tips: Vec<Oid> = refs.iter().map(|(_, id)| *id).collect();
    connected(&received, &tips).unwrap();
    received.publish().unwrap();
    drop(received);
    for (name, id) in refs {
        let old = repository.current(&RefName::parse(&name).unwrap()).unwrap();
        if old != Some(id) {
            set(repository, &name, old, Some(id)).unwrap();
        }
    }
}

fn judge(path: &Path) {
    git(path, &["fsck", "--full", "--strict", "--no-dangling"]);
    for entry in std::fs::read_dir(path.join("objects/pack")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|e| e == "idx") {
            git(path, &["verify-pack", file.to_str().unwrap()]);
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(path.join("objects")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with("tmp_")), "{left:?}");
}

/// A pack by hand: entries of a type number, an optional base and data.
enum Part<'a> {
    Whole(u8, &'a [u8]),
    Ref(Oid, Vec<u8>),
    Ofs(usize, Vec<u8>),
}

fn by_hand(parts: &[Part<'_>]) -> Vec<u8> {
    let mut out = b"PACK\0\0\0\x02".to_vec();
    out.extend_from_slice(&(parts.len() as u32).to_be_bytes());
    let mut offsets = Vec::new();
    for part in parts {
        let here = out.len();
        offsets.push(here);
        let (code, data) = match part {
            Part::Whole(code, data) => (*code, *data),
            Part::Ref(_, data) => (7, &data[..]),
            Part::Ofs(_, data) => (6, &data[..]),
        };
        let mut size = data.len();
        let mut byte = code << 4 | (size & 15) as u8;
        size >>= 4;
        while size > 0 {
            out.push(byte | 0x80);
            byte = (size & 0x7f) as u8;
            size >>= 7;
        }
        out.push(byte);
        match part {
            Part::Whole(..) => {}
            Part::Ref(id, _) => out.extend_from_slice(id.as_bytes()),
            Part::Ofs(base, _) => {
                let mut distance = here - offsets[*base];
                let mut bytes = vec![(distance & 0x7f) as u8];
                distance >>= 7;
                while distance > 0 {
                    distance -= 1;
                    bytes.insert(0, 0x80 | (distance & 0x7f) as u8);
                    distance >>= 7;
                }
                out.extend(bytes);
            }
        }
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        io::Write::write_all(&mut zlib, data).unwrap();
        out.extend(zlib.finish().unwrap());
    }
    seal(out)
}

fn seal(mut pack: Vec<u8>) -> Vec<u8> {
    let sum = Sha1::digest(&pack);
    pack.extend_from_slice(&sum);
    pack
}

fn number(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// A delta that copies the whole base `times` times.
fn copying(base: usize, times: usize) -> Vec<u8> {
    let mut out = number(base);
    out.extend(number(base * times));
    for _ in 0..times {
        out.extend_from_slice(&[0x80 | 0x70, base as u8, (base >> 8) as u8, (base >> 16) as u8]);
    }
    out
}

fn blob_id(data: &[u8]) -> Oid {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", data.len()));
    hash.update(data);
    Oid::from_bytes(&hash.finalize()).unwrap()
}

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
fn each_missing_object_is_named() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 41, 30);
    let (repository, path) = lab.create("app");
    let all: Vec<Oid> = reachable(&source, &["main"]).into_iter().collect();
    let main = oid(&git(&source, &["rev-parse", "main"]));
    for (n, gone) in all.iter().enumerate() {
        let rest: Vec<Oid> = all.iter().copied().filter(|id| id != gone).collect();
        // Beyond the number of objects up to which links are remembered as they are, too.
        let limits = if n % 3 == 0 { as_if_large() } else { ReceiveLimits::default() };
        let received = receive_with(&repository, &pack_list(&source, &rest), &limits).unwrap();
        match connected(&received, &[main]) {
            Err(RepoError::NotConnected { id }) => assert_eq!(id, *gone),
            other => panic!("{other:?}"),
        }
    }
    // What is missing but not needed by the tips harms nobody.
    let parent = git(&source, &["rev-list", "-1", "--skip=1", "main"]);
    let needed: Vec<Oid> = reachable(&source, &[&parent]).into_iter().collect();
    let mut with_loose_end = needed.clone();
    with_loose_end.push(main);
    let received = receive(&repository, &pack_list(&source, &with_loose_end)).unwrap();
    let tip = oid(&parent);
    let missing_for_main = !needed.contains(&oid(&git(&source, &["rev-parse", "main^{tree}"])));
    connected(&received, &[tip]).unwrap();
    assert_eq!(connected(&received, &[main]).is_err(), missing_for_main);
    drop(received);
    judge(&path);
}

#[test]
fn what_no_ref_reaches_cannot_be_claimed() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 51, 20);
    let secret = b"the launch code is 0000, kept out of every ref, and long enough to be worth a delta\n";
    let blob = oid(std::str::from_utf8(&git_in(&path, &["hash-object", "-w", "--stdin"], secret)).unwrap());
    let tree =
        oid(std::str::from_utf8(&git_in(&path, &["mktree"], format!("100644 blob {blob}\tf\n").as_bytes()))
            .unwrap());
    let hidden = oid(&git(&path, &["commit-tree", "-m", "hidden", &tree.to_string()]));
    assert!(repository.snapshot().unwrap().contains(&hidden).unwrap());
    // A ref to it.
    let nothing = repository.received_nothing().unwrap();
    for id in [hidden, tree, blob] {
        assert!(matches!(connected(&nothing, &[id]), Err(RepoError::NotConnected { id: i }) if i == id));
        assert!(!repository.snapshot().unwrap().is_visible(&id).unwrap());
    }
    // A commit of one's own on top of it, on its tree, or with its file.
    let who = "A <a@example.org> 1700000000 +0000";
    let mut file_tree = b"100644 mine\0".to_vec();
    file_tree.extend_from_slice(blob.as_bytes());
    let file_tree_id = {
        let mut hash = Sha1::new();
        hash.update(format!("tree {}\0", file_tree.len()));
        hash.update(&file_tree);
        Oid::from_bytes(&hash.finalize()).unwrap()
    };
    let empty = Oid::parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904").unwrap();
    for (head, parts, missing) in [
        (format!("tree {empty}\nparent {hidden}\n"), vec![Part::Whole(2, b"")], hidden),
        (format!("tree {tree}\n"), vec![], tree),
        (format!("tree {file_tree_id}\n"), vec![Part::Whole(2, &file_tree)], blob),
    ] {
        let commit = format!("{head}author {who}\ncommitter {who}\n\nx\n").into_bytes();
        let mut parts = parts;
        parts.push(Part::Whole(1, &commit));
        let received = receive(&repository, &by_hand(&parts)).unwrap();
        let id = {
            let mut hash = Sha1::new();
            hash.update(format!("commit {}\0", commit.len()));
            hash.update(&commit);
            Oid::from_bytes(&hash.finalize()).unwrap()
        };
        match connected(&received, &[id]) {
            Err(RepoError::NotConnected { id }) => assert_eq!(id, missing),
            other => panic!("{other:?}"),
        }
    }
    // A delta that would copy it out.
    let received = receive(&repository, &by_hand(&[Part::Ref(blob, copying(secret.len(), 2))])).unwrap();
    let copied = [&secret[..], &secret[..]].concat();
    assert!(matches!(connected(&received, &[blob_id(&copied)]), Err(RepoError::NotConnected { .. })));
    // Once a ref reaches it, all of this is fine.
    git(&path, &["update-ref", "refs/heads/shown", &hidden.to_string()]);
    for id in [hidden, tree, blob] {
        assert!(repository.snapshot().unwrap().is_visible(&id).unwrap());
    }
    let received = receive(&repository, &by_hand(&[Part::Ref(blob, copying(secret.len(), 2))])).unwrap();
    connected(&received, &[blob_id(&copied)]).unwrap();
}

#[test]
fn visibility_is_exact() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 52, 80);
    git(&path, &["update-ref", "-d", "refs/heads/b1"]);
    git(&path, &["update-ref", "-d", "refs/heads/b2"]);
    for tag in git(&path, &["tag"]).lines().step_by(2) {
        git(&path, &["tag", "-d", tag]);
    }
    let visible = reachable(&path, &["--all"]);
    let snapshot = repository.snapshot().unwrap();
    let all = all_objects(&path);
    assert!(all.len() > visible.len());
    for (id, kind, _) in all {
        assert_eq!(snapshot.is_visible(&id).unwrap(), visible.contains(&id), "{kind} {id}");
    }
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

#[test]
fn an_object_that_is_here_with_other_content_is_refused() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    let ours = b"good content\n";
    // As if the hash had been broken: other bytes of the same length under the id.
    let other = git_in(&path, &["hash-object", "-w", "--stdin"], b"evil content\n");
    let other = oid(std::str::from_utf8(&other).unwrap()).to_string();
    let id = blob_id(ours).to_string();
    std::fs::create_dir_all(path.join("objects").join(&id[..2])).unwrap();
    std::fs::rename(
        path.join("objects").join(&other[..2]).join(&other[2..]),
        path.join("objects").join(&id[..2]).join(&id[2..]),
    )
    .unwrap();
    for pack in [
        by_hand(&[Part::Whole(3, ours)]),
        by_hand(&[
            Part::Whole(3, b"good"),
            Part::Ofs(0, [number(4), number(13), vec![0x90, 4, 9], b" content\n".to_vec()].concat()),
        ]),
    ] {
        assert!(matches!(receive(&repository, &pack), Err(RepoError::Collision { .. })));
    }
}

#[test]
fn objects_that_break_the_format_are_refused() {
    let lab = Lab::new();
    let (repository, _) = lab.create("app");
    let mut tree = b"40000 .git\0".to_vec();
    tree.extend([1; 20]);
    assert!(matches!(
        receive(&repository, &by_hand(&[Part::Whole(2, &tree)])),
        Err(RepoError::BadObject { .. })
    ));
    assert!(matches!(
        receive(&repository, &by_hand(&[Part::Whole(1, b"tree x\n")])),
        Err(RepoError::BadObject { .. })
    ));
    // A .gitmodules that would have a client run a command.
    let modules = b"[submodule \"x\"]\n\tpath = x\n\turl = -oProxyCommand=evil/x\n";
    let mut tree = b"100644 .gitmodules\0".to_vec();
    tree.extend_from_slice(blob_id(modules).as_bytes());
    let pack = by_hand(&[Part::Whole(2, &tree), Part::Whole(3, modules)]);
    assert!(matches!(receive(&repository, &pack), Err(RepoError::BadObject { .. })));
    // A commit whose tree is a blob.
    let blob = blob_id(b"x");
    let who = "A <a@example.org> 1700000000 +0000";
    let commit = format!("tree {blob}\nauthor {who}\ncommitter {who}\n\nx\n");
    let pack = by_hand(&[Part::Whole(3, b"x"), Part::Whole(1, commit.as_bytes())]);
    assert!(matches!(receive(&repository, &pack), Err(RepoError::BadObject { .. })));
}

/// Rules of git's that this server leaves out on purpose (old histories break them), and two that are no errors there.
const LENIENT: &str = "--fsck-objects=zeroPaddedFilemode=ignore,badTimezone=ignore,badDateOverflow=ignore,\
                       badFilemode=ignore,nulInCommit=ignore,largePathname=ignore,extraHeaderEntry=ignore";

#[test]
fn a_changed_object_gets_gits_verdict() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 81, 40);
    let judge = lab.bare("judge.git");
    let (repository, _) = lab.create("app");
    let mut random = Random(5);
    let mut objects = Vec::new();
    for (id, kind, _) in all_objects(&source) {
        let code = match kind.as_str() {
            "commit" => 1,
            "tree" => 2,
            "tag" => 4,
            _ => continue,
        };
        objects.push((code, git_in(&source, &["cat-file", &kind, &id.to_string()], b"")));
    }
    let mut refused = 0;
    for round in 0..150 {
        let (code, data) = &objects[random.below(objects.len() as u64) as usize];
        let mut data = data.clone();
        for _ in 0..=random.below(2) {
            let at = random.below(data.len() as u64) as usize;
            match random.below(4) {
                0 => data[at] ^= 1 << random.below(8),
                1 => drop(data.remove(at)),
                2 => data.insert(at, b"\0\n <>/.a0"[random.below(9) as usize]),
                _ => data.truncate(at.max(1)),
            }
        }
        let pack = by_hand(&[Part::Whole(*code, &data)]);
        let limits = if round % 2 == 0 { as_if_large() } else { ReceiveLimits::default() };
        let ours = receive_with(&repository, &pack, &limits);
        let theirs = git_raw(&judge, &["index-pack", "--stdin", LENIENT], &pack);
        let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
        refused += usize::from(ours.is_err());
        let shown = String::from_utf8_lossy(&data);
        match ours.err().map(|e| e.to_string()) {
            None => assert!(theirs.status.success(), "{shown:?} was taken in; git: {said}"),
            // Here a mode is digits; git reads on to the next blank.
            Some(why) if why.contains("is not complete") => {}
            Some(why) if theirs.status.success() => {
                let all_rules = git_raw(&judge, &["index-pack", "--stdin", "--fsck-objects"], &pack);
                assert!(!all_rules.status.success(), "{shown:?} was refused: {why}");
            }
            Some(_) => {}
        }
    }
    assert!((20..140).contains(&refused), "{refused} of 150 were refused: the changes are no test");
}

#[test]
fn refs_move_by_compare_and_swap_beside_git() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 61, 30);
    let line: Vec<Oid> = git(&path, &["rev-list", "main"]).lines().map(oid).collect();
    let (a, b, c) = (line[0], line[1], line[2]);
    for packed in [false, true] {
        if packed {
            git(&path, &["pack-refs", "--all"]);
        }
        let name = format!("refs/heads/x{packed}");
        set(&repository, &name, None, Some(a)).unwrap();
        let e = set(&repository, &name, None, Some(b)).unwrap_err();
        assert!(e.starts_with(&format!("Refs/heads/x{packed} has moved: it is at {}", a.short())), "{e}");
        assert!(set(&repository, &name, Some(c), Some(b)).is_err());
        set(&repository, &name, Some(a), Some(b)).unwrap();
        assert_eq!(git(&path, &["rev-parse", &name]), b.to_string());
        git(&path, &["pack-refs", "--all"]);
        set(&repository, &name, Some(b), Some(c)).unwrap();
        assert_eq!(git(&path, &["rev-parse", &name]), c.to_string());
        // A name that is a folder of another, loose and packed.
        for clash in [format!("{name}/below"), "refs/heads".to_owned()] {
            let e = set(&repository, &clash, None, Some(a)).unwrap_err();
            assert!(e.contains("cannot be made beside"), "{e}");
        }
        set(&repository, &name, Some(c), None).unwrap();
        assert!(
            git_raw(&path, &["rev-parse", "-q", "--verify", &name], b"").stdout.is_empty(),
            "back from packed-refs"
        );
        set(&repository, &format!("{name}/below"), None, Some(a)).unwrap();
        assert!(set(&repository, &name, None, Some(a)).is_err());
        set(&repository, &format!("{name}/below"), Some(a), None).unwrap();
        set(&repository, &name, None, Some(a)).unwrap();
        git(&path, &["fsck", "--strict"]);
    }
    // A ref to nothing.
    assert!(set(&repository, "refs/heads/nothing", None, Some(blob_id(b"none"))).is_err());
    // Somebody else's lock.
    std::fs::write(path.join("refs/heads/held.lock"), "").unwrap();
    let e = set(&repository, "refs/heads/held", None, Some(a)).unwrap_err();
    assert!(e.contains("is locked by another program"), "{e}");
    repository.set_head(&RefName::branch("xtrue").unwrap()).unwrap();
    assert_eq!(git(&path, &["symbolic-ref", "HEAD"]), "refs/heads/xtrue");
    assert!(repository.set_head(&RefName::tag("t").unwrap()).is_err());
}

#[test]
fn an_atomic_update_moves_all_refs_or_none() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 62, 30);
    let line: Vec<Oid> = git(&path, &["rev-list", "main"]).lines().map(oid).collect();
    let update = |name: &str, old: Oid, new: Oid| RefUpdate { name: RefName::parse(name).unwrap(), old, new };
    let zero = Oid::ZERO_SHA1;
    let good = [update("refs/heads/p", zero, line[0]), update("refs/heads/q", zero, line[1])];
    for bad in [
        update("refs/heads/main", line[3], line[2]),
        update("refs/heads/main/x", zero, line[2]),
        update("refs/heads/p/x", zero, line[2]),
        update("refs/heads/p", zero, line[2]),
        update("refs/heads/gone", line[2], zero),
    ] {
        let all = [&good[..], &[bad]].concat();
        let answers = repository.update(&all, true).unwrap();
        assert!(answers.iter().all(Result::is_err), "{all:?}: {answers:?}");
        assert!(repository.current(&good[0].name).unwrap().is_none());
    }
    assert!(repository.update(&good, true).unwrap().iter().all(Result::is_ok));
    // Not atomic: each by itself, deletes first.
    let mixed = [
        update("refs/heads/p/under", zero, line[0]),
        update("refs/heads/q", zero, line[0]),
        update("refs/heads/p", line[0], zero),
    ];
    let answers: Vec<bool> = repository.update(&mixed, false).unwrap().iter().map(Result::is_ok).collect();
    assert_eq!(answers, [true, false, true]);
    // Many at once.
    let many: Vec<RefUpdate> =
        (0..300).map(|i| update(&format!("refs/tags/v{i}"), zero, line[i % line.len()])).collect();
    assert!(repository.update(&many, true).unwrap().iter().all(Result::is_ok));
    assert_eq!(git(&path, &["tag", "-l", "v*"]).lines().count(), 300);
    git(&path, &["fsck", "--strict"]);
    let gone: Vec<RefUpdate> =
        many.iter().map(|u| RefUpdate { old: u.new, new: zero, ..u.clone() }).collect();
    assert!(repository.update(&gone, true).unwrap().iter().all(Result::is_ok));
    assert_eq!(git(&path, &["tag", "-l", "v*"]), "");
}

#[test]
fn of_concurrent_updates_of_one_ref_one_wins_each_time() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 63, 40);
    let line: Vec<Oid> = git(&path, &["rev-list", "main"]).lines().map(oid).collect();
    set(&repository, "refs/heads/race", None, Some(line[0])).unwrap();
    for round in 1..8 {
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    let repository: &Arc<Repository> = &repository;
                    let (old, new) = (line[round - 1], line[round]);
                    scope.spawn(move || {
                        usize::from(set(repository, "refs/heads/race", Some(old), Some(new)).is_ok())
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
    // Against plain git.
    let mut at = line[7];
    for (n, next) in line.iter().enumerate().skip(8).take(8) {
        let theirs = std::thread::scope(|scope| {
            let git_side = scope.spawn(|| {
                git_raw(&path, &["update-ref", "refs/heads/race", &next.to_string(), &at.to_string()], b"")
                    .status
                    .success()
            });
            let ours = set(&repository, "refs/heads/race", Some(at), Some(*next)).is_ok();
            (ours, git_side.join().unwrap())
        });
        assert!(theirs.0 != theirs.1, "round {n}: {theirs:?}");
        at = *next;
    }
    git(&path, &["fsck", "--strict"]);
}

#[test]
fn git_gc_and_git_push_beside_us_disturb_nothing() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 71, 100);
    let (repository, path) = lab.create("app");
    let line: Vec<Oid> =
        git(&source, &["rev-list", "--first-parent", "--reverse", "main"]).lines().map(oid).collect();
    let mut old: Option<Oid> = None;
    for (n, new) in line.iter().enumerate() {
        let held = repository.snapshot().unwrap();
        match n % 3 {
            0 => {
                let revs = old.map_or(format!("{new}\n"), |old| format!("{new}\n^{old}\n"));
                let mut received = receive(&repository, &pack_revs(&source, &revs, &["--thin"])).unwrap();
                connected(&received, &[*new]).unwrap();
                received.publish().unwrap();
                set(&repository, "refs/heads/main", old, Some(*new)).unwrap();
            }
            1 => {
                drop(git(&source, &["push", "-q", path.to_str().unwrap(), &format!("{new}:refs/heads/main")]))
            }
            _ => {
                git(&path, &["gc", "-q", "--prune=now"]);
                if let Some(old) = old {
                    assert!(held.object(&old, 1 << 20).unwrap().is_some());
                    assert!(repository.snapshot().unwrap().object(&old, 1 << 20).unwrap().is_some());
                }
                continue;
            }
        }
        old = Some(*new);
        assert_eq!(repository.current(&RefName::branch("main").unwrap()).unwrap(), old);
    }
    judge(&path);
}
