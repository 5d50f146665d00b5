//! How a repository is stored, and its maintenance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::Path;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use slipway_core::RepoName;
use slipway_forge::repositories;
use slipway_repository::{LastMaintenance, Maintained, Repacked, Storage};

use super::Endpoint;
use super::input::Body;
use crate::refusal::Answer;
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] =
    &[Endpoint::new("POST", "/repos/{repo}/maintenance", "Maintain a repository now", || post(maintain))
        .takes("NewMaintenance")
        .gives(200, "Maintained")];

/// How it is stored.
#[derive(Serialize)]
pub(super) struct Stored {
    packs: usize,
    objects: u64,
    bytes: u64,
    not_indexed: usize,
    bitmaps: u32,
    graph_commits: u32,
}

impl From<&Storage> for Stored {
    fn from(s: &Storage) -> Self {
        Self {
            packs: s.packs,
            objects: s.objects,
            bytes: s.bytes,
            not_indexed: s.loners,
            bitmaps: s.bitmaps,
            graph_commits: s.graph_commits,
        }
    }
}

/// The last maintenance.
#[derive(Serialize)]
pub(super) struct Last {
    ended: u64,
    took_ms: u64,
    full: bool,
    failure: Option<String>,
}

impl From<LastMaintenance> for Last {
    fn from(last: LastMaintenance) -> Self {
        let since = last.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { ended: ms(since), took_ms: ms(last.took), full: last.full, failure: last.failure }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the repository of that name looks like on disk.
pub(super) async fn stored(visit: &Visit, name: &str) -> Answer<(Stored, Option<Last>)> {
    let name = name.to_owned();
    let (storage, last) = visit.ask(move |forge, caller| repositories::storage(forge, caller, &name)).await?;
    Ok((Stored::from(&storage), last.map(Last::from)))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewMaintenance {
    full: bool,
}

/// What was done.
#[derive(Serialize)]
struct Done {
    name: RepoName,
    ended: u64,
    took_ms: u64,
    replaced: usize,
    before: Stored,
    after: Stored,
    full: Option<Full>,
}

/// What packing everything anew did.
#[derive(Serialize)]
struct Full {
    reachable: u64,
    unreachable: u64,
    dropped: u64,
    postponed: u64,
}

impl Done {
    fn new(name: RepoName, done: &Maintained) -> Self {
        let full = |r: Repacked| Full {
            reachable: r.reachable,
            unreachable: r.unreachable,
            dropped: r.dropped,
            postponed: r.postponed,
        };
        Self {
            name,
            ended: ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            took_ms: ms(done.took),
            replaced: done.replaced,
            before: Stored::from(&done.before),
            after: Stored::from(&done.after),
            full: done.full.map(full),
        }
    }
}

async fn maintain(
    visit: Visit,
    Path(repo): Path<String>,
    Body(new): Body<NewMaintenance>,
) -> Answer<Json<Done>> {
    let (record, done) = repositories::maintain(visit.forge(), visit.caller(), &repo, new.full).await?;
    Ok(Json(Done::new(record.name, &done)))
}
