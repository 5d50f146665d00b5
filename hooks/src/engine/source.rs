//! How a build's files get to the engine: fetched by it over a session, or as a tar with the request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::agent::Agents;
use super::build::ImageBuild;
use super::filesync::{Offer, Tally};
use super::session::{Services, Session};
use super::{Engine, unlike_others};
use crate::context::Sent;
use crate::context::packed::{self, ContextStream};
use crate::error::HookError;
use crate::log::BuildLog;

/// Where the files of one build come from.
pub(crate) enum Source {
    /// BuildKit fetches what it lacks.
    Session {
        /// Open while the build runs.
        session: Session,
        /// What has been fetched.
        tally: Arc<Tally>,
    },
    /// Other builders get all.
    Body {
        /// The request's body, until it is taken.
        chunks: Option<mpsc::Receiver<io::Result<Bytes>>>,
        /// What came of it.
        outcome: oneshot::Receiver<Result<Sent, HookError>>,
        /// Grows while it is sent.
        progress: Arc<AtomicU64>,
    },
}

impl Source {
    /// Opens a session that offers them.
    pub(crate) async fn session(
        engine: &Engine,
        build: &ImageBuild,
        log: BuildLog,
    ) -> Result<Self, HookError> {
        let (files, plan, place) = (build.files.clone(), build.plan.clone(), build.place.clone());
        let offer = Offer::new(files, plan, place, engine.limits.clone(), Some(log));
        let tally = offer.tally.clone();
        let (logins, secrets) = (build.logins.clone(), build.secrets.clone());
        let agents = Agents::with(&build.keys).await?;
        let services = Services { logins, secrets, folders: Arc::new(offer), agents };
        // The engine refuses an id that it knows already.
        let id = format!("slipway{}", unlike_others());
        Ok(Self::Session { session: Session::open(engine, id, &build.context, services).await?, tally })
    }

    /// Begins to pack them.
    pub(crate) fn body(engine: &Engine, build: &ImageBuild, log: BuildLog) -> Self {
        let (files, plan) = (build.files.clone(), build.plan.clone());
        let ContextStream { chunks, outcome, progress } =
            packed::stream(files, plan, engine.limits.clone(), Some(log));
        Self::Body { chunks: Some(chunks), outcome, progress }
    }

    /// The session's id, if there is one.
    pub(crate) fn session_id(&self) -> Option<&str> {
        match self {
            Self::Session { session, .. } => Some(&session.id),
            Self::Body { .. } => None,
        }
    }

    /// The pieces of the request's body; none where all goes over the session.
    pub(crate) fn chunks(&mut self) -> Option<mpsc::Receiver<io::Result<Bytes>>> {
        match self {
            Self::Session { .. } => None,
            Self::Body { chunks, .. } => chunks.take(),
        }
    }

    /// A number that grows while files are sent.
    pub(crate) fn life(&self) -> u64 {
        match self {
            Self::Session { tally, .. } => tally.life.load(Ordering::Relaxed),
            Self::Body { progress, .. } => progress.load(Ordering::Relaxed),
        }
    }

    /// Closes the session, or waits for the packing's end, and tells what was sent.
    pub(crate) async fn end(self) -> Option<Result<Sent, HookError>> {
        match self {
            Self::Session { session, tally } => {
                drop(session);
                Some(tally.outcome())
            }
            Self::Body { outcome, .. } => outcome.await.ok(),
        }
    }
}
