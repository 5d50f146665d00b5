//! Maintenance by the real server: after pushes, and by hand over every way in.

mod harness;

use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Person, Slipway, curl, eventually, run, text};

/// A server whose data folder has this configuration.
fn server(config: &str) -> (Slipway, tempfile::TempDir) {
    let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).expect("folder");
    std::fs::write(data.join("config.toml"), config).expect("config");
    (Slipway::start_in(&data, &[]), folder)
}

/// Pushes so many commits, one by one, over SSH and HTTP in turn.
fn push(person: &Person, tree: &Path, repo: &str, count: usize) {
    for n in 0..count {
        person.commit(tree, &[("file", &format!("{n}\n"))], &format!("commit {n}"));
        let url = if n % 2 == 0 { person.ssh_url(repo) } else { person.http_url(repo) };
        person.git(tree, &["push", "-q", &url, "main"]);
    }
}

fn check(slipway: &Slipway, repo: &str) {
    let folder = slipway.data.join(format!("repos/{repo}.git"));
    let git = |args: &[&str]| {
        let out = run(std::process::Command::new(&harness::gits()[0]).arg("-C").arg(&folder).args(args));
        assert!(out.status.success(), "git {args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    };
    git(&["fsck", "--full", "--strict"]);
    git(&["multi-pack-index", "verify"]);
    git(&["commit-graph", "verify"]);
}

#[test]
fn pushes_that_gather_are_rolled_up() {
    let (slipway, _folder) = server("[maintenance]\ndelay_s = 0\n");
    let ann = slipway.person("ann", true);
    slipway.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("app", &[("file", "first\n")]);
    push(&ann, &tree, "app", 9);
    let shown = eventually("the packs are rolled up", Duration::from_secs(20), || {
        let shown = slipway.json(&["repo", "show", "app"]);
        let stored = &shown["storage"];
        let is_done = stored["packs"].as_u64()? < 5 && stored["graph_commits"].as_u64()? > 0;
        (is_done && shown["maintenance"]["ended"].is_u64()).then_some(shown)
    });
    assert!(shown["storage"]["bitmaps"].as_u64() > Some(0), "{shown}");
    assert_eq!(
        (&shown["maintenance"]["failure"], &shown["maintenance"]["full"]),
        (&().into(), &false.into())
    );
    // Told a moment after it is recorded.
    eventually("it is told", Duration::from_secs(5), || slipway.log().contains("maintained").then_some(()));
    assert!(slipway.cli(&["repo", "show", "app"]).contains("rolled up in "));
    check(&slipway, "app");
    // Counted a moment after it is recorded. A pack whose push is just ending may be passed over.
    eventually("it is counted", Duration::from_secs(5), || {
        let (_, figures) = ann.get("/-/metrics");
        let figure = |name: &str| -> Option<f64> {
            figures.lines().find_map(|l| l.strip_prefix(name))?.trim().parse().ok()
        };
        let runs = figure("slipway_maintenance_seconds_count{kind=\"roll-up\"}")?;
        let replaced = figure("slipway_maintenance_packs_replaced_total")?;
        (runs >= 1.0 && replaced >= 7.0 && figure("slipway_maintenance_failures_total")? == 0.0).then_some(())
    });
    // What is maintained is served: to a clone, and to a push on top of it.
    ann.git(&ann.home, &["clone", "-q", &ann.http_url("app"), "again"]);
    push(&ann, &tree, "app", 1);
}

#[test]
fn by_hand_over_every_way_in() {
    let (slipway, _folder) = server("[maintenance]\nenabled = false\n");
    let ann = slipway.person("ann", true);
    let bob = slipway.person("bob", false);
    slipway.cli(&["repo", "create", "app"]);
    slipway.cli(&["grant", "bob", "app", "write"]);
    let tree = ann.work_tree("app", &[("file", "first\n")]);
    push(&ann, &tree, "app", 9);
    let before = slipway.json(&["repo", "show", "app"]);
    assert_eq!((&before["storage"]["packs"], before.get("maintenance")), (&9.into(), None));

    // Whoever may only write to it may not.
    let address = format!("http://{}/-/api/v1/repos/app/maintenance", slipway.http);
    let ask = |who: &Person, body: &str| {
        let login = format!("{}:{}", who.name, who.token);
        curl(&["-u", &login, "-H", "Content-Type: application/json", "-d", body, &address])
    };
    assert_eq!(ask(&bob, "{}").0, 403);
    assert_eq!(ask(&ann, "{\"fully\": true}").0, 400);

    let told = slipway.cli(&["repo", "maintain", "app"]);
    assert!(told.starts_with("app is maintained: 9 packs became 1 in "), "{told}");
    let out = ann.over_ssh("repo maintain app --full --json", "");
    let done: serde_json::Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    assert_eq!((&done["after"]["packs"], &done["full"]["dropped"]), (&1.into(), &0.into()), "{done}");
    let (status, body) = ask(&ann, "{}");
    assert_eq!(status, 200, "{body}");
    assert!(slipway.json(&["repo", "show", "app"])["maintenance"]["ended"].is_u64());
    check(&slipway, "app");

    // git gc is at work: that is said, and nothing is done.
    let host = text(&run(std::process::Command::new("uname").arg("-n")).stdout);
    let lock = slipway.data.join("repos/app.git/gc.pid");
    std::fs::write(&lock, format!("{} {}", std::process::id(), host.trim())).expect("lock");
    let out = slipway.try_cli(&["repo", "maintain", "app"]);
    assert!(!out.status.success());
    let told = text(&out.stderr);
    assert!(told.contains("is being maintained already. Try again once that is done."), "{told}");
}

#[test]
fn a_stop_does_not_wait_for_what_waits() {
    let (mut slipway, _folder) = server("[maintenance]\ndelay_s = 3600\n");
    let ann = slipway.person("ann", true);
    slipway.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("app", &[("file", "first\n")]);
    push(&ann, &tree, "app", 2);
    let begun = Instant::now();
    let pid = slipway.child.id().to_string();
    assert!(run(std::process::Command::new("kill").args(["-TERM", &pid])).status.success());
    let status = slipway.child.wait().expect("ends");
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // What waited is found again at the next start.
    drop(slipway);
}
