//! Pages read what git shows: revisions, files, logs, differences and archives of wild histories, with stock git as
//! the oracle.

mod wild;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use slipway_core::Oid;
use slipway_core::accept::Incoming;
use slipway_repository::*;

use crate::support::*;

/// A repository with a wild history in it.
struct Wild {
    _lab: Lab,
    path: PathBuf,
    snapshot: Arc<Snapshot>,
}

impl Wild {
    fn new(seed: u64, commits: usize) -> Self {
        let lab = Lab::new();
        let (repository, path) = lab.create("wild");
        git_in(&path, &["fast-import", "--quiet", "--force"], &wild::stream(seed, commits));
        let snapshot = repository.snapshot().unwrap();
        Self { _lab: lab, path, snapshot }
    }

    fn commits(&self) -> Vec<Oid> {
        git(&self.path, &["rev-list", "--all"]).lines().map(oid).collect()
    }

    fn tips(&self) -> Vec<Oid> {
        let all = git(&self.path, &["for-each-ref", "--format=%(objectname)", "refs/heads"]);
        all.lines().map(oid).collect()
    }

    /// Every path that ever was, folders too, as git's bytes.
    fn paths(&self) -> BTreeSet<Vec<u8>> {
        let mut paths = BTreeSet::new();
        for commit in self.commits() {
            for path in nul_separated(&git_in(
                &self.path,
                &["ls-tree", "-rtz", "--name-only", &commit.to_string()],
                b"",
            )) {
                paths.insert(path);
            }
        }
        paths
    }
}

fn nul_separated(raw: &[u8]) -> Vec<Vec<u8>> {
    raw.split(|&b| b == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Runs git with arguments that need not be UTF-8.
fn git_bytes(dir: &Path, args: &[&[u8]]) -> Vec<u8> {
    let output = Command::new("git")
        .args(args.iter().map(|a| OsStr::from_bytes(a)))
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn lines_of(raw: &[u8]) -> Vec<String> {
    String::from_utf8(raw.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

/// git's bytes as our text: what the walks hand out for them, worked out anew.
fn text(raw: &[u8]) -> String {
    let mut out = String::new();
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if ('\u{F780}'..='\u{F7FF}').contains(&c) {
                out.extend(c.to_string().bytes().map(|b| char::from_u32(0xF700 + u32::from(b)).unwrap()));
            } else {
                out.push(c);
            }
        }
        out.extend(chunk.invalid().iter().map(|&b| char::from_u32(0xF700 + u32::from(b)).unwrap()));
    }
    out
}

fn plenty() -> Budget {
    Budget { deadline: Instant::now() + Duration::from_secs(60), commits_max: 1_000_000 }
}

fn ids(page: &LogPage) -> Vec<String> {
    page.commits.iter().map(|c| c.id.to_string()).collect()
}

const SEEDS: std::ops::Range<u64> = 1..9;

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

#[test]
fn revisions_are_gits() {
    let wild = Wild::new(5, 80);
    let first = wild.tips()[0].to_string();
    // A tag and a branch of one name, and names that look like something else.
    git(&wild.path, &["update-ref", "refs/tags/b1", &first]);
    git(&wild.path, &["update-ref", "refs/heads/feature/x", &first]);
    git(&wild.path, &["update-ref", "refs/heads/cafe", &first]);
    let repositories = &wild._lab.repositories;
    let snapshot = repositories.get(&"wild".parse().unwrap()).unwrap().snapshot().unwrap();
    let tag = git(&wild.path, &["for-each-ref", "--format=%(refname:short)", "--count=1", "refs/tags/t*"]);
    let mut revisions: Vec<String> = [
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
    ]
    .map(str::to_owned)
    .to_vec();
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

fn limits() -> DiffLimits {
    DiffLimits { files_max: 1000, lines_max: 100_000, blob_bytes_max: 1 << 20, context: 3 }
}

/// A file's change as `git diff-tree --raw` and `--numstat` tell it.
type Told = (char, String, String, String, String, Option<(usize, usize)>);

fn told_by_git(path: &Path, old: &str, new: &str) -> Vec<Told> {
    let args = ["diff-tree", "-r", "-M", "-z", "--raw", "--numstat", "--diff-algorithm=histogram", old, new];
    let raw = git_in(path, &args, b"");
    let mut fields = raw.split(|&b| b == 0).peekable();
    let (mut told, mut same) = (Vec::new(), Vec::new());
    while fields.peek().is_some_and(|f| f.starts_with(b":")) {
        let head = String::from_utf8(fields.next().unwrap().to_vec()).unwrap();
        let words: Vec<&str> = head.trim_start_matches(':').split(' ').collect();
        let status = words[4].chars().next().unwrap();
        let from = text(fields.next().unwrap());
        let to = if status == 'R' { text(fields.next().unwrap()) } else { from.clone() };
        // Nobody needs to read a content that stayed the same to count its lines.
        same.push(words[2] == words[3]);
        told.push((status, from, to, words[0].to_owned(), words[1].to_owned(), None));
    }
    for (change, same) in told.iter_mut().zip(same) {
        let head = String::from_utf8_lossy(fields.next().unwrap()).into_owned();
        let words: Vec<&str> = head.split('\t').collect();
        change.5 = if same { Some((0, 0)) } else { words[0].parse().ok().zip(words[1].parse().ok()) };
        if words[2].is_empty() {
            fields.next();
            fields.next();
        }
    }
    told
}

fn told_by_us(diff: &Diff) -> Vec<Told> {
    let mode = |m: Option<Mode>| m.map_or("000000", Mode::octal).to_owned();
    let told = |f: &FileDiff| {
        let status = match f.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Removed => 'D',
            ChangeKind::Modified => 'M',
            ChangeKind::Renamed => 'R',
            ChangeKind::TypeChanged => 'T',
        };
        let counts = (!f.binary).then_some((f.added, f.removed));
        (status, f.old_path.clone(), f.new_path.clone(), mode(f.old_mode), mode(f.new_mode), counts)
    };
    diff.files.iter().map(told).collect()
}

#[test]
fn differences_are_gits() {
    let mut renames = 0;
    for seed in SEEDS {
        let wild = Wild::new(seed, 60);
        let commits = wild.commits();
        let mut random = Random(seed);
        for _ in 0..80 {
            let mut pick = || commits[random.below(commits.len() as u64) as usize];
            let (a, b) = (pick(), pick());
            let theirs = told_by_git(&wild.path, &a.to_string(), &b.to_string());
            let diff = wild.snapshot.diff(Some(&a), &b, &limits()).unwrap();
            assert!(!diff.cut && diff.files.iter().all(|f| !f.cut));
            let ours = told_by_us(&diff);
            renames += ours.iter().filter(|t| t.0 == 'R' && t.5 != Some((0, 0))).count();
            assert_alike(&ours, &theirs, &format!("seed {seed}: git diff {a} {b}"));
            check_hunks(&wild, &diff, &a, &b);
        }
        let root = commits.last().unwrap();
        let theirs = told_by_git(&wild.path, "4b825dc642cb6eb9a060e54bf8d69288fbee4904", &root.to_string());
        assert_eq!(told_by_us(&wild.snapshot.diff(None, root, &limits()).unwrap()), theirs);
    }
    assert!(renames > 20, "the histories hold renames with changes: {renames}");
}

/// The same files, and as many lines more than gone. Two histogram diffs may still differ by a line or two in what
/// they take for common.
fn assert_alike(ours: &[Told], theirs: &[Told], hint: &str) {
    let files = |told: &[Told]| -> Vec<_> {
        let net = |(added, removed): (usize, usize)| added as isize - removed as isize;
        told.iter().map(|t| (t.0, t.1.clone(), t.2.clone(), t.3.clone(), t.4.clone(), t.5.map(net))).collect()
    };
    assert_eq!(files(ours), files(theirs), "{hint}");
    for (our, their) in ours.iter().zip(theirs) {
        let (our, their) = (our.5.unwrap_or_default().0, their.5.unwrap_or_default().0);
        assert!(our.abs_diff(their) <= 2 + their / 4, "{hint}: {our} lines, {their} by git");
    }
}

/// The hunks turn each old file into the new one.
fn check_hunks(wild: &Wild, diff: &Diff, old: &Oid, new: &Oid) {
    let content = |commit: &Oid, path: &str, mode: Option<Mode>| -> Vec<u8> {
        let entry = mode.map(|_| wild.snapshot.entry(commit, path).unwrap().unwrap());
        match entry {
            None => Vec::new(),
            Some(e) if e.mode == Mode::Submodule => format!("Subproject commit {}\n", e.id).into_bytes(),
            Some(e) => wild.snapshot.object(&e.id, 1 << 20).unwrap().unwrap().data,
        }
    };
    for file in diff.files.iter().filter(|f| !f.binary) {
        let before = content(old, &file.old_path, file.old_mode);
        let after = content(new, &file.new_path, file.new_mode);
        let rows: Vec<&[u8]> = before.split_inclusive(|&b| b == b'\n').collect();
        let mut out: Vec<u8> = Vec::new();
        let mut at = 0;
        for hunk in &file.hunks {
            let start = hunk.old.start as usize - 1;
            out.extend(rows[at..start].concat());
            at = start;
            for line in &hunk.lines {
                at += usize::from(line.kind != LineKind::Added);
                if line.kind != LineKind::Removed {
                    out.extend(line.text.as_bytes());
                    out.extend(if line.no_newline { "" } else { "\n" }.as_bytes());
                }
            }
            assert_eq!(at + 1, hunk.old.end as usize);
        }
        out.extend(rows[at..].concat());
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&after), "{}", file.new_path);
    }
}

#[test]
fn diff_limits_are_kept_and_told() {
    let wild = Wild::new(7, 60);
    let sized = |id: &Oid| wild.snapshot.diff(None, id, &limits()).unwrap().files.len();
    let commits = [wild.commits().into_iter().max_by_key(sized).unwrap()];
    let whole = wild.snapshot.diff(None, &commits[0], &limits()).unwrap();
    assert!(whole.files.len() > 4);
    let few = wild.snapshot.diff(None, &commits[0], &DiffLimits { files_max: 3, ..limits() }).unwrap();
    assert!(few.cut && few.files.len() == 3);
    let short = wild.snapshot.diff(None, &commits[0], &DiffLimits { lines_max: 10, ..limits() }).unwrap();
    let shown: usize = short.files.iter().flat_map(|f| &f.hunks).map(|h| h.lines.len()).sum();
    assert!(shown <= 10 && short.files.iter().any(|f| f.cut) && !short.cut);
    assert_eq!((short.added, short.removed), (whole.added, whole.removed), "counts need no room");
    let small = wild.snapshot.diff(None, &commits[0], &DiffLimits { blob_bytes_max: 8, ..limits() }).unwrap();
    assert!(small.files.iter().any(|f| f.cut && f.hunks.is_empty() && !f.binary));
}

fn archive(wild: &Snapshot, commit: &Oid, prefix: &str) -> Vec<u8> {
    let mut packed = Vec::new();
    wild.archive(commit, prefix, &mut packed, &AtomicBool::new(false)).unwrap();
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut tar).unwrap();
    tar
}

#[test]
fn an_archive_is_gits_byte_for_byte() {
    for seed in SEEDS {
        let wild = Wild::new(seed, 30);
        for commit in wild.commits().iter().take(6) {
            for prefix in ["", "app-1.0/", "a/b/"] {
                let args = ["archive", "--format=tar", &format!("--prefix={prefix}"), &commit.to_string()];
                let theirs = git_in(&wild.path, &args, b"");
                assert!(
                    archive(&wild.snapshot, commit, prefix) == theirs,
                    "seed {seed}, {commit}, {prefix:?}"
                );
            }
        }
    }
}

#[test]
fn an_archive_takes_long_names_and_obeys_export_ignore() {
    let lab = Lab::new();
    let (repository, path) = lab.create("long");
    let mut stream = String::from("commit refs/heads/main\ncommitter C <c@x> 1700000000 +0000\ndata 1\nm\n");
    let mut add = |mode: &str, path: &str, text: &str| {
        stream += &format!("M {mode} inline {path}\ndata {}\n{text}\n", text.len());
    };
    add(
        "100644",
        ".gitattributes",
        "*.secret export-ignore\n/docs export-ignore\nkeep.secret -export-ignore\n[attr]gone export-ignore\n*.old gone\n",
    );
    add("100644", "a.secret", "no");
    add("100644", "keep.secret", "yes");
    add("100644", "x.old", "no");
    add("100644", "docs/manual.txt", "no");
    add("100644", "inner/docs/manual.txt", "yes");
    add("100644", "inner/.gitattributes", "local.* export-ignore\n");
    add("100644", "inner/local.txt", "no");
    add("100644", "local.txt", "yes");
    add("100644", "only/one.secret", "the folder is empty then");
    add("120000", "link", &"far/".repeat(40));
    for deep in [60, 90, 99, 100, 101, 150, 240, 260, 400] {
        add("100755", &format!("n/{}/f", "d".repeat(deep)), "deep");
        add("100644", &format!("m/{}", "e".repeat(deep)), "long");
        add("100644", &format!("p/{}", "abcdefg/".repeat(deep / 8) + "end"), "parts");
    }
    git_in(&path, &["fast-import", "--quiet"], stream.as_bytes());
    let snapshot = repository.snapshot().unwrap();
    let commit = snapshot.resolve("main").unwrap().unwrap();
    for prefix in ["", "v/"] {
        let theirs = git_in(&path, &["archive", "--format=tar", &format!("--prefix={prefix}"), "main"], b"");
        let ours = archive(&snapshot, &commit, prefix);
        let differs = ours.chunks(512).zip(theirs.chunks(512)).position(|(a, b)| a != b);
        let shown = differs.map(|at| {
            let block = |tar: &[u8]| String::from_utf8_lossy(&tar[at * 512..][..512]).into_owned();
            (block(&ours), block(&theirs))
        });
        assert_eq!(shown, None);
        assert_eq!(ours.len(), theirs.len());
    }
    assert!(matches!(
        snapshot.archive(&commit, "../x", &mut Vec::new(), &AtomicBool::new(false)),
        Err(RepoError::Invalid { .. })
    ));
    let stopped = snapshot.archive(&commit, "", &mut Vec::new(), &AtomicBool::new(true));
    assert!(matches!(stopped, Err(RepoError::Stopped)));
}

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
        broken(snapshot.archive(&id, "", &mut Vec::new(), &AtomicBool::new(false)));
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
    let repository = wild._lab.repositories.get(&"wild".parse().unwrap()).unwrap();
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
