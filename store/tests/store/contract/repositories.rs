//! Repositories and the roles in them.

use slipway_core::accept::Ledger as _;
use slipway_core::target::RepoRecord;
use slipway_core::{BuildNumber, ProblemKind, RepoId, Role, Secret};
use slipway_store::Store;

use super::{make_repo, refused};
use crate::samples::*;

pub(crate) fn a_repository_keeps_its_id_when_its_name_changes(store: &Store) {
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

pub(crate) fn ids_and_numbers_are_never_used_again(store: &Store) {
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

pub(crate) fn a_removed_repository_leaves_nothing(store: &Store) {
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

pub(crate) fn roles_are_given_and_taken(store: &Store) {
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
