//! What the clients of the chaos test know: every value they tried to give a branch or a record, and which of them were
//! acknowledged.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::harness::Person;

/// The branch that everybody pushes to; all others have one pusher each.
pub(crate) const SHARED: &str = "shared";

/// One wish to give a name a value.
pub(crate) struct Attempt {
    /// Which; `None` takes it away.
    pub(crate) new: Option<String>,
    pub(crate) acknowledged: bool,
}

/// Names and what was tried with them, oldest first: branches and commits, accounts and what they may do.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<BTreeMap<String, Vec<Attempt>>>);

/// The oldest attempts that a value may stem from, by name.
pub(crate) type Since = BTreeMap<String, usize>;

/// How often a ref was moved to a commit, or away where there is none.
type Moves = BTreeMap<(String, Option<String>), usize>;

impl Ledger {
    /// Before it is tried; its number.
    pub(crate) fn begin(&self, name: &str, new: Option<&str>) -> usize {
        let mut names = self.lock();
        let attempts = names.entry(name.to_owned()).or_default();
        attempts.push(Attempt { new: new.map(str::to_owned), acknowledged: false });
        attempts.len() - 1
    }

    pub(crate) fn acknowledge(&self, name: &str, number: usize) {
        self.lock().get_mut(name).expect("begun")[number].acknowledged = true;
    }

    /// What a name was acknowledged to have last, and every value that was tried after it. Good for names of which one
    /// person disposes.
    pub(crate) fn since(&self) -> Since {
        let latest = |attempts: &Vec<Attempt>| attempts.iter().rposition(|a| a.acknowledged);
        self.lock().iter().filter_map(|(name, attempts)| Some((name.clone(), latest(attempts)?))).collect()
    }

    /// Says what is wrong with these values, seen by whoever began to look at `since`.
    pub(crate) fn judge(&self, seen: &BTreeMap<String, String>, since: &Since) -> Vec<String> {
        let names = self.lock();
        let mut wrong = Vec::new();
        for (name, value) in seen {
            let from = if name == SHARED { 0 } else { since.get(name).copied().unwrap_or(0) };
            let known = names.get(name).is_some_and(|all| {
                all.get(from..).unwrap_or_default().iter().any(|a| a.new.as_ref() == Some(value))
            });
            if !known {
                wrong.push(format!("{name} is at {value}, which is not what it was given"));
            }
        }
        for (name, from) in since.iter().filter(|(name, _)| !seen.contains_key(*name)) {
            let gone = names[name][*from..].iter().any(|a| a.new.is_none());
            if !gone {
                wrong.push(format!("{name} is not there and was acknowledged"));
            }
        }
        wrong
    }

    /// Name and value of all that was acknowledged, oldest first for each name.
    pub(crate) fn acknowledged(&self) -> Vec<(String, Option<String>)> {
        self.attempts(|a| a.acknowledged)
    }

    /// Name and value of everything that was tried.
    pub(crate) fn tried(&self) -> Vec<(String, Option<String>)> {
        self.attempts(|_| true)
    }

    fn attempts(&self, which: impl Fn(&Attempt) -> bool) -> Vec<(String, Option<String>)> {
        let names = self.lock();
        names
            .iter()
            .flat_map(|(name, all)| all.iter().filter(|a| which(a)).map(|a| (name.clone(), a.new.clone())))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Attempt>>> {
        self.0.lock().expect("lock")
    }
}

/// One repository as its clients know it.
pub(crate) struct Repo {
    pub(crate) name: String,
    pub(crate) format: &'static str,
    pub(crate) branches: Ledger,
}

impl Repo {
    pub(crate) fn new(name: &str, format: &'static str) -> Self {
        Self { name: name.into(), format, branches: Ledger::default() }
    }

    /// SSH and HTTP.
    pub(crate) fn urls(&self, who: &Person) -> [String; 2] {
        [who.ssh_url(&self.name), who.http_url(&self.name)]
    }

    /// Says what is wrong with these branches, seen by whoever began to look at `since`.
    pub(crate) fn judge(&self, seen: &BTreeMap<String, String>, since: &Since) -> Vec<String> {
        self.branches.judge(seen, since).into_iter().map(|wrong| format!("{}: {wrong}", self.name)).collect()
    }
}

/// Every accepted event that was seen, by its id.
#[derive(Default)]
pub(crate) struct Events(pub(crate) BTreeMap<u64, Vec<[String; 3]>>);

impl Events {
    /// Takes in an answer of the API; those still *intended*.
    pub(crate) fn take(&mut self, answer: &serde_json::Value) -> Vec<u64> {
        let mut open = Vec::new();
        for event in answer["events"].as_array().expect("events") {
            let id = event["id"].as_u64().expect("id");
            let field =
                |update: &serde_json::Value, name: &str| update[name].as_str().expect("text").to_owned();
            let updates = event["updates"].as_array().expect("updates").iter();
            let updates = updates.map(|u| ["name", "old", "new"].map(|name| field(u, name))).collect();
            match event["state"].as_str() {
                Some("accepted") => {
                    let before = self.0.insert(id, updates);
                    assert!(before.is_none_or(|b| b == self.0[&id]), "event {id} is another than before");
                }
                Some("intended") => open.push(id),
                _ => assert!(!self.0.contains_key(&id), "event {id} was accepted before: {event:#}"),
            }
        }
        open
    }

    /// Follows every branch from event to event: each begins where the one before it ended. Where they end, and every
    /// step with how often it was recorded.
    pub(crate) fn follow(&self, repo: &str) -> (BTreeMap<String, String>, Moves) {
        let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
        let (mut at, mut steps) = (BTreeMap::<String, String>::new(), BTreeMap::new());
        for (id, updates) in &self.0 {
            for [name, old, new] in updates {
                let name = name.strip_prefix("refs/heads/").expect("a branch").to_owned();
                let stood = at.get(&name).map_or("nothing", String::as_str);
                let begins = if is_zero(old) { "nothing" } else { old };
                assert_eq!(begins, stood, "{repo}: event {id} moves {name} from where no event had put it");
                let new = (!is_zero(new)).then(|| new.clone());
                match &new {
                    Some(new) => drop(at.insert(name.clone(), new.clone())),
                    None => drop(at.remove(&name)),
                }
                *steps.entry((name, new)).or_default() += 1;
            }
        }
        (at, steps)
    }
}

/// Choices that are the same in every run.
pub(crate) struct Choice(u64);

impl Choice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `bound` (xorshift64*).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
