//! Who makes the server build, deploy and tell: a developer who pushes an application, and an operator who pushes manifests
//! beside the commits that builds make there.

use std::path::PathBuf;
use std::time::Duration;

use super::activity::Activity;
use super::harness::text;
use super::people::World;
use super::record::{Choice, Repo};

/// What the developer pushes to, and what the operator does.
pub(crate) const APP: &str = "app";
pub(crate) const MANIFESTS: &str = "manifests";

const SPEC: &str = "[test]\ntarget = \"test\"\n\n[deploy.prod]\nrepo = \"manifests\"\npath = \"job.yaml\"\n";
const DOCKERFILE: &str =
    "FROM scratch\nCOPY page /page\nFROM scratch AS test\nCOPY page /tested\nFROM scratch\nCOPY page /page\n";

/// Somebody with a work tree whose branch is theirs alone.
pub(crate) struct Developer<'a> {
    world: &'a World,
    repo: &'a Repo,
    tree: PathBuf,
    choice: Choice,
    made: usize,
    /// Where the branch is, unless a push was cut.
    at: Option<String>,
}

impl<'a> Developer<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let repo = world.repos.iter().find(|repo| repo.name == APP).expect("it is one of them");
        let files = [("Dockerfile", DOCKERFILE), ("slipway.toml", SPEC), ("page", "0\n")];
        let tree = world.ann.work_tree("app-tree", &files);
        let choice = Choice::new(world.seed * 1000 + 600);
        let at = Some(world.ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned());
        Self { world, repo, tree, choice, made: 0, at }
    }

    pub(crate) fn work(&mut self) {
        while self.world.goes_on() {
            self.push();
            std::thread::sleep(Duration::from_millis(200 + self.choice.below(1500) as u64));
        }
    }

    /// Commits and pushes; the commit if it was taken.
    pub(crate) fn push(&mut self) -> Option<String> {
        let (world, url) = (self.world, self.choice.one_of(&self.repo.urls(&self.world.ann)).clone());
        let begun = world.epoch();
        let at = match &self.at {
            Some(at) => at.clone(),
            None => {
                let listed = world.ann.try_git(&self.tree, &["ls-remote", &url, "refs/heads/main"]);
                if !listed.status.success() {
                    world.failed(begun, "ls-remote of the application", &listed);
                    return None;
                }
                let at = text(&listed.stdout).split('\t').next().unwrap_or_default().to_owned();
                // The first push of all may have been cut.
                if at.is_empty() { "HEAD".to_owned() } else { at }
            }
        };
        world.ann.git(&self.tree, &["reset", "-q", "--hard", &at]);
        self.made += 1;
        let page = format!("page {}\n", self.made);
        let new = world.ann.commit(&self.tree, &[("page", &page)], &format!("page {}", self.made));
        let (begun, number) = (world.epoch(), self.repo.branches.begin("main", Some(&new)));
        let doing = world.tally.doing(Activity::Push);
        let out = world.ann.try_git(&self.tree, &["push", "-q", &url, "main"]);
        drop(doing);
        self.at = out.status.success().then(|| new.clone());
        if !out.status.success() {
            world.failed(begun, "push of the application", &out);
            return None;
        }
        self.repo.branches.acknowledge("main", number);
        Some(new)
    }
}

/// The manifests with so much in them.
pub(crate) fn manifests(image: &str) -> [(&'static str, String); 2] {
    let job = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: job\nspec:\n  schedule: '0 0 * * *'\n  jobTemplate:\n    spec:\n      \
         template:\n        spec:\n          restartPolicy: Never\n          automountServiceAccountToken: false\n          containers:\n            \
         - name: job\n              image: {image}:latest\n"
    );
    [("job.yaml", job), ("count.yaml", count(0))]
}

fn count(n: usize) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: count\ndata:\n  n: \"{n}\"\n")
}

/// Pushes manifests until it is enough.
pub(crate) fn operate(world: &World, tree: &std::path::Path) {
    let mut choice = Choice::new(world.seed * 1000 + 601);
    let mut made = 0;
    while world.goes_on() {
        std::thread::sleep(Duration::from_millis(500 + choice.below(2500) as u64));
        made += 1;
        let url = choice.one_of(&[world.ann.ssh_url(MANIFESTS), world.ann.http_url(MANIFESTS)]).clone();
        let begun = world.epoch();
        let out = world.ann.try_git(tree, &["fetch", "-q", &url, "main"]);
        if !out.status.success() {
            world.failed(begun, "fetch of the manifests", &out);
            continue;
        }
        world.ann.git(tree, &["reset", "-q", "--hard", "FETCH_HEAD"]);
        let new = world.ann.commit(tree, &[("count.yaml", &count(made))], &format!("count {made}"));
        let doing = world.tally.doing(Activity::Push);
        let out = world.ann.try_git(tree, &["push", "-q", &url, "main"]);
        drop(doing);
        if out.status.success() {
            world.operated.lock().expect("lock").push(new);
            continue;
        }
        let said = text(&out.stderr);
        // A build's commit came first.
        if !["fetch first", "has moved", "non-fast-forward"].iter().any(|words| said.contains(words)) {
            world.failed(begun, "push of manifests", &out);
        }
    }
}
