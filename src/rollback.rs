//! Rolling back is a commit: the bound path as it was at an earlier deploy, on top of the branch. The repository keeps
//! saying what runs, and the next push does not undo it by surprise.

use slipway_core::accept::Incoming;
use slipway_core::deploy::Deploy;
use slipway_core::event::Cause;
use slipway_core::target::{ClusterBinding, RepoRecord};
use slipway_core::{Actor, Problem, ProblemKind};
use slipway_repository::{Edit, Mode};

use crate::app::Rooms;
use crate::bump;

/// Most files that a rollback changes.
const FILES_MAX: usize = 1000;
/// Largest file that a rollback brings back, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Commits the state of `to` and returns the deploy that this owes. Blocking.
pub(crate) fn roll_back(
    rooms: &Rooms,
    actor: &Actor,
    record: &RepoRecord,
    binding: &ClusterBinding,
    to: &Deploy,
) -> Result<Deploy, Problem> {
    let repository = rooms.repositories.get(&record.name)?;
    let snapshot = repository.snapshot()?;
    let Some(tip) = snapshot.find_ref(binding.branch.as_str()).map(|r| r.target) else {
        return Err(nothing(to, &format!("{} has no branch {}.", record.name, binding.branch.short())));
    };
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
                let blob = snapshot.object(&entry.id, FILE_BYTES_MAX)?;
                (blob.map(|b| b.data), entry.mode == Mode::Executable)
            }
            Some(_) => continue,
        };
        edits.push(Edit { path, content, executable });
    }
    if edits.is_empty() {
        return Err(nothing(
            to,
            &format!("{} is already in the state of deploy {}.", record.name, to.number),
        ));
    }
    let message = format!(
        "Roll back to deploy {}\n\n{} as of {}: {}\n\nSlipway-Rollback: {}#{}\nSlipway-Actor: {}\n",
        to.number,
        binding.path,
        to.commit.short(),
        to.title,
        record.name,
        to.number,
        actor.label()
    );
    let (_, verdict) = bump::commit(
        rooms,
        record,
        &repository,
        &binding.branch,
        Some(tip),
        &edits,
        &message,
        Cause::Rollback,
    )?;
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
