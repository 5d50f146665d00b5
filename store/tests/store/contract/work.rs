//! Builds and deploys, and records of any length.

use slipway_core::accept::Ledger as _;
use slipway_core::build::BuildState;
use slipway_core::deploy::DeployState;
use slipway_core::{BuildNumber, DeployNumber, EventId, ProblemKind, RegistryName, RepoId, UnixMillis};
use slipway_store::Store;

use super::{make_repo, refused};
use crate::samples::*;

pub(crate) fn builds_are_listed_newest_first_in_pages(store: &Store) {
    let (app, other) = (make_repo(store, "app"), make_repo(store, "other"));
    for repo in [app, other] {
        let id = store.intend(event(repo, &["main"], vec![owes_build("main")])).unwrap().id;
        let first = store.accept(id, &[update("main")], NOW).unwrap().builds.remove(0);
        for n in 2..=300 {
            assert_eq!(store.add_build(first.clone()).unwrap().number, BuildNumber(n));
        }
    }
    let numbers = |before: Option<u64>, limit| -> Vec<u64> {
        let page = store.builds(app, before.map(BuildNumber), limit).unwrap();
        assert!(page.iter().all(|b| b.repo == app));
        page.into_iter().map(|b| b.number.0).collect()
    };
    assert_eq!(numbers(None, 3), [300, 299, 298]);
    assert_eq!(numbers(Some(298), 2), [297, 296]);
    assert_eq!(numbers(Some(257), 2), [256, 255]);
    assert_eq!(numbers(Some(2), 10), [1]);
    assert_eq!(numbers(Some(1), 10), [0; 0]);
    assert_eq!(numbers(Some(u64::MAX), 1), [300]);
    assert_eq!(numbers(Some(0), 1), [0; 0]);
    assert_eq!(numbers(None, usize::MAX).len(), 300);
}

pub(crate) fn unfinished_work_is_found_until_it_is_final(store: &Store) {
    let (b, a) = (make_repo(store, "b"), make_repo(store, "a"));
    let mut all = Vec::new();
    for (repo, created) in [(a, 30), (b, 10), (a, 20)] {
        let owed = vec![owes_build("main"), owes_deploy("main")];
        let id = store.intend(event(repo, &["main"], owed)).unwrap().id;
        all.push(store.accept(id, &[update("main")], at(created)).unwrap());
    }
    let builds = |store: &Store| -> Vec<UnixMillis> {
        store.unfinished_builds().unwrap().into_iter().map(|b| b.run.created).collect()
    };
    let deploys = |store: &Store| -> Vec<UnixMillis> {
        store.unfinished_deploys().unwrap().into_iter().map(|d| d.run.created).collect()
    };
    assert_eq!(builds(store), [at(10), at(20), at(30)]);
    assert_eq!(deploys(store), [at(10), at(20), at(30)]);
    let mut build = all[1].builds[0].clone();
    build.run.state = BuildState::Waiting;
    store.put_build(&build).unwrap();
    assert_eq!(builds(store), [at(10), at(20), at(30)]);
    build.run.state = BuildState::Succeeded;
    store.put_build(&build).unwrap();
    assert_eq!(builds(store), [at(20), at(30)]);
    assert_eq!(store.build(b, build.number).unwrap(), Some(build));
    let mut deploy = all[2].deploys[0].clone();
    deploy.run.state = DeployState::Healthy;
    store.put_deploy(&deploy).unwrap();
    assert_eq!(deploys(store), [at(10), at(30)]);
    assert_eq!(store.deploy(a, deploy.number).unwrap(), Some(deploy));
}

pub(crate) fn work_that_nobody_recorded_cannot_be_replaced(store: &Store) {
    let repo = make_repo(store, "app");
    let id = store.intend(event(repo, &["main"], vec![owes_build("main")])).unwrap().id;
    let mut build = store.accept(id, &[update("main")], NOW).unwrap().builds.remove(0);
    build.number = BuildNumber(2);
    refused(store.put_build(&build), ProblemKind::NotFound, "build 2");
    refused(store.put_deploy(&deploy(repo)), ProblemKind::NotFound, "deploy 999");
    store.remove_repo(repo).unwrap();
    build.number = BuildNumber(1);
    refused(store.put_build(&build), ProblemKind::NotFound, "build 1");
    refused(store.add_build(build), ProblemKind::NotFound, "repository");
    assert_eq!(store.unfinished_builds().unwrap(), []);
}

pub(crate) fn deploys_can_be_asked_for_without_an_event(store: &Store) {
    let repo = make_repo(store, "app");
    assert_eq!(store.add_deploy(deploy(repo)).unwrap().number, DeployNumber(1));
    assert_eq!(store.add_deploy(deploy(repo)).unwrap().number, DeployNumber(2));
    let page: Vec<_> = store.deploys(repo, None, 10).unwrap().into_iter().map(|d| d.number.0).collect();
    assert_eq!(page, [2, 1]);
    let before: Vec<_> =
        store.deploys(repo, Some(DeployNumber(2)), 10).unwrap().into_iter().map(|d| d.number.0).collect();
    assert_eq!(before, [1]);
    assert_eq!(store.unfinished_deploys().unwrap().len(), 2);
    refused(store.add_deploy(deploy(RepoId(9))), ProblemKind::NotFound, "9");
}

pub(crate) fn records_of_any_length_come_back(store: &Store) {
    let repo = make_repo(store, "app");
    let id = store.intend(event(repo, &["main"], vec![owes_build("main")])).unwrap().id;
    let mut build = store.accept(id, &[update("main")], NOW).unwrap().builds.remove(0);
    let lengths = (2000..4200).step_by(97).chain([6143, 6144, 6145, 100_000, 3071, 3072, 3073, 10]);
    for length in lengths {
        build.title = "x".repeat(length);
        store.put_build(&build).unwrap();
        assert_eq!(store.build(repo, build.number).unwrap().unwrap().title.len(), length);
    }
    let branches: Vec<String> = (0..10_000).map(|n| format!("branch-{n}")).collect();
    let refs: Vec<&str> = branches.iter().map(String::as_str).collect();
    let large = store.intend(event(repo, &refs, vec![])).unwrap();
    assert_eq!(store.event(large.id).unwrap().unwrap(), large);
    store.accept(large.id, &large.updates[..1], NOW).unwrap();
    assert_eq!(store.event(large.id).unwrap().unwrap().updates, large.updates[..1]);
}

pub(crate) fn too_large_a_record_is_refused_and_changes_nothing(store: &Store) {
    let repo = make_repo(store, "app");
    let mut large = event(repo, &["main"], vec![]);
    large.options = vec!["x".repeat(17 << 20)];
    refused(store.intend(large), ProblemKind::TooLarge, "16777216 are allowed");
    assert_eq!(store.intended().unwrap(), []);
    let id = store.intend(event(repo, &["main"], vec![])).unwrap().id;
    assert_eq!(id, EventId(1), "the refused event took no id");
    assert!(RegistryName::parse(&"x".repeat(65)).is_err(), "names are bounded before they come here");
}

pub(crate) fn work_is_found_by_its_commit_until_it_goes(store: &Store) {
    let (app, other) = (make_repo(store, "app"), make_repo(store, "other"));
    let mut first = None;
    for repo in [app, other] {
        let owed = vec![owes_build("main"), owes_deploy("main")];
        let id = store.intend(event(repo, &["main"], owed)).unwrap().id;
        let orders = store.accept(id, &[update("main")], NOW).unwrap();
        first.get_or_insert(orders);
    }
    let orders = first.expect("work");
    let (build, deploy) = (orders.builds[0].clone(), orders.deploys[0].clone());
    let elsewhere = slipway_core::Oid::Sha1([9; 20]);
    for n in 2..=5 {
        let commit = if n % 2 == 0 { elsewhere } else { build.commit };
        store.add_build(slipway_core::build::Build { commit, ..build.clone() }).unwrap();
    }
    let numbers = |commits: &[slipway_core::Oid], limit| -> Vec<u64> {
        let found = store.builds_of_commits(app, commits, limit).unwrap();
        assert!(found.iter().all(|b| b.repo == app && commits.contains(&b.commit)));
        found.into_iter().map(|b| b.number.0).collect()
    };
    assert_eq!(numbers(&[build.commit], 10), [5, 3, 1]);
    assert_eq!(numbers(&[elsewhere, build.commit], 1), [4, 5]);
    assert_eq!(numbers(&[slipway_core::Oid::Sha1([8; 20])], 1), [0; 0]);
    assert_eq!(store.deploys_of_commits(app, &[deploy.commit], 9).unwrap(), [deploy]);
    store.transact(|tx| tx.remove_repo(app)).unwrap();
    assert_eq!(numbers(&[build.commit], 10), [0; 0]);
    assert_eq!(store.builds_of_commits(other, &[build.commit], 9).unwrap().len(), 1);
}
