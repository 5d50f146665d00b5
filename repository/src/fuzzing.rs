//! Where fuzzers come in: every parser of this crate behind a function of bytes. Whatever the bytes, none may panic, hang, or
//! take memory that its input does not account for. Not part of the API: behind the feature `fuzzing`, which `fuzz/`
//! asks for; the tests below replay the seeds that are kept there.

mod packs;

use std::io;
use std::path::Path;

use slipway_core::{Oid, RefName};

use crate::delta::create::{DeltaIndex, create};
use crate::delta::{apply, copies};
use crate::formats::commit_graph::CommitGraph;
use crate::formats::commit_graph::bloom::PathKeys;
use crate::formats::{BitmapFile, Ewah, IndexFile, Midx, MtimesFile, ReverseFile, ewah_encode};
use crate::inflate::{Source, inflate_exact, inflate_prefix};
use crate::links::{TreeEntries, commit_head, each_link, tag_target};
use crate::object::Kind;
use crate::send::Sparse;
use crate::settings::{Settings, parse};

/// A parser as a fuzzer sees it.
pub type Target = fn(&[u8]);

/// All of them, by name: that of the fuzz target and of the folder of its seeds.
pub const TARGETS: [(&str, Target); 17] = [
    ("bitmap", bitmap),
    ("commit_graph", commit_graph),
    ("config", config),
    ("delta_apply", delta_apply),
    ("delta_create", delta_create),
    ("ewah", ewah),
    ("index", index),
    ("loose", loose),
    ("midx", midx),
    ("mtimes", mtimes),
    ("object", object),
    ("pack_header", pack_header),
    ("pack_stream", packs::pack_stream),
    ("packed_refs", packed_refs),
    ("ref_name", ref_name),
    ("reverse", reverse),
    ("sparse", sparse),
];

/// Gives bytes to the target of that name.
///
/// # Panics
/// If there is none, and if it does what it must not.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("there is no target {name}")).1(data);
}

const KINDS: [Kind; 4] = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];
/// The largest result of a delta that is asked for, in bytes.
const RESULT_MAX: u64 = 1 << 20;

/// The first byte chooses the hash; the rest is the file.
fn hashed(data: &[u8]) -> (usize, &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, data));
    (if first & 1 == 0 { 20 } else { 32 }, rest)
}

/// As [`hashed`], behind a number of objects in two bytes.
fn counted(data: &[u8]) -> (u32, usize, &[u8]) {
    let (count, rest) = data.split_first_chunk().unwrap_or((&[0, 0], data));
    let (hash_len, rest) = hashed(rest);
    (u32::from(u16::from_be_bytes(*count)), hash_len, rest)
}

/// Numbers at both ends of what there is, and beyond.
fn places(count: u32) -> impl Iterator<Item = u32> {
    (0..count.min(40)).chain([count / 2, count.saturating_sub(1), count, u32::MAX])
}

fn index(data: &[u8]) {
    let (hash_len, data) = hashed(data);
    let Ok(file) = IndexFile::parse(data, hash_len) else { return };
    for at in places(file.count()) {
        let id = file.id(at).unwrap_or(&[7; 20]);
        let _ = (file.find(id), file.prefix(&hex::encode(id)), file.crc(at), file.offset(at));
    }
    let _ = (file.verify(), file.pack_checksum());
}

fn reverse(data: &[u8]) {
    let (count, hash_len, data) = counted(data);
    let Ok(file) = ReverseFile::parse(data, hash_len, count) else { return };
    places(count).for_each(|rank| assert!(file.position(rank).is_none_or(|at| at < count)));
    let _ = (file.rank(12, |at| Some(u64::from(at) * 7)), file.verify(), file.pack_checksum());
}

fn mtimes(data: &[u8]) {
    let (count, hash_len, data) = counted(data);
    let Ok(file) = MtimesFile::parse(data, hash_len, count) else { return };
    places(count).for_each(|at| assert_eq!(file.time(at).is_some(), at < count));
    let _ = (file.verify(), file.pack_checksum());
}

fn midx(data: &[u8]) {
    let (hash_len, data) = hashed(data);
    let Ok(file) = Midx::parse(data, hash_len) else { return };
    for at in places(file.count()) {
        let id = file.id(at).unwrap_or(&[7; 20]);
        let _ = (file.find(id), file.prefix(&hex::encode(id)));
        if let Ok(found) = file.at(at) {
            assert!(found.pack < file.packs(), "a pack that is not there");
            let _ = file.bit_of_place(found.pack, found.offset);
        }
        let _ = (file.position_of_bit(at), file.bit_of_position(at));
    }
    for pack in places(file.packs()) {
        let _ = (file.pack_name(pack), file.bits_of_pack(pack));
    }
    let _ = (file.preferred_pack(), file.has_bits(), file.verify(), file.checksum());
}

fn bitmap(data: &[u8]) {
    let (count, hash_len, data) = counted(data);
    let Ok(file) = BitmapFile::parse(data, hash_len, count) else { return };
    for kind in KINDS {
        let _ = file.kind(kind).map(|bits| bits.decode());
    }
    for n in places(file.len()) {
        let _ = file.position(n).and_then(|position| file.find(position));
        if let Ok(bits) = file.reach(n) {
            assert!(bits.next_set(count as usize).is_none(), "a bit beyond the objects");
        }
    }
    places(count).for_each(|at| assert!(at < count || file.name_hash(at).is_none()));
    let _ = (file.verify(), file.checksum());
}

fn ewah(data: &[u8]) {
    let (limit, data) = data.split_first_chunk().unwrap_or((&[0, 0], data));
    let limit = u32::from(u16::from_be_bytes(*limit));
    let Ok((bits, _)) = Ewah::parse(data, limit) else { return };
    let Ok(decoded) = bits.decode() else { return };
    assert!(decoded.next_set(limit as usize).is_none(), "a bit beyond the limit");
    let again = ewah_encode(&decoded, limit);
    let (again, _) =
        Ewah::parse(&again, limit).unwrap_or_else(|e| panic!("what was written is not read: {e}"));
    let mut rest = again.decode().unwrap_or_else(|e| panic!("what was written is not read: {e}"));
    assert!(bits.xor_into(&mut rest).is_ok(), "what was decoded is not");
    assert_eq!(rest.next_set(0), None, "another set of bits");
}

fn commit_graph(data: &[u8]) {
    let (hash_len, data) = hashed(data);
    let Ok(graph) = CommitGraph::new([data], hash_len) else { return };
    let (keys, mut parents) = (PathKeys::new(b"a/b"), Vec::new());
    for at in places(graph.len()) {
        if let Ok(id) = graph.id_at(at) {
            let _ = graph.lookup(&id);
        }
        let _ = (graph.tree(at), graph.date(at), graph.level(at), graph.corrected_date(at));
        let _ = (graph.may_have_changed(at, &keys), graph.filter(at));
        if graph.parents(at, &mut parents).is_ok() {
            assert!(parents.iter().all(|parent| *parent < graph.len()), "a parent that is not there");
        }
    }
    let _ = (graph.layers(), graph.checksums_hold());
}

fn pack_header(data: &[u8]) {
    let (hash_len, data) = hashed(data);
    for offset in [0, 12, 1 << 20, u64::from(u32::MAX)] {
        let Some(header) = crate::pack::parse_header(data, offset, hash_len) else { continue };
        assert!(header.data_offset > offset && header.data_offset - offset <= data.len() as u64);
    }
}

/// The first two bytes are the length of the base.
fn split(data: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = data.split_first_chunk().unwrap_or((&[0, 0], data));
    rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()))
}

fn delta_apply(data: &[u8]) {
    let (base, delta) = split(data);
    let mut out = Vec::new();
    if apply(base, delta, RESULT_MAX, &mut out).is_ok() {
        for part in copies(delta) {
            assert_eq!(base[part.from..][..part.len], out[part.to..][..part.len], "a copy that is none");
        }
    }
    copies(data).take(data.len()).for_each(drop);
}

fn delta_create(data: &[u8]) {
    let (base, target) = split(data);
    let Some(delta) = create(&DeltaIndex::new(base), target, usize::MAX) else { return };
    let mut out = Vec::new();
    assert_eq!(apply(base, &delta, RESULT_MAX, &mut out), Ok(()));
    assert_eq!(out, target, "a delta that makes something else");
    if let Some(short) = create(&DeltaIndex::new(base), target, delta.len().saturating_sub(1)) {
        assert!(short.len() < delta.len(), "longer than was asked for");
    }
}

/// The first byte chooses the kind and the hash.
fn object(data: &[u8]) {
    let (hash_len, text) = hashed(data);
    let kind = KINDS[usize::from(data.first().unwrap_or(&0) >> 1 & 3)];
    let id = if hash_len == 20 { Oid::Sha1([1; 20]) } else { Oid::Sha256([1; 32]) };
    let _ = crate::check::check(kind, text, hash_len, &mut crate::check::Strict);
    let _ = (commit_head(text), tag_target(text));
    TreeEntries::new(text, hash_len).flatten().for_each(|entry| drop(crate::check::entry(&entry)));
    let _ = each_link(&id, kind, text, &mut |_, _| Ok(()));
}

fn packed_refs(data: &[u8]) {
    let _ = crate::refs::parse_packed(Path::new("packed-refs"), data);
}

fn config(data: &[u8]) {
    let Ok(entries) = parse(Path::new("config"), data) else { return };
    let mut settings = Settings::default();
    for (key, value) in &entries {
        let _ = settings.take(key, value.as_deref());
    }
    let _ = settings.hidden_from_fetch.hides("refs/heads/main");
}

/// The patterns, and behind a NUL a path.
fn sparse(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (patterns, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"a/b"));
    if let Ok(sparse) = Sparse::parse(patterns) {
        let _ = (sparse.matches(path, true), sparse.matches(path, false));
    }
}

fn ref_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = RefName::parse(text) {
        assert_eq!(name.as_str(), text);
        let safe = text.split('/').all(|part| !part.is_empty() && part != ".." && part != ".");
        assert!(safe && !text.contains(['\0', '\n', '\\']), "a name that leads elsewhere");
    }
    let _ = (Oid::parse(text), slipway_core::RepoName::parse(text));
}

struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let len = buffer.len().min(self.0.len() - at);
        buffer[..len].copy_from_slice(&self.0[at..][..len]);
        Ok(len)
    }
}

fn loose(data: &[u8]) {
    let mut out = Vec::new();
    if inflate_prefix(&Bytes(data), 0, 32, &mut out, false).is_err() {
        return;
    }
    let Some((_, size, header_len)) = crate::loose::parse(&out) else { return };
    out.clear();
    let size = size.saturating_add(header_len as u64);
    if let Ok(whole) = inflate_prefix(&Bytes(data), 0, size, &mut out, true) {
        assert_eq!(out.len() as u64 == size, whole);
    }
    // What a header says of a size may be believed only as far as bytes come.
    let most = (data.len() as u64 + 1) * 1100 + (4 << 20);
    assert!((out.capacity() as u64) < most, "{} bytes for {}", out.capacity(), data.len());
    let _ = inflate_exact(&Bytes(data), 0, size, &mut out);
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_taken_without_harm() {
        seeds::are_taken(&TARGETS);
    }
}
