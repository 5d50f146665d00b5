//! Addresses that other programs and people ask, beside git and the pages: each is answered in the asker's own form, and what is
//! not there is said not to be.

#[path = "harness/mod.rs"]
mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use harness::{Slipway, curl};

#[test]
fn git_lfs_go_and_browsers_are_answered_in_their_own_forms() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let bob = server.person("bob", false);
    server.cli(&["repo", "create", "lib", "--public"]);
    server.cli(&["repo", "create", "hidden"]);
    let at = |path: &str| format!("http://{}{path}", server.http);
    let (status, said) = curl(&["-i", "-X", "POST", "-d", "{}", &at("/lib.git/info/lfs/objects/batch")]);
    assert!(status == 501 && said.contains("application/vnd.git-lfs+json"), "{said}");
    let body = said.rsplit("\r\n\r\n").next().unwrap_or_default();
    let told: serde_json::Value = serde_json::from_str(body).expect("json");
    assert!(told["message"].as_str().is_some_and(|m| m.contains("no Git LFS objects")), "{told}");

    let (status, said) = curl(&["-i", &at("/v1/repos/lib.git")]);
    assert!(status == 307 && said.to_lowercase().contains("location: /lib\r"), "{said}");

    let (status, said) = curl(&[&at("/lib/v2/pkg?go-get=1")]);
    let meta =
        format!("<meta name=\"go-import\" content=\"{}/lib git http://{}/lib\">", server.http, server.http);
    assert!(status == 200 && said.contains(&meta), "{said}");
    // Who may not read it learns nothing: it is as with a name that nobody has.
    assert_ne!(curl(&[&at("/hidden?go-get=1")]).0, 200);
    assert_eq!(curl(&[&at("/hidden/pkg?go-get=1")]).0, curl(&[&at("/nosuch/pkg?go-get=1")]).0);
    assert_eq!(ann.get("/hidden/pkg?go-get=1").0, 200);

    let wrong = format!("{}:{}", bob.name, ann.token);
    let (status, said) = curl(&["-u", &wrong, &at("/-/api/v1/repos")]);
    assert!(status == 401 && said.contains("not one of the account \\\"bob\\\""), "{said}");
}

#[test]
fn what_is_not_there_is_404_and_a_tag_of_no_commit_leads_nowhere() {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a/f", "x\n"), ("gone", "x\n")]);
    std::fs::remove_file(tree.join("gone")).expect("removed");
    ann.commit(&tree, &[], "without");
    ann.git(&tree, &["tag", "of-a-tree", "HEAD^{tree}"]);
    ann.git(&tree, &["tag", "of-a-blob", "HEAD:a/f"]);
    ann.git(&tree, &["tag", "of-a-commit"]);
    ann.git(&tree, &["push", "-q", "--tags", &ann.http_url("app"), "main"]);
    for (path, status) in [
        ("/app/log", 200),
        ("/app/log/a", 200),
        ("/app/log/gone", 200),
        ("/app/log/nosuch", 404),
        ("/app/log/nosuch/", 404),
        ("/app/files?at=of-a-commit", 200),
        ("/app/files?at=nosuch", 404),
    ] {
        assert_eq!(ann.get(path).0, status, "{path}");
    }
    let (_, page) = ann.get("/app/refs");
    let links = |tag: &str| page.contains(&format!("at=refs%2Ftags%2F{tag}"));
    assert!(links("of-a-commit") && !links("of-a-tree") && !links("of-a-blob"), "{page}");
    assert!(page.contains("of-a-tree") && page.matches("names no commit").count() == 2, "{page}");
    for tag in ["of-a-tree", "of-a-blob"] {
        let (status, said) = ann.get(&format!("/app/files?at={tag}"));
        assert!(status == 404 && said.contains("names no commit"), "{said}");
        assert!(!ann.get("/app/files").1.contains(tag), "the menu offers {tag}");
    }
}

#[test]
fn an_empty_host_is_told_as_one() {
    let server = Slipway::start();
    let mut stream = TcpStream::connect(&server.http).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n").expect("sent");
    let mut said = String::new();
    drop(stream.read_to_string(&mut said));
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("Host header is empty"), "{said}");
}
