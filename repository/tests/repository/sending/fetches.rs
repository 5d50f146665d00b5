//! Fetches: what is missing comes, and nothing that is there.

use super::*;

#[test]
fn a_fetch_brings_what_is_missing() {
    for (format, seed) in cases(0..15) {
        let served = Served::of(format, 200 + seed, 70, seed);
        let snapshot = served.snapshot();
        let mut random = Random(seed);
        let commits: Vec<Oid> = git(&served.path, &["rev-list", "--all"]).lines().map(oid).collect();
        let tips = served.tips();
        for round in 0..6 {
            let client = served.client(&format!("client{round}.git"));
            let pick = |random: &mut Random, from: &[Oid]| from[random.below(from.len() as u64) as usize];
            let haves: Vec<Oid> = (0..=random.below(3)).map(|_| pick(&mut random, &commits)).collect();
            let wants: Vec<Oid> = (0..=random.below(3)).map(|_| pick(&mut random, &tips)).collect();
            index(&client, &bytes_of(&snapshot, &want(&haves), 5000), true);
            let thin = round % 2 == 0;
            let request =
                PackRequest { haves: haves.clone(), thin, ofs_delta: round % 3 != 0, ..want(&wants) };
            let pack = bytes_of(&snapshot, &request, 5000);
            if !thin {
                // Whole by itself: no base is missing.
                let alone = served.client(&format!("alone{round}.git"));
                if pack[8..12] != [0; 4] {
                    git_in(&alone, &["index-pack", "--stdin"], &pack);
                }
            }
            let came = index(&client, &pack, false);
            for (n, id) in wants.iter().enumerate() {
                git(&client, &["update-ref", &format!("refs/tags/w{n}"), &id.to_string()]);
            }
            git(&client, &["fsck", "--full", "--strict", "--no-dangling"]);
            // No commit that the client has.
            let theirs: Vec<String> = haves.iter().map(Oid::to_string).collect();
            let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
            let had: BTreeSet<Oid> =
                git(&served.path, &[&["rev-list"][..], &theirs].concat()).lines().map(oid).collect();
            let again: Vec<_> = came.intersection(&had).collect();
            assert!(again.is_empty(), "{again:?}");
        }
    }
}

#[test]
fn a_fetch_is_not_much_larger_than_gits() {
    let (mut ours, mut gits) = (0, 0);
    for seed in 0..6u64 {
        let served = Served::new(300 + seed, 120, 1);
        let line: Vec<Oid> =
            git(&served.path, &["rev-list", "--first-parent", "main"]).lines().map(oid).collect();
        let (new, old) = (line[0], line[line.len() / 2]);
        let request = PackRequest { haves: vec![old], thin: true, ..want(&[new]) };
        let came = bytes_of(&served.snapshot(), &request, 1 << 16);
        let revs = format!("{new}\n^{old}\n");
        let args = ["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"];
        let theirs = git_in(&served.path, &args, revs.as_bytes());
        ours += u32::from_be_bytes(came[8..12].try_into().unwrap());
        gits += u32::from_be_bytes(theirs[8..12].try_into().unwrap());
    }
    assert!(ours <= gits + gits / 10, "{ours} objects where git sends {gits}");
}

#[test]
fn deltas_made_for_an_answer_name_their_base_by_distance_where_they_may() {
    let (mut near, mut named) = (0, 0);
    for seed in 0..4u64 {
        let served = Served::new(350 + seed, 80, 1);
        let line: Vec<Oid> =
            git(&served.path, &["rev-list", "--first-parent", "main"]).lines().map(oid).collect();
        // The tips of long ago: what they are stored as deltas of came later, and is not sent.
        let old: Vec<Oid> = line[line.len() / 2..].iter().step_by(3).copied().collect();
        for ofs_delta in [true, false] {
            let request = PackRequest { ofs_delta, shallow: old.clone(), ..want(&old) };
            let came = bytes_of(&served.snapshot(), &request, 1 << 16);
            let client = served.client(if ofs_delta { "near.git" } else { "named.git" });
            index(&client, &came, false);
            let [by_distance, by_id, by_id_behind] = deltas(&client, &came);
            if ofs_delta {
                assert_eq!(by_id_behind, 0, "{seed}: a base that went before is named by id");
                near += by_distance;
            } else {
                assert_eq!(by_distance, 0, "{seed}");
                named += by_id;
            }
        }
    }
    assert!(near > 10 && named > 10, "{near} {named}");
}

/// How many deltas of a pack name their base by distance, how many by id, and how many of these stand behind it. git has
/// indexed the pack in `client`.
fn deltas(client: &Path, pack: &[u8]) -> [usize; 3] {
    let folder = std::fs::read_dir(client.join("objects/pack")).unwrap();
    let idx = folder.map(|f| f.unwrap().path()).find(|f| f.extension().is_some_and(|e| e == "idx")).unwrap();
    let listed = String::from_utf8(git_in(client, &["show-index"], &std::fs::read(idx).unwrap())).unwrap();
    let places: std::collections::HashMap<Oid, usize> = listed
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            (oid(words.clone().nth(1).unwrap()), words.next().unwrap().parse().unwrap())
        })
        .collect();
    let mut found = [0; 3];
    for at in places.values() {
        // The head of an entry: kind and size, then the base's id (gitformat-pack(5)).
        let size = pack[*at..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        match pack[*at] >> 4 & 7 {
            6 => found[0] += 1,
            7 => {
                let base = Oid::Sha1(pack[at + size..at + size + 20].try_into().unwrap());
                found[1] += 1;
                found[2] += usize::from(places.get(&base).is_some_and(|place| place < at));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn annotated_tags_come_with_what_they_name() {
    let served = Served::new(400, 60, 1);
    let main = oid(&git(&served.path, &["rev-parse", "main"]));
    git(&served.path, &["tag", "-am", "over", "over", "main~1"]);
    git(&served.path, &["tag", "-am", "twice", "twice", "over"]);
    git(&served.path, &["tag", "-am", "file", "file", "main:"]);
    let snapshot = served.snapshot();
    let request = PackRequest { include_tag: true, ..want(&[main]) };
    let came = index(&served.client("c.git"), &bytes_of(&snapshot, &request, 999), false);
    for tag in snapshot.refs().iter().filter(|r| r.name.as_tag().is_some()) {
        let Some(peeled) = tag.peeled else { continue };
        assert_eq!(came.contains(&tag.target), came.contains(&peeled), "{}", tag.name);
    }
    let over = oid(&git(&served.path, &["rev-parse", "refs/tags/over"]));
    assert!(came.contains(&over));
    let plain = index(&served.client("d.git"), &bytes_of(&snapshot, &want(&[main]), 999), false);
    assert!(!plain.contains(&over));
    // A tag wanted by itself brings what it names.
    let twice = oid(&git(&served.path, &["rev-parse", "refs/tags/twice"]));
    let came = index(&served.client("e.git"), &bytes_of(&snapshot, &want(&[twice]), 999), true);
    assert_eq!(came, reachable(&served.path, &["twice"]));
}

#[test]
fn who_has_a_tag_has_what_is_behind_it() {
    let served = Served::new(651, 10, 0);
    let tree = git(&served.path, &["rev-parse", "main^{tree}"]);
    git(&served.path, &["tag", "-a", "-m", "of a tree", "plant", &tree]);
    let tag = oid(&git(&served.path, &["rev-parse", "plant"]));
    let request = PackRequest { haves: vec![tag], ..want(&[tag]) };
    let client = served.client("client.git");
    assert_eq!(index(&client, &bytes_of(&served.snapshot(), &request, 1000), false), BTreeSet::new());
}

#[test]
fn readiness_is_reaching_something_common() {
    let served = Served::new(700, 80, 0);
    let snapshot = served.snapshot();
    let commits: Vec<Oid> = git(&served.path, &["rev-list", "--all"]).lines().map(oid).collect();
    let mut random = Random(9);
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let pick = |random: &mut Random| commits[random.below(commits.len() as u64) as usize];
        let (want, common) = (pick(&mut random), pick(&mut random));
        let ours = snapshot.is_ready(&[want], &[common]).unwrap();
        let parents = git(&served.path, &["rev-list", "--parents", "-1", &common.to_string()]);
        let theirs = parents.split(' ').any(|target| {
            let args = ["merge-base", "--is-ancestor", target, &want.to_string()];
            git_raw(&served.path, &args, b"").status.success()
        });
        // Clocks that run backwards may make us say no; never yes.
        assert!(!ours || theirs);
        seen.insert((ours, theirs));
    }
    assert!(seen.contains(&(true, true)) && seen.contains(&(false, false)));
    assert!(!snapshot.is_ready(&commits, &[]).unwrap());
}

#[test]
fn bitmaps_answer_large_fetches_as_walks_do() {
    let served = Served::new(77, 2600, 0);
    let path = &served.path;
    let main = git(path, &["rev-parse", "main"]);
    let line = git(path, &["rev-list", "--date-order", "main"]);
    let line: Vec<&str> = line.lines().collect();
    let some = line[line.len() * 9 / 10].to_owned();
    let ask = |filter| PackRequest {
        wants: served.tips(),
        haves: vec![oid(&some)],
        ofs_delta: true,
        thin: true,
        filter,
        ..PackRequest::default()
    };
    let walked = bytes_of(&served.snapshot(), &ask(Filter::None), 1 << 16);
    git(path, &["repack", "-adbq"]);
    git(path, &["commit-graph", "write", "--reachable", "--no-progress"]);
    let client = served.client("one.git");
    git(&client, &["fetch", "-q", path.to_str().unwrap(), &format!("{some}:refs/heads/some")]);
    let looked_up = bytes_of(&served.snapshot(), &ask(Filter::None), 1 << 16);
    index(&client, &looked_up, true);
    let missing = git_raw(&client, &["rev-list", "--objects", &main], b"");
    assert!(missing.status.success(), "{}", String::from_utf8_lossy(&missing.stderr));
    // Exact where the walk may send a little twice.
    assert!(looked_up[8..12] <= walked[8..12]);
    let no_blobs = bytes_of(&served.snapshot(), &ask(Filter::BlobNone), 1 << 16);
    let came = index(&served.client("two.git"), &no_blobs, false);
    let args = ["rev-list", "--objects", "--filter=blob:none", "--no-object-names", "--all"];
    let expected = git(path, &[&args[..], &[&format!("^{some}")]].concat());
    let expected: BTreeSet<Oid> = expected.lines().map(oid).collect();
    assert!(expected.is_subset(&came));
    assert_eq!(came.len(), expected.len());
}

/// What a fetch of `new` by a client that has `old` brings.
fn came(served: &Path, client: &Path, new: &str, old: &str) -> BTreeSet<Oid> {
    let repo = Repository::open_with(served.to_owned(), Settings::default(), Vec::new()).unwrap();
    let request = PackRequest { haves: vec![oid(old)], thin: true, ..want(&[oid(new)]) };
    index(client, &bytes_of(&repo.snapshot().unwrap(), &request, 1 << 16), false)
}

#[test]
fn what_comes_back_is_not_sent_again() {
    let lab = Lab::new();
    let (served, client) = (lab.bare("served.git"), lab.bare("client.git"));
    let blob = |text: &str| git_in(&served, &["hash-object", "-w", "--stdin"], text.as_bytes());
    let id = |raw: Vec<u8>| String::from_utf8(raw).unwrap().trim().to_owned();
    let (first, second) = (id(blob("first\n")), id(blob("second\n")));
    let tree = |lines: &str| id(git_in(&served, &["mktree"], lines.as_bytes()));
    let folder = |file: &str| tree(&format!("100644 blob {file}\tfile\n"));
    let root = |folder: &str| tree(&format!("040000 tree {folder}\tfolder\n"));
    let (before, between) = (root(&folder(&first)), root(&folder(&second)));
    let commit = |tree: &str, parents: &[&str]| {
        let parents: Vec<&str> = parents.iter().flat_map(|p| ["-p", p]).collect();
        id(git_in(&served, &[&["commit-tree", tree, "-m", "c"][..], &parents].concat(), b""))
    };
    let one = commit(&before, &[]);
    let two = commit(&between, &[&one]);
    let three = commit(&before, &[&two]);
    let side = commit(&before, &[&one]);
    let merge = commit(&between, &[&side, &three]);
    git(&served, &["update-ref", "refs/heads/main", &merge]);
    let had = bytes_of(
        &Repository::open_with(served.clone(), Settings::default(), Vec::new()).unwrap().snapshot().unwrap(),
        &want(&[oid(&one)]),
        1 << 16,
    );
    index(&client, &had, true);
    // Away and back: the second commit brings its trees and its file, the third nothing but itself.
    let second_folder = folder(&second);
    let news = [&two, &between, &second_folder, &second, &three];
    let expected: BTreeSet<Oid> = news.iter().map(|id| oid(id)).collect();
    assert_eq!(came(&served, &client, &three, &one), expected);
    // The merge has what its first parent has not and its second had lately: that is on its way already.
    let expected: BTreeSet<Oid> = expected.into_iter().chain([oid(&side), oid(&merge)]).collect();
    let other = lab.bare("other.git");
    index(&other, &had, true);
    assert_eq!(came(&served, &other, &merge, &one), expected);
}

#[test]
fn a_reverse_index_that_lies_gives_no_panic() {
    let served = Served::new(78, 60, 1);
    let folder = served.path.join("objects/pack");
    let is_rev = |path: &PathBuf| path.extension().is_some_and(|e| e == "rev");
    let rev = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).find(is_rev).unwrap();
    let mut bytes = std::fs::read(&rev).unwrap();
    // Its rows, which nobody checks at each opening, the other way round.
    let end = bytes.len() - 40;
    let rows: Vec<u8> = bytes[12..end].rchunks(4).flatten().copied().collect();
    bytes[12..end].copy_from_slice(&rows);
    std::fs::remove_file(&rev).unwrap();
    std::fs::write(&rev, bytes).unwrap();
    let (main, old) =
        (git(&served.path, &["rev-parse", "main"]), git(&served.path, &["rev-parse", "main~3"]));
    for (haves, filter) in
        [(vec![oid(&old)], Filter::None), (vec![], Filter::BlobNone), (vec![], Filter::Tree(0))]
    {
        let request = PackRequest { haves, filter, thin: true, ..want(&[oid(&main)]) };
        assert!(served.snapshot().pack(&request, &AtomicBool::new(false)).is_err());
    }
}
