//! Names of images in the engine: looked up, given, taken away.

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models::ImageInspect;
use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use slipway_core::spec::Platform;

use super::{Engine, is_missing};
use crate::error::{HookError, one_line};

impl Engine {
    /// The id of what the engine has under that name, if it has anything.
    pub(crate) async fn image_id(&self, name: &str) -> Result<Option<String>, HookError> {
        let found = self.must("looking for a base image", inspect(self.docker()?, name)).await?;
        Ok(found.and_then(|image| image.id))
    }

    /// Engines may take a base image for another machine where they have that one alone, and say nothing.
    ///
    /// # Errors
    /// [`HookError::OtherPlatform`].
    pub(crate) async fn check_platform(&self, id: &str, wanted: &Platform) -> Result<(), HookError> {
        let found = self.must("looking at the image", inspect(self.docker()?, id)).await?;
        let found = found.ok_or_else(|| HookError::ImageGone { image: id.to_owned() })?;
        let (os, architecture) = (found.os.unwrap_or_default(), found.architecture.unwrap_or_default());
        if (os.as_str(), architecture.as_str()) == (wanted.os.as_str(), wanted.architecture.as_str()) {
            return Ok(());
        }
        Err(HookError::OtherPlatform { wanted: wanted.to_string(), made: format!("{os}/{architecture}") })
    }

    /// Takes a name of ours away. The image goes with its last one, unless somebody needs it; but not on Podman, whose only
    /// cache the images are: there it stays without a name, and the same commit built again is the same image.
    pub(crate) async fn untag(&self, name: &str) -> Result<(), HookError> {
        const DURING: &str = "removing an image";
        if !self.version().await?.podman {
            return self.must(DURING, untag(self.docker()?, name)).await;
        }
        let full = match name.starts_with("docker.io/") || name.starts_with("localhost/") {
            true => name.to_owned(),
            false => format!("docker.io/{name}"),
        };
        let (repo, tag) = full.rsplit_once(':').unwrap_or((&full, "latest"));
        let path = format!("/v4.0.0/libpod/images/{full}/untag?repo={repo}&tag={tag}");
        match self.post(DURING, &path).await? {
            (200..=299 | 404, _) => Ok(()),
            (status, words) => Err(self.lost(DURING, &format!("status {status}, {}", one_line(&words)))),
        }
    }
}

/// What has that name or id; `None` where nothing has.
pub(crate) async fn inspect(docker: &Docker, name: &str) -> Result<Option<ImageInspect>, DockerError> {
    match docker.inspect_image(name).await {
        Ok(found) => Ok(Some(found)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Gives the image the name `name:tag`, whatever had it before. False where the image is gone.
pub(crate) async fn tag(docker: &Docker, image: &str, name: &str, tag: &str) -> Result<bool, DockerError> {
    let options = TagImageOptionsBuilder::default().repo(name).tag(tag).build();
    match docker.tag_image(image, Some(options)).await {
        Ok(()) => Ok(true),
        Err(e) if is_missing(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Takes a name away, and the image with its last one. That it is gone already is fine, and that a container or an image of
/// somebody else's still needs it: then the engine keeps it. The untagged images below it stay, since they may be anybody's.
pub(crate) async fn untag(docker: &Docker, name: &str) -> Result<(), DockerError> {
    let options = RemoveImageOptionsBuilder::default().force(false).noprune(true).build();
    match docker.remove_image(name, Some(options), None).await {
        Ok(_) => Ok(()),
        Err(e) if is_missing(&e) => Ok(()),
        Err(DockerError::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The name with its tag: one without is the latest. (Engines pull all tags of a name that has none.)
pub(crate) fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::tagged;

    #[test]
    fn a_name_without_a_tag_is_the_latest() {
        assert_eq!(tagged("postgres"), "postgres:latest");
        assert_eq!(tagged("127.0.0.1:5000/db"), "127.0.0.1:5000/db:latest");
        assert_eq!(tagged("127.0.0.1:5000/db:1"), "127.0.0.1:5000/db:1");
        assert_eq!(tagged("db@sha256:00"), "db@sha256:00");
    }
}
