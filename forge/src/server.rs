//! The server itself: its health, its figures, its backup.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use slipway_core::{Action, Actor, Problem, RepoId};

use crate::access::may;
use crate::backup;
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::outside::Check;

/// Checks data folder, engine, registries, clusters, ports and clock.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub async fn doctor(forge: &Forge, caller: &Caller) -> Result<Vec<Check>, Problem> {
    may(caller, Action::AdminServer)?;
    Ok(forge.outside.doctor().await)
}

/// `Ok` if requests and pushes can be served. Everybody may ask.
///
/// # Errors
/// What stands in the way.
pub async fn ready(forge: &Forge) -> Result<(), Problem> {
    let store = forge.store.clone();
    blocking(move || store.repo(RepoId(0)).map(drop)).await
}

/// All figures in Prometheus' text format. They name no repository and no person, and are still the server's business:
/// scrapers bring any valid token.
///
/// # Errors
/// `Unauthenticated` for nobody in particular.
pub fn metrics(forge: &Forge, caller: &Caller) -> Result<String, Problem> {
    if matches!(caller.actor, Actor::Anonymous) {
        // In the authoriser's own words for somebody who has to sign in.
        may(caller, Action::ManageSelf)?;
    }
    Ok(forge.outside.metrics())
}

/// A backup of the records as it is streamed out.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub async fn backup(
    forge: &Forge,
    caller: &Caller,
) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
    may(caller, Action::AdminServer)?;
    Ok(backup::stream(forge.store.clone()))
}
