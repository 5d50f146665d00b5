//! Webhooks of the real binary: what is sent, what becomes of an address that is down, of a crash, and of an address that
//! leads inside.

#[path = "harness/mod.rs"]
mod harness;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use harness::{Person, Slipway, eventually, text};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const SECRET: &str = "hunter2-the-secret-of-this-hook";

/// One request as it came.
#[derive(Clone, Debug)]
struct Got {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// A small HTTP server that remembers what it got and answers as it is told; 204 where it is told nothing.
#[derive(Clone)]
struct Sink {
    address: String,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Sink {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let sink = Self { address, got: Arc::default(), answers: Arc::default() };
        let this = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let this = this.clone();
                std::thread::spawn(move || this.serve(stream));
            }
        });
        sink
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut parts = line.split(' ');
        let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        self.got.lock().expect("lock").push(Got { method, target, headers, body });
        let answer =
            self.answers.lock().expect("lock").pop_front().unwrap_or_else(|| "204 No Content".into());
        let mut stream = stream;
        let (head, body) = answer.split_once('|').unwrap_or((&answer, ""));
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).ok()
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn answer(&self, answers: &[&str]) {
        self.answers.lock().expect("lock").extend(answers.iter().map(|a| (*a).to_owned()));
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("lock").clone()
    }

    /// Waits for that many requests.
    fn wait(&self, count: usize) -> Vec<Got> {
        eventually("requests at the sink", SOON, || Some(self.got()).filter(|got| got.len() >= count))
    }
}

/// A server whose webhooks may reach this machine, with a repository and its work tree.
fn server(allowed: &str) -> (Slipway, Person, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("temp");
    let config = folder.path().join("config.toml");
    std::fs::write(&config, format!("[webhooks]\nallowed_networks = [{allowed}]\n")).expect("write");
    let server = Slipway::start_in(
        &folder.path().join("slipway/data"),
        &["--config", config.to_str().expect("utf-8")],
    );
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    (server, ann, tree, folder)
}

fn secret_file(ann: &Person) -> String {
    let file = ann.home.join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).expect("write");
    file.to_str().expect("utf-8").to_owned()
}

fn push(ann: &Person, tree: &std::path::Path) {
    ann.git(tree, &["push", "-q", "origin", "main"]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn deliveries(server: &Slipway) -> Vec<Value> {
    server.json(&["webhook", "deliveries", "app"]).as_array().expect("a list").clone()
}

fn last_is(server: &Slipway, state: &str) -> Value {
    eventually(&format!("a delivery that is {state}"), SOON, || {
        deliveries(server).first().filter(|d| d["state"] == state).cloned()
    })
}

#[test]
fn a_push_is_told_in_the_form_that_consumers_of_gitea_gogs_and_github_check() {
    let sink = Sink::open();
    let (server, ann, tree, _folder) = server("\"127.0.0.0/8\"");
    server.cli(&["webhook", "add", "app", "--url", &sink.url(), "--secret-file", &secret_file(&ann)]);
    push(&ann, &tree);
    let first = sink.wait(1).remove(0);
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/hook"));
    for name in ["x-gitea-event", "x-gogs-event", "x-github-event", "x-slipway-event"] {
        assert_eq!(first.header(name), "push", "{name}");
    }
    assert_eq!(first.header("content-type"), "application/json");
    let id = first.header("x-gitea-delivery");
    assert!(id.len() == 36 && id == first.header("x-github-delivery"), "{id:?}");
    let key = |algorithm| hmac::Key::new(algorithm, SECRET.as_bytes());
    let sha256 = hex(hmac::sign(&key(hmac::HMAC_SHA256), &first.body).as_ref());
    let sha1 = hex(hmac::sign(&key(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY), &first.body).as_ref());
    assert_eq!(first.header("x-hub-signature-256"), format!("sha256={sha256}"));
    assert_eq!(first.header("x-hub-signature"), format!("sha1={sha1}"));
    assert_eq!((first.header("x-gitea-signature"), first.header("x-gogs-signature")), (&*sha256, &*sha256));

    let before = ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    let body = first.json();
    assert_eq!((&body["ref"], &body["after"]), (&"refs/heads/main".into(), &before.clone().into()));
    assert_eq!(body["created"], true);
    ann.commit(&tree, &[("b.txt", "two\n")], "second");
    let after = ann.commit(&tree, &[("a.txt", "changed\n")], "third\n\nWith a body.");
    push(&ann, &tree);
    let body = sink.wait(2).remove(1).json();
    assert_eq!((&body["before"], &body["after"]), (&before.into(), &after.clone().into()));
    let commits = body["commits"].as_array().expect("commits");
    assert_eq!(
        commits.iter().map(|c| c["message"].as_str().expect("text")).collect::<Vec<_>>(),
        ["second\n", "third\n\nWith a body.\n"]
    );
    assert_eq!(
        (&commits[0]["added"], &commits[1]["modified"]),
        (&serde_json::json!(["b.txt"]), &serde_json::json!(["a.txt"]))
    );
    assert_eq!((&body["head_commit"]["id"], &body["forced"]), (&after.into(), &false.into()));
    let repository = &body["repository"];
    assert_eq!(repository["clone_url"], format!("http://{}/app", server.http));
    assert_eq!(repository["ssh_url"], format!("ssh://git@{}/app", server.ssh));
    assert_eq!((&repository["name"], &repository["default_branch"]), (&"app".into(), &"main".into()));
    assert_eq!((&body["pusher"]["login"], &body["sender"]["login"]), (&"ann".into(), &"ann".into()));

    ann.git(&tree, &["commit", "-q", "--amend", "-m", "rewritten"]);
    ann.git(&tree, &["push", "-q", "-f", "origin", "main"]);
    assert_eq!(sink.wait(3).remove(2).json()["forced"], true);
    ann.git(&tree, &["push", "-q", "origin", "main:gone"]);
    ann.git(&tree, &["push", "-q", "origin", ":gone"]);
    let deleted = sink.wait(5).remove(4).json();
    assert_eq!((&deleted["deleted"], &deleted["ref"]), (&true.into(), &"refs/heads/gone".into()));

    assert_secret_is_not_shown(&server, &ann, &sink);
}

/// Nobody is shown the secret, wherever they look.
fn assert_secret_is_not_shown(server: &Slipway, ann: &Person, sink: &Sink) {
    last_is(server, "delivered");
    let ssh = ann.over_ssh("webhook list app", "");
    assert!(text(&ssh.stdout).contains(&sink.url()), "{}", text(&ssh.stderr));
    for seen in [
        server.cli(&["webhook", "list", "app", "--json"]),
        server.cli(&["webhook", "deliveries", "app", "--json"]),
        server.cli(&["webhook", "deliveries", "app", "1"]),
        text(&ssh.stdout),
        ann.get("/app/settings").1,
        ann.get("/-/api/v1/repos/app/webhooks").1,
        server.log(),
    ] {
        assert!(!seen.is_empty() && !seen.contains(SECRET), "{seen}");
    }
}

#[test]
fn what_is_refused_for_now_is_told_again_and_nothing_overtakes_it() {
    let sink = Sink::open();
    let (server, ann, tree, _folder) = server("\"127.0.0.1\"");
    server.cli(&["webhook", "add", "app", "--url", &sink.url(), "--secret-file", &secret_file(&ann)]);
    sink.answer(&[&format!("500 Oops|it broke over {SECRET}"), "503 Later"]);
    for n in 0..3 {
        ann.commit(&tree, &[("a.txt", &format!("{n}\n"))], &format!("number {n}"));
        push(&ann, &tree);
    }
    let got = sink.wait(5);
    let heads: Vec<String> =
        got.iter().map(|g| g.json()["head_commit"]["message"].as_str().expect("text").to_owned()).collect();
    assert_eq!(heads, ["number 0\n", "number 0\n", "number 0\n", "number 1\n", "number 2\n"]);
    assert_eq!(got[0].header("x-gitea-delivery"), got[2].header("x-gitea-delivery"), "the same delivery");
    assert_ne!(got[2].header("x-gitea-delivery"), got[3].header("x-gitea-delivery"));
    last_is(&server, "delivered");
    let first = server.json(&["webhook", "deliveries", "app", "1"]);
    let attempts = first["attempts"].as_array().expect("attempts");
    assert_eq!(
        attempts.iter().map(|a| a["status"].as_u64()).collect::<Vec<_>>(),
        [Some(500), Some(503), Some(204)]
    );
    assert_eq!(attempts[0]["said"], "it broke over …", "an answer is kept, a secret in it is not");
    server.cli(&["webhook", "redeliver", "app", "2"]);
    assert_eq!(sink.wait(6)[5].json()["head_commit"]["message"], "number 1\n");

    // An address that says no for good is not asked again, and keeps nobody waiting.
    sink.answer(&["404 Not Found"]);
    ann.commit(&tree, &[], "lost");
    push(&ann, &tree);
    let failed = last_is(&server, "failed");
    assert!(failed["failure"]["problem"]["what"].as_str().expect("text").contains("404"), "{failed}");
    ann.commit(&tree, &[], "found");
    push(&ann, &tree);
    assert_eq!(sink.wait(8)[7].json()["head_commit"]["message"], "found\n");
}

#[test]
fn a_crash_between_acceptance_and_delivery_loses_none_and_keeps_their_order() {
    let sink = Sink::open();
    let (mut server, ann, tree, _folder) = server("\"127.0.0.0/8\"");
    // An address where nobody listens, until somebody does.
    let later = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = later.local_addr().expect("address");
    drop(later);
    server.cli(&["webhook", "add", "app", "--url", &format!("http://{address}/hook")]);
    server.cli(&["webhook", "add", "app", "--url", &sink.url(), "--kind", "plain"]);
    for n in 0..4 {
        ann.commit(&tree, &[], &format!("number {n}"));
        push(&ann, &tree);
        server.crash_and_restart();
    }
    // The other webhook is told in spite of the one that is down; what a crash cut off perhaps twice, in its order.
    let told: Vec<Value> = eventually("four pushes told", SOON, || {
        let mut told: Vec<Value> = sink.got().iter().map(|g| g.json()["push"]["after"].clone()).collect();
        told.dedup();
        Some(told).filter(|told| told.len() == 4)
    });
    let ids = ann.git(&tree, &["rev-list", "--reverse", "--max-count=4", "HEAD"]);
    assert_eq!(told, ids.lines().map(Value::from).collect::<Vec<_>>());
    let first = deliveries(&server).into_iter().filter(|d| d["webhook"] == 1).collect::<Vec<_>>();
    assert_eq!(first.len(), 4, "all are still owed: {first:#?}");
    assert!(first.iter().all(|d| d["state"] != "delivered" && d["state"] != "failed"));
}

#[test]
fn what_lies_inside_is_not_reached_unless_an_owner_allows_it() {
    let sink = Sink::open();
    let (server, ann, tree, _folder) = server("");
    for inside in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.1.2.3", "[64:ff9b::7f00:1]"]
    {
        let out = server.try_cli(&["webhook", "add", "app", "--url", &format!("http://{inside}/hook")]);
        assert!(!out.status.success(), "{inside}");
        assert!(text(&out.stderr).contains("allowed_networks"), "{}", text(&out.stderr));
    }
    for wrong in
        ["ftp://example.org/", "http://user:pass@example.org/", "example.org", "http://a b/", "http:///x"]
    {
        assert!(!server.try_cli(&["webhook", "add", "app", "--url", wrong]).status.success(), "{wrong}");
    }
    // A name says nothing about where it leads: that is seen when it is followed.
    let port = sink.address.rsplit_once(':').expect("port").1;
    server.cli(&["webhook", "add", "app", "--url", &format!("http://localhost:{port}/hook")]);
    push(&ann, &tree);
    let failed = last_is(&server, "failed");
    assert_eq!(failed["failure"]["class"], "policy", "{failed}");
    assert!(sink.got().is_empty());
}

#[test]
fn a_redirect_leads_nowhere() {
    let (outside, inside) = (Sink::open(), Sink::open());
    let (server, ann, tree, _folder) = server("\"127.0.0.0/8\"");
    server.cli(&["webhook", "add", "app", "--url", &outside.url()]);
    outside.answer(&[&format!("307 Temporary Redirect\r\nlocation: {}", inside.url())]);
    push(&ann, &tree);
    let failed = last_is(&server, "failed");
    assert!(failed.to_string().contains("Redirects are not followed"), "{failed}");
    assert!(inside.got().is_empty());
}

#[test]
fn jenkins_is_notified_and_ends_of_builds_are_told() {
    let sink = Sink::open();
    let (server, ann, tree, _folder) = server("\"127.0.0.0/8\"");
    let base = format!("http://{}/jenkins/", sink.address);
    server.cli(&[
        "webhook",
        "add",
        "app",
        "--kind",
        "jenkins",
        "--url",
        &base,
        "--secret-file",
        &secret_file(&ann),
    ]);
    let refused = server.try_cli(&[
        "webhook",
        "add",
        "app",
        "--kind",
        "jenkins",
        "--url",
        &base,
        "--events",
        "push,build",
    ]);
    assert!(!refused.status.success());
    push(&ann, &tree);
    let got = sink.wait(1).remove(0);
    let id = ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    let clone = server.http.replace(':', "%3A");
    assert_eq!(
        (got.method.as_str(), got.target),
        (
            "GET",
            format!(
                "/jenkins/git/notifyCommit?url=http%3A%2F%2F{clone}%2Fapp&branches=main&sha1={id}&token={SECRET}"
            )
        )
    );
    assert!(!server.log().contains(SECRET) && !server.cli(&["webhook", "list", "app"]).contains(SECRET));
    server.cli(&["webhook", "remove", "app", "1"]);

    // A build that is broken from the start ends with the push that owes it: both are told.
    server.cli(&["registry", "add", "local", "--url", "127.0.0.1:9", "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local"]);
    let url = sink.url();
    server.cli(&["webhook", "add", "app", "--url", &url, "--kind", "plain", "--events", "push,build"]);
    ann.commit(&tree, &[("Dockerfile", "FROM scratch\n"), ("slipway.toml", "[bulid]\n")], "broken");
    push(&ann, &tree);
    let got = sink.wait(3);
    let events: Vec<&str> = got[1..].iter().map(|g| g.header("x-slipway-event")).collect();
    assert_eq!(events, ["push", "build"]);
    let build = got[2].json();
    assert_eq!((&build["build"]["state"], &build["build"]["number"]), (&"failed".into(), &1.into()));
    assert!(build["build"]["failure"].as_str().expect("told").contains("bulid"), "{build}");
    assert_eq!(got[2].header("x-gitea-event"), "", "plain is plain");
}

#[test]
fn webhooks_are_for_admins_of_the_repository() {
    let (server, ann, tree, _folder) = server("\"127.0.0.0/8\"");
    push(&ann, &tree);
    server.cli(&["webhook", "add", "app", "--url", "https://example.org/x?token=hidden"]);
    let bob = server.person("bob", false);
    server.cli(&["grant", "bob", "app", "write"]);
    for path in ["webhooks", "deliveries", "deliveries/1"] {
        assert_eq!(bob.get(&format!("/-/api/v1/repos/app/{path}")).0, 403, "{path}");
    }
    let out = bob.over_ssh("webhook add app --url https://example.org/", "");
    assert!(!out.status.success() && text(&out.stderr).contains("admin"), "{}", text(&out.stderr));
    server.cli(&["grant", "bob", "app", "admin"]);
    let listed = bob.get("/-/api/v1/repos/app/webhooks").1;
    assert!(listed.contains("https://example.org/x?…") && !listed.contains("hidden"), "{listed}");
    let out = bob.over_ssh("webhook add app --url https://example.org/y --secret-file -", "a secret\n");
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(server.json(&["webhook", "list", "app"])[1]["by"], "bob");
    server.cli(&["repo", "remove", "app", "--yes"]);
    server.cli(&["repo", "create", "app"]);
    assert_eq!(
        server.json(&["webhook", "list", "app"]),
        serde_json::json!([]),
        "another repository, other webhooks"
    );
}
