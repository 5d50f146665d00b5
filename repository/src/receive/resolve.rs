//! Second pass over an incoming pack: deltas become objects, on several threads.
//!
//! Each thread takes whole objects one after the other and goes depth first to the deltas on them, with a stack of its
//! own. Of a base's deltas those that are bases in turn come last, and a base is let go before its last delta's children
//! are looked at, so that a plain chain holds one object however long it is. What is held beyond a budget, which the
//! threads share, is dropped and made again when needed. A thread without work is given the oldest part of another's
//! stack. Only one thread at a time is at large objects.

mod worker;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::Builder;

use slipway_core::Oid;
use slipway_core::limits::in_force;

use self::worker::{Frame, Worker};
use super::entries::Entries;
use super::links::Links;
use super::reader::PackBytes;
use super::turns::Turns;
use super::{Progress, ReceiveLimits};
use crate::bulk::Bulk;
use crate::error::{RepoError, Result};
use crate::limits::RESOLVE_BYTES_MIN;
use crate::object::Kind;

/// What the repository has under an id, and whether that is the same as an object of the pack.
pub(crate) trait Stored: Sync {
    /// Kind and size of what is stored under the id.
    fn stored(&self, id: &Oid) -> Result<Option<(Kind, u64)>>;
    /// Compares an object with what is stored.
    fn compare(&self, id: &Oid, kind: Kind, data: &Bulk) -> Result<()>;
}

/// What the second pass is about.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) bytes: PackBytes<'a>,
    /// Where large objects are put down meanwhile.
    pub(crate) folder: &'a Path,
    pub(crate) entries: &'a Entries,
    pub(crate) links: &'a Links,
    pub(crate) limits: &'a ReceiveLimits,
    pub(crate) stored: &'a dyn Stored,
    pub(crate) stop: &'a AtomicBool,
    /// Bytes of the pack.
    pub(crate) packed: u64,
    /// Whole objects from this number on came from the repository itself.
    pub(crate) appended: u32,
    /// Some of those, by number.
    pub(crate) ready: &'a HashMap<u32, Vec<u8>>,
}

/// What the threads of the second pass share.
pub(crate) struct Resolve<'a> {
    given: Given<'a>,
    /// Bytes that the pack inflated to so far.
    inflated: AtomicU64,
    /// The next entry that nobody looked at, of those that are to be.
    next: AtomicU32,
    until: u32,
    resolved: AtomicU32,
    /// Bytes that the threads' stacks hold.
    held: AtomicUsize,
    turns: Turns<Frame>,
    large: Mutex<()>,
}

/// Packs whose deltas are being resolved just now.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

impl Drop for Resolve<'_> {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> Resolve<'a> {
    /// The second pass over `given`, starting from the whole objects from number `from` on; `inflated` and `resolved`
    /// are what earlier passes came to.
    pub(crate) fn new(given: Given<'a>, from: u32, (inflated, resolved): (u64, u32)) -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self {
            inflated: AtomicU64::new(inflated),
            next: AtomicU32::new(from),
            until: given.entries.len() as u32,
            resolved: AtomicU32::new(resolved),
            given,
            held: AtomicUsize::new(0),
            turns: Turns::default(),
            large: Mutex::new(()),
        }
    }

    /// What it came to: bytes inflated, deltas resolved.
    pub(crate) fn totals(&self) -> (u64, u32) {
        (self.inflated.load(Ordering::Relaxed), self.resolved.load(Ordering::Relaxed))
    }

    /// Bytes of delta bases that this pack may hold beside the others.
    fn share(&self) -> usize {
        let all = usize::try_from(in_force().push_delta_memory_max).unwrap_or(usize::MAX);
        (all / UNDER_WAY.load(Ordering::Relaxed).max(1)).max(RESOLVE_BYTES_MIN)
    }

    /// Resolves all that builds on whole objects, on so many threads; `progress` is called on this one.
    pub(crate) fn run(&self, threads: usize, progress: &dyn Fn(Progress)) -> Result<()> {
        if threads <= 1 {
            self.turns.join();
            return Worker::new(self).run(Some(progress));
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .filter_map(|number| {
                    self.turns.join();
                    let work = || self.guarded(None);
                    let started = Builder::new().name(format!("resolve-{number}")).spawn_scoped(scope, work);
                    // Where no thread can be had, the others do its work.
                    started.inspect_err(|_| self.turns.leave()).ok()
                })
                .collect();
            self.turns.join();
            let mut outcome = self.guarded(Some(progress));
            for other in others {
                outcome = outcome.and(other.join().unwrap_or_else(|_| Err(ended())));
            }
            outcome
        })
    }

    /// A thread's work; whatever ends it early ends the others'.
    fn guarded(&self, progress: Option<&dyn Fn(Progress)>) -> Result<()> {
        let outcome = catch_unwind(AssertUnwindSafe(|| Worker::new(self).run(progress)));
        let outcome = outcome.unwrap_or_else(|_| Err(ended()));
        if outcome.is_err() {
            self.turns.fail();
        }
        outcome
    }
}

fn ended() -> RepoError {
    RepoError::Fault { what: "a thread that makes objects from deltas ended early" }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use slipway_core::ObjectFormat;

    use super::*;

    /// A repository whose disk has a surprise.
    struct Surprise;

    impl Stored for Surprise {
        fn stored(&self, _: &Oid) -> Result<Option<(Kind, u64)>> {
            panic!("nobody expects this")
        }
        fn compare(&self, _: &Oid, _: Kind, _: &Bulk) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_thread_that_panics_is_an_error_and_not_a_wait_without_end() {
        let mut entries = Entries::new(ObjectFormat::Sha1);
        for offset in 0..1000 {
            entries.push_whole(offset, 0, Kind::Blob);
        }
        entries.seal();
        let (links, limits) = (Links::new(1, 1), ReceiveLimits::default());
        let file = File::open("/dev/null").expect("always there");
        let given = Given {
            bytes: PackBytes { file: &file, small: Some(&[]), hash_len: 20 },
            folder: Path::new("/nowhere"),
            entries: &entries,
            links: &links,
            limits: &limits,
            stored: &Surprise,
            stop: &AtomicBool::new(false),
            packed: 1000,
            appended: 1000,
            ready: &HashMap::new(),
        };
        let outcome = Resolve::new(given, 0, (0, 0)).run(3, &|_| {});
        assert!(matches!(outcome, Err(RepoError::Fault { .. })), "{outcome:?}");
    }
}
