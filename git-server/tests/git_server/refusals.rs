//! Who is refused, and what they are told: the same sentence for a repository that is not there and one that is not
//! theirs.

use slipway_core::{Role, Scope, UnixMillis};

use crate::server::{Server, fingerprint, text};

#[test]
fn a_forbidden_repository_answers_as_an_unknown_one() {
    let server = Server::start();
    let eve = server.person("eve", false);
    server.repo("secret", false);
    let token = server.token("eve", &[Scope::Api], None);
    let home = eve.home.clone();
    let ask = |url: &str, service: &str| {
        let args: &[&str] =
            if service == "fetch" { &["ls-remote", url] } else { &["push", url, "HEAD:refs/heads/main"] };
        let tree = home.join("tree");
        if !tree.exists() {
            eve.work_tree("tree", &[("a", "a")]);
        }
        let out = eve.try_git(&tree, args);
        assert!(!out.status.success(), "{url}");
        text(&out.stderr).replace("secret", "NAME").replace("nowhere", "NAME")
    };
    for service in ["fetch", "push"] {
        let hidden = ask(&eve.ssh_url("secret"), service);
        assert_eq!(hidden, ask(&eve.ssh_url("nowhere"), service));
        assert!(hidden.contains("There is no repository \"NAME\" that you may see."), "{hidden}");
        let hidden = ask(&eve.http_url("secret", &token), service);
        assert_eq!(hidden, ask(&eve.http_url("nowhere", &token), service));
        assert!(hidden.contains("There is no repository \"NAME\" that you may see."), "{hidden}");
        // Nobody at all is asked to sign in, for both.
        let anonymous = format!("http://{}/secret", server.http);
        let hidden = ask(&anonymous, service);
        assert_eq!(hidden, ask(&anonymous.replace("secret", "nowhere"), service));
        assert!(hidden.contains("could not read Username"), "{hidden}");
    }
}

#[test]
fn readers_cannot_push_and_are_told_so() {
    let server = Server::start();
    let ann = server.person("ann", false);
    server.repo("app", false);
    server.grant("ann", "app", Role::Read);
    let tree = ann.work_tree("tree", &[("a", "a")]);
    let token = server.token("ann", &[Scope::Api], None);
    for url in [ann.ssh_url("app"), ann.http_url("app", &token)] {
        assert!(ann.try_git(&tree, &["ls-remote", &url]).status.success());
        let out = ann.try_git(&tree, &["push", &url, "main"]);
        let said = text(&out.stderr);
        assert!(
            !out.status.success() && said.contains("Ask an admin of app for the role \"write\"."),
            "{said}"
        );
    }
}

#[test]
fn a_token_opens_what_its_scopes_say_and_nothing_once_it_is_over() {
    let server = Server::start();
    let ann = server.person("ann", true);
    server.person("bob", false);
    server.repo("app", false);
    let tree = ann.work_tree("tree", &[("a", "a")]);
    let list = |token: &str| ann.try_git(&tree, &["ls-remote", &ann.http_url("app", token)]);
    let push = |token: &str| ann.try_git(&tree, &["push", &ann.http_url("app", token), "main"]);
    let read = server.token("ann", &[Scope::RepoRead], None);
    assert!(list(&read).status.success());
    assert!(text(&push(&read).stderr).contains("The token needs the scope repo:write."));
    let over = server.token("ann", &[Scope::Api], Some(UnixMillis(1)));
    for wrong in [over.as_str(), "slp_nonsense", "password", &server.token("bob", &[Scope::Api], None)] {
        assert!(!list(wrong).status.success(), "{wrong}");
    }
    let said = server.block_on(async {
        let url = format!("http://{}/app/info/refs?service=git-upload-pack", server.http);
        crate::http::get(&url, Some(("ann", &over))).await
    });
    assert_eq!(said.status, 401);
    assert!(text(&said.body).contains("has expired"), "{}", text(&said.body));
}

#[test]
fn a_public_repository_is_read_by_everyone_and_written_by_none() {
    let server = Server::start();
    let dev = server.person("dev", true);
    server.repo("open", true);
    let tree = dev.work_tree("tree", &[("a", "a")]);
    let url = format!("http://{}/open", server.http);
    assert!(dev.try_git(&tree, &["ls-remote", &url]).status.success());
    let out = dev.try_git(&tree, &["push", &url, "main"]);
    assert!(text(&out.stderr).contains("could not read Username"), "{}", text(&out.stderr));
}

#[test]
fn guessing_tokens_is_slowed_down() {
    let server = Server::start();
    server.person("ann", true);
    server.repo("app", false);
    let good = server.token("ann", &[Scope::Api], None);
    server.block_on(async {
        let url = format!("http://{}/app/info/refs?service=git-upload-pack", server.http);
        for _ in 0..10 {
            assert_eq!(crate::http::get(&url, Some(("ann", "slp_guess"))).await.status, 401);
        }
        let said = crate::http::get(&url, Some(("ann", "slp_guess"))).await;
        assert_eq!(said.status, 503);
        assert!(text(&said.body).contains("from your address have failed"), "{}", text(&said.body));
        // The right one is taken all the same.
        assert_eq!(crate::http::get(&url, Some(("ann", &good))).await.status, 200);
        // Whoever gives no credentials is not concerned.
        assert_eq!(crate::http::get(&url, None).await.status, 401);
    });
}

#[test]
fn a_key_that_nobody_has_opens_nothing_and_one_that_is_removed_no_more() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let said = ann.ssh(&[], &["whoami"]).output().expect("ssh runs");
    assert!(said.status.success(), "{}", text(&said.stderr));
    server.store.remove_key(&fingerprint(&ann.home.join("id"))).expect("removed");
    let said = ann.ssh(&[], &["whoami"]).output().expect("ssh runs");
    assert_eq!(said.status.code(), Some(255));
    assert!(text(&said.stderr).contains("Permission denied (publickey)"), "{}", text(&said.stderr));
}

#[test]
fn a_name_that_cannot_be_one_is_an_unknown_repository() {
    let server = Server::start();
    let ann = server.person("ann", true);
    for path in ["../../etc", "a/b", "-x", "%2e%2e", "~ann/app", "x.git.git", "app%00"] {
        let out = ann.try_git(&ann.home, &["ls-remote", &ann.ssh_url(path)]);
        let said = text(&out.stderr);
        assert!(!out.status.success(), "{path}: {said}");
        assert!(!said.contains("panicked") && !said.contains("/data/"), "{path}: {said}");
    }
}

#[test]
fn a_repository_that_lost_its_objects_is_not_taken_for_an_empty_one() {
    let server = Server::start();
    let ann = server.person("ann", false);
    let path = server.repo("app", false);
    server.grant("ann", "app", Role::Write);
    let url = ann.ssh_url("app");
    let tree = ann.work_tree("tree", &[("a", "a")]);
    ann.git(&tree, &["push", &url, "main"]);
    for file in std::fs::read_dir(path.join("objects/pack")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    for version in ["0", "2"] {
        let version = format!("protocol.version={version}");
        let out = ann.try_git(&ann.home, &["-c", &version, "clone", "-q", &url, "clone"]);
        assert!(!out.status.success(), "{}", text(&out.stderr));
    }
}
