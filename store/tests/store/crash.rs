//! What was acknowledged before `kill -9` is there after it, and no change is there by half.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use slipway_core::accept::Ledger as _;
use slipway_core::build::BuildState;
use slipway_core::event::EventState;
use slipway_core::{BuildNumber, EventId, RepoId};
use slipway_store::{MasterKey, Store};

use crate::samples::*;

const FOLDER: &str = "SLIPWAY_STORE_CRASH_FOLDER";
const ROUNDS: u64 = 20;
const BRANCHES: [&str; 3] = ["main", "next", "side"];

/// Not a test: what the killed process does. Without its environment variable it does nothing.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    let key = MasterKey::load_or_create(&folder.join("keys/master")).unwrap();
    let store = Store::open(&folder.join("db"), &key).unwrap();
    let repo = RepoId(1);
    let say = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nACK {what} {number}").unwrap();
        out.flush().unwrap();
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    push_once(&store, repo, &say);
                }
            });
        }
    });
}

fn push_once(store: &Store, repo: RepoId, say: &(impl Fn(&str, u64) + Sync)) {
    let mut owed: Vec<_> = BRANCHES.iter().map(|b| owes_build(b)).collect();
    owed.push(owes_deploy("main"));
    let mut wanted = event(repo, &BRANCHES, owed);
    wanted.options = vec!["o".repeat(5000)];
    let intended = store.intend(wanted).unwrap();
    say("intended", intended.id.0);
    let orders = store.accept(intended.id, &intended.updates, NOW).unwrap();
    say("accepted", intended.id.0);
    let mut build = orders.builds[0].clone();
    build.run.state = BuildState::Succeeded;
    store.put_build(&build).unwrap();
    say("built", build.number.0);
    let new = store.create_repo(&repo_name(&format!("r{}", intended.id)), "", false, NOW).unwrap();
    say("repo", new.id.0);
}

#[test]
fn what_was_acknowledged_survives_kill_and_nothing_is_there_by_half() {
    let home = Home::new();
    home.open().create_repo(&repo_name("app"), "", false, NOW).unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::the_process_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(FOLDER, home.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            lines.filter_map(|l| l.strip_prefix("ACK ").map(str::to_owned)).collect::<Vec<_>>()
        });
        std::thread::sleep(Duration::from_millis(150 + (round * 7919) % 350));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(reader.join().unwrap());
        check(&home.open(), &acknowledged);
    }
    let count = |what: &str| acknowledged.iter().filter(|a| a.starts_with(what)).count();
    println!("{} acknowledgements, {} events accepted", acknowledged.len(), count("accepted"));
    assert!(count("accepted") > 50, "the killed process hardly worked: {}", acknowledged.len());
}

fn check(store: &Store, acknowledged: &BTreeSet<String>) {
    let repo = RepoId(1);
    // Old settled events and final builds go in the end; what lies this far back may be gone rightly.
    let newest_event = store.events(repo, 1).unwrap().first().map_or(0, |e| e.id.0);
    let newest_build = store.builds(repo, None, 1).unwrap().first().map_or(0, |b| b.number.0);
    let kept_events = newest_event.saturating_sub(900);
    let kept_builds = newest_build.saturating_sub(2000);
    for line in acknowledged {
        let (what, number) = line.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        let event = || store.event(EventId(number)).unwrap();
        match what {
            "intended" if number > kept_events => assert!(event().is_some(), "{line} is lost"),
            "accepted" if number > kept_events => {
                assert_eq!(event().unwrap().state, EventState::Accepted, "{line} is undone");
                assert_eq!(store.builds_of_event(EventId(number)).unwrap().len(), 3, "{line}");
                assert_eq!(store.deploys_of_event(EventId(number)).unwrap().len(), 1, "{line}");
            }
            "built" if number > kept_builds => {
                let build = store.build(repo, BuildNumber(number)).unwrap().unwrap();
                assert_eq!(build.run.state, BuildState::Succeeded, "{line} is undone");
            }
            "intended" | "accepted" | "built" => {}
            "repo" => assert!(store.repo(RepoId(number)).unwrap().is_some(), "{line} is lost"),
            _ => panic!("{line}"),
        }
    }
    whole(store, repo);
}

/// No change is there by half.
pub(crate) fn whole(store: &Store, repo: RepoId) {
    let mut intended = BTreeSet::new();
    for event in store.events(repo, 300).unwrap() {
        let (builds, deploys) =
            (store.builds_of_event(event.id).unwrap(), store.deploys_of_event(event.id).unwrap());
        match event.state {
            EventState::Accepted => assert_eq!((builds.len(), deploys.len()), (3, 1), "event {}", event.id),
            EventState::Intended => {
                assert_eq!((builds.len(), deploys.len()), (0, 0), "event {}", event.id);
                intended.insert(event.id);
            }
            EventState::Abandoned => panic!("nobody abandons here"),
        }
    }
    let listed: BTreeSet<_> = store.intended().unwrap().into_iter().map(|e| e.id).collect();
    assert!(intended.is_subset(&listed), "{intended:?} of {listed:?}");
    for id in listed {
        assert_eq!(store.event(id).unwrap().unwrap().state, EventState::Intended, "event {id}");
    }
    let builds = store.builds(repo, None, 1000).unwrap();
    for (build, before) in builds.iter().zip(builds.iter().skip(1)) {
        assert_eq!(build.number.0, before.number.0 + 1, "numbers have a hole or a double");
    }
    let last = builds.last().map_or(0, |b| b.number.0);
    let unfinished: BTreeSet<_> = store.unfinished_builds().unwrap().into_iter().map(|b| b.number).collect();
    for build in &builds {
        assert_eq!(unfinished.contains(&build.number), !build.run.state.is_final(), "build {}", build.number);
    }
    assert!(unfinished.iter().all(|n| n.0 < last || builds.iter().any(|b| b.number == *n)));
    for named in store.repos().unwrap() {
        assert_eq!(store.repo_by_name(&named.name).unwrap().unwrap(), named);
    }
}

/// Loss of power can take any end of the log that was not synced, and what the witness said meanwhile: every cut of it must leave a
/// whole past state.
#[test]
fn a_log_cut_anywhere_recovers_to_a_whole_state() {
    let home = Home::new();
    let store = home.open();
    let repo = store.create_repo(&repo_name("app"), "", false, NOW).unwrap().id;
    let witness = std::fs::read(home.db().join("witness")).unwrap();
    let said = |_: &str, _: u64| ();
    for _ in 0..12 {
        push_once(&store, repo, &said);
    }
    drop(store);
    let log = std::fs::read(home.db().join("db")).unwrap();
    let used = log.iter().rposition(|&b| b != 0).unwrap() + 1;
    let mut seen = BTreeSet::new();
    for step in 1..60 {
        let cut = used - step * (used / 4) / 60 - step % 7;
        let folder = home.path().join("cut");
        let _ = std::fs::remove_dir_all(&folder);
        crate::on_disk::copy(&home.db(), &folder);
        let mut bytes = log.clone();
        bytes[cut..].fill(0);
        std::fs::write(folder.join("db"), &bytes).unwrap();
        std::fs::write(folder.join("witness"), &witness).unwrap();
        for snapshot in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
            if snapshot.file_name().unwrap().to_string_lossy().starts_with("snap.") {
                std::fs::remove_file(snapshot).unwrap();
            }
        }
        let store = Store::open(&folder, &home.key).unwrap_or_else(|e| panic!("cut at {cut} of {used}: {e}"));
        whole(&store, repo);
        seen.insert(store.events(repo, 1000).unwrap().len());
    }
    assert!(seen.len() > 2, "the cuts took nothing away: {seen:?}");
}
