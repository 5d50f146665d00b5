//! What a repository has applied to a cluster.

use slipway_core::deploy::InventoryEntry;
use slipway_core::{ClusterName, Problem, RepoId};

use crate::error::StoreError;
use crate::keys;
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// What a repository has applied to a cluster.
    pub fn inventory(&self, repo: RepoId, cluster: &ClusterName) -> Result<Vec<InventoryEntry>, StoreError> {
        Ok(self.get(&keys::inventory(repo, cluster))?.unwrap_or_default())
    }
}

impl Tx<'_> {
    /// Replaces that list.
    pub fn put_inventory(
        &mut self,
        repo: RepoId,
        cluster: &ClusterName,
        entries: &[InventoryEntry],
    ) -> Result<(), StoreError> {
        self.need_repo(repo)?;
        let key = keys::inventory(repo, cluster);
        if entries.is_empty() { self.remove(key) } else { self.put(key, &entries).map(drop) }
    }

    /// Forgets a repository's inventories, as part of its removal.
    pub(crate) fn remove_inventories_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for key in self.view().all_keys(&keys::inventories(repo))? {
            self.remove(key)?;
        }
        Ok(())
    }
}

impl Store {
    /// What a repository has applied to a cluster.
    pub fn inventory(&self, repo: RepoId, cluster: &ClusterName) -> Result<Vec<InventoryEntry>, Problem> {
        self.read(|view| view.inventory(repo, cluster))
    }
    /// Replaces that list.
    pub fn put_inventory(
        &self,
        repo: RepoId,
        cluster: &ClusterName,
        entries: &[InventoryEntry],
    ) -> Result<(), Problem> {
        self.transact(|tx| tx.put_inventory(repo, cluster, entries))
    }
}
