//! Doubts about files that are open: something in them was found broken, or could not be read, or somebody was told so. Whoever
//! asks for a repository next has it looked at whether its files are still those that are open, and those in doubt opened anew, so
//! that what was put right is served again. Where there is no doubt, the asking costs one
//! number read from memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// All doubts that were ever raised in this process.
pub(super) static RAISED: AtomicU64 = AtomicU64::new(0);

/// How many doubts were raised by now.
pub(crate) fn raised() -> u64 {
    RAISED.load(Ordering::Acquire)
}

/// Somebody was told that something stored is broken, of whichever file: a look at all of them is worth it.
pub(crate) fn told() {
    RAISED.fetch_add(1, Ordering::AcqRel);
}

/// A doubt about one file.
#[derive(Default)]
pub(crate) struct Doubt(AtomicBool);

impl Doubt {
    /// Raises it; once is enough.
    pub(crate) fn raise(&self) {
        if !self.0.swap(true, Ordering::AcqRel) {
            RAISED.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// True once it is raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
