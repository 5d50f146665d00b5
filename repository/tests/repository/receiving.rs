//! Taking packs in and moving refs, with stock git as the other side and as the judge.

mod bounds;
mod checks;
mod connected;
mod refs;
mod rules;
mod twins;
mod unsound;
mod whole;

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
