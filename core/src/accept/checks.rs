//! What stands against a push, ref by ref, before it is recorded. Pure but for a look at the refs.

use super::Proposal;
use super::default_branch::default_branch_cure;
use super::ports::RefStore;
use crate::git::{Oid, RefName, RefUpdate};
use crate::limits::{PUSH_OPTION_BYTES_MAX, PUSH_OPTIONS_MAX, PUSH_UPDATES_MAX};
use crate::name::RepoName;
use crate::problem::{Problem, ProblemKind};

/// What to do about a push of too many refs.
pub(super) const PUSH_IN_GROUPS: &str =
    "Push them in groups, such as: git push REMOTE 'refs/pull/1*:refs/pull/1*'";

pub(super) fn check_size(push: &Proposal<'_>) -> Result<(), Problem> {
    let too_large = |what: String| Problem::new(ProblemKind::TooLarge, what, "Give fewer or shorter ones.");
    if push.updates.len() > PUSH_UPDATES_MAX {
        return Err(Problem::new(
            ProblemKind::TooLarge,
            format!("The push updates more than {PUSH_UPDATES_MAX} refs at once."),
            PUSH_IN_GROUPS,
        ));
    }
    if push.options.len() > PUSH_OPTIONS_MAX || push.options.iter().any(|o| o.len() > PUSH_OPTION_BYTES_MAX) {
        return Err(too_large(format!(
            "The push has more than {PUSH_OPTIONS_MAX} options, or one longer than {PUSH_OPTION_BYTES_MAX} bytes."
        )));
    }
    Ok(())
}

/// Asks once more what others may have changed since: where the refs are, which branch is the default, and whether the pusher
/// still may.
pub(super) fn look_again(
    push: &Proposal<'_>,
    answers: &mut [Result<(), Problem>],
    refs: &dyn RefStore,
) -> Result<(), Problem> {
    for (update, answer) in push.updates.iter().zip(answers.iter_mut()).filter(|(_, a)| a.is_ok()) {
        *answer = unmoved(update, refs.current(&update.name)?);
        if update.is_delete() && answer.is_ok() {
            *answer = protected(update, &refs.default_branch()?, push.repo_name);
        }
    }
    if let Err(problem) = push.rights.still() {
        answers.iter_mut().filter(|a| a.is_ok()).for_each(|a| *a = Err(problem.clone()));
    }
    refuse_rest_if_atomic(push.atomic, answers);
    Ok(())
}

pub(super) fn protected(
    update: &RefUpdate,
    default_branch: &RefName,
    repo: &RepoName,
) -> Result<(), Problem> {
    if update.is_delete() && update.name == *default_branch {
        return Err(Problem::new(
            ProblemKind::Denied,
            format!("{} is the default branch and cannot be deleted.", update.name.short()),
            default_branch_cure(repo, None),
        ));
    }
    if update.name.as_str() == "HEAD" {
        return Err(Problem::new(ProblemKind::Invalid, "HEAD cannot be pushed to.", "Push to a branch."));
    }
    if update.name.as_str().starts_with("refs/slipway/") {
        return Err(Problem::new(
            ProblemKind::Denied,
            format!("{} belongs to the server.", update.name),
            "Push to a branch or a tag.",
        ));
    }
    Ok(())
}

/// Compares before the intention is written, so that an *intended* event whose new id a ref shows was surely the one
/// that moved it. The refs' own compare-and-swap stays the last word.
pub(super) fn unmoved(update: &RefUpdate, now: Option<Oid>) -> Result<(), Problem> {
    let expected = (!update.is_create()).then_some(update.old);
    if now == expected {
        return Ok(());
    }
    let now = now.map_or("does not exist".to_owned(), |oid| format!("is at {}", oid.short()));
    Err(Problem::new(
        ProblemKind::Conflict,
        format!("{} has moved: it {now}.", update.name),
        "Fetch, integrate what others pushed, and push again.",
    ))
}

pub(super) fn refuse_rest_if_atomic(atomic: bool, answers: &mut [Result<(), Problem>]) {
    if atomic && answers.iter().any(Result::is_err) {
        for answer in answers.iter_mut().filter(|a| a.is_ok()) {
            *answer = Err(Problem::new(
                ProblemKind::Conflict,
                "atomic push failure: another of its refs was refused",
                "See that ref's answer.",
            ));
        }
    }
}

pub(super) fn allowed(updates: &[RefUpdate], answers: &[Result<(), Problem>]) -> Vec<RefUpdate> {
    updates.iter().zip(answers).filter(|(_, a)| a.is_ok()).map(|(u, _)| u.clone()).collect()
}
