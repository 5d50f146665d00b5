//! The server's administration: users, registries, clusters, and the doctor. For owners.

use askama::Template;
use axum::response::Response;
use slipway_core::people::User;
use slipway_core::target::{Cluster, Registry, RegistryKind};
use slipway_core::trial::Trial;
use slipway_core::{Action, ClusterName, RegistryName, Secret, UserName};
use slipway_forge::targets::NewRegistry;
use slipway_forge::users::NewUser;
use slipway_forge::{Check, Page, server, targets, users};

use super::form::Fields;
use super::frame::{Frame, go_to, html};
use super::mark::Mark;
use crate::limits::ADMIN_ROWS_MAX;
use crate::link::Link;
use crate::refusal::Answer;
use crate::text::Moment;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "admin.html")]
struct AdminPage {
    frame: Frame,
    said: Option<String>,
    warnings: Vec<String>,
    users: Vec<(User, Moment)>,
    registries: Vec<Registry>,
    clusters: Vec<Cluster>,
}

pub(crate) async fn admin(visit: Visit) -> Answer<Response> {
    page(&visit, None).await
}

async fn page(visit: &Visit, said: Option<String>) -> Answer<Response> {
    let now = visit.now();
    let (users, registries, clusters) = visit
        .ask(|forge, caller| {
            let all = Page::whole();
            let registries = targets::registries(forge, caller, &all)?.rows;
            Ok((
                users::list(forge, caller, &all)?.rows,
                registries,
                targets::clusters(forge, caller, &all)?.rows,
            ))
        })
        .await?;
    let users = users.into_iter().take(ADMIN_ROWS_MAX).map(|u| {
        let at = Moment::of_ms(u.created, now);
        (u, at)
    });
    html(&AdminPage {
        frame: Frame::new(visit, "Administration"),
        said,
        warnings: server::warnings(visit.forge()),
        users: users.collect(),
        registries,
        clusters,
    })
}

pub(crate) async fn change(visit: Visit, fields: Fields) -> Answer<Response> {
    visit.may(Action::AdminServer)?;
    let name = fields.text("name");
    match fields.verb() {
        "add-user" => {
            let (name, owner) = (UserName::parse(name)?, fields.ticked("owner"));
            let new = NewUser { name, owner, keys: Vec::new() };
            visit.ask(move |forge, caller| users::add(forge, caller, &new)).await?;
        }
        verb @ ("make-owner" | "make-no-owner") => {
            let (name, owner) = (UserName::parse(name)?, verb == "make-owner");
            visit.ask(move |forge, caller| users::set_owner(forge, caller, &name, owner)).await?;
        }
        "remove-user" => {
            let name = UserName::parse(name)?;
            visit.ask(move |forge, caller| users::remove(forge, caller, &name)).await?;
        }
        "add-registry" => {
            let new = NewRegistry {
                url: fields.text("url").to_owned(),
                kind: if fields.text("kind") == "ecr" { RegistryKind::Ecr } else { RegistryKind::Generic },
                region: fields.filled("region"),
                username: fields.filled("username"),
                password: fields.filled("password").map(Secret::new),
                insecure: fields.ticked("insecure"),
                more: None,
            };
            let name = RegistryName::parse(name)?;
            visit.ask(move |forge, caller| targets::put_registry(forge, caller, &name, new)).await?;
        }
        "remove-registry" => {
            let name = RegistryName::parse(name)?;
            visit.ask(move |forge, caller| targets::remove_registry(forge, caller, &name)).await?;
        }
        "test-registry" => {
            let name = RegistryName::parse(name)?;
            let trial = Trial::default();
            let report = targets::test_registry(visit.forge(), visit.caller(), &name, &trial).await?;
            return page(&visit, Some(report.judged()?)).await;
        }
        "add-cluster" => {
            let (name, context) = (ClusterName::parse(name)?, fields.filled("context"));
            let kubeconfig = Secret::new(fields.text("kubeconfig"));
            let put =
                move |forge: &_, caller: &_| targets::put_cluster(forge, caller, &name, &kubeconfig, context);
            visit.ask(put).await?;
        }
        "remove-cluster" => {
            let name = ClusterName::parse(name)?;
            visit.ask(move |forge, caller| targets::remove_cluster(forge, caller, &name)).await?;
        }
        "test-cluster" => {
            let name = ClusterName::parse(name)?;
            let said = targets::test_cluster(visit.forge(), visit.caller(), &name).await?;
            return page(&visit, Some(said)).await;
        }
        _ => return fields.unknown_verb(),
    }
    Ok(go_to(&Link::fixed("/-/admin")))
}

#[derive(Template)]
#[template(path = "doctor.html")]
struct DoctorPage {
    frame: Frame,
    rows: Vec<(Mark, Check)>,
    failed: usize,
}

pub(crate) async fn doctor(visit: Visit) -> Answer<Response> {
    let checks = server::doctor(visit.forge(), visit.caller()).await?;
    let failed = checks.iter().filter(|c| !c.ok).count();
    let frame = Frame::new(&visit, "Doctor")
        .crumb("administration", Some(Link::fixed("/-/admin")))
        .crumb("doctor", None);
    html(&DoctorPage { frame, rows: checks.into_iter().map(|c| (Mark::of_check(c.ok), c)).collect(), failed })
}
