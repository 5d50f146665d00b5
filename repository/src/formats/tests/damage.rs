//! Files cut short or changed anywhere: nothing panics, nothing asks for more memory than the file's objects need.

use std::fs;

use super::*;
use crate::object::Kind;

/// Calls with the file cut at every place, and with every byte changed in some ways.
fn damaged(text: &[u8], mut read: impl FnMut(&[u8])) {
    read(text);
    (0..text.len()).for_each(|cut| read(&text[..cut]));
    let mut text = text.to_vec();
    for at in 0..text.len() {
        let byte = text[at];
        for other in [byte ^ 1, byte ^ 0x80, 0, 0xff] {
            text[at] = other;
            read(&text);
        }
        text[at] = byte;
    }
}

fn read_index(text: &[u8], hash_len: usize) -> bool {
    let Ok(index) = IndexFile::parse(text, hash_len) else { return false };
    for at in [0, 1, index.count() / 2, index.count().saturating_sub(1), index.count(), u32::MAX] {
        let id = index.id(at).unwrap_or(&[7; 20]);
        let _ = (index.find(id), index.prefix(&hex::encode(&id[..2])), index.crc(at), index.offset(at));
    }
    index.verify().is_ok()
}

fn read_midx(text: &[u8], hash_len: usize) -> bool {
    let Ok(midx) = Midx::parse(text, hash_len) else { return false };
    for at in [0, 1, midx.count() / 2, midx.count().saturating_sub(1), midx.count(), u32::MAX] {
        let id = midx.id(at).unwrap_or(&[7; 20]);
        let _ = (midx.find(id), midx.prefix(&hex::encode(&id[..2])));
        assert!(midx.at(at).map_or(true, |found| found.pack < midx.packs()), "a pack that is not there");
        let _ =
            (midx.position_of_bit(at), midx.bit_of_position(at), midx.bits_of_pack(at), midx.pack_name(at));
    }
    midx.verify().is_ok()
}

fn read_bitmaps(text: &[u8], hash_len: usize, objects: u32) -> bool {
    let Ok(file) = BitmapFile::parse(text, hash_len, objects) else { return false };
    for kind in [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag] {
        let _ = file.kind(kind).map(|bits| bits.decode());
    }
    for n in 0..file.len().min(40) {
        let _ = file.position(n).and_then(|position| file.find(position));
        if let Ok(bits) = file.reach(n) {
            assert!(bits.next_set(objects as usize).is_none(), "a bit beyond the objects");
        }
    }
    let _ = (file.name_hash(0), file.name_hash(objects));
    file.verify().is_ok()
}

#[test]
fn damaged_files_are_refused_or_read_with_care() {
    for hash in HASHES {
        let repo = Repo::new(hash, 6, 12);
        repo.git(&["repack", "-qad"]);
        repo.git(&["-c", "pack.writeBitmapLookupTable=true", "repack", "-qadb"]);
        let len = repo.hash_len;
        let index = fs::read(repo.file(".idx")).unwrap();
        let mut sound = 0;
        damaged(&index, |text| sound += usize::from(read_index(text, len)));
        let count = repo.index().count();
        let reverse = fs::read(repo.file(".rev")).unwrap();
        damaged(&reverse, |text| {
            let Ok(file) = ReverseFile::parse(text, len, count) else { return };
            (0..=count).for_each(|rank| assert!(file.position(rank).is_none_or(|at| at < count)));
            sound += usize::from(file.verify().is_ok());
        });
        let times = write_mtimes(Vec::new(), 0..count, &vec![1; len]).unwrap();
        damaged(&times, |text| {
            let Ok(file) = MtimesFile::parse(text, len, count) else { return };
            (0..=count).for_each(|at| assert!(file.time(at).is_some() || at == count));
            sound += usize::from(file.verify().is_ok());
        });
        // Unchanged; and a byte "changed" to what it was before.
        let same = |text: &[u8]| 1 + text.iter().filter(|byte| matches!(byte, 0 | 0xff)).count();
        assert_eq!(sound, same(&index) + same(&reverse) + same(&times), "a change that no checksum shows");
    }
}

#[test]
fn damaged_bitmaps_are_refused_or_read_with_care() {
    for (hash, table) in HASHES.into_iter().flat_map(|h| [(h, "true"), (h, "false")]) {
        let repo = Repo::new(hash, 6, 12);
        repo.git(&["-c", &format!("pack.writeBitmapLookupTable={table}"), "repack", "-qadb"]);
        let text = fs::read(repo.file(".bitmap")).unwrap();
        let count = repo.index().count();
        assert!(read_bitmaps(&text, repo.hash_len, count));
        read_bitmaps(&text, repo.hash_len, count - 1);
        damaged(&text, |text| {
            read_bitmaps(text, repo.hash_len, count);
        });
        read_bitmaps(&text, repo.hash_len, u32::MAX);
    }
}

#[test]
fn damaged_multi_pack_indexes_are_refused_or_read_with_care() {
    for hash in HASHES {
        let repo = Repo::new(hash, 6, 12);
        repo.git(&["repack", "-qd"]);
        repo.git(&["multi-pack-index", "write", "--bitmap"]);
        let text = fs::read(repo.packs_folder().join("multi-pack-index")).unwrap();
        assert!(read_midx(&text, repo.hash_len));
        assert!(!read_midx(&text, 52 - repo.hash_len), "the other hash");
        damaged(&text, |text| {
            read_midx(text, repo.hash_len);
        });
    }
}
