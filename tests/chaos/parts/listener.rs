//! An address for webhooks that takes whatever comes.

use std::sync::Arc;

use serde_json::Value;

use super::Effects;
use super::http::{Answer, Part, Request};
use crate::activity::Activity;

/// The address.
pub(crate) struct Listener {
    pub(crate) effects: Arc<Effects>,
}

impl Listener {
    pub(super) fn new(effects: Arc<Effects>) -> Self {
        Self { effects }
    }
}

/// What is told, in words that are another's for nothing else: `one push refs/heads/a OLD NEW`, `app build 7`.
fn told(body: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let event = word(&body["event"]);
    let fact = &body[&event];
    let which = match event.as_str() {
        "push" => ["ref", "before", "after"].map(|key| word(&fact[key])).join(" "),
        _ => word(&fact["number"]),
    };
    format!("{} {event} {which}", word(&body["repository"]))
}

impl Part for Listener {
    fn answer(&self, request: &Request) -> Answer {
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else { return Answer::empty(400) };
        let id = request.header("x-slipway-delivery");
        self.effects.carry_out(Activity::Delivery, request.life, id, told(&body));
        Answer::empty(204)
    }
}
