//! Deltas made for an answer, for objects whose stored delta is of no use there: its base is not sent, and the client does
//! not have it.
//!
//! A client that has an older version of the same path gets the difference from that. Who has nothing gets differences
//! among what is sent, searched for as when a repository is packed.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::bufread::ZlibEncoder;
use slipway_core::Oid;

use super::parts::Body;
use super::plan::{Item, Plan};
use super::selected::Selected;
use crate::delta::create::{DeltaIndex, create};
use crate::delta::search::{Candidate, Outcome, Role, Settings, search};
use crate::error::{RepoError, Result};
use crate::formats::name_hash;
use crate::limits::{FRESH_BYTES_MAX, FRESH_OBJECT_BYTES_MAX, FRESH_OBJECTS_MAX, LINKED_OBJECT_BYTES_MAX};
use crate::links::TreeEntries;
use crate::object::{Kind, Objects};
use crate::packs::{PackSet, Place};
use crate::snapshot::Snapshot;

/// A delta, and what it is a delta on.
pub(crate) struct Fresh {
    pub(crate) base: Oid,
    pub(crate) body: Arc<Body>,
}

/// Makes deltas for the objects of a plan that would be sent whole though they are stored as deltas.
pub(crate) fn fresh(
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    stop: &AtomicBool,
) -> Result<HashMap<Place, Fresh>> {
    let wholes: Vec<Place> = plan
        .items
        .iter()
        .filter_map(|item| if let Item::Whole { place, .. } = item { Some(*place) } else { None })
        .collect();
    if wholes.is_empty() {
        return Ok(HashMap::new());
    }
    let Some(selected) = plan.versions else { return among(snapshot, plan, wholes, stop) };
    let packs = &plan.packs;
    Versions { snapshot, packs, selected, bytes: 0, buffers: Default::default() }.deltas(&wholes, stop)
}

/// Differences from the latest versions that the client has. Versions that are in the answer are no bases: those are
/// mostly stored as deltas on the later ones.
struct Versions<'a> {
    snapshot: &'a Snapshot,
    packs: &'a PackSet,
    selected: &'a Selected,
    /// Bytes of deltas made.
    bytes: u64,
    buffers: (Vec<u8>, Vec<u8>),
}

impl Versions<'_> {
    fn deltas(mut self, wholes: &[Place], stop: &AtomicBool) -> Result<HashMap<Place, Fresh>> {
        let mut found = HashMap::with_capacity(wholes.len());
        for place in wholes {
            if stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            let id = self.packs.id(*place);
            let Some(base) = self.base(&id) else { continue };
            if let Some(body) = self.body(&id, *place, &base)? {
                found.insert(*place, Fresh { base, body });
            }
        }
        Ok(found)
    }

    fn base(&self, id: &Oid) -> Option<Oid> {
        let Selected { twins, edge, taken, .. } = self.selected;
        let mut twin = twins.get(id)?;
        // One that is in the answer may build on this very object, whatever the client has.
        while !edge.alone_has(self.packs, taken, &twin.was) {
            // Turns descend, so that this has an end.
            twin = twins.get(&twin.was).filter(|earlier| earlier.turn < twin.turn)?;
        }
        Some(twin.was)
    }

    /// The delta, from what is kept or made now; `None` if it does not pay.
    fn body(&mut self, id: &Oid, place: Place, base: &Oid) -> Result<Option<Arc<Body>>> {
        let kept = &self.snapshot.findings.answers.recipes.parts.bodies;
        let key = (*id, Some(*base));
        if let Some(body) = kept.get(&key) {
            return Ok(body);
        }
        let small = |size: u64| size <= FRESH_OBJECT_BYTES_MAX;
        let (kind, size) = self.packs.header(place)?;
        let like = |other: Option<(Kind, u64)>| other.is_some_and(|(k, size)| k == kind && small(size));
        if !small(size) || !like(self.snapshot.object_size(base)?) || self.bytes > FRESH_BYTES_MAX {
            return Ok(None);
        }
        let (new, old) = &mut self.buffers;
        self.packs.read(place, FRESH_OBJECT_BYTES_MAX, new)?;
        self.snapshot.read(base, FRESH_OBJECT_BYTES_MAX, old)?;
        // Less than half, or it does not pay: what is whole packs well too.
        let delta = create(&DeltaIndex::new(old.as_slice()), new, new.len() / 2);
        let body = delta.map(|delta| deflate(&delta).map(Arc::new)).transpose()?;
        self.bytes += body.as_ref().map_or(0, |body| body.size);
        kept.put(key, body.clone());
        Ok(body)
    }
}

/// Compresses what an entry is to hold.
pub(crate) fn deflate(data: &[u8]) -> Result<Body> {
    let mut deflated = Vec::with_capacity(data.len() / 2 + 64);
    ZlibEncoder::new(data, Compression::default())
        .read_to_end(&mut deflated)
        .map_err(|e| RepoError::Invalid { what: format!("compressing failed: {e}") })?;
    Ok(Body { size: data.len() as u64, deflated: deflated.into() })
}

/// Differences among the objects of the answer, unless there are too many.
fn among(
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    wholes: Vec<Place>,
    stop: &AtomicBool,
) -> Result<HashMap<Place, Fresh>> {
    if wholes.len() < 2 || plan.count as usize > FRESH_OBJECTS_MAX {
        return Ok(HashMap::new());
    }
    let bases = as_they_are(plan)?;
    let names = names(snapshot, plan, bases.iter().chain(&wholes), stop)?;
    let searched = wholes.len();
    let places: Vec<Place> = wholes.into_iter().chain(bases).collect();
    let (mut candidates, mut bytes) = (Vec::with_capacity(places.len()), 0u64);
    for (number, place) in places.iter().enumerate() {
        let (kind, size) = plan.packs.header(*place)?;
        bytes = bytes.saturating_add(size);
        let role = if number < searched { Role::Search } else { Role::BaseOnly };
        let name_hash = names.get(&plan.packs.id(*place)).copied().unwrap_or_default();
        candidates.push(Candidate { kind, size, name_hash, role });
    }
    if bytes > FRESH_BYTES_MAX {
        return Ok(HashMap::new());
    }
    let settings = Settings { window: 10, depth: 50, window_bytes: 64 << 20, threads: 1, stop };
    let found = Mutex::new(HashMap::new());
    let read = |number: u32, data: &mut Vec<u8>| {
        plan.packs.read(places[number as usize], FRESH_OBJECT_BYTES_MAX, data).map(drop)
    };
    let sink = |number: u32, outcome: Outcome| {
        if let Outcome::Delta { base, delta } = outcome {
            let fresh =
                Fresh { base: plan.packs.id(places[base as usize]), body: Arc::new(deflate(&delta)?) };
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(places[number as usize], fresh);
        }
        Ok(())
    };
    search(&candidates, &settings, &read, &sink)?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The objects of the answer that are stored whole and sent so.
fn as_they_are(plan: &Plan<'_>) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    for item in &plan.items {
        let (Item::Run { pack, start, end } | Item::Early { pack, start, end }) = *item else { continue };
        let stored = &plan.packs.packs()[pack as usize];
        let Some(first) = stored.rank_of(start) else { continue };
        for rank in first..stored.count() as usize {
            let position = stored.at_rank(rank);
            let offset = stored.offset_at(position);
            if offset >= end {
                break;
            }
            let header = stored.header(offset)?;
            if matches!(header.kind, crate::pack::EntryKind::Whole(_))
                && header.size <= FRESH_OBJECT_BYTES_MAX
            {
                found.push(Place { pack, position });
            }
        }
    }
    Ok(found)
}

/// The hashes of the names that the trees among these objects give to others.
fn names<'a>(
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    places: impl Iterator<Item = &'a Place>,
    stop: &AtomicBool,
) -> Result<HashMap<Oid, u32>> {
    let (mut names, mut data) = (HashMap::new(), Vec::new());
    for place in places {
        if stop.load(Ordering::Relaxed) {
            return Err(RepoError::Stopped);
        }
        if plan.packs.header(*place)?.0 != Kind::Tree {
            continue;
        }
        let id = plan.packs.id(*place);
        snapshot.read(&id, LINKED_OBJECT_BYTES_MAX, &mut data)?;
        for entry in TreeEntries::new(&data, id.as_bytes().len()).map_while(Result::ok) {
            names.entry(entry.id).or_insert_with(|| name_hash(entry.name));
        }
    }
    Ok(names)
}
