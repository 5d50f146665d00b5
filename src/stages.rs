//! Carries out the stages of builds with the hooks room.

use std::sync::Arc;

use async_trait::async_trait;
use slipway_core::accept::RefStore as _;
use slipway_core::build::{Build, Effect, Input, Learned, Reused, TestVerdict};
use slipway_core::run::{Failure, FailureClass, Machine, Next};
use slipway_core::target::RepoRecord;
use slipway_core::{Problem, ProblemKind};
use slipway_forge::{Forge, images};
use slipway_hooks::{GivenSecret, HookError, Hooks, Job, Prepared, RegistryTarget, Secrets};
use slipway_jobs::{Hands, Progress, Rank};
use tokio_util::sync::CancellationToken;

use crate::rooms::Rooms;
use crate::supervisor::{blocking, now};

mod moves;
mod needed;
mod permit;
mod results;
mod supply;

/// Builds on the Docker Engine.
pub(crate) struct EngineBuilds {
    rooms: Rooms,
    forge: Arc<Forge>,
    base_url: String,
}

impl EngineBuilds {
    pub(crate) fn new(rooms: Rooms, forge: Arc<Forge>, base_url: String) -> Self {
        Self { rooms, forge, base_url }
    }
}

#[async_trait]
impl Hands<Build> for EngineBuilds {
    async fn carry_out(
        &self,
        build: &Build,
        effect: &Effect,
        progress: Progress<Build>,
        stop: &CancellationToken,
    ) -> Input {
        let input = self.stage(build, effect, &progress, stop).await.unwrap_or_else(Input::Failed);
        if matches!(input, Input::Failed(_) | Input::ImageGone(_)) {
            self.rooms.engines.leave((build.repo, build.number));
        }
        if !stop.is_cancelled() {
            self.learn_first_line(build, &input, &progress).await;
            self.learn_tests(build, effect, &progress).await;
            self.tell_repeat(build, &input).await;
        }
        input
    }

    async fn rank(&self, build: &Build) -> Rank {
        if build.promotes().is_some() {
            return Rank::Now;
        }
        self.wait_for_needs(build).await;
        // What nobody waits for comes after what somebody has pushed.
        if build.cause.is_by_itself() {
            return Rank::Then;
        }
        let (rooms, repo) = (self.rooms.clone(), build.repo);
        let default = blocking(move || rooms.repositories.get(repo)?.default_branch()).await;
        if default.is_ok_and(|name| name == build.ref_name) { Rank::First } else { Rank::Then }
    }

    async fn conclude(&self, build: &Build) {
        if let Ok((_, job)) = self.job(build).await {
            let outcome = build.run.failure.as_ref().map_or_else(String::new, |f| format!(": {}", f.problem));
            job.log.vital(&format!("== {}{outcome}", word(build))).await;
            job.log.flush().await;
        }
    }

    async fn finish(&self, build: &Build) {
        self.rooms.engines.leave((build.repo, build.number));
        match self.job(build).await {
            Ok((record, job)) => {
                // One that is gone from the configuration is not ours to clean any more.
                if let Ok(hooks) = self.rooms.engines.of(build)
                    && let Err(error) = hooks.finish(&job).await
                {
                    tracing::warn!(%error, build = %job.label(), "the engine is not cleaned; the next start does");
                }
                self.rooms.logs.close(record.id, build.number);
            }
            Err(failure) => tracing::debug!(problem = %failure.problem, "a build's repository is gone"),
        }
    }
}

fn word(build: &Build) -> &'static str {
    use slipway_core::build::BuildState::{
        Cancelled, Failed, Queued, Running, Succeeded, Superseded, Waiting,
    };
    match build.run.state {
        Queued => "queued",
        Running => "running",
        Waiting => "waiting",
        Succeeded => "succeeded",
        Failed => "failed",
        Cancelled => "cancelled",
        Superseded => "superseded by a newer commit",
    }
}

impl EngineBuilds {
    async fn stage(
        &self,
        build: &Build,
        effect: &Effect,
        progress: &Progress<Build>,
        stop: &CancellationToken,
    ) -> Result<Input, Failure> {
        let (record, mut job) = self.job(build).await?;
        if build.part.is_some() {
            self.check_image(build).await?;
            job.needed = self.needed(build).await?;
        }
        let outcome = match effect {
            Effect::Prepare => self.prepare(&record, &job).await?,
            Effect::BuildImage => {
                let hooks = self.engine_for(&job, progress, stop).await?;
                let built = hooks.build_image(&job, stop).await.map_err(failure)?;
                Input::Built { image: built.id, bases: built.bases }
            }
            Effect::TestImage { image } => match self.test(&job, image, stop).await {
                Ok(verdict) => Input::Tested { verdict },
                Err(error) => lost_or(error),
            },
            Effect::PushImage { image } => self.push(&record, &job, image, stop).await?,
            Effect::Retag => self.retag(&record, &job, stop).await?,
            Effect::MoveTags => self.move_tags(&record, &job, stop).await?,
            Effect::BumpManifest { target } => self.bump(record, &job, target, stop).await?,
            Effect::ListContents => self.list_contents(&record, &job).await?,
        };
        job.log.flush().await;
        Ok(outcome)
    }

    /// A place on an engine, which is recorded with the build. What an earlier attempt left on another one goes.
    async fn engine_for(
        &self,
        job: &Job,
        progress: &Progress<Build>,
        stop: &CancellationToken,
    ) -> Result<Arc<Hooks>, Failure> {
        let engines = &self.rooms.engines;
        let member = engines.take(&job.build, &job.log, stop).await.map_err(failure)?;
        if job.build.engine.as_ref() != Some(&member.name) {
            if engines.all().len() > 1 {
                job.log.line(&format!("engine {}", member.name)).await;
            }
            let was = engines.all().iter().find(|one| Some(&one.name) == job.build.engine.as_ref());
            if was.is_some_and(|one| one.down().is_none())
                && let Ok(hooks) = engines.of(&job.build)
                && let Err(error) = hooks.finish(job).await
            {
                tracing::debug!(%error, build = %job.label(), "the engine before is not cleaned; it is when it answers again");
            }
            drop(progress.send(Learned::Engine(member.name.clone()).into()).await);
        }
        Ok(member.hooks().clone())
    }

    async fn test(&self, job: &Job, image: &str, stop: &CancellationToken) -> Result<TestVerdict, HookError> {
        self.rooms.engines.of(&job.build)?.test_image(job, image, stop).await
    }

    /// Reads what the commit says; where an earlier build has made the same, that one's image will do.
    async fn prepare(&self, record: &RepoRecord, job: &Job) -> Result<Input, Failure> {
        let Prepared { targets, content, .. } =
            self.rooms.engines.usual(record.id).prepare(job).await.map_err(failure)?;
        self.check_targets(record, job, &targets).await?;
        let reused = match &content {
            Some(key) if job.build.may_reuse() => self.earlier(job, key).await?,
            _ => None,
        };
        if let Some(reused) = &reused {
            job.log.line(&format!("build {} has made an image of the same, which is taken", reused.of)).await;
        }
        Ok(Input::Prepared { targets, content, reused })
    }

    /// An earlier build that has made the same of base images which are the same still.
    async fn earlier(&self, job: &Job, key: &str) -> Result<Option<Reused>, Failure> {
        let Some(target) = job.logins.first() else { return Ok(None) };
        let (forge, build) = (self.forge.clone(), job.build.clone());
        let (image, key) = (target.registry.image(&target.image), key.to_owned());
        let found = blocking(move || slipway_forge::reuse::candidates(&forge, &build, &image, &key));
        for candidate in found.await.map_err(of)? {
            if self
                .rooms
                .engines
                .usual(job.build.repo)
                .has_same_bases(job, &candidate.bases)
                .await
                .map_err(failure)?
            {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// Says in the build's log that it will be tried again, and why: the machine decides it, and is asked.
    async fn tell_repeat(&self, build: &Build, input: &Input) {
        let (Input::Failed(failure) | Input::ImageGone(failure)) = input else { return };
        let begun = now();
        let (tries, mut after) = (build.run.retries + 1, build.clone());
        let Next::WakeAt(at) = after.step(input.clone(), begun) else { return };
        if let Ok((_, job)) = self.job(build).await {
            let pause = at.0.saturating_sub(begun.0).div_ceil(1000);
            let line = format!(
                "== try {tries} failed: {} Try {} follows in {pause} s.",
                failure.problem.what,
                tries + 1
            );
            job.log.vital(&line).await;
            job.log.flush().await;
        }
    }

    async fn job(&self, build: &Build) -> Result<(RepoRecord, Job), Failure> {
        let (rooms, build) = (self.rooms.clone(), build.clone());
        let found = blocking(move || {
            let Some(record) = rooms.store.repo(build.repo)? else {
                return Err(Problem::new(
                    ProblemKind::NotFound,
                    "The repository is gone.",
                    "Nothing needs to be done.",
                ));
            };
            let snapshot = rooms.repositories.get(record.id)?.snapshot()?;
            let logins = target(&rooms, &record, build.part.as_deref())?.into_iter().collect::<Vec<_>>();
            let permit = Arc::new(permit::of(&rooms, record.id)?);
            let secrets = Arc::new(secrets(&rooms, &build)?);
            Ok((record, build, snapshot, (logins, permit, secrets)))
        });
        let (record, build, snapshot, (logins, permit, secrets)) = found.await.map_err(of)?;
        let passwords = logins.iter().filter_map(|l: &RegistryTarget| l.password.clone());
        let hidden: Vec<_> = passwords.chain(secrets.values().cloned()).collect();
        let log = self.rooms.logs.writer(record.id, build.number, &hidden).await.map_err(|e| {
            let what = format!("The log of build {} cannot be written: {e}.", build.number);
            failed(
                FailureClass::Infra,
                Problem::new(ProblemKind::Broken, what, "Check the space on the server's disk."),
            )
        })?;
        let url = format!("{}/{}/builds/{}", self.base_url, record.name, build.number);
        let repo = record.name.clone();
        let job = Job { repo, build, snapshot, log, logins, permit, secrets, url, needed: Vec::new() };
        Ok((record, job))
    }
}

/// What the build is given, as it is now: who takes a secret away, takes it from builds that wait, too.
fn secrets(rooms: &Rooms, build: &Build) -> Result<Secrets, Problem> {
    let default = rooms.repositories.get(build.repo)?.default_branch()?;
    let given = rooms
        .store
        .read(|records| slipway_forge::secrets::given(&records, build.repo, &build.ref_name, &default))?;
    let secrets = given.secrets.into_iter().map(|(secret, value)| GivenSecret {
        name: secret.name,
        uses: secret.uses,
        value,
        changed: secret.changed.0,
    });
    Ok(Secrets { given: secrets.collect(), withheld: given.withheld })
}

/// Where the build's image goes, with the password.
fn target(rooms: &Rooms, record: &RepoRecord, part: Option<&str>) -> Result<Option<RegistryTarget>, Problem> {
    // In one look: a password is for the address that it was recorded with.
    rooms.store.read(|records| {
        let Some(binding) = records.bindings(record.id)?.registry else { return Ok(None) };
        let Some(registry) = records.registry(&binding.registry)? else { return Ok(None) };
        let password = records.registry_password(&binding.registry)?;
        let image = images::path_of(&binding, part);
        Ok(Some(RegistryTarget { registry, password, image }))
    })
}

/// Whose fault a problem of the floor is.
fn of(problem: Problem) -> Failure {
    let class = match problem.kind {
        ProblemKind::Invalid | ProblemKind::NotFound | ProblemKind::TooLarge => FailureClass::User,
        ProblemKind::Denied => FailureClass::Policy,
        _ => FailureClass::Infra,
    };
    failed(class, problem)
}

fn failed(class: FailureClass, problem: Problem) -> Failure {
    Failure { class, problem }
}

/// An image that the engine has lost is built anew; everything else is a failure of the stage.
fn lost_or(error: HookError) -> Input {
    let gone = matches!(error, HookError::ImageGone { .. });
    let failure = failure(error);
    if gone { Input::ImageGone(failure) } else { Input::Failed(failure) }
}

fn failure(error: HookError) -> Failure {
    Failure { class: error.class(), problem: Problem::from(error) }
}
