//! What one team can do to another, and to the host, through builds and deploys: nothing that an owner has not allowed.
//! Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use harness::{Lab, Person, Slipway, lab, run, text};
use serde_json::Value;

const MINUTES: Duration = Duration::from_secs(240);

/// Two teams' repositories on one server, bound to the lab's registry.
struct Teams {
    lab: Lab,
    server: Slipway,
    ann: Person,
    /// Number of the newest build, by repository.
    builds: std::collections::BTreeMap<String, u64>,
}

impl Teams {
    fn new(extra: &[&str]) -> Self {
        let (lab, server) = (lab(), Slipway::start_with(extra));
        let ann = server.person("ann", true);
        server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
        let mut teams = Self { lab, server, ann, builds: Default::default() };
        for repo in ["app1", "app2"] {
            teams.server.cli(&["repo", "create", repo]);
            teams.bind(repo, &[]);
        }
        teams
    }

    fn image(repo: &str) -> String {
        format!("slipway-test-isolation-{}/{repo}", std::process::id())
    }

    fn bind(&mut self, repo: &str, flags: &[&str]) {
        let image = Self::image(repo);
        self.server.cli(&[&["bind", repo, "--registry", "local", "--image", &image][..], flags].concat());
    }

    /// Pushes these files and waits for the build; its record and log.
    fn build(&mut self, repo: &str, dockerfile: &str, spec: &str) -> (Value, String) {
        let tree = self.ann.home.join(repo);
        if !tree.exists() {
            self.ann.work_tree(repo, &[("README", "x")]);
        }
        self.ann.commit(&tree, &[("Dockerfile", dockerfile), ("slipway.toml", spec)], "next");
        let pushed = self.ann.git(&tree, &["push", &self.ann.http_url(repo), "main"]);
        let number = self.builds.entry(repo.to_owned()).and_modify(|n| *n += 1).or_insert(1);
        assert!(pushed.contains(&format!("build {number}")), "{pushed}");
        let record = self.server.build_ended(repo, *number, MINUTES);
        let log = self.server.cli(&["build", "log", repo, &number.to_string()]);
        (record, log)
    }

    fn succeeds(&mut self, repo: &str, dockerfile: &str, spec: &str) -> String {
        let (record, log) = self.build(repo, dockerfile, spec);
        assert_eq!(record["state"], "succeeded", "{record:#}\n{log}");
        log
    }

    /// The build fails by policy, and says these words.
    fn refused(&mut self, repo: &str, dockerfile: &str, spec: &str, words: &[&str]) {
        let (record, log) = self.build(repo, dockerfile, spec);
        assert_eq!(record["state"], "failed", "{dockerfile}{spec}: {record:#}\n{log}");
        for word in words {
            assert!(record.to_string().contains(word) || log.contains(word), "{word}: {record:#}\n{log}");
        }
        assert!(!log.contains("SEEN"), "a step has run: {log}");
    }
}

fn docker(arguments: &[&str]) -> String {
    text(&run(Command::new("docker").args(arguments)).stdout)
}

#[test]
fn cache_mounts_are_a_repositorys_own_unless_an_owner_shares_them() {
    let mut teams = Teams::new(&[]);
    let id = format!("shared-{}", std::process::id());
    let step = |line: &str, n: u32| {
        format!("FROM alpine:3.20\nRUN --mount=type=cache,id={id},target=/c sh -c \"{line}\" # {n}\n")
    };
    let (write, read) = ("echo of-app''1 >> /c/x; cat /c/x", "cat /c/x || echo NOTH''ING");
    assert!(teams.succeeds("app1", &step(write, 1), "").contains("of-app1"));
    let log = teams.succeeds("app2", &step(read, 2), "");
    assert!(log.contains("NOTHING") && !log.contains("of-app1"), "{log}");
    assert!(teams.succeeds("app1", &step(read, 3), "").contains("of-app1"), "its own cache is kept");
    // Nor by naming the namespace, which slipway.toml cannot.
    let spec = "[build]\nargs = { BUILDKIT_CACHE_MOUNT_NS = \"slipway-r1\" }\n";
    let (record, _) = teams.build("app2", &step(read, 6), spec);
    assert_eq!(record["state"], "failed");
    assert!(record.to_string().contains("cannot set BUILDKIT_CACHE_MOUNT_NS"), "{record:#}");
    // An owner puts both into a group.
    for repo in ["app1", "app2"] {
        teams.bind(repo, &["--cache-group", "team"]);
    }
    assert!(teams.succeeds("app1", &step(write, 4), "").contains("of-app1"));
    assert!(teams.succeeds("app2", &step(read, 5), "").contains("of-app1"));
}

#[test]
fn images_frontends_and_addresses_of_others_are_refused_before_the_build_starts() {
    let mut teams = Teams::new(&[]);
    teams.succeeds("app2", "FROM alpine:3.20\nRUN echo secret > /secret\n", "");
    let theirs = format!("{}/{}", teams.lab.registry, Teams::image("app2"));
    let port = teams.lab.registry.rsplit(':').next().expect("port").to_owned();
    let elsewhere = format!("localhost:{port}/{}", Teams::image("app2"));
    let seen = "RUN echo SE''EN\n";
    let with_arg = format!("[build]\nargs = {{ BASE = \"{theirs}\" }}\n");
    for (dockerfile, spec, words) in [
        (format!("FROM {theirs}:latest\n{seen}"), "", ["Dockerfile:1: FROM", "--may-pull"]),
        (format!("FROM {elsewhere}:latest\n{seen}"), "", ["Dockerfile:1: FROM", "--may-pull"]),
        (
            format!("FROM alpine:3.20\n{seen}COPY --from={theirs} /secret /s\n"),
            "",
            ["Dockerfile:3: COPY --from", "--may-pull"],
        ),
        (
            format!("FROM alpine:3.20\n{seen}RUN --mount=type=bind,from={theirs},target=/t cat /t/secret\n"),
            "",
            ["Dockerfile:3: RUN --mount", "--may-pull"],
        ),
        (
            format!("ARG BASE=alpine:3.20\nFROM $BASE\n{seen}"),
            with_arg.as_str(),
            ["Dockerfile:2: FROM", "--may-pull"],
        ),
        (
            format!("FROM alpine:3.20\nFROM alpine:3.20 AS test\nCOPY --from={theirs} /secret /s\n"),
            "[build]\ntarget = \"test\"\n",
            ["Dockerfile:3: COPY --from", "--may-pull"],
        ),
        (
            format!("# syntax=evil/frontend:1\nFROM alpine:3.20\n{seen}"),
            "",
            ["Dockerfile:1: # syntax", "--any-frontend"],
        ),
        (
            format!("FROM alpine:3.20\n{seen}ADD http://169.254.169.254/latest /x\n"),
            "",
            ["Dockerfile:3: ADD", "--remote-add"],
        ),
    ] {
        teams.refused("app1", &dockerfile, spec, &words);
    }
    // A trigger for whoever builds on this image.
    let base = format!("FROM alpine:3.20\nONBUILD COPY --from={theirs} /secret /s\n");
    teams.refused("app1", &base, "", &["COPY --from", "--may-pull"]);

    teams.bind("app1", &["--may-pull", "app2"]);
    let log = teams.succeeds("app1", &format!("FROM {theirs}:latest\nRUN cat /secret\n"), "");
    assert!(log.contains("secret"), "{log}");
    teams.bind("app1", &[]);
    teams.server.cli(&["repo", "set", "app2", "--public"]);
    teams.succeeds("app1", &format!("FROM {theirs}:latest\nRUN cat /secret # again\n"), "");
}

/// Answers everybody who reaches this machine, on all of its addresses.
fn answering() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0u8; 1024]);
            let _ = stream.write_all(b"REACHED\n");
        }
    });
    port
}

#[test]
fn tests_and_builds_have_no_wider_network_than_an_owner_lets_them() {
    let mut teams = Teams::new(&[]);
    let port = answering();
    // Every address that the host may have: its bridge's, and the first of whatever network the container is in.
    let reach = format!(
        "own=$(ip -4 -o addr show | sed -n 's/.* inet \\([0-9]*\\.[0-9]*\\)\\.[0-9.]*\\/.*/\\1.0.1/p'); \
         for a in 172.17.0.1 $own; do echo hello | nc -w 3 $a {port} || true; done; echo DO''NE"
    );
    let test =
        |network: &str| format!("[test]\nnetwork = \"{network}\"\nshell = '''{}; ip -o link'''\n", reach);
    let plain = "FROM alpine:3.20\n";
    for network in ["none", "internal"] {
        let log = teams.succeeds("app1", plain, &test(network));
        assert!(log.contains("DONE") && !log.contains("REACHED"), "{network}: {log}");
        assert_eq!(log.contains("eth0"), network == "internal", "{network}: {log}");
    }
    teams.refused("app1", plain, &test("bridge"), &["test.network", "--test-limit network=bridge"]);
    teams.bind("app1", &["--test-limit", "network=bridge"]);
    let log = teams.succeeds("app1", plain, &test("bridge"));
    assert!(log.contains("REACHED"), "the way that is closed elsewhere is one: {log}");

    let build = |n: u32| format!("FROM alpine:3.20\nRUN {reach} # {n}\n");
    assert!(teams.succeeds("app1", &build(1), "").contains("REACHED"), "builds have the bridge by default");
    teams.bind("app1", &["--build-limit", "network=none"]);
    let log = teams.succeeds("app1", &build(2), "");
    assert!(log.contains("DONE") && !log.contains("REACHED"), "{log}");
    let hosts = format!("FROM alpine:3.20\nRUN --network=host {reach}\n");
    let (record, log) = teams.build("app1", &hosts, "");
    assert!(record["state"] == "failed" && !log.contains("REACHED"), "{record:#}\n{log}");
    let left = docker(&["network", "ls", "--filter", "name=slipway-n", "--format", "{{.Name}} {{.Labels}}"]);
    assert!(!left.contains("app1#"), "a network is left over: {left}");
}

#[test]
fn what_a_test_asks_for_above_the_ceilings_is_lowered_and_config_toml_is_above_owners() {
    let folder = tempfile::tempdir().expect("temp");
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[tests]\nmemory = \"64MiB\"\npids = 32\nnetwork = \"none\"\ndisk = \"1GiB\"\n")
        .expect("write");
    let mut teams = Teams::new(&["--config", config.to_str().expect("utf-8")]);
    teams.bind(
        "app1",
        &["--test-limit", "memory=2GiB", "--test-limit", "network=bridge", "--test-limit", "cpus=0.5"],
    );
    let spec = "[test]\nmemory = \"100000GiB\"\ncpus = 1024\ntimeout = \"24h\"\nshell = 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true'\n";
    let log = teams.succeeds("app1", "FROM alpine:3.20\n", spec);
    for word in ["lowered to 64MiB", "lowered to 0.5", "lowered to 2h", "67108864"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    let wide = "[test]\nnetwork = \"bridge\"\nshell = 'echo SEEN'\n";
    teams.refused("app1", "FROM alpine:3.20\n", wide, &["test.network", "at most"]);
    let many = "[test]\nshell = 'i=0; while [ $i -lt 200 ]; do sleep 30 & i=$((i+1)); done; echo all-$((40 + 2))'\ntimeout = \"30s\"\n";
    let (record, log) = teams.build("app1", "FROM alpine:3.20\n", many);
    assert!(record["state"] == "failed" && !log.contains("all-42"), "{record:#}\n{log}");
}

#[test]
fn a_manifest_repository_has_neither_the_node_nor_rights_nor_others_objects() {
    let lab = lab();
    let ns = lab.namespace("isolation");
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")]);
    lab.kubectl(&["-n", &ns.name, "create", "configmap", "theirs", "--from-literal=a=theirs"]);
    let pod = |spec: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: alpine:3.20}}], {spec}}}\n"
        )
    };
    let cron = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: p}\nspec: {schedule: '* * * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i, securityContext: {capabilities: {add: [SYS_ADMIN]}}}]}}}}}\n";
    let binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: p}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: ServiceAccount, name: default}]\n";
    for (name, file, words) in [
        ("pid", pod("hostPID: true"), ["spec.hostPID", "--pod-security privileged"]),
        ("net", pod("hostNetwork: true"), ["spec.hostNetwork", "--pod-security privileged"]),
        (
            "path",
            pod("volumes: [{name: v, hostPath: {path: /}}]"),
            ["spec.volumes[0].hostPath", "--pod-security privileged"],
        ),
        ("cron", cron.to_owned(), ["capabilities.add[0] is SYS_ADMIN", "--pod-security privileged"]),
        ("rbac", binding.to_owned(), ["RoleBinding p", "--allow-kind RoleBinding.rbac.authorization.k8s.io"]),
        (
            "take",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\ndata: {a: ours}\n".to_owned(),
            ["theirs", "--adopt"],
        ),
    ] {
        let repo = format!("m-{name}");
        server.cli(&["repo", "create", &repo]);
        let bind = ["bind", &repo, "--cluster", "lab", "--namespace", &ns.name, "--dry-run"];
        let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n";
        let tree = ann.work_tree(&repo, &[("good.yaml", good), ("bad.yaml", &file)]);
        // The gate refuses it, and the deploy behind a gate that is open.
        server.cli(&[&bind[..], &["enforce"]].concat());
        let out = ann.try_git(&tree, &["push", &ann.http_url(&repo), "main"]);
        server.cli(&[&bind[..], &["off"]].concat());
        ann.git(&tree, &["push", &ann.http_url(&repo), "main"]);
        let deploy = server.deploy_ended(&repo, 1, MINUTES);
        assert_eq!(deploy["state"], "failed", "{name}: {deploy:#}");
        for word in words.into_iter().chain(["bad.yaml:1"]) {
            assert!(
                !out.status.success() && text(&out.stderr).contains(word),
                "{name}: {word}: {}",
                text(&out.stderr)
            );
            assert!(deploy.to_string().contains(word), "{name}: {word}: {deploy:#}");
        }
    }
    let there = lab.kubectl(&["-n", &ns.name, "get", "pod,cronjob,rolebinding,configmap", "-o", "name"]);
    assert!(!there.contains("/p\n") && !there.contains("/good"), "{there}");
    let a = ["-n", &ns.name, "get", "configmap", "theirs", "-o", "jsonpath={.data.a}"];
    assert_eq!(lab.kubectl(&a), "theirs");
    server.cli(&["bind", "m-take", "--cluster", "lab", "--namespace", &ns.name, "--adopt"]);
    server.cli(&["deploy", "sync", "m-take"]);
    assert_eq!(server.deploy_ended("m-take", 2, MINUTES)["state"], "healthy");
    assert_eq!(lab.kubectl(&a), "ours");
}

#[test]
fn an_owner_on_the_web_has_no_program_and_no_file_of_the_host() {
    let server = Slipway::start_with_env(&[("SLIPWAY_TEST_MARKER", "s3cret-of-the-server")]);
    let ann = server.person("ann", true);
    let ran = ann.home.join("ran");
    let config = |user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:9'}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n"
        )
    };
    let exec = |out: &std::path::Path| {
        config(&format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, args: ['-c', 'env > {}; exit 1']}}",
            out.display()
        ))
    };
    for (text_of, words) in [
        (exec(&ran), "[clusters] exec"),
        (config("tokenFile: /etc/hostname"), "[clusters] files"),
        ("in-cluster".to_owned(), "in_cluster"),
    ] {
        let body = serde_json::json!({"kubeconfig": text_of}).to_string();
        let url = format!("http://{}/-/api/v1/clusters/bad", server.http);
        let auth = format!("{}:{}", ann.name, ann.token);
        let json = "content-type: application/json";
        let (status, said) = harness::curl(&["-u", &auth, "-X", "PUT", "-H", json, "-d", &body, &url]);
        assert!(status >= 400 && said.contains(words), "{status} {said}");
        let (status, _) = harness::curl(&["-u", &auth, "-X", "POST", &format!("{url}/test")]);
        assert_eq!(status, 404, "nothing was recorded");
    }
    assert!(!ran.exists());
    drop(server);

    // Allowed in config.toml, it runs, and sees nothing of the server's environment.
    let folder = tempfile::tempdir().expect("temp");
    let (config_file, ran) = (folder.path().join("config.toml"), folder.path().join("ran"));
    std::fs::write(&config_file, "[clusters]\nexec = [\"/bin/sh -c\"]\n").expect("write");
    let server = Slipway::start_with(&["--config", config_file.to_str().expect("utf-8")]);
    let file = folder.path().join("kubeconfig");
    std::fs::write(&file, exec(&ran)).expect("write");
    server.cli(&["cluster", "add", "c", "--kubeconfig", file.to_str().expect("utf-8")]);
    assert!(!server.try_cli(&["cluster", "test", "c"]).status.success());
    let seen = std::fs::read_to_string(&ran).expect("it ran");
    let names: Vec<&str> = seen.lines().filter_map(|l| l.split_once('=')).map(|(name, _)| name).collect();
    assert!(names.contains(&"PATH") && !names.contains(&"HOME") && !names.contains(&"USER"), "{seen}");
}
