//! Random operations on the store and on a simple model of it: both always answer alike, on every engine, also after a
//! restart where there is one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use slipway_core::build::BuildState;
use slipway_core::event::{Event, EventState};
use slipway_core::people::Parent;
use slipway_core::{EventId, ProblemKind, RefUpdate, RegistryName, RepoId, UserName};
use slipway_store::Store;

use crate::samples::*;

mod subject;

const BRANCHES: [&str; 3] = ["main", "next", "side"];

/// One operation. Small numbers choose among few names, so that operations meet.
#[derive(Clone, Debug)]
enum Op {
    CreateUser(u8, bool),
    CreateUserWithKeys(u8, u8, u8),
    RemoveUser(u8),
    AddKey(u8, u8),
    RemoveKey(u8),
    AddToken(u8, u8, u8),
    RemoveToken(u8),
    CreateRepo(u8),
    RenameRepo(u8, u8),
    RemoveRepo(u8),
    Grant(u8, u8),
    Revoke(u8, u8),
    PutRegistry(u8),
    RemoveRegistry(u8),
    Bind(u8, u8),
    Unbind(u8),
    Intend(u8, u8),
    Accept(u8, u8),
    Abandon(u8),
    FinishBuild(u8, u8),
    RetryBuild(u8, u8),
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let few = || 0u8..3;
    let people = prop_oneof![
        3 => (few(), any::<bool>()).prop_map(|(u, o)| Op::CreateUser(u, o)),
        2 => (few(), few(), few()).prop_map(|(u, k, l)| Op::CreateUserWithKeys(u, k, l)),
        1 => few().prop_map(Op::RemoveUser),
        2 => (few(), few()).prop_map(|(u, k)| Op::AddKey(u, k)),
        1 => few().prop_map(Op::RemoveKey),
        4 => (few(), 0u8..5, 0u8..9).prop_map(|(u, t, p)| Op::AddToken(u, t, p)),
        1 => (0u8..5).prop_map(Op::RemoveToken),
    ];
    let repositories = prop_oneof![
        3 => few().prop_map(Op::CreateRepo),
        2 => (1u8..5, few()).prop_map(|(id, n)| Op::RenameRepo(id, n)),
        1 => (1u8..5).prop_map(Op::RemoveRepo),
        2 => (few(), 1u8..5).prop_map(|(u, r)| Op::Grant(u, r)),
        1 => (few(), 1u8..5).prop_map(|(u, r)| Op::Revoke(u, r)),
        2 => few().prop_map(Op::PutRegistry),
        1 => few().prop_map(Op::RemoveRegistry),
        2 => (1u8..5, few()).prop_map(|(r, n)| Op::Bind(r, n)),
        1 => (1u8..5).prop_map(Op::Unbind),
    ];
    let work = prop_oneof![
        5 => (1u8..5, 1u8..8).prop_map(|(r, b)| Op::Intend(r, b)),
        5 => (1u8..8, 0u8..8).prop_map(|(e, b)| Op::Accept(e, b)),
        1 => (1u8..8).prop_map(Op::Abandon),
        2 => (1u8..5, 1u8..6).prop_map(|(r, n)| Op::FinishBuild(r, n)),
        1 => (1u8..5, 1u8..6).prop_map(|(r, n)| Op::RetryBuild(r, n)),
        1 => Just(Op::Restart),
    ];
    proptest::collection::vec(prop_oneof![1 => people, 1 => repositories, 1 => work], 1..80)
}

/// What the store ought to hold.
#[derive(Default)]
struct Model {
    users: BTreeMap<UserName, bool>,
    keys: BTreeMap<String, UserName>,
    tokens: BTreeMap<String, (UserName, Option<Parent>)>,
    repos: BTreeMap<RepoId, String>,
    former: BTreeMap<String, RepoId>,
    last_repo: u64,
    grants: BTreeSet<(RepoId, UserName)>,
    registries: BTreeSet<RegistryName>,
    bound: BTreeMap<RepoId, RegistryName>,
    events: BTreeMap<EventId, (RepoId, Vec<RefUpdate>, EventState)>,
    last_event: u64,
    builds: BTreeMap<(RepoId, u64), (EventId, BuildState)>,
    last_build: BTreeMap<RepoId, u64>,
}

/// `None`: it went well; otherwise how it was refused.
type Answer = Option<ProblemKind>;

const MISSING: Answer = Some(ProblemKind::NotFound);
const CONFLICT: Answer = Some(ProblemKind::Conflict);

fn nth_user(n: u8) -> UserName {
    user_name(["ann", "anna", "bob"][usize::from(n)])
}
fn nth_repo(n: u8) -> &'static str {
    ["app", "app2", "manifests"][usize::from(n)]
}
fn nth_registry(n: u8) -> RegistryName {
    registry_name(["hub", "hub2", "ecr"][usize::from(n)])
}
/// Nothing, one of five tokens, or one of three keys.
fn nth_parent(n: u8) -> Option<Parent> {
    match n {
        0 => None,
        1..6 => Some(Parent::Token { id: (n - 1).to_string() }),
        _ => Some(Parent::Key { fingerprint: (n - 6).to_string() }),
    }
}
fn chosen(bits: u8) -> Vec<&'static str> {
    BRANCHES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, b)| *b).collect()
}
fn wanted(repo: RepoId, bits: u8) -> Event {
    let branches = chosen(bits);
    event(repo, &branches, branches.iter().map(|b| owes_build(b)).collect())
}

impl Model {
    fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Restart => None,
            Op::CreateUser(..)
            | Op::CreateUserWithKeys(..)
            | Op::RemoveUser(_)
            | Op::AddKey(..)
            | Op::RemoveKey(_)
            | Op::AddToken(..)
            | Op::RemoveToken(_) => self.people(op),
            Op::CreateRepo(_) | Op::RenameRepo(..) | Op::RemoveRepo(_) | Op::Grant(..) | Op::Revoke(..) => {
                self.repositories(op)
            }
            Op::PutRegistry(_) | Op::RemoveRegistry(_) | Op::Bind(..) | Op::Unbind(_) => self.targets(op),
            Op::Intend(..) | Op::Accept(..) | Op::Abandon(_) | Op::FinishBuild(..) | Op::RetryBuild(..) => {
                self.work(op)
            }
        }
    }

    fn people(&mut self, op: &Op) -> Answer {
        match *op {
            Op::CreateUser(u, owner) => return self.create_user(nth_user(u), owner, &[]),
            Op::CreateUserWithKeys(u, k, l) => return self.create_user(nth_user(u), false, &[k, l]),
            Op::RemoveUser(u) => return self.remove_user(&nth_user(u)),
            Op::AddKey(u, k) => {
                if !self.users.contains_key(&nth_user(u)) {
                    return MISSING;
                }
                if self.keys.contains_key(&k.to_string()) {
                    return CONFLICT;
                }
                self.keys.insert(k.to_string(), nth_user(u));
            }
            Op::RemoveKey(k) => {
                if !self.keys.contains_key(&k.to_string()) {
                    return MISSING;
                }
                self.end(&Parent::Key { fingerprint: k.to_string() });
            }
            Op::AddToken(u, t, p) => return self.add_token(nth_user(u), t.to_string(), nth_parent(p)),
            Op::RemoveToken(t) => {
                if !self.tokens.contains_key(&t.to_string()) {
                    return MISSING;
                }
                self.end(&Parent::Token { id: t.to_string() });
            }
            _ => unreachable!("{op:?}"),
        }
        None
    }

    fn create_user(&mut self, name: UserName, owner: bool, keys: &[u8]) -> Answer {
        let keys: BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
        let known = keys.iter().any(|key| self.keys.contains_key(key));
        if self.users.contains_key(&name) || known {
            return CONFLICT;
        }
        self.users.insert(name.clone(), owner);
        self.keys.extend(keys.into_iter().map(|key| (key, name.clone())));
        None
    }

    fn add_token(&mut self, user: UserName, id: String, parent: Option<Parent>) -> Answer {
        if !self.users.contains_key(&user) {
            return MISSING;
        }
        if self.tokens.contains_key(&id) {
            return CONFLICT;
        }
        let there = match &parent {
            None => true,
            Some(Parent::Token { id }) => self.tokens.contains_key(id),
            Some(Parent::Key { fingerprint }) => self.keys.contains_key(fingerprint),
        };
        if !there {
            return Some(ProblemKind::Unauthenticated);
        }
        self.tokens.insert(id, (user, parent));
        None
    }

    fn end(&mut self, ended: &Parent) {
        match ended {
            Parent::Token { id } => drop(self.tokens.remove(id)),
            Parent::Key { fingerprint } => drop(self.keys.remove(fingerprint)),
        }
        let made = self.tokens.iter().filter(|(_, (_, parent))| parent.as_ref() == Some(ended));
        for id in made.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.end(&Parent::Token { id });
        }
    }

    fn remove_user(&mut self, name: &UserName) -> Answer {
        let Some(owner) = self.users.get(name) else { return MISSING };
        if *owner && !self.users.iter().any(|(other, owner)| other != name && *owner) {
            return CONFLICT;
        }
        self.users.remove(name);
        let keys = self.keys.iter().filter(|(_, user)| *user == name);
        let keys = keys.map(|(key, _)| Parent::Key { fingerprint: key.clone() });
        let tokens = self.tokens.iter().filter(|(_, (user, _))| user == name);
        let tokens = tokens.map(|(id, _)| Parent::Token { id: id.clone() });
        for own in keys.chain(tokens).collect::<Vec<_>>() {
            self.end(&own);
        }
        self.grants.retain(|(_, user)| user != name);
        None
    }

    fn repositories(&mut self, op: &Op) -> Answer {
        match *op {
            Op::CreateRepo(n) => {
                if self.repos.values().any(|name| name == nth_repo(n)) {
                    return CONFLICT;
                }
                self.last_repo += 1;
                self.former.remove(nth_repo(n));
                self.repos.insert(RepoId(self.last_repo), nth_repo(n).into());
            }
            Op::RenameRepo(id, n) => return self.rename(RepoId(id.into()), nth_repo(n)),
            Op::RemoveRepo(id) => return self.remove_repo(RepoId(id.into())),
            Op::Grant(u, r) => {
                let (user, repo) = (nth_user(u), RepoId(r.into()));
                if !self.users.contains_key(&user) || !self.repos.contains_key(&repo) {
                    return MISSING;
                }
                self.grants.insert((repo, user));
            }
            Op::Revoke(u, r) => drop(self.grants.remove(&(RepoId(r.into()), nth_user(u)))),
            _ => unreachable!("{op:?}"),
        }
        None
    }

    fn rename(&mut self, id: RepoId, new: &str) -> Answer {
        let Some(old) = self.repos.get(&id).cloned() else { return MISSING };
        if self.repos.iter().any(|(other, name)| *other != id && name == new) {
            return CONFLICT;
        }
        if old != new {
            self.former.remove(new);
            self.former.insert(old, id);
            self.repos.insert(id, new.into());
        }
        None
    }

    fn remove_repo(&mut self, id: RepoId) -> Answer {
        if self.repos.remove(&id).is_none() {
            return MISSING;
        }
        self.former.retain(|_, repo| *repo != id);
        self.grants.retain(|(repo, _)| *repo != id);
        self.bound.remove(&id);
        self.events.retain(|_, (repo, _, _)| *repo != id);
        self.builds.retain(|(repo, _), _| *repo != id);
        None
    }

    fn targets(&mut self, op: &Op) -> Answer {
        match *op {
            Op::PutRegistry(n) => drop(self.registries.insert(nth_registry(n))),
            Op::RemoveRegistry(n) => {
                if !self.registries.contains(&nth_registry(n)) {
                    return MISSING;
                }
                if self.bound.values().any(|name| *name == nth_registry(n)) {
                    return CONFLICT;
                }
                self.registries.remove(&nth_registry(n));
            }
            Op::Bind(r, n) => {
                let repo = RepoId(r.into());
                if !self.repos.contains_key(&repo) || !self.registries.contains(&nth_registry(n)) {
                    return MISSING;
                }
                self.bound.insert(repo, nth_registry(n));
            }
            Op::Unbind(r) => drop(self.bound.remove(&RepoId(r.into()))),
            _ => unreachable!("{op:?}"),
        }
        None
    }

    fn work(&mut self, op: &Op) -> Answer {
        match *op {
            Op::Intend(r, bits) => {
                let repo = RepoId(r.into());
                if !self.repos.contains_key(&repo) {
                    return MISSING;
                }
                self.last_event += 1;
                let updates = wanted(repo, bits).updates;
                self.events.insert(EventId(self.last_event), (repo, updates, EventState::Intended));
            }
            Op::Accept(e, bits) => return self.accept(EventId(e.into()), bits),
            Op::Abandon(e) => match self.events.get_mut(&EventId(e.into())) {
                None => return MISSING,
                Some((_, _, EventState::Accepted)) => return CONFLICT,
                Some((_, _, state)) => *state = EventState::Abandoned,
            },
            Op::FinishBuild(r, n) => match self.builds.get_mut(&(RepoId(r.into()), n.into())) {
                None => return MISSING,
                Some((_, state)) => *state = BuildState::Succeeded,
            },
            Op::RetryBuild(r, n) => {
                let repo = RepoId(r.into());
                let Some((event, _)) = self.builds.get(&(repo, n.into())).copied() else { return MISSING };
                self.queue(repo, event);
            }
            _ => unreachable!("{op:?}"),
        }
        None
    }

    fn queue(&mut self, repo: RepoId, event: EventId) {
        let last = self.last_build.entry(repo).or_default();
        *last += 1;
        self.builds.insert((repo, *last), (event, BuildState::Queued));
    }

    fn accept(&mut self, id: EventId, bits: u8) -> Answer {
        let Some((repo, updates, state)) = self.events.get_mut(&id) else { return MISSING };
        match state {
            EventState::Accepted => return None,
            EventState::Abandoned => return CONFLICT,
            EventState::Intended => {}
        }
        let moved = chosen(bits);
        updates.retain(|update| moved.contains(&update.name.short()));
        *state = EventState::Accepted;
        let (repo, due) = (*repo, updates.len());
        (0..due).for_each(|_| self.queue(repo, id));
        None
    }
}

fn answer_alike(ops: &[Op], mut store: Store, restart: impl Fn(Store) -> Store) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for op in ops {
        if matches!(op, Op::Restart) {
            store = restart(store);
        }
        let answer = subject::apply(&store, &model, op);
        prop_assert_eq!(answer, model.apply(op), "{:?} in {:?}", op, ops);
    }
    subject::compare(&store, &model);
    subject::compare(&restart(store), &model);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_sled_answers_as_a_simple_model_does(ops in ops()) {
        let home = Home::new();
        answer_alike(&ops, home.open(), |store| {
            drop(store);
            home.open()
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_store_in_memory_answers_as_a_simple_model_does(ops in ops()) {
        answer_alike(&ops, Home::new().in_memory(), |store| store)?;
    }
}
