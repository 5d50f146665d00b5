//! The push: the tested image id, under its first tag by the engine, then the other tags by manifest.
//!
//! What was pushed is proven, not believed: the manifest is fetched back, and must be that of the tested image. A push
//! under way is never cut: half a push helps nobody.

use std::time::Duration;

use bollard::errors::Error as DockerError;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use slipway_core::Secret;
use slipway_core::build::{PushedImage, Stage};
use slipway_core::target::Registry;
use slipway_core::trial::{Report, Trial};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Hooks, Job};
use crate::engine::build::request::{credentials, url_safe_login};
use crate::engine::is_leftover;
use crate::error::{HookError, one_line};
use crate::limits::LOGIN_PROVED_EVERY;
use crate::registry::{Door, Manifest, RegistryTarget};

impl Hooks {
    /// Pushes the image with these tags, the first by the engine.
    ///
    /// # Errors
    /// [`HookError::Stopped`] if `stop` came before it began; after that it goes on to its end.
    pub async fn push_image(
        &self,
        job: &Job,
        image: &str,
        target: &RegistryTarget,
        tags: &[String],
        stop: &CancellationToken,
    ) -> Result<PushedImage, HookError> {
        job.log.stage(Stage::Push).await;
        if stop.is_cancelled() {
            return Err(HookError::Stopped);
        }
        if let Some(secret) = &target.password {
            job.log.hide(secret.clone());
        }
        let name = target.registry.image(&target.image);
        let (first, others) = tags
            .split_first()
            .ok_or(HookError::Internal { what: "naming the image", why: "no tag".into() })?;
        let manifest = self.push_first(job, image, target, &name, first).await?;
        job.log.line(&format!("pushed {name}:{first} {}", manifest.digest)).await;
        for tag in others {
            self.push_other(job, image, target, &name, tag, &manifest).await?;
            job.log.line(&format!("pushed {name}:{tag}")).await;
        }
        Ok(PushedImage { name, tags: tags.to_vec(), digest: manifest.digest })
    }

    /// Moves a tag to an image that the registry has, and that the engine has too where `image` says so.
    ///
    /// # Errors
    /// [`HookError::NotInRegistry`] where it has not; what the registry says of the tag.
    pub async fn move_tag(
        &self,
        job: &Job,
        image: Option<&str>,
        target: &RegistryTarget,
        pushed: &PushedImage,
        tag: &str,
    ) -> Result<(), HookError> {
        let door = self.registries.open(target).await?;
        let there = self.registries.manifest(&door, pushed.digest.as_str()).await?;
        let gone = || HookError::NotInRegistry { image: format!("{}@{}", pushed.name, pushed.digest) };
        let manifest = there.ok_or_else(gone)?;
        match image {
            Some(image) => self.push_other(job, image, target, &pushed.name, tag, &manifest).await,
            None => self.registries.tag(&door, tag, &manifest).await,
        }
    }

    /// Tries every call that a push needs, for `slipway registry test`.
    ///
    /// # Errors
    /// [`HookError::RegistrySettings`]; what the calls say is in the report.
    pub async fn test_registry(
        &self,
        registry: &Registry,
        password: Option<&Secret>,
        trial: &Trial,
    ) -> Result<Report, HookError> {
        let image = trial.image.clone().unwrap_or_default();
        let target = RegistryTarget { registry: registry.clone(), password: password.cloned(), image };
        self.registries.try_out(&target, trial).await
    }

    /// Gets the image there under one tag, and proves it. Does nothing where it is there already.
    async fn push_first(
        &self,
        job: &Job,
        image: &str,
        target: &RegistryTarget,
        name: &str,
        tag: &str,
    ) -> Result<Manifest, HookError> {
        let mut door = self.registries.open(target).await?;
        if let Some(there) = self.registries.manifest(&door, tag).await?
            && there.is_of(image)
        {
            job.log.line(&format!("{name}:{tag} is in the registry already")).await;
            return Ok(there);
        }
        let told = self.engine_push(job, image, &mut door, name, tag, target).await?;
        let broken = |message: String| HookError::RegistryBroken {
            host: target.registry.host.clone(),
            action: format!("the push of {name}:{tag}"),
            message,
        };
        let there = self
            .registries
            .manifest(&door, tag)
            .await?
            .ok_or_else(|| broken("no such tag afterwards".into()))?;
        if told.as_deref().is_some_and(|told| told != there.digest.as_str()) {
            return Err(broken(format!(
                "the digest {} where the engine pushed {}",
                there.digest,
                told.unwrap_or_default()
            )));
        }
        if !there.is_of(image) {
            return Err(broken(format!("an image that is not the tested {image}")));
        }
        Ok(there)
    }

    /// A further tag: by manifest, or where the registry does not take that, by the engine.
    async fn push_other(
        &self,
        job: &Job,
        image: &str,
        target: &RegistryTarget,
        name: &str,
        tag: &str,
        manifest: &Manifest,
    ) -> Result<(), HookError> {
        let mut door = self.registries.open(target).await?;
        match self.registries.tag(&door, tag, manifest).await {
            Err(HookError::RegistryBroken { message, .. }) => {
                job.log
                    .line(&format!(
                        "note: the tag {tag} goes by the engine, since the registry said {message}"
                    ))
                    .await;
                self.engine_push(job, image, &mut door, name, tag, target).await.map(|_| ())
            }
            done => done,
        }
    }

    /// Names, pushes and names back in the engine; the digest that it tells. A login can end before its time: one that the
    /// registry does not take is replaced before the engine tries it, and once more at the first refusal after that.
    async fn engine_push(
        &self,
        job: &Job,
        image: &str,
        door: &mut Door,
        name: &str,
        tag: &str,
        target: &RegistryTarget,
    ) -> Result<Option<String>, HookError> {
        if self.registries.renew(door).await? {
            self.tell_renewal(job, door, target).await;
        }
        let lent = self.lend(image, name, tag).await?;
        let mut pushed = self.stream_push(job, door, name, tag, target).await;
        if matches!(pushed, Err(HookError::RegistryDenied { .. }))
            && self.registries.replace_login(door).await?
        {
            self.tell_renewal(job, door, target).await;
            pushed = self.stream_push(job, door, name, tag, target).await;
        }
        // The name in the engine was only for the push; the private tag holds the image until the build is over.
        lent.give_back().await;
        pushed
    }

    async fn tell_renewal(&self, job: &Job, door: &Door, target: &RegistryTarget) {
        let host = &target.registry.host;
        job.log
            .line(&format!("note: {host} did not take its login any more; it goes on with a new one"))
            .await;
        if let Some(login) = door.login() {
            job.log.hide(login.password.clone());
        }
    }

    async fn stream_push(
        &self,
        job: &Job,
        door: &Door,
        name: &str,
        tag: &str,
        target: &RegistryTarget,
    ) -> Result<Option<String>, HookError> {
        let docker = self.engine.docker()?.clone().with_request_modifier(url_safe_login);
        let host = &target.registry.host;
        if let Some(login) = door.login() {
            job.log.hide(login.password.clone());
        }
        let login = door.login().map(|login| credentials(host, login));
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut messages = Box::pin(docker.push_image(name, Some(options), login));
        let what = format!("the push of {name}:{tag}");
        let limits = &self.engine.limits;
        let asked = self.spec(job).await?.push.timeout_ms.map(Duration::from_millis);
        let asked = asked.filter(|asked| *asked < limits.image_push_timeout);
        let silence = limits.image_push_silence_timeout;
        let (time, setting) = (asked.unwrap_or(limits.image_push_timeout), asked.map(|_| "push.timeout"));
        let deadline = Instant::now() + time;
        let (mut digest, mut layers, mut trouble) = (None, Layers::default(), Trouble::default());
        loop {
            let next = tokio::time::timeout(silence, messages.next());
            let message = tokio::select! {
                message = next => message.map_err(|_| HookError::Silent { what: what.clone(), limit: silence })?,
                () = tokio::time::sleep_until(deadline) => {
                    return Err(HookError::TimedOut { what, limit: time, setting });
                }
            };
            match message {
                Some(Ok(info)) => {
                    let Some(status) = info.status else { continue };
                    // bollard drops the message that has the digest as a value; the line for people has it too.
                    digest = told_digest(&status).or(digest);
                    if trouble.is_new(&status) {
                        job.log.line("note: the engine could not send a layer, and tries it again").await;
                        if let Some(refusal) = self.registries.refuses(door).await {
                            return Err(refusal);
                        }
                    }
                    if info.progress_detail.and_then(|p| p.current).is_none() && !layers.count(&status) {
                        job.log.output(status.as_bytes()).await;
                    }
                }
                Some(Err(e)) if is_leftover(&e) => break,
                Some(Err(
                    DockerError::DockerStreamError { error }
                    | DockerError::DockerResponseServerError { message: error, .. },
                )) => {
                    return Err(push_failure(&error, host, name, tag));
                }
                Some(Err(e)) => return Err(self.engine.failure("the push", e)),
                None => break,
            }
        }
        job.log.output(layers.told().as_bytes()).await;
        if digest.is_none() {
            return Err(self.engine.lost("the push", "its answer ended before the digest"));
        }
        Ok(digest)
    }
}

/// `TAG: digest: sha256:… size: 528`.
fn told_digest(status: &str) -> Option<String> {
    let rest = status.split_once("digest: ")?.1;
    let digest = rest.split_whitespace().next()?;
    slipway_core::Digest::parse(digest).ok().map(String::from)
}

/// What the engine's words about a failed push mean.
fn push_failure(message: &str, host: &str, name: &str, tag: &str) -> HookError {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    let (host, text) = (host.to_owned(), one_line(message));
    if has(&["immutable", "imagetagalreadyexists"]) {
        return HookError::TagImmutable { image: name.to_owned(), tag: tag.to_owned() };
    }
    if has(&["server gave http response to https client", "certificate", "tls:"]) {
        let cure = format!(
            "The engine does not trust {host}: add it to insecure-registries, or its certificate to /etc/docker/certs.d, on the engine's machine."
        );
        return HookError::RegistryDenied {
            host,
            action: format!("the push of {name}"),
            message: text,
            cure,
        };
    }
    if has(&[
        "unauthorized",
        "denied",
        "no basic auth credentials",
        "authentication required",
        "forbidden",
        "authorization token has expired",
        "http 401 response",
        "http 403 response",
    ]) {
        let cure =
            "Check the registry's name and password and what they may do: slipway registry test shows more."
                .to_owned();
        return HookError::RegistryDenied {
            host,
            action: format!("the push of {name}"),
            message: text,
            cure,
        };
    }
    if has(&["name unknown", "does not exist in the registry", "repository not found"]) {
        let cure = format!("Make the repository {name} in the registry.");
        return HookError::RegistryDenied {
            host,
            action: format!("the push of {name}"),
            message: text,
            cure,
        };
    }
    if has(&["image does not exist locally", "no such image"]) {
        return HookError::ImageGone { image: format!("{name}:{tag}") };
    }
    HookError::RegistryDown { host, why: text }
}

/// How the engine begins to say that it repeats what failed, some seconds from now.
const RETRYING: &str = "Retrying in ";

/// The engine repeats what fails of a push five times, with pauses that add up to 50 s, and does not say why. Where the login
/// is why, none of that helps: the registry itself is asked.
#[derive(Default)]
struct Trouble {
    asked: Option<Instant>,
}

impl Trouble {
    /// True for a status that tells of a repetition, if the registry was not asked just now.
    fn is_new(&mut self, status: &str) -> bool {
        let due = self.asked.is_none_or(|at| at.elapsed() >= LOGIN_PROVED_EVERY);
        let is = status.starts_with(RETRYING) && due;
        if is {
            self.asked = Some(Instant::now());
        }
        is
    }
}

/// How the layers of one push went. The engine tells each of them several times, without saying which; people want the sum.
#[derive(Default)]
struct Layers {
    pushed: usize,
    there: usize,
}

impl Layers {
    /// Takes a status that is about one layer. False for any other.
    fn count(&mut self, status: &str) -> bool {
        match status {
            "Preparing" | "Waiting" => {}
            "Pushed" => self.pushed += 1,
            "Layer already exists" => self.there += 1,
            _ if status.starts_with("Mounted from ") => self.there += 1,
            // A countdown, second by second.
            _ if status.starts_with(RETRYING) => {}
            _ => return false,
        }
        true
    }

    fn told(&self) -> String {
        format!("layers: {} pushed, {} there already", self.pushed, self.there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_core::run::FailureClass;

    #[test]
    fn the_digest_is_read_from_the_line() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(told_digest(&format!("latest: digest: {digest} size: 528")), Some(digest));
        assert_eq!(told_digest("latest: digest: sha256:short size: 1"), None);
        assert_eq!(told_digest("Preparing"), None);
        let mut layers = Layers::default();
        for status in ["Preparing", "Waiting", "Mounted from a", "Layer already exists", "Pushed"] {
            assert!(layers.count(status), "{status}");
        }
        assert!(!layers.count("latest: digest: sha256:00 size: 1"));
        assert_eq!(layers.told(), "layers: 1 pushed, 2 there already");
    }

    #[test]
    fn the_engines_words_have_a_class() {
        for (words, class) in [
            ("unauthorized: authentication required", FailureClass::Policy),
            ("no basic auth credentials", FailureClass::Policy),
            (
                "error parsing HTTP 403 response body: invalid character 'N' looking for beginning of value: \"Not Authorized\"",
                FailureClass::Policy,
            ),
            (
                "Get \"https://r:1/v2/\": http: server gave HTTP response to HTTPS client",
                FailureClass::Policy,
            ),
            (
                "tag invalid: The image tag 'x' already exists and cannot be overwritten because the tag is immutable.",
                FailureClass::User,
            ),
            ("dial tcp 127.0.0.1:1: connect: connection refused", FailureClass::Infra),
            ("received unexpected HTTP status: 503 Service Unavailable", FailureClass::Infra),
        ] {
            assert_eq!(push_failure(words, "r:1", "r:1/x", "t").class(), class, "{words}");
        }
    }
}
