//! Writes one pack of all objects of several, each once. Entries are copied as they are, checked against the checksums of
//! the indexes they come from; a delta whose base moved names it by its new distance.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::Oid;

use super::go_on;
use crate::digest::Digest;
use crate::durable::{make_inner, sync_folder};
use crate::error::{RepoError, Result};
use crate::formats::{IndexEntry, write_index, write_mtimes, write_reverse};
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::marks::Marks;
use crate::packs::{PackSet, Place};
use crate::quarantine::Quarantine;
use crate::send::plan::{Item, Plan, Reads, plan_from};
use crate::send::prepare::prepare;
use crate::send::recipe::Recipe;
use crate::send::selected::Selected;
use crate::snapshot::Snapshot;

/// One entry of the new pack.
pub(super) struct Entry {
    /// Where the object was found.
    pub(super) place: Place,
    /// Where it is in the new pack.
    pub(super) offset: u64,
    /// The checksum of its bytes there.
    pub(super) crc: u32,
    /// The bytes are those that were stored: so must be their checksum.
    pub(super) copied: bool,
}

/// The age of each object: when it was last written, in seconds since 1970.
pub(super) type Ages<'a> = &'a dyn Fn(&PackSet, Place) -> u32;

/// Writes the pack, durable on return, and says where it is.
pub(super) fn combine(snapshot: &Snapshot, packs: Arc<PackSet>, stop: &AtomicBool) -> Result<PathBuf> {
    let mut taken = Marks::for_packs(&packs);
    for (pack, number) in packs.packs().iter().zip(0u32..) {
        for position in 0..pack.count() {
            let place = Place { pack: number, position };
            if packs.packs().len() == 1 || packs.locate(&packs.id(place)) == Some(place) {
                taken.put_rank(packs.rank(place));
            }
        }
        go_on(stop)?;
    }
    write(snapshot, packs, taken, None, stop)
}

/// Writes a pack of these objects, all of them packed; a cruft pack if their ages are told.
pub(super) fn write(
    snapshot: &Snapshot,
    packs: Arc<PackSet>,
    taken: Marks,
    ages: Option<Ages<'_>>,
    stop: &AtomicBool,
) -> Result<PathBuf> {
    let selected = Selected::just(Arc::new(taken));
    let plan = plan_from(packs, &selected, Reads { ofs: true, thin: false, stores: true }, stop)?;
    let (recipe, begun) = prepare(snapshot, &plan, stop)?;
    let mut entries = entries(&plan, &begun)?;
    drop(begun);
    let quarantine = Quarantine::new(&snapshot.objects)?;
    let path = quarantine.path().join("combined.pack");
    let sum = write_pack(&recipe, &path, &mut entries, stop)?;
    check(&plan, &entries)?;
    write_indexes(&plan.packs, entries, &path, &sum, ages)?;
    go_on(stop)?;
    publish(&path, &snapshot.objects.join("pack"), &sum)
}

/// All entries in the order in which they are written.
fn entries(plan: &Plan, begun: &[u64]) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(plan.count as usize);
    for (item, begun) in plan.items.iter().zip(begun) {
        match *item {
            Item::Run { pack, start, end } | Item::Early { pack, start, end } => {
                let stored = &plan.packs.packs()[pack as usize];
                let mut rank = stored
                    .rank_of(start)
                    .ok_or_else(|| stored.broken(start, "its index has no such entry"))?;
                while rank < stored.count() as usize {
                    let position = stored.at_rank(rank);
                    let offset = stored.offset_at(position);
                    if offset >= end {
                        break;
                    }
                    let place = Place { pack, position };
                    entries.push(Entry { place, offset: begun + (offset - start), crc: 0, copied: true });
                    rank += 1;
                }
            }
            Item::Delta { pack, start, .. } => {
                let stored = &plan.packs.packs()[pack as usize];
                let rank = stored.rank_of(start);
                let rank = rank.ok_or_else(|| stored.broken(start, "its index has no such entry"))?;
                let place = Place { pack, position: stored.at_rank(rank) };
                entries.push(Entry { place, offset: *begun, crc: 0, copied: false });
            }
            Item::Whole { place, .. } => {
                entries.push(Entry { place, offset: *begun, crc: 0, copied: false });
            }
            Item::Loose(_) => {
                return Err(RepoError::Invalid { what: "a loose object among packed ones".into() });
            }
        }
    }
    Ok(entries)
}

/// Writes the bytes, and fills in the checksums of the entries. Gives the checksum of the pack.
fn write_pack(recipe: &Recipe, path: &Path, entries: &mut [Entry], stop: &AtomicBool) -> Result<Oid> {
    let failed = |e| RepoError::io("write", path)(e);
    let mut file = File::create_new(path).map_err(failed)?;
    let mut hash = Digest::new(recipe.format());
    let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
    let (mut at, mut piece, mut next) = (0u64, 0, 0);
    let mut crc = flate2::Crc::new();
    while at < recipe.len() {
        go_on(stop)?;
        let got = recipe.read(&mut buffer, at, &mut piece, false)?.unwrap_or_default();
        let bytes = &buffer[..got];
        hash.update(bytes);
        file.write_all(bytes).map_err(failed)?;
        let mut from = 0;
        while from < got {
            // Up to where the next entry begins; what comes before the first is the pack's header.
            let border = entries.get(next).map_or(u64::MAX, |e| e.offset);
            let upto = usize::try_from(border.saturating_sub(at)).unwrap_or(usize::MAX).min(got);
            crc.update(&bytes[from..upto]);
            from = upto;
            if at + upto as u64 == border {
                if let Some(before) = next.checked_sub(1) {
                    entries[before].crc = crc.sum();
                }
                crc.reset();
                next += 1;
            }
        }
        at += got as u64;
    }
    if let Some(last) = next.checked_sub(1) {
        entries[last].crc = crc.sum();
    }
    let sum = hash.finish();
    file.write_all(sum.as_bytes()).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(sum)
}

/// Bytes that were copied must be what they were when they came.
fn check(plan: &Plan, entries: &[Entry]) -> Result<()> {
    for entry in entries.iter().filter(|e| e.copied) {
        let stored = plan.packs.pack(entry.place);
        if stored.crc_at(entry.place.position).is_some_and(|crc| crc != entry.crc) {
            let offset = stored.offset_at(entry.place.position);
            return Err(stored.broken(offset, "its bytes do not match the index's checksum"));
        }
    }
    Ok(())
}

/// Writes what stands beside a pack, flushed.
pub(super) fn write_indexes(
    packs: &PackSet,
    mut entries: Vec<Entry>,
    pack: &Path,
    sum: &Oid,
    ages: Option<Ages<'_>>,
) -> Result<()> {
    let sum = sum.as_bytes();
    let id = |place: Place| packs.pack(place).id_at(place.position).as_bytes();
    entries.sort_unstable_by(|a, b| id(a.place).cmp(id(b.place)));
    if let Some(ages) = ages {
        let ages = entries.iter().map(|e| ages(packs, e.place));
        durable(&pack.with_extension("mtimes"), |out| write_mtimes(out, ages, sum).map(drop))?;
    }
    let rows = entries.iter().map(|e| IndexEntry { id: id(e.place), crc: e.crc, offset: e.offset });
    durable(&pack.with_extension("idx"), |out| write_index(out, rows, sum).map(drop))?;
    let ranks = crate::formats::ranks(entries.iter().map(|e| e.offset));
    durable(&pack.with_extension("rev"), |out| write_reverse(out, ranks.into_iter(), sum).map(drop))
}

/// Writes a file that nobody changes any more, flushed.
pub(super) fn durable(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        fill(&mut file)?;
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
        file.sync_all()
    };
    write().map_err(RepoError::io("write", path))
}

/// Moves the files to where they are found, the index last.
pub(super) fn publish(from: &Path, folder: &Path, sum: &Oid) -> Result<PathBuf> {
    make_inner(folder).map_err(RepoError::io("create", folder))?;
    let target = folder.join(format!("pack-{sum}.pack"));
    for extension in ["mtimes", "pack", "rev", "idx"] {
        let (from, to) = (from.with_extension(extension), target.with_extension(extension));
        match fs::rename(from, &to) {
            // Only a cruft pack has ages.
            Err(e) if extension == "mtimes" && e.kind() == ErrorKind::NotFound => {}
            done => done.map_err(RepoError::io("rename", &to))?,
        }
    }
    sync_folder(folder)?;
    Ok(target)
}
