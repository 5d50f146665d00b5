//! What every implementation of [`MetaStore`] does. Each case wants a fresh store.

use slipway_core::build::{BuildState, Stage};
use slipway_core::deploy::DeployState;
use slipway_core::event::{EventState, Work};
use slipway_core::run::FailureClass;
use slipway_core::target::RepoRecord;
use slipway_core::{
    BuildNumber, DeployNumber, EventId, Problem, ProblemKind, RefName, RegistryName, RepoId, Role, Secret,
    UnixMillis,
};
use slipway_store::MetaStore;

use crate::samples::*;

fn refused<T: std::fmt::Debug>(result: Result<T, Problem>, kind: ProblemKind, names: &str) {
    let problem = result.expect_err("refused");
    assert_eq!(problem.kind, kind, "{problem}");
    assert!(problem.what.contains(names), "{names:?} is not named in: {problem}");
    assert!(!problem.cure.is_empty(), "{problem}");
}

fn make_repo(store: &dyn MetaStore, name: &str) -> RepoId {
    store.create_repo(&repo_name(name), "", false, NOW).unwrap().id
}

pub(crate) fn users_are_known_by_name(store: &dyn MetaStore) {
    let (ann, bob) = (user("ann", true), user("bob", false));
    store.create_user(&bob).unwrap();
    store.create_user(&ann).unwrap();
    refused(store.create_user(&user("ann", false)), ProblemKind::Conflict, "ann");
    assert_eq!(store.user(&ann.name).unwrap(), Some(ann.clone()));
    assert_eq!(store.user(&user_name("anna")).unwrap(), None);
    assert_eq!(store.users().unwrap(), [ann, bob]);
    refused(store.remove_user(&user_name("carl")), ProblemKind::NotFound, "carl");
}

pub(crate) fn the_last_owner_cannot_go(store: &dyn MetaStore) {
    store.create_user(&user("ann", true)).unwrap();
    store.create_user(&user("bob", false)).unwrap();
    refused(store.remove_user(&user_name("ann")), ProblemKind::Conflict, "ann");
    store.create_user(&user("carl", true)).unwrap();
    store.remove_user(&user_name("ann")).unwrap();
    refused(store.remove_user(&user_name("carl")), ProblemKind::Conflict, "carl");
    store.remove_user(&user_name("bob")).unwrap();
}

pub(crate) fn a_removed_user_leaves_nothing_to_the_next_of_that_name(store: &dyn MetaStore) {
    let repo = make_repo(store, "app");
    for name in ["bob", "bobby"] {
        store.create_user(&user(name, false)).unwrap();
        store.add_key(&key(name, &format!("SHA256:{name}"))).unwrap();
        store.add_token(&token(name, &format!("id-{name}")), [name.len() as u8; 32]).unwrap();
        store.add_session([name.len() as u8; 32], &user_name(name), at(5)).unwrap();
        store.grant(&user_name(name), repo, Role::Admin).unwrap();
    }
    let bob = user_name("bob");
    store.remove_user(&bob).unwrap();
    store.create_user(&user("bob", false)).unwrap();
    assert_eq!(store.keys(Some(&bob)).unwrap(), []);
    assert_eq!(store.key("SHA256:bob").unwrap(), None);
    assert_eq!(store.tokens(Some(&bob)).unwrap(), []);
    assert_eq!(store.token_by_value(&[3; 32]).unwrap(), None);
    assert_eq!(store.session(&[3; 32], NOW).unwrap(), None);
    assert_eq!(store.role(&bob, repo).unwrap(), None);
    assert_eq!(store.grants(repo).unwrap(), [(user_name("bobby"), Role::Admin)]);
    assert!(store.key("SHA256:bobby").unwrap().is_some());
    assert!(store.token_by_value(&[5; 32]).unwrap().is_some());
    assert_eq!(store.session(&[5; 32], NOW).unwrap(), Some(user_name("bobby")));
}

pub(crate) fn a_key_belongs_to_one_user(store: &dyn MetaStore) {
    store.create_user(&user("ann", true)).unwrap();
    store.create_user(&user("bob", false)).unwrap();
    refused(store.add_key(&key("carl", "SHA256:x")), ProblemKind::NotFound, "carl");
    store.add_key(&key("ann", "SHA256:b")).unwrap();
    store.add_key(&key("ann", "SHA256:a")).unwrap();
    store.add_key(&key("bob", "SHA256:c")).unwrap();
    refused(store.add_key(&key("bob", "SHA256:a")), ProblemKind::Conflict, "SHA256:a");
    assert_eq!(store.key("SHA256:a").unwrap(), Some(key("ann", "SHA256:a")));
    assert_eq!(
        store.keys(Some(&user_name("ann"))).unwrap(),
        [key("ann", "SHA256:a"), key("ann", "SHA256:b")]
    );
    assert_eq!(store.keys(None).unwrap().len(), 3);
    store.remove_key("SHA256:a").unwrap();
    refused(store.remove_key("SHA256:a"), ProblemKind::NotFound, "SHA256:a");
    assert_eq!(store.key("SHA256:a").unwrap(), None);
    assert_eq!(store.keys(Some(&user_name("ann"))).unwrap(), [key("ann", "SHA256:b")]);
    assert_eq!(store.key(&"x".repeat(100_000)).unwrap(), None);
    refused(store.add_key(&key("ann", &"x".repeat(1000))), ProblemKind::TooLarge, "1000 bytes");
}

pub(crate) fn a_user_has_a_bounded_number_of_keys_and_tokens(store: &dyn MetaStore) {
    store.create_user(&user("ann", true)).unwrap();
    for n in 0..100 {
        store.add_key(&key("ann", &format!("SHA256:{n}"))).unwrap();
        store.add_token(&token("ann", &format!("id-{n}")), [n; 32]).unwrap();
    }
    refused(store.add_key(&key("ann", "SHA256:x")), ProblemKind::TooLarge, "100 keys of ann");
    refused(store.add_token(&token("ann", "id-x"), [200; 32]), ProblemKind::TooLarge, "100 tokens of ann");
    store.remove_key("SHA256:7").unwrap();
    store.remove_token("id-7").unwrap();
    store.add_key(&key("ann", "SHA256:x")).unwrap();
    store.add_token(&token("ann", "id-x"), [200; 32]).unwrap();
}

pub(crate) fn a_token_is_found_by_the_hash_of_its_value(store: &dyn MetaStore) {
    store.create_user(&user("ann", true)).unwrap();
    refused(store.add_token(&token("bob", "one"), [1; 32]), ProblemKind::NotFound, "bob");
    store.add_token(&token("ann", "one"), [1; 32]).unwrap();
    refused(store.add_token(&token("ann", "one"), [2; 32]), ProblemKind::Conflict, "one");
    refused(store.add_token(&token("ann", "two"), [1; 32]), ProblemKind::Conflict, "two");
    assert_eq!(store.token_by_value(&[1; 32]).unwrap(), Some(token("ann", "one")));
    assert_eq!(store.token_by_value(&[2; 32]).unwrap(), None);
    assert_eq!(store.tokens(Some(&user_name("ann"))).unwrap(), [token("ann", "one")]);
    assert_eq!(store.tokens(None).unwrap(), [token("ann", "one")]);
    store.remove_token("one").unwrap();
    refused(store.remove_token("one"), ProblemKind::NotFound, "one");
    assert_eq!(store.token_by_value(&[1; 32]).unwrap(), None);
    assert_eq!(store.tokens(Some(&user_name("ann"))).unwrap(), []);
    store.add_token(&token("ann", "one"), [1; 32]).unwrap();
}

pub(crate) fn a_session_ends_when_it_expires(store: &dyn MetaStore) {
    refused(store.add_session([1; 32], &user_name("ann"), at(10)), ProblemKind::NotFound, "ann");
    store.create_user(&user("ann", true)).unwrap();
    store.add_session([1; 32], &user_name("ann"), at(10)).unwrap();
    assert_eq!(store.session(&[1; 32], at(9)).unwrap(), Some(user_name("ann")));
    assert_eq!(store.session(&[1; 32], at(10)).unwrap(), None);
    store.add_session([1; 32], &user_name("ann"), at(20)).unwrap();
    assert_eq!(store.session(&[1; 32], at(19)).unwrap(), Some(user_name("ann")));
    store.remove_session(&[1; 32]).unwrap();
    store.remove_session(&[1; 32]).unwrap();
    assert_eq!(store.session(&[1; 32], at(9)).unwrap(), None);
}

pub(crate) fn a_user_has_a_bounded_number_of_sessions(store: &dyn MetaStore) {
    store.create_user(&user("ann", true)).unwrap();
    for n in 0..70 {
        store.add_session([n; 32], &user_name("ann"), at(100 + u64::from(n))).unwrap();
    }
    for n in 0..70 {
        let there = store.session(&[n; 32], NOW).unwrap().is_some();
        assert_eq!(there, n >= 6, "session {n}: the first to expire make room");
    }
}

pub(crate) fn a_repository_keeps_its_id_when_its_name_changes(store: &dyn MetaStore) {
    let app = store.create_repo(&repo_name("app"), "An app", true, NOW).unwrap();
    refused(store.create_repo(&repo_name("app"), "", false, NOW), ProblemKind::Conflict, "app");
    let other = store.create_repo(&repo_name("aa"), "", false, NOW).unwrap();
    assert_eq!(store.repos().unwrap(), [other.clone(), app.clone()]);
    let renamed = RepoRecord { name: repo_name("zoo"), public: false, ..app.clone() };
    store.update_repo(&renamed).unwrap();
    assert_eq!(store.repo(app.id).unwrap(), Some(renamed.clone()));
    assert_eq!(store.repo_by_name(&repo_name("zoo")).unwrap(), Some(renamed.clone()));
    assert_eq!(store.repo_by_name(&repo_name("app")).unwrap(), None);
    let clash = RepoRecord { name: repo_name("aa"), ..renamed.clone() };
    refused(store.update_repo(&clash), ProblemKind::Conflict, "aa");
    assert_eq!(store.repos().unwrap(), [other, renamed.clone()]);
    let unknown = RepoRecord { id: RepoId(77), ..renamed };
    refused(store.update_repo(&unknown), ProblemKind::NotFound, "zoo");
    refused(
        store.create_repo(&repo_name("long"), &"x".repeat(1001), false, NOW),
        ProblemKind::TooLarge,
        "1001 bytes",
    );
}

pub(crate) fn ids_and_numbers_are_never_used_again(store: &dyn MetaStore) {
    let old = make_repo(store, "app");
    let event_id = store.intend(event(old, &["main"], vec![owes_build("main")])).unwrap().id;
    store.accept(event_id, &[update("main")], NOW).unwrap();
    store.remove_repo(old).unwrap();
    let new = make_repo(store, "app");
    assert!(new > old, "{new} after {old}");
    let next = store.intend(event(new, &["main"], vec![owes_build("main")])).unwrap().id;
    assert!(next > event_id);
    let orders = store.accept(next, &[update("main")], NOW).unwrap();
    assert_eq!(orders.builds[0].number, BuildNumber(1), "numbers count within a repository");
    assert_eq!(store.build(old, BuildNumber(1)).unwrap(), None);
}

pub(crate) fn a_removed_repository_leaves_nothing(store: &dyn MetaStore) {
    store.create_user(&user("ann", true)).unwrap();
    store.put_registry(&registry("hub"), None).unwrap();
    store.put_cluster(&cluster("prod"), &Secret::new("k")).unwrap();
    let (gone, kept) = (make_repo(store, "gone"), make_repo(store, "kept"));
    let mut events = Vec::new();
    for repo in [gone, kept] {
        store.grant(&user_name("ann"), repo, Role::Write).unwrap();
        store.bind_registry(&registry_binding(repo, "hub")).unwrap();
        store.bind_cluster(&cluster_binding(repo, "prod")).unwrap();
        let owed = vec![owes_build("main"), owes_deploy("main")];
        let accepted = store.intend(event(repo, &["main"], owed)).unwrap().id;
        store.accept(accepted, &[update("main")], NOW).unwrap();
        let intended = store.intend(event(repo, &["main"], vec![])).unwrap().id;
        store.put_inventory(repo, &cluster_name("prod"), &[entry(1)]).unwrap();
        events.push((accepted, intended));
    }
    store.remove_repo(gone).unwrap();
    refused(store.remove_repo(gone), ProblemKind::NotFound, "repository");
    assert_eq!(store.repo(gone).unwrap(), None);
    assert_eq!(store.repo_by_name(&repo_name("gone")).unwrap(), None);
    assert_eq!(store.grants(gone).unwrap(), []);
    assert_eq!(store.role(&user_name("ann"), gone).unwrap(), None);
    assert_eq!(store.bindings(gone).unwrap(), slipway_core::accept::Bindings::default());
    assert_eq!(store.events(gone, 10).unwrap(), []);
    assert_eq!(store.event(events[0].0).unwrap(), None);
    assert_eq!(store.builds(gone, None, 10).unwrap(), []);
    assert_eq!(store.deploys(gone, None, 10).unwrap(), []);
    assert_eq!(store.builds_of_event(events[0].0).unwrap(), []);
    assert_eq!(store.deploys_of_event(events[0].0).unwrap(), []);
    assert_eq!(store.inventory(gone, &cluster_name("prod")).unwrap(), []);
    refused(store.accept(events[0].1, &[], NOW), ProblemKind::NotFound, "event");
    refused(store.intend(event(gone, &["main"], vec![])), ProblemKind::NotFound, "repository");

    assert_eq!(store.intended().unwrap().len(), 1);
    assert_eq!(store.unfinished_builds().unwrap().len(), 1);
    assert_eq!(store.unfinished_deploys().unwrap().len(), 1);
    assert_eq!(store.events(kept, 10).unwrap().len(), 2);
    assert_eq!(store.grants(kept).unwrap().len(), 1);
    assert_eq!(store.inventory(kept, &cluster_name("prod")).unwrap(), [entry(1)]);
    store.unbind_registry(kept).unwrap();
    store.remove_registry(&registry_name("hub")).unwrap();
}

pub(crate) fn roles_are_given_and_taken(store: &dyn MetaStore) {
    store.create_user(&user("ann", true)).unwrap();
    let repo = make_repo(store, "app");
    let ann = user_name("ann");
    refused(store.grant(&user_name("bob"), repo, Role::Read), ProblemKind::NotFound, "bob");
    refused(store.grant(&ann, RepoId(99), Role::Read), ProblemKind::NotFound, "99");
    store.grant(&ann, repo, Role::Read).unwrap();
    store.grant(&ann, repo, Role::Admin).unwrap();
    assert_eq!(store.role(&ann, repo).unwrap(), Some(Role::Admin));
    assert_eq!(store.role(&ann, RepoId(99)).unwrap(), None);
    assert_eq!(store.grants(repo).unwrap(), [(ann.clone(), Role::Admin)]);
    store.revoke(&ann, repo).unwrap();
    store.revoke(&ann, repo).unwrap();
    assert_eq!(store.role(&ann, repo).unwrap(), None);
    assert_eq!(store.grants(repo).unwrap(), []);
}

pub(crate) fn secrets_come_back_as_they_were(store: &dyn MetaStore) {
    let name = registry_name("hub");
    assert_eq!(store.registry_password(&name).unwrap(), None);
    store.put_registry(&registry("hub"), Some(&Secret::new("pässword"))).unwrap();
    assert_eq!(store.registry(&name).unwrap(), Some(registry("hub")));
    assert_eq!(store.registry_password(&name).unwrap().unwrap().expose(), "pässword");
    store.put_registry(&registry("hub"), None).unwrap();
    assert_eq!(store.registry_password(&name).unwrap(), None, "put replaces the whole record");
    assert_eq!(store.registries().unwrap(), [registry("hub")]);

    let long = "kubeconfig ".repeat(50_000);
    store.put_cluster(&cluster("prod"), &Secret::new(long.as_str())).unwrap();
    assert_eq!(store.kubeconfig(&cluster_name("prod")).unwrap().unwrap().expose(), long);
    store.put_cluster(&cluster("prod"), &Secret::new("")).unwrap();
    assert_eq!(store.kubeconfig(&cluster_name("prod")).unwrap().unwrap().expose(), "");
    assert_eq!(store.clusters().unwrap(), [cluster("prod")]);
    assert_eq!(store.cluster(&cluster_name("prod")).unwrap(), Some(cluster("prod")));
    store.remove_cluster(&cluster_name("prod")).unwrap();
    assert_eq!(store.kubeconfig(&cluster_name("prod")).unwrap(), None);
    let huge = Secret::new("x".repeat((1 << 20) + 1));
    refused(store.put_cluster(&cluster("prod"), &huge), ProblemKind::TooLarge, "1048577 bytes");
}

pub(crate) fn a_target_in_use_cannot_go(store: &dyn MetaStore) {
    let repo = make_repo(store, "app");
    for name in ["hub", "hub2"] {
        store.put_registry(&registry(name), None).unwrap();
    }
    store.put_cluster(&cluster("prod"), &Secret::new("k")).unwrap();
    store.bind_registry(&registry_binding(repo, "hub")).unwrap();
    store.bind_cluster(&cluster_binding(repo, "prod")).unwrap();
    refused(
        store.remove_registry(&registry_name("hub")),
        ProblemKind::Conflict,
        "registry hub is in use by app",
    );
    refused(
        store.remove_cluster(&cluster_name("prod")),
        ProblemKind::Conflict,
        "cluster prod is in use by app",
    );
    store.bind_registry(&registry_binding(repo, "hub2")).unwrap();
    store.remove_registry(&registry_name("hub")).unwrap();
    refused(store.remove_registry(&registry_name("hub")), ProblemKind::NotFound, "hub");
    store.unbind_cluster(repo).unwrap();
    store.remove_cluster(&cluster_name("prod")).unwrap();
    refused(store.remove_registry(&registry_name("hub2")), ProblemKind::Conflict, "app");
    store.unbind_registry(repo).unwrap();
    store.unbind_registry(repo).unwrap();
    store.remove_registry(&registry_name("hub2")).unwrap();
}

pub(crate) fn bindings_need_both_ends(store: &dyn MetaStore) {
    let repo = make_repo(store, "app");
    refused(store.bind_registry(&registry_binding(repo, "hub")), ProblemKind::NotFound, "hub");
    refused(store.bind_cluster(&cluster_binding(repo, "prod")), ProblemKind::NotFound, "prod");
    store.put_registry(&registry("hub"), None).unwrap();
    refused(store.bind_registry(&registry_binding(RepoId(9), "hub")), ProblemKind::NotFound, "9");
    store.bind_registry(&registry_binding(repo, "hub")).unwrap();
    store.put_cluster(&cluster("prod"), &Secret::new("k")).unwrap();
    store.bind_cluster(&cluster_binding(repo, "prod")).unwrap();
    let bound = store.bindings(repo).unwrap();
    assert_eq!(bound.registry, Some(registry_binding(repo, "hub")));
    assert_eq!(bound.cluster, Some(cluster_binding(repo, "prod")));
}

pub(crate) fn an_event_is_accepted_once(store: &dyn MetaStore) {
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

pub(crate) fn many_at_once_accept_it_once_and_share_no_number(store: &dyn MetaStore) {
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

pub(crate) fn only_what_moved_is_owed(store: &dyn MetaStore) {
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

pub(crate) fn an_abandoned_event_owes_nothing(store: &dyn MetaStore) {
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

pub(crate) fn intended_events_are_found_oldest_first(store: &dyn MetaStore) {
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

pub(crate) fn what_is_known_to_be_broken_is_recorded_as_failed(store: &dyn MetaStore) {
    let repo = make_repo(store, "app");
    let problem = Problem::new(ProblemKind::Invalid, "slipway.toml:1:1: bad.", "Mend it.");
    let owed = vec![owes("main", Work::Build { broken: Some(problem.clone()) })];
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

pub(crate) fn builds_are_listed_newest_first_in_pages(store: &dyn MetaStore) {
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

pub(crate) fn unfinished_work_is_found_until_it_is_final(store: &dyn MetaStore) {
    let (b, a) = (make_repo(store, "b"), make_repo(store, "a"));
    let mut all = Vec::new();
    for (repo, created) in [(a, 30), (b, 10), (a, 20)] {
        let owed = vec![owes_build("main"), owes_deploy("main")];
        let id = store.intend(event(repo, &["main"], owed)).unwrap().id;
        all.push(store.accept(id, &[update("main")], at(created)).unwrap());
    }
    let builds = |store: &dyn MetaStore| -> Vec<UnixMillis> {
        store.unfinished_builds().unwrap().into_iter().map(|b| b.run.created).collect()
    };
    let deploys = |store: &dyn MetaStore| -> Vec<UnixMillis> {
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

pub(crate) fn work_that_nobody_recorded_cannot_be_replaced(store: &dyn MetaStore) {
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

pub(crate) fn deploys_can_be_asked_for_without_an_event(store: &dyn MetaStore) {
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

pub(crate) fn an_inventory_is_replaced_whole(store: &dyn MetaStore) {
    let repo = make_repo(store, "app");
    let (prod, test) = (cluster_name("prod"), cluster_name("test"));
    assert_eq!(store.inventory(repo, &prod).unwrap(), []);
    refused(store.put_inventory(RepoId(9), &prod, &[entry(1)]), ProblemKind::NotFound, "9");
    for count in [1, 3000, 2, 400, 0, 5] {
        let entries: Vec<_> = (0..count).map(entry).collect();
        store.put_inventory(repo, &prod, &entries).unwrap();
        assert_eq!(store.inventory(repo, &prod).unwrap(), entries);
        assert_eq!(store.inventory(repo, &test).unwrap(), []);
    }
}

pub(crate) fn records_of_any_length_come_back(store: &dyn MetaStore) {
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

pub(crate) fn too_large_a_record_is_refused_and_changes_nothing(store: &dyn MetaStore) {
    let repo = make_repo(store, "app");
    let mut large = event(repo, &["main"], vec![]);
    large.options = vec!["x".repeat(17 << 20)];
    refused(store.intend(large), ProblemKind::TooLarge, "16777216 are allowed");
    assert_eq!(store.intended().unwrap(), []);
    let id = store.intend(event(repo, &["main"], vec![])).unwrap().id;
    assert_eq!(id, EventId(1), "the refused event took no id");
    assert!(RegistryName::parse(&"x".repeat(65)).is_err(), "names are bounded before they come here");
}

pub(crate) fn old_events_go_and_unsettled_ones_stay(store: &dyn MetaStore) {
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
