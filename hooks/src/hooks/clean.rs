//! Cleaning up in the engine: after one build, and after a crash. By label only: nothing else is ever touched.

use std::collections::{HashMap, HashSet};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use slipway_core::{BuildNumber, RepoName};

use super::{Hooks, Job};
use crate::engine::{LABEL_BUILD, LABEL_MANAGED, LABEL_SERVER, is_missing};
use crate::error::HookError;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Containers.
    pub containers: usize,
    /// Private tags, and the images that had no other.
    pub images: usize,
}

impl Hooks {
    /// Removes what the build left in the engine: its containers and its private tags. The cache stays.
    ///
    /// # Errors
    /// Where the engine does not answer; the next [`Hooks::sweep`] does the rest.
    pub async fn finish(&self, job: &Job) -> Result<(), HookError> {
        job.log.flush().await;
        for id in self.containers(vec![format!("{LABEL_BUILD}={}", job.label())]).await? {
            self.engine.remove_container(&id).await?;
        }
        for ending in ["", "-test"] {
            self.untag(&self.private_tag(&job.repo, job.build.number, ending)).await?;
        }
        Ok(())
    }

    /// At start: removes every container of this installation (no test outlives its server) and the private tags of all builds but
    /// the unfinished ones.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn sweep(&self, unfinished: &[(RepoName, BuildNumber)]) -> Result<Swept, HookError> {
        let mut swept = Swept::default();
        for id in self.containers(Vec::new()).await? {
            self.engine.remove_container(&id).await?;
            swept.containers += 1;
        }
        let kept: HashSet<String> =
            unfinished.iter().map(|(repo, n)| self.private_tag(repo, *n, "")).collect();
        let options =
            ListImagesOptionsBuilder::default().filters(&HashMap::from([("label", self.ours())])).build();
        let docker = self.engine.docker()?;
        for image in self.engine.must("the sweep", docker.list_images(Some(options))).await? {
            for tag in image.repo_tags.iter().filter(|t| t.starts_with("slipway/") && !kept.contains(*t)) {
                self.untag(tag).await?;
                swept.images += 1;
            }
            // An image that lost its name to a later attempt of the same build.
            if image.repo_tags.iter().all(|t| t == "<none>:<none>")
                && image.repo_digests.iter().all(|d| d.starts_with("<none>"))
            {
                self.untag(&image.id).await?;
                swept.images += 1;
            }
        }
        Ok(swept)
    }

    /// The labels that say that something is this installation's.
    fn ours(&self) -> Vec<String> {
        vec![format!("{LABEL_MANAGED}=1"), format!("{LABEL_SERVER}={}", self.server)]
    }

    async fn containers(&self, labels: Vec<String>) -> Result<Vec<String>, HookError> {
        let filters = HashMap::from([("label", [self.ours(), labels].concat())]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let docker = self.engine.docker()?;
        let found = self.engine.must("the sweep", docker.list_containers(Some(options))).await?;
        Ok(found.into_iter().filter_map(|c| c.id).collect())
    }

    /// Takes a tag away, and the image with its last one. That it is gone already, or that a container of someone
    /// else's still uses it, is fine.
    pub(super) async fn untag(&self, tag: &str) -> Result<(), HookError> {
        let options = RemoveImageOptionsBuilder::default().build();
        let docker = self.engine.docker()?;
        match self.engine.call("removing an image", docker.remove_image(tag, Some(options), None)).await? {
            Ok(_) => Ok(()),
            Err(e) if is_missing(&e) => Ok(()),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            Err(e) => Err(self.engine.failure("removing an image", e)),
        }
    }
}
