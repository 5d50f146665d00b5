//! `slipway doctor`: looks at everything the server stands on, each failure with its cure.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slipway_core::limits::{Chosen, Limits};
use slipway_core::{Problem, UnixMillis};
use slipway_forge::Check;
use slipway_hooks::Member;

use crate::cli::Serve;
use crate::config::Config;
use crate::data::DataFolder;
use crate::readiness::{DISK, ample_room};
use crate::rooms::Rooms;
use crate::supervisor::blocking;
use crate::{machine, operations};

mod isolation;
pub(crate) mod repositories;
mod settings;

/// How long one part may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// All checks of a running server; `ready` are those that a push needs.
pub(crate) async fn examine(
    rooms: &Rooms,
    data: &DataFolder,
    config: Option<Arc<Config>>,
    ready: Vec<Check>,
) -> Vec<Check> {
    let mut checks = vec![ok("server", &format!("version {} answers", env!("CARGO_PKG_VERSION")))];
    // One row about the disk: what a push needs is told there, and more is asked for.
    checks.extend(
        ready.into_iter().map(|check| if check.name == DISK { ample_room(data.root()) } else { check }),
    );
    checks.push(clock());
    checks.push(limits(rooms));
    if let Some(config) = config {
        checks.extend(of_settings(config, data.root().to_owned()).await);
    }
    for name in ["http", "ssh"] {
        checks.push(port(name, data.address(name)).await);
    }
    for member in rooms.engines.all() {
        checks.push(engine(member, rooms.engines.all().len()).await);
    }
    checks.push(isolation::builds(rooms).await);
    checks.extend(signing_key(rooms).await);
    let store = rooms.store.clone();
    match blocking(move || Ok((store.registries()?, store.clusters()?))).await {
        Ok((registries, clusters)) => {
            for registry in registries {
                let test = operations::test_registry(rooms, &registry.name);
                checks.push(judged(&format!("registry {}", registry.name), within(test).await));
            }
            for cluster in clusters {
                let test = operations::test_cluster(rooms, &cluster.name);
                checks.push(judged(&format!("cluster {}", cluster.name), within(test).await));
            }
        }
        Err(problem) => checks.push(judged("store", Err(problem))),
    }
    checks
}

/// What can be told where no server answers.
pub(crate) async fn without_server(data: &Path, problem: &Problem) -> String {
    let mut checks = vec![judged("server", Err(problem.clone()))];
    if data.exists() {
        checks.push(ample_room(data));
    } else {
        checks.push(ok(
            "data folder",
            &format!("{} does not exist yet; slipway serve makes it", data.display()),
        ));
    }
    checks.push(clock());
    match Config::load(data, &Serve::default()) {
        Ok(config) => {
            for (name, address) in [("http", config.http), ("ssh", config.ssh)] {
                checks.push(free_port(name, address));
            }
            checks.extend(of_settings(Arc::new(config), data.to_owned()).await);
        }
        Err(problem) => checks.push(judged("configuration", Err(problem))),
    }
    let mut text = String::new();
    for check in checks {
        text.push_str(&format!(
            "{} {}: {}\n",
            if check.ok { "ok  " } else { "FAIL" },
            check.name,
            check.what
        ));
        if !check.ok {
            text.push_str(&format!("     {}\n", check.cure));
        }
    }
    text
}

/// What the settings name; names are looked up, which may take long.
async fn of_settings(config: Arc<Config>, data: PathBuf) -> Vec<Check> {
    let looked = blocking(move || Ok(settings::checks(&config, &data)));
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(checks)) => checks,
        Ok(Err(problem)) => vec![judged("settings", Err(problem))],
        Err(_) => {
            let what =
                "What config.toml names could not be looked at in time: a disk or the DNS does not answer.";
            vec![fail("settings", what, "See to both, and to base_url in config.toml.")]
        }
    }
}

/// Which limits are not as usual: set so, or lowered to what the process may have.
fn limits(rooms: &Rooms) -> Check {
    let other = rooms.limits.unlike(&Limits::of(machine::here(), &Chosen::default()));
    match other.is_empty() {
        true => ok("limits", "are as usual"),
        false => ok("limits", &format!("not as usual, which is in brackets: {}", other.join(", "))),
    }
}

async fn within(test: impl Future<Output = Result<String, Problem>>) -> Result<String, Problem> {
    tokio::time::timeout(PATIENCE, test).await.unwrap_or_else(|_| {
        Err(Problem::new(
            slipway_core::ProblemKind::TimedOut,
            format!("There was no answer within {} s.", PATIENCE.as_secs()),
            "Check that it runs and that this machine reaches it.",
        ))
    })
}

/// Whether the server's own port takes connections.
async fn port(name: &str, address: Option<SocketAddr>) -> Check {
    let name = format!("port {name}");
    let Some(address) = address else {
        return fail(&name, "Its address is not written in DATA/run.", "Start the server again.");
    };
    let connected = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(address)).await;
    match connected {
        Ok(Ok(_)) => ok(&name, &format!("{address} takes connections")),
        Ok(Err(error)) => fail(
            &name,
            &format!("{address} takes no connection: {error}."),
            "See the server's log, and the limit of open files (ulimit -n).",
        ),
        Err(_) => fail(&name, &format!("{address} does not answer."), "See the server's log and its load."),
    }
}

/// Whether a server could have the port.
fn free_port(name: &str, address: SocketAddr) -> Check {
    let name = format!("port {name}");
    match std::net::TcpListener::bind(address) {
        Ok(_) => ok(&name, &format!("{address} is free")),
        Err(error) => fail(
            &name,
            &format!("{address} cannot be bound: {error}."),
            "Stop what uses it, or name another in config.toml.",
        ),
    }
}

/// Whether it answers, and how it builds; where there are several, which one it is and how much it has to do.
async fn engine(member: &Member, of: usize) -> Check {
    let (name, busy) = match of {
        1 => ("engine".to_owned(), String::new()),
        _ => (
            format!("engine {}", member.name),
            format!("; {} of {} places taken", member.busy(), member.slots),
        ),
    };
    match tokio::time::timeout(PATIENCE, member.ask()).await {
        Ok(Ok(version)) => ok(&name, &format!("{version}{busy}")),
        Ok(Err(error)) => judged(&name, Err(Problem::from(error))),
        Err(_) => {
            fail(&name, "The Docker Engine does not answer.", "Check that dockerd runs and see its log.")
        }
    }
}

/// A clock before this program was written breaks certificates and tokens.
/// The key that images are signed with, once there is one.
async fn signing_key(rooms: &Rooms) -> Option<Check> {
    let hooks = rooms.engines.any().clone();
    let told = blocking(move || Ok(hooks.supply().key.examine())).await.ok()??;
    Some(judged(
        "signing key",
        told.map(|()| "can be used; its public part is /-/keys/cosign.pub".to_owned()),
    ))
}

fn clock() -> Check {
    const WRITTEN: UnixMillis = UnixMillis(1_763_769_600_000);
    let now = UnixMillis::from(SystemTime::now());
    if now > WRITTEN {
        ok("clock", "is plausible")
    } else {
        fail("clock", "The machine's clock is in the past.", "Set it, and keep it with an NTP client.")
    }
}

pub(crate) fn judged(name: &str, result: Result<String, Problem>) -> Check {
    match result {
        Ok(what) => ok(name, &what),
        Err(problem) => fail(name, &problem.what, &problem.cure),
    }
}

pub(crate) fn ok(name: &str, what: &str) -> Check {
    Check { name: name.into(), ok: true, what: what.into(), cure: String::new() }
}

pub(crate) fn fail(name: &str, what: &str, cure: &str) -> Check {
    Check { name: name.into(), ok: false, what: what.into(), cure: cure.into() }
}
