//! One image build: BuildKit where the engine has it, the classic builder otherwise.
//!
//! Success is the image id at the stream's end and nothing less: engines answer 200 and tell failures inside the
//! stream, and a stream that just ends is a failure too.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error as DockerError;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::BuildImageOptions;
use bollard::{BollardRequest, Docker};
use futures_util::StreamExt;
use slipway_core::Secret;
use slipway_core::ceilings::{Bytes, Cpus};
use slipway_core::spec::{Network, Pull};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::failure::{self, Known};
use super::progress::Progress;
use super::session::{Login, Logins};
use super::source::Source;
use super::{Engine, Labels, image, is_leftover};
use crate::context::index::Place;
use crate::context::{ContextPlan, Files, Sent};
use crate::error::HookError;
use crate::limits::{ASK_AGAIN, BASES_REMEMBERED_MAX, LOG_LINE_BYTES_MAX};
use crate::log::BuildLog;
use crate::log::mask::Lines;
use crate::permit::{self, Names};
use crate::registry::REFRESH_TOKEN;

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
    /// What its steps may mount, by id.
    pub(crate) secrets: HashMap<String, Secret>,
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
        let mut messages = Box::pin(docker.build_image(options, credentials, Some(body)));
        let mut watching = Watching::new(log, buildkit, build);
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
                message = messages.next() => match message {
                    None => break watching.end(self),
                    Some(Err(e)) if is_leftover(&e) => break watching.end(self),
                    Some(Err(e)) => break Err(self.build_failure(e, watching.known())),
                    Some(Ok(info)) => {
                        silent_since = Instant::now();
                        watching.take(info).await;
                        if let Some(image) = watching.forbidden(&build.forbidden) {
                            break Err(permit::not_yours("a base image or its triggers", &image));
                        }
                    }
                },
            }
        };
        // Closing the stream is what stops the engine's work.
        drop(messages);
        watching.tell_rest().await;
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

    fn prepare(
        &self,
        docker: Docker,
        build: &ImageBuild,
        source: &Source,
        pull: bool,
    ) -> (Docker, BuildImageOptions, Option<HashMap<String, DockerCredentials>>) {
        let session = source.session_id();
        let options = BuildImageOptions {
            dockerfile: match session {
                Some(_) => build.plan.dockerfile_alone().to_owned(),
                None => build.plan.dockerfile_in_context(),
            },
            remote: session.map(|_| "client-session".to_owned()),
            t: Some(build.tag.clone()),
            target: build.target.clone(),
            buildargs: Some(build.arguments(session.is_some())).filter(|args| !args.is_empty()),
            // BuildKit knows no other networks than none and its own.
            networkmode: (build.network < Network::Bridge).then(|| "none".to_owned()),
            extrahosts: build.salt.as_ref().map(|name| format!("{name}:127.0.0.1")),
            labels: Some(build.labels.clone()),
            nocache: build.no_cache,
            pull: pull.then(|| "true".to_owned()),
            rm: true,
            forcerm: true,
            ..BuildImageOptions::default()
        };
        let Some(id) = session else {
            let bounds = build.bounds();
            let docker = docker.with_request_modifier(move |r| with_bounds(url_safe_login(r), &bounds));
            let logins: HashMap<String, DockerCredentials> =
                build.logins.iter().map(|(host, login)| (host.clone(), credentials(host, login))).collect();
            return (docker, options, (!logins.is_empty()).then_some(logins));
        };
        // bollard would open a session of its own for version 2; so it is told version 1 and the query mended.
        let to = format!("version=2&session={id}");
        (docker.with_request_modifier(move |request| with_query(request, "version=1", &to)), options, None)
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

impl ImageBuild {
    /// The build's arguments, and for BuildKit ours: the namespace of cache mounts is no argument that slipway.toml can set.
    fn arguments(&self, buildkit: bool) -> HashMap<String, String> {
        let mut args = self.args.clone();
        if buildkit {
            args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), self.caches.clone());
        }
        args
    }

    /// What the classic builder bounds its steps by; BuildKit passes over it.
    fn bounds(&self) -> String {
        let memory = self.memory.map(|m| format!("&memory={0}&memswap={0}", m.0)).unwrap_or_default();
        let cpus = self.cpus.map(|c| format!("&cpuperiod=100000&cpuquota={}", u64::from(c.0) * 100));
        format!("{memory}{}", cpus.unwrap_or_default())
    }
}

/// What the messages of one build have said so far.
struct Watching<'a> {
    log: &'a BuildLog,
    dockerfile: &'a str,
    target: &'a str,
    progress: Progress,
    lines: Lines,
    image: Option<String>,
    /// The classic builder names an image after every stage; only this line is the end.
    complete: bool,
    buildkit: bool,
}

impl<'a> Watching<'a> {
    fn new(log: &'a BuildLog, buildkit: bool, build: &'a ImageBuild) -> Self {
        Self {
            log,
            dockerfile: &build.plan.dockerfile,
            target: &build.target,
            progress: Progress::new(log.masker()),
            lines: Lines::default(),
            image: None,
            complete: buildkit,
            buildkit,
        }
    }

    async fn take(&mut self, info: BuildInfo) {
        match info.aux {
            Some(BuildInfoAux::BuildKit(status)) => {
                for line in self.progress.take(&status) {
                    self.log.output(&line).await;
                }
            }
            Some(BuildInfoAux::Default(image)) => self.image = image.id.or(self.image.take()),
            None => {}
        }
        if let Some(text) = info.stream {
            self.complete |= text.starts_with("Successfully built ");
            let mut lines = Vec::new();
            self.lines.push(text.as_bytes(), &self.log.masker(), LOG_LINE_BYTES_MAX, |line| {
                lines.push(line.to_vec())
            });
            for line in lines {
                self.log.output(&line).await;
            }
        }
        // Pulling: only what has no percentages.
        if let (Some(status), None) = (info.status, info.progress_detail.and_then(|p| p.current)) {
            let id = info.id.map(|id| format!("{id}: ")).unwrap_or_default();
            self.log.output(format!("{id}{status}").as_bytes()).await;
        }
    }

    async fn tell_rest(&mut self) {
        let mut rest = self.progress.finish();
        self.lines.finish(|line| rest.push(line.to_vec()));
        for line in rest {
            self.log.output(&line).await;
        }
    }

    /// The stream has ended without an error of its own.
    fn end(&mut self, engine: &Engine) -> Result<Done, HookError> {
        match self.image.take() {
            Some(id) if self.complete => Ok((id, self.progress.bases().filter(|_| self.buildkit).cloned())),
            _ => Err(engine.lost("the image build", "its answer ended before the image was named")),
        }
    }

    /// An image that the builder has begun to look for, and that is not to be used: a trigger (`ONBUILD`) of a base image
    /// can name one that the Dockerfile does not.
    fn forbidden(&self, names: &Names) -> Option<String> {
        self.progress.images().iter().find(|image| names.has(image)).cloned()
    }

    fn known(&self) -> Known<'_> {
        Known { step: self.progress.failed_step(), target: self.target, dockerfile: self.dockerfile }
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

pub(crate) fn credentials(host: &str, login: &Login) -> DockerCredentials {
    if login.username == REFRESH_TOKEN {
        return DockerCredentials {
            identitytoken: Some(login.password.expose().to_owned()),
            serveraddress: Some(host.to_owned()),
            ..DockerCredentials::default()
        };
    }
    DockerCredentials {
        username: Some(login.username.clone()),
        password: Some(login.password.expose().to_owned()),
        serveraddress: Some(host.to_owned()),
        ..DockerCredentials::default()
    }
}

fn with_query(mut request: BollardRequest, from: &str, to: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.as_ref().map(|p| p.path().to_owned()).unwrap_or_default();
    let query = parts.path_and_query.as_ref().and_then(|p| p.query()).unwrap_or_default();
    let mended: Vec<&str> = query.split('&').map(|pair| if pair == from { to } else { pair }).collect();
    if let Ok(path) = format!("{path}?{}", mended.join("&")).parse() {
        parts.path_and_query = Some(path);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The request with more in its query. (bollard's own fields end at 2 GiB.)
fn with_bounds(mut request: BollardRequest, bounds: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let before = parts.path_and_query.as_ref().map(|p| p.as_str().to_owned()).unwrap_or_default();
    if let Ok(path) = format!("{before}{bounds}").parse() {
        parts.path_and_query = Some(path);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// bollard writes its login headers in base64's standard alphabet, engines read the URL-safe one.
pub(crate) fn url_safe_login(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        let Some(value) = request.headers().get(name).and_then(|v| v.to_str().ok()) else { continue };
        let value = value.replace('+', "-").replace('/', "_");
        if let Ok(mut value) = http::HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_is_mended() {
        let request =
            http::Request::post("http://x/build?buildargs=%7B%22version%22%3A%221%22%7D&version=1&t=a")
                .body(bollard::body_full(bytes::Bytes::new()))
                .expect("request");
        let mended = with_query(request, "version=1", "version=2&session=s");
        assert_eq!(
            mended.uri().query(),
            Some("buildargs=%7B%22version%22%3A%221%22%7D&version=2&session=s&t=a")
        );
    }

    #[test]
    fn a_login_header_is_url_safe() {
        let request = http::Request::post("/x")
            .header("X-Registry-Auth", "a+b/c=")
            .body(bollard::body_full(bytes::Bytes::new()));
        let request = url_safe_login(request.expect("request"));
        assert_eq!(request.headers()["x-registry-auth"], "a-b_c=");
    }
}
