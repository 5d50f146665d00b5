//! Registries, clusters, and the bindings that let a repository use them. Granting reach beyond a repository is an
//! owner's act; taking it away is also its admins'.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::Path;
use axum::routing::{delete, get, post, put};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::accept::Bindings;
use slipway_core::target::{Cluster, ClusterBinding, DryRun, Registry, RegistryBinding, RegistryKind};
use slipway_core::{Action, ClusterName, Problem, ProblemKind, RefName, RegistryName, RepoId, Secret};

use super::Endpoint;
use super::address::{default_image, is_dns_label, is_image_part, read_address, read_folder};
use super::input::{Body, Keys, Window};
use crate::limits::{ADDRESS_BYTES_MAX, KUBECONFIG_BYTES_MAX, NAMESPACES_MAX};
use crate::refusal::{Answer, invalid};
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/registries", "List registries", || get(registries))
        .asks(&["limit", "after"])
        .gives(200, "Registries"),
    Endpoint::new("GET", "/registries/{name}", "Show a registry", || get(registry)).gives(200, "Registry"),
    Endpoint::new("PUT", "/registries/{name}", "Add or replace a registry", || put(put_registry))
        .takes("NewRegistry")
        .gives(200, "Registry"),
    Endpoint::new("POST", "/registries/{name}/test", "Speak to a registry", || post(test_registry))
        .gives(200, "TestAnswer"),
    Endpoint::new("DELETE", "/registries/{name}", "Remove a registry", || delete(remove_registry))
        .gives_nothing(),
    Endpoint::new("GET", "/clusters", "List clusters", || get(clusters))
        .asks(&["limit", "after"])
        .gives(200, "Clusters"),
    Endpoint::new("GET", "/clusters/{name}", "Show a cluster", || get(cluster)).gives(200, "Cluster"),
    Endpoint::new("PUT", "/clusters/{name}", "Add or replace a cluster", || put(put_cluster))
        .takes("NewCluster")
        .gives(200, "Cluster"),
    Endpoint::new("POST", "/clusters/{name}/test", "Speak to a cluster", || post(test_cluster))
        .gives(200, "TestAnswer"),
    Endpoint::new("DELETE", "/clusters/{name}", "Remove a cluster", || delete(remove_cluster))
        .gives_nothing(),
    Endpoint::new("GET", "/repos/{repo}/bindings", "Show what a repository is bound to", || get(bindings))
        .gives(200, "Bindings"),
    Endpoint::new("PUT", "/repos/{repo}/bindings/registry", "Bind to a registry", || put(bind_registry))
        .takes("NewRegistryBinding")
        .gives(200, "RegistryBinding"),
    Endpoint::new("DELETE", "/repos/{repo}/bindings/registry", "Unbind from its registry", || {
        delete(unbind_registry)
    })
    .gives_nothing(),
    Endpoint::new("PUT", "/repos/{repo}/bindings/cluster", "Bind to a cluster", || put(bind_cluster))
        .takes("NewClusterBinding")
        .gives(200, "ClusterBinding"),
    Endpoint::new("DELETE", "/repos/{repo}/bindings/cluster", "Unbind from its cluster", || {
        delete(unbind_cluster)
    })
    .gives_nothing(),
];

async fn registries(visit: Visit, Keys(window): Keys<Window>) -> Answer<Json<Value>> {
    visit.may(Action::AdminServer)?;
    let (rows, next) = window.cut(visit.store(|s| s.registries()).await?, |r| r.name.as_str())?;
    Ok(Json(json!({"registries": rows, "next": next})))
}

async fn registry(visit: Visit, Path(name): Path<String>) -> Answer<Json<Registry>> {
    visit.may(Action::AdminServer)?;
    let name = RegistryName::parse(&name)?;
    visit.store(move |s| s.registry(&name)?.ok_or_else(|| no_registry(&name))).await.map(Json)
}

/// A registry as described by whoever adds it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryForm {
    pub(crate) url: String,
    #[serde(default = "generic")]
    pub(crate) kind: RegistryKind,
    pub(crate) region: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    #[serde(default)]
    pub(crate) insecure: bool,
}

fn generic() -> RegistryKind {
    RegistryKind::Generic
}

async fn put_registry(
    visit: Visit,
    Path(name): Path<String>,
    Body(form): Body<RegistryForm>,
) -> Answer<Json<Registry>> {
    save_registry(&visit, &name, form).await.map(Json)
}

pub(crate) async fn save_registry(visit: &Visit, name: &str, form: RegistryForm) -> Answer<Registry> {
    visit.may(Action::AdminServer)?;
    let (host, prefix) = read_address(&form.url)?;
    let plain = |text: Option<String>| text.filter(|t| !t.is_empty());
    let (region, username) = (plain(form.region), plain(form.username));
    for text in region.iter().chain(&username) {
        if text.len() > ADDRESS_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(invalid(
                "The region or user name is too long or has control characters.",
                "Check it.",
            ));
        }
    }
    let registry = Registry {
        name: RegistryName::parse(name)?,
        kind: form.kind,
        host,
        prefix,
        region,
        username,
        insecure: form.insecure,
        created: visit.now(),
    };
    let row = registry.clone();
    visit.store(move |s| s.put_registry(&row, form.password.as_ref())).await?;
    Ok(registry)
}

async fn test_registry(visit: Visit, Path(name): Path<String>) -> Answer<Json<Value>> {
    visit.may(Action::AdminServer)?;
    let name = RegistryName::parse(&name)?;
    let known = name.clone();
    visit.store(move |s| s.registry(&known)?.ok_or_else(|| no_registry(&known))).await?;
    let what = visit.operations().test_registry(&name).await?;
    Ok(Json(json!({"ok": true, "what": what})))
}

async fn remove_registry(visit: Visit, Path(name): Path<String>) -> Answer<StatusCode> {
    visit.may(Action::AdminServer)?;
    let name = RegistryName::parse(&name)?;
    visit.store(move |s| s.remove_registry(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clusters(visit: Visit, Keys(window): Keys<Window>) -> Answer<Json<Value>> {
    visit.may(Action::AdminServer)?;
    let (rows, next) = window.cut(visit.store(|s| s.clusters()).await?, |c| c.name.as_str())?;
    Ok(Json(json!({"clusters": rows, "next": next})))
}

async fn cluster(visit: Visit, Path(name): Path<String>) -> Answer<Json<Cluster>> {
    visit.may(Action::AdminServer)?;
    let name = ClusterName::parse(&name)?;
    visit.store(move |s| s.cluster(&name)?.ok_or_else(|| no_cluster(&name))).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCluster {
    kubeconfig: Secret,
    context: Option<String>,
}

async fn put_cluster(
    visit: Visit,
    Path(name): Path<String>,
    Body(new): Body<NewCluster>,
) -> Answer<Json<Cluster>> {
    save_cluster(&visit, &name, new.kubeconfig, new.context).await.map(Json)
}

pub(crate) async fn save_cluster(
    visit: &Visit,
    name: &str,
    kubeconfig: Secret,
    context: Option<String>,
) -> Answer<Cluster> {
    visit.may(Action::AdminServer)?;
    let name = ClusterName::parse(name)?;
    let context = context.filter(|c| !c.is_empty());
    if kubeconfig.expose().len() > KUBECONFIG_BYTES_MAX {
        return Err(invalid(
            format!("The kubeconfig is larger than {KUBECONFIG_BYTES_MAX} bytes."),
            "Give one with a single cluster: kubectl config view --minify --flatten",
        ));
    }
    let server = visit.operations().describe_kubeconfig(&kubeconfig, context.as_deref()).await?;
    let cluster = Cluster { name, server, context, created: visit.now() };
    let row = cluster.clone();
    visit.store(move |s| s.put_cluster(&row, &kubeconfig)).await?;
    Ok(cluster)
}

async fn test_cluster(visit: Visit, Path(name): Path<String>) -> Answer<Json<Value>> {
    visit.may(Action::AdminServer)?;
    let name = ClusterName::parse(&name)?;
    let known = name.clone();
    visit.store(move |s| s.cluster(&known)?.ok_or_else(|| no_cluster(&known))).await?;
    let what = visit.operations().test_cluster(&name).await?;
    Ok(Json(json!({"ok": true, "what": what})))
}

async fn remove_cluster(visit: Visit, Path(name): Path<String>) -> Answer<StatusCode> {
    visit.may(Action::AdminServer)?;
    let name = ClusterName::parse(&name)?;
    visit.store(move |s| s.remove_cluster(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn bindings(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let record = visit.repo(&repo, Action::ReadRepo).await?;
    let Bindings { registry, cluster } = visit.store(move |s| s.bindings(record.id)).await?;
    Ok(Json(json!({"registry": registry, "cluster": cluster})))
}

/// What a repository shall be bound to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryBindingForm {
    pub(crate) registry: RegistryName,
    pub(crate) image: Option<String>,
}

async fn bind_registry(
    visit: Visit,
    Path(repo): Path<String>,
    Body(form): Body<RegistryBindingForm>,
) -> Answer<Json<RegistryBinding>> {
    save_registry_binding(&visit, &repo, form).await.map(Json)
}

pub(crate) async fn save_registry_binding(
    visit: &Visit,
    repo: &str,
    form: RegistryBindingForm,
) -> Answer<RegistryBinding> {
    visit.may(Action::AdminServer)?;
    let record = visit.repo(repo, Action::AdminRepo).await?;
    let image = match form.image.filter(|i| !i.is_empty()) {
        Some(image) => image,
        None => default_image(&record.name),
    };
    if image.len() > ADDRESS_BYTES_MAX || !image.split('/').all(is_image_part) {
        return Err(invalid(
            format!("{:?} cannot be an image path.", image.chars().take(80).collect::<String>()),
            "Use lower-case letters and digits, joined by '.', '_', '-' and '/': team/app",
        ));
    }
    let binding = RegistryBinding { repo: record.id, registry: form.registry, image };
    let row = binding.clone();
    visit
        .store(move |s| {
            s.registry(&row.registry)?.ok_or_else(|| no_registry(&row.registry))?;
            s.bind_registry(&row)
        })
        .await?;
    Ok(binding)
}

async fn unbind_registry(visit: Visit, Path(repo): Path<String>) -> Answer<StatusCode> {
    let record = visit.repo(&repo, Action::AdminRepo).await?;
    visit.store(move |s| s.unbind_registry(record.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which cluster shall follow a repository, and how.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterBindingForm {
    pub(crate) cluster: ClusterName,
    pub(crate) branch: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) namespace: Option<String>,
    #[serde(default = "yes")]
    pub(crate) prune: bool,
    #[serde(default)]
    pub(crate) dry_run: DryRun,
    #[serde(default)]
    pub(crate) allow_namespaces: BTreeSet<String>,
    #[serde(default)]
    pub(crate) cluster_scoped: bool,
}

fn yes() -> bool {
    true
}

async fn bind_cluster(
    visit: Visit,
    Path(repo): Path<String>,
    Body(form): Body<ClusterBindingForm>,
) -> Answer<Json<ClusterBinding>> {
    save_cluster_binding(&visit, &repo, form).await.map(Json)
}

pub(crate) async fn save_cluster_binding(
    visit: &Visit,
    repo: &str,
    form: ClusterBindingForm,
) -> Answer<ClusterBinding> {
    visit.may(Action::AdminServer)?;
    let record = visit.repo(repo, Action::AdminRepo).await?;
    let binding = form.read(record.id)?;
    let row = binding.clone();
    visit
        .store(move |s| {
            s.cluster(&row.cluster)?.ok_or_else(|| no_cluster(&row.cluster))?;
            s.bind_cluster(&row)
        })
        .await?;
    Ok(binding)
}

impl ClusterBindingForm {
    fn read(self, repo: RepoId) -> Answer<ClusterBinding> {
        let or = |text: Option<String>, default: &str| match text.filter(|t| !t.is_empty()) {
            Some(text) => text,
            None => default.to_owned(),
        };
        let branch = or(self.branch, "main");
        let branch = RefName::branch(branch.strip_prefix("refs/heads/").unwrap_or(&branch))?;
        let namespace = or(self.namespace, "default");
        if self.allow_namespaces.len() > NAMESPACES_MAX {
            return Err(invalid(
                format!("More than {NAMESPACES_MAX} namespaces are allowed."),
                "Name fewer.",
            ));
        }
        if let Some(bad) =
            std::iter::once(&namespace).chain(&self.allow_namespaces).find(|n| !is_dns_label(n))
        {
            return Err(invalid(
                format!("{:?} cannot be a namespace.", bad.chars().take(80).collect::<String>()),
                "Use up to 63 lower-case letters, digits and dashes, as Kubernetes does.",
            ));
        }
        Ok(ClusterBinding {
            repo,
            cluster: self.cluster,
            branch,
            path: read_folder(&or(self.path, "."))?,
            namespace,
            prune: self.prune,
            dry_run: self.dry_run,
            allow_namespaces: self.allow_namespaces,
            cluster_scoped: self.cluster_scoped,
        })
    }
}

async fn unbind_cluster(visit: Visit, Path(repo): Path<String>) -> Answer<StatusCode> {
    let record = visit.repo(&repo, Action::AdminRepo).await?;
    visit.store(move |s| s.unbind_cluster(record.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_registry(name: &RegistryName) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no registry {:?}.", name.as_str()),
        "Check the name with: slipway registry list",
    )
}

fn no_cluster(name: &ClusterName) -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        format!("There is no cluster {:?}.", name.as_str()),
        "Check the name with: slipway cluster list",
    )
}
