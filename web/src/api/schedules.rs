//! What starts builds of a repository by itself.

use axum::Json;
use axum::extract::Path;
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};
use slipway_core::schedule::{Bases, Begun, Schedules, Timer};
use slipway_core::{BuildNumber, UnixMillis};
use slipway_forge::schedules;

use super::Endpoint;
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::new(
    "GET",
    "/repos/{repo}/schedules",
    "List what starts builds by itself: times, nights, base images",
    || get(list),
)
.gives(200, "Schedules")];

/// One thing that starts builds.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Times as cron has them, or which base images.
    pub(crate) when: String,
    pub(crate) tz: String,
    /// Patterns; none is the default branch.
    pub(crate) branches: Vec<String>,
    /// When it is due.
    pub(crate) next: Option<UnixMillis>,
    /// When it last was.
    pub(crate) last: Option<UnixMillis>,
    /// The builds of then.
    pub(crate) builds: Vec<BuildNumber>,
    /// Why there were no more.
    pub(crate) told: Vec<String>,
}

/// All of them.
pub(crate) fn rows(schedules: Option<Schedules>) -> (Vec<Row>, Option<String>) {
    let Some(Schedules { timers, bases, unread, .. }) = schedules else { return (Vec::new(), None) };
    (timers.into_iter().map(timer).chain(bases.map(of_bases)).collect(), unread)
}

fn timer(timer: Timer) -> Row {
    let Timer { name, cron, tz, branches, next, last, .. } = timer;
    let Begun { builds, told, at } = last.clone().unwrap_or_default();
    let next = Some(next).filter(|next| *next != UnixMillis(u64::MAX));
    Row { name, when: cron, tz, branches, next, last: last.map(|_| at), builds, told }
}

fn of_bases(bases: Bases) -> Row {
    let Begun { builds, told, at } = bases.last.clone().unwrap_or_default();
    let images: Vec<String> = bases.known.into_keys().collect();
    Row {
        name: "base".into(),
        when: if images.is_empty() {
            "base images are known after the next build".into()
        } else {
            images.join(", ")
        },
        tz: String::new(),
        branches: Vec::new(),
        next: bases.owed.map(|owed| owed.due),
        last: bases.last.map(|_| at),
        builds,
        told,
    }
}

async fn list(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let (_, found) = visit.ask(move |forge, caller| schedules::list(forge, caller, &repo)).await?;
    let (rows, unread) = rows(found);
    Ok(Json(json!({"schedules": rows, "unread": unread})))
}
