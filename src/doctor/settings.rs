//! What config.toml names and the server needs while it runs: the file itself, certificates, programs, files, addresses, the folder
//! of backups. Each was looked at when the server started, and may have changed since. Blocking.

use std::net::ToSocketAddrs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use slipway_core::{Problem, ProblemKind};
use slipway_forge::Check;

use super::{fail, judged, ok};
use crate::config::Config;

/// How much the newest file of the database may be ahead of the clock: less than that two machines disagree.
const AHEAD_MAX_S: u64 = 300;

/// Everything that the settings name.
pub(super) fn checks(config: &Config, data: &Path) -> Vec<Check> {
    let mut all = Vec::new();
    if config.file.exists() {
        all.push(judged(
            "configuration",
            Config::look(&config.file).map(|()| "config.toml can be read".to_owned()),
        ));
    }
    if let Some((_, files)) = config.secure() {
        all.push(judged("tls", files.check()));
    }
    all.extend(config.base_url.as_deref().map(base_url));
    let rules = config.clusters.rules();
    all.extend(rules.exec.iter().filter_map(|rule| program(rule)));
    all.extend(rules.files.iter().filter_map(|path| readable(Path::new(path))));
    all.extend(config.backup.to.as_deref().map(|to| backups(to, data)));
    all.push(clock(data));
    all
}

/// Whether the name that links have leads anywhere.
fn base_url(url: &str) -> Check {
    let uri = url.parse::<http::Uri>().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    match (host.as_str(), port).to_socket_addrs().map(|mut found| found.next()) {
        Ok(Some(address)) => ok("base_url", &format!("{host} is {}", address.ip())),
        Ok(None) => fail("base_url", &format!("{host} has no address."), NAME),
        Err(e) => fail("base_url", &format!("{host} cannot be looked up: {e}."), NAME),
    }
}

const NAME: &str =
    "See to the name in the DNS, or set base_url in config.toml to how people reach this server.";

/// A program of `[clusters] exec`, where something is wrong with it.
fn program(rule: &str) -> Option<Check> {
    let path = rule.split_whitespace().next().unwrap_or_default();
    let runs =
        std::fs::metadata(path).map(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0);
    let why = match runs {
        Ok(true) => return None,
        Ok(false) => "is no program".to_owned(),
        Err(e) => format!("cannot be run: {e}"),
    };
    Some(fail(
        "clusters.exec",
        &format!("{path} {why}."),
        "Install it, or take it out of [clusters] exec in config.toml.",
    ))
}

/// A file of `[clusters] files`, where it cannot be read.
fn readable(path: &Path) -> Option<Check> {
    let e = std::fs::File::open(path).err()?;
    let what = format!("{} cannot be read: {e}.", path.display());
    Some(fail("clusters.files", &what, "Put it there, or take it out of [clusters] files in config.toml."))
}

/// Whether the scheduled backup can be written, and outlives this disk.
fn backups(to: &Path, data: &Path) -> Check {
    let name = "backup folder";
    // The first backup makes it.
    let there = to.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    if let Err(e) = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        let what = format!("{} cannot be written in: {}.", there.display(), std::io::Error::from(e));
        return fail(name, &what, "Mount it, or give it to the user that the server runs as.");
    }
    let device = |path: &Path| std::fs::metadata(path).map(|facts| facts.dev()).ok();
    if device(there).is_some() && device(there) == device(data) {
        let what = format!(
            "{} can be written in, and is on the data folder's own file system: what takes that takes the backups, too",
            there.display()
        );
        return ok(name, &what);
    }
    ok(name, &format!("{} can be written in, on another file system", there.display()))
}

/// A clock that is behind what it has written breaks certificates, tokens and schedules.
fn clock(data: &Path) -> Check {
    let name = "clock of the records";
    let newest = ["db/db", "db.seal", "run/pid"]
        .iter()
        .filter_map(|file| std::fs::metadata(data.join(file)).and_then(|facts| facts.modified()).ok());
    let ahead =
        newest.filter_map(|at| at.duration_since(SystemTime::now()).ok()).map(|by| by.as_secs()).max();
    match ahead.filter(|seconds| *seconds > AHEAD_MAX_S) {
        None => ok(name, "nothing is of the future"),
        Some(seconds) => {
            let problem = Problem::new(
                ProblemKind::Broken,
                format!(
                    "The machine's clock was set back: files of the data folder are {} min ahead of it.",
                    seconds / 60
                ),
                "Set it, and keep it with an NTP client.",
            );
            judged(name, Err(problem))
        }
    }
}
