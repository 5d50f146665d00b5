//! The stages of a build, each a call: prepare, build, test, push, clean up.
//!
//! Every stage may be called again for the same build (after a crash, or after a failure of a part) and does no harm
//! then. Every stage reads slipway.toml from the commit anew, so nothing has to be carried over a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use slipway_core::RepoName;
use slipway_core::build::{Build, Stage};
use slipway_core::limits::SPEC_BYTES_MAX;
use slipway_core::spec::{Network, Pull, Spec, Test};
use slipway_repository::{Mode, Snapshot};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::contents::KnownLayers;
use crate::context::index::Place;
use crate::context::{CommitFiles, ContextPlan, Files};
use crate::dockerfile::Dockerfile;
use crate::engine::build::ImageBuild;
use crate::engine::{Engine, EngineVersion, LABEL_ORIGIN, Labels};
use crate::error::HookError;
use crate::log::BuildLog;
use crate::mark::{BuildId, Marks};
use crate::permit::Permit;
use crate::registry::{Registries, RegistryTarget};
use crate::secrets::Secrets;
use crate::supply::{Supply, Turns};
use crate::variables;

mod clean;
mod content;
mod lent;
mod push;
mod scan;
mod services;
mod testing;
pub use self::clean::Swept;

/// One build to carry out: the record, and what its stages need.
#[derive(Clone)]
pub struct Job {
    /// The repository's name now.
    pub repo: RepoName,
    /// The record.
    pub build: Build,
    /// The repository's objects; holds the commit.
    pub snapshot: Arc<Snapshot>,
    /// Where its words go.
    pub log: BuildLog,
    /// Registries whose logins the build may use for its base images: those the repository is bound to.
    pub logins: Vec<RegistryTarget>,
    /// What it may use of what is not its own.
    pub permit: Arc<Permit>,
    /// What it is given beside its files.
    pub secrets: Arc<Secrets>,
    /// Its page's address.
    pub url: String,
    /// Images that it needs, by the names of their parts.
    pub needed: Vec<(String, String)>,
}

/// What a commit asks for.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// slipway.toml, or its defaults.
    pub spec: Spec,
    /// The `[deploy.*]` targets: name and manifest repository, by name.
    pub targets: Vec<(String, String)>,
    /// The key of what goes into the image, where it can be told.
    pub content: Option<String>,
}

/// An image as the engine has built it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The engine's id.
    pub id: String,
    /// Its base images, and which each was, where the builder tells.
    pub bases: Option<BTreeMap<String, String>>,
}

impl Job {
    /// `REPO#N`, for people.
    pub fn label(&self) -> String {
        format!("{}#{}", self.repo, self.build.number)
    }

    /// Whether registries are asked for base images: always, where the build is there for their sake.
    fn pull(&self, spec: &Spec) -> Option<Pull> {
        spec.build.pull.filter(|_| !self.build.cause.is_for_bases())
    }

    fn id(&self) -> BuildId {
        (self.build.repo, self.build.number)
    }

    fn files(&self) -> Arc<CommitFiles> {
        Arc::new(CommitFiles { snapshot: self.snapshot.clone(), commit: self.build.commit })
    }
}

/// Image names are lower case with single separators (OCI distribution specification); repository names are not.
fn image_name(repo: &RepoName) -> String {
    let mut name = String::new();
    for c in repo.as_str().chars() {
        let c = c.to_ascii_lowercase();
        let separator = !c.is_ascii_alphanumeric();
        if !(separator && name.chars().last().is_none_or(|last| !last.is_ascii_alphanumeric())) {
            name.push(if separator { '-' } else { c });
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "x".to_owned() } else { name.to_owned() }
}

/// What carries builds out: one for each engine. What they know of registries, and what is put beside images there, they have together.
#[derive(Debug)]
pub struct Hooks {
    engine: Engine,
    pub(crate) registries: Arc<Registries>,
    marks: Marks,
    pub(crate) supply: Arc<Supply>,
    /// Of one image, one at a time is written to.
    pub(crate) turns: Arc<Turns>,
    /// One image at a time is read.
    pub(crate) reading: Arc<Semaphore>,
    pub(crate) layers: Arc<KnownLayers>,
}

impl Hooks {
    /// Takes the engine; connects to nothing yet. By the marks several installations can share one engine.
    pub fn new(engine: Engine, marks: Marks) -> Self {
        let registries = Registries::new(None, engine.limits.registry_timeout);
        Self {
            engine,
            registries: Arc::new(registries),
            marks,
            supply: Arc::new(Supply::none()),
            turns: Arc::default(),
            reading: Arc::new(Semaphore::new(1)),
            layers: Arc::default(),
        }
    }

    /// The same, which signs what is pushed.
    pub fn signing(self, supply: Supply) -> Self {
        Self { supply: Arc::new(supply), ..self }
    }

    /// Those of another engine of the same server.
    pub(crate) fn on(&self, engine: Engine) -> Self {
        Self {
            engine,
            registries: self.registries.clone(),
            marks: self.marks.clone(),
            supply: self.supply.clone(),
            turns: self.turns.clone(),
            reading: self.reading.clone(),
            layers: self.layers.clone(),
        }
    }

    /// With what images are signed.
    pub fn supply(&self) -> &Supply {
        &self.supply
    }

    /// Like [`Hooks::new`], with another address for ECR and STS (tests). `AWS_ENDPOINT_URL_ECR` and
    /// `AWS_ENDPOINT_URL_STS` do the same from outside, and `ecr.endpoint` of a registry for that one.
    pub fn with_aws_endpoint(engine: Engine, marks: Marks, url: String) -> Self {
        let registries = Registries::new(Some(url), engine.limits.registry_timeout);
        Self { registries: Arc::new(registries), ..Self::new(engine, marks) }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Reads the commit's instructions.
    ///
    /// # Errors
    /// [`HookError::Spec`], [`HookError::NoDockerfile`], [`HookError::NoContext`], or the repository's own.
    pub async fn prepare(&self, job: &Job) -> Result<Prepared, HookError> {
        job.log.stage(Stage::Clone).await;
        let spec = self.spec(job).await?;
        let files = job.files();
        Self::check_test(job, &spec)?;
        let plan = ContextPlan::new(&spec.build.context, &spec.build.dockerfile);
        blocking(move || check_paths(files.as_ref(), &plan)).await?;
        let targets: Vec<(String, String)> =
            spec.deploy.iter().map(|(name, deploy)| (name.clone(), deploy.repo.to_string())).collect();
        job.log
            .line(&format!(
                "commit {} ({}) of {}",
                job.build.commit,
                job.build.title,
                job.build.ref_name.short()
            ))
            .await;
        job.log.line(&format!("Dockerfile {}, context {}", spec.build.dockerfile, spec.build.context)).await;
        for (name, value) in variables::params(job, &spec.build) {
            job.log.line(&format!("parameter {name} = {value:?}")).await;
        }
        if let Test::None = spec.test.test() {
            job.log.line("note: slipway.toml declares no test").await;
        }
        let content = self.content_key(job, &spec).await?;
        Ok(Prepared { spec, targets, content })
    }

    /// Builds the image.
    ///
    /// # Errors
    /// Whatever keeps the image from being built, told apart by [`HookError::class`]; [`HookError::Stopped`] after `stop`.
    pub async fn build_image(&self, job: &Job, stop: &CancellationToken) -> Result<Built, HookError> {
        job.log.stage(Stage::Build).await;
        let spec = self.spec(job).await?;
        let target = spec.build.target.clone();
        let (build_ms, told) = job.permit.build_ms(&spec);
        if let Some(told) = told {
            job.log.line(&told).await;
        }
        let timeout = Duration::from_millis(build_ms);
        let build = self.image_build(job, &spec, target, self.private_tag(job, ""), timeout).await?;
        // Where an earlier attempt got this far, its image goes with its name; without it nobody could tell whose it was.
        self.untag(&build.tag).await?;
        let built = self.engine.build(&build, &job.log, stop).await;
        let (id, told) = built.map_err(|e| testing::told_why(job, &spec, e))?;
        if let Some(wanted) = spec.build.platforms.first() {
            self.engine.check_platform(&id, wanted).await?;
        }
        job.log.line(&format!("built image {id}")).await;
        let bases = match told {
            Some(told) => self.bases(told).await?,
            None => None,
        };
        Ok(Built { id, bases })
    }

    /// Asks the engine who it is, for `slipway doctor`.
    ///
    /// # Errors
    /// [`HookError::EngineDown`].
    pub async fn check_engine(&self) -> Result<EngineVersion, HookError> {
        self.engine.version().await
    }

    /// The tag by which an image is found in the engine, whatever has happened to this process.
    fn private_tag(&self, job: &Job, purpose: &str) -> String {
        self.marks.image(&image_name(&job.repo), job.id(), purpose)
    }

    /// The commit's slipway.toml, or the defaults.
    pub(crate) async fn spec(&self, job: &Job) -> Result<Spec, HookError> {
        let (files, part) = (job.files(), job.build.part.clone());
        blocking(move || {
            let text = files.file("slipway.toml", SPEC_BYTES_MAX)?;
            let spec = text.map(|t| Spec::parse(&t)).transpose()?.unwrap_or_default();
            let mut spec = spec.of(part.as_deref()).ok_or_else(|| no_part(part.as_deref()))?;
            // From here on it is the path of a file, or of one that is missing.
            let found = spec.build.find_dockerfile(|path| is_file(files.as_ref(), path))?;
            spec.build.dockerfile =
                found.or_else(|| spec.build.dockerfiles().into_iter().next()).unwrap_or_default();
            Ok(spec)
        })
        .await
    }

    async fn image_build(
        &self,
        job: &Job,
        spec: &Spec,
        target: String,
        tag: String,
        timeout: Duration,
    ) -> Result<ImageBuild, HookError> {
        let plan = ContextPlan::new(&spec.build.context, &spec.build.dockerfile);
        let mut args = variables::arguments(job, &spec.build);
        let (permit, files) = (job.permit.clone(), job.files());
        let (asked, given) = (plan.clone(), args.clone());
        let dockerfile = blocking(move || permit.check(files.as_ref(), &asked, &given)).await?;
        args.retain(|name, _| spec.build.args.contains_key(name) || dockerfile.declares(name));
        let mut logins = HashMap::new();
        for target in &job.logins {
            match self.registries.login(target).await {
                Ok(Some(login)) => {
                    job.log.hide(login.password.clone());
                    logins.insert(target.registry.host.clone(), login);
                }
                Ok(None) => {}
                // The bases may all be public; if not, the build itself says which one it cannot have.
                Err(e) => job.log.line(&format!("note: no login for {}: {e}", target.registry.host)).await,
            }
        }
        let secrets = job.secrets.mounted(false);
        let keys = job.secrets.signing(&spec.build.ssh)?;
        let salt = (dockerfile.mounts_secrets || !secrets.is_empty() || !keys.is_empty()).then(|| {
            let signing = keys.values().flatten().map(|(name, _)| name.clone());
            let names: BTreeSet<String> = secrets.keys().cloned().chain(signing).collect();
            let names: Vec<String> = names.into_iter().collect();
            self.marks.salt(job.build.repo, job.permit.cache_group.as_deref(), &names.join(","))
        });
        // Without the build's number: the same commit built again shall be the same image, and no new rollout.
        let origin = format!("{}/{}", self.marks.installation(), job.build.repo);
        let most = &job.permit.builds;
        Ok(ImageBuild {
            files: job.files(),
            context: self.marks.context(job.build.repo, &plan.folder),
            place: Some(index_place(job, &plan)),
            plan,
            target,
            args,
            platform: spec.build.platforms.first().map(ToString::to_string).unwrap_or_default(),
            secrets,
            keys,
            salt,
            no_cache: job.build.no_cache,
            pull: job.pull(spec),
            bases: dockerfile.moving_images(),
            caches: self.marks.caches(job.build.repo, job.permit.cache_group.as_deref()),
            network: most.network.unwrap_or(Network::Bridge),
            memory: most.memory,
            cpus: most.cpus,
            forbidden: job.permit.forbidden(),
            labels: image_labels(job, origin, &dockerfile),
            tag,
            timeout,
            silence: spec.build.silence_ms.map(Duration::from_millis),
            setting: "build.timeout",
            what: "the image build",
            logins,
        })
    }
}

/// A record of a part that the commit's file has not: it was read otherwise when the build was recorded.
fn no_part(part: Option<&str>) -> HookError {
    let what = match part {
        Some(part) => format!("slipway.toml has no image {part:?}"),
        None => "slipway.toml has several images, and the build does not say which".to_owned(),
    };
    HookError::NotAllowed { what, cure: "Start it anew: slipway build start.".into() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn labels<const N: usize>(all: [(&str, String); N]) -> Labels {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the image is labelled with: what is the same for each of the repository's commits, so that the same content stays the
/// same image. What its Dockerfile says itself stands.
fn image_labels(job: &Job, origin: String, dockerfile: &Dockerfile) -> Labels {
    let build = format!("/builds/{}", job.build.number);
    let repository = job.url.strip_suffix(&build).unwrap_or(&job.url).to_owned();
    let title = job.build.part.as_deref().map_or(job.repo.to_string(), |part| format!("{}/{part}", job.repo));
    let own = [("org.opencontainers.image.source", repository), ("org.opencontainers.image.title", title)];
    let own = own.into_iter().filter(|(name, _)| !dockerfile.labels(name));
    let all = own.chain([(LABEL_ORIGIN, origin)]);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn is_file(files: &dyn Files, path: &str) -> Result<bool, HookError> {
    let is = |mode| matches!(mode, Mode::File | Mode::Executable | Mode::Link);
    Ok(files.entry(path)?.is_some_and(|entry| is(entry.mode)))
}

/// Where the index of the context is kept: one for each folder that the repository builds in.
fn index_place(job: &Job, plan: &ContextPlan) -> Place {
    let folder = Sha256::digest(&plan.folder);
    let name = hex(&folder[..8]);
    let kept = job.log.folder.join(format!("context-{name}"));
    let new = job.log.folder.join(format!("context-{name}.{}", job.build.number));
    Place { kept, new }
}

fn check_paths(files: &dyn Files, plan: &ContextPlan) -> Result<(), HookError> {
    if !plan.folder.is_empty() && files.entry(&plan.folder)?.is_none_or(|e| e.mode != Mode::Tree) {
        return Err(HookError::NoContext { path: plan.folder.clone() });
    }
    if !is_file(files, &plan.dockerfile)? {
        return Err(HookError::NoDockerfile { path: plan.dockerfile.clone() });
    }
    Ok(())
}

/// Runs reads of the repository where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HookError> + Send + 'static,
) -> Result<T, HookError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(HookError::Internal { what: "reading the commit", why: e.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_repository_name_makes_a_legal_image_name() {
        for (name, wanted) in
            [("AppCodeRepo", "appcoderepo"), ("a..b__c-.d", "a-b-c-d"), ("_x_", "x"), ("__", "x")]
        {
            assert_eq!(image_name(&RepoName::parse(name).expect("name")), wanted);
        }
    }
}
