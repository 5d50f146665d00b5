//! A peer's process with all its children, ended when dropped.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::account::Account;
use crate::site::Outcome;

/// A process group that this bench started.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it inside `account`; what it says goes to `log`.
    pub(crate) fn start(account: &mut Account, program: &Path, words: &[&str], log: &Path) -> Outcome<Self> {
        let log = std::fs::File::create(log)?;
        let mut command = account.command(program);
        let child = command
            .args(words)
            .current_dir("/")
            .env_remove("GIT_DIR")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        account.adopt(child.id());
        Ok(Self { child })
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args([name, "--", &group]).stderr(Stdio::null()).status());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal("-TERM");
        for _ in 0..50 {
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal("-KILL");
        drop(self.child.wait());
    }
}
