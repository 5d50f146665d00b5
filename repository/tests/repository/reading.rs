//! Reading what plain git wrote: objects, refs, and changes made beside an open snapshot.

use std::sync::Arc;

use slipway_core::{ObjectFormat, Oid, RepoId, RepoName};
use slipway_repository::{RepoError, Repository};

use crate::support::*;

fn check_objects(repository: &Repository, path: &std::path::Path) {
    let snapshot = repository.snapshot().unwrap();
    let all = all_objects(path);
    assert!(all.len() > 100);
    for (id, kind, size) in all {
        let (k, s) = snapshot.object_size(&id).unwrap().unwrap();
        assert_eq!((k.as_str(), s), (kind.as_str(), size));
        let object = snapshot.object(&id, 1 << 30).unwrap().unwrap();
        let text = git_in(path, &["cat-file", &kind, &id.to_string()], b"");
        assert_eq!(object.data, text, "{id}");
        assert!(snapshot.contains(&id).unwrap());
        if size > 0 {
            assert!(matches!(snapshot.object(&id, size - 1), Err(RepoError::ObjectTooLarge { .. })));
        }
    }
    assert_eq!(snapshot.object(&Oid::ZERO_SHA1, 9).unwrap(), None);
}

fn check_refs(repository: &Repository, path: &std::path::Path) {
    let snapshot = repository.snapshot().unwrap();
    let theirs = git_in(path, &["show-ref", "--head", "--dereference"], b"");
    let mut ours = String::new();
    for r in snapshot.refs() {
        ours += &format!("{} {}\n", r.target, r.name);
        if let Some(peeled) = r.peeled.filter(|_| r.name.as_str() != "HEAD") {
            ours += &format!("{peeled} {}^{{}}\n", r.name);
        }
        assert_eq!(snapshot.find_ref(r.name.as_str()), Some(r));
    }
    assert_eq!(ours, String::from_utf8(theirs).unwrap());
    assert!(snapshot.find_ref("refs/heads/none").is_none());
}

#[test]
fn reads_every_object_and_ref_as_git_does() {
    FORMATS.into_iter().for_each(read_as_git_does);
}

fn read_as_git_does(format: ObjectFormat) {
    let lab = Lab::of(format);
    let (repository, path) = lab.create("app");
    assert!(repository.snapshot().unwrap().refs().is_empty());
    assert_eq!(repository.snapshot().unwrap().head().as_str(), "refs/heads/main");
    import(&path, 1, 60);
    check_objects(&repository, &path);
    check_refs(&repository, &path);
    git(&path, &["repack", "-adq", "--depth=50", "--window=50"]);
    git(&path, &["pack-refs", "--all"]);
    check_objects(&repository, &path);
    check_refs(&repository, &path);
    git(&path, &["update-ref", "refs/heads/deep/er/x", "main~2"]);
    git(&path, &["symbolic-ref", "refs/heads/link", "refs/heads/b1"]);
    check_refs(&repository, &path);
    // Everything loose.
    let (loose, loose_path) = lab.create("loose");
    let pack = std::fs::read_dir(path.join("objects/pack")).unwrap().map(|e| e.unwrap().path());
    let pack = pack.into_iter().find(|p| p.extension().is_some_and(|e| e == "pack")).unwrap();
    git_in(&loose_path, &["unpack-objects", "-q"], &std::fs::read(pack).unwrap());
    check_objects(&loose, &loose_path);
}

#[test]
fn an_open_snapshot_survives_git_gc_and_the_next_one_sees_what_changed() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 2, 50);
    let before = repository.snapshot().unwrap();
    let ids = all_objects(&path);
    // Loose objects that gc will pack, and packs that it will replace.
    for n in 0..5 {
        git(&path, &["update-ref", &format!("refs/heads/n{n}"), "main"]);
        let blob =
            String::from_utf8(git_in(&path, &["hash-object", "-w", "--stdin"], format!("x{n}").as_bytes()))
                .unwrap();
        let tree = String::from_utf8(git_in(
            &path,
            &["mktree"],
            format!("100644 blob {}\tf\n", blob.trim()).as_bytes(),
        ))
        .unwrap();
        let commit = git(&path, &["commit-tree", "-m", "loose", tree.trim()]);
        git(&path, &["update-ref", &format!("refs/heads/loose{n}"), &commit]);
    }
    let loose = repository.snapshot().unwrap();
    assert_eq!(loose.refs().len(), before.refs().len() + 10);
    let loose_ids = all_objects(&path);
    git(&path, &["gc", "-q", "--prune=now"]);
    for (id, _, size) in &ids {
        assert_eq!(before.object(id, 1 << 30).unwrap().unwrap().data.len() as u64, *size);
    }
    for (id, _, size) in &loose_ids {
        assert_eq!(loose.object(id, 1 << 30).unwrap().unwrap().data.len() as u64, *size, "{id}");
    }
    check_refs(&repository, &path);
    git(&path, &["update-ref", "-d", "refs/heads/loose1"]);
    assert!(repository.snapshot().unwrap().find_ref("refs/heads/loose1").is_none());
}

#[test]
fn repositories_are_made_linked_removed_and_swept() {
    let lab = Lab::new();
    let (_, path) = lab.create("one");
    git(&path, &["fsck", "--strict"]);
    let one = RepoId(1);
    assert_eq!(path.file_name().unwrap(), "1.git");
    let again = lab.repositories.create(one, ObjectFormat::Sha1);
    assert!(matches!(again, Err(RepoError::FolderExists { .. })));
    // Another name is another link; who has it open goes on.
    let open = lab.repositories.get(one).unwrap();
    assert!(lab.repositories.link(one, &RepoName::parse("two").unwrap()).unwrap());
    assert!(!lab.path("one").is_symlink() && lab.path("two").is_symlink());
    assert!(Arc::ptr_eq(&open, &lab.repositories.get(one).unwrap()));
    let stale = lab.path("two").join("objects/tmp_objdir-incoming-4711-3");
    std::fs::create_dir_all(&stale).unwrap();
    let of_git = lab.path("two").join("objects/tmp_objdir-incoming-a1B2c3");
    std::fs::create_dir_all(&of_git).unwrap();
    let lock = lab.path("two").join("refs/heads/x.lock");
    std::fs::write(&lock, "").unwrap();
    std::fs::File::open(&lock)
        .unwrap()
        .set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600))
        .unwrap();
    let half = lab.dir.path().join("repos/.slipway-new-1-1");
    std::fs::create_dir_all(half.join("objects")).unwrap();
    lab.repositories.sweep().unwrap();
    assert!(of_git.exists(), "a push by plain git is under way");
    assert!(!stale.exists() && !lock.exists() && !half.exists());
    lab.repositories.remove(one).unwrap();
    assert!(matches!(lab.repositories.get(one), Err(RepoError::NoFolder { .. })));
    lab.repositories.remove(one).unwrap();
    assert_eq!(std::fs::read_dir(lab.dir.path().join("repos")).unwrap().count(), 0);
}
