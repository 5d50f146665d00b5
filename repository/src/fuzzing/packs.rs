//! Packs as a fuzzer makes them. Bytes alone would hardly ever be a pack (checksums, zlib), so they are read as a list of
//! entries to write, sound or not, and the pack made of them is received.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix::hash::{Kind as HashKind, hasher};
use slipway_core::{ObjectFormat, Oid, RepoId};

use crate::pack::{write_distance, write_type_and_size};
use crate::{ReceiveLimits, Repositories, Repository};

/// Receives the pack that `data` describes.
pub(super) fn pack_stream(data: &[u8]) {
    let Some(pack) = build(data) else { return };
    let limits = ReceiveLimits {
        pack_bytes_max: 1 << 20,
        objects_max: 1000,
        object_bytes_max: 1 << 20,
        depth_max: 20,
        ..ReceiveLimits::default()
    };
    let stop = AtomicBool::new(false);
    let Ok(received) = repository().receive(&mut &pack[..], &limits, &|_| {}, &stop) else { return };
    let _ = received.check_connected(&[Oid::Sha1([1; 20])], &stop);
}

/// One repository for all runs: nothing is ever published in it.
fn repository() -> &'static Repository {
    static REPOSITORY: OnceLock<std::sync::Arc<Repository>> = OnceLock::new();
    REPOSITORY.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("slipway-fuzzing-{}", std::process::id()));
        let made = Repositories::open(&folder).and_then(|all| all.create(RepoId(1), ObjectFormat::Sha1));
        made.unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
    })
}

/// One byte says what an entry is and what is wrong with it, one what it leans on, one how long it is; then its content.
fn build(data: &[u8]) -> Option<Vec<u8>> {
    let (&flaws, mut rest) = data.split_first()?;
    let mut out = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    let mut starts: Vec<usize> = Vec::new();
    let mut ids: Vec<Oid> = Vec::new();
    while let [kind, base, len, tail @ ..] = rest {
        let (content, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        let (code, start) = (kind & 7, out.len());
        let lie = match kind >> 6 {
            1 => 1,
            2 => u64::from(*base) << 24,
            _ => 0,
        };
        write_type_and_size(code, content.len() as u64 + lie, &mut out);
        if code == 6 {
            let before = starts.get(usize::from(*base) % starts.len().max(1)).copied().unwrap_or(0);
            write_distance((start - before) as u64, &mut out);
        } else if code == 7 {
            let known = ids.get(usize::from(*base) % ids.len().max(1)).copied();
            out.extend_from_slice(known.unwrap_or(Oid::Sha1([*base; 20])).as_bytes());
        }
        starts.push(start);
        let name = [&b""[..], b"commit", b"tree", b"blob", b"tag"].get(usize::from(code)).copied();
        ids.extend(name.and_then(|name| id(name, content)));
        deflate(content, &mut out).ok()?;
    }
    let count = (starts.len() as u32).wrapping_add(u32::from(flaws & 3 == 3));
    out[8..12].copy_from_slice(&count.to_be_bytes());
    if flaws & 12 == 12 {
        let at = usize::from(flaws) * 7 % out.len();
        out[at] ^= flaws;
    }
    let sum = digest(&[&out])?;
    out.extend_from_slice(sum.as_bytes());
    if flaws & 48 == 48 {
        out.truncate(out.len() - usize::from(flaws & 15));
    }
    Some(out)
}

fn id(kind: &[u8], content: &[u8]) -> Option<Oid> {
    digest(&[kind, b" ", content.len().to_string().as_bytes(), b"\0", content])
}

fn digest(parts: &[&[u8]]) -> Option<Oid> {
    let mut hash = hasher(HashKind::Sha1);
    parts.iter().for_each(|part| hash.update(part));
    Oid::from_bytes(hash.try_finalize().ok()?.as_bytes())
}

fn deflate(content: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut zlib = ZlibEncoder::new(out, Compression::fast());
    zlib.write_all(content)?;
    zlib.finish().map(drop)
}
