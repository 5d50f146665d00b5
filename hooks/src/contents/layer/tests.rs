//! Layers as they should be, and as nobody should make them.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::registry::digest_of;

/// An archive of these files: path, mode, content.
pub(crate) fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_cksum();
        builder.append_data(&mut header, path, *content).expect("an entry");
    }
    builder.into_inner().expect("an archive")
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

pub(crate) fn layer(bytes: &[u8]) -> Layer {
    let budget = Budget::new(Instant::now() + Duration::from_secs(60));
    read(bytes, &digest_of(bytes), budget).0
}

/// A header with any name, as it is.
fn raw(name: &[u8], kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut all = header.as_bytes().to_vec();
    all.extend_from_slice(content);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

const APK: &[u8] = b"P:musl\nV:1.2.5-r0\nA:x86_64\n";

#[test]
fn a_layer_says_the_same_however_it_is_packed() {
    let long = format!("usr/lib/{}/x-1.dist-info/METADATA", "d".repeat(150));
    let plain = archive(&[
        ("./lib/apk/db/installed", 0o644, APK),
        (&long, 0o644, b"Name: X\nVersion: 1\n"),
        ("etc/.wh.gone", 0o644, b""),
        ("opt/.wh..wh..opq", 0o644, b""),
        (".wh.top", 0o644, b""),
    ]);
    let zstd = ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    for bytes in
        [plain.clone(), zipped(&plain), [zipped(&plain[..1024]), zipped(&plain[1024..])].concat(), zstd]
    {
        let read = layer(&bytes);
        assert!(read.is_whole() && read.notes.is_empty(), "{:?}", read.notes);
        assert_eq!(read.said.keys().collect::<Vec<_>>(), ["lib/apk/db/installed", &long]);
        assert_eq!(
            (&read.gone[..], &read.emptied[..]),
            (&["etc/gone".into(), "top".into()][..], &["opt".into()][..])
        );
        assert!(read.covers("lib/apk/db/installed") && read.covers("lib/apk/db/installed/below"));
        assert!(!read.covers("lib/apk/db") && !read.covers("lib/apk"));
    }
}

#[test]
fn other_bytes_than_those_of_the_digest_say_nothing() {
    let bytes = archive(&[("lib/apk/db/installed", 0o644, APK)]);
    let budget = Budget::new(Instant::now() + Duration::from_secs(60));
    let (read, _) = read(&bytes[..], &digest_of(b"other"), budget);
    assert!(read.said.is_empty() && !read.is_whole(), "{read:?}");
}

#[test]
fn names_that_lead_out_links_and_lies_are_left_out() {
    let mut bytes = raw(b"./", EntryType::Directory, b"");
    bytes.extend(raw(b"../lib/apk/db/installed", EntryType::Regular, APK));
    bytes.extend(raw(b"/lib/apk/db/installed", EntryType::Symlink, b""));
    bytes.extend(raw(b"a/../../var/lib/dpkg/status", EntryType::Regular, b"Package: x\nVersion: 1\n"));
    // A name in an extension, which the next entry has.
    let record = b"30 path=lib/apk/db/installed\n\x00".to_vec();
    let record =
        [format!("{} path=lib/apk/db/installed\n", record.len() - 1).into_bytes(), Vec::new()].concat();
    bytes.extend(raw(b"pax", EntryType::XHeader, &record));
    bytes.extend(raw(b"short", EntryType::Regular, APK));
    bytes.extend([0; 1024]);
    let read = layer(&bytes);
    assert_eq!(read.notes.len(), 2, "{:?}", read.notes);
    assert_eq!(read.said.keys().collect::<Vec<_>>(), ["lib/apk/db/installed"]);
}

#[test]
fn an_extension_of_any_size_is_not_taken_into_memory() {
    let huge = vec![b'a'; 64 << 20];
    let mut bytes = raw(b"././@LongLink", EntryType::GNULongName, &huge);
    bytes.extend(raw(b"lib/apk/db/installed", EntryType::Regular, APK));
    bytes.extend([0; 1024]);
    let read = layer(&zipped(&bytes));
    assert_eq!(read.said.len(), 1, "the short name has to do: {:?}", read.notes);
    for cut in [1, 511, 700, bytes.len() - 1500] {
        let read = layer(&bytes[..cut]);
        assert!(read.said.len() <= 1);
    }
    layer(b"nonsense that is no archive");
    layer(&[0x1f, 0x8b, 8, 0, 1, 2, 3]);
    layer(&[0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff]);
    layer(b"");
}

#[test]
fn too_much_of_anything_ends_the_reading_with_a_word() {
    let bytes = archive(&[("a", 0o644, &[0; 4096]), ("lib/apk/db/installed", 0o644, APK)]);
    let digest = digest_of(&bytes);
    let whole = Budget::new(Instant::now() + Duration::from_secs(60));
    for (budget, word) in [
        (Budget { bytes: 2000, ..whole }, "when it is unpacked"),
        (Budget { entries: 1, ..whole }, "files"),
        (Budget { packages: 0, ..whole }, "packages"),
    ] {
        let (read, left) = read(&bytes[..], &digest, budget);
        assert!(read.notes.iter().any(|note| note.contains(word)), "{word}: {:?}", read.notes);
        assert!(left.bytes <= budget.bytes);
    }
    let (read, _) = read(&bytes[..], &digest, Budget { until: Instant::now(), ..whole });
    assert!(!read.is_whole());
}

#[test]
fn whatever_bytes_a_layer_has_reading_it_ends() {
    let plain = archive(&[
        ("lib/apk/db/installed", 0o644, APK),
        ("var/lib/dpkg/status", 0o644, b"Package: a\nVersion: 1\nArchitecture: amd64\n"),
        ("usr/bin/app", 0o755, &[b"\x7fELF".as_slice(), &[0; 2000]].concat()),
        ("a/node_modules/b/package.json", 0o644, br#"{"name":"b","version":"1"}"#),
        ("x.jar", 0o644, b"PK\x03\x04nonsense"),
    ]);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut chance = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("fits")
    };
    for round in 0..600 {
        let mut bytes = if round % 2 == 0 { plain.clone() } else { zipped(&plain) };
        for _ in 0..=chance(6) {
            let at = chance(bytes.len());
            bytes[at] = u8::try_from(chance(256)).expect("a byte");
        }
        bytes.truncate(bytes.len() - chance(bytes.len() / 2));
        let read = layer(&bytes);
        assert!(read.said.len() <= 5 && read.notes.len() <= LAYER_NOTES_MAX);
    }
}
