//! Composition: puts the rooms together, starts and stops them. Knows no rule.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_core::accept::{Acceptance, Ledger};
use slipway_core::{Problem, ProblemKind};
use slipway_deployer::Clusters;
use slipway_forge::Forge;
use slipway_git_server::GitServer;
use slipway_hooks::{BuildLogs, Engine, Hooks, Marks};
use slipway_repository::Repositories;
use slipway_store::{MasterKey, SledStore, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Listener};
use crate::data::DataFolder;
use crate::dispatch::ToWorkers;
use crate::follow::Followers;
use crate::operations::{Logs, ServerOperations};
use crate::preflight::ClusterPreflight;
use crate::reconcile::ClusterDeploys;
use crate::ssh_commands::SshCommands;
use crate::stages::EngineBuilds;
use crate::supervisor::{Supervisor, blocking, now};
use crate::upkeep::Upkeep;
use crate::{bump, http};

/// How long the first build may have to wait while the engine is swept.
const ENGINE_SWEEP_MAX: Duration = Duration::from_secs(20);
/// How often old sessions are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// A running server.
pub(crate) struct App {
    pub(crate) ssh: SocketAddr,
    pub(crate) base_url: String,
    pub(crate) rooms: Rooms,
    git: GitServer,
    supervisor: Supervisor,
    upkeep: Upkeep,
    stop: CancellationToken,
    tasks: TaskTracker,
    data: DataFolder,
    drain: Duration,
}

/// What every adaptor in this crate needs: the rooms' handles.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) store: Store,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) acceptance: Arc<Acceptance>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) logs: Arc<BuildLogs>,
    pub(crate) clusters: Arc<Clusters>,
}

impl App {
    /// Opens the data folder, settles what a crash left, binds, resumes unfinished work, serves.
    pub(crate) async fn start(data: &Path, config: Config) -> Result<Self, Problem> {
        let began = Instant::now();
        let data = DataFolder::open(data)?;
        let (sled, repositories, key) = open_disk(data.clone()).await?;
        let installation = key.installation_id();
        let marks = Marks::new(&installation, &key.secret_for("names in the engine"));
        data.clear_run();
        let http_listener = http::bind(config.http, "HTTP", "--http").await?;
        let ssh_listener = http::bind(config.ssh, "SSH", "--ssh").await?;
        let admin_listener = http::bind_admin(&data.admin_socket())?;
        let (http, ssh) = (local(&http_listener)?, local(&ssh_listener)?);
        let base_url = config.base_url.clone().unwrap_or_else(|| format!("http://{http}"));
        let base_url = base_url.trim_end_matches('/').to_owned();

        let store: Store = sled.clone();
        let clusters = Arc::new(Clusters::new(installation.clone(), slipway_deployer::Timing::default()));
        let dispatch = Arc::new(ToWorkers::default());
        let preflight = Arc::new(ClusterPreflight::new(store.clone(), clusters.clone()));
        let ledger: Arc<dyn Ledger> = sled.clone();
        let acceptance = Arc::new(Acceptance::new(ledger, preflight, now).dispatching(dispatch.clone()));
        let rooms = Rooms {
            store: store.clone(),
            repositories: repositories.clone(),
            acceptance: acceptance.clone(),
            hooks: Arc::new(Hooks::new(Engine::connect(config.docker_host.as_deref())?, marks)),
            logs: Arc::new(BuildLogs::new(data.builds())),
            clusters,
        };
        settle(&rooms).await?;
        let supervisor = Supervisor::new(
            store.clone(),
            Arc::new(EngineBuilds::new(rooms.clone(), base_url.clone())),
            Arc::new(ClusterDeploys::new(rooms.clone())),
            config.builds_max,
            config.deploys_max,
        );
        let upkeep = Upkeep::start(store.clone(), repositories.clone(), config.maintenance.settings())?;
        dispatch.set(supervisor.clone(), upkeep.clone());
        // Before anything is served: what an earlier life left stands in its lanes ahead of what is pushed from now on.
        supervisor.resume().await?;

        let stop = CancellationToken::new();
        let commands = Arc::new(SshCommands::default());
        let followers = Arc::new(Followers {
            store: store.clone(),
            supervisor: supervisor.clone(),
            logs: Arc::new(Logs(rooms.logs.clone())),
            stop: stop.clone(),
        });
        let workers = (supervisor.clone(), upkeep.clone());
        let outside = Arc::new(ServerOperations::new(rooms.clone(), workers, sled.clone(), data.clone()));
        let forge = Arc::new(Forge::new(slipway_forge::Parts { store, repositories, outside, clock: now }));
        let git = GitServer::new(slipway_git_server::Parts {
            forge: forge.clone(),
            acceptance,
            follow: followers,
            commands: commands.clone(),
            base_url: Arc::from(base_url.as_str()),
            limits: slipway_git_server::Limits::default(),
        });
        let web = slipway_web::router(slipway_web::Parts {
            forge,
            addresses: slipway_web::Addresses { http: base_url.clone(), ssh: ssh.to_string() },
            version: env!("CARGO_PKG_VERSION"),
        });
        commands.set_router(web.clone());
        let host_keys = {
            let keys = data.keys();
            blocking(move || slipway_git_server::HostKeys::load_or_create(&keys).map_err(Problem::from))
                .await?
        };

        let tasks = TaskTracker::new();
        let drain = Duration::from_secs(config.drain_s);
        let public = git.router().merge(web.clone());
        tasks.spawn(http::serve(http_listener, public, config.front(), stop.clone(), drain));
        tasks.spawn(http::serve_admin(admin_listener, web, stop.clone()));
        tasks.spawn(git.clone().serve_ssh(
            ssh_listener,
            host_keys,
            config.proxies_of(Listener::Ssh),
            stop.clone(),
        ));
        tasks.spawn(sweep_sessions(sled, stop.clone()));
        tasks.spawn(sweep_engine(rooms.clone(), supervisor.clone()));
        data.write_run(http, ssh)?;
        tracing::info!(%http, %ssh, data = %data.root().display(), ms = began.elapsed().as_millis() as u64, "serving");
        Ok(Self { ssh, base_url, rooms, git, supervisor, upkeep, stop, tasks, data, drain })
    }

    /// Stops taking new work, lets what is under way end within the grace, closes everything.
    pub(crate) async fn drain(self) {
        tracing::info!(grace_s = self.drain.as_secs(), "draining");
        self.stop.cancel();
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
    eprintln!(
        "slipway serves {} and ssh://git@{} (data in {})",
        app.base_url,
        app.ssh,
        app.data.root().display()
    );
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

fn local(listener: &tokio::net::TcpListener) -> Result<SocketAddr, Problem> {
    listener.local_addr().map_err(|e| {
        Problem::new(ProblemKind::Broken, format!("A bound address cannot be read: {e}."), "Start again.")
    })
}

/// Opens store and repositories; the store's lock keeps a second server away from everything else.
async fn open_disk(data: DataFolder) -> Result<(Arc<SledStore>, Arc<Repositories>, MasterKey), Problem> {
    blocking(move || {
        let key = MasterKey::load_or_create(&data.keys().join("master.key"))?;
        let store = SledStore::open(&data.db(), &key)?;
        let repositories = Repositories::open(&data.repos())?;
        repositories.sweep()?;
        Ok((Arc::new(store), Arc::new(repositories), key))
    })
    .await
}

/// Answers for every push that a crash cut off between its intention and its record, before anything is served.
async fn settle(rooms: &Rooms) -> Result<(), Problem> {
    let rooms = rooms.clone();
    let settled = blocking(move || {
        crate::operations::settle_repos(&rooms)?;
        rooms.acceptance.settle(|id| match rooms.store.repo(id)? {
            Some(record) => Ok(Some(bump::Refs(rooms.repositories.get(&record.name)?))),
            None => Ok(None),
        })
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
    if tokio::time::timeout(ENGINE_SWEEP_MAX, crate::stages::sweep(&rooms)).await.is_err() {
        tracing::warn!("the engine is not swept: it does not answer in time");
    }
    supervisor.open();
}

async fn sweep_sessions(store: Arc<SledStore>, stop: CancellationToken) {
    loop {
        let store = store.clone();
        if let Err(problem) = blocking(move || store.sweep(now())).await {
            tracing::warn!(%problem, "old sessions are not swept");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}
