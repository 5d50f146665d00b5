//! Threads that hash and check whole objects while the pack's next bytes arrive.
//!
//! Objects go over in batches, each with its bytes; the ids come back in the same batch, whose buffers are used again.
//! The number of batches bounds the memory and makes the reader wait when the threads fall behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use slipway_core::{ObjectFormat, Oid};

use super::admit::admit;
use super::entries::Entries;
use super::links::{Links, Recent};
use crate::error::{RepoError, Result};
use crate::limits::{BATCH_BYTES, BATCH_OBJECTS, BATCHES_PER_THREAD};
use crate::object::Kind;

/// Some objects, one after the other.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    objects: Vec<Item>,
    ids: Vec<Oid>,
}

struct Item {
    entry: u32,
    kind: Kind,
    end: usize,
}

type Tray = Mutex<Receiver<Batch>>;

/// The threads' reader's end.
pub(crate) struct Pool {
    work: SyncSender<Batch>,
    done: Receiver<Result<Batch>>,
    current: Batch,
    /// Batches that may still be made.
    unmade: usize,
    free: Vec<Batch>,
    /// Batches that are on their way.
    out: usize,
}

impl Pool {
    /// Starts `threads` of them; they end when the pool is dropped.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        threads: usize,
        format: ObjectFormat,
        links: &'scope Links,
    ) -> Self {
        let batches = threads * BATCHES_PER_THREAD + 1;
        let (work, tray) = sync_channel(batches);
        let (answer, done) = sync_channel(batches);
        let tray = Arc::new(Mutex::new(tray));
        for number in 0..threads {
            let (answer, tray) = (answer.clone(), tray.clone());
            let name = format!("receive-{number}");
            // Where no thread can be had, the others do its work; without any, the first answer is an error.
            let started =
                Builder::new().name(name).spawn_scoped(scope, move || serve(format, links, &tray, &answer));
            if let Err(e) = started {
                tracing::warn!("a thread for receiving could not be started: {e}");
            }
        }
        Self { work, done, current: Batch::default(), unmade: batches - 1, free: Vec::new(), out: 0 }
    }

    /// Where the next object's bytes are to be appended.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.current.bytes
    }

    /// Ends the object that was appended.
    pub(crate) fn put(&mut self, entry: u32, kind: Kind, entries: &Entries) -> Result<()> {
        let end = self.current.bytes.len();
        self.current.objects.push(Item { entry, kind, end });
        if end >= BATCH_BYTES || self.current.objects.len() >= BATCH_OBJECTS {
            self.send(entries)?;
        }
        Ok(())
    }

    fn send(&mut self, entries: &Entries) -> Result<()> {
        while let Ok(answer) = self.done.try_recv() {
            self.take(answer?, entries);
        }
        if self.free.is_empty() && self.unmade == 0 {
            self.wait(entries)?;
        }
        self.unmade -= usize::from(self.free.is_empty());
        let next = self.free.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.current, next);
        self.out += 1;
        self.work.send(full).map_err(|_| gone())
    }

    fn wait(&mut self, entries: &Entries) -> Result<()> {
        let batch = self.done.recv().map_err(|_| gone())??;
        self.take(batch, entries);
        Ok(())
    }

    fn take(&mut self, mut batch: Batch, entries: &Entries) {
        for (item, id) in batch.objects.drain(..).zip(batch.ids.drain(..)) {
            entries.set_id(item.entry, &id);
        }
        batch.bytes.clear();
        self.out -= 1;
        self.free.push(batch);
    }

    /// Waits for all that is on its way.
    pub(crate) fn finish(mut self, entries: &Entries) -> Result<()> {
        if !self.current.objects.is_empty() {
            self.send(entries)?;
        }
        while self.out > 0 {
            self.wait(entries)?;
        }
        Ok(())
    }
}

fn gone() -> RepoError {
    RepoError::Fault { what: "a thread that checks received objects ended early" }
}

fn serve(format: ObjectFormat, links: &Links, tray: &Tray, answer: &SyncSender<Result<Batch>>) {
    let mut recent = Recent::new(links);
    loop {
        let next = tray.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut batch) = next else { return };
        // A panic must not leave the reader waiting for the batch.
        let done = catch_unwind(AssertUnwindSafe(|| check(format, links, &mut recent, &mut batch)));
        let done = done.unwrap_or_else(|_| Err(gone())).map(|()| batch);
        let failed = done.is_err();
        if answer.send(done).is_err() || failed {
            return;
        }
    }
}

fn check(format: ObjectFormat, links: &Links, recent: &mut Recent, batch: &mut Batch) -> Result<()> {
    let mut start = 0;
    for item in &batch.objects {
        batch.ids.push(admit(format, item.kind, &batch.bytes[start..item.end], links, recent)?);
        start = item.end;
    }
    Ok(())
}
