//! Questions about the commit graph: ancestry and merge bases. Knows nothing of trees and refs.
//!
//! The walk colours commits from both sides, newest committer date first, until every commit left in the queue is
//! known to be reachable from both: such commits cannot lead to a better common ancestor. Colours are carried on
//! again when they arrive late, so that clocks that ran backwards cost time but never the answer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use slipway_core::Oid;

use super::Objects;
use super::commit::Link;
use crate::limits::{ANCESTRY_COMMITS_MAX, MERGE_BASES_MAX};
use crate::{RepoError, Result};

const LEFT: u8 = 1;
const RIGHT: u8 = 2;
/// Reachable from a common ancestor.
const STALE: u8 = 4;

struct Spot {
    date: i64,
    parents: Box<[Oid]>,
    colours: u8,
    queued: u32,
    common: bool,
}

struct Painting<'a> {
    objects: &'a dyn Objects,
    spots: HashMap<Oid, Spot>,
    queue: BinaryHeap<(i64, Reverse<u64>, Oid)>,
    arrivals: u64,
    /// Queue entries that are not stale.
    fresh: u64,
}

impl<'a> Painting<'a> {
    /// Colours what is reachable from `left` and from `right` until nothing better can be found, or until `left` itself
    /// is found to be reachable from `right` if that is all there is to know.
    fn run(objects: &'a dyn Objects, left: &Oid, right: &Oid, ancestry_only: bool) -> Result<Self> {
        let mut painting =
            Self { objects, spots: HashMap::new(), queue: BinaryHeap::new(), arrivals: 0, fresh: 0 };
        painting.paint(left, LEFT)?;
        painting.paint(right, RIGHT)?;
        while painting.fresh > 0 && !(ancestry_only && painting.is_right(left)) {
            let Some((_, _, id)) = painting.queue.pop() else { break };
            painting.spread(&id)?;
        }
        Ok(painting)
    }

    /// True if the commit is known to be reachable from the right.
    fn is_right(&self, id: &Oid) -> bool {
        self.spots.get(id).is_some_and(|spot| spot.colours & RIGHT != 0)
    }

    fn spread(&mut self, id: &Oid) -> Result<()> {
        let Some(spot) = self.spots.get_mut(id) else { return Ok(()) };
        spot.queued -= 1;
        self.fresh -= u64::from(spot.colours & STALE == 0);
        let mut colours = spot.colours;
        if colours == LEFT | RIGHT {
            spot.common = true;
            colours |= STALE;
        }
        let parents = spot.parents.clone();
        parents.iter().try_for_each(|parent| self.paint(parent, colours))
    }

    fn paint(&mut self, id: &Oid, colours: u8) -> Result<()> {
        if !self.spots.contains_key(id) {
            if self.spots.len() >= ANCESTRY_COMMITS_MAX {
                return Err(RepoError::TooLong {
                    what: "the number of commits to look at",
                    max: ANCESTRY_COMMITS_MAX,
                });
            }
            let link = Link::load(self.objects, id)?;
            let spot =
                Spot { date: link.date, parents: link.parents.into(), colours: 0, queued: 0, common: false };
            self.spots.insert(*id, spot);
        }
        let Some(spot) = self.spots.get_mut(id) else { return Ok(()) };
        if spot.colours & colours == colours {
            return Ok(());
        }
        if spot.colours & STALE == 0 && colours & STALE != 0 {
            self.fresh -= u64::from(spot.queued);
        }
        spot.colours |= colours;
        spot.queued += 1;
        self.fresh += u64::from(spot.colours & STALE == 0);
        self.arrivals += 1;
        self.queue.push((spot.date, Reverse(self.arrivals), *id));
        Ok(())
    }
}

fn tip(objects: &dyn Objects, id: &Oid) -> Result<Oid> {
    Link::peel(objects, id)?.map(|link| link.id).ok_or(RepoError::Missing { id: *id })
}

/// A best common ancestor of two commits: one that no other common ancestor descends from. Where there are several
/// (criss-cross merges) it is one with the newest committer date.
pub(crate) fn merge_base(objects: &dyn Objects, a: &Oid, b: &Oid) -> Result<Option<Oid>> {
    let (a, b) = (tip(objects, a)?, tip(objects, b)?);
    if a == b {
        return Ok(Some(a));
    }
    let painting = Painting::run(objects, &a, &b, false)?;
    let common = painting.spots.iter().filter(|(_, spot)| spot.common && spot.colours & STALE == 0);
    let mut bases: Vec<(i64, Oid)> = common.map(|(id, spot)| (spot.date, *id)).collect();
    bases.sort_unstable_by(|x, y| y.cmp(x));
    bases.truncate(MERGE_BASES_MAX);
    for (at, (_, base)) in bases.iter().enumerate() {
        let mut redundant = false;
        for (other_at, (_, other)) in bases.iter().enumerate() {
            if at != other_at && is_ancestor(objects, base, other)? {
                redundant = true;
                break;
            }
        }
        if !redundant {
            return Ok(Some(*base));
        }
    }
    Ok(None)
}

/// True if `new` is `old` or descends from it.
pub(crate) fn is_ancestor(objects: &dyn Objects, old: &Oid, new: &Oid) -> Result<bool> {
    let (old, new) = (tip(objects, old)?, tip(objects, new)?);
    if old == new {
        return Ok(true);
    }
    Ok(Painting::run(objects, &old, &new, true)?.is_right(&old))
}
