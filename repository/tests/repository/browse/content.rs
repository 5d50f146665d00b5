//! Folders, files, revisions and commits.

use super::*;

#[test]
fn folders_and_files_are_gits() {
    for seed in SEEDS {
        let wild = Wild::new(seed, 40);
        for commit in wild.commits() {
            let revision = commit.to_string();
            let theirs = nul_separated(&git_in(&wild.path, &["ls-tree", "-rz", &revision], b""));
            let mut ours = Vec::new();
            let mut paths = Vec::new();
            let mut each = |e: &Entry| {
                let kind = if e.mode == Mode::Submodule { "commit" } else { "blob" };
                ours.push(format!("{} {kind} {}\t{}", e.mode.octal(), e.id, e.name));
                paths.push(e.name.clone());
                Ok(true)
            };
            wild.snapshot.walk_files(&commit, "", &mut each).unwrap();
            let theirs: Vec<String> = theirs.iter().map(|line| text(line)).collect();
            assert_eq!(ours, theirs, "seed {seed}");
            for path in paths {
                let entry = wild.snapshot.entry(&commit, &path).unwrap().unwrap();
                assert_eq!(path.rsplit('/').next(), Some(entry.name.as_str()));
            }
            let theirs: BTreeSet<String> =
                nul_separated(&git_in(&wild.path, &["ls-tree", "-lz", &revision], b""))
                    .iter()
                    .map(|l| text(l))
                    .collect();
            let entries = wild.snapshot.entries(&commit).unwrap();
            let shown = |e: &Entry| {
                let kind = match e.mode {
                    Mode::Tree => "tree",
                    Mode::Submodule => "commit",
                    _ => "blob",
                };
                let size = e.size.map_or("-".to_owned(), |s| s.to_string());
                format!("{} {kind} {} {size:>7}\t{}", e.mode.octal(), e.id, e.name)
            };
            assert_eq!(entries.iter().map(shown).collect::<BTreeSet<_>>(), theirs);
            assert!(entries.is_sorted_by_key(|e| e.mode != Mode::Tree), "folders first");
        }
        let commit = wild.commits()[0];
        assert!(matches!(
            wild.snapshot.walk_files(&commit, "no/such", &mut |_| Ok(true)),
            Err(RepoError::NoSuchPath { .. })
        ));
        for outside in ["..", "../wild.git/HEAD", "a/../../x", "no/such", "a\0"] {
            assert_eq!(wild.snapshot.entry(&commit, outside).unwrap(), None);
        }
    }
}

/// Revisions that are there, that are not, and that are none.
const REVISIONS: [&str; 33] = [
    "HEAD",
    "@",
    "main",
    "b1",
    "heads/b1",
    "tags/b1",
    "refs/heads/main",
    "feature/x",
    "cafe",
    "main~3",
    "main^",
    "main^2",
    "main~2^2~1",
    "@~1^0",
    "HEAD^{tree}",
    "main^{}",
    "none",
    "refs/heads/none",
    "main~9999",
    "b9^",
    "",
    "^",
    "~",
    "HEAD~",
    "main^9",
    "@^{commit}",
    "main^{nonsense}",
    "..",
    "main..b1",
    "a b",
    "deadbeef",
    "zzzz",
    "main^{object}",
];

#[test]
fn revisions_are_gits() {
    let wild = Wild::new(5, 80);
    let first = wild.tips()[0].to_string();
    // A tag and a branch of one name, and names that look like something else.
    git(&wild.path, &["update-ref", "refs/tags/b1", &first]);
    git(&wild.path, &["update-ref", "refs/heads/feature/x", &first]);
    git(&wild.path, &["update-ref", "refs/heads/cafe", &first]);
    let snapshot = wild._lab.get("wild").snapshot().unwrap();
    let tag = git(&wild.path, &["for-each-ref", "--format=%(refname:short)", "--count=1", "refs/tags/t*"]);
    let mut revisions: Vec<String> = REVISIONS.map(str::to_owned).to_vec();
    revisions.extend([
        tag.clone(),
        format!("{tag}^{{}}"),
        format!("{tag}^"),
        format!("{tag}^0"),
        format!("{tag}~2"),
    ]);
    revisions.extend([format!("{tag}^{{commit}}"), format!("{tag}^{{tree}}"), format!("{tag}^{{object}}")]);
    for commit in wild.commits() {
        let hex = commit.to_string();
        revisions.extend([
            hex[..7].to_owned(),
            hex[..10].to_uppercase(),
            hex.clone(),
            format!("{}^", &hex[..9]),
        ]);
    }
    for revision in revisions {
        let output = git_raw(&wild.path, &["rev-parse", "--verify", "-q", &revision], b"");
        let theirs =
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned());
        // git parses a range as a revision that hides another.
        let ours = snapshot.resolve(&revision).unwrap().map(|id| id.to_string());
        assert_eq!(ours, theirs, "{revision:?}");
    }
    assert_eq!(snapshot.resolve(&"f".repeat(40)).unwrap(), None, "an id that nothing has");
    assert_eq!(snapshot.resolve(&"x".repeat(9999)).unwrap(), None);
}

#[test]
fn an_ambiguous_short_id_is_told_with_its_candidates() {
    let lab = Lab::new();
    let (repository, path) = lab.create("many");
    // With 3000 blobs some share their first four digits.
    let mut stream = String::from("commit refs/heads/main\ncommitter C <c@x> 1700000000 +0000\ndata 1\nm\n");
    for n in 0..3000 {
        let text = format!("{n}");
        stream += &format!("M 100644 inline f{n}\ndata {}\n{text}\n", text.len());
    }
    git_in(&path, &["fast-import", "--quiet"], stream.as_bytes());
    let snapshot = repository.snapshot().unwrap();
    let mut by_prefix: std::collections::HashMap<String, Vec<Oid>> = Default::default();
    for (id, _, _) in all_objects(&path) {
        by_prefix.entry(id.to_string()[..4].to_owned()).or_default().push(id);
    }
    let (prefix, mut wanted) =
        by_prefix.iter().find(|(_, ids)| ids.len() > 1).map(|(p, i)| (p.clone(), i.clone())).unwrap();
    match snapshot.resolve(&prefix) {
        Err(RepoError::AmbiguousRev { rev, mut candidates }) => {
            candidates.sort();
            wanted.sort();
            assert_eq!((rev, candidates), (prefix.clone(), wanted));
        }
        other => panic!("{other:?}"),
    }
    let only = by_prefix.values().find(|ids| ids.len() == 1).unwrap()[0];
    assert_eq!(snapshot.resolve(&only.to_string()[..4]).unwrap(), Some(only));
    assert_eq!(snapshot.resolve(&prefix[..3]).unwrap(), None);
}

#[test]
fn commits_are_shown_as_git_shows_them() {
    let wild = Wild::new(2, 10);
    for commit in wild.commits() {
        let format = "--format=%H%n%T%n%P%n%an%n%ae%n%at%n%cn%n%ce%n%ct%n%s";
        let theirs = git(&wild.path, &["log", "-1", format, &commit.to_string()]);
        let c = wild.snapshot.commit(&commit).unwrap().unwrap();
        let parents: Vec<String> = c.parents.iter().map(Oid::to_string).collect();
        let ours = format!(
            "{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}",
            c.id,
            c.tree,
            parents.join(" "),
            c.author.name,
            c.author.email,
            c.author.at,
            c.committer.name,
            c.committer.email,
            c.committer.at,
            c.subject()
        );
        assert_eq!(ours, theirs);
        assert_eq!((c.author.offset_minutes, c.committer.offset_minutes), (-210, 60));
    }
    let tree = wild.snapshot.commit(&wild.commits()[0]).unwrap().unwrap().tree;
    assert_eq!(wild.snapshot.commit(&tree).unwrap(), None);
}
