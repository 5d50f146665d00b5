//! Builds that need images of others: they wait for them, and take no place meanwhile.

use std::time::Duration;

use slipway_core::accept::RefStore as _;
use slipway_core::build::Build;
use slipway_core::run::{Failure, FailureClass};
use slipway_core::target::RepoRecord;
use slipway_core::{Problem, ProblemKind};
use slipway_forge::images;
use slipway_forge::needs::{self, Need};

use super::{EngineBuilds, failed, of};
use crate::supervisor::blocking;

/// How soon it is looked again whether what a build needs is there; the pause doubles.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// See [`LOOK_AGAIN`].
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(2);

impl EngineBuilds {
    /// Waits until no build that makes what this one needs is under way, whatever came of it. Whoever cancels does not wait.
    pub(super) async fn wait_for_needs(&self, build: &Build) {
        if build.needs.is_empty() {
            return;
        }
        let mut pause = LOOK_AGAIN;
        loop {
            let (forge, one) = (self.forge.clone(), build.clone());
            // Where the records cannot be read it goes on, and is told so.
            if !blocking(move || needs::awaits(&forge, &one)).await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// The images that it needs: each part's name, and the image with its digest.
    pub(super) async fn needed(&self, build: &Build) -> Result<Vec<(String, String)>, Failure> {
        let infra = |problem| failed(FailureClass::Infra, problem);
        let mut found = Vec::new();
        for (part, need) in self.needs(build).await.map_err(infra)? {
            match need {
                Need::There(image) => found.push((part, format!("{}@{}", image.name, image.digest))),
                Need::Awaited(number) => return Err(infra(awaited(&part, number))),
                Need::Failed(_) | Need::Absent => {
                    return Err(failed(FailureClass::User, missing(&part, &need)));
                }
            }
        }
        Ok(found)
    }

    /// Refuses to push one of several images where another repository is bound: a pushed file chooses its name.
    pub(super) async fn check_image(&self, build: &Build) -> Result<(), Failure> {
        let (rooms, build) = (self.rooms.clone(), build.clone());
        let taken = blocking(move || {
            rooms.store.read(|records| {
                let Some(binding) = records.bindings(build.repo)?.registry else { return Ok(None) };
                let image = images::path_of(&binding, build.part.as_deref());
                let Some(other) = images::taken_by(&records, &binding, &image)? else { return Ok(None) };
                Ok(Some((image, records.repo(other)?)))
            })
        });
        match taken.await.map_err(of)? {
            None => Ok(()),
            Some((image, other)) => Err(of(another_s(&image, other))),
        }
    }

    async fn needs(&self, build: &Build) -> Result<Vec<(String, Need)>, Problem> {
        if build.needs.is_empty() || build.promotes().is_some() {
            return Ok(Vec::new());
        }
        let (forge, rooms, build) = (self.forge.clone(), self.rooms.clone(), build.clone());
        blocking(move || {
            let default = rooms.repositories.get(build.repo)?.default_branch()?;
            needs::needs(&forge, &build, &default)
        })
        .await
    }
}

fn another_s(image: &str, other: Option<RepoRecord>) -> Problem {
    let whose = other.map_or("another repository".to_owned(), |record| record.name.to_string());
    Problem::new(
        ProblemKind::Denied,
        format!("The image {image} is that of {whose}."),
        "Call the [[image]] otherwise, or have an owner bind one of the two elsewhere.",
    )
}

fn awaited(part: &str, number: slipway_core::BuildNumber) -> Problem {
    let told = format!("The image {part}, which it needs, is being built again: build {number}.");
    Problem::new(ProblemKind::Busy, told, "It is tried again.")
}

fn missing(part: &str, need: &Need) -> Problem {
    match need {
        Need::Failed(number) => Problem::new(
            ProblemKind::Invalid,
            format!("It needs the image {part}, and build {number}, which was to make it, has not."),
            "Mend what failed there and push again, or retry both.",
        ),
        _ => Problem::new(
            ProblemKind::Invalid,
            format!("It needs the image {part}, and no build has made it yet."),
            "Build it first: slipway build start REPO --image NAME.",
        ),
    }
}
