//! A peer's process with all its children, ended when dropped. They stay in the bench's own process group, so that
//! Ctrl-C ends them as well.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::account::Account;
use crate::interrupt;
use crate::site::Outcome;

/// A daemon that this bench started.
pub(crate) struct Daemon {
    child: Child,
    account: Account,
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
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        account.adopt(child.id());
        interrupt::ends(account);
        Ok(Self { child, account: account.clone() })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Noted before: children that outlive their parent cannot be found by it afterwards.
        let all = self.account.pids();
        signal("-TERM", &[self.child.id()]);
        for _ in 0..50 {
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        signal("-KILL", &all);
        drop(self.child.wait());
    }
}

fn signal(name: &str, pids: &[u32]) {
    if !pids.is_empty() {
        let pids = pids.iter().map(u32::to_string);
        drop(Command::new("kill").arg(name).args(pids).stderr(Stdio::null()).status());
    }
}
