//! In which form each object is sent: ranges of stored packs as they are, deltas with another base distance, or anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::select::Selected;
use super::{Filter, PackRequest};
use crate::error::{RepoError, Result};
use crate::pack::{EntryKind, Pack, Window};
use crate::packs::{PackSet, Place, our_id, ref_base};
use crate::snapshot::Snapshot;

/// A stretch of the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    /// Entries as they are in the pack, from `start` to `end`.
    Run { pack: u32, start: u64, end: u64 },
    /// One whole object, before others of its pack that build on it and are stored ahead of it.
    Early { pack: u32, start: u64, end: u64 },
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
            // Not found by its place: who looks for it knows where it went.
            Item::Early { pack, .. } => (*pack, 0),
            Item::Whole { place, start } => (place.pack, *start),
            Item::Loose(_) => (u32::MAX, 0),
        }
    }
}

/// What to send, in order; [`Item::source`] ascends.
pub(crate) struct Plan<'a> {
    pub(crate) packs: Arc<PackSet>,
    pub(crate) items: Vec<Item>,
    pub(crate) loose: Vec<Oid>,
    pub(crate) count: u32,
    /// Tells earlier versions that deltas may build on, if the receiver takes such.
    pub(crate) versions: Option<&'a Selected>,
    /// Deltas may name their base by distance.
    pub(crate) ofs: bool,
    /// The pack is to be stored: deltas whose base is not in it are another's business.
    pub(crate) rewrites: bool,
}

/// What the receiver of a pack can read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads {
    /// Deltas that name their base by distance.
    pub(crate) ofs: bool,
    /// Deltas whose base it has and is not sent.
    pub(crate) thin: bool,
    /// It is this repository: the pack is stored.
    pub(crate) stores: bool,
}

/// Plans the answer to a request.
pub(crate) fn plan<'a>(
    snapshot: &Snapshot,
    selected: &'a Selected,
    request: &PackRequest,
    stop: &AtomicBool,
) -> Result<Plan<'a>> {
    // A client that filters may lack what an unfiltered one has.
    let thin = request.thin && request.filter == Filter::None;
    plan_from(
        snapshot.packs.load_full(),
        selected,
        Reads { ofs: request.ofs_delta, thin, stores: false },
        stop,
    )
}

/// Plans a pack of selected objects of these packs.
pub(crate) fn plan_from<'a>(
    packs: Arc<PackSet>,
    selected: &'a Selected,
    reads: Reads,
    stop: &AtomicBool,
) -> Result<Plan<'a>> {
    let mut loose: Vec<Oid> = selected.taken.loose().copied().collect();
    loose.sort_unstable();
    let count = u32::try_from(selected.taken.count()).map_err(|_| RepoError::TooMuch {
        what: "the number of objects in one pack",
        max: u64::from(u32::MAX),
    })?;
    let mut planner = Planner {
        packs: &packs,
        selected,
        ofs: reads.ofs,
        thin: reads.thin,
        items: Vec::new(),
        pack: 0,
        run_start: None,
        early: BTreeSet::new(),
        few: Vec::new(),
    };
    for (pack, number) in packs.packs().iter().zip(0u32..) {
        planner.pack = number;
        let taken = selected.taken.packed().count_in(packs.ranks(number));
        if taken == pack.count() as usize && reads.ofs && taken > 0 {
            // All of it: bases are inside, and before what builds on them or named by id.
            planner.items.push(Item::Run { pack: number, start: 12, end: pack.entries_end() });
        } else if taken > 0 {
            planner.pack_entries(pack, taken, stop)?;
        }
    }
    let mut items = planner.items;
    items.extend((0..loose.len() as u32).map(Item::Loose));
    let versions = (reads.thin && !selected.twins.is_empty()).then_some(selected);
    Ok(Plan { packs, items, loose, count, versions, ofs: reads.ofs, rewrites: reads.stores })
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
    /// Offsets, in the pack at hand, of the whole objects that go before all others.
    early: BTreeSet<u64>,
    /// Offsets of what is taken of the pack at hand, ascending, where that is little.
    few: Vec<u64>,
}

/// What is to become of one entry.
enum Form {
    AsIs,
    /// As it is if its base, at this offset, is in the same run; with another distance otherwise.
    NearBase(u64),
    OtherBase(Base),
    /// As a delta on a whole object that is stored further on: that one goes first.
    LaterBase(u64),
    Whole,
}

impl Planner<'_> {
    fn pack_entries(&mut self, pack: &Arc<Pack>, taken: usize, stop: &AtomicBool) -> Result<()> {
        let first = self.items.len();
        self.entries(pack, taken, stop)?;
        let early = std::mem::take(&mut self.early);
        let mut before = Vec::with_capacity(early.len());
        for start in early {
            let rank =
                pack.rank_of(start).ok_or_else(|| pack.broken(start, "its index has no such entry"))?;
            before.push(Item::Early { pack: self.pack, start, end: pack.end_of_rank(rank) });
        }
        drop(self.items.splice(first..first, before));
        Ok(())
    }

    fn entries(&mut self, pack: &Arc<Pack>, taken: usize, stop: &AtomicBool) -> Result<()> {
        self.run_start = None;
        self.few.clear();
        let mut window = Window::default();
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
        self.few = positions.iter().map(|position| pack.offset_at(*position)).collect();
        for (number, position) in positions.into_iter().enumerate() {
            let offset = self.few[number];
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
        if self.early.contains(&start) {
            return Ok(());
        }
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
            Form::LaterBase(offset) => {
                self.early.insert(offset);
                // It names its base by id, or it would not be stored before it.
                match self.ofs {
                    true => {
                        let base = Base::Sent { pack, offset };
                        self.items.push(Item::Delta { pack, start, end, base });
                    }
                    false => self.items.push(Item::Run { pack, start, end }),
                }
                self.run_start = Some(start);
            }
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
        if by_distance && self.ofs && self.few.binary_search(&base_offset).is_ok() {
            return Ok(Form::NearBase(base_offset));
        }
        let rank =
            pack.rank_of(base_offset).ok_or_else(|| pack.broken(start, "its delta's base is no entry"))?;
        let position = pack.at_rank(rank);
        let here = Place { pack: self.pack, position };
        if self.selected.taken.has_place(self.packs, here) {
            return Ok(match (base_offset < start, by_distance) {
                // Stored before its base: sent so it could close a ring with deltas of other packs, unless the base
                // is none.
                (false, _) if matches!(pack.header(base_offset)?.kind, EntryKind::Whole(_)) => {
                    Form::LaterBase(base_offset)
                }
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
