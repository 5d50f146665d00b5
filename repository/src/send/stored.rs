//! How an object is stored: what has to be known of it to plan an answer. To find that in the indexes takes longer than to
//! send a small object, so it is kept with what is new in a tree ([`super::parts`]) while the packs stay the same.

use std::sync::{Arc, Mutex, PoisonError};

use super::news::New;
use crate::error::Result;
use crate::pack::{EntryKind, Pack, Window};
use crate::packs::{Lineage, PackSet, Place, our_id, ref_base};

/// An entry of a pack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// Where its object is.
    pub(crate) place: Place,
    /// Its first byte.
    pub(crate) start: u64,
    /// Behind its last byte.
    pub(crate) end: u64,
    /// What it builds on, if it is a delta.
    pub(crate) delta: Option<Delta>,
    /// The base, where that was looked up.
    base: Option<Base>,
}

/// How a delta names its base.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delta {
    /// Where the base is in the same pack.
    pub(crate) offset: u64,
    /// It is named by distance, not by id.
    pub(crate) by_distance: bool,
}

/// The base of a delta.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    /// In the same pack.
    pub(crate) here: Place,
    /// The copy that counts, of several.
    pub(crate) chosen: Place,
}

impl Stored {
    /// The entry of the object at `place`, from byte `start` to `end` of its pack.
    pub(crate) fn read(
        pack: &Pack,
        place: Place,
        (start, end): (u64, u64),
        window: &mut Window,
    ) -> Result<Self> {
        let delta = match window.header(pack, start)?.kind {
            EntryKind::Whole(_) => None,
            EntryKind::OfsDelta(offset) => Some(Delta { offset, by_distance: true }),
            EntryKind::RefDelta(raw) => {
                let position = pack
                    .lookup(&ref_base(pack, &raw))
                    .ok_or_else(|| pack.broken(start, "its delta's base is not in the pack"))?;
                Some(Delta { offset: pack.offset_at(position), by_distance: false })
            }
        };
        Ok(Self { place, start, end, delta, base: None })
    }

    /// The same where only its place is known.
    pub(crate) fn find(pack: &Pack, place: Place, window: &mut Window) -> Result<Self> {
        let start = pack.offset_at(place.position);
        let rank = pack.rank_of(start);
        let rank = rank.ok_or_else(|| pack.broken(start, "its index has no such entry"))?;
        Self::read(pack, place, (start, pack.end_of_rank(rank)), window)
    }

    /// The base of its delta, which is in the same pack.
    pub(crate) fn base(&self, packs: &PackSet, delta: Delta) -> Result<Base> {
        if let Some(base) = self.base {
            return Ok(base);
        }
        let pack = packs.pack(self.place);
        let rank = pack.rank_of(delta.offset);
        let rank = rank.ok_or_else(|| pack.broken(self.start, "its delta's base is no entry"))?;
        let here = Place { pack: self.place.pack, position: pack.at_rank(rank) };
        let chosen = packs.locate(&our_id(pack.id_at(here.position))).unwrap_or(here);
        Ok(Base { here, chosen })
    }
}

/// What is new in a tree, and how it is stored in the packs that it was last looked for in.
pub(crate) struct News {
    /// What is new.
    pub(crate) list: Box<[New]>,
    stored: Mutex<Option<InPacks>>,
}

/// How the objects of a list are stored, in its order; `None` where one is in no pack.
pub(crate) type Entries = Arc<[Option<Stored>]>;

#[derive(Clone)]
struct InPacks {
    packs: Lineage,
    entries: Entries,
}

impl News {
    /// What is new, stored anywhere.
    pub(crate) fn new(list: Vec<New>) -> Self {
        Self { list: list.into(), stored: Mutex::default() }
    }

    /// Bytes of memory that it takes, or will.
    pub(crate) fn bytes(&self) -> usize {
        self.list.len() * (size_of::<New>() + size_of::<Option<Stored>>())
    }

    /// How its objects are stored in these packs.
    pub(crate) fn entries(&self, packs: &PackSet) -> Result<Entries> {
        // What is in there is replaced as one.
        let kept = self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|kept| packs.begins_with(&kept.packs)) {
            return Ok(kept.entries);
        }
        let mut window = Window::default();
        let entries: Result<Entries> = self.list.iter().map(|new| found(packs, new, &mut window)).collect();
        let entries = entries?;
        let kept = InPacks { packs: packs.lineage(), entries: entries.clone() };
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(entries)
    }
}

fn found(packs: &PackSet, new: &New, window: &mut Window) -> Result<Option<Stored>> {
    let Some(place) = packs.locate(&new.id) else { return Ok(None) };
    let mut stored = Stored::find(packs.pack(place), place, window)?;
    stored.base = stored.delta.map(|delta| stored.base(packs, delta)).transpose()?;
    Ok(Some(stored))
}
