//! The store as the model's counterpart: the same operations, and everything it holds compared.

use std::collections::{BTreeMap, BTreeSet};

use slipway_core::accept::Ledger as _;
use slipway_core::build::{Build, BuildState};
use slipway_core::event::EventState;
use slipway_core::people::Token;
use slipway_core::{BuildNumber, EventId, Problem, RepoId, Role, UserName};
use slipway_store::Store;

use super::{Answer, MISSING, Model, Op, chosen, nth_parent, nth_registry, nth_repo, nth_user, wanted};
use crate::samples::*;

pub(super) fn apply(store: &Store, model: &Model, op: &Op) -> Answer {
    let id = |n: u8| RepoId(n.into());
    let done = match *op {
        Op::CreateUser(u, owner) => store.create_user(&user(nth_user(u).as_str(), owner)),
        Op::CreateUserWithKeys(u, k, l) => create_user(store, &nth_user(u), &[k, l]),
        Op::RemoveUser(u) => store.remove_user(&nth_user(u)),
        Op::AddKey(u, k) => store.add_key(&key(nth_user(u).as_str(), &k.to_string())),
        Op::RemoveKey(k) => store.remove_key(&k.to_string()),
        Op::AddToken(u, t, p) => {
            let token = Token { parent: nth_parent(p), ..token(nth_user(u).as_str(), &t.to_string()) };
            store.add_token(&token, [t; 32]).map(drop)
        }
        Op::RemoveToken(t) => store.remove_token(&t.to_string()),
        Op::CreateRepo(n) => store.create_repo(&repo_name(nth_repo(n)), "", false, NOW).map(drop),
        Op::RenameRepo(r, n) => {
            store.update_repo(id(r), NOW, |repo| repo.name = repo_name(nth_repo(n))).map(drop)
        }
        Op::RemoveRepo(r) => store.remove_repo(id(r)),
        Op::Grant(u, r) => store.grant(&nth_user(u), id(r), Role::Write),
        Op::Revoke(u, r) => store.revoke(&nth_user(u), id(r)),
        Op::PutRegistry(n) => store.put_registry(&registry(nth_registry(n).as_str()), None),
        Op::RemoveRegistry(n) => store.remove_registry(&nth_registry(n)),
        Op::Bind(r, n) => store.bind_registry(&registry_binding(id(r), nth_registry(n).as_str())),
        Op::Unbind(r) => store.unbind_registry(id(r)),
        Op::Intend(r, bits) => store.intend(wanted(id(r), bits)).map(drop),
        Op::Accept(e, bits) => accept(store, model, EventId(e.into()), bits),
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

/// A user with one key or two, in one change. The same key twice is given once.
fn create_user(store: &Store, name: &UserName, keys: &[u8]) -> Result<(), Problem> {
    let keys: BTreeSet<u8> = keys.iter().copied().collect();
    store.transact(|tx| {
        tx.create_user(&user(name.as_str(), false))?;
        keys.iter().try_for_each(|k| tx.add_key(&key(name.as_str(), &k.to_string())))
    })
}

/// Only what was intended can move.
fn accept(store: &Store, model: &Model, id: EventId, bits: u8) -> Result<(), Problem> {
    let intended = model.events.get(&id).map(|(_, updates, _)| updates.clone()).unwrap_or_default();
    let moved = chosen(bits);
    let moved: Vec<_> = intended.into_iter().filter(|u| moved.contains(&u.name.short())).collect();
    store.accept(id, &moved, NOW).map(drop)
}

pub(super) fn compare(store: &Store, model: &Model) {
    people(store, model);
    repositories(store, model);
    work(store, model);
}

fn people(store: &Store, model: &Model) {
    let users: Vec<_> = store.users().unwrap().into_iter().map(|u| (u.name, u.owner)).collect();
    assert_eq!(users, model.users.clone().into_iter().collect::<Vec<_>>());
    let keys: BTreeMap<_, _> =
        store.keys(None).unwrap().into_iter().map(|k| (k.fingerprint, k.user)).collect();
    assert_eq!(keys, model.keys);
    let tokens: BTreeMap<_, _> =
        store.tokens(None).unwrap().into_iter().map(|t| (t.id, (t.user, t.parent))).collect();
    assert_eq!(tokens, model.tokens);
    for t in 0..5 {
        let by_value = store.token_by_value(&[t; 32]).unwrap();
        assert_eq!(by_value.is_some(), tokens.contains_key(&t.to_string()));
    }
    for name in model.users.keys() {
        let own = model.keys.values().filter(|user| *user == name).count();
        assert_eq!(store.keys(Some(name)).unwrap().len(), own);
        let own = model.tokens.values().filter(|(user, _)| user == name).count();
        assert_eq!(store.tokens(Some(name)).unwrap().len(), own);
    }
}

fn repositories(store: &Store, model: &Model) {
    let repos: BTreeMap<_, _> =
        store.repos().unwrap().into_iter().map(|r| (r.id, r.name.to_string())).collect();
    assert_eq!(repos, model.repos);
    for n in 0..3 {
        let found = store.repo_by_name(&repo_name(nth_repo(n))).unwrap().map(|r| r.id);
        assert_eq!(found, model.repos.iter().find(|(_, name)| *name == nth_repo(n)).map(|(id, _)| *id));
        let former = store.repo_by_former_name(&repo_name(nth_repo(n))).unwrap().map(|r| r.id);
        assert_eq!(former, model.former.get(nth_repo(n)).copied());
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
}

fn work(store: &Store, model: &Model) {
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
