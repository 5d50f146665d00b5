//! What pushes owe (builds, deploys, deliveries), as the server records it, compared with what was done outside at its word:
//! each once, and nothing again once it is recorded as done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::parts::{Effect, Effects, Parts};
use super::people::World;
use super::record::Events;
use super::team::{APP, MANIFESTS};

/// How a record says that the server died under its work more often than work is taken up again.
const GIVEN_UP: &str = "The server stopped";

/// The repositories with a webhook.
pub(crate) const TOLD: [&str; 3] = ["one", APP, MANIFESTS];

/// One kind of record in one repository.
struct List {
    repo: &'static str,
    kind: &'static str,
}

const BUILDS: List = List { repo: APP, kind: "builds" };
const DEPLOYS: List = List { repo: MANIFESTS, kind: "deploys" };

/// Everything of it that was recorded, by number.
#[derive(Default)]
struct Records {
    all: BTreeMap<u64, Value>,
    /// How much had been done outside when each was first seen to be over.
    over: BTreeMap<u64, usize>,
}

impl Records {
    fn take(&mut self, rows: &[Value], done: usize, world: &World) {
        for row in rows {
            let number = row["number"].as_u64().expect("a number");
            let before = self.all.insert(number, row.clone());
            let same = |key: &str| before.as_ref().is_none_or(|before| before[key] == row[key]);
            if !["event", "commit", "webhook", "push", "build", "deploy"].into_iter().all(same) {
                world.blame(format!("another record than before: {before:?} {row}"));
            }
            if is_over(row) {
                self.over.entry(number).or_insert(done);
            } else if self.over.contains_key(&number) {
                world.blame(format!("it was over before: {row}"));
            }
        }
    }

    fn open(&self) -> usize {
        self.all.values().filter(|row| !is_over(row)).count()
    }
}

fn state(row: &Value) -> &str {
    row["state"].as_str().unwrap_or_default()
}

fn is_over(row: &Value) -> bool {
    !matches!(state(row), "queued" | "running" | "waiting")
}

fn given_up(row: &Value) -> bool {
    row["failure"].to_string().contains(GIVEN_UP)
}

/// What has been seen so far.
#[derive(Default)]
pub(crate) struct Owed {
    builds: Records,
    deploys: Records,
    deliveries: BTreeMap<&'static str, Records>,
    /// Of the repository of manifests, which the server itself pushes to.
    pub(crate) manifests: Events,
}

fn rows(world: &World, repo: &str, kind: &str, limit: usize) -> Vec<Value> {
    let (status, body) = world.ann.get(&format!("/-/api/v1/repos/{repo}/{kind}?limit={limit}"));
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("json");
    answer[kind].as_array().expect("a list").clone()
}

impl Owed {
    /// Takes in what the server has recorded; how much of it is not over.
    pub(crate) fn look(&mut self, world: &World, parts: &Parts, limit: usize) -> usize {
        let found = rows(world, BUILDS.repo, BUILDS.kind, limit);
        self.builds.take(&found, parts.engine.effects.count(), world);
        let found = rows(world, DEPLOYS.repo, DEPLOYS.kind, limit);
        self.deploys.take(&found, parts.cluster.effects.count(), world);
        for repo in TOLD {
            let found = rows(world, repo, "deliveries", limit);
            self.deliveries.entry(repo).or_default().take(&found, parts.listener.effects.count(), world);
        }
        let told: usize = self.deliveries.values().map(Records::open).sum();
        self.builds.open() + self.deploys.open() + told
    }

    /// Everything that is wrong, once nothing is open any more. `events` are those of the application and of `one`.
    pub(crate) fn judge(&self, world: &World, parts: &Parts, (app, one): (&Events, &Events)) -> Vec<String> {
        let mut wrong = Vec::new();
        wrong.extend(each_once(&app.0, &self.builds, "build"));
        wrong.extend(each_once(&self.manifests.0, &self.deploys, "deploy"));
        wrong.extend(self.judge_builds(parts));
        wrong.extend(self.judge_deploys(world, parts));
        for (repo, events) in [("one", one), (APP, app), (MANIFESTS, &self.manifests)] {
            wrong.extend(self.judge_deliveries(parts, repo, events));
        }
        wrong.extend(in_one_life(&parts.engine.effects));
        wrong.extend(in_one_life(&parts.cluster.effects));
        wrong.extend(in_one_life(&parts.listener.effects));
        wrong
    }

    fn judge_builds(&self, parts: &Parts) -> Vec<String> {
        let mut wrong = Vec::new();
        let done = parts.engine.effects.all();
        for (number, build) in &self.builds.all {
            let commit = build["commit"].as_str().expect("text");
            let image = parts.engine.registry.image(&format!("{APP}:{commit}"));
            match state(build) {
                "succeeded" if image.is_none() => wrong.push(format!("build {number} pushed nothing")),
                "succeeded" | "superseded" => {}
                "failed" if given_up(build) => {}
                _ => wrong.push(format!("build {number}: {build}")),
            }
            let names = [format!("b{}.{number}", build["repo"]), commit.to_owned()];
            let over = self.builds.over.get(number).copied().unwrap_or(done.len());
            let late = done.iter().skip(over).filter(|effect| names.contains(&effect.of));
            wrong.extend(late.map(|effect| format!("build {number} was over before {effect:?}")));
        }
        wrong
    }

    fn judge_deploys(&self, world: &World, parts: &Parts) -> Vec<String> {
        let mut wrong = Vec::new();
        let done = parts.cluster.effects.all();
        let folder = world.data.join(format!("repos/{MANIFESTS}.git"));
        for (number, deploy) in &self.deploys.all {
            if !(matches!(state(deploy), "healthy" | "superseded") || given_up(deploy)) {
                wrong.push(format!("deploy {number}: {deploy}"));
            }
            if state(deploy) != "healthy" {
                continue;
            }
            let contents = contents(world, &folder, deploy["commit"].as_str().expect("text"));
            let over = self.deploys.over.get(number).copied().unwrap_or(done.len());
            let late = done.iter().skip(over).filter(|effect| contents.contains(&effect.of));
            wrong.extend(late.map(|effect| format!("deploy {number} was over before {effect:?}")));
        }
        wrong
    }

    fn judge_deliveries(&self, parts: &Parts, repo: &str, events: &Events) -> Vec<String> {
        let mut wrong = Vec::new();
        let records = &self.deliveries[repo];
        let done = parts.listener.effects.all();
        let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for effect in &done {
            ids.entry(&effect.what).or_default().insert(&effect.of);
        }
        let doubled = ids.iter().filter(|(what, ids)| is_of(what, repo) && ids.len() > 1);
        wrong.extend(doubled.map(|(what, ids)| format!("{what} is told under {} ids", ids.len())));
        let wanted = wanted(repo, events, &self.builds, &self.deploys);
        let mut owed: BTreeMap<String, usize> = BTreeMap::new();
        for (number, delivery) in &records.all {
            let what = told(repo, delivery);
            *owed.entry(what.clone()).or_default() += 1;
            match state(delivery) {
                "delivered" if !ids.contains_key(what.as_str()) => {
                    wrong.push(format!("never told: {what} ({delivery})"));
                }
                "delivered" => {}
                _ if given_up(delivery) => {}
                _ => wrong.push(format!("delivery {number}: {delivery}")),
            }
            let over = records.over.get(number).copied().unwrap_or(done.len());
            let late = done.iter().skip(over).filter(|effect| effect.what == what);
            wrong.extend(late.map(|effect| format!("delivery {number} was over before {effect:?}")));
        }
        for (what, times) in &owed {
            if *times > 1 || !wanted.contains(what) {
                wrong.push(format!("{what} is recorded to be told {times} times"));
            }
        }
        wrong.extend(wanted.iter().filter(|w| !owed.contains_key(*w)).map(|w| format!("nobody is owed {w}")));
        wrong
    }

    /// How much there was, in words.
    pub(crate) fn told(&self) -> String {
        let lists = [&self.builds, &self.deploys].into_iter().chain(self.deliveries.values());
        let given_up = lists.flat_map(|records| records.all.values()).filter(|row| given_up(row)).count();
        let deliveries: usize = self.deliveries.values().map(|records| records.all.len()).sum();
        let (builds, deploys) = (self.builds.all.len(), self.deploys.all.len());
        format!(
            "{builds} builds, {deploys} deploys, {deliveries} deliveries; {given_up} given up after too many kills"
        )
    }
}

/// True for something of that repository.
fn is_of(what: &str, repo: &str) -> bool {
    what.split(' ').next() == Some(repo)
}

/// What a record of a delivery is about, in the listener's words.
fn told(repo: &str, delivery: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let event = word(&delivery["event"]);
    let which = match event.as_str() {
        "push" => ["name", "old", "new"].map(|key| word(&delivery["update"][key])).join(" "),
        _ => word(&delivery[&event]),
    };
    format!("{repo} {event} {which}")
}

/// Everything that is to be told of a repository, in the same words.
fn wanted(repo: &str, events: &Events, builds: &Records, deploys: &Records) -> BTreeSet<String> {
    let updates = events.0.values().flatten();
    let mut all: BTreeSet<String> =
        updates.map(|[name, old, new]| format!("{repo} push {name} {old} {new}")).collect();
    let runs = match repo {
        APP => Some(("build", builds)),
        MANIFESTS => Some(("deploy", deploys)),
        _ => None,
    };
    if let Some((what, records)) = runs {
        all.extend(records.all.keys().map(|number| format!("{repo} {what} {number}")));
    }
    all
}

/// Every event has one record, and no two records are of one event.
fn each_once(events: &BTreeMap<u64, Vec<[String; 3]>>, records: &Records, what: &str) -> Vec<String> {
    let mut of: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (number, row) in &records.all {
        of.entry(row["event"].as_u64().unwrap_or_default()).or_default().push(*number);
    }
    let owes =
        events.iter().filter(|(_, updates)| updates.iter().any(|[name, ..]| name == "refs/heads/main"));
    let owes: BTreeSet<u64> = owes.map(|(id, _)| *id).collect();
    let mut wrong: Vec<String> = Vec::new();
    for (event, numbers) in &of {
        if numbers.len() > 1 || !owes.contains(event) {
            wrong.push(format!("event {event} has the {what}s {numbers:?}"));
        }
    }
    wrong.extend(
        owes.iter().filter(|event| !of.contains_key(event)).map(|e| format!("event {e} has no {what}")),
    );
    wrong
}

/// Whatever a life of the server does, it does once.
fn in_one_life(effects: &Effects) -> Vec<String> {
    let mut seen: BTreeMap<(usize, String, String), usize> = BTreeMap::new();
    for Effect { life, of, what } in effects.all() {
        *seen.entry((life, of, what)).or_default() += 1;
    }
    let twice = seen.into_iter().filter(|(_, times)| *times > 1);
    twice.map(|((life, of, what), times)| format!("{what} for {of} {times} times in life {life}")).collect()
}

/// What the manifests of a commit make of the cluster, in its words, sorted.
pub(crate) fn contents(world: &World, folder: &Path, commit: &str) -> Vec<String> {
    let show = |path: &str| world.ann.git(folder, &["show", &format!("{commit}:{path}")]);
    let after = |text: &str, key: &str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(key).map(str::to_owned));
        value.unwrap_or_default().trim().trim_matches('"').to_owned()
    };
    let mut all = vec![
        format!("count {}", after(&show("count.yaml"), "n:")),
        format!("image {}", after(&show("job.yaml"), "image:")),
    ];
    all.sort();
    all
}
