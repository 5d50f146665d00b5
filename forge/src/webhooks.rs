//! Webhooks of a repository: which addresses hear of its pushes, builds and deploys, and what became of telling them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::Uri;
use slipway_core::delivery::Delivery;
use slipway_core::target::RepoRecord;
use slipway_core::webhook::{Webhook, WebhookEvent, WebhookKind};
use slipway_core::{Action, DeliveryNumber, Problem, ProblemKind, Secret, WebhookNumber};

use crate::access::repo;
use crate::caller::Caller;
use crate::forge::Forge;
use crate::limits::{WEBHOOK_SECRET_BYTES_MAX, WEBHOOK_URL_BYTES_MAX};
use crate::refusal::{cut, invalid, missing};
use crate::runs::Newest;

/// A webhook as described by whoever adds it.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Where it sends to.
    pub url: String,
    /// In which form.
    pub kind: WebhookKind,
    /// Of what; nothing said means pushes.
    pub events: BTreeSet<WebhookEvent>,
    /// What deliveries are signed with; with Jenkins its access token.
    pub secret: Option<Secret>,
}

/// Adds a webhook.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `Invalid` for an address that cannot be one, or that the
/// server may not be sent to.
pub fn add(forge: &Forge, caller: &Caller, name: &str, new: NewWebhook) -> Result<Webhook, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    let url = read_url(forge, &new.url)?;
    let secret = new.secret.filter(|secret| !secret.expose().is_empty());
    if secret.as_ref().is_some_and(|s| s.expose().len() > WEBHOOK_SECRET_BYTES_MAX) {
        return Err(invalid(
            format!("The secret is longer than {WEBHOOK_SECRET_BYTES_MAX} bytes."),
            "Use a shorter one, such as 32 random letters and digits.",
        ));
    }
    let mut events = new.events;
    if events.is_empty() {
        events.insert(WebhookEvent::Push);
    }
    if new.kind == WebhookKind::Jenkins && events.iter().any(|event| *event != WebhookEvent::Push) {
        return Err(invalid(
            "Jenkins is told of pushes alone.",
            "Leave --events out, or use --kind plain for builds and deploys.",
        ));
    }
    let webhook = Webhook {
        repo: record.id,
        number: WebhookNumber(0),
        url,
        kind: new.kind,
        events,
        signed: secret.is_some(),
        by: caller.actor.label(),
        created: forge.now(),
    };
    forge.store.add_webhook(webhook, secret.as_ref())
}

/// All webhooks of a repository, by number. Never their secrets.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository.
pub fn list(forge: &Forge, caller: &Caller, name: &str) -> Result<Vec<Webhook>, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    forge.store.webhooks(record.id)
}

/// Removes a webhook, and what it was to deliver.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `NotFound`.
pub fn remove(forge: &Forge, caller: &Caller, name: &str, number: WebhookNumber) -> Result<(), Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    forge.store.remove_webhook(record.id, number)
}

/// Deliveries of one webhook or of all, newest first: those before `before`, at most `limit`.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository.
pub fn deliveries(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    webhook: Option<WebhookNumber>,
    (before, limit): (Option<DeliveryNumber>, usize),
) -> Result<Newest<Delivery>, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    let mut rows = forge.store.deliveries(record.id, webhook, before, limit.saturating_add(1))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|delivery| delivery.number.0);
    Ok(Newest { record, rows, next })
}

/// One delivery, with what was answered.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `NotFound`.
pub fn delivery(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    number: DeliveryNumber,
) -> Result<Delivery, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    found(forge, &record, number)
}

/// Delivers the same again, under a new number.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `Conflict` while it is under way; `NotFound`.
pub fn redeliver(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    number: DeliveryNumber,
) -> Result<Delivery, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    let old = found(forge, &record, number)?;
    if !old.run.is_over() {
        return Err(Problem::new(
            ProblemKind::Conflict,
            format!("Delivery {number} is still under way."),
            "Wait for its end.",
        ));
    }
    let again = Delivery::queued(record.id, old.webhook, old.told, forge.now());
    let again = forge.store.add_delivery(again)?;
    forge.outside.deliver(record.id);
    Ok(again)
}

fn found(forge: &Forge, record: &RepoRecord, number: DeliveryNumber) -> Result<Delivery, Problem> {
    let found = forge.store.delivery(record.id, number)?;
    found.ok_or_else(|| missing(format!("{} has no delivery {number}.", record.name)))
}

/// An address that a webhook can have. That it may be reached is asked again for every connection: names point elsewhere
/// tomorrow.
fn read_url(forge: &Forge, raw: &str) -> Result<String, Problem> {
    let raw = raw.trim();
    let bad = |why: &str| {
        invalid(
            format!("{:?} cannot be a webhook's address: {why}.", without_query(raw)),
            "Give one such as https://ci.example.org/hooks/slipway.",
        )
    };
    if raw.len() > WEBHOOK_URL_BYTES_MAX || raw.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad("it is too long, or has blanks in it"));
    }
    let uri: Uri = raw.parse().map_err(|_| bad("it is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("it does not begin with http:// or https://"));
    }
    let Some(authority) = uri.authority() else { return Err(bad("it names no host")) };
    if authority.as_str().contains('@') {
        return Err(bad("it has a password in it, which everybody who lists webhooks would see"));
    }
    let host = authority.host();
    if host.is_empty() || raw.contains('#') {
        return Err(bad("it names no host, or has a #fragment"));
    }
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if let Ok(address) = literal
        && !forge.outside.webhook_networks().reach(address)
    {
        return Err(out_of_bounds(host));
    }
    Ok(raw.to_owned())
}

/// The refusal of an address that the server may not be sent to.
pub fn out_of_bounds(host: &str) -> Problem {
    Problem::new(
        ProblemKind::Denied,
        format!("{:?} is not on the public internet, and webhooks may not reach it.", cut(host)),
        "An owner of the server can allow its network: [webhooks] allowed_networks in config.toml.",
    )
}

fn without_query(raw: &str) -> String {
    cut(raw.split('?').next().unwrap_or_default())
}
