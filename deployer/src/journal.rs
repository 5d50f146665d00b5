//! What a deploy tells while it works, and the board on which it keeps its objects.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use slipway_core::Problem;
use slipway_core::deploy::{Change, Health, InventoryEntry, ObjectReport, Phase};
use tokio::time::Instant;

use crate::health::Verdict;
use crate::limits::{MESSAGE_BYTES_MAX, NOTE_BYTES_MAX, NOTES_MAX, PROGRESS_PAUSE_MS, cut};
use crate::owner::Key;
use crate::place::Wanted;

/// Whoever records a deploy. Calls come in order, from one task at a time.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Records, durably and before anything else happens, all objects that this repository may have in the cluster.
    /// What is not recorded here is never deleted.
    async fn save_inventory(&self, entries: Vec<InventoryEntry>) -> Result<(), Problem>;
    /// A phase begins.
    async fn entered(&self, phase: Phase);
    /// Objects changed, or their health did; always all of them, at most every [`PROGRESS_PAUSE_MS`].
    async fn progress(&self, objects: &[ObjectReport]);
    /// A remark, said once.
    async fn note(&self, note: String);
}

/// Records nothing: for looks that write nothing.
pub(crate) struct Silence;

#[async_trait]
impl Journal for Silence {
    async fn save_inventory(&self, _entries: Vec<InventoryEntry>) -> Result<(), Problem> {
        Ok(())
    }
    async fn entered(&self, _phase: Phase) {}
    async fn progress(&self, _objects: &[ObjectReport]) {}
    async fn note(&self, _note: String) {}
}

/// A deploy's objects as reports, and what was said about them.
pub(crate) struct Board<'a> {
    journal: &'a dyn Journal,
    inner: Mutex<Inner>,
}

struct Inner {
    reports: Vec<ObjectReport>,
    /// Changed since the last report.
    dirty: bool,
    told: Option<Instant>,
    notes: Vec<String>,
    said: BTreeSet<String>,
}

impl<'a> Board<'a> {
    pub(crate) fn new(journal: &'a dyn Journal, wanted: &[Wanted]) -> Self {
        let reports = wanted.iter().map(|w| report(&w.key, &w.kind.version, &w.source)).collect();
        let inner = Inner { reports, dirty: true, told: None, notes: Vec::new(), said: BTreeSet::new() };
        Self { journal, inner: Mutex::new(inner) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds an object that is no longer wanted; returns its place.
    pub(crate) fn add(&self, key: &Key, version: &str, change: Change, message: &str) -> usize {
        self.with(|inner| {
            let mut one = report(key, version, "");
            one.change = change;
            one.message = cut(message, MESSAGE_BYTES_MAX);
            inner.reports.push(one);
            inner.dirty = true;
            inner.reports.len() - 1
        })
    }

    pub(crate) fn changed(&self, at: usize, change: Change) {
        self.edit(at, |r| r.change = change);
    }

    pub(crate) fn message(&self, at: usize, message: &str) {
        self.edit(at, |r| r.message = cut(message, MESSAGE_BYTES_MAX));
    }

    pub(crate) fn verdict(&self, at: usize, verdict: &Verdict) {
        self.edit(at, |r| {
            r.health = verdict.health;
            r.message = cut(&verdict.message, MESSAGE_BYTES_MAX);
        });
    }

    fn edit(&self, at: usize, f: impl FnOnce(&mut ObjectReport)) {
        self.with(|inner| {
            if let Some(one) = inner.reports.get_mut(at) {
                let before = one.clone();
                f(one);
                inner.dirty |= *one != before;
            }
        });
    }

    /// Keeps a remark for the next [`Board::tell`].
    pub(crate) fn note(&self, note: impl Into<String>) {
        let note = cut(&note.into(), NOTE_BYTES_MAX);
        self.with(|inner| {
            if inner.said.len() < NOTES_MAX && inner.said.insert(note.clone()) {
                inner.notes.push(note);
            }
        });
    }

    /// Tells the journal what is new, unless it was told just now.
    pub(crate) async fn tell(&self) {
        self.tell_if(false).await;
    }

    /// Tells the journal what is new.
    pub(crate) async fn tell_now(&self) {
        self.tell_if(true).await;
    }

    async fn tell_if(&self, now: bool) {
        let (notes, reports) = self.with(|inner| {
            let pause = Duration::from_millis(PROGRESS_PAUSE_MS);
            let due = now || inner.told.is_none_or(|t| t.elapsed() >= pause);
            let reports = (due && inner.dirty).then(|| inner.reports.clone());
            if reports.is_some() {
                inner.dirty = false;
                inner.told = Some(Instant::now());
            }
            (std::mem::take(&mut inner.notes), reports)
        });
        for note in notes {
            self.journal.note(note).await;
        }
        if let Some(reports) = reports {
            self.journal.progress(&reports).await;
        }
    }

    pub(crate) async fn entered(&self, phase: Phase) {
        self.tell_now().await;
        self.journal.entered(phase).await;
    }

    pub(crate) async fn save_inventory(&self, entries: Vec<InventoryEntry>) -> Result<(), Problem> {
        self.journal.save_inventory(entries).await
    }

    pub(crate) fn reports(&self) -> Vec<ObjectReport> {
        self.with(|inner| inner.reports.clone())
    }
}

fn report(key: &Key, version: &str, source: &str) -> ObjectReport {
    ObjectReport {
        group: key.group.clone(),
        version: version.to_owned(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        source: source.to_owned(),
        change: Change::Pending,
        health: Health::Unknown,
        message: String::new(),
    }
}
