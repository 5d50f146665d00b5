//! The scene of it all: a server on a disk, the parts around it, and what has been seen of its records.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::activity::Tally;
use super::clerks::{self, CLERKS};
use super::harness::Slipway;
use super::owed::{self, Owed};
use super::parts::Parts;
use super::parts::cluster::Cluster;
use super::people::{Counts, Pusher, World, branches};
use super::power::Disk;
use super::record::{Choice, Events, Ledger, Repo, SHARED};
use super::team::{self, APP, MANIFESTS};

/// Those that pushers push to come first.
const REPOS: [(&str, &str); 4] = [("one", "sha1"), ("two", "sha256"), ("three", "sha1"), (APP, "sha1")];
pub(crate) const PUSHED: usize = 3;

pub(crate) struct Scene {
    pub(crate) server: Slipway,
    pub(crate) world: Arc<World>,
    pub(crate) parts: Parts,
    /// Of each of the world's repositories.
    pub(crate) events: Vec<Events>,
    pub(crate) owed: Owed,
    /// The operator's work tree.
    pub(crate) manifests: PathBuf,
    disk: Option<Disk>,
    pub(crate) folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(cut_power: bool, seed: u64) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp");
        let data: PathBuf = folder.path().join("data");
        let disk = cut_power.then(|| Disk::mount(&data));
        let tally = Arc::new(Tally::default());
        let parts = Parts::open(folder.path(), &tally);
        let server = server(&data, &parts);
        let ann = server.person("ann", true);
        let world = Arc::new(World {
            repos: REPOS.iter().map(|(name, format)| Repo::new(name, format)).collect(),
            records: Ledger::default(),
            operated: Mutex::default(),
            backups: Mutex::default(),
            data: server.data.clone(),
            ann,
            seed,
            stop: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            counts: Counts::default(),
            tally,
            wrong: Mutex::default(),
        });
        let events = REPOS.iter().map(|_| Events::default()).collect();
        let manifests = PathBuf::new();
        let mut scene = Self { server, world, parts, events, owed: Owed::default(), manifests, disk, folder };
        scene.fill();
        scene
    }

    fn fill(&mut self) {
        let (world, server, parts) = (self.world.clone(), &self.server, &self.parts);
        let registry = parts.registry_at.as_str();
        server.cli(&["registry", "add", "lab", "--url", registry, "--insecure"]);
        let kubeconfig = self.folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, Cluster::kubeconfig(&parts.cluster_at)).expect("written");
        server.cli(&["cluster", "add", "lab", "--kubeconfig", kubeconfig.to_str().expect("utf-8")]);
        for repo in &world.repos {
            server.cli(&["repo", "create", &repo.name, "--object-format", repo.format]);
        }
        server.cli(&["repo", "create", MANIFESTS]);
        server.cli(&["bind", APP, "--registry", "lab", "--image", APP]);
        server.cli(&["bind", MANIFESTS, "--cluster", "lab", "--namespace", "team"]);
        for repo in owed::TOLD {
            let url = format!("http://{}/{repo}", parts.listener_at);
            let how = ["--kind", "plain", "--events", "push,build,deploy"];
            server.cli(&[&["webhook", "add", repo, "--url", &url], &how[..]].concat());
        }
        for repo in &world.repos[..PUSHED] {
            let mut first = Pusher::new(&world, repo, 9);
            first.first("main");
            first.first(SHARED);
        }
        for clerk in 0..CLERKS {
            server.cli(&["user", "add", &clerks::ward(clerk)]);
            let [name, _] = clerks::renamed(clerk);
            server.cli(&["repo", "create", &name]);
            let number = world.records.begin(&format!("name/{clerk}"), Some(&name));
            world.records.acknowledge(&format!("name/{clerk}"), number);
        }
        let files = team::manifests(&format!("{registry}/{APP}"));
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        self.manifests = world.ann.work_tree("manifests-tree", &files);
        world.ann.git(&self.manifests, &["push", "-q", &world.ann.http_url(MANIFESTS), "main"]);
    }

    /// Kills the server, and cuts the power where that can be done.
    pub(crate) fn kill(&mut self, choice: &mut Choice) {
        if self.world.epoch.load(Ordering::SeqCst).is_multiple_of(2) {
            self.world.epoch.fetch_add(1, Ordering::SeqCst);
        }
        self.world.tally.kill();
        self.server.crash();
        std::thread::sleep(Duration::from_millis(choice.below(100) as u64));
        if let Some(disk) = &mut self.disk {
            disk.cut(&mut |end| choice.below(end));
        }
        self.parts.next_life();
    }

    /// Starts it again, and does not wait until it is up.
    pub(crate) fn begin_life(&mut self) {
        self.server.begin_restart();
    }

    /// Starts it again.
    pub(crate) fn live(&mut self) {
        self.server.restart();
        self.world.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes in what the server has recorded, before old records go: events that are not settled, and how much of what is owed
    /// is not done.
    pub(crate) fn look(&mut self, limit: usize) -> (Vec<u64>, usize) {
        let mut unsettled = Vec::new();
        let mut take = |name: &str, events: &mut Events| {
            let path = format!("/-/api/v1/repos/{name}/events?limit={limit}");
            let (status, body) = self.world.ann.get(&path);
            assert_eq!(status, 200, "{body}");
            unsettled.extend(events.take(&serde_json::from_str(&body).expect("json")));
        };
        for (repo, events) in self.world.repos.iter().zip(&mut self.events) {
            take(&repo.name, events);
        }
        take(MANIFESTS, &mut self.owed.manifests);
        let open = self.owed.look(&self.world, &self.parts, limit);
        (unsettled, open)
    }

    /// What is wrong with what was owed. `last` is the last commit of the application, and nothing is open.
    pub(crate) fn judge_owed(&self, last: &str) -> Vec<String> {
        let mut wrong = self.owed.judge(&self.world, &self.parts, (&self.events[PUSHED], &self.events[0]));
        let folder = self.world.data.join(format!("repos/{MANIFESTS}.git"));
        let wanted = owed::contents(&self.world, &folder, "main");
        let there = self.parts.cluster.content();
        if wanted != there {
            wrong.push(format!("the cluster has {there:?} instead of {wanted:?}"));
        }
        if !wanted.iter().any(|content| content.contains(last)) {
            wrong.push(format!("the manifests do not name the image of {last}: {wanted:?}"));
        }
        wrong
    }

    /// The repository of manifests is whole, has every commit that was acknowledged, and one of each build.
    pub(crate) fn check_manifests(&self) {
        let (ann, folder) = (&self.world.ann, self.world.data.join(format!("repos/{MANIFESTS}.git")));
        super::fsck(ann, &folder);
        let (ends, _) = self.owed.manifests.follow(MANIFESTS);
        assert_eq!(ends, branches(ann, &folder), "the events end where the branches are");
        for commit in self.world.operated.lock().expect("lock").iter() {
            ann.git(&folder, &["merge-base", "--is-ancestor", commit, "main"]);
        }
        let format = "--format=%(trailers:key=Slipway-Build,valueonly)";
        let log = ann.git(&folder, &["log", format, "main"]);
        let mut builds: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
        builds.sort_unstable();
        let all = builds.len();
        builds.dedup();
        assert!(all == builds.len() && all > 0, "{all} commits of {} builds", builds.len());
    }
}

/// A server that maintains soon after pushes, and reaches the parts.
fn server(data: &Path, parts: &Parts) -> Slipway {
    std::fs::create_dir_all(data).expect("folder");
    let config = format!(
        "docker_host = \"{}\"\n[maintenance]\ndelay_s = 1\n[webhooks]\nallowed_networks = [\"127.0.0.0/8\"]\n",
        parts.docker_host
    );
    std::fs::write(data.join("config.toml"), config).expect("config");
    // What the operator wrote is not the server's to keep.
    for path in [&data.join("config.toml"), data] {
        std::fs::File::open(path).and_then(|file| file.sync_all()).expect("kept");
    }
    Slipway::start_in(data, &[])
}
