//! A server under measurement, as a client sees it, and how to make one ready for that.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::account::Account;

/// Whatever goes wrong ends one workload and is printed.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How to reach a server over SSH.
#[derive(Clone, Debug)]
pub(crate) struct SshDoor {
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
    /// Who to sign in as.
    pub(crate) user: String,
    /// The private key.
    pub(crate) key: PathBuf,
    /// What stands before a repository's name in its path.
    pub(crate) root: String,
}

/// How to reach a server over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct HttpDoor {
    /// `host:port`.
    pub(crate) address: String,
    /// Value of the header `Authorization` for pushes.
    pub(crate) authorization: Option<String>,
}

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Its HTTP side.
    pub(crate) http: Option<HttpDoor>,
    /// Its SSH side.
    pub(crate) ssh: Option<SshDoor>,
    /// What it uses.
    pub(crate) account: Account,
}

impl SshDoor {
    /// The ssh command's words up to the host, with the stock client's own defaults but for identity and known hosts.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut words = vec!["-F".to_owned(), "none".into(), "-p".into(), self.port.to_string(), "-i".into()];
        words.push(self.key.display().to_string());
        for option in [
            "ControlMaster=no",
            "ControlPath=none",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "SendEnv=GIT_PROTOCOL",
        ] {
            words.extend(["-o".into(), option.into()]);
        }
        words
    }

    /// The repository's path as the server takes it.
    pub(crate) fn path(&self, repo: &str) -> String {
        format!("{}/{repo}.git", self.root)
    }

    /// For stock git.
    pub(crate) fn url(&self, repo: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, self.path(repo))
    }
}

impl HttpDoor {
    /// For stock git.
    pub(crate) fn url(&self, repo: &str) -> String {
        format!("http://{}/{repo}.git", self.address)
    }
}

/// A stock git command in `folder` that reads no configuration but the repository's.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = Command::new(git_program());
    command
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Bench")
        .env("GIT_AUTHOR_EMAIL", "bench@example.org")
        .env("GIT_COMMITTER_NAME", "Bench")
        .env("GIT_COMMITTER_EMAIL", "bench@example.org")
        .stdin(std::process::Stdio::null());
    command
}

/// The git that serves as peer and as stock client: the machine's current one.
pub(crate) fn git_program() -> PathBuf {
    ["/usr/local/bin/git", "/usr/bin/git"]
        .iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
        .unwrap_or("git".into())
}

/// Runs to success; standard output without the last newline.
pub(crate) fn run(command: &mut Command) -> Outcome<String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(format!("{command:?}: {}: {}", out.status, said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}

/// The program of that name in the usual folders, those for daemons included.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin"]).map(str::to_owned);
    folders.map(|f| Path::new(&f).join(name)).find(|p| p.is_file())
}

/// A TCP port of 127.0.0.1 that nobody uses right now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until something answers there.
pub(crate) fn wait_for_port(port: u16) -> Outcome<()> {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(format!("nothing answers at 127.0.0.1:{port}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
