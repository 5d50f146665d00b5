//! Registries and clusters, and their secrets, which are never written unencrypted.

use slipway_core::target::{Cluster, Registry};
use slipway_core::{ClusterName, Problem, ProblemKind, RegistryName, RepoId, Secret};

use super::refusal;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{SECRET_BYTES_MAX, TARGETS_MAX, TEXT_BYTES_MAX};
use crate::store::Store;
use crate::tx::Tx;
use crate::vault::Sealed;
use crate::view::View;

/// Most repositories that a refusal names.
const NAMED_MAX: usize = 5;

impl View<'_> {
    /// The registry of that name.
    pub fn registry(&self, name: &RegistryName) -> Result<Option<Registry>, StoreError> {
        self.get(&keys::registry(name))
    }

    /// Its password.
    pub fn registry_password(&self, name: &RegistryName) -> Result<Option<Secret>, StoreError> {
        self.unseal(&keys::registry_password(name))
    }

    /// Registries by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn registries_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Registry>, StoreError> {
        self.page(&keys::registries(), after, limit)
    }

    /// The cluster of that name.
    pub fn cluster(&self, name: &ClusterName) -> Result<Option<Cluster>, StoreError> {
        self.get(&keys::cluster(name))
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self, name: &ClusterName) -> Result<Option<Secret>, StoreError> {
        self.unseal(&keys::kubeconfig(name))
    }

    /// Clusters by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn clusters_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Cluster>, StoreError> {
        self.page(&keys::clusters(), after, limit)
    }

    /// A secret of that key, if there is one.
    pub(crate) fn unseal(&self, key: &Key) -> Result<Option<Secret>, StoreError> {
        let Some(sealed) = self.get::<Sealed>(key)? else { return Ok(None) };
        self.vault.open(key, &sealed).map(Some).ok_or_else(|| StoreError::Sealed { what: key.to_string() })
    }

    fn check_room(&self, key: &Key, all: &Key, what: &str) -> Result<(), StoreError> {
        if !self.has(key)? && self.keys(all, Scan::Up).count() >= TARGETS_MAX {
            return Err(refusal::full(what, TARGETS_MAX));
        }
        Ok(())
    }

    fn check_unbound(&self, bound: &Key, what: &str, flag: &str) -> Result<(), StoreError> {
        let mut names = Vec::new();
        for mark in self.keys(bound, Scan::Up).take(NAMED_MAX) {
            let Some(id) = mark?.last_number() else { continue };
            let repo = self.repo(RepoId(id))?;
            names.push(repo.map_or_else(|| format!("number {id}"), |r| r.name.to_string()));
        }
        let Some(first) = names.first() else { return Ok(()) };
        let cure = format!("Unbind them first: slipway unbind {first} {flag}");
        let all = self.keys(bound, Scan::Up).count();
        let more = if all > names.len() { format!(" and {} more", all - names.len()) } else { String::new() };
        let told = format!("The {what} is in use by {}{more}.", names.join(", "));
        Err(refusal::refuse(ProblemKind::Conflict, told, cure))
    }
}

impl Tx<'_> {
    /// Records a registry (new, or in place of the one of that name) and its password, encrypted.
    pub fn put_registry(&mut self, registry: &Registry, password: Option<&Secret>) -> Result<(), StoreError> {
        for text in [&registry.host, &registry.prefix] {
            refusal::check_length("registry's address", text, TEXT_BYTES_MAX)?;
        }
        let (key, secret_key) = (keys::registry(&registry.name), keys::registry_password(&registry.name));
        self.view().check_room(&key, &keys::registries(), "registries")?;
        self.put(key, registry)?;
        match password {
            Some(password) => self.seal(secret_key, password),
            None => self.remove(secret_key),
        }
    }

    /// Forgets a registry; not while a repository is bound to it.
    pub fn remove_registry(&mut self, name: &RegistryName) -> Result<(), StoreError> {
        if !self.has(&keys::registry(name))? {
            return Err(refusal::missing("registry", name));
        }
        let (bound, what) = (keys::bound_to_registry(name), format!("registry {name}"));
        self.view().check_unbound(&bound, &what, "--registry")?;
        self.remove(keys::registry_password(name))?;
        self.remove(keys::registry(name))
    }

    /// Records a cluster (new, or in place of the one of that name) and its kubeconfig, encrypted.
    pub fn put_cluster(&mut self, cluster: &Cluster, kubeconfig: &Secret) -> Result<(), StoreError> {
        refusal::check_length("cluster's address", &cluster.server, TEXT_BYTES_MAX)?;
        let key = keys::cluster(&cluster.name);
        self.view().check_room(&key, &keys::clusters(), "clusters")?;
        self.put(key, cluster)?;
        self.seal(keys::kubeconfig(&cluster.name), kubeconfig)
    }

    /// Forgets a cluster; not while a repository is bound to it.
    pub fn remove_cluster(&mut self, name: &ClusterName) -> Result<(), StoreError> {
        if !self.has(&keys::cluster(name))? {
            return Err(refusal::missing("cluster", name));
        }
        let (bound, what) = (keys::bound_to_cluster(name), format!("cluster {name}"));
        self.view().check_unbound(&bound, &what, "--cluster")?;
        self.remove(keys::kubeconfig(name))?;
        self.remove(keys::cluster(name))
    }

    /// Records a secret under that key, encrypted.
    pub(crate) fn seal(&mut self, key: Key, secret: &Secret) -> Result<(), StoreError> {
        refusal::check_length(&key.to_string(), secret.expose(), SECRET_BYTES_MAX)?;
        let sealed = self.vault.seal(&key, secret).ok_or_else(|| {
            let told = format!("The {key} cannot be encrypted.");
            refusal::refuse(ProblemKind::Broken, told, "Check that the system has a working random source.")
        })?;
        self.put(key, &sealed).map(drop)
    }
}

impl Store {
    /// Records a registry (new, or in place of the one of that name) and its password, encrypted.
    pub fn put_registry(&self, registry: &Registry, password: Option<&Secret>) -> Result<(), Problem> {
        self.transact(|tx| tx.put_registry(registry, password))
    }
    /// The registry of that name.
    pub fn registry(&self, name: &RegistryName) -> Result<Option<Registry>, Problem> {
        self.read(|view| view.registry(name))
    }
    /// Its password.
    pub fn registry_password(&self, name: &RegistryName) -> Result<Option<Secret>, Problem> {
        self.read(|view| view.registry_password(name))
    }
    /// All registries by name: for what needs all of them.
    pub fn registries(&self) -> Result<Vec<Registry>, Problem> {
        self.registries_after(None, usize::MAX)
    }
    /// Registries by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn registries_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Registry>, Problem> {
        self.read(|view| view.registries_after(after, limit))
    }
    /// Forgets a registry; not while a repository is bound to it.
    pub fn remove_registry(&self, name: &RegistryName) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_registry(name))
    }

    /// Records a cluster (new, or in place of the one of that name) and its kubeconfig, encrypted.
    pub fn put_cluster(&self, cluster: &Cluster, kubeconfig: &Secret) -> Result<(), Problem> {
        self.transact(|tx| tx.put_cluster(cluster, kubeconfig))
    }
    /// The cluster of that name.
    pub fn cluster(&self, name: &ClusterName) -> Result<Option<Cluster>, Problem> {
        self.read(|view| view.cluster(name))
    }
    /// Its kubeconfig.
    pub fn kubeconfig(&self, name: &ClusterName) -> Result<Option<Secret>, Problem> {
        self.read(|view| view.kubeconfig(name))
    }
    /// All clusters by name: for what needs all of them.
    pub fn clusters(&self) -> Result<Vec<Cluster>, Problem> {
        self.clusters_after(None, usize::MAX)
    }
    /// Clusters by name: those after `after` (`None`: from the first), at most `limit`.
    pub fn clusters_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<Cluster>, Problem> {
        self.read(|view| view.clusters_after(after, limit))
    }
    /// Forgets a cluster; not while a repository is bound to it.
    pub fn remove_cluster(&self, name: &ClusterName) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_cluster(name))
    }
}
