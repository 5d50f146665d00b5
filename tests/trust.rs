//! Who gets in, what they see, and what goes on when a right is taken away: one answer on every surface.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Person, Slipway, curl, run, text};
use serde_json::Value;

fn server_with_app() -> (Slipway, Person, PathBuf) {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.http_url("app")]);
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    (server, ann, tree)
}

fn wrong(n: usize) -> String {
    format!("slp_wrongwrong{:02}_{}", n % 100, "x".repeat(40))
}

/// The right credentials work, and at once.
fn assert_let_in(ann: &Person, tree: &std::path::Path) {
    let begun = Instant::now();
    let info = format!("http://{}/app/info/refs?service=git-upload-pack", ann.http);
    assert_eq!(curl(&["-u", &format!("ann:{}", ann.token), &info]).0, 200, "git over HTTP");
    assert_eq!(ann.get("/-/api/v1/whoami").0, 200, "the API");
    let form = [
        "-d",
        &format!("token={}", ann.token),
        "-H",
        "Sec-Fetch-Site: same-origin",
        &format!("http://{}/-/login", ann.http),
    ];
    assert_eq!(curl(&form).0, 303, "the form");
    ann.git(tree, &["ls-remote", "-q", &ann.ssh_url("app")]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn failed_sign_ins_slow_whoever_fails_and_nobody_else() {
    let (server, ann, tree) = server_with_app();
    let http = &server.http;
    let info = format!("http://{http}/app/info/refs?service=git-upload-pack");
    let api = format!("http://{http}/-/api/v1/whoami");
    let login = format!("http://{http}/-/login");
    // As the same account, as another one, as none; by every door.
    let mut last = [0; 4];
    for n in 0..40 {
        last[0] = curl(&["-u", &format!("ann:{}", wrong(1)), &info]).0;
        last[1] = curl(&["-u", &format!("nobody:{}", wrong(1)), &info]).0;
        last[2] = curl(&["-H", &format!("Authorization: Bearer {}", wrong(2)), &api]).0;
        last[3] =
            curl(&["-d", &format!("token={}", wrong(3)), "-H", "Sec-Fetch-Site: same-origin", &login]).0;
        if n == 0 {
            assert_eq!(last, [401; 4], "the first failure is told as one");
        }
    }
    assert_eq!(last, [503; 4], "failures are slowed at every door alike");
    assert_let_in(&ann, &tree);
    let stranger_key = ann.home.join("stranger");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&stranger_key));
    let stranger = Person { key: stranger_key, ..ann.clone() };
    for _ in 0..35 {
        assert!(!stranger.try_git(&tree, &["ls-remote", &ann.ssh_url("app")]).status.success());
    }
    assert_let_in(&ann, &tree);
    let log = server.log();
    let told = log.lines().filter(|l| l.contains("a sign-in failed")).count();
    assert!(told >= 10, "the log names failures:\n{log}");
    assert!(log.contains("sign-ins fail too often"), "and the lock-out:\n{log}");
    for account in ["ann", "nobody"] {
        assert!(
            log.lines().any(|l| l.contains("a sign-in failed") && l.contains(account)),
            "{account}:\n{log}"
        );
    }
    assert!(log.contains("SHA256:"), "the key that was refused is named:\n{log}");
    assert!(!log.contains(&"x".repeat(40)) && !log.contains(&ann.token), "no secret is in the log:\n{log}");
}

/// A server that believes a proxy at 127.0.0.1.
fn server_behind_a_proxy(extra: &str) -> Slipway {
    let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
    let data = folder.keep().join("data");
    fs::create_dir_all(&data).expect("folder");
    fs::write(data.join("config.toml"), format!("trusted_proxies = [\"127.0.0.1\"]\n{extra}"))
        .expect("config");
    Slipway::start_in(&data, &[])
}

#[test]
fn a_trusted_proxy_tells_who_fails_and_nobody_else_is_slowed() {
    let server = server_behind_a_proxy("");
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let fail = |header: &str| {
        let api = format!("http://{}/-/api/v1/whoami", server.http);
        curl(&["-u", &format!("ann:{}", wrong(1)), "-H", header, &api]).0
    };
    for _ in 0..15 {
        fail("X-Forwarded-For: 203.0.113.9");
    }
    assert_eq!(fail("X-Forwarded-For: 203.0.113.9"), 503);
    assert_eq!(
        fail("X-Forwarded-For: 198.51.100.1, 203.0.113.9"),
        503,
        "what the client adds counts for nothing"
    );
    assert_eq!(fail("Forwarded: for=203.0.113.9;proto=https"), 503, "the other header names the same client");
    assert_eq!(fail("X-Forwarded-For: 198.51.100.7"), 401, "another client behind the proxy");
    assert_eq!(ann.get("/-/api/v1/whoami").0, 200);
    assert!(server.log().contains("203.0.113.9"), "the log names the client:\n{}", server.log());
    // Without the setting the header is anybody's claim.
    let direct = Slipway::start();
    for n in 0..15 {
        let api = format!("http://{}/-/api/v1/whoami", direct.http);
        let claim = format!("X-Forwarded-For: 203.0.113.{n}");
        let status = curl(&["-u", &format!("ann:{}", wrong(1)), "-H", &claim, &api]).0;
        assert_eq!(status, if n < 10 { 401 } else { 503 }, "{n}");
    }
}

#[test]
fn the_proxy_protocol_tells_who_connects() {
    let server = server_behind_a_proxy("proxy_protocol = [\"ssh\"]\n");
    let talk = |sent: &[&[u8]]| {
        let mut stream = TcpStream::connect(&server.ssh).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.write_all(&sent.concat()).expect("sent");
        let mut answer = [0; 8];
        // Closed or cut off: what came so far counts.
        let read = stream.read(&mut answer).unwrap_or_default();
        text(&answer[..read])
    };
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x12\x67\0\x16";
    assert_eq!(talk(&[header, b"SSH-2.0-test\r\n"]), "SSH-2.0-");
    assert_eq!(talk(&[b"SSH-2.0-test\r\n"]), "", "a proxy that says nothing is not served");
}

/// What a reader must never see of a ref that git hides.
#[test]
fn a_hidden_ref_is_hidden_on_every_surface() {
    let (server, ann, tree) = server_with_app();
    server.cli(&["repo", "create", "other"]);
    ann.git(&tree, &["checkout", "-q", "-b", "embargo"]);
    let secret = ann.commit(&tree, &[("secret-file.txt", "the needle\n")], "Secret subject");
    ann.git(&tree, &["tag", "embargoed-tag"]);
    ann.git(&tree, &["push", "-q", "origin", "embargo", "embargoed-tag"]);
    let bob = server.person("bob", false);
    server.cli(&["grant", "bob", "app", "read"]);
    let config = server.data.join("repos/app.git/config");
    let mut text_now = fs::read_to_string(&config).expect("config");
    text_now.push_str("[transfer]\n\thideRefs = refs/heads/embargo\n\thideRefs = refs/tags/embargoed-tag\n");
    fs::write(&config, text_now).expect("config");
    let listed = bob.git(&tree, &["ls-remote", &bob.http_url("app")]);
    assert!(!listed.contains("embargo"), "git hides it: {listed}");
    let (short, blob) = (&secret[..12], ann.git(&tree, &["rev-parse", "HEAD:secret-file.txt"]));
    let gone = [
        "/app/files?at=embargo".to_owned(),
        format!("/app/files?at={secret}"),
        "/app/files/secret-file.txt?at=embargo".into(),
        format!("/app/raw/secret-file.txt?at={secret}"),
        format!("/app/raw/secret-file.txt?at={short}"),
        format!("/app/commit/{secret}"),
        format!("/app/commit/{short}"),
        format!("/app/commit/{}", blob.trim()),
        "/app/log?at=embargo".into(),
        format!("/app/log?at={secret}"),
        "/app/log?at=refs/tags/embargoed-tag".into(),
        format!("/app/compare/main...{secret}"),
        "/app/compare/main...embargo".into(),
        format!("/app/archive/{secret}.tar.gz"),
        "/app/archive/embargo.tar.gz".into(),
        format!("/app/search?q=needle&at={secret}"),
        "/app/search?q=needle&at=embargo".into(),
    ];
    for path in &gone {
        let (status, body) = bob.get(path);
        assert_eq!(status, 404, "{path}: {body}");
        assert!(!body.contains("Secret subject") && !body.contains("the needle"), "{path}: {body}");
    }
    for path in [
        "/",
        "/app",
        "/app/files",
        "/app/refs",
        "/app/log",
        "/app/search?q=needle",
        "/app/search?q=embargo",
        "/app/builds",
        "/app/deploys",
        "/-/api/v1/repos/app",
        "/-/api/v1/repos/app/events",
        "/-/api/v1/repos/app/builds",
    ] {
        let (status, body) = bob.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        for told in ["Secret subject", secret.as_str(), "heads/embargo", "embargoed-tag", "secret-file"] {
            assert!(!body.contains(told), "{path} tells {told}: {body}");
        }
    }
    let events: Value = serde_json::from_str(&bob.get("/-/api/v1/repos/app/events").1).expect("json");
    assert_eq!(
        events["events"].as_array().expect("events").len(),
        1,
        "the push of main is still told: {events}"
    );
}

#[test]
fn a_session_ends_with_its_token_and_a_token_with_the_one_that_made_it() {
    let (server, ann, _) = server_with_app();
    let made = server.json(&["token", "create", "ann", "--scope", "api", "--expires", "4s"]);
    let value = made["value"].as_str().expect("value").to_owned();
    let jar = ann.home.join("jar");
    let jar = jar.to_str().expect("path");
    let login = format!("http://{}/-/login", server.http);
    let signed_in =
        curl(&["-c", jar, "-d", &format!("token={value}"), "-H", "Sec-Fetch-Site: same-origin", &login]);
    assert_eq!(signed_in.0, 303, "{signed_in:?}");
    let page = format!("http://{}/-/keys", server.http);
    assert_eq!(curl(&["-b", jar, &page]).0, 200);
    let tokens = format!("http://{}/-/api/v1/tokens", server.http);
    let mint =
        ["-X", "POST", "-H", "Content-Type: application/json", "-d", "{\"scopes\":[\"api\"]}", &tokens];
    let bearer = format!("Authorization: Bearer {value}");
    let (status, body) = curl(&[&["-H", &bearer], &mint[..]].concat());
    assert_eq!(status, 201, "{body}");
    let minted: Value = serde_json::from_str(&body).expect("json");
    let end = minted["token"]["expires"].as_u64().expect("a token of a token that ends has an end");
    assert!(end <= made["token"]["expires"].as_u64().expect("an end"), "{minted} {made}");
    std::thread::sleep(Duration::from_millis(4500));
    assert_ne!(curl(&["-b", jar, &page]).0, 200, "the session is over with its token");
    let child = format!("Authorization: Bearer {}", minted["value"].as_str().expect("value"));
    let whoami = format!("http://{}/-/api/v1/whoami", server.http);
    assert_eq!(curl(&["-H", &child, &whoami]).0, 401, "so is the token that it made");
}

/// A session of ann's that was opened with that token: the file with its cookie.
fn sign_in_with(ann: &Person, token: &str, jar: &str) -> String {
    let jar = ann.home.join(jar).to_str().expect("path").to_owned();
    let login = format!("http://{}/-/login", ann.http);
    let form = ["-c", &jar, "-d", &format!("token={token}"), "-H", "Sec-Fetch-Site: same-origin", &login];
    assert_eq!(curl(&form).0, 303, "signed in");
    jar
}

#[test]
fn removing_a_token_ends_what_was_made_with_it() {
    let (server, ann, tree) = server_with_app();
    let own = |token: &str| Person { token: token.to_owned(), ..ann.clone() };
    let value = |made: &Value| made["value"].as_str().expect("value").to_owned();
    let mint = |token: &str| -> Value {
        let bearer = format!("Authorization: Bearer {token}");
        let tokens = format!("http://{}/-/api/v1/tokens", ann.http);
        let (status, body) = curl(&[
            "-X",
            "POST",
            "-H",
            "Content-Type: application/json",
            "-H",
            &bearer,
            "-d",
            "{\"scopes\":[\"api\"]}",
            &tokens,
        ]);
        assert_eq!(status, 201, "{body}");
        serde_json::from_str(&body).expect("json")
    };
    let root = server.json(&["token", "create", "ann", "--scope", "api"]);
    let child = mint(&value(&root));
    assert_eq!(child["token"]["parent"]["id"], root["token"]["id"], "its parent is told: {child}");
    let grandchild = mint(&value(&child));
    let jar = sign_in_with(&ann, &value(&child), "jar-of-child");
    let kept_jar = sign_in_with(&ann, &ann.token, "jar-of-another");
    let page = format!("http://{}/-/keys", ann.http);
    let whoami = |made: &Value| own(&value(made)).get("/-/api/v1/whoami").0;
    assert_eq!([whoami(&root), whoami(&child), whoami(&grandchild)], [200; 3]);
    assert_eq!([curl(&["-b", &jar, &page]).0, curl(&["-b", &kept_jar, &page]).0], [200; 2]);

    server.cli(&["token", "remove", root["token"]["id"].as_str().expect("id")]);
    assert_eq!([whoami(&root), whoami(&child), whoami(&grandchild)], [401; 3]);
    assert_ne!(curl(&["-b", &jar, &page]).0, 200, "so is the session in a browser");
    assert_eq!(curl(&["-b", &kept_jar, &page]).0, 200, "another token's session goes on");
    assert_let_in(&ann, &tree);

    // A token that was made over SSH ends with the key.
    let made = ann.over_ssh("token create ann --scope api", "");
    let of_key = printed_value(&made.stdout);
    assert_eq!(own(&of_key).get("/-/api/v1/whoami").0, 200, "{}", text(&made.stderr));
    let keys: Value = serde_json::from_str(&ann.get("/-/api/v1/keys?user=ann").1).expect("json");
    server.cli(&["key", "remove", keys["keys"][0]["fingerprint"].as_str().expect("fingerprint")]);
    assert_eq!(own(&of_key).get("/-/api/v1/whoami").0, 401, "the key that it was made with is gone");
    assert_eq!(ann.get("/-/api/v1/whoami").0, 200, "what was made otherwise stays");
}

/// The token's value, which the command line prints alone.
fn printed_value(out: &[u8]) -> String {
    text(out).lines().last().unwrap_or_default().trim().to_owned()
}

/// Changes one thing of the repository, whichever of its names it has at the moment.
fn change(ann: &Person, names: &[&str], body: &Value) {
    let begun = Instant::now();
    let sign_in = format!("ann:{}", ann.token);
    while begun.elapsed() < Duration::from_secs(20) {
        for name in names {
            let url = format!("http://{}/-/api/v1/repos/{name}", ann.http);
            let json = "Content-Type: application/json";
            let patch = ["-X", "PATCH", "-u", &sign_in, "-H", json, "-d", &body.to_string(), &url];
            match curl(&patch).0 {
                200 => return,
                // Led to the name that it has just now, or the name came between.
                status => assert!(matches!(status, 308 | 404), "{body}: {status}"),
            }
        }
    }
    panic!("{body} is never taken");
}

#[test]
fn a_repository_made_private_stays_private_whatever_else_is_changed_meanwhile() {
    let (server, ann, tree) = server_with_app();
    server.cli(&["repo", "create", "open", "--public"]);
    ann.git(&tree, &["push", "-q", &ann.http_url("open"), "main"]);
    let names = ["open", "other"];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..10 {
                change(&ann, &names, &serde_json::json!({"name": names[(n + 1) % 2]}));
            }
        });
        scope.spawn(|| {
            for n in 0..20 {
                change(&ann, &names, &serde_json::json!({"description": format!("line {n}")}));
            }
        });
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            change(&ann, &names, &serde_json::json!({"public": false}));
        });
    });
    let shown: Value = serde_json::from_str(&ann.get("/-/api/v1/repos/open").1).expect("json");
    assert_eq!((&shown["public"], &shown["description"]), (&Value::Bool(false), &Value::from("line 19")));
    let listed = ann.git(&tree, &["ls-remote", &ann.http_url("open")]);
    assert!(listed.contains("refs/heads/main"), "the store and the disk agree on its name: {listed}");
    let info = format!("http://{}/open/info/refs?service=git-upload-pack", ann.http);
    assert_eq!(curl(&[&info]).0, 401, "nobody in particular sees it any more");

    let before = shown["last_modified"].as_u64().expect("when it was changed");
    ann.commit(&tree, &[("b.txt", "two\n")], "Second");
    ann.git(&tree, &["push", "-q", &ann.http_url("open"), "main"]);
    let shown: Value = serde_json::from_str(&ann.get("/-/api/v1/repos/open").1).expect("json");
    assert!(shown["last_modified"].as_u64() > Some(before), "a push is noted: {shown}");
}

/// A push over HTTP whose body stops halfway until it is let go.
struct Halfway {
    child: std::process::Child,
    rest: Vec<u8>,
}

impl Halfway {
    fn begin(person: &Person, tree: &std::path::Path, branch: &str) -> Self {
        let head = person.git(tree, &["rev-parse", "HEAD"]).trim().to_owned();
        let mut pack = Command::new(&person.git);
        pack.args(["pack-objects", "--stdout", "--revs"]).current_dir(tree).stdin(Stdio::piped());
        let mut pack = pack.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("git");
        pack.stdin.take().expect("stdin").write_all(format!("{head}\n").as_bytes()).expect("written");
        let pack = pack.wait_with_output().expect("a pack").stdout;
        let line = format!("{} {head} refs/heads/{branch}\0report-status", "0".repeat(40));
        let mut body = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
        body.extend_from_slice(&pack);
        let rest = body.split_off(body.len() - 10);
        let mut child = Command::new("curl")
            .args(["-s", "-m", "60", "-u", &format!("{}:{}", person.name, person.token)])
            .args(["-H", "Content-Type: application/x-git-receive-pack-request"])
            .args(["-H", "Expect:", "-T", "-", "-X", "POST"])
            .arg(format!("http://{}/app/git-receive-pack", person.http))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl");
        child.stdin.as_mut().expect("stdin").write_all(&body).expect("written");
        // The server has authorised it and waits for the end of the pack.
        std::thread::sleep(Duration::from_millis(700));
        Self { child, rest }
    }

    fn end(mut self) -> String {
        self.child.stdin.take().expect("stdin").write_all(&self.rest).expect("written");
        text(&self.child.wait_with_output().expect("curl ends").stdout)
    }
}

#[test]
fn a_push_under_way_is_refused_once_the_right_to_push_is_gone() {
    let (server, ann, tree) = server_with_app();
    let refs = || ann.git(&tree, &["ls-remote", "origin"]);
    let bob = server.person("bob", false);
    let granted = || server.cli(&["grant", "bob", "app", "write"]);
    granted();
    let first = Halfway::begin(&bob, &tree, "kept");
    let answer = first.end();
    assert!(answer.contains("ok refs/heads/kept"), "with the right it is taken: {answer}");
    let second = Halfway::begin(&bob, &tree, "revoked");
    server.cli(&["revoke", "bob", "app"]);
    let answer = second.end();
    assert!(!answer.contains("ok refs/heads/revoked"), "{answer}");
    granted();
    let third = Halfway::begin(&bob, &tree, "token-gone");
    let tokens: Value = serde_json::from_str(&ann.get("/-/api/v1/tokens?user=bob").1).expect("json");
    let id = tokens["tokens"][0]["id"].as_str().expect("id").to_owned();
    server.cli(&["token", "remove", &id]);
    assert!(!third.end().contains("ok refs/heads/token-gone"));
    let carl = server.person("carl", false);
    server.cli(&["grant", "carl", "app", "write"]);
    let fourth = Halfway::begin(&carl, &tree, "user-gone");
    server.cli(&["user", "remove", "carl"]);
    assert!(!fourth.end().contains("ok refs/heads/user-gone"));
    let now = refs();
    assert!(now.contains("refs/heads/kept"), "{now}");
    for gone in ["revoked", "token-gone", "user-gone"] {
        assert!(!now.contains(gone), "{gone}: {now}");
    }
}

/// A server without an engine: builds wait.
fn server_without_engine() -> Slipway {
    let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
    let data = folder.keep().join("data");
    fs::create_dir_all(&data).expect("folder");
    fs::write(data.join("config.toml"), "docker_host = \"unix:///nonexistent\"\n").expect("config");
    Slipway::start_in(&data, &[])
}

/// A repository `app` of that person with a build whose log has many lines of that word; its id.
fn app_with_log(server: &Slipway, person: &Person, tree: &std::path::Path, word: &str) -> u64 {
    let made = format!("http://{}/-/api/v1/repos", server.http);
    let sign_in = format!("{}:{}", person.name, person.token);
    let json = ["-H", "Content-Type: application/json", "-d", "{\"name\":\"app\"}"];
    let (status, record) = curl(&[&["-u", &sign_in], &json[..], &[&made]].concat());
    assert_eq!(status, 201, "{record}");
    let record: Value = serde_json::from_str(&record).expect("json");
    let id = record["id"].as_u64().expect("an id");
    server.cli(&["bind", "app", "--registry", "local", "--image", "app"]);
    person.git(tree, &["push", "-q", &person.http_url("app"), "main"]);
    let log = server.data.join(format!("builds/{id}/1.log"));
    fs::create_dir_all(log.parent().expect("a folder")).expect("made");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
    let line = format!("{word} {}\n", "x".repeat(90));
    file.write_all(line.repeat(300_000).as_bytes()).expect("written");
    id
}

#[test]
fn a_log_that_is_being_read_never_goes_on_in_another_repository_of_that_name() {
    let server = server_without_engine();
    let (ann, bob) = (server.person("ann", true), server.person("bob", false));
    let carl = server.person("carl", false);
    let tree = ann.work_tree("tree", &[("Dockerfile", "FROM scratch\n")]);
    server.cli(&["registry", "add", "local", "--url", "127.0.0.1:1"]);
    let first = app_with_log(&server, &ann, &tree, "mine");
    server.cli(&["grant", "bob", "app", "read"]);
    let got = bob.home.join("log");
    let log = format!("http://{}/-/api/v1/repos/app/builds/1/log", server.http);
    let mut reading = Command::new("curl")
        .args(["-s", "-N", "-m", "60", "--limit-rate", "3M", "-u", &format!("bob:{}", bob.token), "-o"])
        .args([got.as_os_str(), log.as_ref()])
        .spawn()
        .expect("curl");
    let has = || fs::metadata(&got).map_or(0, |m| m.len());
    harness::eventually("the first lines", Duration::from_secs(20), || (has() > 100_000).then_some(()));
    server.cli(&["repo", "remove", "app", "--yes"]);
    let second = app_with_log(&server, &carl, &tree, "theirs");
    assert_ne!(first, second);
    let ended = reading.wait().expect("curl ends");
    let read = fs::read_to_string(&got).expect("what was read");
    assert!(read.contains("mine") && !read.contains("theirs"), "{}", &read[read.len() - 300..]);
    assert!(!ended.success() && read.len() < 27_000_000, "what was cut does not look whole: {}", read.len());
    assert_eq!(bob.get("/-/api/v1/repos/app/builds/1/log").0, 404);
    let folders = fs::read_dir(server.data.join("builds")).expect("builds").flatten();
    let folders: Vec<String> = folders.map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    assert!(folders.contains(&second.to_string()) && !folders.contains(&first.to_string()), "{folders:?}");
}

#[test]
fn a_log_that_is_gone_is_not_an_empty_one() {
    let server = server_without_engine();
    let ann = server.person("ann", true);
    let tree = ann.work_tree("tree", &[("Dockerfile", "FROM scratch\n")]);
    server.cli(&["registry", "add", "local", "--url", "127.0.0.1:1"]);
    let id = app_with_log(&server, &ann, &tree, "line");
    server.cli(&["build", "cancel", "app", "1"]);
    let log = "/-/api/v1/repos/app/builds/1/log";
    assert_eq!(ann.get(log).0, 200);
    let build: Value = serde_json::from_str(&ann.get("/-/api/v1/repos/app/builds/1").1).expect("json");
    fs::remove_file(server.data.join(format!("builds/{id}/1.log"))).expect("removed");
    let (status, body) = ann.get(log);
    // Of a build that never began there never was one.
    let want = if build["started"].is_null() { 200 } else { 500 };
    assert_eq!(status, want, "{body}\n{build}");
}
