//! Refs move by compare-and-swap, beside plain git.

use super::*;

#[test]
fn refs_move_by_compare_and_swap_beside_git() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 61, 30);
    let line: Vec<Oid> = git(&path, &["rev-list", "main"]).lines().map(oid).collect();
    let (a, b, c) = (line[0], line[1], line[2]);
    for packed in [false, true] {
        if packed {
            git(&path, &["pack-refs", "--all"]);
        }
        let name = format!("refs/heads/x{packed}");
        set(&repository, &name, None, Some(a)).unwrap();
        let e = set(&repository, &name, None, Some(b)).unwrap_err();
        assert!(
            e.starts_with(&format!("The ref refs/heads/x{packed} has moved: it is at {}", a.short())),
            "{e}"
        );
        assert!(set(&repository, &name, Some(c), Some(b)).is_err());
        set(&repository, &name, Some(a), Some(b)).unwrap();
        assert_eq!(git(&path, &["rev-parse", &name]), b.to_string());
        git(&path, &["pack-refs", "--all"]);
        set(&repository, &name, Some(b), Some(c)).unwrap();
        assert_eq!(git(&path, &["rev-parse", &name]), c.to_string());
        // A name that is a folder of another, loose and packed.
        for clash in [format!("{name}/below"), "refs/heads".to_owned()] {
            let e = set(&repository, &clash, None, Some(a)).unwrap_err();
            assert!(e.contains("cannot be made beside"), "{e}");
        }
        set(&repository, &name, Some(c), None).unwrap();
        assert!(
            git_raw(&path, &["rev-parse", "-q", "--verify", &name], b"").stdout.is_empty(),
            "back from packed-refs"
        );
        set(&repository, &format!("{name}/below"), None, Some(a)).unwrap();
        assert!(set(&repository, &name, None, Some(a)).is_err());
        set(&repository, &format!("{name}/below"), Some(a), None).unwrap();
        set(&repository, &name, None, Some(a)).unwrap();
        git(&path, &["fsck", "--strict"]);
    }
    // A ref to nothing.
    assert!(set(&repository, "refs/heads/nothing", None, Some(blob_id(b"none"))).is_err());
    // Somebody else's lock.
    std::fs::write(path.join("refs/heads/held.lock"), "").unwrap();
    let e = set(&repository, "refs/heads/held", None, Some(a)).unwrap_err();
    assert!(e.contains("is locked by another program"), "{e}");
    repository.set_head(&RefName::branch("xtrue").unwrap()).unwrap();
    assert_eq!(git(&path, &["symbolic-ref", "HEAD"]), "refs/heads/xtrue");
    assert!(repository.set_head(&RefName::tag("t").unwrap()).is_err());
}

#[test]
fn an_atomic_update_moves_all_refs_or_none() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 62, 30);
    let line: Vec<Oid> = git(&path, &["rev-list", "main"]).lines().map(oid).collect();
    let update = |name: &str, old: Oid, new: Oid| RefUpdate { name: RefName::parse(name).unwrap(), old, new };
    let zero = Oid::ZERO_SHA1;
    let good = [update("refs/heads/p", zero, line[0]), update("refs/heads/q", zero, line[1])];
    for bad in [
        update("refs/heads/main", line[3], line[2]),
        update("refs/heads/main/x", zero, line[2]),
        update("refs/heads/p/x", zero, line[2]),
        update("refs/heads/p", zero, line[2]),
        update("refs/heads/gone", line[2], zero),
    ] {
        let all = [&good[..], &[bad]].concat();
        let answers = repository.update(&all, true).unwrap();
        assert!(answers.iter().all(Result::is_err), "{all:?}: {answers:?}");
        assert!(repository.current(&good[0].name).unwrap().is_none());
    }
    assert!(repository.update(&good, true).unwrap().iter().all(Result::is_ok));
    // Not atomic: each by itself, deletes first.
    let mixed = [
        update("refs/heads/p/under", zero, line[0]),
        update("refs/heads/q", zero, line[0]),
        update("refs/heads/p", line[0], zero),
    ];
    let answers: Vec<bool> = repository.update(&mixed, false).unwrap().iter().map(Result::is_ok).collect();
    assert_eq!(answers, [true, false, true]);
    // Many at once.
    let many: Vec<RefUpdate> =
        (0..300).map(|i| update(&format!("refs/tags/v{i}"), zero, line[i % line.len()])).collect();
    assert!(repository.update(&many, true).unwrap().iter().all(Result::is_ok));
    assert_eq!(git(&path, &["tag", "-l", "v*"]).lines().count(), 300);
    git(&path, &["fsck", "--strict"]);
    let gone: Vec<RefUpdate> =
        many.iter().map(|u| RefUpdate { old: u.new, new: zero, ..u.clone() }).collect();
    assert!(repository.update(&gone, true).unwrap().iter().all(Result::is_ok));
    assert_eq!(git(&path, &["tag", "-l", "v*"]), "");
}

#[test]
fn of_concurrent_updates_of_one_ref_one_wins_each_time() {
    let lab = Lab::new();
    let (repository, path) = lab.create("app");
    import(&path, 63, 40);
    let line: Vec<Oid> = git(&path, &["rev-list", "main"]).lines().map(oid).collect();
    set(&repository, "refs/heads/race", None, Some(line[0])).unwrap();
    for round in 1..8 {
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    let repository: &Arc<Repository> = &repository;
                    let (old, new) = (line[round - 1], line[round]);
                    scope.spawn(move || {
                        usize::from(set(repository, "refs/heads/race", Some(old), Some(new)).is_ok())
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
    // Against plain git.
    let mut at = line[7];
    for (n, next) in line.iter().enumerate().skip(8).take(8) {
        let theirs = std::thread::scope(|scope| {
            let git_side = scope.spawn(|| {
                git_raw(&path, &["update-ref", "refs/heads/race", &next.to_string(), &at.to_string()], b"")
                    .status
                    .success()
            });
            let ours = set(&repository, "refs/heads/race", Some(at), Some(*next)).is_ok();
            (ours, git_side.join().unwrap())
        });
        assert!(theirs.0 != theirs.1, "round {n}: {theirs:?}");
        at = *next;
    }
    git(&path, &["fsck", "--strict"]);
}

#[test]
fn git_gc_and_git_push_beside_us_disturb_nothing() {
    let lab = Lab::new();
    let source = lab.bare("source.git");
    import(&source, 71, 100);
    let (repository, path) = lab.create("app");
    let line: Vec<Oid> =
        git(&source, &["rev-list", "--first-parent", "--reverse", "main"]).lines().map(oid).collect();
    let mut old: Option<Oid> = None;
    for (n, new) in line.iter().enumerate() {
        let held = repository.snapshot().unwrap();
        match n % 3 {
            0 => {
                let revs = old.map_or(format!("{new}\n"), |old| format!("{new}\n^{old}\n"));
                let mut received = receive(&repository, &pack_revs(&source, &revs, &["--thin"])).unwrap();
                connected(&received, &[*new]).unwrap();
                received.publish().unwrap();
                set(&repository, "refs/heads/main", old, Some(*new)).unwrap();
            }
            1 => {
                drop(git(&source, &["push", "-q", path.to_str().unwrap(), &format!("{new}:refs/heads/main")]))
            }
            _ => {
                git(&path, &["gc", "-q", "--prune=now"]);
                if let Some(old) = old {
                    assert!(held.object(&old, 1 << 20).unwrap().is_some());
                    assert!(repository.snapshot().unwrap().object(&old, 1 << 20).unwrap().is_some());
                }
                continue;
            }
        }
        old = Some(*new);
        assert_eq!(repository.current(&RefName::branch("main").unwrap()).unwrap(), old);
    }
    judge(&path);
}
