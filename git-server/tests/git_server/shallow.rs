//! Repositories that are themselves shallow: what they tell, what they send and take, beside git's own server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use slipway_core::{ObjectFormat, Role, Scope};
use slipway_repository::RepackOptions;

use crate::server::{Person, Server, text};

/// A history with a merge, and a repository of ours that has three commits of depth of it.
struct Shallow {
    server: Server,
    dev: Person,
    /// All of the history.
    whole: PathBuf,
    /// Ours.
    bare: PathBuf,
    url: String,
}

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

impl Shallow {
    fn new(format: ObjectFormat) -> Self {
        let server = Server::start();
        let dev = server.person("dev", false).with_format(format);
        let whole = dev.work_tree("whole", &[("a", "0")]);
        for n in 1..8 {
            dev.commit(&whole, &[("a", &format!("{n}")), (&format!("dir/{n}"), "x")], &format!("commit {n}"));
            if n == 4 {
                dev.git(&whole, &["branch", "side", "HEAD~2"]);
            }
        }
        dev.git(&whole, &["checkout", "-q", "side"]);
        dev.commit(&whole, &[("b", "b")], "beside");
        dev.git(&whole, &["checkout", "-q", "main"]);
        dev.git(&whole, &["merge", "-q", "-m", "merge", "side"]);
        dev.git(&whole, &["tag", "-am", "v1", "v1", "HEAD~1"]);
        let bare = server.repo_of(format, "app", false);
        server.grant("dev", "app", Role::Write);
        let fetch = ["fetch", "-q", "--depth=3", &file_url(&whole), "+refs/*:refs/*"];
        dev.git(&bare, &fetch);
        assert!(!ends(&bare).is_empty());
        let url = dev.http_url("app", &server.token("dev", &[Scope::RepoWrite], None));
        Self { server, dev, whole, bare, url }
    }
}

/// Where a repository's history ends.
fn ends(repository: &Path) -> BTreeSet<String> {
    let folder =
        if repository.join(".git").exists() { repository.join(".git") } else { repository.to_owned() };
    let text = std::fs::read_to_string(folder.join("shallow")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn everything(dev: &Person, repository: &Path) -> BTreeSet<String> {
    dev.git(repository, &["rev-list", "--objects", "--all"]).lines().map(str::to_owned).collect()
}

#[test]
fn clones_and_fetches_end_where_gits_do_in_version_0() {
    end_where_gits_do("0");
}

#[test]
fn clones_and_fetches_end_where_gits_do_in_version_2() {
    end_where_gits_do("2");
}

fn end_where_gits_do(protocol: &str) {
    let Shallow { server: _server, dev, whole, bare, url } = Shallow::new(ObjectFormat::Sha1);
    let theirs = file_url(&bare);
    let since = dev.git(&whole, &["log", "-1", "--format=%ct", "HEAD~1"]);
    let since = format!("--shallow-since={}", since.trim());
    let version = format!("protocol.version={protocol}");
    let clones: [&[&str]; 4] = [&[], &["--depth=1"], &["--depth=2", "--no-single-branch"], &["--depth=50"]];
    for (n, how) in clones.iter().enumerate() {
        let clone = |url: &str, name: &str| {
            let name = format!("{name}-{protocol}-{n}");
            dev.git(&dev.home, &[&["-c", &version, "clone", "-q"][..], how, &[url, &name]].concat());
            dev.home.join(name)
        };
        let (ours, gits) = (clone(&url, "ours"), clone(&theirs, "gits"));
        let hint = format!("{how:?} in version {protocol}");
        assert_eq!(ends(&ours), ends(&gits), "{hint}");
        assert_eq!(everything(&dev, &ours), everything(&dev, &gits), "{hint}");
        dev.git(&ours, &["fsck", "--full", "--strict"]);
        // Deeper, and as deep as it goes.
        if n > 1 {
            continue;
        }
        for more in [&["--deepen=1"][..], &["--depth=3"], &["--unshallow"]] {
            for repository in [&ours, &gits] {
                let done = dev.try_git(repository, &[&["-c", &version, "fetch", "-q"][..], more].concat());
                assert!(
                    done.status.success() || text(&done.stderr).contains("complete repository"),
                    "{hint} {more:?}: {}",
                    text(&done.stderr)
                );
            }
            assert_eq!(ends(&ours), ends(&gits), "{hint} {more:?}");
            assert_eq!(everything(&dev, &ours), everything(&dev, &gits), "{hint} {more:?}");
        }
    }
    // git's own server forgets its own end here, and its clients are left without some commits.
    dev.git(&dev.home, &["-c", &version, "clone", "-q", &since, &url, "since"]);
    dev.git(&dev.home.join("since"), &["fsck", "--full", "--strict"]);
}

#[test]
fn pushes_go_in_and_history_may_grow_downwards() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let Shallow { server, dev, whole, bare, url } = Shallow::new(format);
        dev.git(&dev.home, &["clone", "-q", &url, "one"]);
        let one = dev.home.join("one");
        dev.commit(&one, &[("new", "new")], "on top");
        dev.git(&one, &["push", "-q", "origin", "main"]);
        // From where everything is known.
        dev.git(&whole, &["pull", "-q", &url, "main"]);
        dev.commit(&whole, &[("newer", "newer")], "on top of that");
        dev.git(&whole, &["push", "-q", &url, "main", "HEAD~3:refs/heads/old"]);
        dev.git(&bare, &["fsck", "--full", "--strict"]);
        // Maintained, it is what it was.
        let repository = server.repository("app");
        let before = everything(&dev, &bare);
        repository.maintain(&AtomicBool::new(false)).expect("maintained");
        let all = RepackOptions { expire_before: SystemTime::now() };
        repository.repack(&all, &AtomicBool::new(false)).expect("repacked");
        dev.git(&bare, &["fsck", "--full", "--strict"]);
        assert_eq!(everything(&dev, &bare), before);
        let snapshot = repository.snapshot().expect("read");
        let tip = snapshot.find_ref("refs/heads/main").expect("there").target;
        let deadline = Instant::now() + Duration::from_secs(60);
        let budget = slipway_repository::Budget { deadline, commits_max: 1000 };
        let page = snapshot.log(&tip, None, 0, 100, &budget).expect("a log that ends");
        let theirs = dev.git(&bare, &["rev-list", "--count", "main"]);
        assert_eq!(page.commits.len().to_string(), theirs.trim());
        // An administrator fetches the rest.
        dev.git(&bare, &["fetch", "-q", "--unshallow", &file_url(&whole)]);
        dev.git(&dev.home, &["clone", "-q", &url, "two"]);
        let two = dev.home.join("two");
        assert!(ends(&two).is_empty());
        let count = |tree: &Path| dev.git(tree, &["rev-list", "--count", "main"]);
        assert_eq!(count(&two), count(&whole));
        dev.git(&two, &["fsck", "--full", "--strict"]);
        dev.git(&one, &["fetch", "-q", "--unshallow"]);
        assert!(ends(&one).is_empty());
    }
}

#[test]
fn a_push_that_would_cut_history_off_needs_leave() {
    let server = Server::start();
    let dev = server.person("dev", false);
    let whole = dev.work_tree("whole", &[("a", "0")]);
    for n in 1..6 {
        dev.commit(&whole, &[("a", &format!("{n}"))], &format!("commit {n}"));
    }
    dev.git(&dev.home, &["clone", "-q", "--depth=2", &file_url(&whole), "part"]);
    let part = dev.home.join("part");
    let token = server.token("dev", &[Scope::RepoWrite], None);
    for (n, protocol) in ["0", "2"].iter().enumerate() {
        let version = format!("protocol.version={protocol}");
        let name = format!("app{n}");
        let bare = server.repo(&name, false);
        server.grant("dev", &name, Role::Write);
        let url = dev.http_url(&name, &token);
        // One ref that has an end of its own, and one that has not.
        let root = dev.git(&part, &["commit-tree", "-m", "root", "HEAD^{tree}"]);
        let specs = ["main".to_owned(), format!("{}:refs/heads/root", root.trim())];
        let push = ["-c", &version, "push", &url, &specs[0], &specs[1]];
        let said = dev.try_git(&part, &push);
        assert!(!said.status.success());
        assert!(text(&said.stderr).contains("shallow update not allowed"), "{}", text(&said.stderr));
        assert_eq!(dev.git(&bare, &["for-each-ref", "--format=%(refname)"]), "refs/heads/root\n");
        assert!(ends(&bare).is_empty());
        dev.git(&bare, &["fsck", "--full", "--strict"]);
        // With leave it ends where the pusher's does.
        dev.git(&bare, &["config", "receive.shallowUpdate", "true"]);
        dev.git(&part, &push);
        assert_eq!(ends(&bare), ends(&part));
        dev.git(&bare, &["fsck", "--full", "--strict"]);
        let count = |repository: &Path| dev.git(repository, &["rev-list", "--count", "main"]);
        assert_eq!(count(&bare), count(&part));
        let copy = format!("copy{n}");
        dev.git(&dev.home, &["-c", &version, "clone", "-q", &url, &copy]);
        assert_eq!(ends(&dev.home.join(copy)), ends(&part));
        // What the repository has whole may be pushed from anywhere.
        dev.commit(&part, &[("b", &format!("{n}"))], "more");
        dev.git(&part, &["-c", &version, "push", "-q", &url, "main"]);
        assert_eq!(ends(&bare), ends(&part));
    }
}

#[test]
fn history_ends_for_no_ref_that_was_refused() {
    let server = Server::start();
    let dev = server.person("dev", false);
    let whole = dev.work_tree("whole", &[("a", "0")]);
    for n in 1..6 {
        dev.commit(&whole, &[("a", &format!("{n}"))], &format!("commit {n}"));
    }
    dev.git(&dev.home, &["clone", "-q", "--depth=2", &file_url(&whole), "part"]);
    let part = dev.home.join("part");
    dev.git(&part, &["tag", "-am", "cut", "cut"]);
    let root = dev.git(&part, &["commit-tree", "-m", "root", "HEAD^{tree}"]);
    let root = format!("{}:refs/heads/root", root.trim());
    let token = server.token("dev", &[Scope::RepoWrite], None);
    for (n, (refused, atomic)) in [
        // The server's own, a branch that names no commit, and one that somebody else holds.
        ("main:refs/slipway/x", false),
        ("cut:refs/heads/cut", false),
        ("main:refs/heads/held", false),
        ("main:refs/heads/held", true),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("app{n}");
        let bare = server.repo(&name, false);
        server.grant("dev", &name, Role::Write);
        let url = dev.http_url(&name, &token);
        dev.git(&bare, &["config", "receive.shallowUpdate", "true"]);
        std::fs::write(bare.join("refs/heads/held.lock"), "").expect("written");
        let mut push = vec!["push", &url, refused, &root];
        push.extend(atomic.then_some("--atomic"));
        let said = dev.try_git(&part, &push);
        assert!(!said.status.success(), "{refused}");
        let refs = dev.git(&bare, &["for-each-ref", "--format=%(refname)"]);
        assert_eq!(refs, if atomic { "" } else { "refs/heads/root\n" }, "{refused}: {}", text(&said.stderr));
        assert!(!bare.join("shallow").exists(), "{refused}");
        // Whole history that comes now stays whole.
        std::fs::remove_file(bare.join("refs/heads/held.lock")).expect("there");
        dev.git(&whole, &["push", "-q", &url, "main"]);
        let count = |repository: &Path| dev.git(repository, &["rev-list", "--count", "main"]);
        assert_eq!(count(&bare), count(&whole), "{refused}");
        // Beside one that is taken.
        let push = ["push", &url, refused, "main:refs/heads/taken"];
        let said = text(&dev.try_git(&part, &push).stderr);
        assert!(said.contains("taken"), "{said}");
        dev.git(&bare, &["fsck", "--full", "--strict"]);
    }
}
