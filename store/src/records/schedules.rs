//! What starts builds of repositories by itself.

use slipway_core::schedule::Schedules;
use slipway_core::{Problem, RepoId};

use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys;
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// What starts a repository's builds, if anything does.
    pub fn schedules(&self, repo: RepoId) -> Result<Option<Schedules>, StoreError> {
        self.get(&keys::schedules(repo))
    }

    /// The repositories of which something is recorded.
    pub fn scheduled(&self) -> Result<Vec<RepoId>, StoreError> {
        let all = self.keys(&keys::all_schedules(), Scan::Up);
        all.filter_map(|key| key.map(|key| key.last_number().map(RepoId)).transpose()).collect()
    }
}

impl Tx<'_> {
    /// Replaces what starts a repository's builds.
    pub fn put_schedules(&mut self, schedules: &Schedules) -> Result<(), StoreError> {
        self.need_repo(schedules.repo)?;
        self.put(keys::schedules(schedules.repo), schedules).map(drop)
    }

    /// Forgets it; fine if there is nothing.
    pub fn remove_schedules(&mut self, repo: RepoId) -> Result<(), StoreError> {
        self.remove(keys::schedules(repo))
    }
}

impl Store {
    /// What starts a repository's builds, if anything does.
    pub fn schedules(&self, repo: RepoId) -> Result<Option<Schedules>, Problem> {
        self.read(|view| view.schedules(repo))
    }
}
