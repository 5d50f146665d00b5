//! Registries and clusters with their secrets, the bindings that let repositories use them, and what was applied where.

use slipway_core::accept::Bindings;
use slipway_core::deploy::InventoryEntry;
use slipway_core::target::{Cluster, ClusterBinding, Registry, RegistryBinding, RepoRecord};
use slipway_core::{ClusterName, ProblemKind, RegistryName, RepoId, Secret};

use super::{refusal, repos};
use crate::disk::{Change, Disk, Scan};
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::limits::{SECRET_BYTES_MAX, TARGETS_MAX, TEXT_BYTES_MAX};
use crate::vault::{Sealed, Vault};

/// Most repositories that a refusal names.
const NAMED_MAX: usize = 5;

pub(super) fn put_registry(
    disk: &Disk,
    vault: &Vault,
    registry: &Registry,
    password: Option<&Secret>,
) -> Result<(), StoreError> {
    for text in [&registry.host, &registry.prefix] {
        refusal::check_length("registry's address", text, TEXT_BYTES_MAX)?;
    }
    let secret_key = keys::registry_password(&registry.name);
    let sealed = password.map(|secret| seal(vault, &secret_key, secret)).transpose()?;
    disk.write(|change| {
        check_room(change, &keys::registry(&registry.name), &keys::registries(), "registries")?;
        change.put(keys::registry(&registry.name), registry)?;
        match &sealed {
            Some(sealed) => change.put(secret_key, sealed).map(drop),
            None => change.remove(secret_key),
        }
    })
}

pub(super) fn registry(disk: &Disk, name: &RegistryName) -> Result<Option<Registry>, StoreError> {
    disk.read(|view| view.get(&keys::registry(name)))
}

pub(super) fn registry_password(
    disk: &Disk,
    vault: &Vault,
    name: &RegistryName,
) -> Result<Option<Secret>, StoreError> {
    unseal(disk, vault, &keys::registry_password(name))
}

pub(super) fn registries(disk: &Disk) -> Result<Vec<Registry>, StoreError> {
    disk.read(|view| view.records(&keys::registries(), Scan::Up).collect())
}

pub(super) fn remove_registry(disk: &Disk, name: &RegistryName) -> Result<(), StoreError> {
    disk.write(|change| {
        if !change.has(&keys::registry(name))? {
            return Err(refusal::missing("registry", name));
        }
        check_unbound(change, &keys::bound_to_registry(name), &format!("registry {name}"), "--registry")?;
        change.remove(keys::registry_password(name))?;
        change.remove(keys::registry(name))
    })
}

pub(super) fn put_cluster(
    disk: &Disk,
    vault: &Vault,
    cluster: &Cluster,
    kubeconfig: &Secret,
) -> Result<(), StoreError> {
    refusal::check_length("cluster's address", &cluster.server, TEXT_BYTES_MAX)?;
    let secret_key = keys::kubeconfig(&cluster.name);
    let sealed = seal(vault, &secret_key, kubeconfig)?;
    disk.write(|change| {
        check_room(change, &keys::cluster(&cluster.name), &keys::clusters(), "clusters")?;
        change.put(keys::cluster(&cluster.name), cluster)?;
        change.put(secret_key, &sealed).map(drop)
    })
}

pub(super) fn cluster(disk: &Disk, name: &ClusterName) -> Result<Option<Cluster>, StoreError> {
    disk.read(|view| view.get(&keys::cluster(name)))
}

pub(super) fn kubeconfig(
    disk: &Disk,
    vault: &Vault,
    name: &ClusterName,
) -> Result<Option<Secret>, StoreError> {
    unseal(disk, vault, &keys::kubeconfig(name))
}

pub(super) fn clusters(disk: &Disk) -> Result<Vec<Cluster>, StoreError> {
    disk.read(|view| view.records(&keys::clusters(), Scan::Up).collect())
}

pub(super) fn remove_cluster(disk: &Disk, name: &ClusterName) -> Result<(), StoreError> {
    disk.write(|change| {
        if !change.has(&keys::cluster(name))? {
            return Err(refusal::missing("cluster", name));
        }
        check_unbound(change, &keys::bound_to_cluster(name), &format!("cluster {name}"), "--cluster")?;
        change.remove(keys::kubeconfig(name))?;
        change.remove(keys::cluster(name))
    })
}

fn seal(vault: &Vault, key: &Key, secret: &Secret) -> Result<Sealed, StoreError> {
    refusal::check_length(&key.to_string(), secret.expose(), SECRET_BYTES_MAX)?;
    vault.seal(key, secret).ok_or_else(|| {
        let told = format!("The {key} cannot be encrypted.");
        refusal::refuse(ProblemKind::Broken, told, "Check that the system has a working random source.")
    })
}

fn unseal(disk: &Disk, vault: &Vault, key: &Key) -> Result<Option<Secret>, StoreError> {
    let Some(sealed) = disk.read(|view| view.get::<Sealed>(key))? else { return Ok(None) };
    vault.open(key, &sealed).map(Some).ok_or_else(|| StoreError::Sealed { what: key.to_string() })
}

fn check_room(change: &Change<'_>, key: &Key, all: &Key, what: &str) -> Result<(), StoreError> {
    if !change.has(key)? && change.before().keys(all, Scan::Up).count() >= TARGETS_MAX {
        return Err(refusal::full(what, TARGETS_MAX));
    }
    Ok(())
}

fn check_unbound(change: &Change<'_>, bound: &Key, what: &str, flag: &str) -> Result<(), StoreError> {
    let view = change.before();
    let mut names = Vec::new();
    for mark in view.keys(bound, Scan::Up).take(NAMED_MAX) {
        let Some(id) = mark?.last_number() else { continue };
        let repo: Option<RepoRecord> = view.get(&keys::repo(RepoId(id)))?;
        names.push(repo.map_or_else(|| format!("number {id}"), |r| r.name.to_string()));
    }
    let Some(first) = names.first() else { return Ok(()) };
    let cure = format!("Unbind them first: slipway unbind {first} {flag}");
    let all = view.keys(bound, Scan::Up).count();
    let more = if all > names.len() { format!(" and {} more", all - names.len()) } else { String::new() };
    let told = format!("The {what} is in use by {}{more}.", names.join(", "));
    Err(refusal::refuse(ProblemKind::Conflict, told, cure))
}

pub(super) fn bindings(disk: &Disk, repo: RepoId) -> Result<Bindings, StoreError> {
    disk.read(|view| {
        Ok(Bindings {
            registry: view.get(&keys::registry_binding(repo))?,
            cluster: view.get(&keys::cluster_binding(repo))?,
        })
    })
}

pub(super) fn bind_registry(disk: &Disk, binding: &RegistryBinding) -> Result<(), StoreError> {
    refusal::check_length("image path", &binding.image, TEXT_BYTES_MAX)?;
    disk.write(|change| {
        repos::must_exist(change, binding.repo)?;
        if !change.has(&keys::registry(&binding.registry))? {
            return Err(refusal::missing("registry", &binding.registry));
        }
        forget_registry_binding(change, binding.repo)?;
        change.mark(keys::repo_bound_to_registry(&binding.registry, binding.repo));
        change.put(keys::registry_binding(binding.repo), binding).map(drop)
    })
}

pub(super) fn bind_cluster(disk: &Disk, binding: &ClusterBinding) -> Result<(), StoreError> {
    refusal::check_length("path", &binding.path, TEXT_BYTES_MAX)?;
    disk.write(|change| {
        repos::must_exist(change, binding.repo)?;
        if !change.has(&keys::cluster(&binding.cluster))? {
            return Err(refusal::missing("cluster", &binding.cluster));
        }
        forget_cluster_binding(change, binding.repo)?;
        change.mark(keys::repo_bound_to_cluster(&binding.cluster, binding.repo));
        change.put(keys::cluster_binding(binding.repo), binding).map(drop)
    })
}

pub(super) fn unbind_registry(disk: &Disk, repo: RepoId) -> Result<(), StoreError> {
    disk.write(|change| forget_registry_binding(change, repo))
}

pub(super) fn unbind_cluster(disk: &Disk, repo: RepoId) -> Result<(), StoreError> {
    disk.write(|change| forget_cluster_binding(change, repo))
}

fn forget_registry_binding(change: &mut Change<'_>, repo: RepoId) -> Result<(), StoreError> {
    let key = keys::registry_binding(repo);
    let Some(old) = change.get::<RegistryBinding>(&key)? else { return Ok(()) };
    change.remove(keys::repo_bound_to_registry(&old.registry, repo))?;
    change.remove(key)
}

fn forget_cluster_binding(change: &mut Change<'_>, repo: RepoId) -> Result<(), StoreError> {
    let key = keys::cluster_binding(repo);
    let Some(old) = change.get::<ClusterBinding>(&key)? else { return Ok(()) };
    change.remove(keys::repo_bound_to_cluster(&old.cluster, repo))?;
    change.remove(key)
}

pub(super) fn inventory(
    disk: &Disk,
    repo: RepoId,
    cluster: &ClusterName,
) -> Result<Vec<InventoryEntry>, StoreError> {
    Ok(disk.read(|view| view.get(&keys::inventory(repo, cluster)))?.unwrap_or_default())
}

pub(super) fn put_inventory(
    disk: &Disk,
    repo: RepoId,
    cluster: &ClusterName,
    entries: &[InventoryEntry],
) -> Result<(), StoreError> {
    disk.write(|change| {
        repos::must_exist(change, repo)?;
        let key = keys::inventory(repo, cluster);
        if entries.is_empty() { change.remove(key) } else { change.put(key, &entries).map(drop) }
    })
}

/// Forgets a repository's bindings and inventories, as part of its removal.
pub(super) fn remove_of_repo(change: &mut Change<'_>, repo: RepoId) -> Result<(), StoreError> {
    forget_registry_binding(change, repo)?;
    forget_cluster_binding(change, repo)?;
    let view = change.before();
    for key in view.keys(&keys::inventories(repo), Scan::Up) {
        change.remove(key?)?;
    }
    Ok(())
}
