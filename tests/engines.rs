//! Engines that are not a socket of this machine: over TLS, and over SSH. Needs the parts of tests/lab.

#[path = "harness/engines.rs"]
mod engines;
#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use engines::{OwnEngine, Sshd, connections};
use harness::{Person, Slipway, eventually, lab, text};

const MINUTES: Duration = Duration::from_secs(180);

/// A server with an engine, and a repository that is built by it.
struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
}

fn world(name: &str, env: &[(&str, &str)]) -> World {
    let server = Slipway::start_with_env(env);
    let ann = server.person("ann", true);
    let lab = lab();
    let path = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &path]);
    let tree = ann.work_tree("app", &[("a", "1\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { server, ann, tree }
}

const TESTED: &str = "[test]\nshell = \"cat /a && echo tested\"\n";

impl World {
    fn push(&self, files: &[(&str, &str)]) -> String {
        self.ann.commit(&self.tree, files, "Next");
        self.ann.git(&self.tree, &["push", "-o", "wait", "origin", "HEAD:main"])
    }

    /// Builds, tests, pushes; and ends builds that are under way, so many.
    fn work(&self, cancelled: u64) {
        for text in ["1\n", "2\n", "3\n"] {
            let dockerfile = "FROM alpine:3.20\nCOPY a /a\nRUN cat /a\n";
            let told = self.push(&[("Dockerfile", dockerfile), ("slipway.toml", TESTED), ("a", text)]);
            assert!(told.contains("tested") && told.contains("verdict: all done"), "{told}");
        }
        for number in 4..4 + cancelled {
            // A step of its own each: engine 20.10 can hang where the same one is ended and begun again at once.
            let dockerfile = format!("FROM alpine:3.20\nCOPY a /a\nRUN cat /a; sleep {}\n", 300 + number);
            self.ann.commit(&self.tree, &[("Dockerfile", &dockerfile)], "Hang");
            self.ann.git(&self.tree, &["push", "origin", "HEAD:main"]);
            let (number, begun, mut log) = (number.to_string(), Instant::now(), String::new());
            while !log.contains("RUN cat /a; sleep") {
                assert!(begun.elapsed() < MINUTES, "build {number} does not get to its step: {log}");
                std::thread::sleep(Duration::from_millis(50));
                log = text(&self.server.try_cli(&["build", "log", "app", &number]).stdout);
            }
            self.server.cli(&["build", "cancel", "app", &number]);
        }
    }
}

fn utf8(path: &std::path::Path) -> &str {
    path.to_str().expect("utf-8")
}

#[test]
fn an_engine_over_tls_builds_and_keeps_no_connection_open() {
    let engine = OwnEngine::start_with_tls("tls");
    let certs = engine.folder.join("client");
    let env = [("DOCKER_HOST", engine.host.as_str()), ("DOCKER_CERT_PATH", utf8(&certs))];
    let world = world("tls", &env);
    let open = || connections(world.server.child.id(), engine.port());
    world.work(20);
    // What is idle is kept for the next call, a few of them, and for a few seconds.
    let left = eventually("few idle connections", MINUTES, || Some(open()).filter(|left| *left <= 4));
    assert!(left <= 4, "{left} connections");
    eventually("the last connection to be closed", Duration::from_secs(60), || (open() == 0).then_some(()));
    assert_eq!(engine.docker(&["ps", "-aq"]), "", "nothing runs any more");
}

#[test]
fn an_engine_over_ssh_builds_as_one_of_this_machine() {
    let sshd = Sshd::start("");
    let host = sshd.host();
    let world = world("ssh", &[("DOCKER_HOST", &host), ("HOME", utf8(&sshd.home))]);
    let doctor = text(&world.server.try_cli(&["doctor"]).stdout);
    assert!(doctor.contains("ok   engine: Docker Engine"), "{doctor}");
    world.work(3);
    let open = || connections(world.server.child.id(), sshd.port);
    eventually("the last connection to be closed", Duration::from_secs(60), || (open() == 0).then_some(()));
    // A machine with another key is another machine.
    let known = sshd.home.join(".ssh/known_hosts");
    let other = Sshd::start("");
    let theirs = fs::read_to_string(other.home.join(".ssh/known_hosts")).expect("known");
    let key = theirs.split_once(' ').expect("a key").1;
    fs::write(&known, format!("[127.0.0.1]:{} {key}", sshd.port)).expect("written");
    let doctor = text(&world.server.try_cli(&["doctor"]).stdout);
    assert!(doctor.contains("FAIL engine: ") && doctor.contains("is not the one by which"), "{doctor}");
    assert!(doctor.contains(&format!("ssh-keyscan -p {} 127.0.0.1", sshd.port)), "{doctor}");
}

/// What the doctor says of such an engine.
fn doctor(host: &str, env: &[(&str, &str)]) -> String {
    let mut all = vec![("DOCKER_HOST", host)];
    all.extend(env);
    let server = Slipway::start_with_env(&all);
    let told = text(&server.try_cli(&["doctor"]).stdout);
    let lines: Vec<&str> = told.lines().skip_while(|line| !line.contains(" engine: ")).take(2).collect();
    lines.join("\n")
}

#[test]
fn what_is_wrong_with_an_engines_address_is_told_with_its_cure() {
    let engine = OwnEngine::start_with_tls("cures");
    let (at, certs) = (engine.host.trim_start_matches("https://"), engine.folder.join("client"));
    let plain = doctor(&format!("tcp://{at}"), &[]);
    assert!(plain.contains("it speaks TLS there"), "{plain}");
    assert!(plain.contains(&format!("Write https://{at} in docker_host")), "{plain}");
    let registry = lab().registry;
    let with_certs = [("DOCKER_CERT_PATH", utf8(&certs))];
    let tls = doctor(&format!("https://{registry}"), &with_certs);
    assert!(tls.contains("does not speak TLS") && tls.contains(&format!("Write tcp://{registry}")), "{tls}");
    let none = engine.folder.join("none");
    fs::create_dir(&none).expect("folder");
    let stranger = doctor(&engine.host, &[("DOCKER_CERT_PATH", utf8(&none))]);
    assert!(
        stranger.contains("nobody whom this machine trusts") && stranger.contains("/ca.pem"),
        "{stranger}"
    );
    fs::copy(certs.join("ca.pem"), none.join("ca.pem")).expect("copied");
    let nobody = doctor(&engine.host, &[("DOCKER_CERT_PATH", utf8(&none))]);
    assert!(nobody.contains("does not take us") && nobody.contains("cert.pem and key.pem"), "{nobody}");
    // Over SSH: not let in, and no command there.
    let sshd = Sshd::start("SetEnv PATH=/nowhere\n");
    let home = [("HOME", utf8(&sshd.home))];
    let bare = doctor(&sshd.host(), &home);
    assert!(bare.contains("docker") && bare.contains("docker version."), "{bare}");
    let key = sshd.home.join(".ssh/id_ed25519");
    fs::remove_file(&key).expect("removed");
    let keyless = doctor(&sshd.host(), &home);
    assert!(keyless.contains("there is no private key in"), "{keyless}");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "rsa", "-N", "", "-f"]).arg(&key).status();
    assert!(made.expect("ssh-keygen").success());
    let stranger = doctor(&sshd.host(), &home);
    assert!(stranger.contains("does not let") && stranger.contains("authorized_keys"), "{stranger}");
}

#[test]
fn an_image_is_built_for_the_platform_that_is_named() {
    let world = world("platform", &[]);
    let spec = |platforms: &str| format!("[build]\nplatforms = [{platforms}]\n");
    let arm = spec("\"linux/arm64\"");
    let told = world.push(&[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("slipway.toml", &arm)]);
    assert!(told.contains("verdict: all done"), "{told}");
    let pushed = &world.server.json(&["build", "list", "app"])[0]["pushed"];
    let (registry, path) = pushed["name"].as_str().and_then(|name| name.split_once('/')).expect("a name");
    let ask = |what: &str| {
        harness::curl(&[
            "-H",
            "Accept: application/vnd.docker.distribution.manifest.v2+json",
            &format!("http://{registry}/v2/{path}/{what}"),
        ])
        .1
    };
    let manifest: serde_json::Value =
        serde_json::from_str(&ask(&format!("manifests/{}", pushed["digest"].as_str().expect("digest"))))
            .expect("json");
    let config = ask(&format!("blobs/{}", manifest["config"]["digest"].as_str().expect("digest")));
    assert!(config.contains("\"architecture\":\"arm64\""), "{config}");
    // Several in one image are refused in words, where they stand.
    world.ann.commit(&world.tree, &[("slipway.toml", &spec("\"linux/arm64\", \"linux/amd64\""))], "Two");
    let told = world.ann.try_git(&world.tree, &["push", "-o", "wait", "origin", "HEAD:main"]);
    let told = text(&told.stderr);
    assert!(told.contains("build.platforms has more than one"), "{told}");
}
