//! Pushes and what the pusher is told.

use slipway_core::limits::Limits;
use slipway_core::{Role, Scope};

use crate::server::{Person, Server, text};

fn both(server: &Server, person: &Person, repo: &str) -> [String; 2] {
    let token = server.token(&person.name, &[Scope::RepoWrite], None);
    [person.ssh_url(repo), person.http_url(repo, &token)]
}

#[test]
fn a_push_tells_what_it_starts_and_wait_tells_how_it_goes() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    server.bind("app");
    let tree = dev.work_tree("tree", &[("Dockerfile", "FROM scratch\n")]);
    for (n, url) in both(&server, &dev, "app").iter().enumerate() {
        dev.commit(&tree, &[("n", &n.to_string())], "change");
        let out = std::thread::scope(|scope| {
            scope.spawn(|| server.succeed("app", n as u64 + 1));
            dev.try_git(&tree, &["push", "-o", "wait", url, "main"])
        });
        let said = text(&out.stderr);
        assert!(out.status.success(), "{said}");
        let build = format!("remote: build {} → http://{}/app/builds/{}", n + 1, server.http, n + 1);
        let ended = format!("remote: app build {}: succeeded", n + 1);
        let order = [
            build.as_str(),
            "remote: building",
            "remote: testing?[2J",
            ended.as_str(),
            "remote: verdict: all done",
            "-> main",
        ];
        let found: Vec<Option<usize>> = order.iter().map(|line| said.find(line)).collect();
        assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{found:?} in\n{said}");
    }
}

#[test]
fn who_may_not_see_a_repository_any_more_is_told_no_more_of_it() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    server.bind("app");
    let tree = dev.work_tree("tree", &[("Dockerfile", "FROM scratch\n")]);
    let out = std::thread::scope(|scope| {
        scope.spawn(|| {
            server.wait_for_build("app", 1);
            // So that it is told of once.
            std::thread::sleep(std::time::Duration::from_secs(2));
            server.revoke("dev", "app");
        });
        dev.try_git(&tree, &["push", "-o", "wait", &dev.ssh_url("app"), "main"])
    });
    let said = text(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(
        said.contains("app build 1: its repository was removed, or you may not see it any more"),
        "{said}"
    );
    assert!(said.contains("verdict: not done"), "{said}");
}

#[test]
fn of_several_refs_the_good_ones_move_unless_it_is_atomic() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let tree = dev.work_tree("tree", &[("a", "a")]);
    // So that none of the good ones is the first branch.
    dev.git(&tree, &["push", "-q", &both(&server, &dev, "app")[0], "main"]);
    for (n, url) in both(&server, &dev, "app").iter().enumerate() {
        let (good, bad) = (format!("main:refs/heads/good{n}"), "main:refs/slipway/evil");
        let out = dev.try_git(&tree, &["push", "--atomic", url, &good, bad]);
        assert!(!out.status.success());
        assert!(!dev.git(&tree, &["ls-remote", url]).contains("good"), "atomic means none");
        let out = dev.try_git(&tree, &["push", url, &good, bad]);
        let said = text(&out.stderr);
        assert!(!out.status.success() && said.contains("refs/slipway/evil belongs to the server"), "{said}");
        let listed = dev.git(&tree, &["ls-remote", url]);
        assert!(listed.contains(&format!("good{n}")) && !listed.contains("evil"), "{listed}");
        dev.git(&tree, &["push", "-q", url, "--delete", &format!("good{n}")]);
    }
}

#[test]
fn a_branch_names_a_commit_and_nothing_else() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let tree = dev.work_tree("tree", &[("a", "a")]);
    dev.git(&tree, &["tag", "-a", "-m", "one", "v1"]);
    let blob = dev.git(&tree, &["rev-parse", "HEAD:a"]);
    for url in both(&server, &dev, "app") {
        dev.git(&tree, &["push", "-q", &url, "main"]);
        for what in ["v1", "main^{tree}", blob.trim()] {
            let out = dev.try_git(&tree, &["push", &url, &format!("+{what}:refs/heads/main")]);
            let said = text(&out.stderr);
            assert!(!out.status.success() && said.contains("non-commit object"), "{what}: {said}");
            dev.git(&tree, &["push", "-q", &url, &format!("+{what}:refs/tags/t")]);
        }
    }
}

/// Text that does not compress.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(33 + (state >> 56) as u8 % 90)
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn a_pack_that_is_too_large_is_refused_in_a_sentence() {
    let server = Server::start_with(Limits { pack_size_max: 200_000, ..Limits::default() });
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let tree = dev.work_tree("tree", &[("big", &noise(7, 6_000_000))]);
    for url in both(&server, &dev, "app") {
        let out = dev.try_git(&tree, &["push", &url, "main"]);
        let said = text(&out.stderr);
        assert!(!out.status.success(), "{said}");
        assert!(said.contains("200000") && said.contains("unpack"), "{said}");
        assert_eq!(dev.git(&tree, &["ls-remote", &url]), "");
    }
}

#[test]
fn a_larger_push_and_its_clone_go_through_whole() {
    let server = Server::start();
    let dev = server.person("dev", false);
    let bare = server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let files: Vec<(String, String)> = (0..20).map(|n| (format!("f{n}"), noise(n, 300_000))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
    for (n, url) in both(&server, &dev, "app").iter().enumerate() {
        let tree = dev.work_tree(&format!("tree{n}"), &files);
        // Over HTTP this is more than http.postBuffer: a probe, then a chunked body.
        dev.commit(&tree, &[("n", &noise(100 + n as u64, 2_000_000))], "more");
        dev.git(&tree, &["push", "-q", url, &format!("main:refs/heads/b{n}")]);
        let target = dev.home.join(format!("clone{n}"));
        dev.git(&dev.home, &["clone", "-q", "-b", &format!("b{n}"), url, target.to_str().expect("text")]);
        dev.git(&target, &["fsck", "--full"]);
        assert_eq!(dev.git(&target, &["rev-parse", "HEAD"]), dev.git(&tree, &["rev-parse", "HEAD"]));
    }
    dev.git(&bare, &["fsck", "--full", "--strict"]);
}

#[test]
fn what_no_ref_reaches_is_never_sent() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let tree = dev.work_tree("tree", &[("a", "a")]);
    let secret = dev.commit(&tree, &[("password", "hunter2")], "oops");
    let blob = dev.git(&tree, &["rev-parse", "HEAD:password"]).trim().to_owned();
    for (n, url) in both(&server, &dev, "app").iter().enumerate() {
        dev.git(&tree, &["push", "-q", "--force", url, &format!("{secret}:refs/heads/main")]);
        dev.git(&tree, &["push", "-q", "--force", url, "HEAD~1:refs/heads/main"]);
        for protocol in ["0", "2"] {
            let other = dev.work_tree(&format!("other{n}{protocol}"), &[("x", "x")]);
            let version = format!("protocol.version={protocol}");
            for wanted in [&secret, &blob] {
                let out = dev.try_git(&other, &["-c", &version, "fetch", url, wanted]);
                let said = text(&out.stderr);
                assert!(!out.status.success() && said.contains("not our ref"), "{protocol}: {said}");
            }
            // A reachable commit may be asked for by its id.
            let tip = dev.git(&tree, &["rev-parse", "HEAD~1"]);
            dev.git(&other, &["-c", &version, "fetch", "-q", url, tip.trim()]);
        }
    }
}

#[test]
fn many_clones_at_once_are_all_whole() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let tree = dev.work_tree("tree", &[("a", &noise(1, 500_000))]);
    let urls = both(&server, &dev, "app");
    dev.git(&tree, &["push", "-q", &urls[0], "main"]);
    let children: Vec<_> = (0..12)
        .map(|n| {
            let target = dev.home.join(format!("c{n}"));
            let url = &urls[n % 2];
            let clone =
                dev.git_command(&dev.home, &["clone", "-q", url, target.to_str().expect("text")]).spawn();
            (target, clone.expect("git runs"))
        })
        .collect();
    for (target, mut child) in children {
        assert!(child.wait().expect("ends").success());
        dev.git(&target, &["fsck", "--full"]);
    }
}

#[test]
fn a_push_whose_history_is_missing_is_refused() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let url = dev.ssh_url("app");
    let tree = dev.work_tree("tree", &[("a", "a")]);
    dev.commit(&tree, &[("b", "b")], "second");
    // A clone of depth 1 claims to have only the tip; the server has nothing.
    let shallow = dev.home.join("shallow");
    let from = format!("file://{}", tree.display());
    dev.git(&dev.home, &["clone", "-q", "--depth", "1", &from, shallow.to_str().expect("text")]);
    let out = dev.try_git(&shallow, &["push", &url, "main"]);
    assert!(!out.status.success(), "{}", text(&out.stderr));
    assert_eq!(dev.git(&tree, &["ls-remote", &url]), "");
}
