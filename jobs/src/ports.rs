//! What a desk needs of the world: hands for the effects, a place for the records, and who wants to hear of changes.

use std::time::Duration;

use async_trait::async_trait;
use slipway_core::Problem;
use slipway_core::run::{Kind, Machine, WorkId};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::limits::{CHANGES_MAX, STOP_GRACE};

/// Where a machine's inputs go that come while an effect is being carried out. Closed once nobody wants them any more.
pub type Progress<W> = mpsc::Sender<<W as Machine>::Input>;

/// Carries out what one kind of work asks for. Everything here may be done twice: a crash between an effect and its record
/// is answered by doing it again.
#[async_trait]
pub trait Hands<W: Machine>: Send + Sync + 'static {
    /// Carries out one effect and says what came of it. Ends soon after `stop`.
    async fn carry_out(
        &self,
        work: &W,
        effect: &W::Effect,
        progress: Progress<W>,
        stop: &CancellationToken,
    ) -> W::Input;

    /// The work is about to be recorded as over: who reads along stops reading once it is.
    async fn conclude(&self, _: &W) {}

    /// The work is over and recorded: clean up after it.
    async fn finish(&self, _: &W) {}

    /// How soon it comes, asked when its turn in its lane has come.
    async fn rank(&self, _: &W) -> Rank {
        Rank::Then
    }

    /// How long an effect may take to end once it is told to stop.
    fn stop_grace(&self) -> Duration {
        STOP_GRACE
    }
}

/// How soon work comes once it has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// At once: it is short, and takes no place.
    Now,
    /// Before what else the same repository has waiting.
    First,
    /// In order.
    Then,
}

/// What became of a record that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk.
    Written,
    /// What it belongs to was removed meanwhile.
    Gone,
    /// Another node took the work later than whoever writes; nothing is written
    /// ([`slipway_core::run::Run::is_taken_from`]).
    Taken,
}

/// Where the records of one kind lie. Both methods block.
pub trait Records<W: Machine>: Send + Sync + 'static {
    /// Everything that is not over, oldest first.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn unfinished(&self) -> Result<Vec<W>, Problem>;

    /// Writes a record in place of the one that is there, durable when this returns.
    ///
    /// # Errors
    /// Where it cannot be written; it is tried again.
    fn put(&self, work: &W) -> Result<Kept, Problem>;
}

/// A record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Of which kind.
    pub kind: Kind,
    /// Which one.
    pub id: WorkId,
}

/// Tells of changes of all kinds. Listeners that fall behind read the records again.
#[derive(Clone, Debug)]
pub struct Changes(broadcast::Sender<Notice>);

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::Sender::new(CHANGES_MAX))
    }
}

impl Changes {
    /// Changes from now on.
    pub fn listen(&self) -> broadcast::Receiver<Notice> {
        self.0.subscribe()
    }

    pub(crate) fn tell<W: Machine>(&self, work: &W) {
        // Nobody listening is fine.
        drop(self.0.send(Notice { kind: W::KIND, id: work.id() }));
    }
}
