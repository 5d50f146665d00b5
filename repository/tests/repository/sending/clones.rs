//! Clones of everything, and answers that go on whatever happens to the packs.

use super::*;

#[test]
fn a_clone_is_everything_that_the_refs_reach() {
    for (format, shape) in cases(0..7) {
        let served = Served::of(format, 100 + shape, 80, shape);
        let tips = served.tips();
        for (n, ofs_delta) in [(0, true), (1, false)] {
            let client = served.client(&format!("client{n}.git"));
            let request = PackRequest { ofs_delta, ..want(&tips) };
            let pack = bytes_of(&served.snapshot(), &request, [100_000, 777][n]);
            let came = index(&client, &pack, true);
            assert_eq!(came, reachable(&served.path, &["--all"]), "shape {shape}");
        }
    }
}

#[test]
fn a_packed_clone_is_sent_as_it_lies() {
    let served = Served::new(7, 60, 1);
    let pack = bytes_of(&served.snapshot(), &want(&served.tips()), 1 << 16);
    let stored = std::fs::read_dir(served.path.join("objects/pack")).unwrap().map(|e| e.unwrap().path());
    let stored = stored.into_iter().find(|p| p.extension().is_some_and(|e| e == "pack")).unwrap();
    assert!(pack == std::fs::read(stored).unwrap());
}

#[test]
fn a_stream_goes_on_while_git_gc_takes_its_packs_away() {
    for shape in 0..7 {
        let served = Served::new(800 + shape, 60, shape);
        let mut stream = served.snapshot().pack(&want(&served.tips()), &AtomicBool::new(false)).unwrap();
        let (mut all, mut out) = (Vec::new(), vec![0; 500]);
        assert_eq!(stream.fill(&mut out).unwrap(), 500);
        all.extend_from_slice(&out);
        git(&served.path, &["gc", "-q", "--prune=now"]);
        loop {
            let got = stream.fill(&mut out).unwrap();
            all.extend_from_slice(&out[..got]);
            if got < 500 {
                break;
            }
        }
        let came = index(&served.client("c.git"), &all, true);
        assert_eq!(came, reachable(&served.path, &["--all"]));
    }
}

#[test]
fn large_loose_files_pass_through_without_being_held() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    let mut random = Random(5);
    let large: Vec<u8> = (0..3_000_000).map(|i| if i % 3 == 0 { random.next() as u8 } else { 7 }).collect();
    let blob = oid(std::str::from_utf8(&git_in(&path, &["hash-object", "-w", "--stdin"], &large)).unwrap());
    let snapshot = repository.snapshot().unwrap();
    let pack = bytes_of(&snapshot, &want(&[blob]), 65_536);
    let client = lab.bare("client.git");
    assert_eq!(index(&client, &pack, true), BTreeSet::from([blob]));
    assert!(git_in(&client, &["cat-file", "blob", &blob.to_string()], b"") == large);
}
