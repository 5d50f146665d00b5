//! Docker Engines that a test starts for itself, beside the lab's: over TLS or a socket, to be killed and started again; and
//! an SSH server of OpenSSH on this machine.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test binary uses its part of this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::harness::{cache, run, text};

/// An engine with data, sockets and a bridge of its own.
pub struct OwnEngine {
    /// As in docker_host.
    pub host: String,
    pub folder: PathBuf,
    bridge: String,
    child: Child,
    arguments: Vec<String>,
}

static COUNT: AtomicU8 = AtomicU8::new(1);

impl OwnEngine {
    /// On a socket.
    pub fn start(name: &str) -> Self {
        let folder = folder(name);
        let host = format!("unix://{}/docker.sock", folder.display());
        Self::begin(folder, host.clone(), vec!["--host".into(), host])
    }

    /// On a port of 127.0.0.1, over TLS: whoever connects shows a certificate that its authority has signed. What a client
    /// needs is in its folder's `client`: `ca.pem`, `cert.pem` and `key.pem`.
    pub fn start_with_tls(name: &str) -> Self {
        let folder = folder(name);
        certificates(&folder);
        let at = format!("127.0.0.1:{}", free_port());
        let file = |name: &str| folder.join(name).display().to_string();
        let arguments = vec![
            "--host".into(),
            format!("tcp://{at}"),
            "--tlsverify".into(),
            format!("--tlscacert={}", file("client/ca.pem")),
            format!("--tlscert={}", file("server.pem")),
            format!("--tlskey={}", file("server.key")),
        ];
        Self::begin(folder, format!("https://{at}"), arguments)
    }

    fn begin(folder: PathBuf, host: String, arguments: Vec<String>) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let bridge = format!("slw{count}-{}", std::process::id());
        // A net of its own in 10.64.0.0/10, by process and count.
        let (a, b) = (64 + count % 64, std::process::id() % 65_536);
        let net = format!("10.{a}.{}.{}/29", b >> 8, (b & 0xf8) | 1);
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["addr", "add", &net, "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        fs::write(folder.join("daemon.json"), "{}").expect("written");
        let child = spawn(&folder, &bridge, &arguments);
        let mut engine = Self { host, folder, bridge, child, arguments };
        engine.wait_until_up();
        let base = cache().join("images/alpine-3.20.tar");
        engine.docker(&["load", "-q", "-i", base.to_str().expect("utf-8")]);
        engine
    }

    fn wait_until_up(&mut self) {
        let begun = Instant::now();
        while !run(&mut self.command(&["info"])).status.success() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(self.child.try_wait().expect("wait").is_none(), "dockerd has ended: {}", log());
            assert!(begun.elapsed() < Duration::from_secs(60), "dockerd does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Port, where it has one.
    pub fn port(&self) -> u16 {
        self.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
    }

    /// Docker's command for it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", self.host.replace("https://", "tcp://")).args(arguments);
        if self.host.starts_with("https://") {
            docker.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", self.folder.join("client"));
        }
        docker
    }

    pub fn docker(&self, arguments: &[&str]) -> String {
        let done = run(&mut self.command(arguments));
        assert!(done.status.success(), "docker {arguments:?}: {}", text(&done.stderr));
        text(&done.stdout).trim().to_owned()
    }

    /// Ends it at once, as a machine that loses its power.
    pub fn kill(&mut self) {
        let containerd = fs::read_to_string(self.folder.join("exec/containerd/containerd.pid"));
        drop(self.child.kill());
        drop(self.child.wait());
        if let Ok(pid) = containerd {
            run(Command::new("kill").args(["-9", pid.trim()]));
        }
    }

    /// Starts it again after that.
    pub fn restart(&mut self) {
        for left in ["pid", "exec/containerd/containerd.pid"] {
            drop(fs::remove_file(self.folder.join(left)));
        }
        self.child = spawn(&self.folder, &self.bridge, &self.arguments);
        self.wait_until_up();
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20)
            && self.child.try_wait().is_ok_and(|done| done.is_none())
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
        run(Command::new("ip").args(["link", "del", &self.bridge]));
        unmount(&self.folder);
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// What a killed engine leaves mounted.
fn unmount(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = |line: &&str| line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(folder));
    for line in mounts.lines().filter(below).collect::<Vec<_>>().into_iter().rev() {
        run(Command::new("umount").args(["-l", line.split(' ').nth(1).unwrap_or_default()]));
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = cache().join(format!("engines/{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(folder.join("client")).expect("folder");
    folder
}

fn spawn(folder: &Path, bridge: &str, arguments: &[String]) -> Child {
    let below = |name: &str| folder.join(name).display().to_string();
    let runc = cache().join("lab/runc");
    let mut dockerd = Command::new("dockerd");
    dockerd.args(["--config-file", &below("daemon.json"), "--data-root", &below("data")]);
    dockerd.args(["--exec-root", &below("exec"), "--pidfile", &below("pid"), "--log-level", "warn"]);
    if runc.exists() {
        dockerd.args(["--add-runtime", &format!("lab={}", runc.display()), "--default-runtime", "lab"]);
    }
    dockerd.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--oom-score-adjust", "0"]);
    dockerd.args(["--bridge", bridge, "--ip", "127.0.0.1", "--userland-proxy=false"]);
    dockerd.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("log");
    dockerd.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    dockerd.spawn().expect("dockerd is installed: run tests/lab up first")
}

fn ip(arguments: &[&str]) {
    let done = run(Command::new("ip").args(arguments));
    assert!(done.status.success(), "ip {arguments:?}: {}", text(&done.stderr));
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port()
}

/// An authority, the engine's certificate, and one for its clients.
fn certificates(folder: &Path) {
    let script = "set -e; K='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'; \
        openssl req -x509 $K -days 2 -subj /CN=authority -keyout ca.key -out client/ca.pem; \
        openssl req $K -subj /CN=engine -keyout server.key -out server.ask; printf subjectAltName=IP:127.0.0.1 > names; \
        openssl x509 -req -in server.ask -CA client/ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem; \
        openssl req $K -subj /CN=client -keyout client/key.pem -out client.ask; printf extendedKeyUsage=clientAuth > uses; \
        openssl x509 -req -in client.ask -CA client/ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile uses -out client/cert.pem";
    let made = run(Command::new("sh").current_dir(folder).args(["-c", script]));
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// OpenSSH's server on a port of 127.0.0.1, and a home whose key it lets in.
pub struct Sshd {
    pub port: u16,
    /// `.ssh` has the key and the file of known hosts.
    pub home: PathBuf,
    child: Child,
    folder: tempfile::TempDir,
}

impl Sshd {
    /// `more` is added to its configuration.
    pub fn start(more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-sshd-").tempdir().expect("temp");
        let (port, home) = (free_port(), folder.path().join("home"));
        fs::create_dir_all(home.join(".ssh")).expect("home");
        fs::create_dir_all("/run/sshd").expect("what sshd wants");
        let key = |path: PathBuf| {
            let made =
                run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path));
            assert!(made.status.success(), "{}", text(&made.stderr));
            fs::read_to_string(path.with_extension("pub")).expect("public")
        };
        let public = key(folder.path().join("host"));
        let allowed = key(home.join(".ssh/id_ed25519"));
        fs::write(folder.path().join("allowed"), allowed).expect("written");
        fs::write(home.join(".ssh/known_hosts"), format!("[127.0.0.1]:{port} {public}")).expect("written");
        let at = folder.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/allowed\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nPidFile none\nLogLevel ERROR\n{more}"
        );
        fs::write(folder.path().join("config"), config).expect("written");
        let log = fs::File::create(folder.path().join("log")).expect("log");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(folder.path().join("config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("openssh-server is installed: run tests/lab up first");
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "sshd does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { port, home, child, folder }
    }

    /// `ssh://…` of whoever runs the test.
    pub fn host(&self) -> String {
        let user = text(&run(Command::new("id").arg("-un")).stdout);
        format!("ssh://{}@127.0.0.1:{}", user.trim(), self.port)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How many connections the process has to that port of 127.0.0.1.
pub fn connections(pid: u32, port: u16) -> usize {
    let ours: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("open files")
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").expect("connections");
    let to = format!("0100007F:{port:04X}");
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2) == Some(&to.as_str())
            && fields.get(9).is_some_and(|inode| ours.iter().any(|o| o == inode))
    };
    table.lines().filter(is_ours).count()
}
