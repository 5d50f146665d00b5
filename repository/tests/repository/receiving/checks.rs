//! Objects that break the format, or are here with other content.

use super::*;

#[test]
fn an_object_that_is_here_with_other_content_is_refused() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    let ours = b"good content\n";
    // As if the hash had been broken: other bytes of the same length under the id.
    let other = git_in(&path, &["hash-object", "-w", "--stdin"], b"evil content\n");
    let other = oid(std::str::from_utf8(&other).unwrap()).to_string();
    let id = blob_id(ours).to_string();
    std::fs::create_dir_all(path.join("objects").join(&id[..2])).unwrap();
    std::fs::rename(
        path.join("objects").join(&other[..2]).join(&other[2..]),
        path.join("objects").join(&id[..2]).join(&id[2..]),
    )
    .unwrap();
    for pack in [
        by_hand(&[Part::Whole(3, ours)]),
        by_hand(&[
            Part::Whole(3, b"good"),
            Part::Ofs(0, [number(4), number(13), vec![0x90, 4, 9], b" content\n".to_vec()].concat()),
        ]),
    ] {
        assert!(matches!(receive(&repository, &pack), Err(RepoError::Collision { .. })));
    }
}

#[test]
fn objects_that_break_the_format_are_refused() {
    let lab = Lab::new();
    let (repository, _) = lab.create("app");
    let mut tree = b"40000 .git\0".to_vec();
    tree.extend([1; 20]);
    assert!(matches!(
        receive(&repository, &by_hand(&[Part::Whole(2, &tree)])),
        Err(RepoError::BadObject { .. })
    ));
    assert!(matches!(
        receive(&repository, &by_hand(&[Part::Whole(1, b"tree x\n")])),
        Err(RepoError::BadObject { .. })
    ));
    // A .gitmodules that would have a client run a command.
    let modules = b"[submodule \"x\"]\n\tpath = x\n\turl = -oProxyCommand=evil/x\n";
    let mut tree = b"100644 .gitmodules\0".to_vec();
    tree.extend_from_slice(blob_id(modules).as_bytes());
    let pack = by_hand(&[Part::Whole(2, &tree), Part::Whole(3, modules)]);
    assert!(matches!(receive(&repository, &pack), Err(RepoError::BadObject { .. })));
    // A commit whose tree is a blob.
    let blob = blob_id(b"x");
    let who = "A <a@example.org> 1700000000 +0000";
    let commit = format!("tree {blob}\nauthor {who}\ncommitter {who}\n\nx\n");
    let pack = by_hand(&[Part::Whole(3, b"x"), Part::Whole(1, commit.as_bytes())]);
    assert!(matches!(receive(&repository, &pack), Err(RepoError::BadObject { .. })));
}

/// Rules of git's that this server leaves out on purpose (old histories break them), and two that are no errors there.
const LENIENT: &str = "--fsck-objects=zeroPaddedFilemode=ignore,badTimezone=ignore,badDateOverflow=ignore,\
                       badFilemode=ignore,nulInCommit=ignore,largePathname=ignore,extraHeaderEntry=ignore";

#[test]
fn a_changed_object_gets_gits_verdict() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 81, 40);
    let judge = lab.bare("judge.git");
    let (repository, _) = lab.create("app");
    let mut random = Random(5);
    let mut objects = Vec::new();
    for (id, kind, _) in all_objects(&source) {
        let code = match kind.as_str() {
            "commit" => 1,
            "tree" => 2,
            "tag" => 4,
            _ => continue,
        };
        objects.push((code, git_in(&source, &["cat-file", &kind, &id.to_string()], b"")));
    }
    let mut refused = 0;
    for round in 0..150 {
        let (code, data) = &objects[random.below(objects.len() as u64) as usize];
        let mut data = data.clone();
        for _ in 0..=random.below(2) {
            let at = random.below(data.len() as u64) as usize;
            match random.below(4) {
                0 => data[at] ^= 1 << random.below(8),
                1 => drop(data.remove(at)),
                2 => data.insert(at, b"\0\n <>/.a0"[random.below(9) as usize]),
                _ => data.truncate(at.max(1)),
            }
        }
        let pack = by_hand(&[Part::Whole(*code, &data)]);
        let limits = if round % 2 == 0 { as_if_large() } else { ReceiveLimits::default() };
        let ours = receive_with(&repository, &pack, &limits);
        let theirs = git_raw(&judge, &["index-pack", "--stdin", LENIENT], &pack);
        let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
        refused += usize::from(ours.is_err());
        let shown = String::from_utf8_lossy(&data);
        match ours.err().map(|e| e.to_string()) {
            None => assert!(theirs.status.success(), "{shown:?} was taken in; git: {said}"),
            // Here a mode is digits; git reads on to the next blank.
            Some(why) if why.contains("is not complete") => {}
            Some(why) if theirs.status.success() => {
                let all_rules = git_raw(&judge, &["index-pack", "--stdin", "--fsck-objects"], &pack);
                assert!(!all_rules.status.success(), "{shown:?} was refused: {why}");
            }
            Some(_) => {}
        }
    }
    assert!((20..140).contains(&refused), "{refused} of 150 were refused: the changes are no test");
}
