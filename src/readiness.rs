//! Whether a push can be taken now: what `/-/readyz` asks, and `slipway doctor` in the same words. Looks at the disk, and changes
//! nothing that lasts.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipway_core::{Problem, ProblemKind};
use slipway_forge::Check;

use crate::data::DataFolder;
use crate::doctor::{fail, judged, ok};
use crate::rooms::Rooms;

/// Below this much free space, in bytes, no push is promised to be taken: the records of one, a copy of theirs, and some objects.
const ROOM_BYTES_MIN: u64 = 8 << 20;
/// Below this much, in bytes, the doctor says so.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Below so many free files, likewise: a push makes some ten.
const ROOM_FILES_MIN: u64 = 64;
/// Anybody may ask, so the disk is asked no more often than this.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The last answer.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Vec<Check>)>>);

impl Readiness {
    /// All that a push needs, as it is now or was a moment ago. Blocking.
    pub(crate) fn checks(&self, rooms: &Rooms, data: &DataFolder) -> Vec<Check> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, checks)) = &*last
            && at.elapsed() < ASK_EVERY
        {
            return checks.clone();
        }
        let checks = vec![records(rooms), repositories(rooms), room(data.root())];
        *last = Some((Instant::now(), checks.clone()));
        checks
    }

    /// Whether a push can be taken. Blocking.
    ///
    /// # Errors
    /// All that stands in the way.
    pub(crate) fn check(&self, rooms: &Rooms, data: &DataFolder) -> Result<(), Problem> {
        let wrong: Vec<Check> = self.checks(rooms, data).into_iter().filter(|check| !check.ok).collect();
        let Some(first) = wrong.first() else { return Ok(()) };
        let what: Vec<&str> = wrong.iter().map(|check| check.what.as_str()).collect();
        Err(Problem::new(ProblemKind::Unavailable, what.join(" "), first.cure.clone()))
    }
}

fn records(rooms: &Rooms) -> Check {
    let taken = rooms.store.check_writable();
    judged("records", taken.map(|()| "can be written".to_owned()))
}

fn repositories(rooms: &Rooms) -> Check {
    let taken = rooms.repositories.check_writable().map_err(Problem::from);
    judged("repositories", taken.map(|()| "their folder can be written in".to_owned()))
}

/// Whether there is room for a push.
fn room(path: &Path) -> Check {
    room_for(path, (ROOM_BYTES_MIN, "a push"))
}

/// Whether there is room for all that a server does: what the doctor asks.
pub(crate) fn ample_room(path: &Path) -> Check {
    let for_a_push = room(path);
    if for_a_push.ok { room_for(path, (FREE_BYTES_MIN, "builds and packing anew")) } else { for_a_push }
}

/// The one row about free space.
pub(crate) const DISK: &str = "disk";

fn room_for(path: &Path, (least, what_for): (u64, &str)) -> Check {
    let name = DISK;
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(error) => {
            let what = format!("The server's disk cannot be looked at: {error}.");
            return fail(name, &what, "Check the data folder and its permissions.");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < least {
        let has = if free < 10 << 20 { format!("{} KiB", free >> 10) } else { format!("{} MiB", free >> 20) };
        let what = format!("The server's disk has {has} free; {what_for} may need {} MiB.", least >> 20);
        return fail(name, &what, FREE_SPACE);
    }
    // Some file systems count no files.
    if stat.f_files > 0 && stat.f_favail < ROOM_FILES_MIN {
        let what = format!(
            "The server's disk has room for {} more files; a push may need {ROOM_FILES_MIN}.",
            stat.f_favail
        );
        return fail(name, &what, FREE_SPACE);
    }
    ok(name, &format!("has {} MiB free", free >> 20))
}

const FREE_SPACE: &str = "Free space on the server's disk; no restart is needed.";
