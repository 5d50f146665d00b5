//! What a build may use of what is not its own: images of other repositories, frontends, addresses, caches, networks. The
//! facts come from the repository's binding and the server's settings; a pushed file can only ask for less.

use std::collections::HashMap;

use slipway_core::ceilings::{Beyond, Bytes, Ceilings, Cpus, Millis};
use slipway_core::spec::{Network, Spec, TestSpec};

use crate::context::dockerfile::dockerfile;
use crate::context::{ContextPlan, Files};
use crate::dockerfile::{ANYTHING, Dockerfile, Fetch};
use crate::error::HookError;
use crate::limits::DOCKERFILE_BYTES_MAX;

mod names;
pub(crate) use self::names::Names;

/// What a repository's builds may use. [`Default`] is what one may that is alone on its server.
#[derive(Clone, Debug)]
pub struct Permit {
    /// Whose caches are shared: repositories of the same group; `None`: nobody's.
    pub cache_group: Option<String>,
    /// Whether a Dockerfile may name any frontend.
    pub any_frontend: bool,
    /// Whether a Dockerfile may have the engine fetch addresses.
    pub remote_add: bool,
    /// Images of other repositories that builds may not use: `HOST[:PORT]/PATH`, tags aside.
    pub images_of_others: Vec<String>,
    /// The most that builds may have.
    pub builds: Ceilings,
    /// The most that tests may have.
    pub tests: Ceilings,
}

impl Default for Permit {
    fn default() -> Self {
        Self {
            cache_group: None,
            any_frontend: false,
            remote_add: false,
            images_of_others: Vec::new(),
            builds: Ceilings::of_builds(),
            tests: Ceilings::of_tests(),
        }
    }
}

impl Permit {
    /// Names that builds may not use.
    pub(crate) fn forbidden(&self) -> Names {
        Names::new(&self.images_of_others)
    }

    /// Reads the commit's Dockerfile as the engine will, and refuses what is not permitted; gives what it would have the engine
    /// fetch. Blocking.
    pub(crate) fn check(
        &self,
        files: &dyn Files,
        plan: &ContextPlan,
        args: &HashMap<String, String>,
    ) -> Result<Dockerfile, HookError> {
        let entry = dockerfile(files, plan)?;
        let text = files.blob(&entry.id, DOCKERFILE_BYTES_MAX)?;
        let found =
            Dockerfile::read(&String::from_utf8_lossy(&text), args).map_err(|_| HookError::NotAllowed {
                what: format!("{} joins too many of its lines to be looked through", plan.dockerfile),
                cure: "Write it with fewer and shorter instructions.".into(),
            })?;
        let at = |fetch: &Fetch| format!("{}:{}: {}", plan.dockerfile, fetch.line, fetch.by);
        if let Some(syntax) = found.syntax.as_ref().filter(|s| !self.any_frontend && !is_dockers_own(&s.what))
        {
            return Err(HookError::NotAllowed {
                what: format!("{} names the frontend {}, a program that would build in Docker's place", at(syntax), syntax.what),
                cure: "Take the line out or name docker/dockerfile:1; an owner can allow others: slipway bind REPO --registry \
                       NAME --any-frontend"
                    .into(),
            });
        }
        let network = self.builds.network.unwrap_or(Network::Bridge);
        if let Some(add) = found.addresses.first().filter(|_| !self.remote_add || network != Network::Bridge)
        {
            return Err(HookError::NotAllowed {
                what: format!("{} has {:?} fetched by the engine, from its own network", at(add), add.what),
                cure: "Fetch it in a RUN step, or commit the file; an owner can allow it: slipway bind REPO --registry NAME \
                       --remote-add"
                    .into(),
            });
        }
        let forbidden = self.forbidden();
        match found.images.iter().find(|image| forbidden.has(&image.what)) {
            None => Ok(found),
            Some(image) => Err(not_yours(&at(image), &image.what)),
        }
    }

    /// The test as it may be: what it asks for, but not above the ceilings. Told is what was lowered.
    pub(crate) fn lower(&self, test: &TestSpec) -> Result<(TestSpec, Vec<String>), HookError> {
        if let Some(Beyond { what, cure }) = self.tests.refuses(test) {
            return Err(HookError::NotAllowed { what, cure });
        }
        let (mut test, mut told) = (test.clone(), Vec::new());
        let mut say = |key: &str, asked: String, most: String| {
            told.push(format!(
                "note: test.{key} = {asked} is lowered to {most}, the most that an owner lets tests have"
            ));
        };
        if let Some(most) = self.tests.memory.filter(|most| most.0 < test.memory_bytes) {
            say("memory", Bytes(test.memory_bytes).to_string(), most.to_string());
            test.memory_bytes = most.0;
        }
        if let Some(most) = self.tests.cpus.filter(|most| most.count() < test.cpus) {
            say("cpus", test.cpus.to_string(), Cpus::to_string(&most));
            test.cpus = most.count();
        }
        if let Some(most) = self.tests.timeout.filter(|most| most.0 < test.timeout_ms) {
            say("timeout", Millis(test.timeout_ms).to_string(), most.to_string());
            test.timeout_ms = most.0;
        }
        Ok((test, told))
    }

    /// How long the image build may take, and what is to be told of it.
    pub(crate) fn build_ms(&self, spec: &Spec) -> (u64, Option<String>) {
        let asked = spec.build.timeout_ms;
        match self.builds.timeout.filter(|most| most.0 < asked) {
            None => (asked, None),
            Some(most) => (
                most.0,
                Some(format!(
                    "note: build.timeout = {} is lowered to {most}, the most that an owner lets builds have",
                    Millis(asked)
                )),
            ),
        }
    }
}

/// The refusal of another repository's image.
pub(crate) fn not_yours(at: &str, image: &str) -> HookError {
    let shown = image.replace(ANYTHING, "…");
    let what = if image.contains(ANYTHING) {
        format!("{at} names {shown:?}, which may be the image of another repository")
    } else {
        format!("{at} names {shown:?}, the image of another repository")
    };
    HookError::NotAllowed {
        what,
        cure: "Use another base, written out plainly; an owner can allow it: slipway bind REPO --registry NAME --may-pull \
               OTHER, or make the other repository public."
            .into(),
    }
}

/// Docker's own frontend, in a version that keeps the caches of repositories apart (1.2 and later).
fn is_dockers_own(image: &str) -> bool {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let Some(rest) = name.strip_prefix("docker/dockerfile") else { return false };
    let tag = rest.split('@').next().unwrap_or_default();
    let digest_only = tag.is_empty();
    let Some(tag) = tag.strip_prefix(':') else { return digest_only };
    let mut numbers = tag.trim_end_matches("-labs").split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) => minor >= 2,
        (Some(Ok(major)), None) => major >= 1,
        (Some(Ok(major)), Some(Ok(_))) => major > 1,
        _ => matches!(tag, "latest" | "labs"),
    }
}

#[cfg(test)]
mod tests;
