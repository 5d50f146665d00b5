//! A server on loopback ports, its people, and the stock clients that they use.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use slipway_core::accept::{Acceptance, Incoming, Preflight, Shown};
use slipway_core::build::{Build, BuildState};
use slipway_core::limits::Limits;
use slipway_core::people::{PublicKey, Token, User};
use slipway_core::target::{ClusterBinding, Registry, RegistryBinding, RegistryKind};
use slipway_core::{BuildNumber, ObjectFormat, Problem, RepoName, Role, Scope, UnixMillis, UserName};
use slipway_forge::{Caller, Forge};
use slipway_git_server::{CommandIo, Commands, GitServer, HostKeys, Parts};
use slipway_repository::Repositories;
use slipway_store::{MasterKey, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The stock gits of the machine; both are tried where the protocol matters.
pub(crate) fn gits() -> Vec<PathBuf> {
    let found: Vec<PathBuf> =
        ["/usr/local/bin/git", "/usr/bin/git"].iter().map(PathBuf::from).filter(|p| p.exists()).collect();
    assert!(!found.is_empty(), "no git found: run tests/lab up");
    found
}

pub(crate) fn now() -> UnixMillis {
    UnixMillis::from(SystemTime::now())
}

fn user_name(name: &str) -> UserName {
    UserName::parse(name).expect("a valid name")
}

/// Clusters that have no objection.
struct NoObjection;
impl Preflight for NoObjection {
    fn check(&self, _: &ClusterBinding, _: &Shown<'_>, _: &dyn Incoming) -> Result<Vec<String>, Problem> {
        Ok(Vec::new())
    }
}

/// Commands that show what they were given.
#[derive(Default)]
pub(crate) struct Echo(Arc<Mutex<Vec<Vec<String>>>>);
impl Commands for Echo {
    fn run(&self, caller: Caller, argv: Vec<String>, mut io: CommandIo) -> BoxFuture<'static, u32> {
        let left = Arc::clone(&self.0);
        left.lock().expect("not poisoned").push(argv.clone());
        Box::pin(async move {
            let mut read = Vec::new();
            if argv.first().is_some_and(|verb| verb == "read") {
                io.stdin.read_to_end(&mut read).await.expect("stdin");
            }
            let line = format!("{} ran {argv:?} with {} bytes\n", caller.actor.label(), read.len());
            io.stdout.write_all(line.as_bytes()).await.expect("stdout");
            if argv.first().is_some_and(|verb| verb == "linger") {
                io.gone.cancelled().await;
                left.lock().expect("not poisoned").push(vec!["left".to_owned()]);
            }
            if argv.first().is_some_and(|verb| verb == "flood") {
                for _ in 0..400 {
                    io.stdout.write_all(&[b'x'; 10_000]).await.expect("stdout");
                }
            }
            io.stderr.write_all(b"done\n").await.expect("stderr");
            if argv.first().is_some_and(|verb| verb == "fail") { 3 } else { 0 }
        })
    }
}

impl Echo {
    pub(crate) fn has(&self, verb: &str) -> bool {
        self.0.lock().expect("not poisoned").iter().any(|argv| argv[0] == verb)
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) git: GitServer,
    pub(crate) store: Store,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) http: SocketAddr,
    pub(crate) ssh: SocketAddr,
    /// What was run by command.
    pub(crate) echo: Arc<Echo>,
    host_keys: Vec<String>,
    folder: tempfile::TempDir,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(Limits::default())
    }

    pub(crate) fn start_with(limits: Limits) -> Self {
        let folder = tempfile::Builder::new().prefix("slipway-git-").tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join("repos")).expect("a folder");
        let master = MasterKey::load_or_create(&data.join("keys/master.key")).expect("a key");
        let store = Store::open(&data.join("db"), &master).expect("a store");
        let repositories =
            Arc::new(Repositories::open(&data.join("repos")).expect("a folder of repositories"));
        let host_keys = HostKeys::load_or_create(&data.join("keys")).expect("a host key");
        let public = host_keys.public();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (http_listener, ssh_listener) = runtime.block_on(async {
            let bind = || TcpListener::bind("127.0.0.1:0");
            (bind().await.expect("a port"), bind().await.expect("a port"))
        });
        let (http, ssh) =
            (http_listener.local_addr().expect("bound"), ssh_listener.local_addr().expect("bound"));
        let acceptance = Arc::new(Acceptance::new(Arc::new(store.clone()), Arc::new(NoObjection), now));
        let (limits, echo) = (Arc::new(limits), Arc::new(Echo::default()));
        let forge = Arc::new(Forge::new(slipway_forge::Parts {
            limits: Arc::clone(&limits),
            store: store.clone(),
            repositories: Arc::clone(&repositories),
            acceptance: Arc::clone(&acceptance),
            outside: Arc::new(crate::outside::Nothing),
            clock: now,
        }));
        let git = GitServer::new(Parts {
            forge,
            acceptance,
            commands: echo.clone(),
            base_url: format!("http://{http}").into(),
            limits,
        });
        let service = git.router().into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(http_listener, service).await });
        runtime.spawn(git.clone().serve_ssh(
            ssh_listener,
            host_keys,
            Default::default(),
            CancellationToken::new(),
        ));
        Self { git, store, repositories, http, ssh, echo, host_keys: public, folder, runtime: Some(runtime) }
    }

    pub(crate) fn block_on<T>(&self, job: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("running").block_on(job)
    }

    /// A build, once it is recorded.
    pub(crate) fn wait_for_build(&self, repo: &str, number: u64) -> Build {
        let repo =
            self.store.repo_by_name(&RepoName::parse(repo).expect("valid")).expect("read").expect("there");
        loop {
            match self.store.build(repo.id, BuildNumber(number)).expect("a store") {
                Some(build) => return build,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits for a build, lets it be seen as it runs, and ends it well.
    pub(crate) fn succeed(&self, repo: &str, number: u64) {
        let mut build = self.wait_for_build(repo, number);
        for state in [BuildState::Running, BuildState::Succeeded] {
            build.run.state = state;
            self.store.put_build(&build).expect("a store");
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// A repository, and the folder that stock git can look into.
    pub(crate) fn repo(&self, name: &str, public: bool) -> PathBuf {
        self.repo_of(ObjectFormat::Sha1, name, public)
    }

    /// The same with ids of that hash.
    pub(crate) fn repo_of(&self, format: ObjectFormat, name: &str, public: bool) -> PathBuf {
        let name = RepoName::parse(name).expect("a valid name");
        let record = self.store.create_repo_as(format, &name, "", public, now()).expect("recorded");
        self.repositories.create(record.id, format).expect("made");
        assert!(self.repositories.link(record.id, &name).expect("linked"));
        self.folder.path().join(format!("data/repos/{name}.git"))
    }

    /// An open one.
    pub(crate) fn repository(&self, name: &str) -> Arc<slipway_repository::Repository> {
        let name = RepoName::parse(name).expect("a valid name");
        let record = self.store.repo_by_name(&name).expect("read").expect("there");
        self.repositories.get(record.id).expect("open")
    }

    pub(crate) fn grant(&self, user: &str, repo: &str, role: Role) {
        let repo =
            self.store.repo_by_name(&RepoName::parse(repo).expect("valid")).expect("read").expect("there");
        self.store.grant(&user_name(user), repo.id, role).expect("granted");
    }

    pub(crate) fn revoke(&self, user: &str, repo: &str) {
        let repo =
            self.store.repo_by_name(&RepoName::parse(repo).expect("valid")).expect("read").expect("there");
        self.store.revoke(&user_name(user), repo.id).expect("revoked");
    }

    /// Binds a repository to a registry, so that pushes owe builds.
    pub(crate) fn bind(&self, repo: &str) {
        let repo =
            self.store.repo_by_name(&RepoName::parse(repo).expect("valid")).expect("read").expect("there");
        let name = slipway_core::RegistryName::parse("local").expect("valid");
        let registry = Registry {
            name: name.clone(),
            kind: RegistryKind::Generic,
            host: "127.0.0.1:5000".into(),
            prefix: String::new(),
            region: None,
            username: None,
            insecure: true,
            created: now(),
            ca: None,
            ecr: Default::default(),
        };
        self.store.put_registry(&registry, None).expect("recorded");
        self.store.bind_registry(&RegistryBinding::plain(repo.id, name, "app".into())).expect("bound");
    }

    /// A user with a fresh key.
    pub(crate) fn person(&self, name: &str, owner: bool) -> Person {
        self.store.create_user(&User { name: user_name(name), owner, created: now() }).expect("recorded");
        let home = self.folder.path().join(format!("home-{name}"));
        std::fs::create_dir_all(&home).expect("a folder");
        let key = home.join("id");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).output();
        assert!(made.expect("ssh-keygen runs").status.success());
        let person = Person {
            name: name.into(),
            home,
            ssh: self.ssh,
            http: self.http,
            known_hosts: (self.host_keys.iter())
                .map(|key| format!("[{}]:{} {key}\n", self.ssh.ip(), self.ssh.port()))
                .collect(),
            git: gits().remove(0),
            format: ObjectFormat::Sha1,
        };
        std::fs::write(person.home.join("known_hosts"), &person.known_hosts).expect("written");
        self.add_key(name, &key);
        person
    }

    pub(crate) fn add_key(&self, user: &str, key: &Path) {
        let public = std::fs::read_to_string(key.with_extension("pub")).expect("made");
        let openssh: Vec<&str> = public.split_whitespace().take(2).collect();
        self.store
            .add_key(&PublicKey {
                user: user_name(user),
                fingerprint: fingerprint(key),
                openssh: openssh.join(" "),
                title: "test".into(),
                created: now(),
            })
            .expect("recorded");
    }

    /// A token of that user; its value.
    pub(crate) fn token(&self, user: &str, scopes: &[Scope], expires: Option<UnixMillis>) -> String {
        let count = self.store.tokens(None).expect("read").len();
        let id = format!("{count:012}");
        let value = format!("slp_{id}_{}", "s".repeat(40));
        let token = Token {
            id,
            user: user_name(user),
            name: "test".into(),
            scopes: scopes.iter().copied().collect::<BTreeSet<_>>(),
            created: now(),
            expires,
            parent: None,
        };
        self.store.add_token(&token, Sha256::digest(value.as_bytes()).into()).expect("recorded");
        value
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

/// `SHA256:…` of a key file, as ssh-keygen says it.
pub(crate) fn fingerprint(key: &Path) -> String {
    let out =
        Command::new("ssh-keygen").args(["-l", "-E", "sha256", "-f"]).arg(key.with_extension("pub")).output();
    let line = text(&out.expect("ssh-keygen runs").stdout);
    line.split_whitespace().nth(1).expect("a fingerprint").to_owned()
}

/// Somebody with a home folder, a key and a git.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    pub(crate) git: PathBuf,
    /// Of the repositories that they make.
    pub(crate) format: ObjectFormat,
    ssh: SocketAddr,
    http: SocketAddr,
    known_hosts: String,
}

impl Person {
    pub(crate) fn with_git(&self, git: &Path) -> Self {
        Self { git: git.to_owned(), ..self.clone() }
    }

    pub(crate) fn with_format(&self, format: ObjectFormat) -> Self {
        Self { format, ..self.clone() }
    }

    pub(crate) fn ssh_url(&self, repo: &str) -> String {
        format!("ssh://git@{}/{repo}", self.ssh)
    }

    pub(crate) fn http_url(&self, repo: &str, token: &str) -> String {
        format!("http://{}:{token}@{}/{repo}", self.name, self.http)
    }

    fn ssh_options(&self) -> Vec<String> {
        let path = |file: &str| self.home.join(file).display().to_string();
        let mut options = vec!["-i".to_owned(), path("id")];
        for option in [
            "IdentitiesOnly=yes".to_owned(),
            "BatchMode=yes".into(),
            "StrictHostKeyChecking=yes".into(),
            format!("UserKnownHostsFile={}", path("known_hosts")),
            "LogLevel=ERROR".into(),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }

    /// OpenSSH's client, to be given options and a command.
    pub(crate) fn ssh(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg("/dev/null").args(self.ssh_options()).args(options);
        ssh.args(["-p", &self.ssh.port().to_string(), &format!("git@{}", self.ssh.ip())]).args(command);
        ssh.stdin(Stdio::null());
        ssh
    }

    pub(crate) fn git_command(&self, folder: &Path, args: &[&str]) -> Command {
        let mut git = Command::new(&self.git);
        git.current_dir(folder)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_DEFAULT_HASH", self.format.as_str())
            .env("GIT_SSH_COMMAND", format!("ssh -F /dev/null {}", self.ssh_options().join(" ")));
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), &self.name).env(format!("GIT_{who}_EMAIL"), "a@example.org");
        }
        git.stdin(Stdio::null());
        git
    }

    pub(crate) fn try_git(&self, folder: &Path, args: &[&str]) -> Output {
        self.git_command(folder, args).output().expect("git runs")
    }

    /// Runs git, which must succeed; its standard output.
    pub(crate) fn git(&self, folder: &Path, args: &[&str]) -> String {
        let out = self.try_git(folder, args);
        assert!(out.status.success(), "git {args:?} failed:\n{}", text(&out.stderr));
        text(&out.stdout)
    }

    /// A work tree with one commit on `main`.
    pub(crate) fn work_tree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let tree = self.home.join(name);
        std::fs::create_dir_all(&tree).expect("a folder");
        self.git(&tree, &["init", "-q", "-b", "main"]);
        self.commit(&tree, files, "first");
        tree
    }

    /// Writes files and commits them; the commit's id.
    pub(crate) fn commit(&self, tree: &Path, files: &[(&str, &str)], message: &str) -> String {
        for (path, content) in files {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().expect("within the tree")).expect("a folder");
            std::fs::write(path, content).expect("written");
        }
        self.git(tree, &["add", "-A"]);
        self.git(tree, &["commit", "-q", "-m", message]);
        self.git(tree, &["rev-parse", "HEAD"]).trim().to_owned()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
