//! What one of the two services shows of a repository: its settings, and its current generation without the refs that
//! they hide. What only hidden refs reach is not reachable in such a view: it is neither sent nor acknowledged nor built
//! upon.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use slipway_core::RefName;

use crate::error::Result;
use crate::refs::Stamps;
use crate::repository::Repository;
use crate::settings::{ConfigValue, Settings};
use crate::snapshot::Snapshot;

/// Which service asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Fetch and clone.
    Fetch,
    /// Push.
    Push,
    /// What one of the two shows: all that somebody who pushes may know of, and build upon. A client that negotiates
    /// its push (`push.negotiate`) leaves out what a fetch would show it.
    Either,
}

/// One generation as a service shows it.
#[derive(Clone)]
pub struct View {
    /// What the repository's config says.
    pub settings: Arc<Settings>,
    /// The generation without hidden refs.
    pub snapshot: Arc<Snapshot>,
    /// The generation with all refs.
    pub whole: Arc<Snapshot>,
}

/// Settings and views that were made, kept until what they were made of changes.
pub(crate) struct Views {
    base: Settings,
    files: Vec<PathBuf>,
    last: Vec<ConfigValue>,
    read: Mutex<Option<(Arc<Settings>, Stamps)>>,
    fetch: Mutex<Option<View>>,
    push: Mutex<Option<View>>,
    either: Mutex<Option<View>>,
}

impl Views {
    /// Of a repository whose settings come from `files`, on top of `base`.
    pub(crate) fn new(base: Settings, files: Vec<PathBuf>) -> Self {
        let last = Vec::new();
        let (fetch, push, either) = Default::default();
        Self { base, files, last, read: Mutex::default(), fetch, push, either }
    }

    /// Values that count whatever the files say.
    pub(crate) fn overrule(&mut self, last: Vec<ConfigValue>) {
        self.last = last;
    }
}

impl Repository {
    /// What its config says (read again when it changes).
    pub fn settings(&self) -> Result<Arc<Settings>> {
        let views = self.views();
        let mut read = views.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((settings, stamps)) = &*read
            && stamps.still_hold()?
        {
            return Ok(settings.clone());
        }
        let mut stamps = Stamps::new();
        for file in &views.files {
            stamps.take(file.clone())?;
        }
        let paths: Vec<&Path> = views.files.iter().map(PathBuf::as_path).collect();
        let fresh = views.base.clone().read(&paths, &views.last)?;
        let settings = match &*read {
            Some((before, _)) if **before == fresh => before.clone(),
            _ => Arc::new(fresh),
        };
        *read = Some((settings.clone(), stamps));
        Ok(settings)
    }

    /// The current generation as that service shows it.
    pub fn view(&self, side: Side) -> Result<View> {
        let settings = self.settings()?;
        let whole = self.snapshot()?;
        let (fetch, push) = (&settings.hidden_from_fetch, &settings.hidden_from_push);
        let (views, all_shown) = (self.views(), (fetch.is_empty(), push.is_empty()));
        let (kept, whole_is_shown) = match side {
            Side::Fetch => (&views.fetch, all_shown.0),
            Side::Push => (&views.push, all_shown.1),
            Side::Either => (&views.either, all_shown.0 || all_shown.1),
        };
        let hides = |name: &str| match side {
            Side::Fetch => fetch.hides(name),
            Side::Push => push.hides(name),
            Side::Either => fetch.hides(name) && push.hides(name),
        };
        if whole_is_shown {
            return Ok(View { settings, snapshot: whole.clone(), whole });
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = &*kept
            && Arc::ptr_eq(&view.whole, &whole)
            && Arc::ptr_eq(&view.settings, &settings)
        {
            return Ok(view.clone());
        }
        let snapshot = Arc::new(whole.without(&hides)?);
        let view = View { settings, snapshot, whole };
        *kept = Some(view.clone());
        Ok(view)
    }
}

impl Snapshot {
    /// The same generation without some of its refs. HEAD goes with the branch that it names.
    fn without(&self, hides: &dyn Fn(&str) -> bool) -> Result<Self> {
        let is_hidden = |name: &RefName| hides(name.as_str());
        let head = if is_hidden(&self.head) { crate::refs::head_itself()? } else { self.head.clone() };
        let mut view = Self::new(
            self.objects.clone(),
            self.format,
            head,
            self.packs.load_full(),
            self.graph.clone(),
            self.findings.answers.clone(),
        );
        let shown =
            self.refs.iter().filter(|r| !is_hidden(&r.name) && !r.symref.as_ref().is_some_and(is_hidden));
        view.refs = shown.cloned().collect();
        view.lost = self.lost.iter().filter(|(name, _)| !is_hidden(name)).cloned().collect();
        Ok(view)
    }
}
