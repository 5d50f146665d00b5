//! Pushes and what the pusher is told.

use slipway_core::{Role, Scope};
use slipway_git_server::Limits;

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
        let out = dev.try_git(&tree, &["push", "-o", "wait", url, "main"]);
        let said = text(&out.stderr);
        assert!(out.status.success(), "{said}");
        let build = format!("remote: build {} → http://{}/app/builds/{}", n + 1, server.http, n + 1);
        let order = [build.as_str(), "remote: event ", "remote: testing?[2J", "remote: verdict: passed", "-> main"];
        let found: Vec<Option<usize>> = order.iter().map(|line| said.find(line)).collect();
        assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{found:?} in\n{said}");
    }
}

#[test]
fn of_several_refs_the_good_ones_move_unless_it_is_atomic() {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let tree = dev.work_tree("tree", &[("a", "a")]);
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
fn a_pack_that_is_too_large_is_refused_in_a_sentence() {
    let server = Server::start_with(Limits { pack_bytes_max: 200_000, ..Limits::default() });
    let dev = server.person("dev", false);
    server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let noise: String = (0..4_000_000u32).map(|n| char::from(33 + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 90)).collect();
    let tree = dev.work_tree("tree", &[("big", &noise)]);
    for url in both(&server, &dev, "app") {
        let out = dev.try_git(&tree, &["push", &url, "main"]);
        let said = text(&out.stderr);
        assert!(!out.status.success(), "{said}");
        assert!(said.contains("200000") || said.contains("200 000") || said.contains("too large"), "{said}");
        assert_eq!(dev.git(&tree, &["ls-remote", &url]), "");
    }
}

#[test]
fn a_larger_push_and_its_clone_go_through_whole() {
    let server = Server::start();
    let dev = server.person("dev", false);
    let bare = server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let mut seed = 1u64;
    let mut noise = || -> String {
        (0..300_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(33 + (seed >> 56) as u8 % 90)
            })
            .collect()
    };
    let files: Vec<(String, String)> = (0..20).map(|n| (format!("f{n}"), noise())).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
    let tree = dev.work_tree("tree", &files);
    for (n, url) in both(&server, &dev, "app").iter().enumerate() {
        // Over HTTP this is more than http.postBuffer: a probe, then a chunked body.
        dev.git(&tree, &["push", "-q", url, &format!("main:refs/heads/b{n}")]);
        let target = dev.home.join(format!("clone{n}"));
        dev.git(&dev.home, &["clone", "-q", "-b", &format!("b{n}"), url, target.to_str().expect("text")]);
        dev.git(&target, &["fsck", "--full"]);
        assert_eq!(dev.git(&target, &["rev-parse", "HEAD"]), dev.git(&tree, &["rev-parse", "HEAD"]));
        dev.git(&tree, &["push", "-q", url, "--delete", &format!("b{n}")]);
        dev.git(&tree, &["push", "-q", url, "main:refs/heads/keep"]);
    }
    dev.git(&bare, &["fsck", "--full", "--strict"]);
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
