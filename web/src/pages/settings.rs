//! A repository's settings: what it is called, who may use it, what it may use.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use slipway_core::accept::Bindings;
use slipway_core::target::{ClusterBinding, DryRun, RegistryBinding, RepoRecord};
use slipway_core::{Action, ClusterName, RegistryName, RepoName, Role, UserName};

use super::form::Fields;
use super::frame::{Frame, go_to, html};
use crate::api::{
    ClusterBindingForm, RegistryBindingForm, RepoChange, change_repo, give_role, save_cluster_binding,
    save_registry_binding, take_role,
};
use crate::limits::ADMIN_ROWS_MAX;
use crate::link::Link;
use crate::refusal::{Answer, invalid};
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    record: RepoRecord,
    here: Link,
    grants: Vec<(UserName, &'static str)>,
    registry: Option<RegistryBinding>,
    cluster: Option<ClusterBinding>,
    cluster_branch: String,
    cluster_dry_run: &'static str,
    cluster_allows: String,
    /// What an owner can bind to; empty for everybody else.
    registries: Vec<RegistryName>,
    clusters: Vec<ClusterName>,
    owner: bool,
}

pub(crate) async fn show(visit: Visit, Path(repo): Path<String>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    visit.repo(&repo, Action::AdminRepo).await?;
    let (id, owner) = (seen.record.id, visit.is_owner());
    let (mut grants, bindings, registries, clusters) = visit
        .store(move |s| {
            let registries = if owner { s.registries()? } else { Vec::new() };
            let clusters = if owner { s.clusters()? } else { Vec::new() };
            Ok((s.grants(id)?, s.bindings(id)?, registries, clusters))
        })
        .await?;
    grants.sort();
    grants.truncate(ADMIN_ROWS_MAX);
    let Bindings { registry, cluster } = bindings;
    let bound = cluster.as_ref();
    html(&SettingsPage {
        frame: Frame::of_repo(&visit, &seen, "Settings", "Settings"),
        here: Link::page(&seen.record.name, "settings"),
        grants: grants.into_iter().map(|(user, role)| (user, role_word(role))).collect(),
        cluster_branch: bound.map_or_else(|| "main".to_owned(), |b| b.branch.short().to_owned()),
        cluster_dry_run: bound.map_or("warn", |b| dry_run_word(b.dry_run)),
        cluster_allows: bound.map(|b| join(&b.allow_namespaces)).unwrap_or_default(),
        registries: registries.into_iter().map(|r| r.name).collect(),
        clusters: clusters.into_iter().map(|c| c.name).collect(),
        record: seen.record,
        registry,
        cluster,
        owner,
    })
}

fn join(names: &std::collections::BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Read => "read",
        Role::Write => "write",
        Role::Admin => "admin",
    }
}

fn dry_run_word(dry_run: DryRun) -> &'static str {
    match dry_run {
        DryRun::Off => "off",
        DryRun::Warn => "warn",
        DryRun::Enforce => "enforce",
    }
}

pub(crate) async fn change(visit: Visit, Path(repo): Path<String>, fields: Fields) -> Answer<Response> {
    let record = visit.repo(&repo, Action::AdminRepo).await?;
    let mut name = record.name.clone();
    match fields.verb() {
        "describe" => {
            let description = Some(fields.text("description").to_owned());
            let public = Some(fields.ticked("public"));
            change_repo(&visit, &repo, RepoChange { description, public, name: None }).await?;
        }
        "rename" => {
            let new = RepoName::parse(fields.text("name"))?;
            name = change_repo(&visit, &repo, RepoChange { name: Some(new), ..RepoChange::default() })
                .await?
                .name;
        }
        "remove" if fields.text("name") == record.name.as_str() => {
            visit.operations().remove_repo(record.id).await?;
            return Ok(go_to(&Link::fixed("/")));
        }
        "remove" => {
            return Err(invalid("The name typed is not this repository's.", "Type its name to remove it."));
        }
        "grant" => {
            let role = match fields.text("role") {
                "read" => Role::Read,
                "write" => Role::Write,
                "admin" => Role::Admin,
                _ => return Err(invalid("There is no such role.", "Choose read, write or admin.")),
            };
            give_role(&visit, &repo, fields.text("user"), role).await?;
        }
        "revoke" => take_role(&visit, &repo, fields.text("user")).await?,
        "bind-registry" => {
            let registry = RegistryName::parse(fields.text("registry"))?;
            let form = RegistryBindingForm { registry, image: fields.filled("image") };
            save_registry_binding(&visit, &repo, form).await?;
        }
        "unbind-registry" => visit.store(move |s| s.unbind_registry(record.id)).await?,
        "bind-cluster" => {
            save_cluster_binding(&visit, &repo, cluster_form(&fields)?).await?;
        }
        "unbind-cluster" => visit.store(move |s| s.unbind_cluster(record.id)).await?,
        _ => return fields.unknown_verb(),
    }
    Ok(go_to(&Link::page(&name, "settings")))
}

fn cluster_form(fields: &Fields) -> Answer<ClusterBindingForm> {
    let dry_run = match fields.text("dry_run") {
        "off" => DryRun::Off,
        "warn" => DryRun::Warn,
        "enforce" => DryRun::Enforce,
        _ => return Err(invalid("There is no such kind of dry run.", "Choose off, warn or enforce.")),
    };
    Ok(ClusterBindingForm {
        cluster: ClusterName::parse(fields.text("cluster"))?,
        branch: fields.filled("branch"),
        path: fields.filled("path"),
        namespace: fields.filled("namespace"),
        prune: fields.ticked("prune"),
        dry_run,
        allow_namespaces: fields.text("allow_namespaces").split_whitespace().map(str::to_owned).collect(),
        cluster_scoped: fields.ticked("cluster_scoped"),
    })
}
