//! What is put beside the image of a build in its registry, once it is pushed and once the manifests are written.

use slipway_core::Problem;
use slipway_core::ProblemKind;
use slipway_core::build::{Attached, Build, Input, PushedImage};
use slipway_core::run::{Failure, FailureClass};
use slipway_core::target::RepoRecord;
use slipway_forge::made;
use slipway_hooks::{Job, Maker, RegistryTarget};

use super::{EngineBuilds, failed, of};
use crate::supervisor::blocking;

impl EngineBuilds {
    /// Signs what was pushed, before any name that others follow moves to it. What cannot be is told, and stops nothing here.
    pub(super) async fn sign(
        &self,
        record: &RepoRecord,
        job: &Job,
        target: &RegistryTarget,
        image: &PushedImage,
    ) -> Attached {
        match self.maker(record, &job.build).await {
            Ok(maker) => self.rooms.engines.any().sign_image(job, target, image, &maker).await,
            Err(problem) => {
                let mut attached = Attached::default();
                attached.note(problem.what);
                attached
            }
        }
    }

    /// Puts there what is not yet.
    pub(super) async fn list_contents(&self, record: &RepoRecord, job: &Job) -> Result<Input, Failure> {
        let (Some(image), Some(target)) = (&job.build.pushed, job.logins.first()) else {
            return Ok(Input::Listed(job.build.attached.clone()));
        };
        let maker = self.maker(record, &job.build).await.map_err(of)?;
        Ok(Input::Listed(self.rooms.engines.any().list_contents(job, target, image, &maker).await))
    }

    /// What a promotion moves is signed already, by the build that made it; where that could not, it is tried again.
    pub(super) async fn attached_before(
        &self,
        record: &RepoRecord,
        job: &Job,
        target: &RegistryTarget,
        image: &PushedImage,
    ) -> Attached {
        match self.maker(record, &job.build).await {
            Ok(maker) if maker.build.attached.signed => Attached { owed: false, ..maker.build.attached },
            _ => self.sign(record, job, target, image).await,
        }
    }

    /// Manifests that lead into a cluster which takes signed images alone wait until theirs is.
    pub(super) async fn need_signature(
        &self,
        record: &RepoRecord,
        job: &Job,
        target: &str,
    ) -> Result<(), Failure> {
        if job.build.attached.signed {
            return Ok(());
        }
        let Some(bump) = job.build.bumps.iter().find(|bump| bump.target == target) else { return Ok(()) };
        let (forge, manifests) = (self.forge.clone(), bump.repo.clone());
        let asks = blocking(move || made::is_signature_required(&forge, &manifests)).await.map_err(of)?;
        let (Some(image), Some(registry)) = (&job.build.pushed, job.logins.first()) else { return Ok(()) };
        if !asks {
            return Ok(());
        }
        let attached = self.sign(record, job, registry, image).await;
        if attached.signed {
            return Ok(());
        }
        let why = attached.notes.first().cloned().unwrap_or_else(|| "This server signs none.".to_owned());
        let what =
            format!("The cluster of {} takes signed images alone, and this one is not. {why}", bump.repo);
        let cure = "Check the registry (slipway registry test) and [supply_chain] of config.toml; it is tried again by itself.";
        Err(failed(FailureClass::Infra, Problem::new(ProblemKind::Unavailable, what, cure)))
    }

    /// The build that made the image, of which this one is the last to push it.
    async fn maker(&self, record: &RepoRecord, build: &Build) -> Result<Maker, Problem> {
        let (forge, build, repo) = (self.forge.clone(), build.clone(), record.name.clone());
        blocking(move || Ok(Maker { repo, build: made::maker(&forge, build)? })).await
    }
}
