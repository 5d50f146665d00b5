//! Delivers what webhooks are owed: reads what happened, puts it into the form that the address wants, sends it, and
//! judges the answer.
//!
//! Knows neither who waits for whom nor when to try again: that is the machine's and the desk's.

use std::sync::Arc;

use async_trait::async_trait;
use slipway_core::delivery::{Attempt, Delivery, Effect, Input};
use slipway_core::run::{Failure, FailureClass};
use slipway_core::{Problem, ProblemKind, Secret};
use slipway_jobs::{Hands, Progress};
use tokio_util::sync::CancellationToken;

use crate::rooms::Rooms;
use crate::supervisor::{blocking, now};

mod facts;
mod message;
mod sender;

pub(crate) use self::message::Addresses;
use self::message::Message;
use self::sender::{Answer, Sender};

/// Longest beginning of an answer that is kept, in bytes.
const SAID_BYTES_MAX: usize = 1024;

/// Delivers over HTTP.
pub(crate) struct HttpDeliveries {
    rooms: Rooms,
    addresses: Arc<Addresses>,
    sender: Sender,
}

impl HttpDeliveries {
    pub(crate) fn new(rooms: Rooms, addresses: Addresses) -> Self {
        let sender = Sender::new(rooms.networks.clone(), rooms.limits.delivery_timeout);
        Self { rooms, addresses: Arc::new(addresses), sender }
    }

    async fn message(&self, delivery: &Delivery) -> Result<Option<(Message, Option<Secret>)>, Failure> {
        let (rooms, addresses, delivery) = (self.rooms.clone(), self.addresses.clone(), delivery.clone());
        let made = blocking(move || {
            let facts = facts::gather(&rooms, &delivery)?;
            Ok(message::make(&facts, &delivery, &addresses).map(|message| (message, facts.secret)))
        });
        made.await.map_err(|problem| {
            let class = match problem.kind {
                ProblemKind::NotFound | ProblemKind::Denied => FailureClass::Policy,
                _ => FailureClass::Infra,
            };
            Failure { class, problem }
        })
    }
}

#[async_trait]
impl Hands<Delivery> for HttpDeliveries {
    async fn carry_out(
        &self,
        delivery: &Delivery,
        effect: &Effect,
        _: Progress<Delivery>,
        stop: &CancellationToken,
    ) -> Input {
        let Effect::Send = effect;
        let at = now();
        let attempt = |status, said: &str| Attempt {
            at,
            took_ms: now().since(at),
            status,
            said: cut(said, SAID_BYTES_MAX).to_owned(),
        };
        let (message, secret) = match self.message(delivery).await {
            Ok(Some(made)) => made,
            Ok(None) => return Input::Taken(attempt(None, "There is nothing to tell this address of it.")),
            Err(failure) => return Input::Failed(None, failure),
        };
        let sent = tokio::select! {
            () = stop.cancelled() => Err(sender::stopped()),
            sent = self.sender.send(&message) => sent,
        };
        match sent {
            Ok(answer) => {
                let said = without(&answer.said, secret.as_ref());
                let attempt = attempt(Some(answer.status), &said);
                match refusal(&answer, &message.host) {
                    None => Input::Taken(attempt),
                    Some(failure) => Input::Failed(Some(attempt), failure),
                }
            }
            Err(failure) => Input::Failed(Some(attempt(None, &failure.problem.what)), failure),
        }
    }
}

/// What an answer means, if not that the delivery was taken. An address that says no is not asked again: it would keep
/// everything behind it waiting.
fn refusal(answer: &Answer, host: &str) -> Option<Failure> {
    let (class, kind, cure) = match answer.status {
        200..=299 => return None,
        300..=399 => (
            FailureClass::User,
            ProblemKind::Invalid,
            "Redirects are not followed: give the webhook the address that it leads to.",
        ),
        408 | 425 | 429 => (FailureClass::Infra, ProblemKind::Busy, "It is tried again."),
        400..=499 => (
            FailureClass::User,
            ProblemKind::Denied,
            "Check the webhook's address and secret, then deliver it again: slipway webhook redeliver REPO ID",
        ),
        _ => (FailureClass::Infra, ProblemKind::Unavailable, "It is tried again; look at what runs there."),
    };
    let problem = Problem::new(kind, format!("{host} answered with status {}.", answer.status), cure);
    Some(Failure { class, problem })
}

/// The beginning of a text, whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What an address says is shown to people: not if it says the secret.
fn without(said: &str, secret: Option<&Secret>) -> String {
    match secret {
        Some(secret) if !secret.expose().is_empty() => said.replace(secret.expose(), "…"),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_no_for_good_ends_a_delivery() {
        let class = |status| refusal(&Answer { status, said: String::new() }, "h").map(|f| f.class);
        for taken in [200, 201, 202, 204] {
            assert_eq!(class(taken), None);
        }
        for later in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(class(later), Some(FailureClass::Infra), "{later}");
        }
        for never in [301, 302, 307, 400, 401, 403, 404, 410] {
            assert_eq!(class(never), Some(FailureClass::User), "{never}");
        }
    }

    #[test]
    fn an_answer_is_cut_between_characters_and_never_shows_the_secret() {
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(without("token=hunter2!", Some(&Secret::new("hunter2"))), "token=…!");
        assert_eq!(without("x", Some(&Secret::new(""))), "x");
    }
}
