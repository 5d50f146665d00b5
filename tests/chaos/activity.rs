//! What is done while the server is killed, and how many kills met what.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Something that a kill can cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Push,
    Clone,
    Fetch,
    Maintenance,
    PlainGit,
    Account,
    Token,
    Grant,
    Repository,
    Backup,
    ImageBuild,
    ImageTest,
    ImagePush,
    Deploy,
    Delivery,
    Start,
}

use Activity::*;

/// All of them, in the order of the table, with their names there.
const ALL: [(Activity, &str); 16] = [
    (Push, "push"),
    (Clone, "clone, in full and in part"),
    (Fetch, "fetch"),
    (Maintenance, "maintenance by hand"),
    (PlainGit, "plain git at work in the folders"),
    (Account, "account added, changed, removed"),
    (Token, "token made, removed"),
    (Grant, "role given, taken away"),
    (Repository, "repository made, described, renamed, removed"),
    (Backup, "backup"),
    (ImageBuild, "image built"),
    (ImageTest, "image tested"),
    (ImagePush, "image pushed"),
    (Deploy, "objects applied"),
    (Delivery, "webhook delivered"),
    (Start, "start after a kill"),
];

#[derive(Default)]
struct Figures {
    under_way: AtomicUsize,
    begun: AtomicUsize,
    kills: AtomicUsize,
}

/// How much was done of each, and how many kills came while it was.
#[derive(Default)]
pub(crate) struct Tally {
    figures: [Figures; ALL.len()],
    kills: AtomicUsize,
}

impl Tally {
    /// It is under way until what is returned goes.
    pub(crate) fn doing(&self, what: Activity) -> Doing<'_> {
        let figures = &self.figures[what as usize];
        figures.begun.fetch_add(1, Ordering::Relaxed);
        figures.under_way.fetch_add(1, Ordering::SeqCst);
        Doing(figures)
    }

    /// The server is killed now.
    pub(crate) fn kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        for figures in self.figures.iter().filter(|f| f.under_way.load(Ordering::SeqCst) > 0) {
            figures.kills.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn kills(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| activity | begun | kills while it was under way |\n|---|--:|--:|")?;
        for (what, name) in ALL {
            let figures = &self.figures[what as usize];
            let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
            writeln!(f, "| {name} | {} | {} |", count(&figures.begun), count(&figures.kills))?;
        }
        write!(f, "| all | | {} |", self.kills())
    }
}

/// Something that is under way.
pub(crate) struct Doing<'a>(&'a Figures);

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
