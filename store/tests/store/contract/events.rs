//! Events and what they owe.

use slipway_core::accept::Ledger as _;
use slipway_core::build::{BuildState, Stage};
use slipway_core::deploy::DeployState;
use slipway_core::event::{Event, EventState, Work};
use slipway_core::run::{FailureClass, Lease};
use slipway_core::{EventId, Problem, ProblemKind, RefName};
use slipway_store::Store;

use super::{make_repo, refused};
use crate::samples::*;

pub(crate) fn an_event_is_accepted_once(store: &Store) {
    let repo = make_repo(store, "app");
    let owed = vec![owes_build("main"), owes_deploy("main"), owes_build("next")];
    let intended = store.intend(event(repo, &["main", "next"], owed)).unwrap();
    assert_eq!(intended.state, EventState::Intended, "whatever the caller said");
    assert_eq!(store.builds_of_event(intended.id).unwrap(), []);
    let moved = [update("main"), update("next")];
    let orders = store.accept(intended.id, &moved, at(5)).unwrap();
    let numbers: Vec<_> = orders.builds.iter().map(|b| (b.number.0, b.ref_name.short())).collect();
    assert_eq!(numbers, [(1, "main"), (2, "next")]);
    assert_eq!(orders.deploys.len(), 1);
    let build = &orders.builds[0];
    assert_eq!((build.run.state, build.run.created, build.event), (BuildState::Queued, at(5), intended.id));
    assert_eq!((build.actor.as_str(), build.title.as_str(), build.commit), ("ann", "Say hello", oid(1)));
    assert_eq!(orders.deploys[0].event, Some(intended.id));
    assert_eq!(orders.deploys[0].run.state, DeployState::Queued);

    for _ in 0..3 {
        assert_eq!(store.accept(intended.id, &moved, at(6)).unwrap(), orders);
        assert_eq!(store.accept(intended.id, &[], at(6)).unwrap(), orders);
    }
    assert_eq!(store.builds(repo, None, 10).unwrap().len(), 2);
    assert_eq!(store.deploys(repo, None, 10).unwrap(), orders.deploys);
    assert_eq!(store.builds_of_event(intended.id).unwrap(), orders.builds);
    assert_eq!(store.deploys_of_event(intended.id).unwrap(), orders.deploys);
    assert_eq!(store.event(intended.id).unwrap().unwrap().state, EventState::Accepted);
    assert_eq!(store.intended().unwrap(), []);
    refused(store.abandon(intended.id), ProblemKind::Conflict, "accepted");
    refused(store.accept(EventId(99), &moved, NOW), ProblemKind::NotFound, "99");
    store.add_build(orders.builds[0].clone()).unwrap();
    store.add_deploy(orders.deploys[0].clone()).unwrap();
    assert_eq!(
        store.accept(intended.id, &moved, at(7)).unwrap(),
        orders,
        "what is tried again is no part of it"
    );
}

pub(crate) fn many_at_once_accept_it_once_and_share_no_number(store: &Store) {
    let repo = make_repo(store, "app");
    let id = store.intend(event(repo, &["main"], vec![owes_build("main"), owes_deploy("main")])).unwrap().id;
    let mut seen = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let orders = store.accept(id, &[update("main")], NOW).unwrap();
                    let retries: Vec<_> =
                        (0..10).map(|_| store.add_build(orders.builds[0].clone()).unwrap().number).collect();
                    (orders, retries)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    let first = seen[0].0.clone();
    assert_eq!((first.builds.len(), first.deploys.len()), (1, 1));
    assert_eq!(store.deploys(repo, None, 100).unwrap(), first.deploys);
    let mut numbers: Vec<u64> = seen.drain(..).flat_map(|(_, retries)| retries).map(|n| n.0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=81).collect::<Vec<_>>());
}

pub(crate) fn only_what_moved_is_owed(store: &Store) {
    let repo = make_repo(store, "app");
    let owed = vec![owes_build("main"), owes_build("next"), owes_deploy("next")];
    let id = store.intend(event(repo, &["main", "next"], owed.clone())).unwrap().id;
    let orders = store.accept(id, &[update("main")], NOW).unwrap();
    assert_eq!(orders.builds.len(), 1);
    assert_eq!(orders.builds[0].ref_name, RefName::branch("main").unwrap());
    assert_eq!(orders.deploys, []);
    let after = store.event(id).unwrap().unwrap();
    assert_eq!(after.updates, [update("main")]);
    assert_eq!(after.owed, owed, "what was planned stays readable");
}

pub(crate) fn an_abandoned_event_owes_nothing(store: &Store) {
    let repo = make_repo(store, "app");
    let id = store.intend(event(repo, &["main"], vec![owes_build("main")])).unwrap().id;
    store.abandon(id).unwrap();
    store.abandon(id).unwrap();
    assert_eq!(store.intended().unwrap(), []);
    assert_eq!(store.event(id).unwrap().unwrap().state, EventState::Abandoned);
    refused(store.accept(id, &[update("main")], NOW), ProblemKind::Conflict, "abandoned");
    assert_eq!(store.builds(repo, None, 10).unwrap(), []);
    refused(store.abandon(EventId(99)), ProblemKind::NotFound, "99");
}

pub(crate) fn intended_events_are_found_oldest_first(store: &Store) {
    let (a, b) = (make_repo(store, "a"), make_repo(store, "b"));
    let ids: Vec<_> =
        [b, a, b, a].map(|repo| store.intend(event(repo, &["main"], vec![])).unwrap().id).to_vec();
    store.abandon(ids[1]).unwrap();
    let found: Vec<_> = store.intended().unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(found, [ids[0], ids[2], ids[3]]);
    let of_b: Vec<_> = store.events(b, 10).unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(of_b, [ids[2], ids[0]]);
    assert_eq!(store.events(b, 1).unwrap().len(), 1);
    assert_eq!(store.events(b, 0).unwrap().len(), 0);
}

pub(crate) fn what_is_known_to_be_broken_is_recorded_as_failed(store: &Store) {
    let repo = make_repo(store, "app");
    let problem = Problem::new(ProblemKind::Invalid, "slipway.toml:1:1: bad.", "Mend it.");
    let owed =
        vec![owes("main", Work::Build { broken: Some(problem.clone()), part: None, needs: Vec::new() })];
    let id = store.intend(event(repo, &["main"], owed)).unwrap().id;
    let orders = store.accept(id, &[update("main")], at(7)).unwrap();
    let build = &orders.builds[0];
    assert_eq!(
        (build.run.state, build.stage, build.run.ended),
        (BuildState::Failed, Stage::Clone, Some(at(7)))
    );
    let failure = build.run.failure.as_ref().unwrap();
    assert_eq!((failure.class, &failure.problem), (FailureClass::User, &problem));
    assert_eq!(store.unfinished_builds().unwrap(), []);
    assert_eq!(store.accept(id, &[update("main")], at(8)).unwrap(), orders);
}

pub(crate) fn old_events_go_and_unsettled_ones_stay(store: &Store) {
    let (app, other) = (make_repo(store, "app"), make_repo(store, "other"));
    let settled = store.intend(event(app, &["main"], vec![])).unwrap().id;
    store.abandon(settled).unwrap();
    let unsettled = store.intend(event(app, &["main"], vec![])).unwrap().id;
    let foreign = store.intend(event(other, &["main"], vec![])).unwrap().id;
    // A few large ones cross the bound in bytes as surely as a thousand small ones cross the one in number.
    let mut large = event(app, &["main"], vec![]);
    large.options = vec!["x".repeat(12 << 20)];
    for _ in 0..3 {
        let id = store.intend(large.clone()).unwrap().id;
        store.abandon(id).unwrap();
    }
    store.intend(event(app, &["main"], vec![])).unwrap();
    assert_eq!(store.event(settled).unwrap(), None);
    assert!(store.event(unsettled).unwrap().is_some());
    assert!(store.event(foreign).unwrap().is_some());
    assert_eq!(store.intended().unwrap().len(), 3);
    let left: Vec<_> = store.events(app, 100).unwrap().into_iter().map(|e| e.id).collect();
    assert!(left.len() < 6 && left.contains(&unsettled), "{left:?}");
}

pub(crate) fn events_are_listed_in_pages(store: &Store) {
    let repo = make_repo(store, "app");
    for _ in 0..5 {
        let id = store.intend(event(repo, &["main"], vec![])).unwrap().id;
        store.abandon(id).unwrap();
    }
    let ids = |before: Option<u64>, limit| -> Vec<u64> {
        let page = store.events_before(repo, before.map(EventId), limit).unwrap();
        page.into_iter().map(|e| e.id.0).collect()
    };
    assert_eq!([ids(None, 2), ids(Some(4), 2), ids(Some(2), 2)], [vec![5, 4], vec![3, 2], vec![1]]);
    assert_eq!([ids(Some(1), 2), ids(Some(u64::MAX), 1)], [vec![], vec![5]]);
}

pub(crate) fn an_event_is_leased_until_it_is_settled(store: &Store) {
    let repo = make_repo(store, "app");
    let lease = Lease { owner: "a".into(), until: at(9), fence: 1 };
    let leased = || Event { lease: Some(lease.clone()), ..event(repo, &["main"], vec![]) };
    let ids = [store.intend(leased()).unwrap().id, store.intend(leased()).unwrap().id];
    assert!(store.intended().unwrap().iter().all(|e| e.lease.as_ref() == Some(&lease)));
    store.accept(ids[0], &[update("main")], NOW).unwrap();
    store.abandon(ids[1]).unwrap();
    for id in ids {
        assert_eq!(store.event(id).unwrap().unwrap().lease, None);
    }
}
