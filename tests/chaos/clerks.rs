//! Who keeps accounts, tokens, roles and repositories: each clerk has names of its own, asks for one change after the other,
//! and knows of each whether it was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::activity::Activity;
use super::harness::curl;
use super::people::World;
use super::record::Choice;

pub(crate) const CLERKS: usize = 2;
const SLOTS: usize = 4;

/// The account that a clerk gives tokens and roles to.
pub(crate) fn ward(clerk: usize) -> String {
    format!("gus{clerk}")
}

/// The names between which a clerk's repository is renamed to and fro.
pub(crate) fn renamed(clerk: usize) -> [String; 2] {
    [format!("m{clerk}-a"), format!("m{clerk}-b")]
}

/// What the server says of all of it, and the ids of tokens.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) facts: BTreeMap<String, String>,
    ids: BTreeMap<String, String>,
}

/// The rows of a list; `None` where the server does not answer.
fn rows(world: &World, list: &str, path: &str) -> Option<Vec<Value>> {
    let (status, body) = world.ann.get(&format!("/-/api/v1{path}"));
    if status != 200 {
        return None;
    }
    let answer: Value = serde_json::from_str(&body).ok()?;
    answer[list].as_array().cloned()
}

fn word(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

/// Everything that clerks change, as the server says it is.
pub(crate) fn seen(world: &World) -> Option<Seen> {
    let mut seen = Seen::default();
    for user in rows(world, "users", "/users?limit=1000")? {
        let name = word(&user, "name");
        let owner = user["owner"].as_bool().unwrap_or_default();
        if name.starts_with('c') {
            seen.facts.insert(format!("user/{name}"), if owner { "owner" } else { "member" }.into());
        }
    }
    let repos = rows(world, "repos", "/repos?limit=1000")?;
    let is_there = |name: &String| repos.iter().any(|repo| word(repo, "name") == *name);
    for repo in repos.iter().filter(|repo| word(repo, "name").starts_with('r')) {
        seen.facts.insert(format!("repo/{}", word(repo, "name")), word(repo, "description"));
    }
    for clerk in 0..CLERKS {
        let names: Vec<String> = renamed(clerk).into_iter().filter(is_there).collect();
        seen.facts.insert(format!("name/{clerk}"), names.join("+"));
        for token in rows(world, "tokens", &format!("/tokens?limit=1000&user={}", ward(clerk)))? {
            let fact = format!("token/{}/{}", ward(clerk), word(&token, "name"));
            seen.ids.insert(fact.clone(), word(&token, "id"));
            let before = seen.facts.insert(fact, "there".into());
            if before.is_some() {
                world.blame(format!("a token was made twice: {token}"));
            }
        }
    }
    for repo in &world.repos {
        for grant in rows(world, "grants", &format!("/repos/{}/grants?limit=1000", repo.name))? {
            let fact = format!("role/{}/{}", repo.name, word(&grant, "user"));
            seen.facts.insert(fact, word(&grant, "role"));
        }
    }
    Some(seen)
}

/// Compares what the server says with what was acknowledged.
pub(crate) fn judge(world: &World) {
    let since = world.records.since();
    if let Some(seen) = seen(world) {
        let wrong = world.records.judge(&seen.facts, &since);
        wrong.into_iter().for_each(|wrong| world.blame(wrong));
    }
}

/// One who works until it is enough.
pub(crate) fn work(world: &World, number: usize) {
    let choice = Choice::new(world.seed * 1000 + 700 + number as u64);
    let mut clerk = Clerk { world, choice, number, known: BTreeMap::new(), ids: BTreeMap::new() };
    while world.goes_on() {
        match clerk.choice.below(5) {
            0 => clerk.account(),
            1 => clerk.token(),
            2 => clerk.role(),
            3 => clerk.repository(),
            _ => clerk.rename(),
        };
        std::thread::sleep(Duration::from_millis(clerk.choice.below(150) as u64));
    }
}

struct Clerk<'a> {
    world: &'a World,
    choice: Choice,
    number: usize,
    /// What it knows for certain.
    known: BTreeMap<String, Option<String>>,
    ids: BTreeMap<String, String>,
}

/// One call of the API.
struct Call(&'static str, String, Value);

impl Clerk<'_> {
    /// How a thing stands. `None` where nobody tells.
    fn look(&mut self, fact: &str) -> Option<Option<String>> {
        if let Some(known) = self.known.get(fact) {
            return Some(known.clone());
        }
        let seen = seen(self.world)?;
        let now = seen.facts.get(fact).cloned();
        self.known.insert(fact.to_owned(), now.clone());
        self.ids = seen.ids;
        Some(now)
    }

    /// Makes a change, and notes what came of it. The answer if it was made.
    fn change(&mut self, what: Activity, fact: &str, new: Option<&str>, call: Call) -> Option<String> {
        let Call(method, path, body) = call;
        let begun = self.world.epoch();
        let number = self.world.records.begin(fact, new);
        let (ann, body) = (&self.world.ann, body.to_string());
        let (who, url) =
            (format!("{}:{}", ann.name, ann.token), format!("http://{}/-/api/v1{path}", ann.http));
        let mut args = vec!["-u", &who, "-X", method, &url];
        if body != "null" {
            args.extend(["-H", "content-type: application/json", "-d", &body]);
        }
        let doing = self.world.tally.doing(what);
        let (status, answer) = curl(&args);
        drop(doing);
        if (200..300).contains(&status) {
            self.world.records.acknowledge(fact, number);
            self.known.insert(fact.to_owned(), new.map(str::to_owned));
            return Some(answer);
        }
        self.known.remove(fact);
        if !self.world.was_down(begun) {
            self.world.blame(format!("{method} {path} {body}: {status} {answer}"));
        }
        std::thread::sleep(Duration::from_millis(100));
        None
    }

    fn account(&mut self) -> Option<()> {
        let name = format!("c{}-{}", self.number, self.choice.below(SLOTS));
        let (fact, path) = (format!("user/{name}"), format!("/users/{name}"));
        let now = self.look(&fact)?;
        let (new, call) = match now.as_deref() {
            None => (Some("member"), Call("POST", "/users".into(), json!({"name": name}))),
            Some(_) if self.choice.below(3) == 0 => (None, Call("DELETE", path, Value::Null)),
            Some("member") => (Some("owner"), Call("PATCH", path, json!({"owner": true}))),
            Some(_) => (Some("member"), Call("PATCH", path, json!({"owner": false}))),
        };
        self.change(Activity::Account, &fact, new, call).map(drop)
    }

    fn token(&mut self) -> Option<()> {
        let (user, name) = (ward(self.number), format!("t{}", self.choice.below(SLOTS)));
        let fact = format!("token/{user}/{name}");
        let now = self.look(&fact)?;
        if now.is_some() {
            let path = format!("/tokens/{}", self.ids.get(&fact)?);
            return self.change(Activity::Token, &fact, None, Call("DELETE", path, Value::Null)).map(drop);
        }
        let call = Call("POST", "/tokens".into(), json!({"user": user, "name": name}));
        let made = self.change(Activity::Token, &fact, Some("there"), call)?;
        let made: Value = serde_json::from_str(&made).expect("json");
        self.ids.insert(fact, word(&made["token"], "id"));
        Some(())
    }

    fn role(&mut self) -> Option<()> {
        let repo = self.choice.one_of(&self.world.repos).name.clone();
        let user = ward(self.number);
        let (fact, path) = (format!("role/{repo}/{user}"), format!("/repos/{repo}/grants/{user}"));
        let roles = [None, Some("read"), Some("write"), Some("admin")];
        let new = *self.choice.one_of(&roles);
        let call = match new {
            None => Call("DELETE", path, Value::Null),
            Some(role) => Call("PUT", path, json!({"role": role})),
        };
        self.change(Activity::Grant, &fact, new, call).map(drop)
    }

    fn repository(&mut self) -> Option<()> {
        let name = format!("r{}-{}", self.number, self.choice.below(SLOTS));
        let (fact, path) = (format!("repo/{name}"), format!("/repos/{name}"));
        let now = self.look(&fact)?;
        let about = format!("number {}", self.choice.below(1000));
        let new = (now.is_none() || self.choice.below(2) == 0).then_some(about.as_str());
        let call = match (now, new) {
            (None, _) => Call("POST", "/repos".into(), json!({"name": name, "description": about})),
            (Some(_), Some(about)) => Call("PATCH", path, json!({"description": about})),
            (Some(_), None) => Call("DELETE", path, Value::Null),
        };
        self.change(Activity::Repository, &fact, new, call).map(drop)
    }

    fn rename(&mut self) -> Option<()> {
        let fact = format!("name/{}", self.number);
        let now = self.look(&fact)??;
        let new = renamed(self.number).into_iter().find(|name| *name != now)?;
        let call = Call("PATCH", format!("/repos/{now}"), json!({"name": new}));
        self.change(Activity::Repository, &fact, Some(&new), call).map(drop)
    }
}
