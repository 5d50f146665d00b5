//! In which form each object is sent: ranges of stored packs as they are, deltas with another base distance, or anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use slipway_core::Oid;

use super::filter::Filter;
use super::request::PackRequest;
use super::selected::Selected;
use super::stored::{Delta, Stored};
use crate::error::{RepoError, Result};
use crate::pack::{EntryKind, Pack, Window};
use crate::packs::{PackSet, Place};
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
        if taken < pack.count() as usize / MANY {
            let entries = self.known_or_found(pack, taken, stop)?;
            return entries.iter().try_for_each(|entry| self.entry(pack, entry, stop));
        }
        let mut window = Window::default();
        let first = self.packs.ranks(self.pack).start;
        let bits = self.selected.taken.packed();
        for rank in 0..pack.count() as usize {
            let position = pack.at_rank(rank);
            if bits.has(first + position as usize) {
                let place = Place { pack: self.pack, position };
                let stretch = (pack.offset_at(position), pack.end_of_rank(rank));
                self.entry(pack, &Stored::read(pack, place, stretch, &mut window)?, stop)?;
            }
        }
        Ok(())
    }

    /// The entries of what is taken of the pack at hand, in the order in which they are stored.
    fn known_or_found(&self, pack: &Arc<Pack>, taken: usize, stop: &AtomicBool) -> Result<Vec<Stored>> {
        let ranks = self.packs.ranks(self.pack);
        let known = self.selected.stored.iter().filter(|entry| entry.place.pack == self.pack);
        let mut entries: Vec<Stored> = known.copied().collect();
        if entries.len() < taken {
            entries.sort_unstable_by_key(|entry| entry.place.position);
            let mut rest: Vec<u32> = Vec::with_capacity(taken - entries.len());
            let mut known = entries.iter().map(|entry| entry.place.position).peekable();
            for rank in self.selected.taken.packed().iter_in(ranks.clone()) {
                let position = (rank - ranks.start) as u32;
                if known.next_if_eq(&position).is_none() {
                    rest.push(position);
                }
            }
            rest.sort_unstable_by_key(|position| pack.offset_at(*position));
            let mut window = Window::default();
            for position in rest {
                go_on(stop)?;
                let place = Place { pack: self.pack, position };
                entries.push(Stored::find(pack, place, &mut window)?);
            }
        }
        entries.sort_unstable_by_key(|entry| entry.start);
        Ok(entries)
    }

    fn entry(&mut self, pack: &Arc<Pack>, entry: &Stored, stop: &AtomicBool) -> Result<()> {
        go_on(stop)?;
        if self.early.contains(&entry.start) {
            return Ok(());
        }
        let form = match entry.delta {
            Some(delta) => self.form(pack, entry, delta)?,
            None => Form::AsIs,
        };
        self.add(entry, form);
        Ok(())
    }

    fn add(&mut self, entry: &Stored, form: Form) {
        let Stored { place, start, end, .. } = *entry;
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

    /// True if the entry at `offset` of the pack at hand is among the items already.
    fn is_planned(&self, offset: u64) -> bool {
        let after = self.items.partition_point(|item| item.source() <= (self.pack, offset));
        match after.checked_sub(1).map(|number| &self.items[number]) {
            Some(Item::Run { pack, end, .. }) => *pack == self.pack && offset < *end,
            Some(item @ (Item::Delta { .. } | Item::Whole { .. })) => item.source() == (self.pack, offset),
            Some(Item::Early { .. } | Item::Loose(_)) | None => false,
        }
    }

    fn form(&self, pack: &Arc<Pack>, entry: &Stored, delta: Delta) -> Result<Form> {
        let Delta { offset, by_distance } = delta;
        if by_distance && self.ofs && self.is_planned(offset) {
            return Ok(Form::NearBase(offset));
        }
        let base = entry.base(self.packs, delta)?;
        if self.selected.taken.has_place(self.packs, base.here) {
            return Ok(match (offset < entry.start, by_distance) {
                // Stored before its base: sent so it could close a ring with deltas of other packs, unless the base
                // is none.
                (false, _) if matches!(pack.header(offset)?.kind, EntryKind::Whole(_)) => {
                    Form::LaterBase(offset)
                }
                (false, _) => Form::Whole,
                (true, true) if self.ofs => Form::NearBase(offset),
                (true, true) => Form::OtherBase(Base::Named(base.here)),
                (true, false) => Form::AsIs,
            });
        }
        let chosen = base.chosen;
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

fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(RepoError::Stopped) } else { Ok(()) }
}
