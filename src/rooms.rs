//! The rooms' handles, as every adaptor in this crate needs them, and how they are opened.

use std::sync::Arc;

use slipway_core::accept::Acceptance;
use slipway_core::ceilings::Ceilings;
use slipway_core::limits::Limits;
use slipway_core::{Problem, ProblemKind};
use slipway_deployer::{Clusters, RenderLimits, Timing};
use slipway_forge::networks::Networks;
use slipway_hooks::{BuildLogs, Engine, Engines, HookError, Marks, SigningKey, Supply};
use slipway_repository::Repositories;
use slipway_store::{MasterKey, Store, StoreError};

use crate::admission::Admission;
use crate::config::Config;
use crate::data::DataFolder;
use crate::dispatch::ToWorkers;
use crate::preflight::ClusterPreflight;
use crate::supervisor::{blocking, now};

/// The rooms' handles.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) store: Store,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) acceptance: Arc<Acceptance>,
    pub(crate) engines: Arc<Engines>,
    pub(crate) logs: Arc<BuildLogs>,
    pub(crate) clusters: Arc<Clusters>,
    /// Which images are let into them.
    pub(crate) admission: Arc<Admission>,
    /// What one deploy may read and make.
    pub(crate) renders: RenderLimits,
    /// Where webhooks may reach.
    pub(crate) networks: Arc<Networks>,
    /// The most that builds and tests may have, by the server's settings.
    pub(crate) ceilings: Arc<Most>,
    /// `[limits]` of config.toml, and what is usual of the rest.
    pub(crate) limits: Arc<Limits>,
}

/// `[builds]` and `[tests]` of config.toml.
pub(crate) struct Most {
    pub(crate) builds: Ceilings,
    pub(crate) tests: Ceilings,
}

/// What lies in the data folder, open.
pub(crate) struct Disk {
    pub(crate) store: Store,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) key: MasterKey,
}

impl Disk {
    /// Opens store and repositories; the store's lock keeps a second server away from everything else.
    pub(crate) async fn open(data: DataFolder, limits: &Arc<Limits>) -> Result<Self, Problem> {
        let limits = limits.clone();
        blocking(move || {
            let key = data.open_master_key()?;
            let store = Store::open(&data.db(), &key).map_err(located)?.with_limits(limits);
            data.begun()?;
            let repositories = Arc::new(Repositories::open(&data.repos())?);
            repositories.sweep()?;
            Ok(Self { store, repositories, key })
        })
        .await
    }
}

/// Whoever starts a server is told where its database lies; clients never are.
fn located(error: StoreError) -> Problem {
    let place = error.place().map(|place| format!(" It lies in {}.", place.display())).unwrap_or_default();
    let mut problem = Problem::from(error);
    problem.what.push_str(&place);
    problem
}

/// How images are signed.
fn supply(data: &DataFolder, config: &Config, base_url: &str) -> Supply {
    Supply {
        key: Arc::new(SigningKey::within(&data.keys())),
        sign: config.supply_chain.sign,
        list: config.supply_chain.sbom,
        builder: base_url.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

impl Rooms {
    /// Puts them together; `workers` hears of what accepted pushes owe.
    pub(crate) fn new(
        disk: &Disk,
        data: &DataFolder,
        config: &Config,
        workers: Arc<ToWorkers>,
        base_url: &str,
    ) -> Result<Self, Problem> {
        let Disk { store, repositories, key } = disk;
        let installation = key.installation_id();
        let marks = Marks::new(&installation, &key.secret_for("names in the engine"));
        let clusters = Clusters::new(installation.clone(), Timing::from(&*config.limits));
        let clusters = Arc::new(clusters.allowing(config.clusters.rules()));
        let renders = RenderLimits::from(&*config.limits);
        let engines = config.engines().into_iter().map(|(name, reach, slots)| {
            Ok((name, Engine::at(&reach)?.with_limits(config.limits.clone()), slots))
        });
        let engines = engines.collect::<Result<_, HookError>>()?;
        let none = || Problem::new(ProblemKind::Invalid, "There is no engine.", "Name one in config.toml.");
        let engines = Engines::new(engines, &marks, supply(data, config, base_url)).ok_or_else(none)?;
        let engines = Arc::new(engines);
        let admission = Arc::new(Admission::new(store.clone(), engines.any().clone()));
        let patience = config.limits.cluster_gate_timeout;
        let preflight =
            ClusterPreflight::new(store.clone(), clusters.clone(), renders, admission.clone(), patience);
        let preflight = Arc::new(preflight);
        Ok(Self {
            store: store.clone(),
            repositories: repositories.clone(),
            acceptance: Arc::new(
                Acceptance::new(Arc::new(store.clone()), preflight, now)
                    .on_node(installation)
                    .testing_within(config.tests.clone())
                    .dispatching(workers),
            ),
            engines,
            admission,
            logs: Arc::new(BuildLogs::new(data.builds()).with_most(config.limits.build_log_size_max)),
            clusters,
            renders,
            networks: Arc::new(config.webhooks.networks()),
            limits: config.limits.clone(),
            ceilings: Arc::new(Most { builds: config.builds.clone(), tests: config.tests.clone() }),
        })
    }
}
