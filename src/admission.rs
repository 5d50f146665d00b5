//! Which images a binding lets into its cluster: where it asks for that, those alone that builds of this server have made, as
//! their signatures in the registries prove.
//!
//! The gate before a push and the deploy after it both ask here, before anything is sent to the cluster.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use slipway_core::target::ClusterBinding;
use slipway_core::{Digest, Problem, ProblemKind, image};
use slipway_deployer::Manifest;
use slipway_forge::made::{self, Place};
use slipway_hooks::{HookError, Hooks, RegistryTarget};
use slipway_store::Store;

use crate::supervisor::blocking;

/// Images of one commit that are asked about.
const IMAGES_MAX: usize = 500;
/// How many are asked about at once.
const AT_ONCE: usize = 8;
/// Images that are known to be signed: that never ends.
const KNOWN_MAX: usize = 10_000;
/// Refusals that are told.
const TOLD_MAX: usize = 20;

/// Asks registries, and remembers what is signed.
pub(crate) struct Admission {
    store: Store,
    hooks: Arc<Hooks>,
    known: Mutex<VecDeque<String>>,
}

impl Admission {
    pub(crate) fn new(store: Store, hooks: Arc<Hooks>) -> Self {
        Self { store, hooks, known: Mutex::default() }
    }

    /// What the binding does not let in: a sentence each. Empty where it asks for nothing.
    ///
    /// # Errors
    /// Where a registry does not answer: then nobody knows.
    pub(crate) async fn refusals(
        &self,
        binding: &ClusterBinding,
        manifests: &[Manifest],
    ) -> Result<Vec<String>, Problem> {
        if !binding.require_signed {
            return Ok(Vec::new());
        }
        let wanted = wanted(binding, manifests);
        if wanted.len() > IMAGES_MAX {
            return Ok(vec![format!("More than {IMAGES_MAX} images would have to be signed.")]);
        }
        let asked: Vec<Result<Option<String>, Problem>> = stream::iter(wanted)
            .map(|(image, at)| async move {
                Ok(self.refusal(&image).await?.map(|why| format!("{at}: the image {image} {why}.")))
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let found: Vec<Option<String>> = stream::iter(asked).try_collect().await?;
        let mut told: Vec<String> = found.into_iter().flatten().collect();
        let more = told.len().saturating_sub(TOLD_MAX);
        told.truncate(TOLD_MAX);
        if more > 0 {
            told.push(format!("… and {more} more."));
        }
        Ok(told)
    }

    /// Why an image is not let in: a clause that follows it.
    async fn refusal(&self, named: &str) -> Result<Option<String>, Problem> {
        let (name, which) = image::split(named);
        if !named.contains('@') || Digest::parse(which).is_err() {
            return Ok(Some("is not named by digest".to_owned()));
        }
        let key = format!("{name}@{which}");
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return Ok(None);
        }
        let (store, wanted) = (self.store.clone(), image::whole_name(name));
        let place = blocking(move || store.read(|records| made::place(&records, &wanted))).await?;
        let Some(place) = place else {
            return Ok(Some("lies in no registry of this server".to_owned()));
        };
        match self.hooks.verify_image(&target(place), which).await {
            Ok(_) => {
                self.remember(key);
                Ok(None)
            }
            Err(HookError::NotSigned { why, .. }) => Ok(Some(why)),
            Err(HookError::NotInRegistry { .. }) => Ok(Some("is not in its registry".to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    fn remember(&self, image: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.pop_front();
        }
        known.push_back(image);
    }
}

/// The images that must be signed, each with the first place that names it.
fn wanted(binding: &ClusterBinding, manifests: &[Manifest]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for manifest in manifests {
        for named in manifest.images() {
            let name = image::whole_name(image::split(named).0);
            let let_in = binding.allow_unsigned.iter().any(|beginning| image::is_below(&name, beginning));
            if !let_in {
                all.entry(named.to_owned()).or_insert_with(|| manifest.source());
            }
        }
    }
    all
}

/// Where the hooks room finds an image.
pub(crate) fn target(place: Place) -> RegistryTarget {
    let Place { registry, password, path } = place;
    RegistryTarget { registry, password, image: path }
}

/// What a deploy is told of images that are not let in.
pub(crate) fn refused(binding: &ClusterBinding, told: &[String]) -> Problem {
    let what = format!(
        "Cluster {} takes images alone that builds here have signed. {}",
        binding.cluster,
        told.join(" ")
    );
    let cure = "Name them by the digests that builds here have pushed; an owner can let others in: slipway bind REPO --cluster NAME \
                --require-signed --allow-unsigned IMAGE";
    Problem::new(ProblemKind::Denied, what, cure)
}
