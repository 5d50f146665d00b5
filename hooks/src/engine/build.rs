//! One image build: BuildKit where the engine has it, the classic builder otherwise.
//!
//! Success is the image id at the stream's end and nothing less: engines answer 200 and tell failures inside the
//! stream, and a stream that just ends is a failure too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error as DockerError;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use bollard::{BollardRequest, Docker};
use futures_util::StreamExt;
use slipway_core::ceilings::{Bytes, Cpus};
use slipway_core::spec::Network;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::failure::{self, Known};
use super::progress::Progress;
use super::session::{Login, Logins, Session};
use super::{Engine, Labels, is_leftover, unlike_others};
use crate::context::{self, ContextPlan, Files, Sent};
use crate::error::HookError;
use crate::limits::LOG_LINE_BYTES_MAX;
use crate::log::BuildLog;
use crate::log::mask::Lines;
use crate::permit::{self, Names};

/// What to build.
pub(crate) struct ImageBuild {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) plan: ContextPlan,
    /// Stage; empty is the last.
    pub(crate) target: String,
    pub(crate) args: HashMap<String, String>,
    /// Whether every step is done anew, whatever the engine remembers.
    pub(crate) no_cache: bool,
    pub(crate) labels: Labels,
    /// The private tag by which the image is found after a restart.
    pub(crate) tag: String,
    pub(crate) timeout: Duration,
    /// The setting that moves the timeout.
    pub(crate) setting: &'static str,
    /// "the image build" or "the test".
    pub(crate) what: &'static str,
    pub(crate) logins: Logins,
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

impl Engine {
    /// Builds, and gives the image's id.
    pub(crate) async fn build(
        &self,
        build: &ImageBuild,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<String, HookError> {
        let version = self.version().await?;
        let deadline = Instant::now() + build.timeout;
        if version.buildkit {
            match self.attempt(build, true, deadline, log, stop).await {
                Err(HookError::Build { message }) if failure::is_no_buildkit(&message) => {
                    log.line(&format!("note: no BuildKit ({message}); building with the classic builder"))
                        .await;
                }
                done => return done,
            }
        }
        self.attempt(build, false, deadline, log, stop).await
    }

    async fn attempt(
        &self,
        build: &ImageBuild,
        buildkit: bool,
        deadline: Instant,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<String, HookError> {
        let docker = self.docker()?.clone();
        let session = if buildkit { self.session(build).await? } else { None };
        let context =
            context::stream(build.files.clone(), build.plan.clone(), self.limits.clone(), Some(log.clone()));
        let progress = context.progress.clone();
        let body = bollard::body_try_stream(ReceiverStream::new(context.chunks));
        let (docker, options, credentials) = self.prepare(docker, build, buildkit, session.as_ref());
        let mut messages = Box::pin(docker.build_image(options, credentials, Some(body)));
        let mut watching = Watching::new(log, buildkit, build);
        let silence = self.limits.build_silence_timeout;
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
                    let sent = progress.load(Ordering::Relaxed);
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
        drop(session);
        watching.tell_rest().await;
        settle(done, context.outcome.await.ok(), log).await
    }

    /// A session of ours; `None` where bollard's must do (TLS).
    async fn session(&self, build: &ImageBuild) -> Result<Option<Session>, HookError> {
        let id = session_id();
        match Session::open(self, id, build.logins.clone()).await {
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
        buildkit: bool,
        session: Option<&Session>,
    ) -> (Docker, BuildImageOptions, Option<HashMap<String, DockerCredentials>>) {
        let mut options = BuildImageOptions {
            dockerfile: build.plan.dockerfile_in_context(),
            t: Some(build.tag.clone()),
            target: build.target.clone(),
            buildargs: Some(build.arguments(buildkit)).filter(|args| !args.is_empty()),
            // BuildKit knows no other networks than none and its own.
            networkmode: (build.network < Network::Bridge).then(|| "none".to_owned()),
            labels: Some(build.labels.clone()),
            nocache: build.no_cache,
            rm: true,
            forcerm: true,
            ..BuildImageOptions::default()
        };
        let logins: HashMap<String, DockerCredentials> =
            build.logins.iter().map(|(host, login)| (host.clone(), credentials(host, login))).collect();
        let logins = (!logins.is_empty()).then_some(logins);
        match (buildkit, session) {
            (true, Some(session)) => {
                // bollard would open a session of its own for version 2; so it is told version 1 and the query mended.
                let to = format!("version=2&session={}", session.id);
                let docker =
                    docker.with_request_modifier(move |request| with_query(request, "version=1", &to));
                (docker, options, None)
            }
            (true, None) => {
                options.version = BuilderVersion::BuilderBuildKit;
                options.session = Some(session_id());
                (docker, options, logins)
            }
            (false, _) => {
                let bounds = build.bounds();
                let docker = docker.with_request_modifier(move |r| with_bounds(url_safe_login(r), &bounds));
                (docker, options, logins)
            }
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
    fn end(&mut self, engine: &Engine) -> Result<String, HookError> {
        match self.image.take() {
            Some(id) if self.complete => Ok(id),
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

/// Of two stories about one failure, what went wrong with the context is the cause.
async fn settle(
    done: Result<String, HookError>,
    context: Option<Result<Sent, HookError>>,
    log: &BuildLog,
) -> Result<String, HookError> {
    match (done, context) {
        (Err(e), _) if e.is_stopped() => Err(e),
        (Err(e), Some(Err(cause))) => Err(if cause.is_stopped() { e } else { cause }),
        (Ok(id), Some(Ok(sent))) => {
            log.line(&format!(
                "context: {} files, {} bytes, {} files ignored",
                sent.files, sent.bytes, sent.ignored
            ))
            .await;
            Ok(id)
        }
        (done, _) => done,
    }
}

pub(crate) fn credentials(host: &str, login: &Login) -> DockerCredentials {
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

/// A session's id: the engine refuses one that it knows already.
fn session_id() -> String {
    format!("slipway{}", unlike_others())
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

    #[test]
    fn session_ids_differ() {
        assert_ne!(session_id(), session_id());
    }
}
