//! Data folders of Slipway 0.1, kept in `fixtures/`: today's server finds in them all that the old one said, whatever it
//! makes of them on disk and wherever `kill -9` stops it meanwhile.

#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{Person, Slipway, curl, eventually, gits, program, run, text};
use serde_json::Value;

/// No engine: what is owed waits.
const SERVE: [&str; 0] = [];
/// What a run keeps that has not ended: the rest moves on.
const IDENTITY: [&str; 12] = [
    "actor",
    "cause",
    "cluster",
    "commit",
    "created",
    "event",
    "number",
    "ref_name",
    "repo",
    "repo_name",
    "title",
    "url",
];
const UNFINISHED: [&str; 3] = ["queued", "running", "waiting"];

/// A kept folder, unpacked, and what its server said last.
struct Kept {
    folder: tempfile::TempDir,
    said: Value,
}

impl Kept {
    fn unpack(name: &str) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
        let archive = fixtures.join(format!("{name}.tar.gz"));
        let out = run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()));
        assert!(out.status.success(), "{}", text(&out.stderr));
        let said = fs::read(fixtures.join(format!("{name}.json"))).expect("what was said");
        let kept = Self { folder, said: serde_json::from_slice(&said).expect("json") };
        let config = kept.data().join("config.toml");
        let lines = fs::read_to_string(&config).expect("config.toml");
        fs::write(&config, format!("docker_host = \"unix:///nonexistent\"\n{lines}")).expect("write");
        kept
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start(&self) -> Slipway {
        Slipway::start_in(&self.data(), &SERVE)
    }

    /// The value of a token or cookie of that person.
    fn secret(&self, who: &str, what: &str) -> String {
        let path = self.folder.path().join("people").join(who).join(what);
        fs::read_to_string(path).expect("a secret").trim().to_owned()
    }

    fn person(&self, server: &Slipway, name: &str, key: &str, token: &str) -> Person {
        let home = self.folder.path().join("people").join(name);
        Person {
            name: name.into(),
            key: home.join(key),
            token: self.secret(name, token),
            home,
            http: server.http.clone(),
            ssh: server.ssh.clone(),
            git: gits()[0].clone(),
        }
    }

    fn ann(&self, server: &Slipway) -> Person {
        self.person(server, "ann", "id_ed25519", "all")
    }

    /// What was said of each key of that part.
    fn part(&self, name: &str) -> &serde_json::Map<String, Value> {
        self.said[name].as_object().expect("a part of what was said")
    }

    /// The repositories' names with their `ls-remote` of that time.
    fn refs(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = self
            .part("refs")
            .iter()
            .map(|(name, refs)| (name.clone(), refs.as_str().expect("text").to_owned()))
            .collect();
        // Pushes whose refs had moved when the server was killed.
        for (name, tip) in self.said["moved"].as_object().into_iter().flatten() {
            let tip = tip.as_str().expect("an id");
            all.insert(name.clone(), format!("{tip}\tHEAD\n{tip}\trefs/heads/main\n"));
        }
        all
    }
}

/// Every list and log is as it was; lists named by `grown` may have new rows before the old ones.
fn assert_said_again(kept: &Kept, server: &Slipway, grown: &[&str]) {
    let ann = kept.ann(server);
    let lists = kept.part("lists");
    let base = format!("http://{}/-/api/v1", server.http);
    let sign_in = format!("ann:{}", ann.token);
    let urls = lists.keys().map(|path| format!("{base}{path}?limit=1000"));
    // Bindings are one record, and take no limit.
    let urls = urls.map(|url| match url.split_once("/bindings?") {
        Some((repo, _)) => format!("{repo}/bindings"),
        None => url,
    });
    let out = run(Command::new("curl").args(["-s", "-m", "60", "-u", &sign_in]).args(urls));
    let answers = text(&out.stdout).replace(&server.http, "HTTP").replace(&server.ssh, "SSH");
    let answers = serde_json::Deserializer::from_str(&answers).into_iter::<Value>();
    let answers: Vec<Value> = answers.map(|a| a.expect("json")).collect();
    assert_eq!(answers.len(), lists.len(), "an answer for each list");
    for ((path, old), new) in lists.iter().zip(&answers) {
        assert_kept(path, old, new, grown.contains(&path.as_str()));
    }
    for (build, old) in kept.part("logs") {
        let (repo, number) = build.rsplit_once('/').expect("repository/number");
        let (status, new) = ann.get(&format!("/-/api/v1/repos/{repo}/builds/{number}/log"));
        let old = old.as_str().expect("text");
        assert!(status == 200 && new.starts_with(old), "the log of {build}: {status}\n{new}\nwas\n{old}");
    }
}

/// Every old field is there and equal; there may be new ones.
fn assert_kept(path: &str, old: &Value, new: &Value, grown: bool) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let unfinished =
                old.get("state").and_then(Value::as_str).is_some_and(|s| UNFINISHED.contains(&s));
            for (key, old) in old.iter().filter(|(key, _)| !unfinished || IDENTITY.contains(&key.as_str())) {
                let path = format!("{path} {key}");
                assert_kept(&path, old, new.get(key).unwrap_or_else(|| panic!("{path} is not there")), grown);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert!(
                new.len() == old.len() || grown && new.len() > old.len(),
                "{path} was {old:#?}, is {new:#?}"
            );
            for (number, (old, new)) in old.iter().rev().zip(new.iter().rev()).enumerate() {
                assert_kept(&format!("{path} {number} from the end"), old, new, false);
            }
        }
        _ => assert_eq!(old, new, "{path}"),
    }
}

/// Stock git sees the refs of that time in every repository, and nothing wrong on disk.
fn assert_repositories(kept: &Kept, server: &Slipway) {
    let ann = kept.ann(server);
    for (repo, refs) in kept.refs() {
        let now = ann.git(&ann.home, &["ls-remote", &ann.http_url(&repo)]);
        assert_eq!(now, refs, "refs of {repo}");
        // A name of digits alone could be the number of another.
        let plain = kept.data().join("repos").join(format!("{repo}.git"));
        if repo.parse::<u64>().is_err() {
            let heads = ann.git(
                &plain,
                &["for-each-ref", "--format=%(objectname)%09%(refname)", "refs/heads", "refs/tags"],
            );
            for line in heads.lines() {
                assert!(refs.contains(line), "{repo} on disk has {line}, was\n{refs}");
            }
        }
    }
    let folders = fs::read_dir(kept.data().join("repos")).expect("repos").filter_map(Result::ok);
    for folder in folders.map(|f| f.path()).filter(|f| f.is_dir()) {
        ann.git(&folder, &["fsck", "--full", "--strict", "--no-dangling"]);
    }
}

#[test]
fn all_that_was_said_is_said_again() {
    let kept = Kept::unpack("data-0.1");
    let mut server = kept.start();
    assert_said_again(&kept, &server, &[]);
    assert_repositories(&kept, &server);
    server.crash_and_restart();
    assert_said_again(&kept, &server, &[]);
    assert_repositories(&kept, &server);
}

#[test]
fn every_repository_is_cloned_over_http_and_ssh() {
    let kept = Kept::unpack("data-0.1");
    let server = kept.start();
    let ann = kept.ann(&server);
    for (repo, refs) in kept.refs() {
        for (way, url) in [("http", ann.http_url(&repo)), ("ssh", ann.ssh_url(&repo))] {
            let into = format!("{repo}-{way}");
            ann.git(&ann.home, &["clone", "-q", "--mirror", &url, &into]);
            let here = ann.git(&ann.home, &["ls-remote", &into]);
            assert_eq!(here, refs, "{repo} over {way}");
            ann.git(&ann.home.join(&into), &["fsck", "--full", "--strict"]);
        }
    }
    let (status, page) = curl(&[&format!("http://{}/site", server.http)]);
    assert!(status == 200 && page.contains("This is site."), "{status} {page}");
}

#[test]
fn people_come_in_as_before() {
    let kept = Kept::unpack("data-0.1");
    let server = kept.start();
    let whoami = format!("http://{}/-/api/v1/whoami", server.http);
    let asks = |with: &[&str]| {
        let (status, body) = curl(&[with, &[whoami.as_str()]].concat());
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        (status, answer["actor"]["name"].as_str().unwrap_or_default().to_owned())
    };
    let bearer =
        |who: &str, what: &str| asks(&["-H", &format!("Authorization: Bearer {}", kept.secret(who, what))]);
    assert_eq!(bearer("ann", "all"), (200, "ann".into()));
    assert_eq!(bearer("cid", "api"), (200, "cid".into()));
    assert_eq!(
        asks(&["-H", &format!("Cookie: {}", kept.secret("ann", "session"))]),
        (200, "ann".into()),
        "the session"
    );
    assert_eq!(bearer("cid", "ended").0, 401, "a token whose time is over");
    assert_eq!(bearer("dan", "gone").0, 401, "a token of somebody removed");

    let (bob, reader) =
        (kept.person(&server, "bob", "id_ecdsa", "push"), kept.person(&server, "bob", "id_ed25519", "read"));
    for (person, url) in [
        (&bob, bob.http_url("app")),
        (&bob, bob.ssh_url("app")),
        (&reader, reader.http_url("site")),
        (&reader, reader.ssh_url("site")),
    ] {
        person.git(&person.home, &["ls-remote", &url]);
    }
    let cid = kept.person(&server, "cid", "id_ed25519", "api");
    cid.git(&cid.home, &["ls-remote", &cid.ssh_url("manifests")]);
    let dan = kept.person(&server, "dan", "id_ed25519", "gone");
    for (person, url) in [
        (&cid, cid.http_url("app")),
        (&cid, cid.ssh_url("app")),
        (&dan, dan.ssh_url("app")),
        (&bob, bob.http_url("manifests")),
    ] {
        let out = person.try_git(&person.home, &["ls-remote", &url]);
        assert!(!out.status.success(), "{} reads {url}", person.name);
    }
    person_pushes_what_their_token_allows(&bob, &reader);
}

fn person_pushes_what_their_token_allows(writer: &Person, reader: &Person) {
    writer.git(&writer.home, &["clone", "-q", &writer.http_url("app"), "app"]);
    let tree = writer.home.join("app");
    for (person, may) in [(reader, false), (writer, true)] {
        let out = person.try_git(&tree, &["push", &person.http_url("app"), "HEAD:refs/heads/of-a-token"]);
        assert_eq!(out.status.success(), may, "{}", text(&out.stderr));
    }
}

#[test]
fn work_goes_on_where_it_was_left() {
    let kept = Kept::unpack("data-0.1");
    let server = kept.start();
    let ann = kept.ann(&server);
    let newest = |list: &str, key: &str| {
        let rows = &kept.said["lists"][list][key];
        let numbers =
            rows.as_array().expect("rows").iter().map(|r| r["number"].as_u64().or(r["id"].as_u64()));
        numbers.flatten().max().expect("a number")
    };
    // What an earlier version has built is found by its commit: its records have no marks there.
    let old = &kept.said["lists"]["/repos/app/builds"]["builds"];
    let ended = |b: &&Value| matches!(b["state"].as_str(), Some("succeeded" | "failed"));
    let old = old.as_array().expect("builds").iter().find(ended).expect("one that ended");
    let commit = old["commit"].as_str().expect("a commit");
    let page = ann.get(&format!("/app/commit/{commit}")).1;
    assert!(page.contains(&format!("/app/builds/{}", old["number"])), "{page}");
    let tree = ann.home.join("app");
    ann.git(&ann.home, &["clone", "-q", &ann.http_url("app"), "app"]);
    ann.commit(&tree, &[("Dockerfile", "FROM scratch\n")], "With today's server");
    let pushed = ann.git(&tree, &["push", "origin", "main"]);
    let number = newest("/repos/app/builds", "builds") + 1;
    assert!(pushed.contains(&format!("build {number} ")), "{pushed}");
    assert_eq!(server.json(&["build", "show", "app", &number.to_string()])["title"], "With today's server");

    let made = server.json(&["repo", "create", "new"]);
    assert!(made["id"].as_u64() > Some(newest("/repos", "repos")), "a number is given twice: {made:#}");
    server.cli(&["repo", "rename", "8", "eight"]);
    ann.git(&ann.home, &["clone", "-q", &ann.ssh_url("eight"), "eight"]);
    assert!(server.cli(&["build", "log", "eight", "1"]).contains("this is 8"));
    assert!(server.cli(&["build", "log", "7", "1"]).contains("this is 7"));
    server.cli(&["repo", "remove", "7", "--yes"]);
    ann.git(&ann.home, &["clone", "-q", &ann.ssh_url("eight"), "eight-again"]);

    // What is stored encrypted opens: both are reached for, and not there.
    for verb in [["cluster", "test", "lab"], ["registry", "test", "private"]] {
        let out = server.try_cli(&verb);
        let told = text(&out.stdout) + &text(&out.stderr);
        assert!(told.contains("does not answer"), "{verb:?}: {told}");
    }
}

/// The folder of a server that was killed with two pushes on their way, a build at work, one and a deploy waiting.
#[test]
fn what_was_cut_off_is_settled() {
    let kept = Kept::unpack("data-0.1-killed");
    let server = kept.start();
    assert_cut_off_is_settled(&kept, &server);
    assert_repositories(&kept, &server);
    for (verb, repo) in [("build", "app"), ("build", "half"), ("deploy", "manifests")] {
        eventually(&format!("{verb}s of {repo} are taken up"), Duration::from_secs(20), || {
            let all = server.json(&[verb, "list", repo]);
            all.as_array()
                .expect("rows")
                .iter()
                .find(|r| r["failure"]["class"] == "infra" && r["retry_at"].is_u64())
                .cloned()
        });
    }
}

fn assert_cut_off_is_settled(kept: &Kept, server: &Slipway) {
    let grown = ["/repos/half/events", "/repos/half/builds", "/repos/held/events"];
    assert_said_again(kept, server, &grown);
    let ann = kept.ann(server);
    let newest = |path: &str, key: &str| {
        let (_, body) = ann.get(&format!("/-/api/v1/repos/{path}"));
        let answer: Value = serde_json::from_str(&body).expect("json");
        (answer[key][0].clone(), answer[key].as_array().expect("rows").len())
    };
    let (half, _) = newest("half/events", "events");
    assert_eq!(
        (&half["state"], &half["updates"][0]["new"]),
        (&"accepted".into(), &kept.said["moved"]["half"])
    );
    let (held, _) = newest("held/events", "events");
    assert_eq!(
        (&held["state"], &held["updates"][0]["new"]),
        (&"abandoned".into(), &kept.said["not_moved"]["held"])
    );
    let (build, count) = newest("half/builds", "builds");
    assert_eq!((&build["commit"], count), (&kept.said["moved"]["half"], 1), "what the push owes, once");
}

#[test]
fn a_first_start_may_be_killed_at_any_instant() {
    const INSTANTS: u32 = 20;
    let begun = Instant::now();
    drop(Kept::unpack("data-0.1").start());
    let whole = begun.elapsed();
    let chance = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
    for number in 0..INSTANTS {
        let killed = number % 2 == 1;
        let kept = Kept::unpack(if killed { "data-0.1-killed" } else { "data-0.1" });
        // Spread over the time of a start, each somewhere in its share.
        let within = f64::from(number) + f64::from(chance.rotate_left(number) % 1000) / 1000.0;
        let after = whole.mul_f64(within / f64::from(INSTANTS));
        let mut child = Command::new(program())
            .args(["serve", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0", "--data"])
            .arg(kept.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the server");
        std::thread::sleep(after);
        child.kill().expect("kill");
        child.wait().expect("wait");
        println!("killed after {after:?} of {whole:?}");
        let server = kept.start();
        if killed {
            assert_cut_off_is_settled(&kept, &server);
        } else {
            assert_said_again(&kept, &server, &[]);
        }
        assert_repositories(&kept, &server);
    }
}
