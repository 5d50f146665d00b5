//! Secrets, variables and services of builds and tests, on a real engine and registry. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;

use harness::{Person, Slipway, lab, text};

/// Made up here, for nothing else.
const VALUE: &str = "not-a-real-one-4711";

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
}

impl World {
    fn new(name: &str) -> Self {
        let lab = lab();
        let server = Slipway::start();
        let ann = server.person("ann", true);
        let image = format!("slipway-test-{name}-{}", std::process::id());
        server.cli(&["repo", "create", "app"]);
        server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
        server.cli(&["bind", "app", "--registry", "local", "--image", &image]);
        let tree = ann.work_tree("app", &[("a", "1\n")]);
        ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
        Self { server, ann, tree }
    }

    fn set(&self, name: &str, value: &str, more: &[&str]) {
        let file = self.server.data.join("value");
        std::fs::write(&file, format!("{value}\n")).expect("written");
        let file = file.display().to_string();
        self.server.cli(&[&["secret", "set", "app", name, "--file", &file], more].concat());
        std::fs::remove_file(file).expect("removed");
    }

    /// Commits those files and pushes them; what the pusher was told until the end.
    fn push(&self, files: &[(&str, &str)], to: &str) -> String {
        self.ann.commit(&self.tree, files, "Next");
        self.ann.git(&self.tree, &["push", "-f", "-o", "wait", "origin", &format!("HEAD:{to}")])
    }

    fn log(&self) -> String {
        let builds = self.server.json(&["build", "list", "app"]);
        self.server.cli(&["build", "log", "app", &builds[0]["number"].to_string()])
    }
}

/// Without a line that names the frontend: it would be fetched.
fn mounting(line: &str) -> String {
    format!("FROM alpine:3.20\nCOPY a /a\nRUN {line}\n")
}

#[test]
fn a_secret_is_mounted_by_a_step_and_is_nowhere_else() {
    let world = World::new("mounted");
    world.set("token", VALUE, &[]);
    let step = "--mount=type=secret,id=token,required=true sh -c 'cat /run/secrets/token; base64 /run/secrets/token; \
                test -s /run/secrets/token && echo found it'";
    let told = world.push(&[("Dockerfile", &mounting(step))], "main");
    assert!(told.contains("verdict: all done"), "{told}");
    let log = world.log();
    assert!(log.contains("found it") && log.contains("***"), "{log}");
    assert!(
        !log.contains(VALUE) && !told.contains(VALUE) && !log.contains("bm90LWEtcmVhbC1vbmUtNDcxM"),
        "{log}"
    );
    let listed = world.server.cli(&["secret", "list", "app"]);
    assert!(listed.contains("token") && listed.contains("the default branch") && !listed.contains(VALUE));
    let shown = world.server.json(&["build", "show", "app", "1"]).to_string();
    assert!(!shown.contains(VALUE), "{shown}");
    let export = world.server.cli(&["export"]);
    assert!(export.contains("\"secret\"") && !export.contains(VALUE));
    let db = std::process::Command::new("grep")
        .args(["-r", VALUE])
        .arg(&world.server.data)
        .output()
        .expect("grep");
    assert_eq!(text(&db.stdout), "", "nothing on disk has it");
    let pushed = world.server.json(&["build", "show", "app", "1"]);
    let image = format!(
        "{}@{}",
        pushed["pushed"]["name"].as_str().expect("name"),
        pushed["pushed"]["digest"].as_str().expect("digest")
    );
    let engine = |args: &[&str]| {
        text(&std::process::Command::new("docker").args(args).output().expect("docker").stdout)
    };
    engine(&["pull", "-q", &image]);
    assert!(!engine(&["history", "--no-trunc", &image]).contains(VALUE));
    assert!(
        !engine(&["run", "--rm", &image, "sh", "-c", "cat /run/secrets/token /proc/1/environ 2>&1"])
            .contains(VALUE)
    );
    engine(&["rmi", &image]);
}

#[test]
fn a_branch_that_an_admin_did_not_name_is_given_none_and_told_why() {
    let world = World::new("branch");
    world.set("token", VALUE, &["--for", "build"]);
    let everything = "[build.on]\nbranches = [\"**\"]\n";
    let step = "--mount=type=secret,id=token,required=true cat /run/secrets/token";
    let files = [("Dockerfile", &*mounting(step)), ("slipway.toml", everything)];
    let told = world.push(&files, "main");
    assert!(told.contains("verdict: all done"), "{told}");
    let told = world.push(&[("a", "2\n")], "feature/x");
    let why = "A step of the Dockerfile asks for the secret \"token\", which this build is not given: it is given to builds of \
               the default branch and not to those of feature/x.";
    assert!(told.contains(why), "{told}");
    assert!(told.contains("slipway secret set REPO token"), "{told}");
    world.set("token", VALUE, &["--for", "build", "--branch", "main", "--branch", "feature/*"]);
    let told = world.push(&[("a", "3\n")], "feature/x");
    assert!(told.contains("verdict: all done"), "{told}");
    world.server.cli(&["secret", "remove", "app", "token"]);
    let told = world.push(&[("a", "4\n")], "main");
    assert!(
        told.contains("asks for the secret \"token\", and the repository has none of that name."),
        "{told}"
    );
}

#[test]
fn what_a_step_makes_with_a_secret_goes_to_nobody_who_writes_the_same() {
    let world = World::new("salt");
    let step =
        "--mount=type=secret,id=token,required=true sha256sum < /run/secrets/token | cut -c1-8 > /made";
    let dockerfile = format!("FROM alpine:3.20\nRUN echo {}\nRUN {step}\n", std::process::id());
    let everything = "[build.on]\nbranches = [\"**\"]\n[test]\nshell = \"echo made $(cat /made)\"\n";
    let files = [("Dockerfile", &*dockerfile), ("slipway.toml", everything)];
    world.set("token", VALUE, &[]);
    assert!(world.push(&files, "main").contains("verdict: all done"));
    let ours = world.log();
    // A branch that is not given it does not find it in the engine's memory.
    let told = world.push(&[("a", "2\n")], "feature");
    assert!(told.contains("asks for the secret \"token\", which this build is not given"), "{told}");
    // Nor does another repository, with a secret of its own.
    let World { server, ann, .. } = &world;
    server.cli(&["repo", "create", "other"]);
    server.cli(&[
        "bind",
        "other",
        "--registry",
        "local",
        "--image",
        &format!("slipway-test-salt-o-{}", std::process::id()),
    ]);
    let other = ann.work_tree("other", &files);
    let push = || ann.git(&other, &["push", "-o", "wait", &ann.ssh_url("other"), "main"]);
    let told = push();
    assert!(told.contains("the repository has none of that name"), "{told}");
    let file = server.data.join("value");
    std::fs::write(&file, "another value\n").expect("written");
    server.cli(&["secret", "set", "other", "token", "--file", &file.display().to_string()]);
    server.cli(&["build", "retry", "other", "1"]);
    server.build_ended("other", 2, std::time::Duration::from_secs(120));
    let theirs = server.cli(&["build", "log", "other", "2"]);
    let made = |log: &str| log.lines().find(|l| l.starts_with("made ")).map(str::to_owned);
    assert!(
        made(&ours).is_some() && made(&theirs).is_some() && made(&ours) != made(&theirs),
        "{ours}\n{theirs}"
    );
}

#[test]
fn a_test_has_its_variables_its_secrets_and_what_it_is_about() {
    let world = World::new("test");
    world.set("DB_PASSWORD", VALUE, &["--for", "test"]);
    world.set("cert", "line one\nline two", &["--for", "test"]);
    let toml = r#"
[build]
args = { VERSION = "v-{short}", UNASKED = "x" }
[test]
env = { GREETING = "built {number} of {branch}" }
secrets = ["DB_PASSWORD", { name = "cert", file = "/run/own/cert.pem" }, { name = "cert", env = "CERT" }]
shell = """
set -e
test "$CI" = true && test "$SLIPWAY" = true && test "$SLIPWAY_REPO" = app && test "$SLIPWAY_BRANCH" = main
test "$GREETING" = "built 1 of main" && test -z "$SLIPWAY_TAG" && test "$SLIPWAY_BUILD" = 1
echo "$SLIPWAY_COMMIT" | grep -q "^$SLIPWAY_SHORT"
test "$SLIPWAY_ACTOR" = ann && echo "$SLIPWAY_BUILD_URL" | grep -q '/app/builds/1$'
test "${#DB_PASSWORD}" = 19 && echo "password is $DB_PASSWORD"
test "$(cat /run/own/cert.pem)" = "$CERT" && test "$(echo "$CERT" | wc -l)" = 2
test "$(cat /version)" = "v-$SLIPWAY_SHORT main"
echo all is well
"""
"#;
    let dockerfile = "FROM alpine:3.20\nARG VERSION\nARG SLIPWAY_BRANCH\nRUN echo \"$VERSION $SLIPWAY_BRANCH\" > /version\nUSER 1000\n";
    let told = world.push(&[("Dockerfile", dockerfile), ("slipway.toml", toml)], "main");
    let log = world.log();
    assert!(told.contains("verdict: all done") && log.contains("all is well"), "{told}\n{log}");
    assert!(log.contains("password is ***") && !log.contains(VALUE), "{log}");
    // A secret that is for builds alone is none of a test's.
    world.set("DB_PASSWORD", VALUE, &["--for", "build"]);
    let told = world.push(&[("a", "2\n")], "main");
    assert!(told.contains("Test.secrets of slipway.toml asks for the secret \"DB_PASSWORD\""), "{told}");
    assert!(told.contains("it is for build, not for test"), "{told}");
}

#[test]
fn services_are_ready_before_the_test_and_gone_after_it() {
    let world = World::new("services");
    let toml = r#"
[test]
shell = "nc db 7000 < /dev/null | grep 'hello from db with yes' && ! nc -w 2 10.0.0.1 80"
[test.services.db]
image = "alpine:3.20"
env = { WITH = "yes" }
command = ["sh", "-c", "echo 'echo hello from $(hostname) with $WITH' > /hello; sleep 1; touch /up; while true; do nc -l -p 7000 -e sh /hello; done"]
ready = ["test", "-e", "/up"]
memory = "64MiB"
"#;
    let told = world.push(&[("Dockerfile", "FROM alpine:3.20\nCOPY a /a\n"), ("slipway.toml", toml)], "main");
    let log = world.log();
    assert!(told.contains("verdict: all done") && log.contains("service db: alpine:3.20"), "{told}\n{log}");
    let ended = toml.replace("sleep 1; touch /up;", "echo no database here; exit 3;");
    let told = world.push(&[("slipway.toml", &ended)], "main");
    assert!(
        told.contains("The service db of the test did not come up: it ended with exit code 3."),
        "{told}"
    );
    assert!(world.log().contains("db | no database here"), "{}", world.log());
    let late = toml
        .replace("touch /up;", "")
        .replace("[test.services.db]", "[test.services.db]\nready_timeout = \"2s\"");
    let told = world.push(&[("slipway.toml", &late)], "main");
    assert!(told.contains("`test -e /up` did not succeed within 2 s"), "{told}");
    let failing = toml.replace("grep 'hello from db with yes'", "grep nothing");
    let told = world.push(&[("slipway.toml", &failing)], "main");
    assert!(told.contains("failed with exit code 1"), "{told}");
    let nowhere = format!("{}/slipway-none:1", lab().registry);
    let none = toml.replace("alpine:3.20\"\nenv", &format!("{nowhere}\"\nenv"));
    let told = world.push(&[("slipway.toml", &none)], "main");
    assert!(told.contains(&format!("The image {nowhere} of the service db cannot be pulled")), "{told}");
    let ours = std::process::Command::new("docker")
        .args(["ps", "-aq", "--filter", "label=slipway.build=app#1"])
        .output();
    assert_eq!(text(&ours.expect("docker").stdout), "", "no container is left");
}

#[test]
fn capabilities_end_at_the_ceiling() {
    let world = World::new("capabilities");
    let toml = "[test]\nshell = \"chown 1000 /a && stat -c %u /a | grep 1000\"\ncapabilities = [\"CHOWN\"]\n";
    let told = world.push(&[("Dockerfile", "FROM alpine:3.20\nCOPY a /a\n"), ("slipway.toml", toml)], "main");
    assert!(told.contains("verdict: all done"), "{told}");
    let told =
        world.push(&[("slipway.toml", &toml.replace("[\"CHOWN\"]", "[\"CHOWN\", \"SYS_ADMIN\"]"))], "main");
    assert!(told.contains("asks for the capabilities SYS_ADMIN"), "{told}");
    let told = world.push(&[("slipway.toml", &toml.replace("capabilities = [\"CHOWN\"]\n", ""))], "main");
    assert!(told.contains("failed with exit code 1"), "{told}");
}
