//! How a database is opened anew after a write has failed, without a restart: a disk was full and is not any more.
//!
//! The engine takes no further change after a failed one, and pages of its file that the kernel could not write may look written.
//! So the files are let go of, copied (each byte of the copy is written and synced), and the copy is opened and looked at as at
//! a start: it must be all that was acknowledged. What was applied and never became durable is then there or not, whole, as after
//! a crash; whoever asked for it has been told that it failed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::{Disk, Folder, Open, Seal};
use crate::error::StoreError;
use crate::limits::{CLOSE_MAX, MEND_PAUSE_MAX, MEND_PAUSE_MIN};

/// What keeps a database from being written, and when that is tried again.
#[derive(Default)]
pub(super) struct Trouble {
    /// What the disk said last.
    pub(super) cause: String,
    /// How often the files were opened anew.
    pub(super) mended: u64,
    next: Option<Instant>,
    pause: Duration,
}

impl Trouble {
    /// A try has failed: the next one comes later.
    fn later(&mut self) {
        self.pause = (self.pause * 2).clamp(MEND_PAUSE_MIN, MEND_PAUSE_MAX);
        self.next = Some(Instant::now() + self.pause);
    }
}

impl Disk {
    /// The files to change something in: those that are open, or after a failure, if it is time to, opened anew. Whoever asks
    /// has the turn to change something, and with it the seal.
    pub(super) fn writable(&self, seal: &mut Seal) -> Result<Arc<Open>, StoreError> {
        if !self.halted.load(Ordering::SeqCst)
            && let Some(open) = self.opened()
        {
            return Ok(open);
        }
        let Some(folder) = &self.folder else { return Err(self.halted()) };
        if self.trouble().next.is_some_and(|next| Instant::now() < next) {
            return Err(self.halted());
        }
        match self.open_anew(folder) {
            Ok((open, found)) => {
                *seal = found;
                let mut trouble = self.trouble();
                *trouble = Trouble { mended: trouble.mended + 1, ..Trouble::default() };
                tracing::info!(path = %self.path.display(), records = found.records, "the database can be written again");
                Ok(open)
            }
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "the database still cannot be written");
                let mut trouble = self.trouble();
                trouble.later();
                if let StoreError::Disk { cause, .. } = &error {
                    trouble.cause.clone_from(cause);
                }
                drop(trouble);
                let passing = matches!(error, StoreError::Disk { .. } | StoreError::Locked { .. });
                Err(if passing { self.halted() } else { error })
            }
        }
    }

    /// Opens the files anew if a write has failed, and says how often that was done since the start.
    pub(crate) fn mend(&self) -> Result<u64, StoreError> {
        if self.halted.load(Ordering::SeqCst) || self.opened().is_none() {
            self.writable(&mut self.turn())?;
        }
        Ok(self.trouble().mended)
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else holds the open files: changes wait for their turn, flushes for `durable`, looks for `view`.
    fn open_anew(&self, folder: &Folder) -> Result<(Arc<Open>, Seal), StoreError> {
        folder.has_room()?;
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = view.take() {
            close(open).map_err(|e| self.unopened(&e))?;
        }
        folder.wait_until_closed()?;
        let opening = durable.opening + 1;
        let renewed = folder.renew();
        let opened = match &renewed {
            Ok(()) => Open::carefully(folder, &self.path),
            // To be read, until there is room.
            Err(_) => Open::assemble(&self.path, super::Origin::There),
        };
        let (open, seal) = opened.map(|(open, seal)| (Arc::new(Open { opening, ..open }), seal))?;
        *view = Some(open.clone());
        renewed?;
        durable.opening = opening;
        durable.changes = self.applied.load(Ordering::SeqCst);
        durable.at = Some(Instant::now());
        self.sealed.store(seal.changes, Ordering::SeqCst);
        self.halted.store(false, Ordering::SeqCst);
        Ok((open, seal))
    }

    fn unopened(&self, error: &io::Error) -> StoreError {
        StoreError::Disk { path: self.path.clone(), doing: "opened", cause: error.to_string() }
    }
}

/// Lets go of the engine on a thread of its own: on a disk that fails it panics, and it could wait for ever.
fn close(open: Arc<Open>) -> io::Result<()> {
    let (done, closed) = mpsc::sync_channel(1);
    let closer = move || {
        drop(catch_unwind(AssertUnwindSafe(|| drop(open))));
        // Whoever waited may have given up.
        let _ = done.send(());
    };
    std::thread::Builder::new().name("database closing".into()).spawn(closer)?;
    closed.recv_timeout(CLOSE_MAX).map_err(|_| io::Error::other("the engine does not let go of its files"))
}
