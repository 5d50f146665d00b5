//! The whole of this room, put together from its parts.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::accept::Acceptance;
use slipway_core::limits::Limits;
use slipway_forge::Forge;
use tokio_util::task::TaskTracker;

use crate::ports::Commands;
use crate::service::certificate::KeysOf;
use crate::service::{Engine, Shared};

/// What a Git server is made of.
pub struct Parts {
    /// Who may use which repository.
    pub forge: Arc<Forge>,
    /// The one way in for pushes.
    pub acceptance: Arc<Acceptance>,
    /// Runs commands that are not git's.
    pub commands: Arc<dyn Commands>,
    /// Where the pages are, for links: `http://host:port`.
    pub base_url: Arc<str>,
    /// What clients may cost, and how many there may be.
    pub limits: Arc<Limits>,
}

/// A Git server. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct GitServer {
    pub(crate) shared: Arc<Shared>,
}

impl GitServer {
    /// Puts the parts together. Serves nothing yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { forge, acceptance, commands, base_url, limits } = parts;
        let signers = Arc::new(KeysOf(Arc::clone(&forge)));
        Self {
            shared: Arc::new(Shared {
                engine: Arc::new(Engine::new(acceptance, signers, base_url, limits)),
                forge,
                commands,
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Stops taking new connections and requests, lets running transfers end within `grace`, and says whether all did.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.shared.engine.stop.cancel();
        self.shared.tasks.close();
        tokio::time::timeout(grace, self.shared.tasks.wait()).await.is_ok()
    }
}
