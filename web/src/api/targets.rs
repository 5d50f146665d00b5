//! Registries, clusters, and the bindings that let a repository use them.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::Path;
use axum::routing::{delete, get, post, put};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_core::ceilings::Ceilings;
use slipway_core::deploy_rules::DeployRules;
use slipway_core::kind_rules::KindRules;
use slipway_core::target::{
    Cluster, DryRun, EcrSettings, PodSecurity, Registry, RegistryBinding, RegistryKind,
};
use slipway_core::trial::Trial;
use slipway_core::{ClusterName, RegistryName, Secret};
use slipway_forge::bindings::{NewClusterBinding, NewRegistryBinding};
use slipway_forge::targets::{NewRegistry, RegistrySettings};
use slipway_forge::{Page, bindings, targets};

use super::Endpoint;
use super::input::{Body, Keys};
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/registries", "List registries", || get(list_registries))
        .asks(&["limit", "after"])
        .gives(200, "Registries"),
    Endpoint::new("GET", "/registries/{name}", "Show a registry", || get(show_registry))
        .gives(200, "Registry"),
    Endpoint::new("PUT", "/registries/{name}", "Add or replace a registry", || put(put_registry))
        .takes("NewRegistry")
        .gives(200, "Registry"),
    Endpoint::new(
        "POST",
        "/registries/{name}/test",
        "Try every call that a push to a registry needs",
        || post(test_registry),
    )
    .asks(&["image", "write"])
    .gives(200, "RegistryReport"),
    Endpoint::new("DELETE", "/registries/{name}", "Remove a registry", || delete(remove_registry))
        .gives_nothing(),
    Endpoint::new("GET", "/clusters", "List clusters", || get(list_clusters))
        .asks(&["limit", "after"])
        .gives(200, "Clusters"),
    Endpoint::new("GET", "/clusters/{name}", "Show a cluster", || get(show_cluster)).gives(200, "Cluster"),
    Endpoint::new("PUT", "/clusters/{name}", "Add or replace a cluster", || put(put_cluster))
        .takes("NewCluster")
        .gives(200, "Cluster"),
    Endpoint::new("POST", "/clusters/{name}/test", "Speak to a cluster", || post(test_cluster))
        .gives(200, "TestAnswer"),
    Endpoint::new("DELETE", "/clusters/{name}", "Remove a cluster", || delete(remove_cluster))
        .gives_nothing(),
    Endpoint::new("GET", "/repos/{repo}/bindings", "Show what a repository is bound to", || {
        get(show_bindings)
    })
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
    .asks(&["delete_objects"])
    .gives(200, "Notes"),
];

async fn list_registries(visit: Visit, Keys(page): Keys<Page>) -> Answer<Json<Value>> {
    let found = visit.ask(move |forge, caller| targets::registries(forge, caller, &page)).await?;
    Ok(Json(json!({"registries": found.rows, "next": found.next})))
}

async fn show_registry(visit: Visit, Path(name): Path<String>) -> Answer<Json<Registry>> {
    let name = RegistryName::parse(&name)?;
    visit.ask(move |forge, caller| targets::registry(forge, caller, &name)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryBody {
    url: String,
    #[serde(default = "generic")]
    kind: RegistryKind,
    region: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(default)]
    insecure: bool,
    ca: Option<String>,
    #[serde(default)]
    ecr: EcrSettings,
}

fn generic() -> RegistryKind {
    RegistryKind::Generic
}

async fn put_registry(
    visit: Visit,
    Path(name): Path<String>,
    Body(new): Body<RegistryBody>,
) -> Answer<Json<Registry>> {
    let name = RegistryName::parse(&name)?;
    let RegistryBody { url, kind, region, username, password, insecure, ca, ecr } = new;
    let more = Some(RegistrySettings { ca, ecr });
    let new = NewRegistry { url, kind, region, username, password, insecure, more };
    visit.ask(move |forge, caller| targets::put_registry(forge, caller, &name, new)).await.map(Json)
}

async fn test_registry(
    visit: Visit,
    Path(name): Path<String>,
    Keys(trial): Keys<Trial>,
) -> Answer<Json<Value>> {
    let name = RegistryName::parse(&name)?;
    let report = targets::test_registry(visit.forge(), visit.caller(), &name, &trial).await?;
    Ok(Json(json!({"ok": report.ok(), "what": report.what(), "steps": report.steps})))
}

async fn remove_registry(visit: Visit, Path(name): Path<String>) -> Answer<StatusCode> {
    let name = RegistryName::parse(&name)?;
    visit.ask(move |forge, caller| targets::remove_registry(forge, caller, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_clusters(visit: Visit, Keys(page): Keys<Page>) -> Answer<Json<Value>> {
    let found = visit.ask(move |forge, caller| targets::clusters(forge, caller, &page)).await?;
    Ok(Json(json!({"clusters": found.rows, "next": found.next})))
}

async fn show_cluster(visit: Visit, Path(name): Path<String>) -> Answer<Json<Cluster>> {
    let name = ClusterName::parse(&name)?;
    visit.ask(move |forge, caller| targets::cluster(forge, caller, &name)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterBody {
    kubeconfig: Secret,
    context: Option<String>,
}

async fn put_cluster(
    visit: Visit,
    Path(name): Path<String>,
    Body(new): Body<ClusterBody>,
) -> Answer<Json<Cluster>> {
    let name = ClusterName::parse(&name)?;
    let put =
        move |forge: &_, caller: &_| targets::put_cluster(forge, caller, &name, &new.kubeconfig, new.context);
    visit.ask(put).await.map(Json)
}

async fn test_cluster(visit: Visit, Path(name): Path<String>) -> Answer<Json<Value>> {
    let name = ClusterName::parse(&name)?;
    let what = targets::test_cluster(visit.forge(), visit.caller(), &name).await?;
    Ok(Json(json!({"ok": true, "what": what})))
}

async fn remove_cluster(visit: Visit, Path(name): Path<String>) -> Answer<StatusCode> {
    let name = ClusterName::parse(&name)?;
    visit.ask(move |forge, caller| targets::remove_cluster(forge, caller, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn show_bindings(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let bound = visit.ask(move |forge, caller| bindings::show(forge, caller, &repo)).await?;
    Ok(Json(json!({"registry": bound.registry, "cluster": bound.cluster})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryBindingBody {
    registry: RegistryName,
    image: Option<String>,
    cache_group: Option<String>,
    #[serde(default)]
    may_pull: BTreeSet<String>,
    #[serde(default)]
    any_frontend: bool,
    #[serde(default)]
    remote_add: bool,
    #[serde(default)]
    builds: Ceilings,
    #[serde(default)]
    tests: Ceilings,
}

async fn bind_registry(
    visit: Visit,
    Path(repo): Path<String>,
    Body(new): Body<RegistryBindingBody>,
) -> Answer<Json<RegistryBinding>> {
    let new = NewRegistryBinding {
        registry: new.registry,
        image: new.image,
        cache_group: new.cache_group,
        may_pull: new.may_pull,
        any_frontend: new.any_frontend,
        remote_add: new.remote_add,
        builds: new.builds,
        tests: new.tests,
    };
    visit.ask(move |forge, caller| bindings::bind_registry(forge, caller, &repo, new)).await.map(Json)
}

async fn unbind_registry(visit: Visit, Path(repo): Path<String>) -> Answer<StatusCode> {
    visit.ask(move |forge, caller| bindings::unbind_registry(forge, caller, &repo)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterBindingBody {
    cluster: ClusterName,
    branch: Option<String>,
    path: Option<String>,
    namespace: Option<String>,
    #[serde(default = "yes")]
    prune: bool,
    #[serde(default)]
    dry_run: DryRun,
    #[serde(default)]
    allow_namespaces: BTreeSet<String>,
    #[serde(default)]
    cluster_scoped: bool,
    #[serde(default)]
    allow_kinds: BTreeSet<String>,
    #[serde(default)]
    deny_kinds: BTreeSet<String>,
    #[serde(default)]
    pod_security: PodSecurity,
    #[serde(default)]
    adopt: bool,
    #[serde(default)]
    require_signed: bool,
    #[serde(default)]
    allow_unsigned: BTreeSet<String>,
    #[serde(default)]
    rules: DeployRules,
}

fn yes() -> bool {
    true
}

async fn bind_cluster(
    visit: Visit,
    Path(repo): Path<String>,
    Body(new): Body<ClusterBindingBody>,
) -> Answer<Json<Value>> {
    let new = NewClusterBinding {
        cluster: new.cluster,
        branch: new.branch,
        path: new.path,
        namespace: new.namespace,
        prune: new.prune,
        dry_run: new.dry_run,
        allow_namespaces: new.allow_namespaces,
        cluster_scoped: new.cluster_scoped,
        kinds: KindRules { allow: new.allow_kinds, deny: new.deny_kinds },
        pod_security: new.pod_security,
        adopt: new.adopt,
        require_signed: new.require_signed,
        allow_unsigned: new.allow_unsigned,
        rules: new.rules,
    };
    let bound = visit.ask(move |forge, caller| bindings::bind_cluster(forge, caller, &repo, new)).await?;
    let mut answer = json!(bound.0);
    answer["notes"] = json!(bound.1);
    Ok(Json(answer))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Unbinding {
    delete_objects: bool,
}

async fn unbind_cluster(
    visit: Visit,
    Path(repo): Path<String>,
    Keys(how): Keys<Unbinding>,
) -> Answer<Json<Value>> {
    let unbind = if how.delete_objects { bindings::clear_cluster } else { bindings::unbind_cluster };
    let notes = visit.ask(move |forge, caller| unbind(forge, caller, &repo)).await?;
    Ok(Json(json!({"notes": notes})))
}
