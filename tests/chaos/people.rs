//! Who is at work in the chaos test: people who push, people who clone and fetch, and who looks after the repositories.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::activity::{Activity, Tally};
use super::backups::Backups;
use super::harness::{Person, gits, program, run, text};
use super::record::{Choice, Ledger, Repo, SHARED, Since};

/// What all share.
pub(crate) struct World {
    pub(crate) repos: Vec<Repo>,
    /// What the clerks keep.
    pub(crate) records: Ledger,
    /// The operator's commits that were acknowledged.
    pub(crate) operated: Mutex<Vec<String>>,
    pub(crate) backups: Mutex<Backups>,
    pub(crate) ann: Person,
    pub(crate) data: PathBuf,
    pub(crate) seed: u64,
    pub(crate) stop: AtomicBool,
    /// Even while the server is up, odd from just before it is killed until it is back.
    pub(crate) epoch: AtomicU64,
    pub(crate) counts: Counts,
    pub(crate) tally: Arc<Tally>,
    /// What went wrong though no kill explains it, in words.
    pub(crate) wrong: Mutex<Vec<String>>,
}

/// How much was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: AtomicUsize,
    pub(crate) cut: AtomicUsize,
    pub(crate) behind: AtomicUsize,
    pub(crate) locked: AtomicUsize,
    pub(crate) reads_cut: AtomicUsize,
    pub(crate) maintained: AtomicUsize,
    pub(crate) maintained_fully: AtomicUsize,
    pub(crate) gcs: AtomicUsize,
    pub(crate) gcs_refused: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl World {
    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// True if the server was down at some time since `begun`.
    pub(crate) fn was_down(&self, begun: u64) -> bool {
        begun % 2 == 1 || self.epoch() != begun
    }

    pub(crate) fn blame(&self, what: String) {
        self.wrong.lock().expect("lock").push(what);
    }

    /// What a failed read is put down to.
    pub(crate) fn failed(&self, begun: u64, what: &str, out: &Output) {
        // A branch that was shown may be deleted before it is asked for: git's own server says the same then.
        let moved =
            ["unknown ref refs/heads/", "not our ref"].iter().any(|said| text(&out.stderr).contains(said));
        if moved || self.was_down(begun) {
            count(&self.counts.reads_cut);
        } else {
            self.blame(format!("{what}: {}{}", text(&out.stdout), text(&out.stderr)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Somebody with a work tree and some branches of their own in one repository.
pub(crate) struct Pusher<'a> {
    world: &'a World,
    repo: &'a Repo,
    tree: PathBuf,
    choice: Choice,
    /// Where each branch of theirs stands for them; what they push next goes on top.
    branches: BTreeMap<String, Option<String>>,
    made: usize,
    number: usize,
}

impl<'a> Pusher<'a> {
    pub(crate) fn new(world: &'a World, repo: &'a Repo, number: usize) -> Self {
        let tree = world.ann.home.join(format!("{}-{number}", repo.name));
        fs::create_dir_all(&tree).expect("folder");
        let format = format!("--object-format={}", repo.format);
        world.ann.git(&tree, &["init", "-q", "-b", "main", &format]);
        for (key, value) in [("gc.auto", "0"), ("maintenance.auto", "false")] {
            world.ann.git(&tree, &["config", key, value]);
        }
        let branches = (0..4).map(|n| (format!("p{number}/b{n}"), None)).collect();
        let choice = Choice::new(world.seed * 1000 + number as u64);
        Self { world, repo, tree, choice, branches, made: 0, number }
    }

    pub(crate) fn work(&mut self) {
        while self.world.goes_on() {
            match self.choice.below(20) {
                0..=9 => self.push_some(1, &[]),
                10..=12 => self.push_some(3, &[]),
                13 | 14 => self.push_some(3, &["--atomic"]),
                15 | 16 => self.rewrite(),
                17 => self.delete(),
                _ => self.push_shared(),
            }
        }
    }

    /// Goes on with some branches.
    fn push_some(&mut self, most: usize, how: &[&str]) {
        let names: Vec<String> = self.branches.keys().cloned().collect();
        let mut moves = BTreeMap::new();
        for _ in 0..most {
            let name = self.choice.one_of(&names).clone();
            let base = self.branches[&name].clone();
            let new = self.commit(base.as_deref());
            self.branches.insert(name.clone(), Some(new.clone()));
            moves.insert(name, Some(new));
        }
        self.push(how, &moves);
    }

    /// Goes on with all branches; what git said if one was not taken.
    pub(crate) fn push_all(&mut self) -> Result<(), String> {
        let mut moves = BTreeMap::new();
        for (name, base) in self.branches.clone() {
            let new = self.commit(base.as_deref());
            self.branches.insert(name.clone(), Some(new.clone()));
            moves.insert(name, Some(new));
        }
        let (done, said) = self.push(&[], &moves);
        if done != moves.len() { Err(said) } else { Ok(()) }
    }

    /// Puts a branch elsewhere.
    fn rewrite(&mut self) {
        let names: Vec<String> = self.branches.keys().cloned().collect();
        let name = self.choice.one_of(&names).clone();
        let others: Vec<String> = self.branches.values().flatten().cloned().collect();
        let base = (!others.is_empty()).then(|| self.choice.one_of(&others).clone());
        let new = self.commit(base.as_deref());
        self.branches.insert(name.clone(), Some(new.clone()));
        self.push(&[], &BTreeMap::from([(name, Some(new))]));
    }

    fn delete(&mut self) {
        let there: Vec<String> =
            self.branches.iter().filter(|(_, at)| at.is_some()).map(|(name, _)| name.clone()).collect();
        if !there.is_empty() {
            let name = self.choice.one_of(&there).clone();
            self.push(&[], &BTreeMap::from([(name.clone(), None)]));
            self.branches.insert(name, None);
        }
    }

    /// Integrates what others pushed to the shared branch, and goes on with it. Somebody else may be faster.
    fn push_shared(&mut self) {
        let begun = self.world.epoch();
        let url = self.choice.one_of(&self.repo.urls(&self.world.ann)).clone();
        let doing = self.world.tally.doing(Activity::Fetch);
        let out = self.world.ann.try_git(&self.tree, &["fetch", "-q", "--no-tags", &url, SHARED]);
        drop(doing);
        if !out.status.success() {
            return self.world.failed(begun, "fetch of the shared branch", &out);
        }
        let base = self.world.ann.git(&self.tree, &["rev-parse", "FETCH_HEAD"]).trim().to_owned();
        let new = self.commit(Some(&base));
        self.push(&[], &BTreeMap::from([(SHARED.to_owned(), Some(new))]));
    }

    pub(crate) fn first(&mut self, branch: &str) {
        let new = self.commit(None);
        assert_eq!(self.push(&[], &BTreeMap::from([(branch.to_owned(), Some(new))])).0, 1);
    }

    /// Makes one to four commits, by one process; the last one's id.
    fn commit(&mut self, base: Option<&str>) -> String {
        let commits = 1 + self.choice.below(4);
        let mut stream = Vec::new();
        for n in 1..=commits {
            self.made += 1;
            let message = format!("commit {} of {}\n", self.made, self.number);
            let time = 1_700_000_000 + self.made;
            if n == 1 && base.is_none() {
                stream.extend_from_slice(b"reset refs/heads/made\n\n");
            }
            stream.extend_from_slice(
                format!(
                    "commit refs/heads/made\nmark :{n}\ncommitter Ann <ann@example.org> {time} +0000\ndata {}\n{message}",
                    message.len()
                )
                .as_bytes(),
            );
            if let Some(base) = base.filter(|_| n == 1) {
                stream.extend_from_slice(format!("from {base}\n").as_bytes());
            }
            for _ in 0..1 + self.choice.below(3) {
                let path = format!("d{}/f{}", self.choice.below(4), self.choice.below(12));
                let content = self.content();
                stream.extend_from_slice(
                    format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len()).as_bytes(),
                );
            }
        }
        stream.extend_from_slice(format!("get-mark :{commits}\n").as_bytes());
        let file = self.tree.join(".git/stream");
        fs::write(&file, &stream).expect("write");
        let mut import = self.world.ann.git_command(&self.tree, &["fast-import", "--quiet", "--force"]);
        let out = import.stdin(fs::File::open(&file).expect("open")).output().expect("git");
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout).trim().to_owned()
    }

    /// Some kilobytes that differ a little from each other.
    fn content(&mut self) -> String {
        let (lines, other) = (20 + self.choice.below(300), self.choice.below(20));
        let line = |n: usize| {
            let salt = if n % 20 == other { self.made } else { 0 };
            format!("line {n} of some text {salt} {}\n", (n * 7919 + salt * 104_729) % 1_000_003)
        };
        (0..lines).map(line).collect()
    }

    /// Pushes; how many refs were acknowledged, and what git said.
    fn push(&mut self, how: &[&str], moves: &BTreeMap<String, Option<String>>) -> (usize, String) {
        let begun = self.world.epoch();
        let url = self.choice.one_of(&self.repo.urls(&self.world.ann)).clone();
        let mut args = vec!["push", "--porcelain"];
        args.extend(how);
        // Where a push was cut, their branch may be at what it had been before.
        if !moves.contains_key(SHARED) {
            args.push("--force");
        }
        args.push(&url);
        let specs: Vec<String> = moves
            .iter()
            .map(|(name, new)| format!("{}:refs/heads/{name}", new.as_deref().unwrap_or_default()))
            .collect();
        args.extend(specs.iter().map(String::as_str));
        let numbers: Vec<(&String, usize)> =
            moves.iter().map(|(name, new)| (name, self.repo.branches.begin(name, new.as_deref()))).collect();
        let doing = self.world.tally.doing(Activity::Push);
        let out = self.world.ann.try_git(&self.tree, &args);
        drop(doing);
        let said = format!("{}{}", text(&out.stdout), text(&out.stderr));
        let mut done = 0;
        // As with git, deleting what is not there goes well; it moves nothing, so that nothing is recorded.
        let was_there = !said.contains("nothing to delete");
        for (name, number) in numbers {
            let flag = flag_of(&text(&out.stdout), name);
            if out.status.success() || flag.is_some_and(|f| " +*-".contains(f)) {
                assert!(flag.is_some_and(|f| " +*-".contains(f)), "{name}: {said}");
                if was_there {
                    self.repo.branches.acknowledge(name, number);
                }
                count(&self.world.counts.acknowledged);
                done += 1;
            }
        }
        if done < moves.len() {
            self.put_down(begun, moves, &said);
        }
        (done, said)
    }

    /// Why a push was not taken.
    fn put_down(&self, begun: u64, moves: &BTreeMap<String, Option<String>>, said: &str) {
        let counts = &self.world.counts;
        let is_shared = moves.contains_key(SHARED);
        if self.world.was_down(begun) {
            count(&counts.cut);
            std::thread::sleep(Duration::from_millis(100));
        } else if is_shared
            && (said.contains("fetch first")
                || said.contains("has moved")
                || said.contains("non-fast-forward"))
        {
            count(&counts.behind);
        } else if said.contains("lock") {
            count(&counts.locked);
        } else if moves.values().all(Option::is_none) && said.contains("remote ref does not exist") {
            // It was never there: the push that should have made it had been cut.
        } else {
            self.world.blame(format!("push of {moves:?} to {}: {said}", self.repo.name));
        }
    }
}

/// What `git push --porcelain` says of a branch.
fn flag_of(said: &str, name: &str) -> Option<char> {
    let line = said
        .lines()
        .find(|l| l.split('\t').nth(1).is_some_and(|refs| refs.ends_with(&format!(":refs/heads/{name}"))))?;
    line.chars().next()
}

/// Clones in full and in part, and fetches into a clone that stays.
pub(crate) fn read(world: &World, number: usize) {
    let mut choice = Choice::new(world.seed * 1000 + 500 + number as u64);
    let mut made = 0;
    while world.goes_on() {
        let repo = choice.one_of(&world.repos);
        let person = Person { git: choice.one_of(&gits()).clone(), ..world.ann.clone() };
        let url = choice.one_of(&repo.urls(&person)).clone();
        made += 1;
        let folder = world.ann.home.join(format!("clone-{number}-{made}"));
        let target = folder.to_str().expect("utf-8");
        match choice.below(5) {
            0 | 1 => clone(world, repo, &person, &["clone", "-q", "--mirror", &url, target], &folder),
            2 => {
                let depth = (1 + choice.below(5)).to_string();
                let args = ["clone", "-q", "--bare", "--no-single-branch", "--depth", &depth, &url, target];
                clone(world, repo, &person, &args, &folder);
            }
            _ => fetch(world, repo, &person, &url, number),
        }
    }
}

fn clone(world: &World, repo: &Repo, person: &Person, args: &[&str], folder: &Path) {
    let (begun, since) = (world.epoch(), repo.branches.since());
    let doing = world.tally.doing(Activity::Clone);
    let out = person.try_git(&person.home, args);
    drop(doing);
    if out.status.success() {
        check_copy(world, repo, person, folder, &since, &args[2..args.len() - 2].join(" "));
    } else {
        world.failed(begun, &format!("clone of {}", repo.name), &out);
    }
    drop(fs::remove_dir_all(folder));
}

fn fetch(world: &World, repo: &Repo, person: &Person, url: &str, number: usize) {
    let folder = person.home.join(format!("kept-{}-{number}.git", repo.name));
    if !folder.exists() {
        let format = format!("--object-format={}", repo.format);
        person.git(&person.home, &["init", "-q", "--bare", &format, folder.to_str().expect("utf-8")]);
        person.git(&folder, &["config", "gc.auto", "0"]);
        person.git(&folder, &["config", "maintenance.auto", "false"]);
    }
    let (begun, since) = (world.epoch(), repo.branches.since());
    let doing = world.tally.doing(Activity::Fetch);
    let out = person.try_git(&folder, &["fetch", "-q", "--prune", url, "+refs/heads/*:refs/heads/*"]);
    drop(doing);
    if out.status.success() {
        check_copy(world, repo, person, &folder, &since, "fetch");
    } else {
        world.failed(begun, &format!("fetch from {}", repo.name), &out);
    }
}

/// A copy is whole, and has what was acknowledged before it was asked for.
fn check_copy(world: &World, repo: &Repo, person: &Person, folder: &Path, since: &Since, how: &str) {
    let out = person.try_git(folder, &["fsck", "--full", "--strict"]);
    if !out.status.success() {
        world.blame(format!("fsck after {how} of {}: {}{}", repo.name, text(&out.stdout), text(&out.stderr)));
    }
    let wrong = repo.judge(&branches(person, folder), since);
    wrong.into_iter().for_each(|w| world.blame(format!("{how}: {w}")));
}

/// The branches of a repository, as stock git lists them.
pub(crate) fn branches(person: &Person, folder: &Path) -> BTreeMap<String, String> {
    let listed = person.git(folder, &["for-each-ref", "--format=%(refname) %(objectname)"]);
    listed
        .lines()
        .map(|l| {
            let (name, id) = l.split_once(' ').expect("two words");
            (name.strip_prefix("refs/heads/").unwrap_or(name).to_owned(), id.to_owned())
        })
        .collect()
}

/// Has the server maintain its repositories.
pub(crate) fn maintain(world: &World) {
    let mut choice = Choice::new(world.seed * 1000 + 900);
    while world.goes_on() {
        let (begun, repo, full) = (world.epoch(), choice.one_of(&world.repos), choice.below(3) == 0);
        let mut slipway = Command::new(program());
        // By its address: whoever looks into the data folder would use the disk whose power is cut.
        let server = format!("http://{}", world.ann.http);
        slipway.args(["repo", "maintain", &repo.name, "--server", &server]);
        slipway.env("SLIPWAY_TOKEN", &world.ann.token);
        let doing = world.tally.doing(Activity::Maintenance);
        let out = run(if full { slipway.arg("--full") } else { &mut slipway });
        drop(doing);
        if out.status.success() {
            let counts = &world.counts;
            count(if full { &counts.maintained_fully } else { &counts.maintained });
        } else if !text(&out.stderr).contains("is being maintained already") {
            world.failed(begun, &format!("maintain {} full={full}", repo.name), &out);
        }
        std::thread::sleep(Duration::from_millis(choice.below(800) as u64));
    }
}

/// Plain git at work in the server's folders. Nothing that git itself says must not run beside pushes.
pub(crate) fn gc(world: &World) {
    let mut choice = Choice::new(world.seed * 1000 + 901);
    let jobs: [&[&str]; 6] = [
        &["gc", "-q"],
        &["gc", "-q", "--aggressive"],
        &["repack", "-q", "-d"],
        &["repack", "-q", "-A", "-d"],
        &["pack-refs", "--all"],
        &["commit-graph", "write", "--reachable"],
    ];
    while world.goes_on() {
        let (repo, job) = (choice.one_of(&world.repos), *choice.one_of(&jobs));
        let folder = world.data.join(format!("repos/{}.git", repo.name));
        let person = Person { git: choice.one_of(&gits()).clone(), ..world.ann.clone() };
        let doing = world.tally.doing(Activity::PlainGit);
        let out = run(person.git_command(&folder, job).stdin(Stdio::null()));
        drop(doing);
        count(if out.status.success() { &world.counts.gcs } else { &world.counts.gcs_refused });
        if let Some(signal) = out.status.signal() {
            world.blame(format!("git {job:?} in {} is ended by signal {signal}", repo.name));
        }
        if !out.status.success() {
            eprintln!("git {job:?} in {}: {}", repo.name, text(&out.stderr).trim());
        }
        std::thread::sleep(Duration::from_millis(choice.below(800) as u64));
    }
}
