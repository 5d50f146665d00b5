//! Another Slipway in the peers' place: what `SLIPWAY_AGAINST` names, an older release say, beside today's in the same pairs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;

use crate::account::Account;
use crate::daemon::Daemon;
use crate::site::{HttpDoor, Outcome, Site, SshDoor, run};

/// The server that runs and how to give it orders.
pub(crate) struct Older {
    program: PathBuf,
    data: PathBuf,
    daemon: Option<Daemon>,
    pub(crate) site: Site,
}

impl Older {
    /// Starts `program` on a folder of its own, with an owner who has the key.
    pub(crate) fn start(program: &Path, folder: &Path, key: &Path) -> Outcome<Self> {
        fs::create_dir_all(folder)?;
        let data = folder.join("data");
        let mut account = Account::open("older");
        let at = data.display().to_string();
        let words = ["serve", "--data", &at, "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"];
        let daemon = Daemon::start(&mut account, program, &words, &folder.join("log"))?;
        let (http, ssh) = (address(&data, "http")?, address(&data, "ssh")?);
        wait_for_pid(&data)?;
        let mut older = Self {
            program: program.to_owned(),
            data,
            daemon: Some(daemon),
            site: Site { http: None, ssh: None, account },
        };
        let public = key.with_extension("pub").display().to_string();
        older.order(&["user", "add", "bench", "--owner", "--key", &public])?;
        let token = older.order(&["token", "create", "bench", "--scope", "repo:read,repo:write,api"])?;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("bench:{token}"));
        older.site.http = Some(HttpDoor { address: http, authorization: Some(format!("Basic {basic}")) });
        let port = ssh.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).ok_or("no SSH port")?;
        let door = SshDoor { port, user: "bench".into(), key: key.to_owned(), root: String::new() };
        older.site.ssh = Some(door);
        Ok(older)
    }

    /// Its repositories on disk.
    pub(crate) fn repos(&self) -> PathBuf {
        self.data.join("repos")
    }

    /// Makes a public repository.
    pub(crate) fn create(&self, name: &str) -> Outcome<()> {
        self.order(&["repo", "create", name, "--public"]).map(drop)
    }

    /// Removes it.
    pub(crate) fn remove(&self, name: &str) -> Outcome<()> {
        self.order(&["repo", "remove", name, "--yes"]).map(drop)
    }

    fn order(&self, words: &[&str]) -> Outcome<String> {
        run(Command::new(&self.program).args(words).arg("--data").arg(&self.data))
    }
}

impl Drop for Older {
    fn drop(&mut self) {
        drop(self.daemon.take());
        self.site.account.close();
    }
}

fn address(data: &Path, door: &str) -> Outcome<String> {
    Ok(wait_for(&data.join("run").join(door))?.trim().to_owned())
}

/// The process id is written last.
fn wait_for_pid(data: &Path) -> Outcome<()> {
    wait_for(&data.join("run/pid")).map(drop)
}

fn wait_for(file: &Path) -> Outcome<String> {
    let begun = Instant::now();
    loop {
        match fs::read_to_string(file) {
            Ok(text) if !text.is_empty() => return Ok(text),
            _ if begun.elapsed() > Duration::from_secs(20) => {
                return Err(format!("{} does not come", file.display()).into());
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
