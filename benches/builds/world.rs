//! What the parts share: a server with repositories that build, work trees, figures.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::harness::{Person, Slipway, lab, text};

/// A server, its owner, and the registry that its repositories are bound to.
pub(crate) struct World {
    pub(crate) server: Slipway,
    pub(crate) ann: Person,
    pub(crate) registry: String,
    /// Goes first in the paths of images, so that runs do not meet.
    prefix: String,
    _folder: tempfile::TempDir,
}

impl World {
    /// Starts one with those lines of config.toml.
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-builds-").tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        std::fs::write(data.join("config.toml"), config).expect("written");
        let server = Slipway::start_in(&data, &[]);
        let registry = lab().registry;
        server.cli(&["registry", "add", "local", "--url", &registry, "--insecure"]);
        let ann = server.person("ann", true);
        let prefix = format!("bench-builds-{}", std::process::id());
        Self { server, ann, registry, prefix, _folder: folder }
    }

    /// A bound repository and a work tree of it that has pushed nothing.
    pub(crate) fn repo(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        self.server.cli(&["repo", "create", name]);
        let image = format!("{}/{name}", self.prefix);
        self.server.cli(&["bind", name, "--registry", "local", "--image", &image]);
        let tree = self.ann.work_tree(name, files);
        self.ann.git(&tree, &["remote", "add", "origin", &self.ann.ssh_url(name)]);
        tree
    }

    /// The name of an image that nobody is bound to.
    pub(crate) fn by_hand(&self, name: &str) -> String {
        format!("{}/{}/{name}-hand", self.registry, self.prefix)
    }

    /// Pushes main and waits for the end of all that follows.
    pub(crate) fn push_and_wait(&self, tree: &Path) {
        let done = self.ann.try_git(tree, &["push", "-q", "-o", "wait", "origin", "main"]);
        let said = text(&done.stderr);
        assert!(said.contains("verdict: all done"), "{said}");
    }

    /// Builds of a repository, newest first.
    pub(crate) fn builds(&self, repo: &str) -> Vec<serde_json::Value> {
        self.server.json(&["build", "list", repo]).as_array().cloned().expect("a list")
    }
}

/// The value at that share of them, by the nearest rank.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// How long it takes, in ms.
pub(crate) fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e3
}

/// Files of an application of `count` small ones.
pub(crate) fn small_files(tree: &Path, count: usize) {
    for n in 0..count {
        let file = tree.join(format!("src/{}/{n}.txt", n % 50));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, format!("file {n}\n").repeat(60)).expect("written");
    }
}
