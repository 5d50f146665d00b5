//! What the store does, whichever engine it stands on. Each case wants a fresh store.

use slipway_core::{Problem, ProblemKind, RepoId};
use slipway_store::Store;

use crate::samples::*;

pub(crate) mod events;
pub(crate) mod people;
pub(crate) mod repositories;
pub(crate) mod schedules;
pub(crate) mod statuses;
pub(crate) mod targets;
pub(crate) mod work;

fn refused<T: std::fmt::Debug>(result: Result<T, Problem>, kind: ProblemKind, names: &str) {
    let problem = result.expect_err("refused");
    assert_eq!(problem.kind, kind, "{problem}");
    assert!(problem.what.contains(names), "{names:?} is not named in: {problem}");
    assert!(!problem.cure.is_empty(), "{problem}");
}

fn make_repo(store: &Store, name: &str) -> RepoId {
    store.create_repo(&repo_name(name), "", false, NOW).unwrap().id
}

/// All names of a list, asked for two at a time.
fn pages<T>(
    some: impl Fn(Option<&str>, usize) -> Result<Vec<T>, Problem>,
    name: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = some(seen.last().map(String::as_str), 2).unwrap();
        assert!(page.len() <= 2, "no more than was asked for");
        if page.is_empty() {
            return seen;
        }
        seen.extend(page.iter().map(&name));
    }
}
