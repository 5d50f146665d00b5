//! Everything at once against the real binary: people push, clone and fetch over both transports while the server maintains
//! its repositories, plain git works in its folders, and `kill -9` comes every few seconds. What was acknowledged is there
//! at the end, recorded once, and every repository and copy is whole.
//!
//! The same with the power cut at each kill: of what was not made durable, anything may be lost.
//!
//! `SLIPWAY_CHAOS_SECONDS` says for how long, `SLIPWAY_CHAOS_SEED` with which choices. Threads and kills meet at other
//! instants each time all the same.

#[path = "harness/mod.rs"]
mod harness;
#[path = "chaos/people.rs"]
mod people;
#[path = "power/mod.rs"]
mod power;
#[path = "chaos/record.rs"]
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{Person, Slipway, eventually, gits, run, text};
use people::{Counts, Pusher, World, branches};
use power::Disk;
use record::{Choice, Events, Repo, SHARED};

const REPOS: [(&str, &str); 3] = [("one", "sha1"), ("two", "sha256"), ("three", "sha1")];
const PUSHERS: usize = 2;
const READERS: usize = 2;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}: a number")))
}

/// Lets the others end, however this ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_at_once() {
    chaos(false);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    if !power::can_be_cut() {
        return eprintln!("NOT TESTED: this kernel has no FUSE, and the power cannot be cut without it");
    }
    chaos(true);
}

fn chaos(cut_power: bool) {
    let time = Duration::from_secs(number("SLIPWAY_CHAOS_SECONDS", 10));
    let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
    let data: PathBuf = folder.path().join("data");
    let mut disk = cut_power.then(|| Disk::mount(&data));
    let mut server = server(&data);
    let ann = server.person("ann", true);
    let world = World {
        repos: REPOS.iter().map(|(name, format)| Repo::new(name, format)).collect(),
        data: server.data.clone(),
        ann,
        seed: number("SLIPWAY_CHAOS_SEED", 1),
        stop: AtomicBool::new(false),
        epoch: AtomicU64::new(0),
        counts: Counts::default(),
        wrong: Mutex::default(),
    };
    for repo in &world.repos {
        server.cli(&["repo", "create", &repo.name, "--object-format", repo.format]);
        let mut first = Pusher::new(&world, repo, 9);
        first.first("main");
        first.first(SHARED);
    }
    let at = |n: usize| &world.repos[n / PUSHERS];
    let mut pushers: Vec<Pusher<'_>> =
        (0..REPOS.len() * PUSHERS).map(|n| Pusher::new(&world, at(n), 10 + n)).collect();
    let mut events: Vec<Events> = REPOS.iter().map(|_| Events::default()).collect();
    std::thread::scope(|scope| {
        let _stop = Stop(&world.stop);
        pushers.iter_mut().for_each(|pusher| drop(scope.spawn(|| pusher.work())));
        (0..READERS).for_each(|n| {
            drop(scope.spawn({
                let world = &world;
                move || people::read(world, n)
            }))
        });
        scope.spawn(|| people::maintain(&world));
        if disk.is_none() {
            // Plain git makes less durable than this server does.
            scope.spawn(|| people::gc(&world));
        }
        kill_now_and_then(&mut server, &world, (&mut events, &mut disk), time);
    });
    println!("{time:?} with seed {}: {:?}", world.seed, world.counts);
    // Whatever the last kill left: all branches can be pushed to, all repositories maintained.
    server.crash_and_restart();
    pushers
        .iter_mut()
        .for_each(|pusher| pusher.push_all().unwrap_or_else(|said| panic!("after it all: {said}")));
    for repo in &world.repos {
        maintained(&server, &["repo", "maintain", &repo.name]);
    }
    let open = look_at_events(&world, &mut events);
    assert!(open.is_empty(), "events are not settled: {open:?}");
    server.crash();
    let wrong = world.wrong.lock().expect("lock");
    assert!(wrong.is_empty(), "{} things no kill explains:\n{}", wrong.len(), wrong.join("\n"));
    for (repo, events) in world.repos.iter().zip(&events) {
        check(&world, repo, events);
    }
    for repo in &world.repos {
        server.restart();
        maintained(&server, &["repo", "maintain", &repo.name, "--full"]);
        server.crash();
        fsck(&world.ann, &world.data.join(format!("repos/{}.git", repo.name)));
    }
    drop(disk);
    drop(folder);
}

/// A server that maintains soon after pushes.
fn server(data: &Path) -> Slipway {
    std::fs::create_dir_all(data).expect("folder");
    std::fs::write(data.join("config.toml"), "[maintenance]\ndelay_s = 1\n").expect("config");
    // What the operator wrote is not the server's to keep.
    for path in [&data.join("config.toml"), data] {
        std::fs::File::open(path).and_then(|file| file.sync_all()).expect("kept");
    }
    Slipway::start_in(data, &[])
}

fn kill_now_and_then(
    server: &mut Slipway,
    world: &World,
    (events, disk): (&mut [Events], &mut Option<Disk>),
    time: Duration,
) {
    let (mut choice, begun) = (Choice::new(world.seed), Instant::now());
    while begun.elapsed() < time {
        std::thread::sleep(Duration::from_millis(500 + choice.below(2500) as u64));
        world.epoch.fetch_add(1, Ordering::SeqCst);
        server.crash();
        std::thread::sleep(Duration::from_millis(choice.below(200) as u64));
        if let Some(disk) = disk {
            disk.cut(&mut |end| choice.below(end));
        }
        server.restart();
        world.epoch.fetch_add(1, Ordering::SeqCst);
        world.counts.kills.fetch_add(1, Ordering::Relaxed);
        look_at_events(world, events);
    }
}

/// Takes in what the server has recorded, before old events go; those that are not settled.
fn look_at_events(world: &World, events: &mut [Events]) -> Vec<u64> {
    let mut open = Vec::new();
    for (repo, events) in world.repos.iter().zip(events) {
        let (status, body) = world.ann.get(&format!("/-/api/v1/repos/{}/events?limit=1000", repo.name));
        assert_eq!(status, 200, "{body}");
        open.extend(events.take(&serde_json::from_str(&body).expect("json")));
    }
    open
}

/// The repository on disk, what its clients know and what the server recorded agree.
fn check(world: &World, repo: &Repo, events: &Events) {
    let folder = world.data.join(format!("repos/{}.git", repo.name));
    fsck(&world.ann, &folder);
    let refs = branches(&world.ann, &folder);
    let wrong = repo.judge(&refs, &repo.since().into_iter().filter(|(name, _)| name != SHARED).collect());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (ends, steps) = events.follow(&repo.name);
    assert_eq!(ends, refs, "{}: the events end where the branches are", repo.name);
    let tried: BTreeMap<_, usize> = count(repo.tried());
    for (step, recorded) in &steps {
        let most = tried.get(step).copied().unwrap_or(0);
        assert!(
            *recorded <= most,
            "{}: {step:?} is recorded {recorded} times, tried {most} times",
            repo.name
        );
    }
    for (step, acknowledged) in count(repo.acknowledged()) {
        let recorded = steps.get(&step).copied().unwrap_or(0);
        // A delete may have been cut and be there all the same; a commit is pushed once.
        let agrees = if step.1.is_some() { recorded == acknowledged } else { recorded >= acknowledged };
        assert!(
            agrees,
            "{}: {step:?} was acknowledged {acknowledged} times, is recorded {recorded} times",
            repo.name
        );
    }
    for (name, value) in repo.acknowledged() {
        if name == SHARED {
            let value = value.expect("it is never deleted");
            world.ann.git(&folder, &["merge-base", "--is-ancestor", &value, "refs/heads/shared"]);
        }
    }
}

fn count<T: Ord>(all: Vec<T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    all.into_iter().for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

/// Maintenance goes well, once what is under way by itself has ended.
fn maintained(server: &Slipway, args: &[&str]) {
    eventually("nothing keeps maintenance away for good", Duration::from_secs(60), || {
        let out = server.try_cli(args);
        let told = text(&out.stderr);
        assert!(out.status.success() || told.contains("is being maintained already"), "{args:?}: {told}");
        out.status.success().then_some(())
    });
}

/// Both gits find nothing wrong.
fn fsck(ann: &Person, folder: &std::path::Path) {
    for git in gits() {
        let out = run(Person { git, ..ann.clone() }
            .git_command(folder, &["fsck", "--full", "--strict"])
            .stdin(std::process::Stdio::null()));
        assert!(out.status.success(), "{}: {}{}", folder.display(), text(&out.stdout), text(&out.stderr));
    }
}
