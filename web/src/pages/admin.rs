//! The server's administration: users, registries, clusters, and the doctor. For owners.

use askama::Template;
use axum::response::Response;
use slipway_core::people::User;
use slipway_core::target::{Cluster, Registry, RegistryKind};
use slipway_core::{Action, ClusterName, RegistryName, Secret, UserName};

use super::form::Fields;
use super::frame::{Frame, go_to, html};
use super::mark::Mark;
use crate::api::{RegistryForm, save_cluster, save_registry};
use crate::limits::ADMIN_ROWS_MAX;
use crate::link::Link;
use crate::operations::Check;
use crate::refusal::Answer;
use crate::text::Moment;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "admin.html")]
struct AdminPage {
    frame: Frame,
    said: Option<String>,
    users: Vec<(User, Moment)>,
    registries: Vec<Registry>,
    clusters: Vec<Cluster>,
}

pub(crate) async fn admin(visit: Visit) -> Answer<Response> {
    page(&visit, None).await
}

async fn page(visit: &Visit, said: Option<String>) -> Answer<Response> {
    visit.may(Action::AdminServer)?;
    let now = visit.now();
    let (mut users, registries, clusters) =
        visit.store(|s| Ok((s.users()?, s.registries()?, s.clusters()?))).await?;
    users.truncate(ADMIN_ROWS_MAX);
    let users = users.into_iter().map(|u| {
        let at = Moment::of_ms(u.created, now);
        (u, at)
    });
    html(&AdminPage {
        frame: Frame::new(visit, "Administration"),
        said,
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
            let user =
                User { name: UserName::parse(name)?, owner: fields.ticked("owner"), created: visit.now() };
            visit.store(move |s| s.create_user(&user)).await?;
        }
        "remove-user" => {
            let name = UserName::parse(name)?;
            visit.store(move |s| s.remove_user(&name)).await?;
        }
        "add-registry" => {
            let form = RegistryForm {
                url: fields.text("url").to_owned(),
                kind: if fields.text("kind") == "ecr" { RegistryKind::Ecr } else { RegistryKind::Generic },
                region: fields.filled("region"),
                username: fields.filled("username"),
                password: fields.filled("password").map(Secret::new),
                insecure: fields.ticked("insecure"),
            };
            save_registry(&visit, name, form).await?;
        }
        "remove-registry" => {
            let name = RegistryName::parse(name)?;
            visit.store(move |s| s.remove_registry(&name)).await?;
        }
        "test-registry" => {
            let said = visit.operations().test_registry(&RegistryName::parse(name)?).await?;
            return page(&visit, Some(said)).await;
        }
        "add-cluster" => {
            let kubeconfig = Secret::new(fields.text("kubeconfig"));
            save_cluster(&visit, name, kubeconfig, fields.filled("context")).await?;
        }
        "remove-cluster" => {
            let name = ClusterName::parse(name)?;
            visit.store(move |s| s.remove_cluster(&name)).await?;
        }
        "test-cluster" => {
            let said = visit.operations().test_cluster(&ClusterName::parse(name)?).await?;
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
    visit.may(Action::AdminServer)?;
    let checks = visit.operations().doctor().await;
    let failed = checks.iter().filter(|c| !c.ok).count();
    let frame = Frame::new(&visit, "Doctor")
        .crumb("administration", Some(Link::fixed("/-/admin")))
        .crumb("doctor", None);
    html(&DoctorPage { frame, rows: checks.into_iter().map(|c| (Mark::of_check(c.ok), c)).collect(), failed })
}
