//! What other systems say of commits.

use slipway_core::status::{CommitStatus, StatusState};
use slipway_core::{Oid, ProblemKind, RepoId, UnixMillis};
use slipway_store::Store;

use super::{make_repo, refused};

fn status(repo: RepoId, commit: u8, context: &str, at: u64) -> CommitStatus {
    CommitStatus {
        repo,
        commit: Oid::Sha1([commit; 20]),
        context: context.to_owned(),
        state: StatusState::Success,
        url: None,
        description: String::new(),
        by: "ann".into(),
        at: UnixMillis(at),
    }
}

fn contexts(store: &Store, repo: RepoId, commit: u8) -> Vec<String> {
    let found = store.statuses(repo, &Oid::Sha1([commit; 20])).unwrap();
    found.into_iter().map(|status| status.context).collect()
}

pub(crate) fn statuses_are_of_one_commit_and_a_later_one_takes_the_place(store: &Store) {
    let (app, lib) = (make_repo(store, "app"), make_repo(store, "lib"));
    store.put_status(&status(app, 1, "ci/lint", 1)).unwrap();
    store.put_status(&status(app, 1, "ci", 2)).unwrap();
    store.put_status(&status(app, 2, "ci", 3)).unwrap();
    store.put_status(&status(lib, 1, "other", 4)).unwrap();
    let failed = CommitStatus { state: StatusState::Failure, ..status(app, 1, "ci", 5) };
    store.put_status(&failed).unwrap();
    assert_eq!(contexts(store, app, 1), ["ci", "ci/lint"]);
    assert_eq!(store.statuses(app, &Oid::Sha1([1; 20])).unwrap()[0], failed);
    assert_eq!(contexts(store, app, 3), Vec::<String>::new());
    store.transact(|tx| tx.remove_repo(app)).unwrap();
    assert_eq!((contexts(store, app, 1).len(), contexts(store, lib, 1).len()), (0, 1));
    refused(store.put_status(&status(app, 1, "ci", 1)), ProblemKind::NotFound, "repository");
}

pub(crate) fn a_commit_has_so_many_statuses_and_no_more(store: &Store) {
    let app = make_repo(store, "app");
    for n in 0..100 {
        store.put_status(&status(app, 1, &format!("ci/{n}"), n)).unwrap();
    }
    refused(store.put_status(&status(app, 1, "one more", 1)), ProblemKind::TooLarge, "100");
    store.put_status(&status(app, 1, "ci/7", 200)).unwrap();
    store.put_status(&status(app, 2, "one more", 1)).unwrap();
    assert_eq!(contexts(store, app, 1).len(), 100);
}
