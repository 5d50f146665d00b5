//! Indexes, reverse indexes and times of cruft packs.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn an_index_is_read_and_written_as_git_does() {
    for hash in HASHES {
        let repo = Repo::new(hash, 11, 60);
        repo.git(&["repack", "-qad"]);
        let index = repo.index();
        let text = fs::read(repo.file(".idx")).unwrap();
        let shown = String::from_utf8(git_in(&repo.path, &["show-index"], &text)).unwrap();
        let all = (0..index.count()).map(|at| IndexEntry {
            id: index.id(at).unwrap(),
            crc: index.crc(at).unwrap(),
            offset: index.offset(at).unwrap(),
        });
        let ours: String =
            all.clone().map(|e| format!("{} {} ({:08x})\n", e.offset, hex::encode(e.id), e.crc)).collect();
        assert_eq!(ours, shown);
        for (entry, at) in all.clone().zip(0..) {
            assert_eq!(index.find(entry.id), Some(at));
            assert_eq!(index.prefix(&hex::encode(entry.id)), Some(at..at + 1));
        }
        let beyond = index.count();
        assert_eq!((index.id(beyond), index.crc(beyond), index.offset(beyond)), (None, None, None));
        assert_eq!(write_index(Vec::new(), all.clone(), index.pack_checksum()).unwrap(), text);

        let text = fs::read(repo.file(".rev")).unwrap();
        let reverse = ReverseFile::parse(&text[..], repo.hash_len, index.count()).unwrap();
        reverse.verify().unwrap();
        assert_eq!(reverse.pack_checksum(), index.pack_checksum());
        let order = ranks(all.clone().map(|e| e.offset));
        assert_eq!(order, (0..index.count()).map(|rank| reverse.position(rank).unwrap()).collect::<Vec<_>>());
        assert_eq!(write_reverse(Vec::new(), order.into_iter(), index.pack_checksum()).unwrap(), text);
        for rank in 0..index.count() {
            let offset = index.offset(reverse.position(rank).unwrap()).unwrap();
            assert_eq!(reverse.rank(offset, |at| index.offset(at)), Some(rank));
            assert_eq!(reverse.rank(offset + 1, |at| index.offset(at)), None);
        }
    }
}

#[test]
fn far_offsets_are_read_and_written() {
    let ids: Vec<[u8; 20]> = (1..=6).map(|n| [n; 20]).collect();
    let offsets = [1 << 40, 12, (1 << 31) - 1, 1 << 31, u64::from(u32::MAX), 1 << 32];
    let all = ids.iter().zip(offsets).map(|(id, offset)| IndexEntry { id, crc: 7, offset });
    let text = write_index(Vec::new(), all, &[9; 20]).unwrap();
    let index = IndexFile::parse(&text[..], 20).unwrap();
    let got: Vec<u64> = (0..6).map(|at| index.offset(at).unwrap()).collect();
    assert_eq!(got, offsets);
    let dir = tempfile::tempdir().unwrap();
    let shown = git_in(dir.path(), &["show-index", "--object-format=sha1"], &text);
    let shown = String::from_utf8(shown).unwrap();
    let shown: Vec<&str> = shown.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(shown, offsets.map(|o| o.to_string()));
}

/// Leaves all but the branch `main` unreachable, and puts that into a cruft pack.
fn make_cruft(repo: &Repo) {
    repo.git(&["repack", "-qad"]);
    repo.git(&["branch", "-q", "-D", "b0", "b1", "b2", "b3"]);
    for tag in repo.git(&["tag"]).lines() {
        repo.git(&["tag", "-d", tag]);
    }
    repo.git(&["repack", "-d", "--cruft", "-q"]);
}

#[test]
fn times_of_a_cruft_pack_are_read_and_written() {
    for hash in HASHES {
        let repo = Repo::new(hash, 5, 60);
        // Loose objects of known ages.
        let dir = repo.path.join("objects");
        let mut ages = Vec::new();
        for n in 0..40u64 {
            let id =
                String::from_utf8(git_in(&repo.path, &["hash-object", "-w", "--stdin"], &n.to_le_bytes()));
            let id = id.unwrap().trim().to_owned();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + n * 1000);
            fs::File::open(dir.join(&id[..2]).join(&id[2..])).unwrap().set_modified(time).unwrap();
            ages.push((hex::decode(id).unwrap(), 1_600_000_000 + n as u32 * 1000));
        }
        make_cruft(&repo);
        let path = repo.file(".mtimes");
        let text = fs::read(&path).unwrap();
        let index = index_at(&path.with_extension("idx"), repo.hash_len);
        let times = MtimesFile::parse(&text[..], repo.hash_len, index.count()).unwrap();
        times.verify().unwrap();
        assert_eq!(times.pack_checksum(), index.pack_checksum());
        for (id, age) in &ages {
            assert_eq!(times.time(index.find(id).unwrap()), Some(*age));
        }
        assert_eq!(times.time(index.count()), None);
        let all = (0..index.count()).map(|at| times.time(at).unwrap());
        assert_eq!(write_mtimes(Vec::new(), all, index.pack_checksum()).unwrap(), text);

        // git throws away what our times say is old, and keeps the rest.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as u32;
        let young = |at: u32| at.is_multiple_of(3);
        let ours = (0..index.count()).map(|at| if young(at) { now } else { 1_000_000 });
        let ours = write_mtimes(Vec::new(), ours, index.pack_checksum()).unwrap();
        let solitary: Vec<u32> = ages.iter().map(|(id, _)| index.find(id).unwrap()).collect();
        let ids: Vec<String> = solitary.iter().map(|at| hex::encode(index.id(*at).unwrap())).collect();
        fs::remove_file(&path).unwrap();
        fs::write(&path, ours).unwrap();
        assert!(
            Command::new("git")
                .arg("-C")
                .arg(&repo.path)
                .args(["fsck", "--full"])
                .status()
                .unwrap()
                .success()
        );
        repo.git(&["repack", "-qd", "--cruft", "--cruft-expiration=2.days.ago"]);
        for (at, id) in solitary.iter().zip(ids) {
            let there = crate::support::git_raw(&repo.path, &["cat-file", "-e", &id], b"").status.success();
            assert_eq!(there, young(*at), "{id}");
        }
    }
}
