//! Everything at once against the real binary: people push, clone and fetch over both transports, clerks change accounts,
//! tokens, roles and repositories, builds, deploys and webhooks are carried out, the server maintains its repositories and
//! backs itself up, plain git works in its folders, and `kill -9` comes every second or so, in the midst of starts too. What
//! was acknowledged is there at the end, recorded once; what it owed was done once; every repository, copy and backup is whole.
//!
//! The same with the power cut at each kill: of what was not made durable, anything may be lost.
//!
//! `SLIPWAY_CHAOS_SECONDS` says for how long, or `SLIPWAY_CHAOS_KILLS` until how many kills, `SLIPWAY_CHAOS_SEED` with which
//! choices. Threads and kills meet at other instants each time all the same.

#[path = "chaos/activity.rs"]
mod activity;
#[path = "chaos/backups.rs"]
mod backups;
#[path = "chaos/clerks.rs"]
mod clerks;
#[path = "harness/mod.rs"]
mod harness;
#[path = "chaos/owed.rs"]
mod owed;
#[path = "chaos/parts/mod.rs"]
mod parts;
#[path = "chaos/people.rs"]
mod people;
#[path = "power/mod.rs"]
mod power;
#[path = "chaos/record.rs"]
mod record;
#[path = "chaos/scene.rs"]
mod scene;
#[path = "chaos/team.rs"]
mod team;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use activity::Activity;
use harness::{Person, Slipway, eventually, gits, run, text};
use people::{Pusher, World, branches};
use record::{Choice, Events, Repo, SHARED};
use scene::{PUSHED, Scene};
use team::Developer;

const PUSHERS: usize = 2;
const READERS: usize = 2;
/// Until what is owed is done, once nobody kills any more.
const PATIENCE: Duration = Duration::from_secs(240);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}: a number")))
}

/// When it is enough.
enum Enough {
    After(Duration),
    Kills(usize),
}

impl Enough {
    fn told() -> Self {
        match number("SLIPWAY_CHAOS_KILLS", 0) {
            0 => Self::After(Duration::from_secs(number("SLIPWAY_CHAOS_SECONDS", 10))),
            kills => Self::Kills(usize::try_from(kills).expect("a number of kills")),
        }
    }

    fn is_it(&self, begun: Instant, kills: usize) -> bool {
        match self {
            Self::After(time) => begun.elapsed() >= *time,
            Self::Kills(most) => kills >= *most,
        }
    }
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
    let begun = Instant::now();
    let mut scene = Scene::new(cut_power, number("SLIPWAY_CHAOS_SEED", 1));
    let world = scene.world.clone();
    let at = |n: usize| &world.repos[n / PUSHERS];
    let mut pushers: Vec<Pusher<'_>> =
        (0..PUSHED * PUSHERS).map(|n| Pusher::new(&world, at(n), 10 + n)).collect();
    let mut developer = Developer::new(&world);
    std::thread::scope(|scope| {
        let world = &*world;
        let _stop = Stop(&world.stop);
        pushers.iter_mut().for_each(|pusher| drop(scope.spawn(|| pusher.work())));
        (0..READERS).for_each(|n| drop(scope.spawn(move || people::read(world, n))));
        (0..clerks::CLERKS).for_each(|n| drop(scope.spawn(move || clerks::work(world, n))));
        scope.spawn(|| developer.work());
        let manifests = scene.manifests.clone();
        scope.spawn(move || team::operate(world, &manifests));
        scope.spawn(|| backups::work(world));
        scope.spawn(|| people::maintain(world));
        if !cut_power {
            // Plain git makes less durable than this server does.
            scope.spawn(|| people::gc(world));
        }
        kill_now_and_then(&mut scene, &Enough::told());
    });
    println!("{:?} with seed {}: {:?}", begun.elapsed(), world.seed, world.counts);
    let again = settle(&mut scene, &mut pushers, &mut developer);
    println!("{}", scene.owed.told());
    println!("{} backups\n{}", world.backups.lock().expect("lock").made, world.tally);
    judge(&mut scene, &again);
}

fn kill_now_and_then(scene: &mut Scene, enough: &Enough) {
    let (mut choice, begun, mut told) = (Choice::new(scene.world.seed), Instant::now(), 0);
    while !enough.is_it(begun, scene.world.tally.kills()) {
        std::thread::sleep(Duration::from_millis(150 + choice.below(2000) as u64));
        scene.kill(&mut choice);
        // A start is a time like any other.
        while choice.below(6) == 0 {
            scene.begin_life();
            let starting = scene.world.tally.clone();
            let _starting = starting.doing(Activity::Start);
            std::thread::sleep(Duration::from_millis(choice.below(250) as u64));
            scene.kill(&mut choice);
        }
        scene.live();
        scene.look(150);
        if choice.below(3) == 0 {
            clerks::judge(&scene.world);
        }
        let kills = scene.world.tally.kills();
        if kills >= told + 25 {
            told = kills;
            println!("{kills} kills after {:?}", begun.elapsed());
        }
    }
}

/// Whatever the last kill left: all branches can be pushed to, all repositories maintained, what is owed is done, and what is
/// pushed now is built, deployed and told. That push.
fn settle(scene: &mut Scene, pushers: &mut [Pusher<'_>], developer: &mut Developer<'_>) -> String {
    scene.kill(&mut Choice::new(1));
    scene.live();
    pushers
        .iter_mut()
        .for_each(|pusher| pusher.push_all().unwrap_or_else(|said| panic!("after it all: {said}")));
    let mut push = || developer.push();
    let last = eventually("the application can be pushed", PATIENCE, &mut push);
    for repo in &scene.world.clone().repos {
        maintained(&scene.server, &["repo", "maintain", &repo.name]);
    }
    backups::back_up(&scene.world).unwrap_or_else(|said| panic!("after it all, a backup: {said}"));
    clerks::judge(&scene.world);
    eventually("everything that is owed is done", PATIENCE, || {
        let (events, open) = scene.look(1000);
        (open == 0 && events.is_empty()).then_some(())
    });
    last
}

/// Compares it all, with the server stopped.
fn judge(scene: &mut Scene, last: &str) {
    let world = scene.world.clone();
    let mut wrong = scene.judge_owed(last);
    // What no build needs any more is swept from the engine at a start.
    scene.kill(&mut Choice::new(1));
    scene.live();
    let engine = scene.parts.engine.clone();
    eventually("the engine is swept", PATIENCE, || {
        engine.names().iter().all(|name| !name.starts_with("slipway/")).then_some(())
    });
    scene.server.crash();
    wrong.extend(world.wrong.lock().expect("lock").drain(..));
    assert!(wrong.is_empty(), "{} things no kill explains:\n{}", wrong.len(), wrong.join("\n"));
    for (repo, events) in world.repos.iter().zip(&scene.events) {
        check(&world, repo, events);
    }
    scene.check_manifests();
    let wrong = backups::bring_back(&world, &scene.folder.path().join("restored"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for repo in &world.repos {
        scene.server.restart();
        maintained(&scene.server, &["repo", "maintain", &repo.name, "--full"]);
        scene.server.crash();
        fsck(&world.ann, &world.data.join(format!("repos/{}.git", repo.name)));
    }
    println!("violations: 0");
}

/// The repository on disk, what its clients know and what the server recorded agree.
fn check(world: &World, repo: &Repo, events: &Events) {
    let folder = world.data.join(format!("repos/{}.git", repo.name));
    fsck(&world.ann, &folder);
    let refs = branches(&world.ann, &folder);
    let since = repo.branches.since().into_iter().filter(|(name, _)| name != SHARED).collect();
    let wrong = repo.judge(&refs, &since);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (ends, steps) = events.follow(&repo.name);
    assert_eq!(ends, refs, "{}: the events end where the branches are", repo.name);
    let tried: BTreeMap<_, usize> = count(repo.branches.tried());
    for (step, recorded) in &steps {
        let most = tried.get(step).copied().unwrap_or(0);
        assert!(
            *recorded <= most,
            "{}: {step:?} is recorded {recorded} times, tried {most} times",
            repo.name
        );
    }
    for (step, acknowledged) in count(repo.branches.acknowledged()) {
        let recorded = steps.get(&step).copied().unwrap_or(0);
        // A delete may have been cut and be there all the same; a commit is pushed once.
        let agrees = if step.1.is_some() { recorded == acknowledged } else { recorded >= acknowledged };
        assert!(
            agrees,
            "{}: {step:?} was acknowledged {acknowledged} times, is recorded {recorded} times",
            repo.name
        );
    }
    for (name, value) in repo.branches.acknowledged() {
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
