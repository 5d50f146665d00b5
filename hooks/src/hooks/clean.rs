//! Cleaning up in the engine: after one build, and after a crash. Nothing is touched but what has one of our names
//! (`crate::mark`): labels are inherited and copied, names are neither.

use std::collections::HashMap;

use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptions};
use slipway_core::{BuildNumber, RepoId};

use super::{Hooks, Job};
use crate::error::HookError;
use crate::mark::{BuildId, CONTAINER};

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
    /// Private tags, and the images that had no other and that nobody uses.
    pub images: usize,
}

impl Hooks {
    /// Removes what the build left in the engine: its containers, networks and private tags. The cache stays.
    ///
    /// # Errors
    /// Where the engine does not answer; the next [`Hooks::sweep`] does the rest.
    pub async fn finish(&self, job: &Job) -> Result<(), HookError> {
        job.log.flush().await;
        for id in self.containers(Some(job.id())).await? {
            self.engine.remove_container(&id).await?;
        }
        for name in self.networks(Some(job.id())).await? {
            self.engine.remove_network(&name).await?;
        }
        for purpose in ["", "-test"] {
            self.untag(&self.private_tag(job, purpose)).await?;
        }
        Ok(())
    }

    /// At start: removes every container and network of this installation (no test outlives its server) and the private tags of all builds but
    /// the unfinished ones.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn sweep(&self, unfinished: &[(RepoId, BuildNumber)]) -> Result<Swept, HookError> {
        let mut swept = Swept::default();
        for id in self.containers(None).await? {
            self.engine.remove_container(&id).await?;
            swept.containers += 1;
        }
        for name in self.networks(None).await? {
            self.engine.remove_network(&name).await?;
            swept.networks += 1;
        }
        swept.images = self.sweep_images(unfinished).await?;
        Ok(swept)
    }

    /// Takes the private tags away of all builds but these; how many.
    async fn sweep_images(&self, unfinished: &[BuildId]) -> Result<usize, HookError> {
        let docker = self.engine.docker()?;
        let images = self.engine.must("the sweep", docker.list_images(None::<ListImagesOptions>)).await?;
        let mut count = 0;
        for tag in images.iter().flat_map(|image| &image.repo_tags) {
            let kept = || unfinished.iter().any(|build| self.marks.is_image_of(tag, *build));
            if self.marks.is_image(tag) && !kept() {
                self.untag(tag).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// In the midst of life, after the engine was away: as [`Hooks::sweep`], but what those builds have there stays, which are
    /// all that this engine has.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn sweep_beside(&self, theirs: &[BuildId]) -> Result<Swept, HookError> {
        let mut swept = Swept::default();
        let (mut containers, mut networks) = (Vec::new(), Vec::new());
        for build in theirs {
            containers.extend(self.containers(Some(*build)).await?);
            networks.extend(self.networks(Some(*build)).await?);
        }
        for id in self.containers(None).await?.into_iter().filter(|id| !containers.contains(id)) {
            self.engine.remove_container(&id).await?;
            swept.containers += 1;
        }
        for name in self.networks(None).await?.into_iter().filter(|name| !networks.contains(name)) {
            self.engine.remove_network(&name).await?;
            swept.networks += 1;
        }
        swept.images = self.sweep_images(theirs).await?;
        Ok(swept)
    }

    /// The ids of our containers: all, or those of one build.
    async fn containers(&self, build: Option<BuildId>) -> Result<Vec<String>, HookError> {
        let filters = HashMap::from([("name", vec![CONTAINER])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let docker = self.engine.docker()?;
        let found = self.engine.must("the sweep", docker.list_containers(Some(options))).await?;
        let ours = found
            .into_iter()
            .filter(|c| c.names.iter().flatten().any(|name| self.marks.is_container(name, build)));
        Ok(ours.filter_map(|c| c.id).collect())
    }

    /// The names of our networks: all, or those of one build.
    async fn networks(&self, build: Option<BuildId>) -> Result<Vec<String>, HookError> {
        let found = self.engine.networks().await?;
        Ok(found.into_iter().filter(|name| self.marks.is_network(name, build)).collect())
    }

    /// Takes a name of ours away, and the image with its last one, unless somebody needs it.
    pub(super) async fn untag(&self, tag: &str) -> Result<(), HookError> {
        self.engine.untag(tag).await
    }
}
