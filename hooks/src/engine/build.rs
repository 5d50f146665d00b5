//! One image build: BuildKit where the engine has it, the classic builder otherwise.
//!
//! Success is the image id at the stream's end and nothing less: engines answer 200 and tell failures inside the
//! stream, and a stream that just ends is a failure too.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::errors::Error as DockerError;
use futures_util::StreamExt;
use slipway_core::Secret;
use slipway_core::ceilings::{Bytes, Cpus};
use slipway_core::spec::{Network, Pull};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use self::messages::Messages;
use super::agent::Keys;
use super::failure::{self, Known};
use super::session::Logins;
use super::source::Source;
use super::{Engine, Labels, image, is_leftover};
use crate::context::index::Place;
use crate::context::{ContextPlan, Files, Sent};
use crate::error::HookError;
use crate::limits::{ASK_AGAIN, BASES_REMEMBERED_MAX};
use crate::log::BuildLog;
use crate::permit::{self, Names};

mod messages;
pub(crate) mod request;

/// What to build.
pub(crate) struct ImageBuild {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) plan: ContextPlan,
    /// Under which the engine keeps what it has of the context, and where we keep what we said of it.
    pub(crate) context: String,
    pub(crate) place: Option<Place>,
    /// Stage; empty is the last.
    pub(crate) target: String,
    pub(crate) args: HashMap<String, String>,
    /// For which machine; empty is the engine's own.
    pub(crate) platform: String,
    /// What its steps may mount, by id.
    pub(crate) secrets: HashMap<String, Secret>,
    /// What they may sign with.
    pub(crate) keys: Keys,
    /// A host's name that is part of what its steps are known by; `None`: they are shared with everybody who writes the same.
    pub(crate) salt: Option<String>,
    /// Whether every step is done anew, whatever the engine remembers.
    pub(crate) no_cache: bool,
    pub(crate) labels: Labels,
    /// The private tag by which the image is found after a restart.
    pub(crate) tag: String,
    pub(crate) timeout: Duration,
    /// How long it may say nothing, where that is less than the server lets builds.
    pub(crate) silence: Option<Duration>,
    /// The setting that moves the timeout.
    pub(crate) setting: &'static str,
    /// "the image build" or "the test".
    pub(crate) what: &'static str,
    pub(crate) logins: Logins,
    /// What slipway.toml says of base images that the engine has, and those that can change.
    pub(crate) pull: Option<Pull>,
    pub(crate) bases: Vec<String>,
    /// Under which its cache mounts lie.
    pub(crate) caches: String,
    /// What `RUN` steps reach.
    pub(crate) network: Network,
    /// Memory and processors, where the builder bounds them.
    pub(crate) memory: Option<Bytes>,
    pub(crate) cpus: Option<Cpus>,
    /// Images that it may not use, whoever names them.
    pub(crate) forbidden: Names,
}

/// Base images by name, each with its digest; `None` where the engine has it from no registry.
pub(crate) type Bases = HashMap<String, Option<String>>;

/// An image's id, and its base images where the builder tells them.
pub(crate) type Done = (String, Option<Bases>);

/// By whom and how long a build is waited for.
struct Watched<'a> {
    deadline: Instant,
    log: &'a BuildLog,
    stop: &'a CancellationToken,
}

impl Engine {
    /// Builds; gives the image's id, and the base images, where the builder tells.
    pub(crate) async fn build(
        &self,
        build: &ImageBuild,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<Done, HookError> {
        let builder = self.version().await?;
        let watched = Watched { deadline: Instant::now() + build.timeout, log, stop };
        let done = self.pulling(build, builder.buildkit, &watched).await;
        let done = match done {
            Err(HookError::Build { message }) if builder.buildkit && failure::is_no_buildkit(&message) => {
                log.line(&format!("note: no BuildKit ({message}); building with the classic builder")).await;
                self.pulling(build, false, &watched).await
            }
            done => done,
        };
        let done = if builder.buildkit { done } else { done.map_err(without_secrets) };
        if builder.podman { goes_on(done, build, log).await } else { done }
    }

    /// Asks registries for newer base images, unless slipway.toml says otherwise; where that is nobody's wish and they do not
    /// give them, those that the engine has will do.
    async fn pulling(
        &self,
        build: &ImageBuild,
        buildkit: bool,
        watched: &Watched<'_>,
    ) -> Result<Done, HookError> {
        let asks = match build.pull {
            Some(Pull::Missing) => false,
            Some(Pull::Always) => true,
            None => !build.bases.is_empty() && !self.were_not_pulled(&build.bases),
        };
        let done = self.attempt(build, buildkit, asks, watched).await;
        let missed = match &done {
            Err(e) if asks && build.pull.is_none() => e.image_not_pulled(),
            _ => None,
        };
        let Some(image) = missed else { return done };
        if !image.is_empty() && !self.has_image(image).await? {
            return done;
        }
        let name = if image.is_empty() { "a base image" } else { image };
        let note = format!(
            "note: {name} cannot be pulled, so the engine's own copy is used, and for some minutes it is not asked for again; \
             build.pull = \"always\" in slipway.toml would make that a failure, \"missing\" would not ask"
        );
        watched.log.line(&note).await;
        self.remember_not_pulled(&build.bases);
        self.attempt(build, buildkit, false, watched).await
    }

    /// True where registries did not give these bases a moment ago: each build would wait for that anew.
    pub(crate) fn were_not_pulled(&self, bases: &[String]) -> bool {
        let known = self.not_pulled.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(bases).is_some_and(|at| at.elapsed() < ASK_AGAIN)
    }

    pub(crate) fn remember_not_pulled(&self, bases: &[String]) {
        let mut known = self.not_pulled.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, at| at.elapsed() < ASK_AGAIN);
        if known.len() < BASES_REMEMBERED_MAX {
            known.insert(bases.to_vec(), Instant::now());
        }
    }

    async fn has_image(&self, image: &str) -> Result<bool, HookError> {
        let found = self.must("looking for a base image", image::inspect(self.docker()?, image)).await?;
        Ok(found.is_some())
    }

    async fn attempt(
        &self,
        build: &ImageBuild,
        buildkit: bool,
        pull: bool,
        watched: &Watched<'_>,
    ) -> Result<Done, HookError> {
        let Watched { deadline, log, stop } = *watched;
        let docker = self.docker()?.clone();
        let mut source = if buildkit {
            self.by_session(build, log).await?
        } else {
            Source::body(self, build, log.clone())
        };
        let body = match source.chunks() {
            Some(chunks) => bollard::body_try_stream(ReceiverStream::new(chunks)),
            None => bollard::body_full(Vec::new().into()),
        };
        let (docker, options, credentials) = self.prepare(docker, build, &source, pull);
        let mut stream = Box::pin(docker.build_image(options, credentials, Some(body)));
        let mut told = Messages::new(log, buildkit, build);
        let most = self.limits.build_silence_timeout;
        let silence = build.silence.map_or(most, |silence| silence.min(most));
        let mut sent_before = 0;
        let mut silent_since = Instant::now();
        let done = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Err(HookError::Stopped),
                () = tokio::time::sleep_until(deadline) => {
                    break Err(HookError::TimedOut { what: build.what.into(), limit: build.timeout, setting: Some(build.setting) });
                }
                () = tokio::time::sleep_until(silent_since + silence) => {
                    let sent = source.life();
                    if sent == sent_before {
                        break Err(HookError::Silent { what: build.what.into(), limit: silence });
                    }
                    (sent_before, silent_since) = (sent, Instant::now());
                }
                message = stream.next() => match message {
                    None => break told.end(self),
                    Some(Err(e)) if is_leftover(&e) => break told.end(self),
                    Some(Err(e)) => break Err(self.build_failure(e, told.known())),
                    Some(Ok(info)) => {
                        silent_since = Instant::now();
                        told.take(info).await;
                        if let Some(image) = told.forbidden(&build.forbidden) {
                            break Err(permit::not_yours("a base image or its triggers", &image));
                        }
                    }
                },
            }
        };
        // Closing the stream is what stops the engine's work.
        drop(stream);
        told.tell_rest().await;
        settle(done, source.end().await, log).await
    }

    async fn by_session(&self, build: &ImageBuild, log: &BuildLog) -> Result<Source, HookError> {
        match Source::session(self, build, log.clone()).await {
            // An engine that answers but will not upgrade has no BuildKit for us.
            Err(HookError::EngineLost { why, .. }) => {
                Err(HookError::Build { message: format!("no active session: {why}") })
            }
            opened => opened,
        }
    }

    fn build_failure(&self, e: DockerError, known: Known<'_>) -> HookError {
        match e {
            DockerError::DockerStreamError { error } => failure::read(&error, known),
            // The classic builder answers 400 or 500 to what it finds wrong before it starts.
            DockerError::DockerResponseServerError { message, .. } => failure::read(&message, known),
            other => self.failure("the image build", other),
        }
    }
}

/// Other builders have no way to ask for a secret.
fn without_secrets(e: HookError) -> HookError {
    match e {
        HookError::NoSecret { what, name, asked, .. } => {
            let why = Some("it takes an engine that builds with BuildKit".to_owned());
            HookError::NoSecret { what, name, asked, why }
        }
        other => other,
    }
}

/// Podman does not end a build whose client hangs up, and has no call that would: nobody is told otherwise.
async fn goes_on(
    done: Result<Done, HookError>,
    build: &ImageBuild,
    log: &BuildLog,
) -> Result<Done, HookError> {
    match done {
        Err(HookError::TimedOut { what, limit, setting }) => Err(HookError::GoesOn { what, limit, setting }),
        Err(HookError::Silent { what, limit }) => Err(HookError::GoesOn { what, limit, setting: None }),
        Err(HookError::Stopped) => {
            log.line(&format!("note: Podman goes on with {} until the step it is at ends", build.what)).await;
            Err(HookError::Stopped)
        }
        done => done,
    }
}

/// Of two stories about one failure, what went wrong with the context is the cause.
async fn settle(
    done: Result<Done, HookError>,
    context: Option<Result<Sent, HookError>>,
    log: &BuildLog,
) -> Result<Done, HookError> {
    match (done, context) {
        (Err(e), _) if e.is_stopped() => Err(e),
        (Err(e), Some(Err(cause))) => Err(if cause.is_stopped() { e } else { cause }),
        (Ok(done), Some(Ok(sent))) => {
            log.line(&format!(
                "context: {} files, {} bytes, {} files ignored; sent {} files, {} bytes",
                sent.files, sent.bytes, sent.ignored, sent.fetched, sent.fetched_bytes
            ))
            .await;
            Ok(done)
        }
        (done, _) => done,
    }
}
