//! The part of a repository's settings that is about its webhooks.

use slipway_core::delivery::{Delivery, DeliveryState};
use slipway_core::webhook::{Webhook, WebhookEvent};
use slipway_core::{DeliveryNumber, Problem, Secret, WebhookNumber};
use slipway_forge::webhooks::{self, NewWebhook};
use slipway_forge::{Caller, Forge};

use super::form::Fields;
use crate::limits::DELIVERIES_SHOWN;
use crate::refusal::{Answer, missing};
use crate::visit::Visit;

/// A webhook as shown.
pub(super) struct WebhookRow {
    pub(super) number: WebhookNumber,
    pub(super) url: String,
    pub(super) kind: &'static str,
    pub(super) events: String,
    pub(super) signed: bool,
}

/// A delivery as shown.
pub(super) struct DeliveryRow {
    pub(super) number: DeliveryNumber,
    pub(super) webhook: WebhookNumber,
    pub(super) event: &'static str,
    pub(super) state: &'static str,
    pub(super) note: String,
    pub(super) over: bool,
}

/// What the page shows: the webhooks, and the newest deliveries.
pub(super) fn rows(
    forge: &Forge,
    caller: &Caller,
    repo: &str,
) -> Result<(Vec<WebhookRow>, Vec<DeliveryRow>), Problem> {
    let webhooks = webhooks::list(forge, caller, repo)?;
    let deliveries = webhooks::deliveries(forge, caller, repo, None, (None, DELIVERIES_SHOWN))?;
    Ok((
        webhooks.into_iter().map(webhook_row).collect(),
        deliveries.rows.into_iter().map(delivery_row).collect(),
    ))
}

fn webhook_row(webhook: Webhook) -> WebhookRow {
    let events: Vec<&str> = webhook.events.iter().map(|event| event.as_str()).collect();
    WebhookRow {
        number: webhook.number,
        url: webhook.shown_url(),
        kind: webhook.kind.as_str(),
        events: events.join(", "),
        signed: webhook.signed,
    }
}

fn delivery_row(delivery: Delivery) -> DeliveryRow {
    let note = match (&delivery.run.failure, delivery.attempts.last().and_then(|a| a.status)) {
        (Some(failure), _) => failure.problem.to_string(),
        (None, Some(status)) => format!("answered with status {status}"),
        (None, None) => String::new(),
    };
    DeliveryRow {
        number: delivery.number,
        webhook: delivery.webhook,
        event: delivery.told.event().as_str(),
        state: match delivery.run.state {
            DeliveryState::Queued => "waits for its turn",
            DeliveryState::Running => "is being sent",
            DeliveryState::Waiting => "is tried again",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
            DeliveryState::Cancelled => "cancelled",
        },
        note,
        over: delivery.run.is_over(),
    }
}

/// Carries out one of this part's forms.
pub(super) async fn change(visit: &Visit, repo: String, fields: &Fields) -> Answer<()> {
    match fields.verb() {
        "add-webhook" => {
            let new = new_webhook(fields)?;
            let add = move |forge: &Forge, caller: &Caller| webhooks::add(forge, caller, &repo, new);
            visit.ask(add).await.map(drop)
        }
        "remove-webhook" => {
            let number = fields.text("number").parse().map_err(|_| missing("There is no such webhook."))?;
            visit.ask(move |forge, caller| webhooks::remove(forge, caller, &repo, number)).await
        }
        "redeliver" => {
            let number = fields.text("number").parse().map_err(|_| missing("There is no such delivery."))?;
            let again =
                move |forge: &Forge, caller: &Caller| webhooks::redeliver(forge, caller, &repo, number);
            visit.ask(again).await.map(drop)
        }
        _ => fields.unknown_verb(),
    }
}

fn new_webhook(fields: &Fields) -> Answer<NewWebhook> {
    Ok(NewWebhook {
        url: fields.text("url").to_owned(),
        kind: fields.text("kind").parse()?,
        events: WebhookEvent::ALL.into_iter().filter(|event| fields.ticked(event.as_str())).collect(),
        secret: fields.filled("secret").map(Secret::new),
    })
}
