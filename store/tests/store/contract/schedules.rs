//! What starts builds of repositories by itself.

use slipway_core::schedule::Schedules;
use slipway_core::{Oid, ProblemKind, RepoId};
use slipway_store::Store;

use super::{make_repo, refused};

fn schedules(repo: RepoId, commit: u8) -> Schedules {
    Schedules { repo, commit: Oid::Sha1([commit; 20]), timers: Vec::new(), bases: None, unread: None }
}

pub(crate) fn schedules_are_a_repository_s_and_go_with_it(store: &Store) {
    let (app, lib) = (make_repo(store, "app"), make_repo(store, "lib"));
    let put = |one: &Schedules| store.transact(|tx| tx.put_schedules(one));
    put(&schedules(app, 1)).unwrap();
    put(&schedules(lib, 2)).unwrap();
    put(&schedules(app, 3)).unwrap();
    assert_eq!(store.schedules(app).unwrap(), Some(schedules(app, 3)));
    assert_eq!(store.read(|view| view.scheduled()).unwrap(), [app, lib]);
    store.transact(|tx| tx.remove_schedules(lib)).unwrap();
    store.transact(|tx| tx.remove_schedules(lib)).unwrap();
    store.transact(|tx| tx.remove_repo(app)).unwrap();
    assert_eq!(store.read(|view| view.scheduled()).unwrap(), Vec::<RepoId>::new());
    refused(put(&schedules(app, 1)), ProblemKind::NotFound, "repository");
}
