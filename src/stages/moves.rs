//! The steps of a build that others see: its image in the registry, the tags that move to it, the manifests that name it.
//!
//! Whether a name moves is asked under the repository's turn, which is held until what came of it is recorded.

use slipway_core::build::{Attached, Build, BuildCause, Input, PushedImage, Stage};
use slipway_core::moving::{Move, MovingTag, Name};
use slipway_core::run::{Failure, FailureClass};
use slipway_core::spec::Scope;
use slipway_core::target::RepoRecord;
use slipway_core::{Problem, ProblemKind};
use slipway_forge::bump::Bumped;
use slipway_forge::moving::{self, Wanted};
use slipway_forge::{Forge, bump};
use slipway_hooks::{HookError, Job, RegistryTarget};
use tokio_util::sync::CancellationToken;

use super::{EngineBuilds, failed, failure, lost_or, of};
use crate::supervisor::blocking;

/// Places named in the log of one target.
const NOTES_MAX: usize = 20;

impl EngineBuilds {
    /// Asks of every target that the build will write whether it can be, before anything is built. What cannot is told; where
    /// that is all of them, the build ends here.
    pub(super) async fn check_targets(
        &self,
        record: &RepoRecord,
        job: &Job,
        targets: &[(String, String)],
    ) -> Result<(), Failure> {
        let Some(image) = job.logins.first().map(|login| login.registry.image(&login.image)) else {
            return Ok(());
        };
        let (mut good, mut bad) = (0, None);
        for (target, _) in targets {
            let (image, wanted) = (image.clone(), Wanted::Deploy(target.clone()));
            let asked = wanted.clone();
            let look = move |forge: &Forge, record: &RepoRecord, build: &Build| {
                let Wanted::Deploy(target) = &asked else { return Ok(true) };
                if moving::why_not(forge, record, build, &asked)?.is_some() {
                    return Ok(false);
                }
                bump::check(forge, record, build, (target, &image)).map(|()| true)
            };
            match self.ask(record, job, look).await.map_err(of) {
                Ok(moves) => good += usize::from(moves),
                // What is out of order now may be in order by then.
                Err(failure) if failure.class == FailureClass::Infra => good += 1,
                Err(failure) => {
                    job.log.vital(&format!("{} cannot be written: {}", wanted.name(), failure.problem)).await;
                    bad.get_or_insert(failure);
                }
            }
        }
        match bad {
            Some(failure) if good == 0 => Err(failure),
            _ => Ok(()),
        }
    }

    /// The image goes to the registry under its commit's own tags, then those that move are moved.
    pub(super) async fn push(
        &self,
        record: &RepoRecord,
        job: &Job,
        image: &str,
        stop: &CancellationToken,
    ) -> Result<Input, Failure> {
        let target = registry(record, job)?;
        let tags = self.ask(record, job, moving::tags).await.map_err(of)?;
        let hooks = match self.rooms.engines.of(&job.build) {
            Ok(hooks) => hooks,
            Err(error) => return Ok(lost_or(error)),
        };
        let pushed = match hooks.push_image(job, image, target, &tags.own, stop).await {
            Ok(pushed) => pushed,
            Err(error) if error.is_of_engine() && self.rooms.engines.has_lost(&job.build).await => {
                job.log
                    .line("note: the engine that has the image does not answer; another builds it anew")
                    .await;
                return Ok(Input::ImageGone(failure(error)));
            }
            Err(error) => return Ok(lost_or(error)),
        };
        for note in &tags.notes {
            job.log.line(&format!("note: {note}")).await;
        }
        let attached = self.sign(record, job, target, &pushed).await;
        self.move_all(record, job, (Some(image), pushed, attached), tags.moving, stop).await
    }

    /// The image of the earlier build that made the same gets this one's tags, then those that move are moved.
    pub(super) async fn retag(
        &self,
        record: &RepoRecord,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<Input, Failure> {
        let target = registry(record, job)?;
        let Some(image) = job.build.pushed.clone() else {
            let what = "The record of the build does not say whose image it takes.";
            let problem = Problem::new(ProblemKind::Broken, what, "Retry the build.");
            return Err(failed(FailureClass::Infra, problem));
        };
        let tags = self.ask(record, job, moving::tags).await.map_err(of)?;
        let pushed = match self.rooms.engines.any().retag_image(job, target, &image, &tags.own).await {
            Ok(pushed) => pushed,
            Err(error @ HookError::NotInRegistry { .. }) => {
                job.log.line("note: the registry has that image no more; it is built after all").await;
                return Ok(Input::ImageGone(failure(error)));
            }
            Err(error) => return Err(failure(error)),
        };
        for note in &tags.notes {
            job.log.line(&format!("note: {note}")).await;
        }
        let attached = self.sign(record, job, target, &pushed).await;
        self.move_all(record, job, (None, pushed, attached), tags.moving, stop).await
    }

    /// The tags that somebody named get the image of the build that is promoted.
    pub(super) async fn move_tags(
        &self,
        record: &RepoRecord,
        job: &Job,
        stop: &CancellationToken,
    ) -> Result<Input, Failure> {
        job.log.stage(Stage::Push).await;
        let (BuildCause::Promote { of, to, by }, Some(pushed)) = (&job.build.cause, &job.build.pushed) else {
            let what = "The record of a promotion does not say what it promotes.";
            let problem = Problem::new(ProblemKind::Broken, what, "Promote the build again.");
            return Err(failed(FailureClass::Infra, problem));
        };
        job.log.line(&format!("{by} promotes build {of}: {}@{}", pushed.name, pushed.digest)).await;
        let tag = |name: &Name| match name {
            Name::Tag(text) => Some(MovingTag { text: text.clone(), scope: Scope::Shared, denied: None }),
            Name::Deploy(_) => None,
        };
        let mut pushed = pushed.clone();
        pushed.tags.truncate(1);
        let attached = self.attached_before(record, job, registry(record, job)?, &pushed).await;
        let tags = to.iter().filter_map(tag).collect();
        self.move_all(record, job, (None, pushed, attached), tags, stop).await
    }

    async fn move_all(
        &self,
        record: &RepoRecord,
        job: &Job,
        (image, mut pushed, attached): (Option<&str>, PushedImage, Attached),
        tags: Vec<MovingTag>,
        stop: &CancellationToken,
    ) -> Result<Input, Failure> {
        let mut moves = Vec::new();
        for tag in tags {
            if stop.is_cancelled() {
                return Err(failure(HookError::Stopped));
            }
            let text = tag.text.clone();
            let left = self.move_tag(record, job, (image, &pushed), tag, stop).await?;
            let name = Name::Tag(text.clone());
            match &left {
                None => {
                    job.log.line(&format!("pushed {}:{text}", pushed.name)).await;
                    pushed.tags.push(text);
                }
                Some(why) => job.log.line(&format!("{name} is left where it is: {why}")).await,
            }
            moves.push(Move { name, left });
        }
        Ok(Input::Pushed { image: pushed, moves, attached })
    }

    /// Moves a tag, or says why it stays.
    async fn move_tag(
        &self,
        record: &RepoRecord,
        job: &Job,
        (image, pushed): (Option<&str>, &PushedImage),
        tag: MovingTag,
        stop: &CancellationToken,
    ) -> Result<Option<String>, Failure> {
        let target = registry(record, job)?;
        let text = tag.text.clone();
        let wanted = Wanted::Tag(pushed.name.clone(), tag);
        let _turn = tokio::select! {
            turn = moving::turn(&self.forge, record.id) => turn,
            () = stop.cancelled() => return Err(failure(HookError::Stopped)),
        };
        let asked = wanted.clone();
        let look = self.ask(record, job, move |f, r, b| moving::why_not(f, r, b, &asked));
        if let Some(why) = look.await.map_err(of)? {
            return Ok(Some(why));
        }
        let hooks = self.rooms.engines.of(&job.build).map_err(failure)?;
        match hooks.move_tag(job, image, target, pushed, &text).await {
            // The commit's own image is there, and by that the manifests go on.
            Err(HookError::TagImmutable { .. }) => {
                return Ok(Some("the registry does not let tags change".into()));
            }
            done => done.map_err(failure)?,
        }
        let digest = pushed.digest.clone();
        let note = self.ask(record, job, move |f, r, b| moving::moved(f, r, b, &wanted, &digest));
        note.await.map_err(of)?;
        Ok(None)
    }

    /// One target's manifests get the digest, or stay as they are.
    pub(super) async fn bump(
        &self,
        record: RepoRecord,
        job: &Job,
        target: &str,
        stop: &CancellationToken,
    ) -> Result<Input, Failure> {
        job.log.stage(Stage::Bump).await;
        let wanted = Wanted::Deploy(target.to_owned());
        let name = wanted.name();
        self.need_signature(&record, job, target).await?;
        self.pass_scan(&record, job, &wanted, stop).await?;
        let _turn = moving::turn(&self.forge, record.id).await;
        let asked = wanted.clone();
        let look = self.ask(&record, job, move |f, r, b| moving::why_not(f, r, b, &asked));
        if let Some(why) = look.await.map_err(of)? {
            job.log.line(&format!("{name} is left where it is: {why}")).await;
            let moved = Move { name, left: Some(why) };
            return Ok(Input::Bumped { target: target.to_owned(), commit: None, event: None, moved });
        }
        let asked = wanted.clone();
        let written = move |forge: &Forge, record: &RepoRecord, build: &Build| {
            let Wanted::Deploy(target) = &asked else { return Ok(Bumped::default()) };
            let done = bump::bump(forge, record, build, target)?;
            if let Some(pushed) = &build.pushed {
                moving::moved(forge, record, build, &asked, &pushed.digest)?;
            }
            Ok(done)
        };
        let Bumped { commit, event, notes } = match self.ask(&record, job, written).await.map_err(of) {
            Ok(done) => done,
            Err(failure) => {
                job.log.line(&format!("{name}: {}", failure.problem)).await;
                return Err(failure);
            }
        };
        let manifests =
            job.build.bumps.iter().find(|b| b.target == target).map(|b| b.repo.as_str()).unwrap_or_default();
        let line = match &commit {
            Some(commit) => format!(
                "{name}: {manifests} {} pins the digest: {}/{manifests}/commit/{commit}",
                commit.short(),
                self.base_url
            ),
            None => format!("{name}: {manifests} has the digest already"),
        };
        job.log.line(&line).await;
        for note in notes.iter().take(NOTES_MAX) {
            job.log.line(&format!("note: {manifests}/{note}: left as it is")).await;
        }
        let moved = Move { name, left: None };
        Ok(Input::Bumped { target: target.to_owned(), commit, event, moved })
    }

    /// Manifests follow no image in which the registry's scan has found too much. The turn is not held meanwhile: a scan takes
    /// minutes.
    async fn pass_scan(
        &self,
        record: &RepoRecord,
        job: &Job,
        wanted: &Wanted,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let (Some(pushed), Some(target)) = (&job.build.pushed, job.logins.first()) else { return Ok(()) };
        if target.registry.ecr.scan_gate.is_none() {
            return Ok(());
        }
        let asked = wanted.clone();
        let look = self.ask(record, job, move |f, r, b| moving::why_not(f, r, b, &asked));
        if look.await.map_err(of)?.is_some() {
            return Ok(());
        }
        let passed = self.rooms.engines.any().check_scan(job, target, pushed, stop).await;
        if let Err(error) = &passed {
            job.log.line(&format!("{}: {}", wanted.name(), Problem::from(error.clone()))).await;
        }
        passed.map_err(failure)
    }

    /// Asks the floor about the build.
    async fn ask<T: Send + 'static>(
        &self,
        record: &RepoRecord,
        job: &Job,
        what: impl FnOnce(&Forge, &RepoRecord, &Build) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (forge, record, build) = (self.forge.clone(), record.clone(), job.build.clone());
        blocking(move || what(&forge, &record, &build)).await
    }
}

fn registry<'a>(record: &RepoRecord, job: &'a Job) -> Result<&'a RegistryTarget, Failure> {
    job.logins.first().ok_or_else(|| {
        let what = format!("{} is not bound to a registry any more.", record.name);
        let cure = format!("Bind it: slipway bind {} --registry NAME", record.name);
        failed(FailureClass::Policy, Problem::new(ProblemKind::Denied, what, cure))
    })
}
