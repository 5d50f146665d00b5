//! What is not to be trusted, and what is not there yet.

use super::*;

/// Trees that no git would write: a name that leaves the folder, a folder in itself as deep as it goes.
#[test]
fn trees_that_lead_out_of_the_repository_are_refused() {
    let lab = Lab::new();
    let (repository, path) = lab.create("evil");
    let blob = git_in(&path, &["hash-object", "-w", "--stdin"], b"x");
    let blob = oid(std::str::from_utf8(&blob).unwrap());
    for name in ["..", ".", "a/../../b"] {
        let tree = [b"100644 ", name.as_bytes(), b"\0", blob.as_bytes()].concat();
        let id = git_in(&path, &["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &tree);
        let id = oid(std::str::from_utf8(&id).unwrap());
        let snapshot = repository.snapshot().unwrap();
        let broken =
            |r: Result<()>| assert!(matches!(r, Err(RepoError::BrokenObject { .. })), "{name}: {r:?}");
        broken(snapshot.entries(&id).map(drop));
        broken(snapshot.walk_files(&id, "", &mut |_| Ok(true)));
        let pieces = snapshot.archive(slipway_repository::ArchiveForm::Tar, &id, "", &[]);
        broken(pieces.and_then(|mut pieces| pieces.next_piece(&snapshot)).map(drop));
        broken(snapshot.diff(None, &id, &limits()).map(drop));
    }
    let mut id = git(&path, &["mktree", "--missing"]);
    let mut child = oid(&id);
    for _ in 0..2100 {
        let tree = [b"40000 d\0".as_slice(), child.as_bytes()].concat();
        id =
            String::from_utf8(git_in(&path, &["hash-object", "-t", "tree", "-w", "--stdin"], &tree)).unwrap();
        child = oid(&id);
    }
    let snapshot = repository.snapshot().unwrap();
    let deep = snapshot.walk_files(&child, "", &mut |_| Ok(true));
    assert!(matches!(deep, Err(RepoError::TooLong { .. })), "{deep:?}");
    assert!(matches!(snapshot.diff(None, &child, &limits()), Err(RepoError::TooLong { .. })));
}

#[test]
fn a_commit_of_our_own_is_in_quarantine_until_it_is_published() {
    let wild = Wild::new(4, 40);
    let repository = wild._lab.get("wild");
    let parent = wild.snapshot.resolve("main").unwrap().unwrap();
    let before = all_objects(&wild.path).len();
    let who =
        Signature { name: "Jo".into(), email: "jo@x".into(), at_ms: 1_700_000_000_000, offset_minutes: 0 };
    let edit =
        |path: &str, text: &str| Edit { path: path.into(), content: Some(text.into()), executable: false };
    let edits = [edit("deploy/app.yaml", "image: x\n"), edit("slipway.toml", "[build]\n")];
    let (id, received) = repository.commit(Some(&parent), &edits, "Deploy x", &who, &who).unwrap();
    // Read in front of the repository, seen by nobody else.
    assert_eq!(received.file(&id, "deploy/app.yaml", 99).unwrap().unwrap(), b"image: x\n");
    assert!(received.has_file(&id, "slipway.toml").unwrap());
    assert_eq!(received.commit(&id).unwrap().unwrap().subject, "Deploy x");
    let changed = received.changed_paths(Some(&parent), &id, 10).unwrap().unwrap();
    assert_eq!(changed, ["deploy/app.yaml", "slipway.toml"]);
    assert_eq!(repository.snapshot().unwrap().commit(&id).unwrap(), None);
    drop(received);
    assert_eq!(all_objects(&wild.path).len(), before, "what is dropped is gone");
    // As where a crash comes between: the objects are here, and no ref leads to them. The same can be made again.
    let (_, mut cut_off) = repository.commit(Some(&parent), &edits, "Cut off", &who, &who).unwrap();
    cut_off.publish().unwrap();
    drop(cut_off);
    let (again, mut received) = repository.commit(Some(&parent), &edits, "Deploy x", &who, &who).unwrap();
    assert_eq!(again, id);
    received.publish().unwrap();
    git(&wild.path, &["update-ref", "refs/heads/main", &id.to_string()]);
    let snapshot = repository.snapshot().unwrap();
    let page = snapshot.log(&id, Some("deploy"), 0, 5, &plenty()).unwrap();
    assert_eq!(page.commits[0].id, id);
    assert_eq!(told_by_us(&snapshot.diff(Some(&parent), &id, &limits()).unwrap()).len(), 2);
    assert_eq!(git(&wild.path, &["show", "main:deploy/app.yaml"]), "image: x");
    git(&wild.path, &["update-ref", "refs/heads/empty", &id.to_string()]);
    let deliberate = repository.commit(Some(&id), &[], "Nothing, on purpose", &who, &who);
    assert!(deliberate.is_ok());
    assert!(matches!(
        repository.commit(Some(&id), &[edit("deploy/app.yaml", "image: x\n")], "m", &who, &who),
        Err(RepoError::NothingChanged)
    ));
}
