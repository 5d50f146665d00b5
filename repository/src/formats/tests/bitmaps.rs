//! Bitmaps of single packs.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::*;
use crate::bits::Bits;
use crate::object::Kind;

const KINDS: [(&str, Kind); 4] =
    [("commit", Kind::Commit), ("tree", Kind::Tree), ("blob", Kind::Blob), ("tag", Kind::Tag)];

/// A pack with all that is needed to turn bits into ids and back.
struct Order {
    index: IndexFile<Mapped>,
    /// Index positions by bit.
    positions: Vec<u32>,
    bits: HashMap<Vec<u8>, usize>,
}

impl Order {
    fn of(repo: &Repo) -> Self {
        let index = repo.index();
        let positions = ranks((0..index.count()).map(|at| index.offset(at).unwrap()));
        let bits =
            positions.iter().enumerate().map(|(bit, at)| (index.id(*at).unwrap().to_vec(), bit)).collect();
        Self { index, positions, bits }
    }

    fn ids(&self, bits: &Bits) -> BTreeSet<Vec<u8>> {
        bits.iter().map(|bit| self.index.id(self.positions[bit]).unwrap().to_vec()).collect()
    }

    fn bits<'a>(&self, ids: impl IntoIterator<Item = &'a Vec<u8>>) -> Bits {
        ids.into_iter().map(|id| self.bits[id]).collect()
    }
}

/// All paths at which objects are found, by id.
fn paths(repo: &Repo) -> HashMap<Vec<u8>, HashSet<String>> {
    let mut paths: HashMap<Vec<u8>, HashSet<String>> = HashMap::new();
    for commit in repo.git(&["rev-list", "--all"]).lines() {
        for line in repo.git(&["ls-tree", "-rt", commit]).lines() {
            let (head, path) = line.split_once('\t').unwrap();
            let id = hex::decode(head.split(' ').nth(2).unwrap()).unwrap();
            paths.entry(id).or_default().insert(path.to_owned());
        }
    }
    paths
}

#[test]
fn bitmaps_of_git_say_what_rev_list_says() {
    for (hash, table) in HASHES.into_iter().flat_map(|h| [(h, "false"), (h, "true")]) {
        let repo = Repo::new(hash, 3, 130);
        let table_of = format!("pack.writeBitmapLookupTable={table}");
        repo.git(&["-c", &table_of, "-c", "pack.writeBitmapHashCache=true", "repack", "-qadb"]);
        let order = Order::of(&repo);
        let data = Mapped::open(&repo.file(".bitmap")).unwrap();
        let file = BitmapFile::parse(data, repo.hash_len, order.index.count()).unwrap();
        file.verify().unwrap();
        assert_eq!(file.checksum(), order.index.pack_checksum());
        for (name, kind) in KINDS {
            let want: BTreeSet<Vec<u8>> =
                repo.objects().into_iter().filter(|(k, _)| k == name).map(|(_, id)| id).collect();
            assert_eq!(order.ids(&file.kind(kind).unwrap().decode().unwrap()), want);
        }
        assert!(file.len() > 50);
        let mut based = 0;
        for n in 0..file.len() {
            let position = file.position(n).unwrap();
            assert_eq!(file.find(position), Some(n));
            let id = hex::encode(order.index.id(position).unwrap());
            assert_eq!(order.ids(&file.reach(n).unwrap()), repo.reachable(&[&id]));
            based += usize::from(file.stored(n).unwrap().base.is_some());
        }
        assert!(based > 10, "some must build on others");
        assert_eq!((file.position(file.len()), file.find(u32::MAX)), (None, None));
        assert!(file.reach(file.len()).is_err());
        let paths = paths(&repo);
        let hashed = |path: &String| name_hash(path.as_bytes());
        for at in 0..order.index.count() {
            let hash = file.name_hash(at).unwrap();
            // Commits and tags have hashes of whatever led to them.
            if let Some(known) = paths.get(order.index.id(at).unwrap()) {
                assert!(known.iter().any(|path| hashed(path) == hash), "{at}: {hash:x} {known:?}");
            }
        }
        assert!((0..order.index.count()).filter(|at| file.name_hash(*at) != Some(0)).count() > 100);
    }
}

#[test]
fn pseudo_merges_are_passed_over() {
    for table in ["false", "true"] {
        let repo = Repo::new(HASHES[0], 9, 130);
        repo.git(&["config", "pack.writeBitmapLookupTable", table]);
        repo.git(&["config", "bitmapPseudoMerge.all.pattern", "refs/"]);
        repo.git(&["config", "bitmapPseudoMerge.all.threshold", "now"]);
        repo.git(&["config", "bitmapPseudoMerge.all.stableThreshold", "now"]);
        repo.git(&["repack", "-qadb"]);
        let order = Order::of(&repo);
        let text = fs::read(repo.file(".bitmap")).unwrap();
        if text[7] & 0x20 == 0 {
            let version = repo.git(&["version"]);
            assert!(version.contains(" 2.3") || version.contains(" 2.40"), "{version} wrote none");
            continue;
        }
        let file = BitmapFile::parse(&text[..], 20, order.index.count()).unwrap();
        for n in (0..file.len()).step_by(5) {
            let id = hex::encode(order.index.id(file.position(n).unwrap()).unwrap());
            assert_eq!(order.ids(&file.reach(n).unwrap()), repo.reachable(&[&id]));
        }
    }
}

/// Writes bitmaps of these commits for a repository of one pack.
fn write(repo: &Repo, commits: &[Vec<u8>], names: bool) -> Vec<u8> {
    let order = Order::of(repo);
    let objects = repo.objects();
    let kinds =
        KINDS.map(|(name, _)| order.bits(objects.iter().filter(|(k, _)| k == name).map(|(_, id)| id)));
    let head = BitmapHead {
        objects: order.index.count(),
        bitmaps: commits.len() as u32,
        checksum: order.index.pack_checksum(),
        name_hashes: names,
    };
    let mut writer = BitmapWriter::start(Vec::new(), &head, kinds.each_ref()).unwrap();
    for commit in commits {
        let bits = order.bits(&repo.reachable(&[&hex::encode(commit)]));
        writer.push(order.index.find(commit).unwrap(), bits, REUSABLE).unwrap();
    }
    let paths = if names { paths(repo) } else { HashMap::new() };
    let hash = |at: u32| {
        let known = paths.get(order.index.id(at).unwrap());
        known.and_then(|all| all.iter().next()).map_or(0, |path| name_hash(path.as_bytes()))
    };
    writer.finish((0..order.index.count()).filter(|_| names).map(hash)).unwrap()
}

#[test]
fn git_reads_bitmaps_of_ours() {
    for (hash, names) in HASHES.into_iter().flat_map(|h| [(h, false), (h, true)]) {
        let repo = Repo::new(hash, 4, 90);
        repo.git(&["repack", "-qad"]);
        let commits: Vec<Vec<u8>> =
            repo.git(&["rev-list", "--all"]).lines().step_by(2).map(|l| hex::decode(l).unwrap()).collect();
        let text = write(&repo, &commits, names);
        let path = repo.file(".pack").with_extension("bitmap");
        fs::write(&path, &text).unwrap();
        let whole = repo.git(&["rev-list", "--objects", "--all", "--count"]);
        for commit in &commits {
            let id = hex::encode(commit);
            let output = crate::support::git_raw(&repo.path, &["rev-list", "--test-bitmap", &id], b"");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && told.contains("OK!"), "{told}");
        }
        let fast = repo.git(&["rev-list", "--use-bitmap-index", "--objects", "--all", "--count"]);
        assert_eq!(fast, whole);
        let half = ["main", "--not", "b0", "b1"];
        let slow: BTreeSet<Vec<u8>> = repo.reachable(&half);
        let fast = repo.reachable(&[&["--use-bitmap-index"], &half[..]].concat());
        assert!(
            slow.is_subset(&repo.reachable(&["--all"])) && fast.is_subset(&slow),
            "bitmaps are more exact"
        );
        repo.git(&["fsck", "--full", "--strict"]);

        let file = BitmapFile::parse(&text[..], repo.hash_len, repo.index().count()).unwrap();
        let order = Order::of(&repo);
        for commit in &commits {
            let n = file.find(order.index.find(commit).unwrap()).unwrap();
            assert_eq!(order.ids(&file.reach(n).unwrap()), repo.reachable(&[&hex::encode(commit)]));
            assert_eq!(file.stored(n).unwrap().flags, REUSABLE);
        }
        assert_eq!(file.name_hash(0).is_some(), names);
        let based = (0..file.len()).filter(|n| file.stored(*n).unwrap().base.is_some()).count();
        assert!(based > 0);
        // A clone through git, and bitmaps that git makes from ours.
        let url = format!("file://{}", repo.path.display());
        git(repo.path.parent().unwrap(), &["clone", "-q", "--bare", &url, "copy.git"]);
        git(&repo.path.parent().unwrap().join("copy.git"), &["fsck", "--full"]);
        repo.git(&["repack", "-qadb"]);
        repo.git(&["rev-list", "--test-bitmap", "main"]);
    }
}

#[test]
fn our_bitmaps_are_no_larger_than_those_of_git() {
    let repo = Repo::new(HASHES[0], 8, 150);
    repo.git(&["-c", "pack.writeBitmapLookupTable=true", "repack", "-qadb"]);
    let theirs = fs::read(repo.file(".bitmap")).unwrap();
    let order = Order::of(&repo);
    let file = BitmapFile::parse(&theirs[..], 20, order.index.count()).unwrap();
    // In the order of the file.
    let mut commits: Vec<u32> = (0..file.len()).collect();
    commits.sort_by_key(|n| file.stored(*n).unwrap().offset);
    let commits: Vec<Vec<u8>> =
        commits.iter().map(|n| order.index.id(file.position(*n).unwrap()).unwrap().to_vec()).collect();
    let ours = write(&repo, &commits, true);
    assert!(ours.len() <= theirs.len() * 105 / 100, "{} against {}", ours.len(), theirs.len());
    for (_, kind) in KINDS {
        let bits = file.kind(kind).unwrap().decode().unwrap();
        let len = bits.iter().last().unwrap() + 1;
        let size = Ewah::parse(&ewah::encode(&bits, len as u32), len as u32).unwrap().1;
        assert!(size <= file.kind(kind).unwrap().len(), "{kind}");
    }
}

#[test]
fn chains_are_short_and_found_without_a_table_too() {
    // A line of commits, each of which reaches a few objects more.
    let objects = 20_000u32;
    let head = BitmapHead { objects, bitmaps: 300, checksum: &[7; 20], name_hashes: false };
    let all: Bits = (0..objects as usize).collect();
    let none = Bits::default();
    let mut writer = BitmapWriter::start(Vec::new(), &head, [&all, &none, &none, &none]).unwrap();
    let mut bits = Bits::default();
    let mut want = Vec::new();
    for n in 0..300u32 {
        for k in 0..60 {
            bits.put((n as usize * 60 + k * 7919) % objects as usize);
        }
        writer.push(n * 7 % 1000, bits.clone(), 0).unwrap();
        want.push((n * 7 % 1000, bits.clone()));
    }
    let text = writer.finish(std::iter::empty()).unwrap();
    let file = BitmapFile::parse(&text[..], 20, objects).unwrap();
    let mut longest = 0;
    for (position, bits) in &want {
        let n = file.find(*position).unwrap();
        assert_eq!(&file.reach(n).unwrap(), bits);
        let chain = std::iter::successors(Some(n), |n| file.stored(*n).unwrap().base).count();
        longest = longest.max(chain - 1);
    }
    assert_eq!(longest, crate::limits::BITMAP_WRITTEN_CHAIN_MAX);
    let mut plain = text.clone();
    plain[7] = 1;
    let table = 300 * 16 + 20;
    plain.drain(text.len() - table..text.len() - 20);
    let read = BitmapFile::parse(&plain[..], 20, objects).unwrap();
    for n in 0..300 {
        assert_eq!(read.position(n), file.position(n));
        assert_eq!(read.stored(n).unwrap().base, file.stored(n).unwrap().base);
    }
    // A circle of bases ends.
    let mut circle = text.clone();
    for n in 0..300 {
        let at = text.len() - table + n * 16 + 12;
        circle[at..at + 4].copy_from_slice(&((n as u32 + 1) % 300).to_be_bytes());
    }
    assert!(BitmapFile::parse(&circle[..], 20, objects).unwrap().reach(5).is_err());
}

#[test]
fn a_writer_refuses_what_cannot_be() {
    let bits: Bits = [3].into_iter().collect();
    let head = BitmapHead { objects: 4, bitmaps: 2, checksum: &[7; 20], name_hashes: true };
    let start = || BitmapWriter::start(Vec::new(), &head, [&bits; 4]).unwrap();
    let beyond: Bits = [4].into_iter().collect();
    assert!(BitmapWriter::start(Vec::new(), &head, [&beyond; 4]).is_err());
    assert!(start().push(0, beyond, 0).is_err());
    assert!(start().push(4, bits.clone(), 0).is_err());
    let filled = |positions: &[u32]| {
        let mut writer = start();
        positions.iter().for_each(|p| writer.push(*p, bits.clone(), 0).unwrap());
        writer
    };
    assert!(filled(&[1, 2]).push(3, bits.clone(), 0).is_err());
    assert!(filled(&[1]).finish(0..4).is_err());
    assert!(filled(&[1, 1]).finish(0..4).is_err());
    assert!(filled(&[1, 2]).finish(0..3).is_err());
    assert!(filled(&[1, 2]).finish(0..4).is_ok());
}
