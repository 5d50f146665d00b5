//! The names of what this installation makes in an engine, by which alone it is known again and removed.
//!
//! Labels do not serve: an image hands its own to every container and every image made from it, and anybody can write the
//! same. A name goes to nothing else, and no two things have the same one. These end with a seal that only the holder of
//! the installation's secret can write, so that nobody's own choice of a name is taken for ours.

use aws_lc_rs::hmac;
use slipway_core::{BuildNumber, RepoId, Secret};

use crate::engine::unlike_others;

/// Hexadecimal digits of a seal: 128 bits.
const SEAL_DIGITS: usize = 32;

/// What the names of containers begin with.
pub(crate) const CONTAINER: &str = "slipway-b";

/// What the names of networks begin with.
pub(crate) const NETWORK: &str = "slipway-n";

/// What names one build among all of an installation; a repository's name can change under it.
pub(crate) type BuildId = (RepoId, BuildNumber);

/// The installation's hand: gives names and knows them again.
#[derive(Clone, Debug)]
pub struct Marks {
    installation: String,
    key: hmac::Key,
}

impl Marks {
    /// `installation` is for people, the same for good here and different everywhere else: letters and digits. `secret` is
    /// as constant, and known to nobody else.
    pub fn new(installation: &str, secret: &Secret) -> Self {
        let installation = installation.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        Self { installation, key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()) }
    }

    /// The installation, for people.
    pub(crate) fn installation(&self) -> &str {
        &self.installation
    }

    /// A name for one container of a build. Never the same twice: the one before may be on its way out still.
    pub(crate) fn container(&self, build: BuildId) -> String {
        self.sealed(format!("{}{}", container_of(build), unlike_others()))
    }

    /// True for a name that [`Marks::container`] gave, to a container of `build` if one is named. Engines write a slash
    /// before it.
    pub(crate) fn is_container(&self, name: &str, build: Option<BuildId>) -> bool {
        let beginning = build.map_or_else(|| CONTAINER.to_owned(), container_of);
        self.opened(name.strip_prefix('/').unwrap_or(name)).is_some_and(|text| text.starts_with(&beginning))
    }

    /// The tag in the engine, below `slipway/`, that holds the image of a build; `purpose` tells several of one build apart.
    pub(crate) fn image(&self, name: &str, build: BuildId, purpose: &str) -> String {
        self.sealed(format!("slipway/{name}:{}{purpose}", image_of(build)))
    }

    /// True for a tag that [`Marks::image`] gave. Engines write `docker.io/` or `localhost/` before it, or nothing.
    pub(crate) fn is_image(&self, tag: &str) -> bool {
        self.image_text(tag).is_some()
    }

    /// True for the tag that [`Marks::image`] gave to that build without a purpose, whatever the repository's name was.
    pub(crate) fn is_image_of(&self, tag: &str, build: BuildId) -> bool {
        self.image_text(tag)
            .and_then(|text| text.split_once(':'))
            .is_some_and(|(_, tag)| tag == image_of(build))
    }

    /// A name for the network of one test. Never the same twice.
    pub(crate) fn network(&self, build: BuildId) -> String {
        self.sealed(format!("{NETWORK}{}.{}-{}", build.0, build.1, unlike_others()))
    }

    /// True for a name that [`Marks::network`] gave, to `build` if one is named.
    pub(crate) fn is_network(&self, name: &str, build: Option<BuildId>) -> bool {
        let beginning = build.map_or_else(|| NETWORK.to_owned(), |(repo, n)| format!("{NETWORK}{repo}.{n}-"));
        self.opened(name).is_some_and(|text| text.starts_with(&beginning))
    }

    /// Under which the cache mounts of a repository lie, or those of its group. Nobody can write it who is not told.
    pub(crate) fn caches(&self, repo: RepoId, group: Option<&str>) -> String {
        self.sealed(group.map_or_else(|| format!("slipway-r{repo}"), |group| format!("slipway-g-{group}")))
    }

    /// A host's name that is part of what an engine knows the steps of a build by which is given secrets: a step with a secret is known
    /// by the secret's name alone, and its outcome would go to everybody who writes the same.
    pub(crate) fn salt(&self, repo: RepoId, group: Option<&str>, secrets: &str) -> String {
        format!("slipway-s{}", self.seal(&format!("{}-{secrets}", self.caches(repo, group))))
    }

    /// Under which an engine keeps what it has of a repository's build contexts from that folder. Whoever could write it could
    /// have files of their own taken for the commit's.
    pub(crate) fn context(&self, repo: RepoId, folder: &str) -> String {
        self.sealed(format!("slipway-c{repo}-{folder}"))
    }

    fn image_text<'a>(&self, tag: &'a str) -> Option<&'a str> {
        let at = tag.find("slipway/").filter(|at| matches!(&tag[..*at], "" | "docker.io/" | "localhost/"))?;
        self.opened(&tag[at..])
    }

    fn sealed(&self, text: String) -> String {
        format!("{text}-{}", self.seal(&text))
    }

    /// The text before the seal, if the seal is ours and of this text.
    fn opened<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (text, seal) = name.rsplit_once('-')?;
        (seal == self.seal(text)).then_some(text)
    }

    fn seal(&self, text: &str) -> String {
        let whole = hmac::sign(&self.key, text.as_bytes());
        whole.as_ref().iter().take(SEAL_DIGITS / 2).map(|b| format!("{b:02x}")).collect()
    }
}

fn container_of((repo, number): BuildId) -> String {
    format!("{CONTAINER}{repo}.{number}-")
}

fn image_of((repo, number): BuildId) -> String {
    format!("b{repo}.{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BuildId = (RepoId(7), BuildNumber(1));
    const ELEVEN: BuildId = (RepoId(7), BuildNumber(11));

    fn marks(secret: &str) -> Marks {
        Marks::new("0a/b", &Secret::new(secret))
    }

    #[test]
    fn a_container_is_known_by_its_name_and_its_build() {
        let ours = marks("a");
        let name = ours.container(ONE);
        assert_ne!(name, ours.container(ONE), "no name twice");
        for name in [name.clone(), format!("/{name}")] {
            assert!(ours.is_container(&name, None) && ours.is_container(&name, Some(ONE)), "{name}");
            assert!(!ours.is_container(&name, Some(ELEVEN)) && !ours.is_image(&name), "{name}");
        }
        assert!(!ours.is_container(&ours.container(ELEVEN), Some(ONE)));
    }

    #[test]
    fn an_image_is_known_by_its_tag_and_its_build() {
        let ours = marks("a");
        let tag = ours.image("app", ONE, "");
        for tag in [tag.clone(), format!("docker.io/{tag}"), format!("localhost/{tag}")] {
            assert!(ours.is_image(&tag) && ours.is_image_of(&tag, ONE), "{tag}");
            assert!(!ours.is_image_of(&tag, ELEVEN), "{tag}");
        }
        assert!(ours.is_image_of(&ours.image("renamed", ONE, ""), ONE));
        let test = ours.image("app", ONE, "-test");
        assert!(ours.is_image(&test) && !ours.is_image_of(&test, ONE));
        assert!(tag.len() <= 128 && tag.starts_with("slipway/app:b7.1-"), "{tag}");
        assert!(!ours.is_image(&format!("registry:5000/{tag}")), "a registry's name is somebody's own");
    }

    #[test]
    fn nothing_that_others_can_write_is_ours() {
        let ours = marks("a");
        let (container, image) = (ours.container(ONE), ours.image("app", ONE, ""));
        for name in [
            String::new(),
            "-".into(),
            "slipway-b7.1-".into(),
            format!("{container}-1"),
            format!("x{container}"),
            format!("/other/{container}"),
            format!("k8s_{container}"),
            container.replace("b7.1", "b7.2"),
            container.rsplit_once('-').expect("a seal").0.to_owned(),
            marks("b").container(ONE),
            image.clone(),
        ] {
            assert!(!ours.is_container(&name, None), "{name}");
        }
        for tag in [
            "<none>:<none>".to_owned(),
            "slipway/app:latest".into(),
            "slipway/app:b7-0ab".into(),
            image.replace("app", "prod"),
            image.replace("b7.1", "b7.2"),
            marks("b").image("app", ONE, ""),
            container,
        ] {
            assert!(!ours.is_image(&tag), "{tag}");
        }
    }
}
