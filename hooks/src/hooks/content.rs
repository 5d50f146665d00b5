//! What an image is made of, as a key; and the image of an earlier build under further tags, without the engine.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use slipway_core::build::{PushedImage, Stage};
use slipway_core::spec::{Pull, Spec};

use super::{Hooks, Job, blocking, hex};
use crate::context::dockerfile::dockerfile;
use crate::context::{ContextPlan, Files, read_ignore};
use crate::error::HookError;
use crate::registry::RegistryTarget;
use crate::variables;

/// Changes with whatever else changes what an image is made of.
const VERSION: &str = "slipway content 1";

/// How long a registry may take to say which base image it has.
const BASE_ASKED: Duration = Duration::from_secs(3);

impl Hooks {
    /// The key of all that the commit and the server put into the image; `None` where something else goes in that nobody can name
    /// (addresses that the engine fetches), or where slipway.toml does not want it.
    pub(super) async fn content_key(&self, job: &Job, spec: &Spec) -> Result<Option<String>, HookError> {
        if !spec.build.reuse {
            return Ok(None);
        }
        let plan = ContextPlan::new(&spec.build.context, &spec.build.dockerfile);
        let args = variables::arguments(job, &spec.build);
        let params = variables::params(job, &spec.build);
        let (job, spec) = (job.clone(), spec.clone());
        blocking(move || {
            let files = job.files();
            // What is not permitted is told by the build itself.
            let Ok(read) = job.permit.check(files.as_ref(), &plan, &args) else { return Ok(None) };
            if !read.addresses.is_empty() {
                return Ok(None);
            }
            let mut args: BTreeMap<String, String> = args.into_iter().collect();
            args.retain(|name, _| spec.build.args.contains_key(name) || read.declares(name));
            let mut sum = Sum::new();
            sum.add([VERSION, &spec.build.target]);
            sum.add(args.iter().flat_map(|(name, value)| [name, value]));
            sum.add([format!("{:?}", job.permit.builds.network)]);
            sum.add(
                job.secrets.given.iter().map(|one| format!("{} {:?} {}", one.name, one.uses, one.changed)),
            );
            sum.add([blob(files.as_ref(), "slipway.toml")?]);
            // Those that the Dockerfile does not ask for, too: the test may. Without any the sum is what it was.
            if !params.is_empty() {
                sum.add(params.iter().flat_map(|(name, value)| [name, value]));
            }
            sum.add([dockerfile(files.as_ref(), &plan)?.id.to_string()]);
            add_files(&mut sum, files.as_ref(), &plan)?;
            Ok(Some(sum.end()))
        })
        .await
    }

    /// True if each base image is still what it was.
    pub async fn has_same_bases(
        &self,
        job: &Job,
        bases: &BTreeMap<String, String>,
    ) -> Result<bool, HookError> {
        let pull = job.pull(&self.spec(job).await?);
        for (image, was) in bases {
            if self.base_now(job, image, pull).await?.as_ref() != Some(was) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Which image a name is now: by its registry where it is asked and answers, else by the engine.
    async fn base_now(
        &self,
        job: &Job,
        image: &str,
        pull: Option<Pull>,
    ) -> Result<Option<String>, HookError> {
        if let Some((_, pinned)) = image.split_once('@') {
            return Ok(Some(pinned.to_owned()));
        }
        let name = [image.to_owned()];
        if pull != Some(Pull::Missing) && !self.engine.were_not_pulled(&name) {
            match tokio::time::timeout(BASE_ASKED, self.registries.digest(image, &job.logins)).await {
                Ok(Ok(Some(digest))) => return Ok(Some(digest)),
                Ok(_) | Err(_) => self.engine.remember_not_pulled(&name),
            }
        }
        self.engine.image_id(image).await
    }

    /// The base images that a build has told of, each with what it was. `None` where one of them cannot be named.
    pub(super) async fn bases(
        &self,
        told: HashMap<String, Option<String>>,
    ) -> Result<Option<BTreeMap<String, String>>, HookError> {
        let mut bases = BTreeMap::new();
        for (image, digest) in told {
            let was = match digest {
                Some(digest) => Some(digest),
                None => self.engine.image_id(&image).await?,
            };
            let Some(was) = was else { return Ok(None) };
            bases.insert(image, was);
        }
        Ok(Some(bases))
    }

    /// Gives an image that the registry has these tags, without the engine.
    ///
    /// # Errors
    /// [`HookError::NotInRegistry`] where it has not; what the registry says of a tag.
    pub async fn retag_image(
        &self,
        job: &Job,
        target: &RegistryTarget,
        image: &PushedImage,
        tags: &[String],
    ) -> Result<PushedImage, HookError> {
        job.log.stage(Stage::Push).await;
        let door = self.registries.open(target).await?;
        let there = self.registries.manifest(&door, image.digest.as_str()).await?;
        let gone = || HookError::NotInRegistry { image: format!("{}@{}", image.name, image.digest) };
        let manifest = there.ok_or_else(gone)?;
        for tag in tags {
            let has = self.registries.manifest(&door, tag).await?;
            if has.is_none_or(|has| has.digest != manifest.digest) {
                self.registries.tag(&door, tag, &manifest).await?;
            }
            job.log.line(&format!("pushed {}:{tag} {}", image.name, manifest.digest)).await;
        }
        Ok(PushedImage { tags: tags.to_vec(), ..image.clone() })
    }
}

/// A sum over texts whose ends cannot be moved.
struct Sum(Sha256);

impl Sum {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn add(&mut self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let mut count = 0_u64;
        for text in texts {
            let text = text.as_ref();
            self.0.update((text.len() as u64).to_be_bytes());
            self.0.update(text);
            count += 1;
        }
        self.0.update(u64::MAX.to_be_bytes());
        self.0.update(count.to_be_bytes());
    }

    fn end(self) -> String {
        hex(&self.0.finalize())
    }
}

fn blob(files: &dyn Files, path: &str) -> Result<String, HookError> {
    Ok(files.entry(path)?.map(|entry| entry.id.to_string()).unwrap_or_default())
}

/// Every file that the context has, by path, mode and id.
fn add_files(sum: &mut Sum, files: &dyn Files, plan: &ContextPlan) -> Result<(), HookError> {
    let ignore = read_ignore(files, plan)?;
    files.walk(&plan.folder, &mut |entry| {
        if plan.inside(&entry.name).is_some_and(|name| !ignore.matches(name)) {
            sum.add([
                entry.name.as_bytes(),
                format!("{:?}", entry.mode).as_bytes(),
                entry.id.to_string().as_bytes(),
            ]);
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::Sum;

    fn sum(all: &[&[&str]]) -> String {
        let mut sum = Sum::new();
        all.iter().for_each(|texts| sum.add(texts.iter()));
        sum.end()
    }

    #[test]
    fn what_stands_where_is_part_of_the_sum() {
        let one = sum(&[&["a", "bc"], &["d"]]);
        for other in [
            &[&["ab", "c"][..], &["d"]][..],
            &[&["a", "bc", "d"]],
            &[&["a"], &["bc", "d"]],
            &[&["a", "bc"], &["d"], &[]],
        ] {
            assert_ne!(one, sum(other), "{other:?}");
        }
        assert_eq!(one, sum(&[&["a", "bc"], &["d"]]));
    }
}
