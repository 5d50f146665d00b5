//! Objects that nothing reaches: how old they are, and which of them go. They are kept in a pack of their own, with a time
//! for each (gitformat-pack, "Cruft packs"), until they are old enough.
//!
//! An object goes only if it was in such a pack already, and that for a while: so it was out of reach at two full repacks,
//! and nobody who was shown a ref that led to it is still waiting for it. Whatever an object that stays leads to stays.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use slipway_core::Oid;

use super::go_on;
use crate::bits::Bits;
use crate::error::Result;
use crate::formats::MtimesFile;
use crate::limits::LINKED_OBJECT_BYTES_MAX;
use crate::links::each_link;
use crate::mapped::Mapped;
use crate::marks::Marks;
use crate::object::{Kind, Objects};
use crate::pack::Pack;
use crate::packs::{PackSet, Place};
use crate::snapshot::Snapshot;

/// When objects go.
pub(super) struct Expiry {
    /// Those that were last written before this ...
    pub(super) before: SystemTime,
    /// ... and have been in a cruft pack since before this.
    pub(super) set_aside_before: SystemTime,
}

/// The objects that nothing reaches.
#[derive(Default)]
pub(super) struct Unreachable {
    /// When each was last written, by [`PackSet::rank`]; those that go are not among them.
    pub(super) times: HashMap<usize, u32>,
    /// Those that go.
    pub(super) dropped: HashSet<Oid>,
}

/// A pack that is looked through.
struct Source {
    number: u32,
    pack: Arc<Pack>,
    /// When it was written.
    written: u32,
    times: Option<MtimesFile<Mapped>>,
    /// What it has may go.
    may_go: bool,
}

impl Source {
    fn new(number: u32, pack: &Arc<Pack>, expiry: &Expiry) -> Self {
        let path = pack.path().with_extension("mtimes");
        let times = times_of(pack, &path);
        let set_aside = modified(&path).is_some_and(|at| at < expiry.set_aside_before);
        let written = modified(pack.path()).map_or(u32::MAX, seconds);
        Self { number, pack: pack.clone(), written, may_go: times.is_some() && set_aside, times }
    }

    fn time(&self, position: u32) -> u32 {
        self.times.as_ref().and_then(|times| times.time(position)).unwrap_or(self.written)
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

/// Seconds since 1970, as far as 32 bits go.
pub(super) fn seconds(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX))
}

/// The times of a cruft pack. A file that is broken, or another pack's, counts as none: then nothing goes.
fn times_of(pack: &Pack, path: &Path) -> Option<MtimesFile<Mapped>> {
    let data = Mapped::open(path).ok()?;
    let read = MtimesFile::parse(data, pack.hash_len(), pack.count()).and_then(|times| {
        times.verify()?;
        Ok(times)
    });
    match read {
        Ok(times) if times.pack_checksum() == pack.checksum().as_bytes() => Some(times),
        Ok(_) => None,
        Err(e) => {
            tracing::warn!(path = %path.display(), "the times of a cruft pack are not used: {e}");
            None
        }
    }
}

/// Finds them among the objects of the packs that `is_source` names. `ages`: when those were written that were loose until
/// now.
pub(super) fn unreachable(
    (snapshot, packs): (&Snapshot, &PackSet),
    is_source: &dyn Fn(&Pack) -> bool,
    reachable: &Marks,
    ages: &HashMap<Oid, u32>,
    expiry: &Expiry,
    stop: &AtomicBool,
) -> Result<Unreachable> {
    let numbered = packs.packs().iter().zip(0u32..);
    let sources: Vec<Source> = numbered
        .filter(|(pack, _)| is_source(pack))
        .map(|(pack, number)| Source::new(number, pack, expiry))
        .collect();
    let is_taken: HashSet<u32> = sources.iter().map(|s| s.number).collect();
    let mut found = Unreachable::default();
    let mut stays = Bits::default();
    for source in &sources {
        go_on(stop)?;
        for position in 0..source.pack.count() {
            let id = packs.id(Place { pack: source.number, position });
            let Some(place) = packs.locate(&id) else { continue };
            if reachable.has_place(packs, place) || !is_taken.contains(&place.pack) {
                continue;
            }
            let (age, is_fresh) = match ages.get(&id) {
                Some(age) => (*age, true),
                None => (source.time(position), !source.may_go),
            };
            let rank = packs.rank(place);
            let newest = found.times.entry(rank).or_insert(age);
            *newest = (*newest).max(age);
            if is_fresh {
                stays.put(rank);
            }
        }
    }
    let before = seconds(expiry.before);
    let old = |(rank, time): (&usize, &u32)| (*time < before && !stays.has(*rank)).then_some(*rank);
    let mut going: HashSet<usize> = found.times.iter().filter_map(old).collect();
    if !going.is_empty() {
        spare_what_is_needed(snapshot, packs, &found.times, &mut going, stop)?;
    }
    for rank in going {
        found.times.remove(&rank);
        found.dropped.insert(id_of_rank(packs, rank));
    }
    Ok(found)
}

fn id_of_rank(packs: &PackSet, rank: usize) -> Oid {
    packs.id(place_of_rank(packs, rank))
}

/// The place of a rank.
fn place_of_rank(packs: &PackSet, rank: usize) -> Place {
    let numbers = 0..packs.packs().len() as u32;
    let pack = numbers.into_iter().find(|n| packs.ranks(*n).contains(&rank)).unwrap_or(0);
    Place { pack, position: (rank - packs.ranks(pack).start) as u32 }
}

/// What stays must not lead to what goes.
fn spare_what_is_needed(
    snapshot: &Snapshot,
    packs: &PackSet,
    times: &HashMap<usize, u32>,
    going: &mut HashSet<usize>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut open: Vec<usize> = times.keys().copied().filter(|rank| !going.contains(rank)).collect();
    let mut data = Vec::new();
    while let Some(rank) = open.pop() {
        go_on(stop)?;
        let place = place_of_rank(packs, rank);
        let id = packs.id(place);
        if packs.header(place)?.0 == Kind::Blob {
            continue;
        }
        let Some(kind) = snapshot.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)? else { continue };
        let links = each_link(&id, kind, &data, &mut |target, _| {
            if let Some(rank) = packs.locate(&target).map(|place| packs.rank(place))
                && going.remove(&rank)
            {
                open.push(rank);
            }
            Ok(())
        });
        if let Err(e) = links {
            tracing::warn!("an object that nothing reaches is broken: {e}");
        }
    }
    Ok(())
}
