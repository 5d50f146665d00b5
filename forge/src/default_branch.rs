//! Which branch of a repository is its default: shown to whoever may read it, chosen by its admins. What is hidden from
//! those who fetch is neither shown nor chosen here.

use std::sync::Arc;

use slipway_core::target::RepoRecord;
use slipway_core::{Action, Problem, ProblemKind, RefName};

use crate::access::{Pass, repo, view};
use crate::caller::Caller;
use crate::forge::Forge;
use crate::refusal::{cut, invalid};

/// The branch that HEAD names, born or not; `None` for a HEAD that names none, or a hidden one.
///
/// # Errors
/// What the authoriser says of reading the repository; a [`Problem`] where it cannot be read.
pub fn show(forge: &Forge, caller: &Caller, name: &str) -> Result<Option<RefName>, Problem> {
    let record = repo(forge, caller, name, Action::ReadRepo)?;
    let head = view(forge, &record)?.snapshot.head().clone();
    Ok(Some(head).filter(|head| head.as_branch().is_some()))
}

/// A branch as people write it: `main`, or `refs/heads/main`.
///
/// # Errors
/// `Invalid` for what git takes for no branch.
pub(crate) fn parse(raw: &str) -> Result<RefName, Problem> {
    let short = raw.strip_prefix("refs/heads/").unwrap_or(raw);
    let why = match RefName::branch(short) {
        Ok(_) if short == "HEAD" => "HEAD names a branch and is none",
        Ok(_) if short.starts_with('-') => "it begins with a dash",
        Ok(branch) => return Ok(branch),
        Err(e) => e.why,
    };
    Err(invalid(
        format!("{:?} is no name of a branch: {why}.", cut(short)),
        "Name one such as main; git-check-ref-format(1) has the rule.",
    ))
}

/// Makes a branch the default for whoever may administer the repository at that moment. Blocking.
///
/// # Errors
/// `NotFound` for a branch that is not there, or is hidden; what the authoriser says now.
pub(crate) fn set(
    forge: &Arc<Forge>,
    caller: &Caller,
    record: &RepoRecord,
    branch: &RefName,
) -> Result<(), Problem> {
    let repository = forge.repositories.get(record.id)?;
    if repository.settings()?.hidden_from_fetch.hides(branch.as_str()) {
        return Err(Problem::new(
            ProblemKind::NotFound,
            format!("{} has no branch {} that may be shown.", record.name, branch.short()),
            "Name a branch that those who fetch see.",
        ));
    }
    let rights = Pass::new(forge, caller, record.id, Action::AdminRepo);
    forge.acceptance.make_default((record.id, &record.name), branch, &*repository, &rights)?;
    forge.outside.rebound(record.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_branch_is_named_as_people_do_and_nothing_else_passes() {
        for good in ["main", "refs/heads/main", "release/2", "é"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        assert_eq!(parse("refs/heads/main"), parse("main"));
        for bad in ["", "a b", "-x", "HEAD", "a..b", "refs/heads/", "../../x", "a.lock", "x\n[core]", "@{-1}"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
