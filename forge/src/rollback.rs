//! Rolling back is a commit: the bound path as it was at an earlier deploy, on top of the branch. The repository keeps
//! saying what runs, and the next push does not undo it by surprise.

use std::sync::Arc;

use slipway_core::accept::Incoming;
use slipway_core::deploy::Deploy;
use slipway_core::event::Cause;
use slipway_core::target::ClusterBinding;
use slipway_core::{Action, Problem, ProblemKind};
use slipway_repository::{Edit, Mode, Repository};

use crate::access::{Pass, again, repository};
use crate::caller::Caller;
use crate::commits::{NewCommit, commit};
use crate::forge::Forge;

/// Most files that a rollback changes.
const FILES_MAX: usize = 1000;
/// Largest file that a rollback brings back, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Commits the state of `to` for whoever asks, and gives the deploy that this owes.
pub(crate) fn roll_back(
    forge: &Arc<Forge>,
    caller: &Caller,
    binding: &ClusterBinding,
    to: &Deploy,
    prune: Option<&str>,
) -> Result<Deploy, Problem> {
    let trailer = match prune {
        None => String::new(),
        Some(said) if said == "all" || said.parse::<usize>().is_ok() => format!("Slipway-Prune: {said}\n"),
        Some(_) => {
            let what = "What may be deleted is a number of objects, or all.";
            return Err(Problem::new(ProblemKind::Invalid, what, "Say --prune 12, or --prune all."));
        }
    };
    let record = again(forge, caller, binding.repo, Action::OperateRepo)?;
    let repository = repository(forge, &record)?;
    let Some(parent) = repository.snapshot()?.target_of(binding.branch.as_str())? else {
        return Err(nothing(to, &format!("{} has no branch {}.", record.name, binding.branch.short())));
    };
    let edits = way_back(&repository, binding, parent, to)?;
    if edits.is_empty() {
        return Err(nothing(
            to,
            &format!("{} is already in the state of deploy {}.", record.name, to.number),
        ));
    }
    let actor = caller.actor.label();
    let message = format!(
        "Roll back to deploy {}\n\n{} as of {}: {}\n\nSlipway-Rollback: {}#{}\nSlipway-Actor: {actor}\n{trailer}",
        to.number,
        if binding.path == "." { "Everything" } else { &binding.path },
        to.commit.short(),
        to.title,
        record.name,
        to.number,
    );
    let new = NewCommit {
        record: &record,
        repository: &repository,
        branch: &binding.branch,
        parent: Some(parent),
        edits: &edits,
        message: &message,
        cause: Cause::Rollback { to: Some(to.number) },
        actor,
        rights: &Pass::new(forge, caller, record.id, Action::OperateRepo),
    };
    let (_, verdict) = commit(forge, new)?;
    if let Some(Err(problem)) = verdict.answers.into_iter().next() {
        return Err(problem);
    }
    verdict.orders.deploys.into_iter().next().ok_or_else(|| {
        Problem::new(
            ProblemKind::Broken,
            "The rollback's commit owed no deploy.",
            "Check the binding, and sync.",
        )
    })
}

/// What brings the bound path from `tip` to what it was at the deploy.
fn way_back(
    repository: &Repository,
    binding: &ClusterBinding,
    tip: slipway_core::Oid,
    to: &Deploy,
) -> Result<Vec<Edit>, Problem> {
    let snapshot = repository.snapshot()?;
    let objects = repository.received_nothing()?;
    let paths = objects.changed_paths(Some(&tip), &to.commit, FILES_MAX)?.ok_or_else(|| {
        let what = format!(
            "Deploy {} differs from {} in more than {FILES_MAX} files.",
            to.number,
            binding.branch.short()
        );
        Problem::new(ProblemKind::TooLarge, what, "Revert with git and push.")
    })?;
    let mut edits = Vec::new();
    for path in paths.into_iter().filter(|p| below(p, &binding.path)) {
        let (content, executable) = match snapshot.entry(&to.commit, &path)? {
            None => (None, false),
            Some(entry) if matches!(entry.mode, Mode::File | Mode::Executable) => {
                // A file that cannot be read must not become one that is removed.
                (Some(snapshot.file(&entry, FILE_BYTES_MAX)?), entry.mode == Mode::Executable)
            }
            Some(_) => continue,
        };
        edits.push(Edit { path, content, executable });
    }
    Ok(edits)
}

fn below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_matches('/');
    folder == "." || folder.is_empty() || path == folder || path.starts_with(&format!("{folder}/"))
}

fn nothing(to: &Deploy, what: &str) -> Problem {
    Problem::new(ProblemKind::Conflict, what, format!("See slipway deploy show for deploy {}.", to.number))
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn only_what_lies_below_the_bound_path_is_rolled_back() {
        for (path, folder, want) in [
            ("a.yaml", ".", true),
            ("apps/a.yaml", "apps", true),
            ("apps/a.yaml", "apps/", true),
            ("apps2/a.yaml", "apps", false),
            ("apps", "apps", true),
        ] {
            assert_eq!(below(path, folder), want, "{path} {folder}");
        }
    }
}
