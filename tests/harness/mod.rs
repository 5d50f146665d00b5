//! A real Slipway for tests: the built binary on a temporary data folder and free ports, and people with keys, tokens
//! and stock git clients who use it.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test binary uses its part of this.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The stock gits of the machine, newest first; both are tried where the protocol matters.
pub fn gits() -> Vec<PathBuf> {
    let found: Vec<PathBuf> =
        ["/usr/local/bin/git", "/usr/bin/git"].iter().map(PathBuf::from).filter(|p| p.exists()).collect();
    assert!(!found.is_empty(), "no git found: run tests/lab up");
    found
}

/// The server's binary: the one that cargo built, or the one that `SLIPWAY_BIN` names.
pub fn program() -> PathBuf {
    std::env::var_os("SLIPWAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_slipway").into(), PathBuf::from)
}

/// The real parts of tests/lab. A test that needs them fails where they are missing.
pub struct Lab {
    pub registry: String,
    pub kubeconfig: PathBuf,
}

pub fn lab() -> Lab {
    let file = cache().join("lab/env");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let value = |key: &str| {
        std::env::var(key).ok().or_else(|| {
            text.lines().find_map(|l| {
                let (k, v) = l.strip_prefix("export ")?.split_once('=')?;
                (k == key).then(|| v.trim_matches(['"', '\'']).to_owned())
            })
        })
    };
    Lab {
        registry: value("SLIPWAY_TEST_REGISTRY").expect("no registry: run tests/lab up"),
        kubeconfig: value("KUBECONFIG").expect("no cluster: run tests/lab up").into(),
    }
}

pub fn cache() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    std::env::var("XDG_CACHE_HOME")
        .map_or_else(|_| Path::new(&home).join(".cache"), PathBuf::from)
        .join("slipway")
}

impl Lab {
    /// Runs kubectl; its standard output.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let out = self.try_kubectl(args);
        assert!(out.status.success(), "kubectl {args:?}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    pub fn try_kubectl(&self, args: &[&str]) -> Output {
        let mut kubectl = Command::new("kubectl");
        let bin = cache().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        run(kubectl.args(args).env("KUBECONFIG", &self.kubeconfig).env("PATH", path))
    }

    /// A namespace of this test's own; removed when dropped.
    pub fn namespace(&self, base: &str) -> Namespace<'_> {
        let name = format!("slipway-{base}-{}", std::process::id());
        self.kubectl(&["create", "namespace", &name]);
        Namespace { lab: self, name }
    }
}

pub struct Namespace<'a> {
    lab: &'a Lab,
    pub name: String,
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        self.lab.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server.
pub struct Slipway {
    pub data: PathBuf,
    pub http: String,
    pub ssh: String,
    pub child: Child,
    pub log: Arc<Mutex<String>>,
    folder: Option<tempfile::TempDir>,
    extra: Vec<String>,
}

impl Slipway {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts on a new data folder with these variables set.
    pub fn start_with_env(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
        let data = folder.path().join("data");
        let flags = ["--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"];
        let (child, log) = spawn_exact(&data, &flags, env);
        let mut server = Self {
            data,
            http: String::new(),
            ssh: String::new(),
            child,
            log,
            folder: Some(folder),
            extra: Vec::new(),
        };
        server.wait_until_up();
        server
    }

    /// Starts on a new data folder, allowed so many open files.
    pub fn start_with_files(files: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
        let data = folder.path().join("data");
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}:{files}")).arg(program());
        let flags = ["--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"];
        let (child, log) = spawn_by(command, &data, &flags, &[]);
        let (http, ssh) = (String::new(), String::new());
        let mut server = Self { data, http, ssh, child, log, folder: Some(folder), extra: Vec::new() };
        server.wait_until_up();
        server
    }

    /// Memory that the server has in use now, in MiB; with `peak` the most that it ever had.
    pub fn resident_mib(&self, peak: bool) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("status");
        let key = if peak { "VmHWM:" } else { "VmRSS:" };
        let line = status.lines().find_map(|l| l.strip_prefix(key)).expect("memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// Starts on a new data folder with further flags of `serve`.
    pub fn start_with(extra: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
        let data = folder.path().join("data");
        let mut server = Self::start_in(&data, extra);
        server.folder = Some(folder);
        server
    }

    /// Starts on that data folder.
    pub fn start_in(data: &Path, extra: &[&str]) -> Self {
        let (child, log) = spawn(data, extra);
        let mut server = Self {
            data: data.to_owned(),
            http: String::new(),
            ssh: String::new(),
            child,
            log,
            folder: None,
            extra: extra.iter().map(|s| s.to_string()).collect(),
        };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&mut self) {
        let run = self.data.join("run");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let (http, ssh) = (fs::read_to_string(run.join("http")), fs::read_to_string(run.join("ssh")));
            if let (Ok(http), Ok(ssh)) = (http, ssh) {
                let (http, ssh) = (http.trim().to_owned(), ssh.trim().to_owned());
                let pid = fs::read_to_string(run.join("pid")).unwrap_or_default();
                if pid.trim() == self.child.id().to_string()
                    && curl(&[&format!("http://{http}/-/readyz")]).0 == 200
                {
                    (self.http, self.ssh) = (http, ssh);
                    return;
                }
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "the server does not come up:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`, and starts again on the same folder and ports.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.restart();
    }

    pub fn crash(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub fn restart(&mut self) {
        self.begin_restart();
        self.wait_until_up();
    }

    /// Starts again and does not wait until it is up.
    pub fn begin_restart(&mut self) {
        let mut extra: Vec<String> = self.extra.clone();
        extra.extend(["--http".into(), self.http.clone(), "--ssh".into(), self.ssh.clone()]);
        let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
        let (child, log) = spawn_exact(&self.data, &extra, &[]);
        self.child = child;
        self.log = log;
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("lock").clone()
    }

    /// Runs a command line verb against this server; its standard output.
    pub fn cli(&self, args: &[&str]) -> String {
        let out = self.try_cli(args);
        assert!(
            out.status.success(),
            "slipway {args:?}: {}{}\n{}",
            text(&out.stdout),
            text(&out.stderr),
            self.log()
        );
        text(&out.stdout)
    }

    pub fn try_cli(&self, args: &[&str]) -> Output {
        run(Command::new(program()).args(args).arg("--data").arg(&self.data))
    }

    /// As [`Self::cli`] with `--json`, parsed.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut args = args.to_vec();
        args.push("--json");
        serde_json::from_str(&self.cli(&args)).expect("json")
    }

    /// Adds a user with a new key and makes them a token.
    pub fn person(&self, name: &str, owner: bool) -> Person {
        let home = self.data.parent().expect("parent").join(format!("home-{name}"));
        fs::create_dir_all(&home).expect("home");
        let key = home.join("id_ed25519");
        if !key.exists() {
            let made =
                run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
            assert!(made.status.success(), "{}", text(&made.stderr));
        }
        let public = home.join("id_ed25519.pub");
        let mut args = vec!["user", "add", name, "--key", public.to_str().expect("utf-8")];
        if owner {
            args.push("--owner");
        }
        self.cli(&args);
        let token =
            self.cli(&["token", "create", name, "--scope", "repo:read,repo:write,api"]).trim().to_owned();
        Person {
            name: name.into(),
            home,
            key,
            token,
            http: self.http.clone(),
            ssh: self.ssh.clone(),
            git: gits()[0].clone(),
        }
    }

    /// Waits until the newest build of the repository has reached a final state; its record.
    pub fn build_ended(&self, repo: &str, number: u64, within: Duration) -> serde_json::Value {
        self.ended(&["build", "show", repo, &number.to_string()], within)
    }

    pub fn deploy_ended(&self, repo: &str, number: u64, within: Duration) -> serde_json::Value {
        self.ended(&["deploy", "show", repo, &number.to_string()], within)
    }

    fn ended(&self, args: &[&str], within: Duration) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let mut all = args.to_vec();
            all.push("--json");
            let out = self.try_cli(&all);
            let record: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
            let state = record["state"].as_str().unwrap_or("");
            if matches!(state, "succeeded" | "failed" | "cancelled" | "superseded" | "healthy") {
                return record;
            }
            assert!(
                begun.elapsed() < within,
                "{args:?} does not end: {record:#}\n{}\n{}",
                text(&out.stderr),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Slipway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log());
        }
    }
}

fn spawn(data: &Path, extra: &[&str]) -> (Child, Arc<Mutex<String>>) {
    let mut all = vec!["--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"];
    all.extend(extra);
    spawn_exact(data, &all, &[])
}

fn spawn_exact(data: &Path, flags: &[&str], env: &[(&str, &str)]) -> (Child, Arc<Mutex<String>>) {
    spawn_by(Command::new(program()), data, flags, env)
}

fn spawn_by(
    mut command: Command,
    data: &Path,
    flags: &[&str],
    env: &[(&str, &str)],
) -> (Child, Arc<Mutex<String>>) {
    let mut child = command
        .arg("serve")
        .arg("--data")
        .arg(data)
        .args(flags)
        .env_remove("SLIPWAY_DATA")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the server");
    let log = Arc::new(Mutex::new(String::new()));
    let (lines, sink) = (BufReader::new(child.stderr.take().expect("stderr")), log.clone());
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let mut log = sink.lock().expect("lock");
            log.push_str(&line);
            log.push('\n');
        }
    });
    (child, log)
}

/// Somebody with an account, a key, a token and a stock git.
#[derive(Clone)]
pub struct Person {
    pub name: String,
    pub home: PathBuf,
    pub key: PathBuf,
    pub token: String,
    pub http: String,
    pub ssh: String,
    pub git: PathBuf,
}

impl Person {
    pub fn ssh_url(&self, repo: &str) -> String {
        format!("ssh://{}@{}/v1/repos/{repo}", self.name, self.ssh)
    }

    pub fn http_url(&self, repo: &str) -> String {
        format!("http://{}:{}@{}/{repo}", self.name, self.token, self.http)
    }

    /// A git command of this person in `folder`.
    pub fn git_command(&self, folder: &Path, args: &[&str]) -> Command {
        let ssh = format!(
            "ssh -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.key.display()
        );
        let mut command = Command::new(&self.git);
        command
            .args(args)
            .current_dir(folder)
            .env("HOME", &self.home)
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", &self.name)
            .env("GIT_AUTHOR_EMAIL", format!("{}@example.org", self.name))
            .env("GIT_COMMITTER_NAME", &self.name)
            .env("GIT_COMMITTER_EMAIL", format!("{}@example.org", self.name));
        command
    }

    pub fn try_git(&self, folder: &Path, args: &[&str]) -> Output {
        run(&mut self.git_command(folder, args))
    }

    /// Runs git and expects success; standard output and error together.
    pub fn git(&self, folder: &Path, args: &[&str]) -> String {
        let out = self.try_git(folder, args);
        let all = format!("{}{}", text(&out.stdout), text(&out.stderr));
        assert!(out.status.success(), "git {args:?}: {all}");
        all
    }

    /// A new work tree with one commit of these files on main.
    pub fn work_tree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.home.join(name);
        fs::create_dir_all(&folder).expect("folder");
        self.git(&folder, &["init", "-q", "-b", "main"]);
        self.commit(&folder, files, "first");
        folder
    }

    /// Writes files and commits them; the commit's id.
    pub fn commit(&self, folder: &Path, files: &[(&str, &str)], message: &str) -> String {
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(&path, content).expect("write");
        }
        self.git(folder, &["add", "-A"]);
        self.git(folder, &["commit", "-q", "--allow-empty", "-m", message]);
        self.git(folder, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs a command over SSH.
    pub fn over_ssh(&self, command: &str, input: &str) -> Output {
        let (host, port) = self.ssh.rsplit_once(':').expect("host:port");
        let mut ssh = Command::new("ssh");
        ssh.args(["-p", port, "-i"])
            .arg(&self.key)
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "LogLevel=ERROR", "-T"])
            .arg(format!("{}@{host}", self.name))
            .arg(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = ssh.spawn().expect("ssh");
        child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
        child.wait_with_output().expect("ssh ends")
    }

    /// GET of a page or API path, signed in by token; status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        curl(&["-u", &format!("{}:{}", self.name, self.token), &format!("http://{}{path}", self.http)])
    }
}

/// Runs curl; status and body.
pub fn curl(args: &[&str]) -> (u16, String) {
    let out = run(Command::new("curl").args(["-s", "-m", "30", "-w", "\n%{http_code}"]).args(args));
    let all = text(&out.stdout);
    let (body, status) = all.rsplit_once('\n').unwrap_or(("", "0"));
    (status.trim().parse().unwrap_or(0), body.to_owned())
}

/// Tries until `check` gives something.
pub fn eventually<T>(what: &str, within: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Reads a child's standard output and error to their ends.
pub fn drain(mut child: Child) -> (std::process::ExitStatus, String) {
    let mut all = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut all).expect("read");
    }
    if let Some(mut err) = child.stderr.take() {
        err.read_to_string(&mut all).expect("read");
    }
    (child.wait().expect("wait"), all)
}
