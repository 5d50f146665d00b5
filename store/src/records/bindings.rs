//! The permissions that let a repository use a registry or a cluster, found from both sides.

use slipway_core::accept::Bindings;
use slipway_core::target::{ClusterBinding, RegistryBinding};
use slipway_core::{Problem, RegistryName, RepoId};

use super::refusal;
use crate::error::StoreError;
use crate::keys;
use crate::limits::TEXT_BYTES_MAX;
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// What a repository is bound to.
    pub fn bindings(&self, repo: RepoId) -> Result<Bindings, StoreError> {
        Ok(Bindings {
            registry: self.get(&keys::registry_binding(repo))?,
            cluster: self.get(&keys::cluster_binding(repo))?,
        })
    }

    /// The repositories that are bound to a registry.
    pub fn repos_bound_to_registry(&self, registry: &RegistryName) -> Result<Vec<RepoId>, StoreError> {
        let marks = self.all_keys(&keys::bound_to_registry(registry))?;
        Ok(marks.iter().filter_map(|mark| mark.last_number()).map(RepoId).collect())
    }
}

impl Tx<'_> {
    /// Binds a repository to a registry, in place of an earlier binding.
    pub fn bind_registry(&mut self, binding: &RegistryBinding) -> Result<(), StoreError> {
        refusal::check_length("image path", &binding.image, TEXT_BYTES_MAX)?;
        self.need_repo(binding.repo)?;
        if !self.has(&keys::registry(&binding.registry))? {
            return Err(refusal::missing("registry", &binding.registry));
        }
        self.unbind_registry(binding.repo)?;
        self.mark(keys::repo_bound_to_registry(&binding.registry, binding.repo));
        self.put(keys::registry_binding(binding.repo), binding).map(drop)
    }

    /// Binds a repository to a cluster, in place of an earlier binding.
    pub fn bind_cluster(&mut self, binding: &ClusterBinding) -> Result<(), StoreError> {
        refusal::check_length("path", &binding.path, TEXT_BYTES_MAX)?;
        self.need_repo(binding.repo)?;
        if !self.has(&keys::cluster(&binding.cluster))? {
            return Err(refusal::missing("cluster", &binding.cluster));
        }
        self.unbind_cluster(binding.repo)?;
        self.mark(keys::repo_bound_to_cluster(&binding.cluster, binding.repo));
        self.put(keys::cluster_binding(binding.repo), binding).map(drop)
    }

    /// Takes the registry binding away; fine if there is none.
    pub fn unbind_registry(&mut self, repo: RepoId) -> Result<(), StoreError> {
        let key = keys::registry_binding(repo);
        let Some(old) = self.get::<RegistryBinding>(&key)? else { return Ok(()) };
        self.remove(keys::repo_bound_to_registry(&old.registry, repo))?;
        self.remove(key)
    }

    /// Takes the cluster binding away; fine if there is none.
    pub fn unbind_cluster(&mut self, repo: RepoId) -> Result<(), StoreError> {
        let key = keys::cluster_binding(repo);
        let Some(old) = self.get::<ClusterBinding>(&key)? else { return Ok(()) };
        self.remove(keys::repo_bound_to_cluster(&old.cluster, repo))?;
        self.remove(key)
    }
}

impl Store {
    /// What a repository is bound to.
    pub fn bindings(&self, repo: RepoId) -> Result<Bindings, Problem> {
        self.read(|view| view.bindings(repo))
    }
    /// Binds a repository to a registry, in place of an earlier binding.
    pub fn bind_registry(&self, binding: &RegistryBinding) -> Result<(), Problem> {
        self.transact(|tx| tx.bind_registry(binding))
    }
    /// Binds a repository to a cluster, in place of an earlier binding.
    pub fn bind_cluster(&self, binding: &ClusterBinding) -> Result<(), Problem> {
        self.transact(|tx| tx.bind_cluster(binding))
    }
    /// Takes the registry binding away; fine if there is none.
    pub fn unbind_registry(&self, repo: RepoId) -> Result<(), Problem> {
        self.transact(|tx| tx.unbind_registry(repo))
    }
    /// Takes the cluster binding away; fine if there is none.
    pub fn unbind_cluster(&self, repo: RepoId) -> Result<(), Problem> {
        self.transact(|tx| tx.unbind_cluster(repo))
    }
}
