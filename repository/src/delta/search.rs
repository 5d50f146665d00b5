//! Which objects of a pack become deltas, and on which bases. Knows no file: objects are read and results handed on by
//! the caller's functions, from several threads.
//!
//! The objects are put next to others that are likely alike (same kind, same name, then by size, the largest first: files
//! grow, so that the newest stay whole), and each is compared with a window of those before it. A base is always an object
//! that was decided before, so that no chain can be a ring.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use self::window::{Body, Slot, Window};
use super::create::index_bytes_max;
use crate::error::{RepoError, Result};
use crate::limits::{
    DELTA_MIN_BYTES, DELTA_RESULT_BYTES_MAX, DELTA_SEARCH_DEPTH_MAX, DELTA_SEARCH_SHARE_MIN,
    DELTA_SEARCH_THREADS_MAX, DELTA_SEARCH_WINDOW_MAX,
};
use crate::object::Kind;

mod window;

/// An object of the pack; its number is its place in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Only objects of one kind are compared.
    pub(crate) kind: Kind,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Of its path: [`crate::formats::name_hash`]; 0 if it has none.
    pub(crate) name_hash: u32,
    /// What is to be done with it.
    pub(crate) role: Role,
}

/// What is to be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Find a base for it.
    Search,
    /// It is a delta on the object of that number already, and stays so, unless the chain is a ring or too deep.
    Known(u32),
    /// The receiver has it: it can be a base, but is not sent.
    BaseOnly,
}

/// How an object is to be stored.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// As it is.
    Whole,
    /// As a delta.
    Delta {
        /// Number of the base.
        base: u32,
        /// The delta, not compressed.
        delta: Vec<u8>,
    },
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    /// How many objects each is compared with (git: 10).
    pub(crate) window: usize,
    /// Longest chain of deltas (git: 50).
    pub(crate) depth: usize,
    /// Bytes that the windows of all threads hold together, indexes included. Objects that need more than a third of a
    /// thread's share stay whole.
    pub(crate) window_bytes: usize,
    /// How many threads work; with 1 the caller's own does.
    pub(crate) threads: usize,
    /// Raise it to end the search: what was not reported by then stays whole.
    pub(crate) stop: &'a AtomicBool,
}

/// Decides about every object with [`Role::Search`], and those with [`Role::Known`] whose chain cannot stay; each is
/// handed to `sink` once, in no order. `read` puts the content of an object into a buffer.
///
/// # Errors
/// [`RepoError::Stopped`]; or the first error of `read` or `sink`.
pub(crate) fn search(
    objects: &[Candidate],
    settings: &Settings<'_>,
    read: &(impl Fn(u32, &mut Vec<u8>) -> Result<()> + Sync),
    sink: &(impl Fn(u32, Outcome) -> Result<()> + Sync),
) -> Result<()> {
    let settings = settings.bounded();
    let chains = Chains::new(objects, settings.depth);
    let mut order = Vec::new();
    for (object, n) in objects.iter().zip(0u32..) {
        if chains.is_kept(n) {
            continue;
        }
        if object.size < DELTA_MIN_BYTES || object.size > settings.object_bytes_max() {
            if object.role != Role::BaseOnly {
                sink(n, Outcome::Whole)?;
            }
        } else {
            order.push(n);
        }
    }
    order.sort_unstable_by_key(|&n| {
        let object = &objects[n as usize];
        let sent = object.role != Role::BaseOnly;
        (object.kind.pack_code(), Reverse(object.name_hash), sent, Reverse(object.size), n)
    });
    let search = Search { objects, chains: &chains, settings: &settings, read, sink };
    search.run(&order)
}

impl Settings<'_> {
    fn bounded(&self) -> Self {
        Self {
            window: self.window.clamp(1, DELTA_SEARCH_WINDOW_MAX),
            depth: self.depth.min(DELTA_SEARCH_DEPTH_MAX),
            threads: self.threads.clamp(1, DELTA_SEARCH_THREADS_MAX),
            ..*self
        }
    }

    fn share_bytes(&self) -> usize {
        self.window_bytes / self.threads
    }

    /// Largest object that is looked at. With its index one takes up to four times its size while that is made, and a
    /// target of that size stands beside it.
    fn object_bytes_max(&self) -> u64 {
        let third = self.share_bytes() as u64 / 3;
        let fits = |size: &u64| size + index_bytes_max(*size) <= third;
        let sizes = [DELTA_RESULT_BYTES_MAX, third / 2, third / 4, third / 8];
        sizes.into_iter().find(fits).unwrap_or(0)
    }
}

/// The deltas that stay as they are.
struct Chains {
    /// The base of each object whose delta stays.
    bases: Vec<Option<u32>>,
    /// How many deltas that stay hang below each, in the longest chain.
    below: Vec<u16>,
}

impl Chains {
    fn new(objects: &[Candidate], depth: usize) -> Self {
        let mut chains = Self { bases: vec![None; objects.len()], below: vec![0; objects.len()] };
        for (object, n) in objects.iter().zip(0u32..) {
            if let Role::Known(base) = object.role
                && objects.get(base as usize).is_some_and(|base| base.kind == object.kind)
            {
                chains.hang(n, base, depth);
            }
        }
        chains
    }

    /// Hangs `n`, which has no base yet, below `base`, if that makes no ring and no chain longer than `depth`.
    fn hang(&mut self, n: u32, base: u32, depth: usize) {
        let own = usize::from(self.below[n as usize]);
        let mut above = Vec::new();
        let mut next = Some(base);
        while let Some(at) = next {
            above.push(at);
            if at == n || own + above.len() > depth {
                return;
            }
            next = self.bases[at as usize];
        }
        self.bases[n as usize] = Some(base);
        for (at, steps) in above.into_iter().zip(own + 1..) {
            let below = &mut self.below[at as usize];
            *below = (*below).max(u16::try_from(steps).unwrap_or(u16::MAX));
        }
    }

    fn is_kept(&self, n: u32) -> bool {
        self.bases[n as usize].is_some()
    }
}

struct Search<'a, R, S> {
    objects: &'a [Candidate],
    chains: &'a Chains,
    settings: &'a Settings<'a>,
    read: &'a R,
    sink: &'a S,
}

impl<R, S> Search<'_, R, S>
where
    R: Fn(u32, &mut Vec<u8>) -> Result<()> + Sync,
    S: Fn(u32, Outcome) -> Result<()> + Sync,
{
    /// Works through the sorted objects, in shares that the threads take in turn.
    fn run(&self, order: &[u32]) -> Result<()> {
        let threads = self.settings.threads.min(order.len() / DELTA_SEARCH_SHARE_MIN).max(1);
        let failed = AtomicBool::new(false);
        if threads == 1 {
            return self.share(order, &failed);
        }
        let shares = self.shares(order, threads);
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let Err(e) = self.share(&order[share.clone()], &failed) else { continue };
                        failed.store(true, Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                        break;
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Cuts the list where names change, if that is near.
    fn shares(&self, order: &[u32], threads: usize) -> Vec<Range<usize>> {
        let len = (order.len() / (4 * threads)).max(DELTA_SEARCH_SHARE_MIN);
        let name = |at: usize| {
            let object = &self.objects[order[at] as usize];
            (object.kind, object.name_hash)
        };
        let mut shares = Vec::new();
        let mut from = 0;
        while from < order.len() {
            let earliest = (from + len).min(order.len());
            let latest = (from + 2 * len).min(order.len());
            let cut = (earliest..latest).find(|&at| name(at) != name(at - 1));
            let to = cut.unwrap_or(if latest == order.len() { latest } else { earliest });
            shares.push(from..to);
            from = to;
        }
        shares
    }

    fn share(&self, order: &[u32], failed: &AtomicBool) -> Result<()> {
        let mut window = Window::default();
        for &n in order {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            if self.settings.stop.load(Ordering::Relaxed) {
                return Err(RepoError::Stopped);
            }
            self.object(n, &mut window)?;
        }
        Ok(())
    }

    /// Decides about one object, and puts it into the window.
    fn object(&self, n: u32, window: &mut Window) -> Result<()> {
        let object = &self.objects[n as usize];
        window.shrink(self.settings.window, self.settings.share_bytes().saturating_sub(object.size as usize));
        window.drop_other_kinds(object.kind);
        let mut data = window.spare.pop().unwrap_or_default();
        data.clear();
        (self.read)(n, &mut data)?;
        let depth_max = self.settings.depth.saturating_sub(usize::from(self.chains.below[n as usize]));
        let best = match object.role {
            Role::BaseOnly => None,
            _ => window.best(&data, depth_max, self.settings.share_bytes()),
        };
        let depth = best.as_ref().map_or(0, |best| best.depth);
        let mut again = None;
        match best {
            Some(best) => {
                again = window.slots.remove(best.slot);
                let base = again.as_ref().map_or(n, |slot| slot.n);
                (self.sink)(n, Outcome::Delta { base, delta: best.delta })?;
            }
            None if object.role == Role::BaseOnly => {}
            None => (self.sink)(n, Outcome::Whole)?,
        }
        if depth < self.settings.depth {
            window.slots.push_back(Slot { n, kind: object.kind, depth, body: Body::Plain(data) });
        } else {
            window.recycle(data);
        }
        // What served as a base serves its neighbours too: it is asked first and leaves last.
        window.slots.extend(again);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
