//! SIGTERM and SIGINT: servers are ended and folders removed before the bench goes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use crate::account::Account;

static LEFT: Mutex<(Vec<Account>, Vec<PathBuf>)> = Mutex::new((Vec::new(), Vec::new()));

/// Ends that account's processes if the bench is interrupted.
pub(crate) fn ends(account: &Account) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).0.push(account.clone());
}

/// Removes that folder if the bench is interrupted.
pub(crate) fn removes(folder: &Path) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).1.push(folder.to_owned());
}

/// Watches for signals from now on.
pub(crate) fn watch() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::spawn(move || {
        let first = runtime.block_on(async {
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            std::io::Result::Ok(())
        });
        if first.is_ok() {
            clean_up();
            std::process::exit(130);
        }
    });
    Ok(())
}

fn clean_up() {
    let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    for account in &left.0 {
        let pids: Vec<String> = account.pids().iter().map(u32::to_string).collect();
        if !pids.is_empty() {
            drop(Command::new("kill").arg("-KILL").args(pids).status());
        }
        account.close();
    }
    for folder in &left.1 {
        drop(std::fs::remove_dir_all(folder));
    }
}
