//! `slipway demo`: the whole loop on sample repositories, in one command. Uses the engine, registry and cluster that
//! it finds; says what is missing, how to add it, and goes on with the rest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use slipway_core::accept::{RefStore, Unquestioned};
use slipway_core::event::Cause;
use slipway_core::limits::Limits;
use slipway_core::{Actor, DeployNumber, Oid, Problem, ProblemKind, RefName, RepoId, RepoName};
use slipway_forge::Forge;
use slipway_forge::commits::{NewCommit, commit};
use slipway_git_server::push_client::{Identity, Push, push};
use slipway_repository::{Edit, Signature, first_commit};

use crate::app::App;
use crate::cli::{self, Cli, Client, Demo, Files, Global, Out, Session};
use crate::config::Config;
use crate::rooms::Rooms;
use crate::supervisor::{blocking, now};
use crate::terminal::print;

mod samples;

/// Where a registry is looked for.
const REGISTRY: &str = "127.0.0.1:5000";
/// Time to remove the demo's objects at its end.
const UNDEPLOY_MAX: Duration = Duration::from_secs(30);
/// Time for a look at a part.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found on this machine.
struct Found {
    engine: bool,
    registry: Option<String>,
    kubeconfig: Option<PathBuf>,
}

/// Runs the demo; true if all of the loop that the parts allow worked.
pub(crate) async fn run(demo: &Demo, global: &Global) -> Result<bool, Problem> {
    let began = Instant::now();
    let temporary = match &global.data {
        Some(_) => None,
        None => Some(temporary_folder()?),
    };
    let data = global.data.clone().or(temporary.clone()).unwrap_or_default();
    let app = start(demo, &data).await?;
    step(&format!("serving {} and ssh://git@{} (data in {})", app.base_url, app.ssh, data.display()));
    let found = look(&app).await;
    let outcome = show(&app, &data, &found).await;
    match &outcome {
        Ok(true) => step(&format!("the loop took {:.1} s", began.elapsed().as_secs_f64())),
        Ok(false) => step("the loop is as complete as the parts allow"),
        Err(problem) => step(&format!("it stopped: {problem}")),
    }
    if demo.once {
        undeploy(&app).await;
        app.drain().await;
        remove(temporary.as_deref());
        return outcome;
    }
    links(&app, &data, &found);
    let ended = tokio::signal::ctrl_c().await;
    drop(ended);
    undeploy(&app).await;
    app.drain().await;
    remove(temporary.as_deref());
    outcome
}

fn temporary_folder() -> Result<PathBuf, Problem> {
    let folder = std::env::temp_dir().join(format!("slipway-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map(|()| folder.clone()).map_err(|e| {
        let what = format!("The temporary folder {} cannot be made: {e}.", folder.display());
        Problem::new(ProblemKind::Broken, what, "Name another with --data.")
    })
}

fn remove(folder: Option<&Path>) {
    if let Some(folder) = folder {
        // A leftover in the temporary folder harms nobody.
        drop(std::fs::remove_dir_all(folder));
    }
}

/// Starts on the default ports, or on free ones where those are taken.
async fn start(demo: &Demo, data: &Path) -> Result<App, Problem> {
    let free = |wanted: SocketAddr| match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let defaults = Config::default();
    let config = Config {
        http: demo.http.unwrap_or_else(|| free(defaults.http)),
        ssh: demo.ssh.unwrap_or_else(|| free(defaults.ssh)),
        limits: Arc::new(Limits { drain_timeout: Duration::from_secs(5), ..(*defaults.limits).clone() }),
        ..defaults
    };
    App::start(data, config).await
}

/// Looks for the parts, and tells of each one that is missing.
async fn look(app: &App) -> Found {
    let engine =
        matches!(tokio::time::timeout(PATIENCE, app.rooms.engines.any().check_engine()).await, Ok(Ok(_)));
    if !engine {
        step("no Docker Engine answers, so no image is built: install docker.io, or set DOCKER_HOST");
    }
    let address = std::env::var("SLIPWAY_TEST_REGISTRY").unwrap_or_else(|_| REGISTRY.into());
    let answers = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(&address)).await;
    let registry = matches!(answers, Ok(Ok(_))).then_some(address.clone());
    if registry.is_none() {
        step(&format!(
            "no registry answers at {address}, so no image is pushed: docker run -d -p 5000:5000 registry:2"
        ));
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    let kubeconfig = std::env::var_os("KUBECONFIG").map(PathBuf::from).or(home).filter(|file| file.is_file());
    if kubeconfig.is_none() {
        step("no cluster is named, so nothing is deployed: set KUBECONFIG to a kubeconfig file");
    }
    Found { engine, registry, kubeconfig }
}

/// The loop itself. True if every part was there and all of it worked.
async fn show(app: &App, data: &Path, found: &Found) -> Result<bool, Problem> {
    let identity = Identity::generate()?;
    let identity_public = identity.public_openssh()?;
    let key_file = data.join("run/demo.pub");
    std::fs::write(&key_file, format!("{identity_public} demo\n")).map_err(|e| {
        Problem::new(
            ProblemKind::Broken,
            format!("The demo's key cannot be written: {e}."),
            "Check the disk.",
        )
    })?;
    let key = key_file.to_string_lossy().into_owned();
    verb(data, &["user", "add", "dev", "--owner", "--key", &key]).await?;
    verb(data, &["repo", "create", "AppCodeRepo", "--description", "A page in an image", "--public"]).await?;
    verb(data, &["repo", "create", "ManifestRepo", "--description", "What runs in the cluster", "--public"])
        .await?;
    let image = format!("{}/slipway-demo", found.registry.as_deref().unwrap_or(REGISTRY));
    let builds = found.engine && found.registry.is_some();
    if let Some(registry) = found.registry.as_deref().filter(|_| builds) {
        verb(data, &["registry", "add", "local", "--url", registry, "--insecure"]).await?;
        verb(data, &["bind", "AppCodeRepo", "--registry", "local", "--image", "slipway-demo"]).await?;
    }
    send(app, &identity, "ManifestRepo", samples::manifests(&image, &object_name()), "Say what runs").await?;
    if let Some(kubeconfig) = &found.kubeconfig {
        let file = kubeconfig.to_string_lossy().into_owned();
        verb(data, &["cluster", "add", "lab", "--kubeconfig", &file]).await?;
        verb(data, &["bind", "ManifestRepo", "--cluster", "lab", "--namespace", "default", "--prune"])
            .await?;
    }
    let said = send(app, &identity, "AppCodeRepo", samples::app(), "Say hello").await?;
    let whole = builds && found.kubeconfig.is_some();
    let verdict = said.iter().rev().find(|line| line.starts_with("verdict: "));
    match verdict {
        Some(line) if line.starts_with("verdict: all done") => Ok(whole),
        // Without parts there is nothing to start; what is missing was said above.
        Some(line) if line.starts_with("verdict: nothing was started") && !whole => Ok(false),
        Some(line) => {
            Err(Problem::new(ProblemKind::Broken, format!("{line}."), "See the lines above and the pages."))
        }
        None => Ok(false),
    }
}

/// Commits the files and pushes them over SSH, as any git client would, waiting for the verdict.
async fn send(
    app: &App,
    identity: &Identity,
    repo: &str,
    files: Vec<(&'static str, String)>,
    message: &'static str,
) -> Result<Vec<String>, Problem> {
    step(&format!("git push ssh://dev@{}/v1/repos/{repo} main", app.ssh));
    let (commit, pack) = blocking(move || pack_of(files, message)).await?;
    let mut said = Vec::new();
    let mut tell = |line: &str| {
        print(format_args!("    remote: {line}"));
        said.push(line.to_owned());
    };
    let wanted = Push {
        repo: repo.to_owned(),
        branch: "main".into(),
        new: commit,
        pack,
        options: vec!["wait".into()],
    };
    push(app.ssh, "dev", identity, wanted, &mut tell).await?;
    Ok(said)
}

fn pack_of(files: Vec<(&'static str, String)>, message: &str) -> Result<(Oid, Vec<u8>), Problem> {
    let edits: Vec<Edit> = files
        .into_iter()
        .map(|(path, text)| Edit {
            path: path.into(),
            executable: path.ends_with(".sh"),
            content: Some(text.into_bytes()),
        })
        .collect();
    let who =
        Signature { name: "dev".into(), email: "dev@localhost".into(), at_ms: now().0, offset_minutes: 0 };
    Ok(first_commit(&edits, &format!("{message}\n"), &who)?)
}

/// What the demo's objects are called: two demos on one cluster must not meet.
fn object_name() -> String {
    format!("slipway-demo-{}", std::process::id())
}

/// Removes the demo's objects from the cluster the way a user would: by a commit without them.
async fn undeploy(app: &App) {
    let (rooms, forge) = (app.rooms.clone(), app.forge.clone());
    let removed = blocking(move || remove_manifests(&rooms, &forge)).await;
    let Ok(Some((repo, number))) = removed else { return };
    step("removing what the demo deployed");
    let deadline = Instant::now() + UNDEPLOY_MAX;
    while Instant::now() < deadline {
        let store = app.rooms.store.clone();
        let over =
            blocking(move || Ok(store.deploy(repo, number)?.is_none_or(|d| d.run.state.is_final()))).await;
        if over.unwrap_or(true) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Commits the removal; the deploy that this owes, or `None` where nothing is deployed.
fn remove_manifests(rooms: &Rooms, forge: &Forge) -> Result<Option<(RepoId, DeployNumber)>, Problem> {
    let Some(record) = rooms.store.repo_by_name(&RepoName::parse("ManifestRepo")?)? else { return Ok(None) };
    if rooms.store.deploys(record.id, None, 1)?.is_empty() {
        return Ok(None);
    }
    let repository = rooms.repositories.get(record.id)?;
    let branch = RefName::branch("main")?;
    let tip = repository.current(&branch)?;
    let gone = |path: &str| Edit { path: path.into(), content: None, executable: false };
    let edits = [gone("deployment.yaml"), gone("service.yaml")];
    let message = "Remove what the demo deployed\n\nSlipway-Prune: all\n";
    let new = NewCommit {
        record: &record,
        repository: &repository,
        branch: &branch,
        parent: tip,
        edits: &edits,
        message,
        cause: Cause::Edit,
        actor: Actor::Server.label(),
        rights: &Unquestioned,
    };
    let (_, verdict) = commit(forge, new)?;
    Ok(verdict.orders.deploys.first().map(|d| (d.repo, d.number)))
}

/// Runs a verb as the command line does, and shows it.
async fn verb(data: &Path, words: &[&str]) -> Result<(), Problem> {
    step(&format!("slipway {}", words.join(" ")));
    let cli = Cli::try_parse_from(std::iter::once("slipway").chain(words.iter().copied())).map_err(|e| {
        Problem::new(ProblemKind::Broken, format!("The demo's own command is wrong: {e}."), "Report this.")
    })?;
    let session = Session { client: Client::new(data, None, None), files: &mut Disk, out: &mut Indented };
    cli::run(cli, session).await.map(drop)
}

fn step(text: &str) {
    print(format_args!("==> {text}"));
}

fn links(app: &App, data: &Path, found: &Found) {
    let url = &app.base_url;
    print("\nLook around:");
    print(format_args!("    pages        {url}/"));
    print(format_args!("    build        {url}/AppCodeRepo/builds/1"));
    print(format_args!("    deploy       {url}/ManifestRepo/deploys"));
    print(format_args!("    sign in      slipway token create dev --scope api --data {}", data.display()));
    print(format_args!("    clone        git clone {url}/AppCodeRepo"));
    if found.kubeconfig.is_some() {
        print(format_args!(
            "    the page     kubectl -n default port-forward service/{} 8000:80, then http://127.0.0.1:8000/",
            object_name()
        ));
    }
    print(format_args!("Ctrl-C ends it and removes what it deployed."));
}

struct Disk;

impl Files for Disk {
    fn read(&mut self, name: &str) -> Result<String, Problem> {
        std::fs::read_to_string(name).map_err(|e| {
            Problem::new(ProblemKind::Invalid, format!("{name} cannot be read: {e}."), "Check the path.")
        })
    }
}

struct Indented;

#[async_trait::async_trait]
impl Out for Indented {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        for line in String::from_utf8_lossy(bytes).lines() {
            print(format_args!("    {line}"));
        }
        Ok(())
    }
}
