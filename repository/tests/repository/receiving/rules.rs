//! What a repository's config makes of the rules for pushed objects (`receive.fsck.*`), beside git's index-pack.

use super::*;

const WHO: &str = "A <a@example.org> 1700000000 +0000";

/// A commit of the empty tree by that author.
fn commit_by(author: &str) -> Vec<u8> {
    format!("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor {author}\ncommitter {WHO}\n\nx\n")
        .into_bytes()
}

fn tree_of(entries: &[(&str, &str, Oid)]) -> Vec<u8> {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        tree.extend_from_slice(id.as_bytes());
    }
    tree
}

/// The repository opened anew with these lines in its config.
fn configured(path: &Path, lines: &[(&str, &str)]) -> Repository {
    git_raw(path, &["config", "--remove-section", "receive.fsck"], b"");
    git_raw(path, &["config", "--remove-section", "receive"], b"");
    for (key, value) in lines {
        git(path, &["config", "--add", key, value]);
    }
    Repository::open_with(path.to_owned(), Settings::default(), vec![path.join("config")]).unwrap()
}

#[test]
fn a_rule_of_form_can_be_ignored_or_turned_into_a_warning() {
    let lab = Lab::new();
    let (_, path) = lab.create("app");
    let judge = lab.bare("judge.git");
    git_in(&path, &["hash-object", "-t", "tree", "-w", "--stdin"], b"");
    let blob = blob_id(b"x");
    let (a, b) = (("100644", "a", blob), ("100644", "b", blob));
    let cases: [(&str, u8, Vec<u8>); 14] = [
        ("missingEmail", 1, commit_by("A 1700000000 +0000")),
        ("badEmail", 1, commit_by("A <a@b<c> 1700000000 +0000")),
        ("badName", 1, commit_by("A> <a@b> 1700000000 +0000")),
        ("missingNameBeforeEmail", 1, commit_by("<a@b> 1700000000 +0000")),
        ("missingSpaceBeforeEmail", 1, commit_by("A<a@b> 1700000000 +0000")),
        ("missingSpaceBeforeDate", 1, commit_by("A <a@b>1700000000 +0000")),
        ("zeroPaddedDate", 1, commit_by("A <a@b> 01700000000 +0000")),
        ("badDate", 1, commit_by("A <a@b> now +0000")),
        ("badTimezone", 1, commit_by("A <a@b> 1700000000 UTC")),
        ("multipleAuthors", 1, commit_by(&format!("{WHO}\nauthor {WHO}"))),
        ("treeNotSorted", 2, tree_of(&[b, a])),
        ("duplicateEntries", 2, tree_of(&[a, a])),
        ("nullSha1", 2, tree_of(&[("160000", "a", Oid::ZERO_SHA1)])),
        ("badTagName", 4, format!("object {blob}\ntype blob\ntag \ntagger {WHO}\n\nx\n").into_bytes()),
    ];
    for (rule, code, data) in &cases {
        let pack = by_hand(&[Part::Whole(*code, data), Part::Whole(3, b"x")]);
        for limits in [ReceiveLimits::default(), as_if_large()] {
            let told = |lines: &[(&str, &str)]| receive_with(&configured(&path, lines), &pack, &limits);
            let refused = told(&[]).err().unwrap().to_string();
            assert!(refused.contains(&format!("({rule})")), "{rule}: {refused}");
            let key = format!("receive.fsck.{rule}");
            assert!(told(&[(&key, "ignore")]).unwrap().remarks().is_empty(), "{rule}");
            let warned = told(&[(&key, "warn")]).unwrap();
            let [remark] = warned.remarks() else { panic!("{rule}: {:?}", warned.remarks()) };
            assert!(remark.starts_with("warning: ") && remark.contains(rule), "{remark}");
            assert!(told(&[(&key, "error")]).is_err());
            let other = if *rule == "badName" { "badEmail" } else { "badName" };
            assert!(told(&[(&format!("receive.fsck.{other}"), "ignore")]).is_err(), "{rule}");
            assert!(told(&[("receive.fsckObjects", "false")]).is_ok(), "{rule}");
        }
        let gits = |how: &str| {
            let option = format!("--fsck-objects={rule}={how},badObjectSha1=error");
            git_raw(&judge, &["index-pack", "--stdin", &option], &pack).status.success()
        };
        assert!(gits("ignore") && gits("warn") && !gits("error"), "{rule}");
    }
}

#[test]
fn what_protects_clients_is_let_through_by_name_alone() {
    let lab = Lab::new();
    let (_, path) = lab.create("app");
    let modules = b"[submodule \"x\"]\n\tpath = x\n\turl = -oProxyCommand=evil/x\n";
    let inner = tree_of(&[("100644", "config", blob_id(b"x"))]);
    let inner_id = git_in(&path, &["hash-object", "-t", "tree", "--stdin"], &inner);
    let inner_id = oid(std::str::from_utf8(&inner_id).unwrap());
    let evil = [
        (tree_of(&[("40000", ".git", inner_id)]), None),
        (tree_of(&[("40000", "..", inner_id)]), None),
        (tree_of(&[("120000", ".gitmodules", blob_id(b"x"))]), None),
        (tree_of(&[("100644", ".gitmodules", blob_id(modules))]), Some(modules)),
    ];
    for (tree, blob) in &evil {
        let mut parts = vec![Part::Whole(2, &inner), Part::Whole(3, b"x"), Part::Whole(2, tree)];
        parts.extend(blob.map(|blob| Part::Whole(3, blob)));
        let pack = by_hand(&parts);
        let refused = |lines: &[(&str, &str)]| match receive(&configured(&path, lines), &pack) {
            Err(RepoError::BadObject { .. }) => true,
            Ok(_) => false,
            Err(e) => panic!("{e}"),
        };
        let lowered = ["hasDotgit", "hasDotdot", "gitmodulesSymlink", "gitmodulesUrl", "gitmodulesName"];
        let lowered = lowered.map(|rule| (format!("receive.fsck.{rule}"), "ignore"));
        let lowered: Vec<(&str, &str)> = lowered.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert!(refused(&[]) && refused(&[("receive.fsckObjects", "false")]) && refused(&lowered));
        let id = match blob {
            Some(blob) => blob_id(*blob),
            None => oid(std::str::from_utf8(&git_in(
                &path,
                &["hash-object", "-t", "tree", "--literally", "--stdin"],
                tree,
            ))
            .unwrap()),
        };
        std::fs::write(path.join("known-flaws"), format!("# from before\n{id}\n")).unwrap();
        assert!(!refused(&[("receive.fsck.skipList", "known-flaws")]));
        assert!(!refused(&[("receive.fsck.skipList", path.join("known-flaws").to_str().unwrap())]));
        std::fs::write(path.join("known-flaws"), format!("{inner_id}\n")).unwrap();
        assert!(refused(&[("receive.fsck.skipList", "known-flaws")]));
    }
    // A push fails where the list is not there.
    let pack = by_hand(&[Part::Whole(3, b"x")]);
    let failed = receive(&configured(&path, &[("receive.fsck.skipList", "nowhere")]), &pack);
    assert!(matches!(failed, Err(RepoError::Settings { .. })), "{:?}", failed.err());
}

#[test]
fn unchecked_objects_must_still_hang_together_and_be_readable() {
    let lab = Lab::new();
    let (_, path) = lab.create("app");
    let off = configured(&path, &[("receive.fsckObjects", "false")]);
    let far = tree_of(&[("100644", "a", blob_id(b"nobody has this"))]);
    let far_id = git_in(&path, &["hash-object", "-t", "tree", "--stdin"], &far);
    let far_id = oid(std::str::from_utf8(&far_id).unwrap());
    let received = receive(&off, &by_hand(&[Part::Whole(2, &far)])).unwrap();
    assert!(matches!(connected(&received, &[far_id]), Err(RepoError::NotConnected { .. })));
    for (code, data) in [(2, &far[..far.len() - 1]), (1, b"tree x\n\n"), (1, b"tree"), (4, b"object x\n\n")] {
        let refused = receive(&off, &by_hand(&[Part::Whole(code, data)]));
        assert!(matches!(refused, Err(RepoError::BadObject { .. })), "{:?}", refused.err());
    }
    // A tree that is made from one which breaks a rule is looked at as a whole.
    let (a, b) = (("100644", "a", blob_id(b"x")), ("100644", "b", blob_id(b"x")));
    let (unsorted, longer) = (tree_of(&[b, a]), tree_of(&[b, a, ("100644", "c", blob_id(b"x"))]));
    let mut delta = [number(unsorted.len()), number(longer.len())].concat();
    delta.extend([0x90, unsorted.len() as u8, (longer.len() - unsorted.len()) as u8]);
    delta.extend_from_slice(&longer[unsorted.len()..]);
    let base = git_in(&path, &["hash-object", "-t", "tree", "--literally", "--stdin"], &unsorted);
    std::fs::write(path.join("list"), &base).unwrap();
    let listed = configured(&path, &[("receive.fsck.skipList", "list")]);
    let parts = [Part::Whole(2, &unsorted), Part::Ofs(0, delta), Part::Whole(3, b"x")];
    for limits in [ReceiveLimits::default(), as_if_large()] {
        let refused = receive_with(&listed, &by_hand(&parts), &limits);
        assert!(matches!(refused, Err(RepoError::BadObject { .. })), "{:?}", refused.err());
        receive_with(&listed, &by_hand(&[Part::Whole(2, &unsorted)]), &limits).unwrap();
    }
}
