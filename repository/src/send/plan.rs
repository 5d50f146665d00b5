//! In which form each object is sent: ranges of stored packs as they are, deltas with another base distance, or anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::select::Selected;
use super::{Filter, PackRequest};
use crate::error::{RepoError, Result};
use crate::limits::BUFFER_BYTES;
use crate::pack::{EntryKind, HEADER_BYTES_MAX, Pack, parse_header};
use crate::packs::{PackSet, Place, our_id, ref_base};
use crate::snapshot::Snapshot;

/// A stretch of the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    /// Entries as they are in the pack, from `start` to `end`.
    Run { pack: u32, start: u64, end: u64 },
    /// One delta, its header made anew.
    Delta { pack: u32, start: u64, end: u64, base: Base },
    /// One object, not as a delta.
    Whole { place: Place, start: u64 },
    /// The loose object of that number in the selection.
    Loose(u32),
}

/// How a delta names its base.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// By distance: the entry that is at `offset` of that pack here.
    Sent { pack: u32, offset: u64 },
    /// By id.
    Named(Place),
}

impl Item {
    /// Where its (first) entry is stored.
    pub(crate) fn source(&self) -> (u32, u64) {
        match self {
            Item::Run { pack, start, .. } | Item::Delta { pack, start, .. } => (*pack, *start),
            Item::Whole { place, start } => (place.pack, *start),
            Item::Loose(_) => (u32::MAX, 0),
        }
    }
}

/// What to send, in order; [`Item::source`] ascends.
pub(crate) struct Plan {
    pub(crate) packs: Arc<PackSet>,
    pub(crate) items: Vec<Item>,
    pub(crate) loose: Vec<Oid>,
    pub(crate) count: u32,
}

/// Plans the answer.
pub(crate) fn plan(
    snapshot: &Snapshot,
    selected: &Selected,
    request: &PackRequest,
    stop: &AtomicBool,
) -> Result<Plan> {
    let packs = snapshot.packs.load_full();
    let mut loose: Vec<Oid> = selected.taken.loose().copied().collect();
    loose.sort_unstable();
    let count = u32::try_from(selected.taken.count()).map_err(|_| RepoError::TooMuch {
        what: "the number of objects in one pack",
        max: u64::from(u32::MAX),
    })?;
    // A client that filters may lack what an unfiltered one has.
    let thin = request.thin && request.filter == Filter::None;
    let mut planner = Planner {
        packs: &packs,
        selected,
        ofs: request.ofs_delta,
        thin,
        items: Vec::new(),
        pack: 0,
        run_start: None,
    };
    for (pack, number) in packs.packs().iter().zip(0u32..) {
        planner.pack = number;
        let taken = selected.taken.packed().count_in(packs.ranks(number));
        if taken == pack.count() as usize && request.ofs_delta && taken > 0 {
            // All of it: bases are inside, and before what builds on them or named by id.
            planner.items.push(Item::Run { pack: number, start: 12, end: pack.entries_end() });
        } else if taken > 0 {
            planner.pack_entries(pack, taken, stop)?;
        }
    }
    let mut items = planner.items;
    items.extend((0..loose.len() as u32).map(Item::Loose));
    Ok(Plan { packs, items, loose, count })
}

/// From this share of a pack's objects on they are found by going through all of it in order.
const MANY: usize = 16;

struct Planner<'a> {
    packs: &'a PackSet,
    selected: &'a Selected,
    ofs: bool,
    thin: bool,
    items: Vec<Item>,
    pack: u32,
    /// Where the run that is being built starts; its end is the last item's.
    run_start: Option<u64>,
}

/// What is to become of one entry.
enum Form {
    AsIs,
    /// As it is if its base, at this offset, is in the same run; with another distance otherwise.
    NearBase(u64),
    OtherBase(Base),
    Whole,
}

impl Planner<'_> {
    fn pack_entries(&mut self, pack: &Arc<Pack>, taken: usize, stop: &AtomicBool) -> Result<()> {
        self.run_start = None;
        let mut window = Window { start: 0, bytes: Vec::new() };
        let ranks = self.packs.ranks(self.pack);
        let bits = self.selected.taken.packed();
        if taken >= pack.count() as usize / MANY {
            for rank in 0..pack.count() as usize {
                let position = pack.at_rank(rank);
                if bits.has(ranks.start + position as usize) {
                    self.entry(pack, position, pack.end_of_rank(rank), &mut window, stop)?;
                }
            }
            return Ok(());
        }
        let start = ranks.start;
        let mut positions: Vec<u32> = bits.iter_in(ranks).map(|rank| (rank - start) as u32).collect();
        positions.sort_unstable_by_key(|position| pack.offset_at(*position));
        for position in positions {
            let offset = pack.offset_at(position);
            let rank =
                pack.rank_of(offset).ok_or_else(|| pack.broken(offset, "its index has no such entry"))?;
            self.entry(pack, position, pack.end_of_rank(rank), &mut window, stop)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        pack: &Arc<Pack>,
        position: u32,
        end: u64,
        window: &mut Window,
        stop: &AtomicBool,
    ) -> Result<()> {
        if stop.load(Ordering::Relaxed) {
            return Err(RepoError::Stopped);
        }
        let start = pack.offset_at(position);
        let form = self.form(pack, start, window.header(pack, start)?)?;
        self.add(Place { pack: self.pack, position }, start, end, form);
        Ok(())
    }

    fn add(&mut self, place: Place, start: u64, end: u64, form: Form) {
        let pack = self.pack;
        let joins =
            matches!(self.items.last(), Some(Item::Run { pack: p, end: e, .. }) if *p == pack && *e == start);
        let run_start = if joins { self.run_start } else { None };
        match form {
            Form::OtherBase(base) => self.items.push(Item::Delta { pack, start, end, base }),
            Form::Whole => self.items.push(Item::Whole { place, start }),
            Form::NearBase(offset) if run_start.is_none_or(|run| offset < run) => {
                self.items.push(Item::Delta { pack, start, end, base: Base::Sent { pack, offset } });
            }
            Form::AsIs | Form::NearBase(_) => match self.items.last_mut() {
                Some(Item::Run { end: e, .. }) if joins => *e = end,
                _ => {
                    self.items.push(Item::Run { pack, start, end });
                    self.run_start = Some(start);
                }
            },
        }
    }

    fn form(&self, pack: &Arc<Pack>, start: u64, kind: EntryKind) -> Result<Form> {
        let (base_offset, by_distance) = match kind {
            EntryKind::Whole(_) => return Ok(Form::AsIs),
            EntryKind::OfsDelta(offset) => (offset, true),
            EntryKind::RefDelta(raw) => {
                let id = ref_base(pack, &raw);
                let position = pack
                    .lookup(&id)
                    .ok_or_else(|| pack.broken(start, "its delta's base is not in the pack"))?;
                (pack.offset_at(position), false)
            }
        };
        let rank =
            pack.rank_of(base_offset).ok_or_else(|| pack.broken(start, "its delta's base is no entry"))?;
        let position = pack.at_rank(rank);
        let here = Place { pack: self.pack, position };
        if self.selected.taken.has_place(self.packs, here) {
            return Ok(match (base_offset < start, by_distance) {
                // Stored before its base: sent so it could close a ring with deltas of other packs.
                (false, _) => Form::Whole,
                (true, true) if self.ofs => Form::NearBase(base_offset),
                (true, true) => Form::OtherBase(Base::Named(here)),
                (true, false) => Form::AsIs,
            });
        }
        let id = our_id(pack.id_at(position));
        let chosen = self.packs.locate(&id).unwrap_or(here);
        if self.selected.taken.has_place(self.packs, chosen) && chosen.pack < self.pack {
            let offset = self.packs.pack(chosen).offset_at(chosen.position);
            let near = Base::Sent { pack: chosen.pack, offset };
            return Ok(Form::OtherBase(if self.ofs { near } else { Base::Named(chosen) }));
        }
        if self.thin && self.selected.edge.has_place(self.packs, chosen) {
            return Ok(Form::OtherBase(Base::Named(chosen)));
        }
        Ok(Form::Whole)
    }
}

/// Reads headers in ascending order through one buffer.
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn header(&mut self, pack: &Pack, offset: u64) -> Result<EntryKind> {
        let mut at = offset.wrapping_sub(self.start);
        let whole = at.checked_add(HEADER_BYTES_MAX as u64).is_some_and(|end| end <= self.bytes.len() as u64);
        if offset < self.start || !whole {
            self.bytes.resize(BUFFER_BYTES, 0);
            let got = pack.read_raw(&mut self.bytes, offset)?;
            self.bytes.truncate(got);
            self.start = offset;
            at = 0;
        }
        let raw = self.bytes.get(at as usize..).unwrap_or_default();
        let header = parse_header(raw, offset, pack.hash_len());
        header.map(|h| h.kind).ok_or_else(|| pack.broken(offset, "its header is not valid"))
    }
}
