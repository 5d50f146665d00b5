//! Webhooks and their deliveries.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slipway_core::delivery::Delivery;
use slipway_core::webhook::{Webhook, WebhookEvent, WebhookKind};
use slipway_core::{DeliveryNumber, Secret, UnixMillis, WebhookNumber};
use slipway_forge::rows;
use slipway_forge::webhooks::{self, NewWebhook};

use super::Endpoint;
use super::input::{Body, Keys};
use crate::refusal::{Answer, missing};
use crate::visit::Visit;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET", "/repos/{repo}/webhooks", "List webhooks", || get(list)).gives(200, "Webhooks"),
    Endpoint::new("POST", "/repos/{repo}/webhooks", "Add a webhook", || post(add))
        .takes("NewWebhook")
        .gives(201, "Webhook"),
    Endpoint::new("DELETE", "/repos/{repo}/webhooks/{number}", "Remove a webhook", || delete(remove))
        .gives_nothing(),
    Endpoint::new("GET", "/repos/{repo}/deliveries", "List deliveries of webhooks, newest first", || {
        get(deliveries)
    })
    .asks(&["limit", "before", "webhook"])
    .gives(200, "Deliveries"),
    Endpoint::new("GET", "/repos/{repo}/deliveries/{number}", "Show a delivery", || get(delivery))
        .gives(200, "Delivery"),
    Endpoint::new("POST", "/repos/{repo}/deliveries/{number}/redeliver", "Deliver the same again", || {
        post(redeliver)
    })
    .gives(201, "Delivery"),
];

/// A webhook as answered.
#[derive(Serialize)]
struct Shown {
    number: WebhookNumber,
    url: String,
    kind: WebhookKind,
    events: BTreeSet<WebhookEvent>,
    signed: bool,
    by: String,
    created: UnixMillis,
}

impl From<Webhook> for Shown {
    fn from(webhook: Webhook) -> Self {
        let url = webhook.shown_url();
        let Webhook { number, kind, events, signed, by, created, .. } = webhook;
        Self { number, url, kind, events, signed, by, created }
    }
}

async fn list(visit: Visit, Path(repo): Path<String>) -> Answer<Json<Value>> {
    let found = visit.ask(move |forge, caller| webhooks::list(forge, caller, &repo)).await?;
    Ok(Json(json!({"webhooks": found.into_iter().map(Shown::from).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    url: String,
    #[serde(default)]
    kind: WebhookKind,
    #[serde(default)]
    events: BTreeSet<WebhookEvent>,
    secret: Option<Secret>,
}

async fn add(visit: Visit, Path(repo): Path<String>, Body(new): Body<WebhookBody>) -> Answer<Response> {
    let WebhookBody { url, kind, events, secret } = new;
    let new = NewWebhook { url, kind, events, secret };
    let webhook = visit.ask(move |forge, caller| webhooks::add(forge, caller, &repo, new)).await?;
    Ok((StatusCode::CREATED, Json(Shown::from(webhook))).into_response())
}

async fn remove(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<StatusCode> {
    let number: WebhookNumber = number.parse().map_err(|_| missing("There is no such webhook."))?;
    visit.ask(move |forge, caller| webhooks::remove(forge, caller, &repo, number)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    limit: Option<usize>,
    before: Option<u64>,
    webhook: Option<u64>,
}

async fn deliveries(visit: Visit, Path(repo): Path<String>, Keys(which): Keys<Which>) -> Answer<Json<Value>> {
    let limit = rows(which.limit)?;
    let (webhook, before) = (which.webhook.map(WebhookNumber), which.before.map(DeliveryNumber));
    let ask =
        move |forge: &_, caller: &_| webhooks::deliveries(forge, caller, &repo, webhook, (before, limit));
    let found = visit.ask(ask).await?;
    Ok(Json(json!({"deliveries": found.rows, "next": found.next})))
}

async fn delivery(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Json<Delivery>> {
    let number = numbered(&number)?;
    visit.ask(move |forge, caller| webhooks::delivery(forge, caller, &repo, number)).await.map(Json)
}

async fn redeliver(visit: Visit, Path((repo, number)): Path<(String, String)>) -> Answer<Response> {
    let number = numbered(&number)?;
    let again = visit.ask(move |forge, caller| webhooks::redeliver(forge, caller, &repo, number)).await?;
    Ok((StatusCode::CREATED, Json(again)).into_response())
}

fn numbered(raw: &str) -> Answer<DeliveryNumber> {
    raw.parse().map_err(|_| missing("There is no such delivery."))
}
