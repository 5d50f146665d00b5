//! Repositories as they were at one moment, whatever is done to them afterwards; judged by git.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use slipway_core::accept::RefStore;
use slipway_core::{ObjectFormat, RefName, RefUpdate, RepoId};
use slipway_repository::*;

use crate::support::*;

/// Writes what is held to a folder; what git says of its refs once all that they lead to was looked at.
fn put(held: &HeldRepository, to: &Path) -> String {
    for folder in ["objects/info", "objects/pack", "refs/heads"] {
        std::fs::create_dir_all(to.join(folder)).unwrap();
    }
    for (name, content) in held.small() {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    for name in held.objects() {
        let mut content = Vec::new();
        held.open(&name).unwrap().read_to_end(&mut content).unwrap();
        let path = to.join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    git(to, &["fsck", "--full", "--strict"]);
    refs(to)
}

fn refs(path: &Path) -> String {
    format!("{}{}", git(path, &["for-each-ref"]), std::fs::read_to_string(path.join("HEAD")).unwrap())
}

#[test]
fn what_is_held_is_of_one_moment_whatever_follows() {
    for format in FORMATS {
        let dir = tempfile::tempdir().unwrap();
        let repositories = Arc::new(Repositories::open(&dir.path().join("repos")).unwrap());
        let path = |id: u64| dir.path().join(format!("repos/{id}.git"));
        for id in 1..=3 {
            repositories.create(RepoId(id), format).unwrap();
            if format == ObjectFormat::Sha1 {
                import(&path(id), id, 30);
            }
        }
        if format == ObjectFormat::Sha1 {
            // Elsewhere it would lead nowhere, which git's fsck takes for damage.
            git(&path(1), &["symbolic-ref", "refs/heads/other", "refs/heads/main"]);
        }
        // One object lies loose.
        git_in(&path(1), &["hash-object", "-w", "--stdin"], b"loose\n");
        let before: Vec<String> = (1..=3).map(|id| refs(&path(id))).collect();

        let hold = repositories.hold().unwrap();
        assert!(matches!(repositories.hold(), Err(RepoError::Held)));
        hold.freeze();
        if format == ObjectFormat::Sha1 {
            for id in [1, 2] {
                let repository = repositories.get(RepoId(id)).unwrap();
                let main = RefName::parse("refs/heads/main").unwrap();
                let old = repository.current(&main).unwrap().unwrap();
                let new = oid(git(&path(id), &["rev-parse", "main~2"]).trim());
                for (old, new) in [(old, new), (new, old.format().zero())] {
                    let update = RefUpdate { name: main.clone(), old, new };
                    assert_eq!(repository.update(&[update], false).unwrap(), [Ok(())]);
                }
                let go = AtomicBool::new(false);
                repository.repack(&repository.repack_options().unwrap(), &go).unwrap();
            }
        }
        repositories
            .get(RepoId(1))
            .unwrap()
            .set_head(&RefName::parse("refs/heads/elsewhere").unwrap())
            .unwrap();
        repositories.remove(RepoId(2)).unwrap();
        repositories.create(RepoId(4), format).unwrap();
        for id in 1..=3u64 {
            let held = hold.take(RepoId(id)).unwrap().unwrap();
            let copy = dir.path().join(format!("copy-{id}"));
            assert_eq!(put(&held, &copy), before[id as usize - 1], "repository {id}");
            if id == 3 {
                // While it is read, its folder goes and everything is packed anew.
                repositories.remove(RepoId(3)).unwrap();
                assert_eq!(put(&held, &dir.path().join("again")), before[2]);
            }
        }
        assert!(hold.take(RepoId(9)).unwrap().is_none());
        drop(hold);
        assert!(!path(1).join("slipway/held").exists());
        let left = std::fs::read_dir(dir.path().join("repos")).unwrap().map(|e| e.unwrap().file_name());
        let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["1.git", "4.git"], "what was removed goes in the end");
        drop(repositories.hold().unwrap());
    }
}
