//! Commit-graphs against stock git: reading what it wrote, it reading what is written here, and broken files.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use slipway_core::Oid;

use super::bloom::{ChangedPaths, PathKeys, Settings};
use super::write::Writer;
use super::{CommitGraph, chain};

/// The gits of this machine: a new one and an old one, where both are installed.
fn gits() -> Vec<PathBuf> {
    let known = ["/usr/local/bin/git", "/usr/bin/git"].map(PathBuf::from);
    let found: Vec<_> = known.into_iter().filter(|path| path.exists()).collect();
    if found.is_empty() { vec!["git".into()] } else { found }
}

fn run(git: &Path, dir: &Path, args: &[&str], input: &[u8]) -> String {
    let mut git = Command::new(git);
    git.args(["-c", "core.quotePath=false"]).args(args).current_dir(dir).env_clear();
    git.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().ok();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A repository with merges, an octopus, two roots, skewed dates, names beyond ASCII, an empty commit and a huge one.
struct Lab {
    dir: tempfile::TempDir,
    git: PathBuf,
    hash_len: usize,
    far_date: u64,
}

/// What git says of a commit.
struct Known {
    tree: Oid,
    parents: Vec<Oid>,
    date: i64,
    changed: Vec<String>,
}

impl Lab {
    fn new(git: &Path, hash_len: usize) -> Self {
        Self::with_far_date(git, hash_len, 4_000_000_000)
    }

    fn with_far_date(git: &Path, hash_len: usize, far_date: u64) -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap(), git: git.to_owned(), hash_len, far_date };
        let format = if hash_len == 20 { "--object-format=sha1" } else { "--object-format=sha256" };
        lab.git(&["init", "-q", "--bare", format, "."]);
        lab.import(0..90);
        lab
    }

    fn git(&self, args: &[&str]) -> String {
        run(&self.git, self.dir.path(), args, b"")
    }

    /// Commits of the branch `main` by number, each on the one before; some merge older ones.
    fn import(&self, numbers: std::ops::Range<u64>) {
        let mut stream = String::new();
        let zero = "0".repeat(2 * self.hash_len);
        for n in numbers.clone() {
            let date = if n % 7 == 3 { 1_700_000_000 - n * 500 } else { 1_700_000_000 + n * 60 };
            // Far ahead of what follows: its descendants' offsets need more than 31 bits.
            let date = if n == 40 { self.far_date } else { date };
            writeln!(stream, "commit refs/heads/main\nmark :{}\ncommitter C <c@x> {date} +0000", n + 1)
                .unwrap();
            writeln!(stream, "data 2\nm\n").unwrap();
            if n == 25 {
                writeln!(stream, "from {zero}").unwrap();
            } else if n == numbers.start && n > 0 {
                writeln!(stream, "from refs/heads/main^0").unwrap();
            }
            let merges = match n {
                26 | 50 => 1,
                60 => 4,
                80 => 2,
                _ => 0,
            };
            for merge in 0..merges {
                writeln!(stream, "merge :{}", n - 3 - merge * 7).unwrap();
            }
            write_files(&mut stream, n);
        }
        run(&self.git, self.dir.path(), &["fast-import", "--quiet", "--force"], stream.as_bytes());
    }

    fn known(&self) -> HashMap<Oid, Known> {
        let args = ["log", "--all", "--diff-merges=first-parent", "--no-renames", "--name-only"];
        let text = self.git(&[&args[..], &["--format=commit %H %T %ct %P"]].concat());
        let mut all: HashMap<Oid, Known> = HashMap::new();
        let mut current = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(head) = line.strip_prefix("commit ") {
                let words: Vec<_> = head.split(' ').collect();
                let id = |word: &str| Oid::parse(word).unwrap();
                let parents = words[3..].iter().filter(|w| !w.is_empty()).map(|w| id(w)).collect();
                let known =
                    Known { tree: id(words[1]), parents, date: words[2].parse().unwrap(), changed: vec![] };
                current = Some(id(words[0]));
                all.insert(id(words[0]), known);
            } else {
                all.get_mut(&current.unwrap()).unwrap().changed.push(line.to_owned());
            }
        }
        all
    }

    fn objects(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    fn open(&self) -> CommitGraph<Vec<u8>> {
        chain::open(&self.objects(), self.hash_len, |path| std::fs::read(path)).unwrap().unwrap()
    }

    fn single(&self) -> Vec<u8> {
        std::fs::read(chain::single_path(&self.objects())).unwrap()
    }
}

fn write_files(stream: &mut String, n: u64) {
    let mut file = |path: &str| {
        writeln!(stream, "M 100644 inline \"{path}\"\ndata {}\n{n}", n.to_string().len()).unwrap();
    };
    match n {
        30 => {}
        31 => (0..600).for_each(|i| file(&format!("many/file{i}"))),
        // 500 files, but more than 512 paths with their folders.
        32 => (0..500).for_each(|i| file(&format!("many/d{}/file{i}", i % 20))),
        // 511 files and one folder: just few enough.
        33 => (0..511).for_each(|i| file(&format!("most/file{i}"))),
        _ => {
            file(&format!("dir{}/sub/file{}.txt", n % 5, n % 11));
            file(&format!("grün/straße{}", n % 9));
            file(&format!("doc/ß{}", n % 9));
            if n.is_multiple_of(4) {
                file("README");
            }
        }
    }
}

/// Level and corrected date by the definition, without recursion: parents come before children.
fn generations(all: &HashMap<Oid, Known>) -> HashMap<Oid, (u32, u64)> {
    let mut done: HashMap<Oid, (u32, u64)> = HashMap::new();
    while done.len() < all.len() {
        for (id, known) in all {
            if let Some(parents) = known.parents.iter().map(|p| done.get(p)).collect::<Option<Vec<_>>>() {
                let level = 1 + parents.iter().map(|p| p.0).max().unwrap_or(0);
                let date = parents.iter().map(|p| p.1 + 1).max().unwrap_or(1).max(known.date as u64);
                done.insert(*id, (level, date));
            }
        }
    }
    done
}

/// Compares everything that the graph says with what git says; `filtered` commits have usable filters.
fn check(graph: &CommitGraph<Vec<u8>>, all: &HashMap<Oid, Known>) {
    assert_eq!(graph.len() as usize, all.len());
    assert!(graph.checksums_hold());
    let generations = generations(all);
    let mut parents = Vec::new();
    for (id, known) in all {
        let at = graph.lookup(id).expect("it is in");
        assert_eq!(graph.id_at(at).unwrap(), *id);
        assert_eq!(graph.tree(at).unwrap(), known.tree);
        assert_eq!(graph.date(at).unwrap(), known.date as u64);
        graph.parents(at, &mut parents).unwrap();
        let ids: Vec<_> = parents.iter().map(|&p| graph.id_at(p).unwrap()).collect();
        assert_eq!(ids, known.parents);
        assert_eq!(graph.level(at).unwrap(), generations[id].0);
        let corrected = Some(generations[id].1).filter(|_| all.values().all(|k| k.date < 0xf000_0000));
        assert_eq!(graph.corrected_date(at).unwrap(), corrected);
    }
    for absent in [Oid::ZERO_SHA1, Oid::Sha1([0xff; 20]), Oid::Sha256([0x80; 32])] {
        assert_eq!(graph.lookup(&absent), None);
    }
    assert!(graph.id_at(graph.len()).is_err() && graph.parents(u32::MAX, &mut parents).is_err());
}

fn check_filters(graph: &CommitGraph<Vec<u8>>, all: &HashMap<Oid, Known>) {
    let (mut wrong, mut asked) = (0, 0);
    let mut paths: Vec<&str> = all.values().flat_map(|k| k.changed.iter().take(3)).map(|p| &p[..]).collect();
    paths.extend(["dir1", "dir1/sub", "grün", "many", "nowhere/at/all", "README/x"]);
    for path in paths {
        let keys = PathKeys::new(path.as_bytes());
        let below = format!("{path}/");
        for (id, known) in all {
            let at = graph.lookup(id).expect("it is in");
            assert!(graph.filter(at).unwrap().is_some());
            let may = graph.may_have_changed(at, &keys).unwrap();
            let did = known.changed.iter().any(|c| c == path || c.starts_with(&below));
            assert!(may || !did, "{id} changed {path}");
            if known.changed.len() < 500 && !did {
                asked += 1;
                wrong += u32::from(may);
            }
        }
    }
    assert!(asked > 1000 && wrong * 30 < asked, "{wrong} of {asked} answers are wrong");
}

/// The graph of the repository as written here.
fn written(all: &HashMap<Oid, Known>, hash_len: usize, filters: bool) -> Vec<u8> {
    let mut writer = Writer::new(hash_len);
    let mut changed = ChangedPaths::default();
    for (id, known) in all {
        known.changed.iter().all(|path| changed.add(path.as_bytes()));
        let filter = changed.filter();
        let filter = if filters { &filter[..] } else { &[] };
        writer.add(id, &known.tree, &known.parents, known.date, filter).unwrap();
    }
    let mut out = Vec::new();
    let checksum = writer.sort().unwrap().write(&mut out).unwrap();
    assert!(out.ends_with(checksum.as_bytes()));
    out
}

#[test]
fn reads_what_git_wrote() {
    for git in gits() {
        for hash_len in [20, 32] {
            let lab = Lab::new(&git, hash_len);
            lab.git(&["commit-graph", "write", "--reachable", "--changed-paths"]);
            let graph = lab.open();
            let all = lab.known();
            check(&graph, &all);
            check_filters(&graph, &all);
            assert_eq!(graph.filter(0).unwrap().unwrap().1.version, 1);
        }
    }
}

#[test]
fn reads_a_chain() {
    for git in gits() {
        let lab = Lab::new(&git, 20);
        let write = ["commit-graph", "write", "--reachable", "--changed-paths", "--split=no-merge"];
        lab.git(&write);
        for numbers in [90..93, 93..120] {
            lab.import(numbers);
            lab.git(&write);
        }
        let graph = lab.open();
        assert_eq!(graph.layers(), 3);
        let all = lab.known();
        check(&graph, &all);
        check_filters(&graph, &all);
        // A file that is gone leaves those below it.
        let list = std::fs::read_to_string(chain::list_path(&lab.objects())).unwrap();
        let top = Oid::parse(list.lines().last().unwrap()).unwrap();
        std::fs::remove_file(chain::layer_path(&lab.objects(), &top)).unwrap();
        assert_eq!(lab.open().layers(), 2);
    }
}

#[test]
fn git_takes_what_is_written() {
    for maker in gits() {
        for (hash_len, filters) in [(20, true), (20, false), (32, true)] {
            let lab = Lab::new(&maker, hash_len);
            let all = lab.known();
            let paths = ["README", "dir1", "grün/straße3", "many", "many/d3/file3", "most", "none", "grün"];
            let log = |git: &Path, path: &str| {
                run(git, lab.dir.path(), &["log", "--format=%H", "main", "--", path], b"")
            };
            let without: Vec<_> = paths.iter().map(|path| log(&maker, path)).collect();
            let file = chain::single_path(&lab.objects());
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, written(&all, hash_len, filters)).unwrap();
            let graph = lab.open();
            check(&graph, &all);
            if filters {
                check_filters(&graph, &all);
            }
            for git in gits() {
                run(&git, lab.dir.path(), &["commit-graph", "verify"], b"");
                run(&git, lab.dir.path(), &["fsck", "--no-dangling"], b"");
                for (path, without) in paths.iter().zip(&without) {
                    assert_eq!(log(&git, path), *without, "{git:?} {path}");
                }
                let order = |graph: &str| {
                    let graph = format!("core.commitGraph={graph}");
                    let args = ["-c", &graph, "log", "--topo-order", "--graph", "--format=%H %ct", "main"];
                    run(&git, lab.dir.path(), &args, b"")
                };
                assert_eq!(order("true"), order("false"));
                // git 2.39 crashes here if the filters are of version 2.
                let ours = lab.single();
                run(&git, lab.dir.path(), &["commit-graph", "write", "--reachable"], b"");
                check(&lab.open(), &all);
                std::fs::remove_file(&file).unwrap();
                std::fs::write(&file, ours).unwrap();
            }
        }
    }
}

/// git and this write the same bytes.
#[test]
fn writes_the_bytes_that_git_writes() {
    for git in gits() {
        let lab = Lab::new(&git, 20);
        lab.git(&["commit-graph", "write", "--reachable", "--changed-paths"]);
        assert_eq!(lab.open().filter(0).unwrap().unwrap().1, Settings::WRITTEN);
        assert!(lab.single() == written(&lab.known(), 20, true), "the files differ");
        lab.git(&["commit-graph", "write", "--reachable", "--no-changed-paths"]);
        assert!(lab.single() == written(&lab.known(), 20, false), "the files without filters differ");
    }
}

/// Filters of version 2, which only newer git writes and only if told to, are read all the same.
#[test]
fn reads_filters_of_version_2() {
    let version = "commitGraph.changedPathsVersion=2";
    for git in gits() {
        let lab = Lab::new(&git, 20);
        lab.git(&["-c", version, "commit-graph", "write", "--reachable", "--changed-paths"]);
        let graph = lab.open();
        let made = graph.filter(0).unwrap().unwrap().1.version;
        assert_eq!(graph.has_newer_filters(), made == 2);
        check_filters(&graph, &lab.known());
    }
}

/// git itself miscounts corrected dates from 2106 on, so they are not taken from any file that has such dates.
#[test]
fn dates_beyond_32_bits_are_kept_but_not_corrected() {
    for git in gits() {
        let lab = Lab::with_far_date(&git, 20, 8_000_000_000);
        let all = lab.known();
        lab.git(&["commit-graph", "write", "--reachable"]);
        check(&lab.open(), &all);
        let file = chain::single_path(&lab.objects());
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, written(&all, 20, true)).unwrap();
        check(&lab.open(), &all);
        gits().iter().for_each(|git| drop(run(git, lab.dir.path(), &["commit-graph", "verify"], b"")));
    }
}

#[test]
fn refuses_what_is_no_history() {
    let id = |n: u8| Oid::Sha1([n; 20]);
    let sort = |commits: &[(u8, &[u8])]| {
        let mut writer = Writer::new(20);
        for (n, parents) in commits {
            let parents: Vec<_> = parents.iter().map(|&p| id(p)).collect();
            writer.add(&id(*n), &id(9), &parents, -5, b"").unwrap();
        }
        writer.sort().map(drop).map_err(|e| e.0)
    };
    assert_eq!(sort(&[(1, &[2, 2]), (2, &[])]), Ok(()));
    assert_eq!(sort(&[]), Ok(()));
    assert_eq!(sort(&[(1, &[]), (1, &[])]), Err("would have a commit twice"));
    assert_eq!(sort(&[(1, &[3]), (2, &[])]), Err("would miss a commit's parent"));
    assert_eq!(sort(&[(1, &[2]), (2, &[3]), (3, &[1])]), Err("would have a commit that is its own ancestor"));
    assert_eq!(sort(&[(1, &[1])]), Err("would have a commit that is its own ancestor"));
    assert!(Writer::new(20).add(&id(1), &Oid::Sha256([1; 32]), &[], 0, b"").is_err());
}

/// Asks a graph everything.
fn ask(graph: &CommitGraph<Vec<u8>>) {
    let keys = PathKeys::new(b"dir1/sub/file1.txt");
    let mut parents = Vec::new();
    for at in (0..graph.len().min(300)).chain([u32::MAX]) {
        let _ = graph.id_at(at).map(|id| graph.lookup(&id));
        let _ = (graph.tree(at), graph.date(at), graph.level(at), graph.corrected_date(at));
        let _ = (graph.parents(at, &mut parents), graph.may_have_changed(at, &keys));
    }
    let _ = graph.checksums_hold();
}

#[test]
fn broken_files_are_errors() {
    let git = gits().remove(0);
    let lab = Lab::new(&git, 20);
    let whole = written(&lab.known(), 20, true);
    for len in (0..whole.len().min(2000)).chain((2000..whole.len()).step_by(97)) {
        let cut = CommitGraph::new([whole[..len].to_vec()], 20);
        assert!(cut.is_err(), "cut to {len} bytes of {}", whole.len());
    }
    assert!(CommitGraph::new([whole.clone()], 32).is_err());
    assert!(CommitGraph::new([whole.clone(), whole.clone()], 20).is_err());
    assert!(CommitGraph::<Vec<u8>>::new([], 20).is_err());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2000));
    let place = prop_oneof![0..whole.len(), 0..1200usize];
    let changes = proptest::collection::vec((place, any::<u8>()), 1..6);
    let case = |changes: Vec<(usize, u8)>| {
        let mut data = whole.clone();
        changes.into_iter().for_each(|(at, byte)| data[at] = byte);
        if let Ok(graph) = CommitGraph::new([data], 20) {
            ask(&graph);
        }
        Ok(())
    };
    runner.run(&changes, case).unwrap();
}
