//! Logs, last changes, merge bases.

use super::*;

#[test]
fn the_log_is_gits_in_pages_of_any_size() {
    for seed in SEEDS {
        let wild = Wild::new(seed, 80);
        for tip in wild.tips() {
            let theirs = lines_of(&git_in(&wild.path, &["log", "--format=%H", &tip.to_string()], b""));
            let whole = wild.snapshot.log(&tip, None, 0, 1000, &plenty()).unwrap();
            assert_eq!(ids(&whole), theirs, "seed {seed}");
            assert!(!whole.more && !whole.cut);
            let mut paged = Vec::new();
            loop {
                let page = wild.snapshot.log(&tip, None, paged.len(), 7, &plenty()).unwrap();
                paged.extend(ids(&page));
                assert_eq!(page.more, paged.len() < theirs.len());
                if !page.more {
                    break;
                }
            }
            assert_eq!(paged, theirs);
        }
    }
}

#[test]
fn the_log_of_a_path_is_gits() {
    for seed in SEEDS {
        let wild = Wild::new(seed, 60);
        let tip = *wild.tips().last().unwrap();
        for path in wild.paths() {
            let revision = tip.to_string();
            let args: [&[u8]; 6] =
                [b"--literal-pathspecs", b"log", b"--format=%H", revision.as_bytes(), b"--", path.as_slice()];
            let theirs = lines_of(&git_bytes(&wild.path, &args));
            let ours = wild.snapshot.log(&tip, Some(&text(&path)), 0, 1000, &plenty()).unwrap();
            assert_eq!(ids(&ours), theirs, "seed {seed}, path {:?}", text(&path));
        }
        let never = wild.snapshot.log(&tip, Some("no/such"), 0, 10, &plenty()).unwrap();
        assert!(never.commits.is_empty() && !never.more);
        assert!(wild.snapshot.log(&tip, Some("../x"), 0, 10, &plenty()).unwrap().commits.is_empty());
    }
}

#[test]
fn the_last_change_of_each_entry_is_gits() {
    for seed in SEEDS {
        let wild = Wild::new(seed, 60);
        for tip in wild.tips() {
            let mut folders = vec![Vec::new()];
            let trees = git_in(&wild.path, &["ls-tree", "-rdz", "--name-only", &tip.to_string()], b"");
            folders.extend(nul_separated(&trees));
            for folder in folders {
                let ours = wild.snapshot.last_changes(&tip, &text(&folder), &plenty()).unwrap();
                let entry = wild.snapshot.entry(&tip, &text(&folder)).unwrap().unwrap();
                if entry.mode == Mode::Submodule {
                    assert!(ours.is_empty());
                    continue;
                }
                let entries = wild.snapshot.entries(&entry.id).unwrap();
                assert_eq!(ours.len(), entries.len());
                for (name, commit) in ours {
                    let full = if folder.is_empty() { name } else { format!("{}/{name}", text(&folder)) };
                    let page = wild.snapshot.log(&tip, Some(&full), 0, 1, &plenty()).unwrap();
                    assert_eq!(page.commits[0], commit, "seed {seed}, {full}");
                }
            }
        }
    }
}

#[test]
fn a_budget_cuts_the_walk_and_says_so() {
    let wild = Wild::new(3, 80);
    let tip = *wild.tips().last().unwrap();
    let few = |commits_max| Budget { commits_max, ..plenty() };
    // The first page never looks further than one commit past its end.
    let page = wild.snapshot.log(&tip, None, 0, 10, &few(11)).unwrap();
    assert!(page.commits.len() == 10 && page.more && !page.cut);
    let page = wild.snapshot.log(&tip, None, 0, 10, &few(5)).unwrap();
    assert!(page.commits.len() == 5 && page.more && page.cut);
    let page = wild.snapshot.log(&tip, Some("a"), 0, 10, &few(3)).unwrap();
    assert!(page.cut && page.commits.len() <= 3);
    let late = Budget { deadline: Instant::now(), ..plenty() };
    assert!(wild.snapshot.log(&tip, None, 0, 10, &late).unwrap().cut);
    assert!(wild.snapshot.last_changes(&tip, "", &late).unwrap().is_empty());
}

#[test]
fn merge_bases_and_ancestry_are_gits() {
    for seed in SEEDS {
        let wild = Wild::new(seed, 50);
        let commits = wild.commits();
        let mut random = Random(seed);
        for _ in 0..60 {
            let mut pick = || commits[random.below(commits.len() as u64) as usize];
            let (a, b) = (pick(), pick());
            let (x, y) = (a.to_string(), b.to_string());
            let output = git_raw(&wild.path, &["merge-base", "--all", &x, &y], b"");
            let theirs = lines_of(&output.stdout);
            let ours = wild.snapshot.merge_base(&a, &b).unwrap();
            match ours {
                None => assert!(theirs.is_empty()),
                Some(base) => assert!(theirs.contains(&base.to_string()), "seed {seed}: {a} {b}"),
            }
            let theirs = git_raw(&wild.path, &["merge-base", "--is-ancestor", &x, &y], b"").status.success();
            assert_eq!(wild.snapshot.is_ancestor(&a, &b).unwrap(), theirs, "seed {seed}: {a} {b}");
        }
    }
}
