//! The name in the engine under which an image is pushed. It is the registry's, so others on this engine may have it
//! already, for this image or for another: it is lent for the push, and after it the engine's names are as before.

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models::ImageInspect;

use super::Hooks;
use crate::engine::image;
use crate::error::HookError;
use crate::limits::ENGINE_CALL;

/// A name of the image for as long as it is pushed. It is given back also where the push is dropped half-way.
pub(super) struct LentName {
    docker: Docker,
    name: String,
    tag: String,
    after: After,
}

/// What becomes of the name after the push.
#[derive(Clone, Debug, PartialEq, Eq)]
enum After {
    /// It stays: others have the image by it, or would lose their name for it.
    Stays,
    /// It goes back to the image that had it.
    Returns(String),
    /// It goes: nobody had it.
    Goes,
}

impl Hooks {
    /// Gives the image the name `name:tag` until [`LentName::give_back`].
    pub(super) async fn lend(&self, id: &str, name: &str, tag: &str) -> Result<LentName, HookError> {
        const DURING: &str = "naming the image";
        let (engine, docker) = (&self.engine, self.engine.docker()?);
        let gone = || HookError::ImageGone { image: id.into() };
        let pushed = engine.must(DURING, image::inspect(docker, id)).await?.ok_or_else(gone)?;
        let full = format!("{name}:{tag}");
        let holder = engine.must(DURING, image::inspect(docker, &full)).await?.and_then(|i| i.id);
        let after = after(&pushed, holder, name);
        // Before the name is given, so that it is taken back wherever this ends.
        let lent = LentName { docker: docker.clone(), name: name.to_owned(), tag: tag.to_owned(), after };
        if engine.must(DURING, image::tag(docker, id, name, tag)).await? { Ok(lent) } else { Err(gone()) }
    }
}

impl LentName {
    /// Makes the name what it was before the push.
    pub(super) async fn give_back(mut self) {
        give_back(&self.docker, &self.name, &self.tag, &self.after).await;
        self.after = After::Stays;
    }
}

impl Drop for LentName {
    fn drop(&mut self) {
        let after = std::mem::replace(&mut self.after, After::Stays);
        let (false, Ok(runtime)) = (after == After::Stays, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (docker, name, tag) =
            (self.docker.clone(), std::mem::take(&mut self.name), std::mem::take(&mut self.tag));
        runtime.spawn(async move { give_back(&docker, &name, &tag, &after).await });
    }
}

async fn give_back(docker: &Docker, name: &str, tag: &str, after: &After) {
    let full = format!("{name}:{tag}");
    let done = tokio::time::timeout(ENGINE_CALL, async {
        match after {
            After::Stays => Ok(()),
            After::Goes => image::untag(docker, &full).await,
            After::Returns(id) => match image::tag(docker, id, name, tag).await {
                Ok(false) => image::untag(docker, &full).await,
                done => done.map(|_| ()),
            },
        }
    });
    let why: Option<DockerError> = match done.await {
        Ok(Ok(())) => return,
        Ok(Err(e)) => Some(e),
        Err(_) => None,
    };
    let why = why.map_or_else(|| "no answer within 60 s".to_owned(), |e| e.to_string());
    tracing::warn!(image = %full, why, "a name stays in the engine as the push needed it");
}

/// `holder` is the image that has the name now.
fn after(pushed: &ImageInspect, holder: Option<String>, name: &str) -> After {
    match holder {
        Some(id) if pushed.id.as_ref() == Some(&id) => After::Stays,
        Some(id) => After::Returns(id),
        // With the last tag of a name the engine forgets its digests too, by which others may have the image.
        None if has(&pushed.repo_digests, name, '@') && !has(&pushed.repo_tags, name, ':') => After::Stays,
        None => After::Goes,
    }
}

/// True if one of the references is of that name. Engines leave out the host of Docker Hub.
fn has(references: &Option<Vec<String>>, name: &str, separator: char) -> bool {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    references.iter().flatten().any(|reference| {
        let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
        reference.strip_prefix(name).is_some_and(|rest| rest.starts_with(separator))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_only_where_nobody_had_it() {
        let image = |tags: &[&str], digests: &[&str]| ImageInspect {
            id: Some("sha256:ours".into()),
            repo_tags: Some(tags.iter().map(|&t| t.to_owned()).collect()),
            repo_digests: Some(digests.iter().map(|&d| d.to_owned()).collect()),
            ..ImageInspect::default()
        };
        let new = image(&["slipway/app:b1.1-x"], &[]);
        assert_eq!(after(&new, None, "r:1/app"), After::Goes);
        assert_eq!(after(&new, Some("sha256:ours".into()), "r:1/app"), After::Stays);
        assert_eq!(
            after(&new, Some("sha256:theirs".into()), "r:1/app"),
            After::Returns("sha256:theirs".into())
        );
        let pinned = image(&["slipway/app:b1.1-x"], &["r:1/app@sha256:d"]);
        assert_eq!(after(&pinned, None, "r:1/app"), After::Stays);
        assert_eq!(after(&pinned, None, "r:1/ap"), After::Goes);
        let tagged = image(&["r:1/app:other"], &["r:1/app@sha256:d"]);
        assert_eq!(after(&tagged, None, "r:1/app"), After::Goes, "the digest stays with the other tag");
        let hub = image(&[], &["team/app@sha256:d"]);
        assert_eq!(after(&hub, None, "docker.io/team/app"), After::Stays);
    }
}
