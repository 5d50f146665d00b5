//! Multi-pack indexes and their bitmaps.

use std::fs;
use std::ops::Deref;
use std::time::{Duration, SystemTime};

use super::*;
use crate::bits::Bits;

/// A repository of several packs with copies of objects in them; the last but one pack has nothing of its own. Returned
/// with its packs' indexes, by name.
fn overlapping(hash: (&str, usize), seed: u64) -> (Repo, Vec<(String, IndexFile<Mapped>)>) {
    let repo = Repo::new(hash, seed, 80);
    repo.git(&["repack", "-qad"]);
    let old = repo.file(".pack");
    let commits: Vec<String> =
        repo.git(&["rev-list", "--all", "--reverse"]).lines().map(str::to_owned).collect();
    let mut ranges: Vec<Vec<&str>> = Vec::new();
    for at in [commits.len() / 4, commits.len() / 2, commits.len() - 5] {
        ranges.push(vec![&commits[at], "--not", &commits[at / 3]]);
    }
    ranges.push(vec!["--all"]);
    ranges.push(vec![&commits[commits.len() / 3]]);
    let folder = repo.packs_folder();
    let mut names = Vec::new();
    for (range, age) in ranges.iter().zip([500u64, 100, 300, 400, 200]) {
        let ids = repo.git(&[&["rev-list", "--objects"], &range[..]].concat());
        let base = folder.join("pack");
        let base = base.to_str().unwrap();
        let name = git_in(&repo.path, &["pack-objects", "-q", base], format!("{ids}\n").as_bytes());
        let name = format!("pack-{}", String::from_utf8(name).unwrap().trim());
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age);
        for ending in ["pack", "idx"] {
            fs::File::open(folder.join(format!("{name}.{ending}"))).unwrap().set_modified(time).unwrap();
        }
        names.push(name);
    }
    for ending in ["pack", "idx", "rev"] {
        fs::remove_file(old.with_extension(ending)).unwrap();
    }
    names.sort();
    let index =
        |name: &String| (format!("{name}.idx"), index_at(&folder.join(format!("{name}.idx")), hash.1));
    let indexes = names.iter().map(index).collect();
    (repo, indexes)
}

fn packs<'a>(repo: &Repo, indexes: &'a [(String, IndexFile<Mapped>)]) -> Vec<MidxPack<'a>> {
    let time = |name: &str| {
        let path = repo.packs_folder().join(name).with_extension("pack");
        let time = fs::metadata(path).unwrap().modified().unwrap();
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
    };
    indexes.iter().map(|(name, index)| MidxPack { name, mtime: time(name), objects: index }).collect()
}

fn midx_at(repo: &Repo) -> Midx<Mapped> {
    let path = repo.packs_folder().join("multi-pack-index");
    let midx = Midx::parse(Mapped::open(&path).unwrap(), repo.hash_len).unwrap();
    midx.verify().unwrap();
    midx
}

/// Everything that a multi-pack index tells fits the packs.
fn check<D: Deref<Target = [u8]>>(midx: &Midx<D>, indexes: &[(String, IndexFile<Mapped>)], preferred: u32) {
    assert_eq!(midx.packs() as usize, indexes.len());
    for ((name, _), pack) in indexes.iter().zip(0..) {
        assert_eq!(midx.pack_name(pack), Some(&name[..]));
    }
    assert_eq!(midx.pack_name(midx.packs()), None);
    assert_eq!(midx.preferred_pack(), Some(preferred));
    let all: BTreeSet<&[u8]> =
        indexes.iter().flat_map(|(_, index)| (0..index.count()).map(|at| index.id(at).unwrap())).collect();
    assert_eq!((0..midx.count()).map(|at| midx.id(at).unwrap()).collect::<Vec<_>>(), Vec::from_iter(all));
    for position in 0..midx.count() {
        let id = midx.id(position).unwrap();
        let found = midx.find(id).unwrap().unwrap();
        assert_eq!(found.position, position);
        let index = &indexes[found.pack as usize].1;
        assert_eq!(index.offset(index.find(id).unwrap()), Some(found.offset));
        assert_eq!(midx.prefix(&hex::encode(id)), Some(position..position + 1));
        let bit = midx.bit_of_position(position).unwrap();
        assert_eq!(midx.position_of_bit(bit), Some(position));
        assert!(midx.bits_of_pack(found.pack).is_none_or(|bits| bits.contains(&bit)));
        assert_eq!(midx.bit_of_place(found.pack, found.offset + 1), None);
    }
    assert_eq!(midx.find(&[0; 20]).unwrap(), None);
    assert!(midx.at(midx.count()).is_err());
    assert_eq!((midx.id(midx.count()), midx.position_of_bit(midx.count())), (None, None));
    let bits: Option<usize> = (0..midx.packs()).map(|pack| Some(midx.bits_of_pack(pack)?.len())).sum();
    assert!(bits.is_none_or(|bits| bits == midx.count() as usize));
}

#[test]
fn a_multi_pack_index_is_read_and_written_as_git_does() {
    for (hash, preferred) in HASHES.into_iter().flat_map(|h| [(h, 0), (h, 2), (h, 4)]) {
        let (repo, indexes) = overlapping(hash, 21);
        let name = format!("--preferred-pack={}", indexes[preferred].0);
        repo.git(&["multi-pack-index", "write", "--bitmap", &name]);
        check(&midx_at(&repo), &indexes, preferred as u32);
        let theirs = fs::read(repo.packs_folder().join("multi-pack-index")).unwrap();
        let (ours, sum) = write_midx(Vec::new(), repo.hash_len, &packs(&repo, &indexes), preferred).unwrap();
        assert!(ours.ends_with(&sum));
        let read = Midx::parse(&ours[..], repo.hash_len).unwrap();
        check(&read, &indexes, preferred as u32);
        assert!((0..5).all(|pack| read.bits_of_pack(pack).is_some()));
        // Gits before 2.44 do not tell the bits of each pack.
        if midx_at(&repo).bits_of_pack(0).is_some() {
            let differ = ours.iter().zip(&theirs).position(|(a, b)| a != b);
            assert_eq!((differ, ours.len()), (None, theirs.len()));
        }
        // Version 2 may have the packs in any order, and is else the same.
        let mut second = ours;
        second[4] = 2;
        assert_eq!(Midx::parse(&second[..], repo.hash_len).unwrap().packs(), 5);
        second[4] = 3;
        assert!(Midx::parse(&second[..], repo.hash_len).is_err());
    }
}

#[test]
fn bitmaps_of_many_packs_are_read_and_written() {
    for hash in HASHES {
        let (repo, indexes) = overlapping(hash, 22);
        repo.git(&["multi-pack-index", "write", "--bitmap"]);
        let midx = midx_at(&repo);
        let ids = |bits: &Bits| -> BTreeSet<Vec<u8>> {
            bits.iter().map(|b| midx.id(midx.position_of_bit(b as u32).unwrap()).unwrap().to_vec()).collect()
        };
        let path = repo.file(".bitmap");
        assert!(
            path.to_str()
                .unwrap()
                .ends_with(&format!("multi-pack-index-{}.bitmap", hex::encode(midx.checksum())))
        );
        let theirs = Mapped::open(&path).unwrap();
        let file = BitmapFile::parse(theirs, repo.hash_len, midx.count()).unwrap();
        assert_eq!(file.checksum(), midx.checksum());
        assert!(file.len() > 10);
        for n in 0..file.len() {
            let id = hex::encode(midx.id(file.position(n).unwrap()).unwrap());
            assert_eq!(ids(&file.reach(n).unwrap()), repo.reachable(&[&id]));
        }

        // Ours in their place, over another preferred pack.
        for old in [repo.packs_folder().join("multi-pack-index"), path] {
            fs::remove_file(old).unwrap();
        }
        let preferred = 1;
        let (ours, sum) = write_midx(Vec::new(), repo.hash_len, &packs(&repo, &indexes), preferred).unwrap();
        fs::write(repo.packs_folder().join("multi-pack-index"), ours).unwrap();
        let midx = midx_at(&repo);
        check(&midx, &indexes, preferred as u32);
        let objects = repo.objects();
        let bit =
            |id: &[u8]| midx.bit_of_position(midx.find(id).unwrap().unwrap().position).unwrap() as usize;
        let kinds = ["commit", "tree", "blob", "tag"]
            .map(|kind| objects.iter().filter(|(k, _)| k == kind).map(|(_, id)| bit(id)).collect::<Bits>());
        let commits: Vec<String> = repo.git(&["rev-list", "--all"]).lines().map(str::to_owned).collect();
        let head = BitmapHead {
            objects: midx.count(),
            bitmaps: commits.len() as u32,
            checksum: &sum,
            name_hashes: true,
        };
        let mut writer = BitmapWriter::start(Vec::new(), &head, kinds.each_ref()).unwrap();
        for commit in &commits {
            let bits: Bits = repo.reachable(&[commit]).iter().map(|id| bit(id)).collect();
            let id = hex::decode(commit).unwrap();
            writer.push(midx.find(&id).unwrap().unwrap().position, bits, 0).unwrap();
        }
        let text = writer.finish((0..midx.count()).map(|n| n * 3)).unwrap();
        let name = format!("multi-pack-index-{}.bitmap", hex::encode(sum));
        fs::write(repo.packs_folder().join(name), text).unwrap();
        repo.git(&["multi-pack-index", "verify"]);
        repo.git(&["fsck", "--full", "--strict"]);
        for commit in &commits {
            repo.git(&["rev-list", "--test-bitmap", commit]);
        }
        let fast = repo.git(&["rev-list", "--use-bitmap-index", "--objects", "--all", "--count"]);
        assert_eq!(fast, repo.git(&["rev-list", "--objects", "--all", "--count"]));
        let url = format!("file://{}", repo.path.display());
        git(repo.path.parent().unwrap(), &["clone", "-q", "--bare", &url, "copy.git"]);
        git(&repo.path.parent().unwrap().join("copy.git"), &["fsck", "--full"]);
        repo.git(&["repack", "-qad", "--write-midx", "-b"]);
    }
}

/// Objects that are no files.
struct Made(Vec<([u8; 20], u64)>);

impl Listing for Made {
    fn count(&self) -> u32 {
        self.0.len() as u32
    }

    fn id(&self, position: u32) -> Option<&[u8]> {
        Some(&self.0.get(position as usize)?.0)
    }

    fn offset(&self, position: u32) -> Option<u64> {
        Some(self.0.get(position as usize)?.1)
    }
}

#[test]
fn far_offsets_have_a_table_if_one_needs_it() {
    for (last, chunks) in [(u64::from(u32::MAX), 6), (1 << 32, 7)] {
        let offsets = [12, (1 << 31) - 1, 1 << 31, last];
        let made = Made(offsets.iter().zip(1..).map(|(offset, n)| ([n; 20], *offset)).collect());
        let packs = [MidxPack { name: "pack-a.idx", mtime: 0, objects: &made }];
        let (text, _) = write_midx(Vec::new(), 20, &packs, 0).unwrap();
        assert_eq!(text[6], chunks);
        let midx = Midx::parse(&text[..], 20).unwrap();
        let got: Vec<u64> = (0..4).map(|at| midx.at(at).unwrap().offset).collect();
        assert_eq!(got, offsets);
    }
}

#[test]
fn of_copies_the_right_one_is_taken() {
    let all = |offset| Made((1..4).map(|n| ([n; 20], offset + u64::from(n))).collect());
    let some = Made(vec![([2; 20], 500)]);
    let (a, b, c) = (all(100), all(200), all(300));
    let pack = |name, mtime, objects| MidxPack { name, mtime, objects };
    let taken = |packs: &[MidxPack<'_>], preferred| {
        let (text, _) = write_midx(Vec::new(), 20, packs, preferred).unwrap();
        let midx = Midx::parse(text, 20).unwrap();
        (0..midx.count()).map(|at| midx.at(at).unwrap().offset).collect::<Vec<_>>()
    };
    let four = [pack("c.idx", 7, &c), pack("b.idx", 9, &b), pack("a.idx", 9, &a), pack("d.idx", 1, &some)];
    assert_eq!(taken(&four, 0), [301, 302, 303], "the preferred one");
    assert_eq!(
        taken(&four, 3),
        [101, 500, 103],
        "the preferred one, else the newest, else the first by name"
    );
}

#[test]
fn a_writer_refuses_what_cannot_be() {
    let good = Made(vec![([1; 20], 12)]);
    let none = Made(Vec::new());
    let wild = Made(vec![([2; 20], 12), ([1; 20], 30)]);
    let write = |packs: &[(&str, &dyn Listing)], preferred| {
        let packs: Vec<_> =
            packs.iter().map(|(name, objects)| MidxPack { name, mtime: 0, objects: *objects }).collect();
        write_midx(Vec::new(), 20, &packs, preferred).map(|(text, _)| text)
    };
    assert!(write(&[("a.idx", &good), ("b.idx", &none)], 0).is_ok());
    assert!(write(&[("a.idx", &good), ("b.idx", &none)], 1).is_err());
    assert!(write(&[("a.idx", &good)], 1).is_err());
    assert!(write(&[], 0).is_err());
    assert!(write(&[("a.idx", &good), ("a.idx", &good)], 0).is_err());
    assert!(write(&[("a.pack", &good)], 0).is_err());
    assert!(write(&[("x/a.idx", &good)], 0).is_err());
    assert!(write(&[("a.idx", &wild)], 0).is_err());
}
