//! What the tests share: a journal that remembers, a namespace that goes away, kubectl as the oracle.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use slipway_core::deploy::{Change, InventoryEntry, ObjectReport, Phase};
use slipway_core::target::{Cluster, ClusterBinding, DryRun};
use slipway_core::{ClusterName, Oid, Problem, RefName, RepoId, RepoName, Secret, UnixMillis};
use slipway_deployer::{
    Clusters, Connection, DeployError, Journal, Manifest, ManifestFile, PruneConfirmation, Reconcile,
    RenderLimits, Timing, render,
};
use tokio_util::sync::CancellationToken;

/// Remembers everything that a deploy tells.
#[derive(Default)]
pub(crate) struct Notebook {
    pub(crate) inventory: Mutex<Vec<InventoryEntry>>,
    pub(crate) saves: Mutex<Vec<Vec<InventoryEntry>>>,
    pub(crate) phases: Mutex<Vec<Phase>>,
    pub(crate) objects: Mutex<Vec<ObjectReport>>,
    pub(crate) notes: Mutex<Vec<String>>,
}

#[async_trait]
impl Journal for Notebook {
    async fn save_inventory(&self, entries: Vec<InventoryEntry>) -> Result<(), Problem> {
        self.saves.lock().expect("lock").push(entries.clone());
        *self.inventory.lock().expect("lock") = entries;
        Ok(())
    }
    async fn entered(&self, phase: Phase) {
        self.phases.lock().expect("lock").push(phase);
    }
    async fn progress(&self, objects: &[ObjectReport]) {
        *self.objects.lock().expect("lock") = objects.to_vec();
    }
    async fn note(&self, note: String) {
        self.notes.lock().expect("lock").push(note);
    }
}

impl Notebook {
    pub(crate) fn inventory(&self) -> Vec<InventoryEntry> {
        self.inventory.lock().expect("lock").clone()
    }
    pub(crate) fn notes(&self) -> String {
        self.notes.lock().expect("lock").join("\n")
    }
    pub(crate) fn phases(&self) -> Vec<Phase> {
        self.phases.lock().expect("lock").clone()
    }
}

/// A repository's view of a cluster, with its journal.
pub(crate) struct Repo {
    pub(crate) connection: Arc<Connection>,
    pub(crate) binding: ClusterBinding,
    pub(crate) notebook: Notebook,
    pub(crate) prune: PruneConfirmation,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn short_timing() -> Timing {
    Timing { rollout_ms: 60_000, image_grace_ms: 3_000, crash_grace_ms: 5_000, ..Timing::default() }
}

pub(crate) fn cluster(name: &str) -> Cluster {
    let name = ClusterName::parse(name).expect("name");
    Cluster { name, server: String::new(), context: None, created: UnixMillis(0) }
}

impl Repo {
    pub(crate) async fn connect(kubeconfig: &str, repo: u64, namespace: &str, timing: Timing) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clusters = Clusters::new("test-server", timing);
        let connection = clusters.connect(&cluster("lab"), &Secret::new(kubeconfig)).await.expect("connects");
        let binding = ClusterBinding {
            repo: RepoId(repo),
            cluster: ClusterName::parse("lab").expect("name"),
            branch: RefName::parse("refs/heads/main").expect("ref"),
            path: ".".into(),
            namespace: namespace.into(),
            prune: true,
            dry_run: DryRun::Off,
            allow_namespaces: Default::default(),
            cluster_scoped: false,
            kinds: Default::default(),
            pod_security: Default::default(),
            adopt: false,
            require_signed: false,
            allow_unsigned: Default::default(),
            rules: Default::default(),
        };
        let (notebook, prune, stop) =
            (Notebook::default(), PruneConfirmation::None, CancellationToken::new());
        Self { connection, binding, notebook, prune, stop }
    }

    pub(crate) fn name(&self) -> RepoName {
        RepoName::parse(&format!("repo{}", self.binding.repo)).expect("name")
    }

    pub(crate) fn work(&self, files: &[(&str, &str)]) -> Reconcile<'_> {
        Reconcile {
            binding: &self.binding,
            repo: self.binding.repo,
            repo_name: self.name(),
            commit: Oid::ZERO_SHA1,
            manifests: manifests(files),
            inventory: self.notebook.inventory(),
            prune: self.prune,
            takes_all: false,
        }
    }

    pub(crate) async fn deploy(&self, files: &[(&str, &str)]) -> Result<Vec<ObjectReport>, DeployError> {
        self.connection.reconcile(self.work(files), &self.notebook, &self.stop).await
    }

    /// `Kind/name change health`, one a line.
    pub(crate) async fn deployed(&self, files: &[(&str, &str)]) -> Vec<String> {
        let reports = self.deploy(files).await.unwrap_or_else(|e| panic!("{e}"));
        reports.iter().map(|r| format!("{}/{} {:?} {:?}", r.kind, r.name, r.change, r.health)).collect()
    }

    pub(crate) fn change_of(&self, name: &str) -> (Change, String) {
        let objects = self.notebook.objects.lock().expect("lock");
        let one = objects.iter().find(|o| o.name == name).expect("reported");
        (one.change, one.message.clone())
    }
}

pub(crate) fn manifests(files: &[(&str, &str)]) -> Vec<Manifest> {
    let files: Vec<ManifestFile> =
        files.iter().map(|(p, t)| ManifestFile { path: (*p).into(), bytes: t.as_bytes().to_vec() }).collect();
    render(&files, &RenderLimits::default()).unwrap_or_else(|e| panic!("{e:?}"))
}

pub(crate) fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '{value}'}}\n")
}

/// A Deployment of one container; `extra` goes into the container.
pub(crate) fn deployment(name: &str, image: &str, extra: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: 1\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      automountServiceAccountToken: false\n      terminationGracePeriodSeconds: 0\n      containers:\n      - {{name: main, image: '{image}', imagePullPolicy: IfNotPresent, {extra}}}\n"
    )
}

/// The lab's cluster. Without it these tests fail; they are never passed over.
pub(crate) struct Lab {
    pub(crate) kubeconfig: String,
    path: String,
    pub(crate) namespace: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub(crate) fn new() -> Self {
        let home = std::env::var("HOME").expect("HOME");
        let cache = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{home}/.cache"));
        let told = std::fs::read_to_string(format!("{cache}/slipway/lab/env")).unwrap_or_default();
        let from_lab = told.lines().find_map(|l| l.strip_prefix("export KUBECONFIG=")).map(str::to_owned);
        let path = std::env::var("KUBECONFIG").ok().or(from_lab);
        let path = path.expect("no Kubernetes for this test: run `tests/lab up`, or set KUBECONFIG");
        let kubeconfig = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{path} cannot be read ({e}): run `tests/lab up`"));
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("deployer-test-{}-{number}", std::process::id());
        let lab = Self { kubeconfig, path, namespace };
        lab.kubectl(&["create", "namespace", &lab.namespace]);
        lab
    }

    pub(crate) async fn repo(&self, number: u64) -> Repo {
        Repo::connect(&self.kubeconfig, number, &self.namespace, short_timing()).await
    }

    /// kubectl's output; a panic if it fails.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let out = self.command(args).output().expect("kubectl runs; `tests/lab up` brings it");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "kubectl {args:?}: {said}; is the cluster up? `tests/lab up`");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// kubectl in the test's namespace.
    pub(crate) fn here(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        self.kubectl(&all)
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        !self.here(&["get", what, "--ignore-not-found", "-o", "name"]).is_empty()
    }

    /// Lets kubectl read manifests from its standard input.
    pub(crate) fn feed(&self, args: &[&str], text: &str) {
        use std::io::Write;
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        let mut child =
            self.command(&all).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kubectl");
        child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("kubectl reads");
        assert!(child.wait().expect("kubectl ends").success(), "kubectl {args:?}");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.path).args(["--request-timeout", "20s"]).args(args);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "namespace", &self.namespace, "--wait=false"]).output();
    }
}
