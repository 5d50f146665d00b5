//! A Kubernetes API in memory, with configuration maps and cron jobs: what has no rollout to be waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::Effects;
use super::http::{Answer, Part, Request};
use crate::activity::Activity;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
}

/// A cluster.
pub(crate) struct Cluster {
    pub(crate) effects: Arc<Effects>,
    state: Mutex<State>,
}

impl Cluster {
    pub(super) fn new(effects: Arc<Effects>) -> Self {
        Self { effects, state: Mutex::default() }
    }

    /// How it is reached, for `slipway cluster add`.
    pub(crate) fn kubeconfig(address: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: u, user: {{token: t0ken}}}}]\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n"
        )
    }

    /// What tells the states of all objects apart, sorted.
    pub(crate) fn content(&self) -> Vec<String> {
        let state = self.state.lock().expect("lock");
        let mut all: Vec<String> = state.objects.values().map(content).collect();
        all.sort();
        all
    }

    fn apply(&self, request: &Request) -> Answer {
        let Ok(mut object) = serde_json::from_slice::<Value>(&request.body) else {
            return Answer::empty(400);
        };
        let dry = request.query.contains("dryRun=All");
        if !dry {
            self.effects.carry_out(Activity::Deploy, request.life, &content(&object), request.path.clone());
        }
        let mut state = self.state.lock().expect("lock");
        state.version += 1;
        let there = state.objects.get(&request.path);
        let known = there.map(|object| object["metadata"]["uid"].clone());
        let code = if known.is_some() { 200 } else { 201 };
        object["metadata"]["uid"] = known.unwrap_or_else(|| json!(format!("uid-{}", state.version)));
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        if !dry {
            state.objects.insert(request.path.clone(), object.clone());
        }
        Answer::json(code, &object)
    }
}

/// `count 7` or `image NAME@DIGEST`: what one commit changes, and no other does.
fn content(object: &Value) -> String {
    let image = &object["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"];
    match (image.as_str(), object["data"]["n"].as_str()) {
        (Some(image), _) => format!("image {image}"),
        (None, Some(n)) => format!("count {n}"),
        (None, None) => object.to_string(),
    }
}

fn resources(names: &[(&str, &str)]) -> Answer {
    let one =
        |(name, kind): &(&str, &str)| json!({"name": name, "kind": kind, "namespaced": true, "verbs": []});
    Answer::json(200, &json!({"resources": names.iter().map(one).collect::<Vec<_>>()}))
}

impl Part for Cluster {
    fn answer(&self, request: &Request) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/version") => {
                Answer::json(200, &json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0"}))
            }
            ("GET", "/api/v1") => resources(&[("configmaps", "ConfigMap"), ("namespaces", "Namespace")]),
            ("GET", "/apis/batch/v1") => resources(&[("cronjobs", "CronJob"), ("jobs", "Job")]),
            ("GET", path) => {
                let state = self.state.lock().expect("lock");
                state.objects.get(path).map_or_else(Answer::missing, |object| Answer::json(200, object))
            }
            ("PATCH", _) => self.apply(request),
            _ => Answer::missing(),
        }
    }
}
