//! Who somebody is, told in every way that today's programs tell it, and names that must not be taken for one another.

#[path = "harness/mod.rs"]
mod harness;

use std::process::Command;

use harness::{Slipway, curl, run, text};

/// Status of Git over HTTP and of the API for those credentials.
fn let_in(server: &Slipway, credentials: &[&str]) -> (u16, u16) {
    let ask = |path: &str| curl(&[credentials, &[&format!("http://{}{path}", server.http)]].concat()).0;
    (ask("/app/info/refs?service=git-upload-pack"), ask("/-/api/v1/repos/app"))
}

#[test]
fn tokens_are_taken_as_bots_send_them_and_no_name_stands_for_another_account() {
    let server = Slipway::start();
    let (ann, bob) = (server.person("ann", true), server.person("bob", false));
    server.cli(&["user", "add", "git"]);
    server.cli(&["repo", "create", "app"]);
    let t = &ann.token;
    for (user, want) in [
        (format!("ann:{t}"), 200),
        (format!("Ann:{t}"), 200),
        (format!("x-access-token:{t}"), 200),
        (format!("oauth2:{t}"), 200),
        (format!("gitlab-ci-token:{t}"), 200),
        (format!(":{t}"), 200),
        (format!("{t}:"), 200),
        (format!("{t}:x-oauth-basic"), 200),
        // An account's name means that account, even one that programs use for want of a name.
        (format!("bob:{t}"), 401),
        (format!("BOB:{t}"), 401),
        (format!("git:{t}"), 401),
        (format!("nobody:{t}"), 401),
        (format!("{t}:another-password"), 401),
    ] {
        assert_eq!(let_in(&server, &["-u", &user]), (want, want), "{}", user.replace(t.as_str(), "T"));
    }
    for (header, want) in [
        (format!("Authorization: token {t}"), 200),
        (format!("Authorization: Bearer {t}"), 200),
        (format!("Authorization: Digest {t}"), 401),
    ] {
        assert_eq!(let_in(&server, &["-H", &header]), (want, want), "{}", header.replace(t.as_str(), "T"));
    }
    let url = format!("http://{t}@{}/app", server.http);
    assert!(ann.try_git(&ann.home, &["ls-remote", &url]).status.success(), "stock git, the token alone");
    let of_bob = format!("x-access-token:{}", bob.token);
    assert_eq!(let_in(&server, &["-u", &of_bob]), (404, 404), "it is bob who comes");
    let log = server.log();
    assert!(!log.contains(t.as_str()) && !log.contains(&t[17..]), "no token is in the log:\n{log}");
}

#[test]
fn an_owner_is_made_and_unmade_and_one_stays() {
    let server = Slipway::start();
    let (ann, bob) = (server.person("ann", true), server.person("bob", false));
    assert_eq!(bob.get("/-/api/v1/users").0, 403);
    assert!(server.cli(&["user", "set", "bob", "--owner"]).contains("bob is an owner of the server now"));
    assert_eq!(bob.get("/-/api/v1/users").0, 200, "at once, with the token that was there");
    assert!(bob.over_ssh("user set ann --no-owner", "").status.success());
    assert_eq!(ann.get("/-/api/v1/users").0, 403, "and taken at once");
    let refused = server.try_cli(&["user", "set", "bob", "--no-owner"]);
    assert!(
        text(&refused.stderr).contains("bob is the last owner of this server"),
        "{}",
        text(&refused.stderr)
    );
    let url = format!("http://{}/-/api/v1/users/bob", server.http);
    let body = ["-X", "PATCH", "-H", "Content-Type: application/json", "-d", "{\"owner\":true}", &url];
    assert_eq!(curl(&[&["-u", &format!("ann:{}", ann.token)], &body[..]].concat()).0, 403, "not by herself");
    assert!(!server.try_cli(&["user", "set", "nobody", "--owner"]).status.success());
    assert!(!server.try_cli(&["user", "set", "bob"]).status.success(), "one of both has to be said");
}

/// Signs in by the form; the cookie.
fn sign_in(server: &Slipway, token: &str) -> String {
    let url = format!("http://{}/-/login", server.http);
    let out = run(Command::new("curl")
        .args(["-s", "-i", "-H", "Sec-Fetch-Site: same-origin", "-d"])
        .args([&format!("token={token}"), &url]));
    let head = text(&out.stdout);
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    cookie.split(';').next().expect("a value").to_owned()
}

#[test]
fn sessions_are_listed_and_ended_everywhere() {
    let server = Slipway::start();
    let (ann, bob) = (server.person("ann", true), server.person("bob", false));
    let (one, two) = (sign_in(&server, &bob.token), sign_in(&server, &bob.token));
    let page = |cookie: &str| {
        curl(&["-H", &format!("Cookie: {cookie}"), &format!("http://{}/-/sessions", server.http)])
    };
    let (status, shown) = page(&one);
    assert!(status == 200 && shown.contains("this one") && shown.contains("Sign out everywhere"), "{shown}");
    assert!(!shown.contains(one.split('=').nth(1).expect("a value")), "no cookie is shown");
    let listed = server.json(&["user", "sessions", "bob"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(listed[0]["parent"]["kind"], "token");
    assert_eq!(bob.get("/-/api/v1/users/ann/sessions").0, 403, "others' are an owner's business");
    server.cli(&["user", "sign-out", "bob"]);
    for cookie in [&one, &two] {
        assert_ne!(page(cookie).0, 200);
    }
    assert_eq!(server.json(&["user", "sessions", "bob"]).as_array().map(Vec::len), Some(0));
    assert_eq!(bob.get("/-/api/v1/whoami").0, 200, "tokens stay");
    assert_eq!(ann.get("/-/api/v1/users/bob/sessions").0, 200);
    assert!(!server.try_cli(&["user", "sign-out", "nobody"]).status.success());
}

#[test]
fn names_that_differ_in_case_alone_are_refused_and_images_are_not_mixed() {
    let server = Slipway::start();
    server.person("ann", true);
    server.cli(&["repo", "create", "App"]);
    server.cli(&["repo", "create", "other"]);
    for args in [&["repo", "create", "app"][..], &["repo", "rename", "other", "APP"], &["user", "add", "Ann"]]
    {
        let refused = server.try_cli(args);
        assert!(
            text(&refused.stderr).contains("in upper and lower case alone"),
            "{args:?}: {}",
            text(&refused.stderr)
        );
    }
    server.cli(&["repo", "rename", "App", "app"]);
    server.cli(&["registry", "add", "loc", "--url", "127.0.0.1:5000", "--insecure"]);
    server.cli(&["bind", "app", "--registry", "loc"]);
    server.cli(&["bind", "app", "--registry", "loc"]);
    server.cli(&["bind", "other", "--registry", "loc", "--image", "app"]);
    // Whoever has the path of its own name taken meanwhile names another, or the same.
    server.cli(&["unbind", "app", "--registry"]);
    let refused = server.try_cli(&["bind", "app", "--registry", "loc"]);
    assert!(text(&refused.stderr).contains("--image"), "{}", text(&refused.stderr));
    server.cli(&["bind", "app", "--registry", "loc", "--image", "app"]);
}

#[test]
fn names_of_what_one_may_not_see_cannot_be_tried_out() {
    let server = Slipway::start();
    let (_ann, eve) = (server.person("ann", true), server.person("eve", false));
    server.cli(&["repo", "create", "secret"]);
    assert!(eve.over_ssh("repo create mine", "").status.success());
    let same = |hidden: &str, unknown: &str| {
        let ask = |path: &str| {
            curl(&["-u", &format!("eve:{}", eve.token), &format!("http://{}{path}", server.http)])
        };
        let (a, b) = (ask(hidden), ask(unknown));
        assert_eq!(a.0, b.0, "{hidden}");
        assert_eq!(a.1.replace("secret", "NAME"), b.1.replace("nothing", "NAME"), "{hidden}");
    };
    for path in ["", "/files", "/log", "/refs", "/builds", "/info/refs?service=git-upload-pack", "/settings"]
    {
        same(&format!("/secret{path}"), &format!("/nothing{path}"));
    }
    same("/-/api/v1/repos/secret", "/-/api/v1/repos/nothing");
    let git = |name: &str| {
        let out = eve.try_git(&eve.home, &["ls-remote", &eve.ssh_url(name)]);
        text(&out.stderr).replace(name, "NAME")
    };
    assert_eq!(git("secret"), git("nothing"));
    // Whoever makes or gives something has to be told; nobody is told often.
    let status = |method: &str, path: &str, body: &str| {
        let url = format!("http://{}/-/api/v1{path}", server.http);
        let with = ["-X", method, "-H", "Content-Type: application/json", "-d", body, &url];
        curl(&[&["-u", &format!("eve:{}", eve.token)], &with[..]].concat()).0
    };
    assert_eq!(status("POST", "/repos", "{\"name\":\"secret\"}"), 409);
    let last = (0..30).map(|n| status("PUT", &format!("/repos/mine/grants/user{n}"), "{\"role\":\"read\"}"));
    assert_eq!(
        last.collect::<Vec<_>>().split_last(),
        Some((&503, &[[404; 19].as_slice(), &[503; 10]].concat()[..]))
    );
    assert_eq!(
        status("PUT", "/repos/mine/grants/ann", "{\"role\":\"read\"}"),
        503,
        "a right name tells no more"
    );
    assert_eq!(status("POST", "/repos", "{\"name\":\"free\"}"), 503);
    server.cli(&["grant", "ann", "mine", "read"]);
}
