//! Packs for clones and fetches, judged by `git index-pack --strict` and `git fsck`; boundaries compared with git's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::{ObjectFormat, Oid};
use slipway_repository::*;

use crate::support::*;

fn bytes_of(snapshot: &Arc<Snapshot>, request: &PackRequest, chunk: usize) -> Vec<u8> {
    let mut stream = snapshot.pack(request, &AtomicBool::new(false)).unwrap();
    let (mut all, mut out) = (Vec::new(), vec![0; chunk]);
    loop {
        let got = stream.fill(&mut out).unwrap();
        all.extend_from_slice(&out[..got]);
        if got < chunk {
            break;
        }
    }
    assert_eq!(stream.fill(&mut out).unwrap(), 0);
    assert_eq!(all.len() as u64, stream.bytes());
    assert_eq!(all[8..12], stream.objects().to_be_bytes());
    // The answer at hand is the same, and its checksum needs no computing.
    let mut again = snapshot.pack_at_hand(request).unwrap();
    let mut same = vec![0; all.len()];
    let got = again.fill_now(&mut same).unwrap();
    assert!(got.is_none_or(|got| same[..got] == all[..got]));
    all
}

/// Has git take the pack in; returns the objects that came, each once.
fn index(client: &Path, pack: &[u8], strict: bool) -> BTreeSet<Oid> {
    let mut args = vec!["index-pack", "--stdin", "--fix-thin"];
    if strict {
        args.push("--strict");
    }
    let announced = u32::from_be_bytes(pack[8..12].try_into().unwrap());
    if announced == 0 {
        return BTreeSet::new();
    }
    let name = String::from_utf8(git_in(client, &args, pack)).unwrap();
    let name = name.trim().rsplit('\t').next().unwrap().to_owned();
    let idx = client.join(format!("objects/pack/pack-{name}.idx"));
    let listed = git_in(client, &["show-index"], &std::fs::read(idx).unwrap());
    let ids: Vec<Oid> =
        String::from_utf8(listed).unwrap().lines().map(|l| oid(l.split(' ').nth(1).unwrap())).collect();
    let set: BTreeSet<Oid> = ids.iter().copied().collect();
    assert_eq!(set.len(), ids.len(), "an object came twice");
    set
}

fn want(ids: &[Oid]) -> PackRequest {
    PackRequest { wants: ids.to_vec(), ofs_delta: true, ..PackRequest::default() }
}

struct Served {
    lab: Lab,
    path: PathBuf,
    repository: Arc<Repository>,
}

impl Served {
    /// A history in one of several shapes on disk.
    fn new(seed: u64, commits: u64, shape: u64) -> Self {
        Self::of(ObjectFormat::Sha1, seed, commits, shape)
    }

    fn of(format: ObjectFormat, seed: u64, commits: u64, shape: u64) -> Self {
        let lab = Lab::of(format);
        let (repository, path) = lab.create("app");
        import(&path, seed, commits);
        match shape % 7 {
            0 => {}
            1 => drop(git(&path, &["repack", "-adfq", "--depth=50", "--window=50"])),
            2 => {
                // Deltas that name their bases by id, and objects in two packs.
                git(&path, &["-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq", "--depth=20"]);
                let some = format!("{}\n", git(&path, &["rev-parse", "main~3"]));
                git_in(&path, &["pack-objects", "--revs", "-q", "objects/pack/pack"], some.as_bytes());
            }
            3 => unpack(&lab, &path, seed),
            5 => {
                // Bitmaps of one pack, and pushes since.
                let later = git(&path, &["rev-parse", "main"]);
                git(&path, &["update-ref", "refs/heads/main", "main~5"]);
                git(&path, &["repack", "-adbq", "--depth=20"]);
                git(&path, &["commit-graph", "write", "--reachable", "--changed-paths", "--no-progress"]);
                let rest = format!("{later}\n--not\n--all\n");
                restore(&lab, seed, commits, &path, &rest);
                git(&path, &["update-ref", "refs/heads/main", &later]);
            }
            6 => {
                // Bitmaps of several packs that have objects in common, and pushes since.
                let later = git(&path, &["rev-parse", "main"]);
                git(&path, &["update-ref", "refs/heads/main", "main~5"]);
                git(&path, &["repack", "-adq", "--depth=20"]);
                for some in ["main~9", "main~2"] {
                    let some = format!("{}\n", git(&path, &["rev-parse", some]));
                    git_in(&path, &["pack-objects", "--revs", "-q", "objects/pack/pack"], some.as_bytes());
                }
                git(&path, &["multi-pack-index", "write", "--bitmap", "--no-progress"]);
                let rest = format!("{later}\n--not\n--all\n");
                restore(&lab, seed, commits, &path, &rest);
                git(&path, &["update-ref", "refs/heads/main", &later]);
            }
            _ => {
                // Several packs pushed one after another, as we keep them.
                let bare = lab.bare("from.git");
                import(&bare, seed, commits);
                std::fs::remove_dir_all(path.join("objects/pack")).unwrap();
                std::fs::create_dir_all(path.join("objects/pack")).unwrap();
                let mut old: Vec<String> = Vec::new();
                let mut line: Vec<String> =
                    git(&bare, &["rev-list", "--reverse", "--all"]).lines().map(str::to_owned).collect();
                line.extend(
                    git(&bare, &["for-each-ref", "--format=%(objectname)", "refs/tags"])
                        .lines()
                        .map(str::to_owned),
                );
                for part in line.chunks(25) {
                    let mut revs: String = part.iter().map(|id| format!("{id}\n")).collect();
                    revs += &old.iter().map(|id| format!("^{id}\n")).collect::<String>();
                    let pack = git_in(
                        &bare,
                        &["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"],
                        revs.as_bytes(),
                    );
                    git_in(&path, &["index-pack", "--stdin", "--fix-thin"], &pack);
                    old.extend(part.iter().cloned());
                }
            }
        }
        Self { lab, path, repository }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.repository.snapshot().unwrap()
    }

    fn tips(&self) -> Vec<Oid> {
        let snapshot = self.snapshot();
        let tips: BTreeSet<Oid> = snapshot.refs().iter().map(|r| r.target).collect();
        tips.into_iter().collect()
    }

    fn client(&self, name: &str) -> PathBuf {
        self.lab.bare(name)
    }
}

/// Every number with SHA-1, and with SHA-256 a few of them.
fn cases(numbers: std::ops::Range<u64>) -> Vec<(ObjectFormat, u64)> {
    let few = numbers.clone().filter(|n| [1, 5].contains(n)).map(|n| (ObjectFormat::Sha256, n));
    few.chain(numbers.map(|n| (ObjectFormat::Sha1, n))).collect()
}

/// Brings what `revs` name, from the same history made again, in a pack of its own.
fn restore(lab: &Lab, seed: u64, commits: u64, path: &Path, revs: &str) {
    let bare = lab.bare("again.git");
    import(&bare, seed, commits);
    let known = git(path, &["for-each-ref", "--format=^%(objectname)"]);
    let revs = revs.replace("--not\n--all\n", &format!("{known}\n"));
    let args = ["pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"];
    let pack = git_in(&bare, &args, revs.as_bytes());
    if pack[8..12] != [0; 4] {
        git_in(path, &["index-pack", "--stdin", "--fix-thin"], &pack);
    }
}

/// Makes every object loose, but for half of them also packed.
fn unpack(lab: &Lab, path: &Path, seed: u64) {
    let aside = lab.dir.path().join("aside");
    std::fs::rename(path.join("objects/pack"), &aside).unwrap();
    std::fs::create_dir(path.join("objects/pack")).unwrap();
    for entry in std::fs::read_dir(&aside).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|e| e == "pack") {
            git_in(path, &["unpack-objects", "-q"], &std::fs::read(file).unwrap());
        }
    }
    if seed.is_multiple_of(2) {
        let some = format!("{}\n", git(path, &["rev-parse", "main~2"]));
        git_in(path, &["pack-objects", "--revs", "-q", "objects/pack/pack"], some.as_bytes());
    }
}

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
fn filters_leave_out_what_git_leaves_out() {
    FORMATS.into_iter().for_each(filters);
}

fn filters(format: ObjectFormat) {
    let served = Served::of(format, 500, 60, 1);
    let main = oid(&git(&served.path, &["rev-parse", "main"]));
    for (filter, text) in [
        (Filter::BlobNone, "blob:none"),
        (Filter::BlobLimit(500), "blob:limit=500"),
        (Filter::BlobLimit(0), "blob:limit=0"),
        (Filter::Tree(0), "tree:0"),
        (Filter::Tree(1), "tree:1"),
        (Filter::Tree(2), "tree:2"),
        (Filter::Tree(3), "tree:3"),
    ] {
        let request = PackRequest { filter, ..want(&[main]) };
        let client = served.client(&format!("{}.git", text.replace([':', '='], "-")));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let theirs = reachable(&served.path, &[&format!("--filter={text}"), "main"]);
        assert_eq!(came, theirs, "{text}");
    }
    let patterns = "/*\n!/*/\n/dir0-0/\n!/dir0-0/*/\n*1.txt\n!file2.txt\n";
    let blob =
        oid(&String::from_utf8(git_in(&served.path, &["hash-object", "-w", "--stdin"], patterns.as_bytes()))
            .unwrap());
    let sparse = Filter::Sparse(Arc::new(Sparse::parse(patterns.as_bytes()).unwrap()));
    let both = |a: &Filter, b: &Filter| Filter::All(vec![a.clone(), b.clone()]);
    let sparse_text = format!("sparse:oid={blob}");
    for (filter, text) in [
        (Filter::Type(Kind::Commit), "object:type=commit".to_owned()),
        (Filter::Type(Kind::Tree), "object:type=tree".to_owned()),
        (Filter::Type(Kind::Blob), "object:type=blob".to_owned()),
        (Filter::Type(Kind::Tag), "object:type=tag".to_owned()),
        (sparse.clone(), sparse_text.clone()),
    ] {
        let request = PackRequest { filter, ..want(&[main]) };
        let client = served.client(&format!("{}.git", text.replace([':', '=', '+'], "-")));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let theirs = reachable(&served.path, &[&format!("--filter={text}"), "main"]);
        assert_eq!(came, theirs, "{text}");
    }
    // Combined: what both let through. git itself leaves some of that out: once one of its filters has seen a blob where
    // another refuses it, it does not look at it again where both would take it.
    let (limit, kind) = (Filter::BlobLimit(500), Filter::Type(Kind::Blob));
    for (filter, first, second) in [
        (both(&Filter::Tree(2), &limit), "tree:2", "blob:limit=500"),
        (both(&sparse, &limit), sparse_text.as_str(), "blob:limit=500"),
        (both(&kind, &Filter::Tree(2)), "object:type=blob", "tree:2"),
    ] {
        let request = PackRequest { filter, ..want(&[main]) };
        let client = served.client(&format!("{first}+{second}.git").replace([':', '='], "-"));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let by = |filter: &str| reachable(&served.path, &[&format!("--filter={filter}"), "main"]);
        let theirs: BTreeSet<Oid> = by(first).intersection(&by(second)).copied().collect();
        assert_eq!(came, theirs, "{first} and {second}");
        assert!(by(&format!("combine:{first}+{second}")).is_subset(&came), "{first} and {second}");
    }
    // A tree that was asked for by id: its entries are at depth 0.
    let tree = oid(&git(&served.path, &["rev-parse", "main^{tree}"]));
    for depth in 0..4 {
        let request = PackRequest { filter: Filter::Tree(depth), ..want(&[tree]) };
        let client = served.client(&format!("asked-{depth}.git"));
        let came = index(&client, &bytes_of(&served.snapshot(), &request, 4096), false);
        let filter = format!("--filter=tree:{depth}");
        assert_eq!(came, reachable(&served.path, &[&filter, &tree.to_string()]), "{depth}");
    }
    // What was left out can be asked for by id.
    let blobs: Vec<Oid> =
        all_objects(&served.path).into_iter().filter(|o| o.1 == "blob").map(|o| o.0).take(5).collect();
    let request = PackRequest { filter: Filter::BlobNone, ..want(&blobs) };
    let came = index(&served.client("back.git"), &bytes_of(&served.snapshot(), &request, 4096), false);
    assert_eq!(came, blobs.into_iter().collect());
    let tree = oid(&git(&served.path, &["rev-parse", "main^{tree}"]));
    let request = PackRequest { filter: Filter::Tree(0), ..want(&[tree]) };
    let came = index(&served.client("tree.git"), &bytes_of(&served.snapshot(), &request, 4096), false);
    assert_eq!(came, BTreeSet::from([tree]));
}

fn boundary(client: &Path) -> BTreeSet<Oid> {
    std::fs::read_to_string(client.join("shallow")).unwrap_or_default().lines().map(oid).collect()
}

/// Runs git's own client and server, and asks ours the same.
fn compare_shallow(served: &Served, client: &Path, args: &[&str], deepen: &Deepen, wants: &[&str]) {
    let before = boundary(client);
    let haves: Vec<Oid> = git(client, &["for-each-ref", "--format=%(objectname)"]).lines().map(oid).collect();
    // Our pack goes to a copy of the client.
    let copy = client.with_extension("copy");
    let _ = std::fs::remove_dir_all(&copy);
    assert!(Command::new("cp").arg("-r").args([client, &copy]).status().unwrap().success());
    let url = format!("file://{}", served.path.display());
    let specs: Vec<String> = wants.iter().map(|w| format!("+{w}:{w}")).collect();
    let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
    let fetch = Command::new("git")
        .args([&["fetch", "-q", "--no-tags"][..], args, &[&url], &specs].concat())
        .current_dir(client)
        .env("GIT_TRACE_PACKET", "1")
        .output()
        .unwrap();
    let trace = String::from_utf8(fetch.stderr).unwrap();
    assert!(fetch.status.success(), "{trace}");
    // git's client leaves out wants of which it has all that it looks for; what it asked for counts.
    let ids: Vec<Oid> = trace.lines().filter_map(|l| l.split("fetch> want ").nth(1)).map(oid).collect();
    if ids.is_empty() {
        return;
    }
    let snapshot = served.snapshot();
    let had: Vec<Oid> = before.iter().copied().collect();
    let answer = snapshot.shallow(&ids, &had, deepen).unwrap();
    let after = boundary(client);
    let mut ours = before.clone();
    ours.retain(|id| !answer.unshallow.contains(id));
    ours.extend(&answer.shallow);
    assert_eq!(ours, after, "{args:?} {wants:?} from {before:?}");
    let request = PackRequest {
        haves,
        client_shallow: had,
        shallow: answer.shallow,
        unshallow: answer.unshallow,
        thin: true,
        ..want(&ids)
    };
    index(&copy, &bytes_of(&snapshot, &request, 3000), false);
    let text: String = ours.iter().map(|id| format!("{id}\n")).collect();
    if text.is_empty() {
        let _ = std::fs::remove_file(copy.join("shallow"));
    } else {
        std::fs::write(copy.join("shallow"), text).unwrap();
    }
    for name in wants {
        git(&copy, &["update-ref", name, &git(&served.path, &["rev-parse", name])]);
    }
    git(&copy, &["fsck", "--full", "--strict", "--no-dangling"]);
    assert_eq!(reachable(&copy, &["--all"]), reachable(client, &["--all"]));
}

#[test]
fn a_boundary_without_a_commit_is_refused() {
    let served = Served::new(650, 20, 0);
    let snapshot = served.snapshot();
    let main = oid(&git(&served.path, &["rev-parse", "main"]));
    // An answer without a boundary would be taken for all of history.
    for deepen in [
        Deepen { since: Some(i64::MAX), ..Deepen::default() },
        Deepen { not: vec![main], ..Deepen::default() },
    ] {
        assert!(matches!(snapshot.shallow(&[main], &[], &deepen), Err(RepoError::NothingSelected)));
    }
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
fn shallow_answers_are_gits() {
    for (format, seed) in cases(0..8) {
        let served = Served::of(format, 600 + seed, 70, seed);
        let mut random = Random(seed);
        let branches: Vec<String> = git(&served.path, &["for-each-ref", "--format=%(refname)", "refs/heads"])
            .lines()
            .map(str::to_owned)
            .collect();
        let client = served.client("client.git");
        let mut deep = 1 + random.below(3) as u32;
        for round in 0..7 {
            let some: BTreeSet<&str> = (0..=random.below(2))
                .map(|_| branches[random.below(branches.len() as u64) as usize].as_str())
                .collect();
            let wants: Vec<&str> = some.into_iter().collect();
            match (round + seed) % 4 {
                0 | 1 => {
                    deep += random.below(4) as u32;
                    let deepen = Deepen { depth: Some(deep), ..Deepen::default() };
                    compare_shallow(&served, &client, &[&format!("--depth={deep}")], &deepen, &wants);
                }
                2 => {
                    let n = 1 + random.below(3) as u32;
                    let deepen = Deepen { depth: Some(n), relative: true, ..Deepen::default() };
                    if !boundary(&client).is_empty() {
                        compare_shallow(&served, &client, &[&format!("--deepen={n}")], &deepen, &wants);
                    }
                }
                _ => {
                    let not = oid(&git(&served.path, &["rev-parse", "main~2"]));
                    let reach = git(&served.path, &["rev-list", &format!("^{not}"), wants[0]]);
                    if reach.is_empty() || wants.len() > 1 {
                        continue;
                    }
                    git(&served.path, &["update-ref", "refs/tags/limit", &not.to_string()]);
                    let deepen = Deepen { not: vec![not], ..Deepen::default() };
                    compare_shallow(
                        &served,
                        &client,
                        &["--shallow-exclude=refs/tags/limit"],
                        &deepen,
                        &wants,
                    );
                }
            }
        }
        if !boundary(&client).is_empty() {
            let all: Vec<&str> = branches.iter().map(String::as_str).collect();
            let deepen = Deepen { depth: Some(0x7fff_ffff), ..Deepen::default() };
            compare_shallow(&served, &client, &["--unshallow"], &deepen, &all);
        }
    }
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
