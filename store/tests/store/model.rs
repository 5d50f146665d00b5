//! Random operations on the store and on a simple model of it: both always answer alike, also after a restart.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use slipway_core::accept::Ledger as _;
use slipway_core::build::{Build, BuildState};
use slipway_core::event::{Event, EventState};
use slipway_core::{BuildNumber, EventId, ProblemKind, RefUpdate, RegistryName, RepoId, Role, UserName};
use slipway_store::Store;

use crate::samples::*;

const BRANCHES: [&str; 3] = ["main", "next", "side"];

/// One operation. Small numbers choose among few names, so that operations meet.
#[derive(Clone, Debug)]
enum Op {
    CreateUser(u8, bool),
    RemoveUser(u8),
    AddKey(u8, u8),
    RemoveKey(u8),
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
    let op = prop_oneof![
        3 => (few(), any::<bool>()).prop_map(|(u, o)| Op::CreateUser(u, o)),
        1 => few().prop_map(Op::RemoveUser),
        2 => (few(), few()).prop_map(|(u, k)| Op::AddKey(u, k)),
        1 => few().prop_map(Op::RemoveKey),
        3 => few().prop_map(Op::CreateRepo),
        1 => (1u8..5, few()).prop_map(|(id, n)| Op::RenameRepo(id, n)),
        1 => (1u8..5).prop_map(Op::RemoveRepo),
        2 => (few(), 1u8..5).prop_map(|(u, r)| Op::Grant(u, r)),
        1 => (few(), 1u8..5).prop_map(|(u, r)| Op::Revoke(u, r)),
        2 => few().prop_map(Op::PutRegistry),
        1 => few().prop_map(Op::RemoveRegistry),
        2 => (1u8..5, few()).prop_map(|(r, n)| Op::Bind(r, n)),
        1 => (1u8..5).prop_map(Op::Unbind),
        5 => (1u8..5, 1u8..8).prop_map(|(r, b)| Op::Intend(r, b)),
        5 => (1u8..8, 0u8..8).prop_map(|(e, b)| Op::Accept(e, b)),
        1 => (1u8..8).prop_map(Op::Abandon),
        2 => (1u8..5, 1u8..6).prop_map(|(r, n)| Op::FinishBuild(r, n)),
        1 => (1u8..5, 1u8..6).prop_map(|(r, n)| Op::RetryBuild(r, n)),
        1 => Just(Op::Restart),
    ];
    proptest::collection::vec(op, 1..60)
}

/// What the store ought to hold.
#[derive(Default)]
struct Model {
    users: BTreeMap<UserName, bool>,
    keys: BTreeMap<String, UserName>,
    repos: BTreeMap<RepoId, String>,
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
fn chosen(bits: u8) -> Vec<&'static str> {
    BRANCHES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, b)| *b).collect()
}
fn wanted(repo: RepoId, bits: u8) -> Event {
    let branches = chosen(bits);
    event(repo, &branches, branches.iter().map(|b| owes_build(b)).collect())
}

impl Model {
    fn apply(&mut self, op: &Op) -> Answer {
        match *op {
            Op::CreateUser(u, owner) => match self.users.contains_key(&nth_user(u)) {
                true => return CONFLICT,
                false => drop(self.users.insert(nth_user(u), owner)),
            },
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
            Op::RemoveKey(k) => return self.keys.remove(&k.to_string()).map_or(MISSING, |_| None),
            Op::CreateRepo(n) => {
                if self.repos.values().any(|name| name == nth_repo(n)) {
                    return CONFLICT;
                }
                self.last_repo += 1;
                self.repos.insert(RepoId(self.last_repo), nth_repo(n).into());
            }
            Op::RenameRepo(id, n) => {
                let id = RepoId(id.into());
                if !self.repos.contains_key(&id) {
                    return MISSING;
                }
                if self.repos.iter().any(|(other, name)| *other != id && name == nth_repo(n)) {
                    return CONFLICT;
                }
                self.repos.insert(id, nth_repo(n).into());
            }
            Op::RemoveRepo(id) => return self.remove_repo(RepoId(id.into())),
            Op::Grant(u, r) => {
                let (user, repo) = (nth_user(u), RepoId(r.into()));
                if !self.users.contains_key(&user) || !self.repos.contains_key(&repo) {
                    return MISSING;
                }
                self.grants.insert((repo, user));
            }
            Op::Revoke(u, r) => drop(self.grants.remove(&(RepoId(r.into()), nth_user(u)))),
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
            Op::Restart => {}
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

    fn remove_user(&mut self, name: &UserName) -> Answer {
        let Some(owner) = self.users.get(name) else { return MISSING };
        if *owner && !self.users.iter().any(|(other, owner)| other != name && *owner) {
            return CONFLICT;
        }
        self.users.remove(name);
        self.keys.retain(|_, user| user != name);
        self.grants.retain(|(_, user)| user != name);
        None
    }

    fn remove_repo(&mut self, id: RepoId) -> Answer {
        if self.repos.remove(&id).is_none() {
            return MISSING;
        }
        self.grants.retain(|(repo, _)| *repo != id);
        self.bound.remove(&id);
        self.events.retain(|_, (repo, _, _)| *repo != id);
        self.builds.retain(|(repo, _), _| *repo != id);
        None
    }
}

fn apply(store: &Store, model: &Model, op: &Op) -> Answer {
    let id = |n: u8| RepoId(n.into());
    let done = match *op {
        Op::CreateUser(u, owner) => store.create_user(&user(nth_user(u).as_str(), owner)),
        Op::RemoveUser(u) => store.remove_user(&nth_user(u)),
        Op::AddKey(u, k) => store.add_key(&key(nth_user(u).as_str(), &k.to_string())),
        Op::RemoveKey(k) => store.remove_key(&k.to_string()),
        Op::CreateRepo(n) => store.create_repo(&repo_name(nth_repo(n)), "", false, NOW).map(drop),
        Op::RenameRepo(r, n) => match store.repo(id(r)).unwrap() {
            None => return MISSING,
            Some(mut repo) => {
                repo.name = repo_name(nth_repo(n));
                store.update_repo(&repo)
            }
        },
        Op::RemoveRepo(r) => store.remove_repo(id(r)),
        Op::Grant(u, r) => store.grant(&nth_user(u), id(r), Role::Write),
        Op::Revoke(u, r) => store.revoke(&nth_user(u), id(r)),
        Op::PutRegistry(n) => store.put_registry(&registry(nth_registry(n).as_str()), None),
        Op::RemoveRegistry(n) => store.remove_registry(&nth_registry(n)),
        Op::Bind(r, n) => store.bind_registry(&registry_binding(id(r), nth_registry(n).as_str())),
        Op::Unbind(r) => store.unbind_registry(id(r)),
        Op::Intend(r, bits) => store.intend(wanted(id(r), bits)).map(drop),
        Op::Accept(e, bits) => {
            // Only what was intended can move.
            let e = EventId(e.into());
            let intended = model.events.get(&e).map(|(_, updates, _)| updates.clone()).unwrap_or_default();
            let moved = chosen(bits);
            let moved: Vec<_> = intended.into_iter().filter(|u| moved.contains(&u.name.short())).collect();
            store.accept(e, &moved, NOW).map(drop)
        }
        Op::Abandon(e) => store.abandon(EventId(e.into())),
        Op::FinishBuild(r, n) => match store.build(id(r), BuildNumber(n.into())).unwrap() {
            None => return MISSING,
            Some(mut build) => {
                build.run.state = BuildState::Succeeded;
                store.put_build(&build)
            }
        },
        Op::RetryBuild(r, n) => match store.build(id(r), BuildNumber(n.into())).unwrap() {
            None => return MISSING,
            Some(mut build) => {
                build.run.state = BuildState::Queued;
                store.add_build(build).map(drop)
            }
        },
        Op::Restart => Ok(()),
    };
    done.err().map(|problem| problem.kind)
}

fn compare(store: &Store, model: &Model) {
    let users: Vec<_> = store.users().unwrap().into_iter().map(|u| (u.name, u.owner)).collect();
    assert_eq!(users, model.users.clone().into_iter().collect::<Vec<_>>());
    let keys: BTreeMap<_, _> =
        store.keys(None).unwrap().into_iter().map(|k| (k.fingerprint, k.user)).collect();
    assert_eq!(keys, model.keys);
    for name in model.users.keys() {
        let own = model.keys.values().filter(|user| *user == name).count();
        assert_eq!(store.keys(Some(name)).unwrap().len(), own);
    }
    let repos: BTreeMap<_, _> =
        store.repos().unwrap().into_iter().map(|r| (r.id, r.name.to_string())).collect();
    assert_eq!(repos, model.repos);
    for n in 0..3 {
        let found = store.repo_by_name(&repo_name(nth_repo(n))).unwrap().map(|r| r.id);
        assert_eq!(found, model.repos.iter().find(|(_, name)| *name == nth_repo(n)).map(|(id, _)| *id));
    }
    let registries: BTreeSet<_> = store.registries().unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(registries, model.registries);
    for id in (1..=model.last_repo).map(RepoId) {
        let grants: BTreeSet<_> = store.grants(id).unwrap().into_iter().map(|(user, _)| (id, user)).collect();
        assert_eq!(grants, model.grants.iter().filter(|(repo, _)| *repo == id).cloned().collect());
        assert_eq!(store.bindings(id).unwrap().registry.map(|b| b.registry).as_ref(), model.bound.get(&id));
        let builds: BTreeMap<_, _> = store.builds(id, None, 1000).unwrap().into_iter().map(fact).collect();
        let expected = model.builds.clone().into_iter().filter(|((repo, _), _)| *repo == id).collect();
        assert_eq!(builds, expected);
        let events: Vec<_> = store.events(id, 1000).unwrap().into_iter().map(|e| e.id).collect();
        let expected = model.events.iter().rev().filter(|(_, (repo, _, _))| *repo == id).map(|(e, _)| *e);
        assert_eq!(events, expected.collect::<Vec<_>>());
    }
    for id in (1..=model.last_event).map(EventId) {
        let found = store.event(id).unwrap().map(|e| (e.repo, e.updates, e.state));
        assert_eq!(found.as_ref(), model.events.get(&id));
        let builds: BTreeMap<_, _> = store.builds_of_event(id).unwrap().into_iter().map(fact).collect();
        assert_eq!(builds, model.builds.clone().into_iter().filter(|(_, (event, _))| *event == id).collect());
    }
    let intended: Vec<_> = store.intended().unwrap().into_iter().map(|e| e.id).collect();
    let expected = model.events.iter().filter(|(_, (_, _, state))| *state == EventState::Intended);
    assert_eq!(intended, expected.map(|(id, _)| *id).collect::<Vec<_>>());
    let unfinished: BTreeMap<_, _> = store.unfinished_builds().unwrap().into_iter().map(fact).collect();
    let expected = model.builds.clone().into_iter().filter(|(_, (_, state))| !state.is_final()).collect();
    assert_eq!(unfinished, expected);
}

fn fact(build: Build) -> ((RepoId, u64), (EventId, BuildState)) {
    ((build.repo, build.number.0), (build.event, build.run.state))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_a_simple_model_does(ops in ops()) {
        let home = Home::new();
        let mut store = home.open();
        let mut model = Model::default();
        for op in &ops {
            if matches!(op, Op::Restart) {
                drop(store);
                store = home.open();
            }
            let answer = apply(&store, &model, op);
            prop_assert_eq!(answer, model.apply(op), "{:?} in {:?}", op, ops);
        }
        compare(&store, &model);
        drop(store);
        compare(&home.open(), &model);
    }
}
