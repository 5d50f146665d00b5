//! The server itself: its health, its figures, its backups and what it exports.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use slipway_core::{Action, Actor, Problem, RepoId};

use crate::access::may;
use crate::backup::streamed;
use crate::caller::Caller;
use crate::forge::{Forge, blocking};
use crate::outside::{Check, Round};

/// Checks data folder, engine, registries, clusters, ports and clock.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub async fn doctor(forge: &Forge, caller: &Caller) -> Result<Vec<Check>, Problem> {
    may(caller, Action::AdminServer)?;
    Ok(forge.outside.doctor().await)
}

/// A part of the doctor's round of all repositories, from the one after `after` on; with `repair`, what can be made anew is.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub async fn examine(
    forge: &Forge,
    caller: &Caller,
    after: Option<RepoId>,
    repair: bool,
) -> Result<Round, Problem> {
    may(caller, Action::AdminServer)?;
    forge.outside.examine(after, repair).await
}

/// `Ok` if requests can be served and pushes be taken, with what should be looked at all the same. Everybody may ask.
///
/// # Errors
/// What stands in the way.
pub async fn ready(forge: &Forge) -> Result<Vec<String>, Problem> {
    let (store, outside) = (forge.store.clone(), forge.outside.clone());
    blocking(move || {
        store.repo(RepoId(0))?;
        outside.check_ready()?;
        Ok(outside.warnings())
    })
    .await
}

/// What should be looked at, in sentences: a backup that is overdue.
pub fn warnings(forge: &Forge) -> Vec<String> {
    forge.outside.warnings()
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
    let store = forge.store.clone();
    Ok(streamed(move |out| store.backup(out).map(drop)))
}

/// A backup of everything as it is streamed out: records, refs and objects, logs, settings, and with `keys` the server's keys.
/// `known` is what the caller has of an earlier one.
///
/// # Errors
/// `Denied` unless the caller is an owner, `Busy` while another backup is made.
pub async fn back_up(
    forge: &Forge,
    caller: &Caller,
    known: Bytes,
    keys: bool,
) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
    may(caller, Action::AdminServer)?;
    let by = caller.actor.user().map_or("the server", |name| name.as_str());
    tracing::info!(by, keys, "a backup is streamed out");
    forge.outside.back_up(known, keys)
}

/// All records as lines of plain JSON, without secrets, as they are streamed out.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub async fn export(
    forge: &Forge,
    caller: &Caller,
) -> Result<BoxStream<'static, Result<Bytes, Problem>>, Problem> {
    may(caller, Action::AdminServer)?;
    let store = forge.store.clone();
    Ok(streamed(move |out| store.export(out).map(drop)))
}
