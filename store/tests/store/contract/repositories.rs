//! Repositories and the roles in them.

use slipway_core::accept::Ledger as _;
use slipway_core::target::RepoRecord;
use slipway_core::{BuildNumber, ObjectFormat, ProblemKind, RepoId, Role, Secret};
use slipway_store::Store;

use super::{make_repo, pages, refused};
use crate::samples::*;

pub(crate) fn a_repository_keeps_its_id_when_its_name_changes(store: &Store) {
    let app = store.create_repo(&repo_name("app"), "An app", true, NOW).unwrap();
    refused(store.create_repo(&repo_name("app"), "", false, NOW), ProblemKind::Conflict, "app");
    let other = store.create_repo(&repo_name("aa"), "", false, NOW).unwrap();
    assert_eq!(store.repos().unwrap(), [other.clone(), app.clone()]);
    let rename = |id, name: &str| {
        let name = repo_name(name);
        store.update_repo(id, at(5), |repo| repo.name = name.clone())
    };
    let renamed = rename(app.id, "zoo").unwrap();
    assert_eq!(renamed, RepoRecord { name: repo_name("zoo"), last_modified: Some(at(5)), ..app.clone() });
    assert_eq!(store.repo(app.id).unwrap(), Some(renamed.clone()));
    assert_eq!(store.repo_by_name(&repo_name("zoo")).unwrap(), Some(renamed.clone()));
    assert_eq!(store.repo_by_name(&repo_name("app")).unwrap(), None);
    refused(rename(app.id, "aa"), ProblemKind::Conflict, "aa");
    assert_eq!(store.repos().unwrap(), [other, renamed.clone()]);
    refused(rename(RepoId(77), "zoo"), ProblemKind::NotFound, "77");
    let foreign = store.update_repo(app.id, at(6), |repo| {
        (repo.id, repo.created, repo.public) = (RepoId(9), at(6), false);
    });
    let foreign = foreign.unwrap();
    assert_eq!((foreign.id, foreign.created, foreign.public), (app.id, NOW, false), "what is for good stays");
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

pub(crate) fn what_an_account_made_is_counted_while_it_is_there(store: &Store) {
    let (ann, bob) = (user("ann", true), user("bob", false));
    store.create_user(&ann).unwrap();
    store.create_user(&bob).unwrap();
    let (one, two) = (make_repo(store, "one"), make_repo(store, "two"));
    let made = |by: &slipway_core::UserName| store.read(|records| records.repos_made_by(by)).unwrap();
    for repo in [one, two, two] {
        store.transact(|tx| tx.note_maker(&bob.name, repo)).unwrap();
    }
    store.grant(&ann.name, one, Role::Admin).unwrap();
    assert_eq!((made(&bob.name), made(&ann.name)), (2, 0), "a role is not a making");
    store.remove_repo(one).unwrap();
    assert_eq!(made(&bob.name), 1);
    store.remove_user(&bob.name).unwrap();
    assert_eq!(made(&bob.name), 0);
    store.create_user(&bob).unwrap();
    assert_eq!(made(&bob.name), 0, "whoever has the name next made nothing");
    refused(store.transact(|tx| tx.note_maker(&bob.name, one)), ProblemKind::NotFound, "repository");
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

/// Whoever changes one thing never takes back what somebody else has changed meanwhile.
pub(crate) fn changes_at_the_same_time_never_undo_each_other(store: &Store) {
    let repo = store.create_repo(&repo_name("app"), "", true, NOW).unwrap();
    std::thread::scope(|scope| {
        let rename = || {
            for n in 0..40 {
                let name = repo_name(&format!("app-{n}"));
                store.update_repo(repo.id, at(n), |repo| repo.name = name.clone()).unwrap();
            }
        };
        let describe = || {
            for n in 0..40 {
                store.update_repo(repo.id, at(n), |repo| repo.description = format!("line {n}")).unwrap();
            }
        };
        let hide = || drop(store.update_repo(repo.id, at(1), |repo| repo.public = false).unwrap());
        let push = || {
            for n in 0..20 {
                let id = store.intend(event(repo.id, &["main"], vec![])).unwrap().id;
                store.accept(id, &[update("main")], at(n)).unwrap();
            }
        };
        scope.spawn(rename);
        scope.spawn(describe);
        scope.spawn(hide);
        scope.spawn(push);
    });
    let now = store.repo(repo.id).unwrap().unwrap();
    assert_eq!((now.name.as_str(), now.description.as_str(), now.public), ("app-39", "line 39", false));
    assert_eq!(store.repo_by_name(&now.name).unwrap(), Some(now));
    assert_eq!(store.repos().unwrap().len(), 1);
}

pub(crate) fn a_repository_and_its_makers_role_are_one_change(store: &Store) {
    let make = |maker: &str| {
        store.transact(|tx| {
            let repo = tx.create_repo_as(ObjectFormat::Sha1, &repo_name("app"), "", false, NOW)?;
            tx.grant(&user_name(maker), repo.id, Role::Admin)?;
            Ok(repo.id)
        })
    };
    refused(make("ann"), ProblemKind::NotFound, "ann");
    assert_eq!(store.repos().unwrap(), [], "without its maker's role there is none");
    store.create_user(&user("ann", true)).unwrap();
    let id = make("ann").unwrap();
    assert_eq!(id, RepoId(1), "what was taken back took no id");
    assert_eq!(store.role(&user_name("ann"), id).unwrap(), Some(Role::Admin));
}

pub(crate) fn a_former_name_leads_to_its_repository_until_somebody_takes_it(store: &Store) {
    let app = make_repo(store, "app");
    let rename = |id, name: &str, ms| {
        let name = repo_name(name);
        store.update_repo(id, at(ms), |repo| repo.name = name.clone()).unwrap();
    };
    let by_former = |name: &str| store.repo_by_former_name(&repo_name(name)).unwrap().map(|repo| repo.id);
    assert_eq!(by_former("app"), None, "a name is no former one while it is had");
    rename(app, "shop", 1);
    rename(app, "store", 2);
    assert_eq!([by_former("app"), by_former("shop"), by_former("store")], [Some(app), Some(app), None]);
    rename(app, "shop", 3);
    assert_eq!([by_former("store"), by_former("shop")], [Some(app), None], "its own again");
    let new = make_repo(store, "app");
    assert_eq!(by_former("app"), None, "somebody has made one of that name");
    rename(new, "store", 4);
    assert_eq!([by_former("store"), by_former("app")], [None, Some(new)], "somebody has taken the name");
    store.remove_repo(new).unwrap();
    assert_eq!(by_former("app"), None);
    for n in 0..25 {
        rename(app, &format!("name-{n}"), 10 + n);
    }
    assert_eq!([by_former("shop"), by_former("name-3")], [None, None], "the oldest have gone");
    assert_eq!([by_former("name-4"), by_former("name-23")], [Some(app), Some(app)]);
}

pub(crate) fn pushes_and_changes_are_noted_in_the_record(store: &Store) {
    let repo = store.create_repo(&repo_name("app"), "", false, NOW).unwrap();
    let last = || store.repo(repo.id).unwrap().unwrap().last_modified;
    assert_eq!(repo.last_modified, Some(NOW));
    let id = store.intend(event(repo.id, &["main"], vec![])).unwrap().id;
    store.abandon(id).unwrap();
    store.update_repo(repo.id, at(1), |_| ()).unwrap();
    assert_eq!(last(), Some(NOW), "nothing has changed");
    let id = store.intend(event(repo.id, &["main"], vec![])).unwrap().id;
    store.accept(id, &[update("main")], at(7)).unwrap();
    store.accept(id, &[update("main")], at(8)).unwrap();
    assert_eq!(last(), Some(at(7)));
    store.update_repo(repo.id, at(9), |repo| repo.public = true).unwrap();
    assert_eq!(last(), Some(at(9)));
}

pub(crate) fn repositories_and_grants_are_listed_in_pages(store: &Store) {
    let names: Vec<String> = (0..7).map(|n| format!("r{n}")).collect();
    for name in names.iter().rev() {
        make_repo(store, name);
    }
    let seen = pages(|after, limit| store.repos_after(after, limit), |repo| repo.name.to_string());
    assert_eq!(seen, names);
    let id = make_repo(store, "app");
    for name in &names {
        store.create_user(&user(name, false)).unwrap();
        store.grant(&user_name(name), id, Role::Read).unwrap();
    }
    let seen = pages(|after, limit| store.grants_after(id, after, limit), |(user, _)| user.to_string());
    assert_eq!(seen, names);
}
