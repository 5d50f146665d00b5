//! Names that others follow: the tag `latest`, the manifests of a cluster. A build moves them only for a ref that builds by
//! itself, and never from a newer commit back to an older one; who wants an older state says so to the branch.

use slipway_core::accept::{Incoming, builds_itself};
use slipway_core::build::Build;
use slipway_core::target::RepoRecord;
use slipway_core::{Oid, Problem};
use slipway_repository::Snapshot;

use crate::forge::Forge;
use crate::limits::BUILDS_LOOKED_MAX;

/// Why this build leaves them where they are and only adds its commit's own tags; `None` where it moves them. Blocking.
///
/// # Errors
/// A [`Problem`] where the repository or the records cannot be read.
pub fn why_not(forge: &Forge, record: &RepoRecord, build: &Build) -> Result<Option<String>, Problem> {
    let repository = forge.repositories.get(record.id)?;
    let objects = repository.received_nothing()?;
    let others = forge.store.builds(record.id, None, BUILDS_LOOKED_MAX)?;
    let snapshot = repository.snapshot()?;
    judge(&snapshot, &objects, build, &others)
}

/// The same from what is known of the repository and of its other builds.
fn judge(
    snapshot: &Snapshot,
    objects: &dyn Incoming,
    build: &Build,
    others: &[Build],
) -> Result<Option<String>, Problem> {
    if !builds_itself(&build.ref_name, &build.commit, snapshot.head(), objects)? {
        return Ok(Some(format!("pushes to {} build nothing by themselves", build.ref_name.short())));
    }
    let tip = snapshot.find_ref(build.ref_name.as_str()).map(|r| r.peeled.unwrap_or(r.target));
    // Somebody put the branch there, be it forward or back.
    if tip == Some(build.commit) {
        return Ok(None);
    }
    for other in others.iter().filter(|b| b.ref_name == build.ref_name && b.pushed.is_some()) {
        if Some(other.commit) == tip || is_older(snapshot, &build.commit, &other.commit)? {
            return Ok(Some("a newer commit's image is there already".into()));
        }
    }
    Ok(None)
}

fn is_older(snapshot: &Snapshot, commit: &Oid, other: &Oid) -> Result<bool, Problem> {
    // What was cut from the branch since may be gone altogether.
    Ok(commit != other && snapshot.contains(other)? && snapshot.is_ancestor(commit, other)?)
}

#[cfg(test)]
mod tests {
    use slipway_core::accept::RefStore;
    use slipway_core::build::PushedImage;
    use slipway_core::{BuildNumber, Digest, EventId, ObjectFormat, RefName, RefUpdate, RepoId, UnixMillis};
    use slipway_repository::{Edit, Repositories, Repository, Signature};

    use super::*;

    fn branch(name: &str) -> RefName {
        RefName::branch(name).expect("valid")
    }

    /// A commit on `name`, on top of its tip or of `on`.
    fn commit(repository: &Repository, name: &str, on: Option<Oid>) -> Oid {
        let who = Signature { name: "A".into(), email: "a@b".into(), at_ms: 1000, offset_minutes: 0 };
        let old = repository.current(&branch(name)).expect("read");
        let parent = on.or(old);
        let text = format!("{parent:?}").into_bytes();
        let edits = [Edit { path: "a".into(), content: Some(text), executable: false }];
        let (id, mut objects) =
            repository.commit(parent.as_ref(), &edits, "x", &who, &who).expect("a commit");
        objects.publish().expect("published");
        put(repository, name, id);
        id
    }

    fn put(repository: &Repository, name: &str, id: Oid) {
        let old = repository.current(&branch(name)).expect("read").unwrap_or_else(|| id.zero_like());
        let update = RefUpdate { name: branch(name), old, new: id };
        repository.update(&[update], true).expect("written").into_iter().for_each(|r| r.expect("moved"));
    }

    fn build(name: &str, commit: Oid, pushed: bool) -> Build {
        let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("a digest");
        let (number, event, title, by) = (BuildNumber(1), EventId(1), String::new(), "ann".to_owned());
        let mut build =
            Build::queued(RepoId(1), number, event, branch(name), commit, title, by, UnixMillis(0));
        build.pushed = pushed.then(|| PushedImage { name: "r/app".into(), tags: vec![], digest });
        build
    }

    #[test]
    fn a_moving_name_never_goes_back_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let repositories = Repositories::open(folder.path()).expect("a folder");
        let repository = repositories.create(RepoId(1), ObjectFormat::Sha1).expect("made");
        let first = commit(&repository, "main", None);
        let second = commit(&repository, "main", None);
        let third = commit(&repository, "main", None);
        let side = commit(&repository, "side", Some(first));
        let stays = |one: &Build, others: &[Build]| {
            let snapshot = repository.snapshot().expect("read");
            let objects = repository.received_nothing().expect("open");
            judge(&snapshot, &objects, one, others).expect("judged").is_some()
        };
        let built = [build("main", second, true)];
        assert!(!stays(&build("main", third, false), &built), "forward");
        assert!(
            stays(&build("main", first, false), &built),
            "the tip was never built, and yet it would go back"
        );
        assert!(
            !stays(&build("main", first, false), &[build("main", second, false)]),
            "nothing is there yet"
        );
        assert!(stays(&build("main", second, false), &[build("main", third, true)]), "the tip's is there");
        assert!(stays(&build("side", side, false), &[]), "no push to it would have moved anything");
        put(&repository, "main", first);
        assert!(!stays(&build("main", first, false), &built), "somebody put the branch back");
    }
}
