//! A repository with one commit, made by stock git, and a job to build it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slipway_core::build::{Build, BuildState};
use slipway_core::target::{Registry, RegistryKind};
use slipway_core::{BuildNumber, EventId, Oid, RefName, RegistryName, RepoId, RepoName, Secret, UnixMillis};
use slipway_hooks::{BuildLogs, Engine, Hooks, Job, Marks, RegistryTarget};
use slipway_repository::Repositories;

use crate::lab;

/// Everything one test needs; the server's name is its own, so that tests do not sweep each other.
pub(crate) struct World {
    pub(crate) hooks: Hooks,
    pub(crate) job: Job,
    pub(crate) logs: Arc<BuildLogs>,
    pub(crate) server: String,
    _folder: tempfile::TempDir,
}

/// The repository that all of this is about.
const REPO: RepoId = RepoId(1);

const AUTHOR: [&str; 4] = ["-c", "user.name=T", "-c", "user.email=t@localhost"];

static COUNT: AtomicUsize = AtomicUsize::new(0);

impl World {
    /// A commit of those files (`path`, text); a path that starts with `+` is executable, `a -> b` is a link.
    pub(crate) async fn new(files: &[(&str, &str)]) -> Self {
        Self::with(files, |marks| {
            Hooks::new(Engine::connect(Some(&lab::engine())).expect("an address"), marks)
        })
        .await
    }

    pub(crate) async fn with(files: &[(&str, &str)], hooks: impl FnOnce(Marks) -> Hooks) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let server = format!("hkt{}n{count}", std::process::id());
        let folder = tempfile::tempdir().expect("folder");
        let repo = RepoName::parse(&format!("Hkt-{}-{count}", std::process::id())).expect("name");
        let commit = commit(folder.path(), files);
        let repositories = Repositories::open(&folder.path().join("repos")).expect("folder opens");
        let snapshot = repositories.get(REPO).expect("repository opens").snapshot().expect("snapshot");
        let logs = Arc::new(BuildLogs::new(folder.path().join("builds")));
        let build = build(commit);
        let log = logs.writer(REPO, build.number, &[Secret::new("top-secret-word")]).await.expect("log");
        let permit = Arc::default();
        let job = Job {
            repo,
            build,
            snapshot,
            log,
            logins: Vec::new(),
            permit,
            secrets: Arc::default(),
            url: String::new(),
            needed: Vec::new(),
        };
        Self { hooks: hooks(marks(&server)), job, logs, server, _folder: folder }
    }

    /// Another commit, with those files changed or added; the job is about it from now on.
    pub(crate) fn commit(&mut self, files: &[(&str, &str)]) {
        let folder = self._folder.path();
        let work = folder.join("work");
        write(&work, files);
        git(&work, &["add", "-A"]);
        git(&work, &[&AUTHOR[..], &["commit", "-q", "--allow-empty", "-m", "Next"]].concat());
        let bare = folder.join("repos").join(format!("{REPO}.git"));
        git(&work, &["push", "-q", &bare.display().to_string(), "main"]);
        self.job.build.commit = Oid::parse(&git(&work, &["rev-parse", "HEAD"])).expect("oid");
        let repositories = Repositories::open(&folder.join("repos")).expect("folder opens");
        self.job.snapshot = repositories.get(REPO).expect("repository opens").snapshot().expect("snapshot");
    }

    /// Builds the image; its id.
    pub(crate) async fn built(&self) -> String {
        let never = tokio_util::sync::CancellationToken::new();
        self.hooks.build_image(&self.job, &never).await.expect("built").id
    }

    /// The log so far.
    pub(crate) async fn log(&self) -> String {
        self.job.log.flush().await;
        let bytes = self.logs.read(REPO, self.job.build.number, 0, 1 << 20).expect("log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The build's tags as they are by default.
    pub(crate) fn tags(&self) -> Vec<String> {
        vec![self.job.build.commit.to_string(), "latest".into()]
    }

    /// The lab's open registry, and a path there that no other test has.
    pub(crate) fn target(&self) -> RegistryTarget {
        target(&lab::registry(), &format!("hkt/{}", self.server), None)
    }

    /// Containers of this test that are still there.
    pub(crate) fn containers(&self) -> String {
        lab::docker(&["ps", "-aq", "--filter", &format!("label=slipway.server={}", self.server)])
    }

    /// Images of this test that are still there.
    pub(crate) fn images(&self) -> String {
        lab::docker(&["images", "-q", "--filter", &format!("label=slipway.origin={}/1", self.server)])
    }

    /// The same installation in another life.
    pub(crate) fn restarted(&self) -> Hooks {
        Hooks::new(Engine::connect(Some(&lab::engine())).expect("an address"), marks(&self.server))
    }
}

fn marks(server: &str) -> Marks {
    Marks::new(server, &Secret::new(format!("the secret of {server}")))
}

/// A registry as the store has it.
pub(crate) fn target(host: &str, image: &str, login: Option<(&str, &str)>) -> RegistryTarget {
    RegistryTarget {
        registry: Registry {
            name: RegistryName::parse("lab").expect("name"),
            kind: RegistryKind::Generic,
            host: host.into(),
            prefix: String::new(),
            region: None,
            username: login.map(|(user, _)| user.to_owned()),
            insecure: false,
            created: UnixMillis(0),
            ca: None,
            ecr: Default::default(),
        },
        password: login.map(|(_, password)| Secret::new(password)),
        image: image.into(),
    }
}

fn build(commit: Oid) -> Build {
    let mut build = Build::queued(
        RepoId(1),
        BuildNumber(1),
        EventId(1),
        RefName::parse("refs/heads/main").expect("ref"),
        commit,
        "Test".into(),
        "dev".into(),
        UnixMillis(0),
    );
    build.run.state = BuildState::Running;
    build
}

fn commit(folder: &Path, files: &[(&str, &str)]) -> Oid {
    let work = folder.join("work");
    write(&work, files);
    git(&work, &["init", "-q", "-b", "main"]);
    git(&work, &["add", "-A"]);
    git(&work, &[&AUTHOR[..], &["commit", "-q", "--allow-empty", "-m", "Test"]].concat());
    let bare = folder.join("repos").join(format!("{REPO}.git"));
    git(&work, &["clone", "-q", "--bare", ".", &bare.display().to_string()]);
    Oid::parse(&git(&work, &["rev-parse", "HEAD"])).expect("oid")
}

fn write(work: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(work).expect("folder");
    for (path, text) in files {
        if let Some((link, to)) = path.split_once(" -> ") {
            symlink(to, work.join(link)).expect("link");
            continue;
        }
        let (path, executable) = path.strip_prefix('+').map_or((*path, false), |p| (p, true));
        let file = work.join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
        std::fs::write(&file, text).expect("written");
        if executable {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("mode");
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git").arg("-C").arg(folder).args(arguments).output().expect("git runs");
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
