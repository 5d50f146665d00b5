//! A repository's settings: what it is called, who may use it, what it may use.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use slipway_core::accept::Bindings;
use slipway_core::ceilings::Ceilings;
use slipway_core::deploy_rules::{DeployRules, GateDown, IgnoreRule};
use slipway_core::kind_rules::KindRules;
use slipway_core::target::{ClusterBinding, DryRun, PodSecurity, RegistryBinding, RepoRecord};
use slipway_core::{Action, ClusterName, RegistryName, RepoName, Role, UserName};
use slipway_forge::bindings::{NewClusterBinding, NewRegistryBinding};
use slipway_forge::repositories::RepoChange;
use slipway_forge::{Page, bindings, default_branch, grants, repositories, targets};

use super::form::Fields;
use super::frame::{Frame, go_to, html};
use super::secrets::{self, SecretRow};
use super::webhooks::{self, DeliveryRow, WebhookRow};
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
    /// Empty where HEAD names none, or cannot be read: the other settings can be changed all the same.
    default_branch: String,
    grants: Vec<(UserName, &'static str)>,
    registry: Option<RegistryBinding>,
    cluster: Option<ClusterBinding>,
    cluster_branch: String,
    cluster_dry_run: &'static str,
    cluster_allows: String,
    kinds_allowed: String,
    kinds_denied: String,
    pod_security: &'static str,
    unsigned_allowed: String,
    /// Names of repositories whose images builds may use, for owners; how many, for others.
    may_pull: String,
    builds_said: String,
    tests_said: String,
    /// What an owner can bind to; empty for everybody else.
    registries: Vec<RegistryName>,
    clusters: Vec<ClusterName>,
    secrets: Vec<SecretRow>,
    webhooks: Vec<WebhookRow>,
    deliveries: Vec<DeliveryRow>,
    owner: bool,
}

pub(crate) async fn show(visit: Visit, Path(repo): Path<String>) -> Answer<Response> {
    let seen = visit.see(&repo).await?;
    let owner = visit.is_owner();
    let (head, (grants, bindings, may_pull), registries, clusters, (secrets, webhooks, deliveries)) = visit
        .ask(move |forge, caller| {
            let (all, mut registries, mut clusters) = (Page::whole(), Vec::new(), Vec::new());
            let head = default_branch::show(forge, caller, &repo).ok().flatten();
            let grants = grants::list(forge, caller, &repo, &all)?.rows;
            if owner {
                registries = targets::registries(forge, caller, &all)?.rows;
                clusters = targets::clusters(forge, caller, &all)?.rows;
            }
            let (webhooks, deliveries) = webhooks::rows(forge, caller, &repo)?;
            let told = (secrets::rows(forge, caller, &repo)?, webhooks, deliveries);
            let bound = bindings::show(forge, caller, &repo)?;
            let may_pull = match &bound.registry {
                Some(binding) if owner => {
                    let names = bindings::may_pull(forge, caller, binding)?;
                    names.iter().map(RepoName::as_str).collect::<Vec<_>>().join(" ")
                }
                Some(binding) if !binding.may_pull.is_empty() => format!("{} others", binding.may_pull.len()),
                _ => String::new(),
            };
            Ok((head, (grants, bound, may_pull), registries, clusters, told))
        })
        .await?;
    let Bindings { registry, cluster } = bindings;
    let bound = cluster.as_ref();
    html(&SettingsPage {
        frame: Frame::of_repo(&visit, &seen, "Settings", "Settings"),
        here: Link::page(&seen.record.name, "settings"),
        default_branch: head.map(|b| b.short().to_owned()).unwrap_or_default(),
        grants: grants.into_iter().take(ADMIN_ROWS_MAX).map(|(user, role)| (user, role_word(role))).collect(),
        cluster_branch: bound.map_or_else(|| "main".to_owned(), |b| b.branch.short().to_owned()),
        cluster_dry_run: bound.map_or("warn", |b| dry_run_word(b.dry_run)),
        cluster_allows: bound.map(|b| join(&b.allow_namespaces)).unwrap_or_default(),
        kinds_allowed: bound.map(|b| join(&b.kinds.allow)).unwrap_or_default(),
        kinds_denied: bound.map(|b| join(&b.kinds.deny)).unwrap_or_default(),
        pod_security: bound.map(|b| b.pod_security).unwrap_or_default().as_str(),
        unsigned_allowed: bound.map(|b| join(&b.allow_unsigned)).unwrap_or_default(),
        may_pull,
        builds_said: registry.as_ref().map(|r| r.builds.said()).unwrap_or_default(),
        tests_said: registry.as_ref().map(|r| r.tests.said()).unwrap_or_default(),
        registries: registries.into_iter().map(|r| r.name).collect(),
        clusters: clusters.into_iter().map(|c| c.name).collect(),
        record: seen.record,
        registry,
        cluster,
        secrets,
        webhooks,
        deliveries,
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
            let wanted = RepoChange { description, public, ..Default::default() };
            repositories::change(visit.forge(), visit.caller(), &repo, wanted).await?;
        }
        "default-branch" => {
            let branch = Some(fields.text("branch").to_owned());
            let wanted = RepoChange { default_branch: branch, ..Default::default() };
            repositories::change(visit.forge(), visit.caller(), &repo, wanted).await?;
        }
        "rename" => {
            let wanted =
                RepoChange { name: Some(RepoName::parse(fields.text("name"))?), ..Default::default() };
            name = repositories::change(visit.forge(), visit.caller(), &repo, wanted).await?.name;
        }
        "remove" if fields.text("name") == record.name.as_str() => {
            repositories::remove(visit.forge(), visit.caller(), &repo).await?;
            return Ok(go_to(&Link::fixed("/")));
        }
        "remove" => {
            return Err(invalid("The name typed is not this repository's.", "Type its name to remove it."));
        }
        "grant" | "revoke" => change_grant(&visit, repo, &fields).await?,
        "set-secret" | "remove-secret" => secrets::change(&visit, repo, &fields).await?,
        "add-webhook" | "remove-webhook" | "redeliver" => webhooks::change(&visit, repo, &fields).await?,
        _ => change_binding(&visit, repo, &fields).await?,
    }
    Ok(go_to(&Link::page(&name, "settings")))
}

async fn change_grant(visit: &Visit, repo: String, fields: &Fields) -> Answer<()> {
    let user = UserName::parse(fields.text("user"))?;
    if fields.verb() == "revoke" {
        return visit.ask(move |forge, caller| grants::take(forge, caller, &repo, &user)).await;
    }
    let role = match fields.text("role") {
        "read" => Role::Read,
        "write" => Role::Write,
        "admin" => Role::Admin,
        _ => return Err(invalid("There is no such role.", "Choose read, write or admin.")),
    };
    visit.ask(move |forge, caller| grants::give(forge, caller, &repo, &user, role)).await
}

async fn change_binding(visit: &Visit, repo: String, fields: &Fields) -> Answer<()> {
    match fields.verb() {
        "bind-registry" => {
            let new = registry_form(fields)?;
            visit.ask(move |forge, caller| bindings::bind_registry(forge, caller, &repo, new)).await.map(drop)
        }
        "unbind-registry" => {
            visit.ask(move |forge, caller| bindings::unbind_registry(forge, caller, &repo)).await
        }
        "bind-cluster" => {
            let new = cluster_form(fields)?;
            visit.ask(move |forge, caller| bindings::bind_cluster(forge, caller, &repo, new)).await.map(drop)
        }
        "unbind-cluster" => {
            visit.ask(move |forge, caller| bindings::unbind_cluster(forge, caller, &repo)).await.map(drop)
        }
        _ => fields.unknown_verb(),
    }
}

fn registry_form(fields: &Fields) -> Answer<NewRegistryBinding> {
    Ok(NewRegistryBinding {
        registry: RegistryName::parse(fields.text("registry"))?,
        image: fields.filled("image"),
        cache_group: fields.filled("cache_group"),
        may_pull: words(fields.text("may_pull")),
        any_frontend: fields.ticked("any_frontend"),
        remote_add: fields.ticked("remote_add"),
        builds: ceilings(fields.text("builds"))?,
        tests: ceilings(fields.text("tests"))?,
    })
}

fn words(text: &str) -> std::collections::BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn ceilings(text: &str) -> Answer<Ceilings> {
    let mut all = Ceilings::default();
    for one in text.split_whitespace() {
        all.set(one).map_err(|why| {
            invalid(format!("The limit cannot be read: {why}."), "Write it as memory=4GiB.")
        })?;
    }
    Ok(all)
}

fn rules(fields: &Fields) -> Answer<DeployRules> {
    let lines = fields.text("ignore").lines().map(str::trim).filter(|l| !l.is_empty());
    let ignore = lines.map(|l| IgnoreRule::try_from(l.to_owned())).collect::<Result<Vec<_>, _>>();
    let ignore = ignore.map_err(|why| {
        invalid(
            format!("A field to be left alone cannot be read: {why}."),
            "Write it as Deployment.apps /spec/replicas.",
        )
    })?;
    let timeout_s = match fields.filled("timeout_s") {
        None => None,
        Some(text) => {
            Some(text.parse().map_err(|_| invalid("The time is no number of seconds.", "Write it as 600."))?)
        }
    };
    let gate_down = match fields.text("gate_down") {
        "allow" => Some(GateDown::Allow),
        "refuse" => Some(GateDown::Refuse),
        _ => None,
    };
    Ok(DeployRules { ignore, take_over_from: words(fields.text("take_over_from")), timeout_s, gate_down })
}

fn cluster_form(fields: &Fields) -> Answer<NewClusterBinding> {
    let dry_run = match fields.text("dry_run") {
        "off" => DryRun::Off,
        "warn" => DryRun::Warn,
        "enforce" => DryRun::Enforce,
        _ => return Err(invalid("There is no such kind of dry run.", "Choose off, warn or enforce.")),
    };
    let pod_security = PodSecurity::parse(fields.text("pod_security"))
        .ok_or_else(|| invalid("There is no such level.", "Choose privileged, baseline or restricted."))?;
    Ok(NewClusterBinding {
        cluster: ClusterName::parse(fields.text("cluster"))?,
        branch: fields.filled("branch"),
        path: fields.filled("path"),
        namespace: fields.filled("namespace"),
        prune: fields.ticked("prune"),
        dry_run,
        allow_namespaces: words(fields.text("allow_namespaces")),
        cluster_scoped: fields.ticked("cluster_scoped"),
        kinds: KindRules { allow: words(fields.text("allow_kinds")), deny: words(fields.text("deny_kinds")) },
        pod_security,
        adopt: fields.ticked("adopt"),
        require_signed: fields.ticked("require_signed"),
        allow_unsigned: words(fields.text("allow_unsigned")),
        rules: rules(fields)?,
    })
}
