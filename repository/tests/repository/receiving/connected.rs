//! What is pushed hangs together, and builds upon what may be seen alone.

use super::*;

#[test]
fn each_missing_object_is_named() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 41, 30);
    let (repository, path) = lab.create("app");
    let all: Vec<Oid> = reachable(&source, &["main"]).into_iter().collect();
    let main = oid(&git(&source, &["rev-parse", "main"]));
    for (n, gone) in all.iter().enumerate() {
        let rest: Vec<Oid> = all.iter().copied().filter(|id| id != gone).collect();
        // Beyond the number of objects up to which links are remembered as they are, too.
        let limits = if n % 3 == 0 { as_if_large() } else { ReceiveLimits::default() };
        let received = receive_with(&repository, &pack_list(&source, &rest), &limits).unwrap();
        match connected(&received, &[main]) {
            Err(RepoError::NotConnected { id }) => assert_eq!(id, *gone),
            other => panic!("{other:?}"),
        }
    }
    // What is missing but not needed by the tips harms nobody.
    let parent = git(&source, &["rev-list", "-1", "--skip=1", "main"]);
    let needed: Vec<Oid> = reachable(&source, &[&parent]).into_iter().collect();
    let mut with_loose_end = needed.clone();
    with_loose_end.push(main);
    let received = receive(&repository, &pack_list(&source, &with_loose_end)).unwrap();
    let tip = oid(&parent);
    let missing_for_main = !needed.contains(&oid(&git(&source, &["rev-parse", "main^{tree}"])));
    connected(&received, &[tip]).unwrap();
    assert_eq!(connected(&received, &[main]).is_err(), missing_for_main);
    drop(received);
    judge(&path);
}

#[test]
fn what_no_ref_reaches_cannot_be_claimed() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 51, 20);
    let secret = b"the launch code is 0000, kept out of every ref, and long enough to be worth a delta\n";
    let blob = oid(std::str::from_utf8(&git_in(&path, &["hash-object", "-w", "--stdin"], secret)).unwrap());
    let tree =
        oid(std::str::from_utf8(&git_in(&path, &["mktree"], format!("100644 blob {blob}\tf\n").as_bytes()))
            .unwrap());
    let hidden = oid(&git(&path, &["commit-tree", "-m", "hidden", &tree.to_string()]));
    assert!(repository.snapshot().unwrap().contains(&hidden).unwrap());
    // A ref to it.
    let nothing = repository.received_nothing().unwrap();
    for id in [hidden, tree, blob] {
        assert!(matches!(connected(&nothing, &[id]), Err(RepoError::NotConnected { id: i }) if i == id));
        assert!(!repository.snapshot().unwrap().is_visible(&id).unwrap());
    }
    // A commit of one's own on top of it, on its tree, or with its file.
    let who = "A <a@example.org> 1700000000 +0000";
    let mut file_tree = b"100644 mine\0".to_vec();
    file_tree.extend_from_slice(blob.as_bytes());
    let file_tree_id = {
        let mut hash = Sha1::new();
        hash.update(format!("tree {}\0", file_tree.len()));
        hash.update(&file_tree);
        Oid::from_bytes(&hash.finalize()).unwrap()
    };
    let empty = Oid::parse("4b825dc642cb6eb9a060e54bf8d69288fbee4904").unwrap();
    for (head, parts, missing) in [
        (format!("tree {empty}\nparent {hidden}\n"), vec![Part::Whole(2, b"")], hidden),
        (format!("tree {tree}\n"), vec![], tree),
        (format!("tree {file_tree_id}\n"), vec![Part::Whole(2, &file_tree)], blob),
    ] {
        let commit = format!("{head}author {who}\ncommitter {who}\n\nx\n").into_bytes();
        let mut parts = parts;
        parts.push(Part::Whole(1, &commit));
        let received = receive(&repository, &by_hand(&parts)).unwrap();
        let id = {
            let mut hash = Sha1::new();
            hash.update(format!("commit {}\0", commit.len()));
            hash.update(&commit);
            Oid::from_bytes(&hash.finalize()).unwrap()
        };
        match connected(&received, &[id]) {
            Err(RepoError::NotConnected { id }) => assert_eq!(id, missing),
            other => panic!("{other:?}"),
        }
    }
    // A delta that would copy it out.
    let received = receive(&repository, &by_hand(&[Part::Ref(blob, copying(secret.len(), 2))])).unwrap();
    let copied = [&secret[..], &secret[..]].concat();
    assert!(matches!(connected(&received, &[blob_id(&copied)]), Err(RepoError::NotConnected { .. })));
    // Once a ref reaches it, all of this is fine.
    git(&path, &["update-ref", "refs/heads/shown", &hidden.to_string()]);
    for id in [hidden, tree, blob] {
        assert!(repository.snapshot().unwrap().is_visible(&id).unwrap());
    }
    let received = receive(&repository, &by_hand(&[Part::Ref(blob, copying(secret.len(), 2))])).unwrap();
    connected(&received, &[blob_id(&copied)]).unwrap();
}

#[test]
fn visibility_is_exact() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 52, 80);
    git(&path, &["update-ref", "-d", "refs/heads/b1"]);
    git(&path, &["update-ref", "-d", "refs/heads/b2"]);
    for tag in git(&path, &["tag"]).lines().step_by(2) {
        git(&path, &["tag", "-d", tag]);
    }
    let visible = reachable(&path, &["--all"]);
    let snapshot = repository.snapshot().unwrap();
    let all = all_objects(&path);
    assert!(all.len() > visible.len());
    for (id, kind, _) in all {
        assert_eq!(snapshot.is_visible(&id).unwrap(), visible.contains(&id), "{kind} {id}");
    }
}
