//! Repositories on disk and in the store, in orders that a crash cannot split: the store decides what exists and how it
//! is called, the disk holds it by its id. Where a crash comes between the two, the next start makes the disk agree with
//! the store. Blocking.

use std::sync::{Mutex, PoisonError};

use slipway_core::target::RepoRecord;
use slipway_core::{Problem, ProblemKind, RepoId, Role, UserName};
use slipway_repository::RepoError;

use crate::forge::Forge;
use crate::repositories::NewRepo;

/// Folders of no repository that are stepped over to find a place for a new one: a database that was brought back from a
/// backup counts on from there.
const IN_THE_WAY_MAX: usize = 100;

/// The record first, with its maker's role (it takes the name), then the folder; a folder that fails takes the record
/// back. The maker may have made fewer than `most` so far. A folder that is there already is somebody's: its id is not used.
pub(crate) fn make(
    forge: &Forge,
    new: &NewRepo,
    maker: Option<&UserName>,
    most: usize,
) -> Result<RepoRecord, Problem> {
    let now = forge.now();
    for tries in 0.. {
        let record = forge.store.transact(|tx| {
            let NewRepo { name, description, public, object_format, .. } = new;
            let record = tx.create_repo_as(*object_format, name, description, *public, now)?;
            if let Some(maker) = maker {
                if tx.view().repos_made_by(maker)? >= most {
                    return Err(made_enough(maker, most).into());
                }
                tx.grant(maker, record.id, Role::Admin)?;
                tx.note_maker(maker, record.id)?;
            }
            Ok(record)
        })?;
        match forge.repositories.create(record.id, record.object_format) {
            Ok(_) => {
                link(forge, record.id)?;
                return Ok(record);
            }
            Err(error) => {
                forge.store.remove_repo(record.id)?;
                if !matches!(error, RepoError::FolderExists { .. }) || tries >= IN_THE_WAY_MAX {
                    return Err(error.into());
                }
                tracing::warn!("a new repository is not put there: {error}");
            }
        }
    }
    Err(Problem::no_such_repository(new.name.as_str()))
}

fn made_enough(maker: &UserName, most: usize) -> Problem {
    Problem::new(
        ProblemKind::TooLarge,
        format!("{maker} has made {most} repositories, as many as one account may."),
        "Remove one that is not needed any more, or have an owner of this server make it.",
    )
}

/// Has the administrators' link bear the name that the repository has now. A link that cannot be made is no reason to
/// refuse what is recorded.
pub(crate) fn link(forge: &Forge, repo: RepoId) -> Result<(), Problem> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(record) = forge.store.repo(repo)? else { return Ok(()) };
    match forge.repositories.link(repo, &record.name) {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(repo = %record.name, "something else has the name of the link to its folder; it has none");
        }
        Err(error) => tracing::warn!(%error, repo = %record.name, "the link to its folder is not made"),
    }
    Ok(())
}

/// The folder is marked, so that the next start may finish this; then the record goes: nobody can reach the repository any
/// more. Then the folders.
pub(crate) fn remove(forge: &Forge, record: &RepoRecord) -> Result<(), Problem> {
    forge.repositories.mark_removed(record.id)?;
    forge.store.remove_repo(record.id)?;
    forge.repositories.remove(record.id)?;
    if let Err(problem) = forge.outside.remove_logs(record.id) {
        tracing::warn!(%problem, repo = %record.name, "the build logs are not removed");
    }
    Ok(())
}
