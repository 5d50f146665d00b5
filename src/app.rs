//! Composition: puts the rooms together, starts and stops them. Knows no rule.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_core::accept::RefStore;
use slipway_core::limits::{self, Limits};
use slipway_core::retention::Rules;
use slipway_core::{Oid, Problem, ProblemKind, RefName, RefUpdate, RepoId};
use slipway_forge::Forge;
use slipway_git_server::GitServer;
use slipway_repository::Repository;
use slipway_store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backup::make::Parts;
use crate::backup::schedule::Schedule;
use crate::clock::Clock;
use crate::config::Config;
use crate::data::DataFolder;
use crate::dispatch::ToWorkers;
use crate::doors::Doors;
use crate::operations::ServerOperations;
use crate::reconcile::ClusterDeploys;
use crate::rooms::{Disk, Rooms};
use crate::ssh_commands::SshCommands;
use crate::stages::EngineBuilds;
use crate::supervisor::{Supervisor, Workers, blocking, now};
use crate::terminal;
use crate::upkeep::{LogKeeping, Upkeep};
use crate::webhooks::{Addresses, HttpDeliveries};

/// How long the first build may have to wait while the engine is swept.
const ENGINE_SWEEP_MAX: Duration = Duration::from_secs(20);
/// How often old sessions are swept and the records copied.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// When a copy that could not be made is tried again.
const COPY_AGAIN: Duration = Duration::from_secs(60);
/// How long after that folders are made that are missing.
const FOLDERS_AFTER: Duration = Duration::from_secs(15);
/// How often is seen whether what a full disk has left can be put right.
const MEND_EVERY: Duration = Duration::from_secs(2);

/// A running server.
pub(crate) struct App {
    pub(crate) ssh: SocketAddr,
    pub(crate) base_url: String,
    pub(crate) rooms: Rooms,
    pub(crate) forge: Arc<Forge>,
    git: GitServer,
    supervisor: Supervisor,
    upkeep: Upkeep,
    backups: Arc<Schedule>,
    stop: CancellationToken,
    tasks: TaskTracker,
    data: DataFolder,
    drain: Duration,
}

impl App {
    /// Opens the data folder, settles what a crash left, binds, resumes unfinished work, serves.
    pub(crate) async fn start(data: &Path, mut config: Config) -> Result<Self, Problem> {
        let began = Instant::now();
        config.limits = in_force(&config.limits);
        let data = DataFolder::open(data)?;
        let disk = Disk::open(data.clone(), &config.limits).await?;
        data.clear_run();
        let doors = Doors::bind(&config, &data).await?;
        let workers = Arc::new(ToWorkers::default());
        let rooms = Rooms::new(&disk, &data, &config, workers.clone(), &doors.base_url)?;
        settle(&rooms).await?;
        let backups = Schedule::new(config.backup.clone());
        let parts = Parts::new(&rooms, &data, &config);
        let forge = floor(&rooms, &workers, (&data, &config), (&parts, &backups));
        let node = disk.key.installation_id();
        let addresses = Addresses { http: doors.base_url.clone(), ssh: doors.ssh.to_string(), node };
        let (supervisor, upkeep) = work(&rooms, &forge, &config, addresses)?;
        workers.set(supervisor.clone(), upkeep.clone());
        // Before anything is served: what an earlier life left stands in its lanes ahead of what is pushed from now on.
        supervisor.resume().await?;

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (git, web) = surfaces(&rooms, &forge, &doors);
        let (at, ssh, base_url) = (doors.addresses.clone(), doors.ssh, doors.base_url.clone());
        doors.open(&config, &data, (&git, &web), (&tasks, &stop)).await?;
        backups.start(parts)?;
        let clock = Clock::new(forge.clone());
        workers.set_clock(clock.clone());
        tasks.spawn(clock.run(supervisor.changes(), stop.clone()));
        tasks.spawn(keep_records(disk.store, stop.clone()));
        tasks.spawn(mend(rooms.clone(), supervisor.clone(), stop.clone()));
        tasks.spawn(sweep_engine(rooms.clone(), supervisor.clone()));
        tasks.spawn(crate::engines::watch(rooms.clone(), stop.clone()));
        tracing::info!(?at, data = %data.root().display(), ms = began.elapsed().as_millis() as u64, "serving");
        let drain = config.limits.drain_timeout;
        Ok(Self { ssh, base_url, rooms, forge, git, supervisor, upkeep, backups, stop, tasks, data, drain })
    }

    /// Stops taking new work, lets what is under way end within the grace, closes everything.
    pub(crate) async fn drain(self) {
        tracing::info!(grace_s = self.drain.as_secs(), "draining");
        self.stop.cancel();
        self.backups.stop();
        let (git, supervisor) = (self.git.drain(self.drain), self.supervisor.drain(self.drain));
        tokio::join!(git, supervisor, self.upkeep.drain());
        self.tasks.close();
        drop(tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await);
        self.data.clear_run();
        tracing::info!("stopped");
    }
}

/// Runs a server until SIGTERM or SIGINT; a second one ends it at once.
pub(crate) async fn serve(data: &Path, config: Config) -> Result<(), Problem> {
    let (mut term, mut int) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    let app = tokio::select! {
        app = App::start(data, config) => app?,
        // Nothing is served yet, so there is nothing to drain.
        _ = term.recv() => return Ok(()),
        _ = int.recv() => return Ok(()),
    };
    terminal::say(format_args!(
        "slipway serves {} and ssh://git@{} (data in {})",
        app.base_url,
        app.ssh,
        app.data.root().display()
    ));
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tokio::select! {
        () = app.drain() => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn catch(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Problem> {
    signal(kind).map_err(|e| {
        Problem::new(
            ProblemKind::Broken,
            format!("Signals cannot be handled: {e}."),
            "Check the process limits.",
        )
    })
}

/// The floor that all surfaces stand on.
fn floor(
    rooms: &Rooms,
    workers: &Arc<ToWorkers>,
    (data, config): (&DataFolder, &Config),
    (parts, backups): (&Parts, &Arc<Schedule>),
) -> Arc<Forge> {
    let outside = ServerOperations::new(rooms.clone(), workers.clone(), data.clone());
    let outside = outside.with_backups(parts.clone(), backups.clone()).with_settings(config);
    Arc::new(Forge::new(slipway_forge::Parts {
        store: rooms.store.clone(),
        repositories: rooms.repositories.clone(),
        acceptance: rooms.acceptance.clone(),
        outside: Arc::new(outside),
        clock: now,
        limits: rooms.limits.clone(),
    }))
}

/// Whoever carries out what is owed.
fn work(
    rooms: &Rooms,
    forge: &Arc<Forge>,
    config: &Config,
    addresses: Addresses,
) -> Result<(Supervisor, Upkeep), Problem> {
    let workers = Workers {
        node: addresses.node.clone(),
        builds: Arc::new(EngineBuilds::new(rooms.clone(), forge.clone(), addresses.http.clone())),
        deploys: Arc::new(ClusterDeploys::new(rooms.clone())),
        deliveries: Arc::new(HttpDeliveries::new(rooms.clone(), addresses)),
        limits: config.limits.clone(),
    };
    let supervisor = Supervisor::new(&rooms.store, workers);
    let logs = LogKeeping {
        store: rooms.store.clone(),
        logs: rooms.logs.clone(),
        rules: Rules::from(&*config.limits),
    };
    let upkeep =
        Upkeep::start(rooms.store.clone(), rooms.repositories.clone(), config.maintenance.settings(), logs)?;
    Ok((supervisor, upkeep))
}

/// Puts limits in force: those that are wanted, with no more connections than the process may have files.
fn in_force(wanted: &Limits) -> Arc<Limits> {
    let fit = crate::descriptors::within(crate::descriptors::raise(), wanted);
    // A second server of one process has its own beside those.
    let _ = limits::put_in_force(fit.clone());
    Arc::new(fit)
}

/// Git, and the pages with the API.
fn surfaces(rooms: &Rooms, forge: &Arc<Forge>, doors: &Doors) -> (GitServer, axum::Router) {
    let commands = Arc::new(SshCommands::default());
    let git = GitServer::new(slipway_git_server::Parts {
        forge: forge.clone(),
        acceptance: rooms.acceptance.clone(),
        commands: commands.clone(),
        base_url: doors.base_url(),
        limits: rooms.limits.clone(),
    });
    let web = slipway_web::router(slipway_web::Parts {
        forge: forge.clone(),
        addresses: slipway_web::Addresses { http: doors.base_url.clone(), ssh: doors.ssh.to_string() },
        version: env!("CARGO_PKG_VERSION"),
        limits: rooms.limits.clone(),
    });
    commands.set_router(web.clone());
    (git, web)
}

/// The refs of a repository, as the acceptance path takes them.
struct Refs(Arc<Repository>);

impl RefStore for Refs {
    fn current(&self, name: &RefName) -> Result<Option<Oid>, Problem> {
        self.0.current(name)
    }
    fn update(&self, updates: &[RefUpdate], atomic: bool) -> Result<Vec<Result<(), Problem>>, Problem> {
        self.0.update(updates, atomic)
    }
    fn default_branch(&self) -> Result<RefName, Problem> {
        self.0.default_branch()
    }
    fn has_branch_besides(&self, these: &[&RefName]) -> Result<bool, Problem> {
        self.0.has_branch_besides(these)
    }
    fn make_default(&self, branch: &RefName) -> Result<(), Problem> {
        self.0.make_default(branch)
    }
}

fn refs_of(rooms: &Rooms, id: RepoId) -> Result<Option<Refs>, Problem> {
    match rooms.store.repo(id)? {
        Some(record) => Ok(Some(Refs(rooms.repositories.get(record.id)?))),
        None => Ok(None),
    }
}

/// Answers for every push that a crash cut off between its intention and its record, before anything is served.
async fn settle(rooms: &Rooms) -> Result<(), Problem> {
    let rooms = rooms.clone();
    let settled = blocking(move || {
        crate::operations::settle_repos(&rooms)?;
        rooms.acceptance.settle(|id| refs_of(&rooms, id))
    });
    let settled = settled.await?;
    if settled.count > 0 {
        tracing::info!(count = settled.count, "settled pushes that a crash had cut off");
    }
    for (repo, problem) in &settled.left {
        tracing::error!(%repo, %problem, "a push that a crash had cut off cannot be settled yet");
    }
    Ok(())
}

/// Sweeps what dead builds left in the engine, then lets builds begin.
async fn sweep_engine(rooms: Rooms, supervisor: Supervisor) {
    if tokio::time::timeout(ENGINE_SWEEP_MAX, crate::engines::sweep(&rooms)).await.is_err() {
        tracing::warn!("the engine is not swept: it does not answer in time");
    }
    supervisor.builds.open();
}

/// Puts right what a full or failing disk has left, once it can be: the database takes changes again, pushes that were cut off
/// are settled, and work that was recorded and never begun begins.
async fn mend(rooms: Rooms, supervisor: Supervisor, stop: CancellationToken) {
    let (mut known, mut folders_due) = (0, None);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(MEND_EVERY) => {}
        }
        let store = rooms.store.clone();
        // Still in trouble: whoever writes is told why.
        let Ok(mended) = blocking(move || store.mend()).await else { continue };
        if folders_due.is_some_and(|due| due <= Instant::now()) {
            folders_due = None;
            let rooms = rooms.clone();
            if let Err(problem) = blocking(move || crate::operations::make_all_missing(&rooms)).await {
                tracing::warn!(%problem, "folders that a full disk has kept from being made are missing");
            }
        }
        let here = rooms.clone();
        let left = blocking(move || Ok(here.acceptance.settle_left(|id| refs_of(&here, id)))).await;
        if mended == known || !matches!(left, Ok(0)) {
            continue;
        }
        match supervisor.take_up().await {
            Ok(()) => (known, folders_due) = (mended, Some(Instant::now() + FOLDERS_AFTER)),
            Err(problem) => tracing::warn!(%problem, "work that a full disk has kept from beginning waits"),
        }
    }
}

/// Lets go of old sessions, and has a copy of all records made that a damaged database can be put right from.
async fn keep_records(store: Store, stop: CancellationToken) {
    loop {
        let (swept, copied) = (store.clone(), store.clone());
        if let Err(problem) = blocking(move || swept.sweep(now())).await {
            tracing::warn!(%problem, "old sessions are not swept");
        }
        let copied = blocking(move || copied.keep_copy()).await;
        let pause = match copied {
            Ok(_) => SWEEP_EVERY,
            Err(problem) => {
                tracing::warn!(%problem, "no copy of the records is made; it is tried again soon");
                COPY_AGAIN
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
