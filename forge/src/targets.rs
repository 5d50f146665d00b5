//! Registries and clusters that repositories may be bound to. For owners.

use std::sync::Arc;

use slipway_core::target::{Cluster, EcrSettings, Registry, RegistryKind};
use slipway_core::trial::{Report, Trial};
use slipway_core::{Action, ClusterName, Problem, ProblemKind, RegistryName, Secret};

use crate::access::may;
use crate::address::read_address;
use crate::bindings::check_image;
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::limits::{ADDRESS_BYTES_MAX, KUBECONFIG_BYTES_MAX};
use crate::page::{Page, Rows};
use crate::refusal::{invalid, no_cluster, no_registry};

/// A registry as described by whoever adds it.
#[derive(Clone, Debug)]
pub struct NewRegistry {
    /// `HOST[:PORT][/PREFIX]`.
    pub url: String,
    /// How it is spoken to.
    pub kind: RegistryKind,
    /// AWS region.
    pub region: Option<String>,
    /// Login name, or access key id.
    pub username: Option<String>,
    /// Password, or secret access key.
    pub password: Option<Secret>,
    /// Plain HTTP is allowed.
    pub insecure: bool,
    /// What else is set; `None` is as it was.
    pub more: Option<RegistrySettings>,
}

/// Settings of a registry that few need.
#[derive(Clone, Debug, Default)]
pub struct RegistrySettings {
    /// Authorities that are believed besides the system's, in PEM.
    pub ca: Option<String>,
    /// What ECR is told besides.
    pub ecr: EcrSettings,
}

/// All registries, by name.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub fn registries(forge: &Forge, caller: &Caller, page: &Page) -> Result<Rows<Registry>, Problem> {
    may(caller, Action::AdminServer)?;
    page.ask(|after, limit| forge.store.registries_after(after, limit), |r| r.name.as_str())
}

/// One registry.
///
/// # Errors
/// `Denied` unless the caller is an owner; `NotFound`.
pub fn registry(forge: &Forge, caller: &Caller, name: &RegistryName) -> Result<Registry, Problem> {
    may(caller, Action::AdminServer)?;
    forge.store.registry(name)?.ok_or_else(|| no_registry(name))
}

/// Adds a registry, or replaces the one of that name.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Invalid`.
pub fn put_registry(
    forge: &Forge,
    caller: &Caller,
    name: &RegistryName,
    new: NewRegistry,
) -> Result<Registry, Problem> {
    may(caller, Action::AdminServer)?;
    let (host, prefix) = read_address(&new.url)?;
    let plain = |text: Option<String>| text.filter(|t| !t.is_empty());
    let (region, username) = (plain(new.region), plain(new.username));
    for text in region.iter().chain(&username) {
        if text.len() > ADDRESS_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(invalid(
                "The region or user name is too long or has control characters.",
                "Check it.",
            ));
        }
    }
    let (name, created) = (name.clone(), forge.now());
    let RegistrySettings { ca, ecr } = match new.more {
        Some(more) => more,
        None => forge.store.registry(&name)?.filter(|r| r.kind == new.kind).map_or_else(
            RegistrySettings::default,
            |known| RegistrySettings { ca: known.ca, ecr: known.ecr },
        ),
    };
    let (kind, insecure) = (new.kind, new.insecure);
    let registry = Registry { name, kind, host, prefix, region, username, insecure, created, ca, ecr };
    check_settings(&registry)?;
    forge.outside.check_registry(&registry)?;
    forge.store.put_registry(&registry, new.password.as_ref())?;
    Ok(registry)
}

/// Whether the settings are for this kind of registry, and can be so.
fn check_settings(registry: &Registry) -> Result<(), Problem> {
    match registry.kind {
        RegistryKind::Generic if !registry.ecr.is_default() => Err(invalid(
            "Profiles, roles, endpoints, templates for repositories and scans are Amazon ECR's, and this registry is of another kind.",
            "Leave them out, or add it with --kind ecr.",
        )),
        RegistryKind::Ecr if registry.ca.is_some() => Err(invalid(
            "Authorities of its own are for registries of the kind generic: ECR's are known everywhere.",
            "Leave them out.",
        )),
        RegistryKind::Ecr if registry.username.is_some() && registry.ecr.profile.is_some() => {
            Err(invalid("An access key and a profile are two identities.", "Name one of them."))
        }
        _ => registry.ecr.check(),
    }
}

/// Tries every call that a push to a registry needs, with its stored credentials.
///
/// # Errors
/// `Denied` unless the caller is an owner; `NotFound`; `Invalid` for what cannot be an image's path.
pub async fn test_registry(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &RegistryName,
    trial: &Trial,
) -> Result<Report, Problem> {
    may(caller, Action::AdminServer)?;
    trial.image.as_deref().map_or(Ok(()), check_image)?;
    if trial.write && trial.image.is_none() {
        return Err(invalid("What is to be written needs a path.", "Name an image, too: --image team/app"));
    }
    let (floor, name) = (Arc::clone(forge), name.clone());
    // In one look: a password is for the address that it was recorded with.
    let found = blocking(move || {
        floor.store.read(|records| {
            let registry = records.registry(&name)?.ok_or_else(|| no_registry(&name))?;
            Ok((registry, records.registry_password(&name)?))
        })
    });
    let (registry, password) = found.await?;
    forge.outside.test_registry(&registry, password.as_ref(), trial).await
}

/// Removes a registry that no repository is bound to.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Conflict` while it is used; `NotFound`.
pub fn remove_registry(forge: &Forge, caller: &Caller, name: &RegistryName) -> Result<(), Problem> {
    may(caller, Action::AdminServer)?;
    forge.store.remove_registry(name)
}

/// All clusters, by name.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub fn clusters(forge: &Forge, caller: &Caller, page: &Page) -> Result<Rows<Cluster>, Problem> {
    may(caller, Action::AdminServer)?;
    page.ask(|after, limit| forge.store.clusters_after(after, limit), |c| c.name.as_str())
}

/// One cluster.
///
/// # Errors
/// `Denied` unless the caller is an owner; `NotFound`.
pub fn cluster(forge: &Forge, caller: &Caller, name: &ClusterName) -> Result<Cluster, Problem> {
    may(caller, Action::AdminServer)?;
    forge.store.cluster(name)?.ok_or_else(|| no_cluster(name))
}

/// Adds a cluster, or replaces the one of that name.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Invalid` for a kubeconfig that cannot be used.
pub fn put_cluster(
    forge: &Forge,
    caller: &Caller,
    name: &ClusterName,
    kubeconfig: &Secret,
    context: Option<String>,
) -> Result<Cluster, Problem> {
    may(caller, Action::AdminServer)?;
    let context = context.filter(|c| !c.is_empty());
    if kubeconfig.expose().len() > KUBECONFIG_BYTES_MAX {
        return Err(invalid(
            format!("The kubeconfig is larger than {KUBECONFIG_BYTES_MAX} bytes."),
            "Give one with a single cluster: kubectl config view --minify --flatten",
        ));
    }
    // What somebody gives is judged as what they gave, not as a cluster that is down.
    let server = forge.outside.api_address(name, kubeconfig, context.as_deref()).map_err(|problem| {
        let given = problem.kind == ProblemKind::Unavailable;
        Problem { kind: if given { ProblemKind::Invalid } else { problem.kind }, ..problem }
    })?;
    let cluster = Cluster { name: name.clone(), server, context, created: forge.now() };
    forge.store.put_cluster(&cluster, kubeconfig)?;
    Ok(cluster)
}

/// Speaks to a cluster with its stored credentials; a sentence on what it answered.
///
/// # Errors
/// `Denied` unless the caller is an owner; `NotFound`; what the cluster said.
pub async fn test_cluster(
    forge: &Arc<Forge>,
    caller: &Caller,
    name: &ClusterName,
) -> Result<String, Problem> {
    may(caller, Action::AdminServer)?;
    let (floor, name) = (Arc::clone(forge), name.clone());
    let found = blocking(move || {
        floor.store.read(|records| {
            let known = records.cluster(&name)?.ok_or_else(|| no_cluster(&name))?;
            let kubeconfig = records.kubeconfig(&name)?.ok_or_else(|| no_cluster(&name))?;
            Ok((known, kubeconfig))
        })
    });
    let (cluster, kubeconfig) = found.await?;
    forge.outside.test_cluster(&cluster, &kubeconfig).await
}

/// Removes a cluster that no repository is bound to.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Conflict` while it is used; `NotFound`.
pub fn remove_cluster(forge: &Forge, caller: &Caller, name: &ClusterName) -> Result<(), Problem> {
    may(caller, Action::AdminServer)?;
    forge.store.remove_cluster(name)
}
