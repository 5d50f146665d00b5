//! A cluster that misbehaves by script: a small API server in memory, with faults laid over it.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use slipway_core::deploy::{InventoryEntry, ObjectReport, Phase};
use slipway_core::run::FailureClass;
use slipway_core::{Problem, ProblemKind, Secret};
use slipway_deployer::{Clusters, DeployError, Journal, PruneConfirmation, Timing};

use crate::harness::{Repo, cluster, config_map};

mod blame;
mod lists;
mod policy;

/// What happens to a request instead of its answer.
#[derive(Clone)]
enum Fault {
    Answer(u16, Value, Option<&'static str>),
    Raw(u16, &'static str),
    Disconnect,
}

type Script = Box<dyn FnMut(&Method, &str, usize, &mut State) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    log: Vec<String>,
    version: u64,
}

/// The server; ends with the test's runtime.
struct Fake {
    state: Arc<Mutex<State>>,
    kubeconfig: String,
}

impl Fake {
    async fn start(
        script: impl FnMut(&Method, &str, usize, &mut State) -> Option<Fault> + Send + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let at = listener.local_addr().expect("address");
        let state = Arc::new(Mutex::new(State::default()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (state, script) = (shared.clone(), script.clone());
                let service = service_fn(move |request| answer(request, state.clone(), script.clone()));
                tokio::spawn(async move {
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(tcp), service)
                            .await,
                    );
                });
            }
        });
        Self { state, kubeconfig: kubeconfig(&format!("http://{at}")) }
    }

    async fn repo(&self) -> Repo {
        Repo::connect(&self.kubeconfig, 1, "team", Timing::default()).await
    }

    fn log(&self) -> Vec<String> {
        self.state.lock().expect("lock").log.clone()
    }

    fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|l| l.starts_with(what)).count()
    }

    fn names(&self) -> Vec<String> {
        let state = self.state.lock().expect("lock");
        state.objects.keys().map(|k| k.rsplit('/').next().expect("name").to_owned()).collect()
    }
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\nusers: [{{name: u, user: {{token: t0ken-in-config}}}}]\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n"
    )
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    script: Arc<Mutex<Script>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let dry = head.uri.query().is_some_and(|q| q.contains("dryRun=All"));
    let mut state = state.lock().expect("lock");
    let verb = if dry { "DRYRUN".to_owned() } else { head.method.to_string() };
    state.log.push(format!("{verb} {path}"));
    let nth = state.log.iter().filter(|l| **l == format!("{verb} {path}")).count();
    // A script that means it for dry-runs names them so.
    let method = if dry { Method::from_bytes(b"DRYRUN").expect("a token") } else { head.method.clone() };
    let fault = (script.lock().expect("lock"))(&method, &path, nth, &mut state);
    let reply = |code: u16, body: String| Response::builder().status(code).body(Full::new(Bytes::from(body)));
    let response = match fault {
        Some(Fault::Disconnect) => return Err(std::io::Error::other("scripted")),
        Some(Fault::Raw(code, body)) => reply(code, body.into()),
        Some(Fault::Answer(code, body, retry)) => {
            let mut builder = Response::builder().status(code);
            if let Some(after) = retry {
                builder = builder.header("retry-after", after);
            }
            builder.body(Full::new(Bytes::from(body.to_string())))
        }
        None => {
            let (code, body) = state.serve(&head.method, &path, dry, &body);
            reply(code, body.to_string())
        }
    };
    Ok(response.expect("a response"))
}

fn status(code: u16, reason: &str, message: &str, name: &str) -> Value {
    json!({"kind": "Status", "code": code, "reason": reason, "message": message, "details": {"name": name}})
}

impl State {
    fn serve(&mut self, method: &Method, path: &str, dry: bool, body: &[u8]) -> (u16, Value) {
        let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "kind": kind, "namespaced": namespaced, "verbs": []});
        match path {
            "/api/v1" => {
                let all = [resource("configmaps", "ConfigMap", true), resource("secrets", "Secret", true)];
                return (200, json!({"resources": all}));
            }
            "/apis/apiextensions.k8s.io/v1" => {
                return (
                    200,
                    json!({"resources": [resource("customresourcedefinitions", "CustomResourceDefinition", false)]}),
                );
            }
            p if p.starts_with("/apis/") && p.split('/').count() <= 4 => {
                return (404, status(404, "NotFound", "no such group", ""));
            }
            _ => {}
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        match *method {
            Method::GET => match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => (404, status(404, "NotFound", "not found", name)),
            },
            Method::PATCH => self.apply(path, dry, body),
            Method::DELETE => self.delete(path, body),
            _ => (405, json!({})),
        }
    }

    fn apply(&mut self, path: &str, dry: bool, body: &[u8]) -> (u16, Value) {
        let mut object: Value = serde_json::from_slice(body).expect("JSON");
        self.version += 1;
        let there = self.objects.get(path).cloned();
        let uid =
            there.as_ref().map_or(json!(format!("uid-{}", self.version)), |o| o["metadata"]["uid"].clone());
        object["metadata"]["uid"] = uid;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["kind"] == "CustomResourceDefinition" {
            object["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        }
        if !dry {
            self.objects.insert(path.to_owned(), object.clone());
        }
        (if there.is_some() { 200 } else { 201 }, object)
    }

    fn delete(&mut self, path: &str, body: &[u8]) -> (u16, Value) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let options: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(object) = self.objects.get(path) else {
            return (404, status(404, "NotFound", "gone", &name));
        };
        for key in ["uid", "resourceVersion"] {
            if options["preconditions"][key] != object["metadata"][key] {
                return (409, status(409, "Conflict", &format!("precondition {key} failed"), &name));
            }
        }
        self.objects.remove(path);
        (200, json!({"kind": "Status", "status": "Success"}))
    }
}

fn maps(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|n| (format!("{n}.yaml"), config_map(n, "1"))).collect()
}

fn borrow(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect()
}

#[tokio::test]
async fn load_errors_and_broken_connections_are_ridden_out() {
    let fake = Fake::start(|method, path, nth, _| match (method, path.rsplit('/').next()?, nth) {
        (&Method::PATCH, "a", 1) => {
            Some(Fault::Answer(429, status(429, "TooManyRequests", "busy", ""), Some("1")))
        }
        (&Method::PATCH, "b", 1) => Some(Fault::Disconnect),
        (&Method::PATCH, "b", 2) => {
            Some(Fault::Answer(500, status(500, "InternalError", "etcdserver: request timed out", ""), None))
        }
        (&Method::PATCH, "c", 1) => Some(Fault::Raw(504, "gateway")),
        (&Method::GET, "v1", 1) => Some(Fault::Raw(503, "starting")),
        _ => None,
    })
    .await;
    let files = maps(&["a", "b", "c"]);
    let started = Instant::now();
    let got = fake.repo().await.deployed(&borrow(&files)).await;
    assert_eq!(
        got,
        ["ConfigMap/a Created Healthy", "ConfigMap/b Created Healthy", "ConfigMap/c Created Healthy"]
    );
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After is kept");
    assert!(fake.count("PATCH") == 7, "{:?}", fake.log());
}

#[tokio::test]
async fn a_cluster_that_is_down_or_stays_broken_is_infra_and_soon_told() {
    let fake = Fake::start(|m, _, _, _| (*m == Method::PATCH).then_some(Fault::Raw(503, "no"))).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("address");
    let dead = kubeconfig(&format!("http://{nobody}"));
    let files = maps(&["a", "b"]);
    for kubeconfig in [&fake.kubeconfig, &dead] {
        let repo = Repo::connect(kubeconfig, 1, "team", Timing::default()).await;
        let started = Instant::now();
        let error = repo.deploy(&borrow(&files)).await.expect_err("down");
        assert!(
            matches!(error, DeployError::Unreachable { .. }) && error.class() == FailureClass::Infra,
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let problem = Problem::from(error);
        assert_eq!(problem.kind, ProblemKind::Unavailable);
        assert!(problem.what.starts_with("Cluster lab does not answer: "), "{problem}");
    }
}

#[tokio::test]
async fn a_kind_that_is_served_late_and_a_webhook_that_starts_late_are_waited_for() {
    let fake = Fake::start(|method, path, nth, _| match (method, path) {
        (&Method::PATCH, p) if p.ends_with("/widgets/w") && nth <= 2 => {
            Some(Fault::Raw(404, "404 page not found"))
        }
        (&Method::PATCH, p) if p.ends_with("/configmaps/a") && nth <= 2 => {
            let message =
                "Internal error occurred: failed calling webhook \"x.example.org\": connection refused";
            Some(Fault::Answer(500, status(500, "InternalError", message, ""), None))
        }
        _ => None,
    })
    .await;
    let mut repo = fake.repo().await;
    repo.binding.cluster_scoped = true;
    let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.org}\nspec: {group: example.org, scope: Namespaced, names: {kind: Widget, plural: widgets}, versions: [{name: v1, served: true, storage: true}]}\n";
    let widget = "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\n";
    let map = config_map("a", "1");
    let got = repo.deployed(&[("a.yaml", widget), ("b.yaml", crd), ("c.yaml", &map)]).await;
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|l| l.contains("Created Healthy")), "{got:?}");
    let log = fake.log();
    let at = |what: &str| log.iter().position(|l| l.contains(what)).expect("called");
    assert!(
        at("PATCH /apis/apiextensions") < at("PATCH /api/v1")
            && at("PATCH /api/v1") < at("PATCH /apis/example.org"),
        "{log:?}"
    );
}

#[tokio::test]
async fn an_object_that_changes_between_look_and_delete_is_looked_at_again() {
    let fake = Fake::start(|method, path, nth, state| {
        if *method == Method::DELETE && nth == 1 {
            let object = state.objects.get_mut(path).expect("there");
            object["metadata"]["resourceVersion"] = json!("999");
            if path.ends_with("/held") {
                object["metadata"]["annotations"]["slipway.dev/prune"] = json!("disabled");
            }
        }
        None
    })
    .await;
    let repo = fake.repo().await;
    let files = maps(&["held", "keep", "touched"]);
    repo.deployed(&borrow(&files)).await;
    let got = repo.deployed(&borrow(&files[1..2])).await;
    assert_eq!(
        got,
        [
            "ConfigMap/keep Unchanged Healthy",
            "ConfigMap/held Kept Unknown",
            "ConfigMap/touched Pruned Unknown"
        ]
    );
    assert_eq!(fake.names(), ["held", "keep"]);
}

#[tokio::test]
async fn refused_credentials_begin_anew_with_the_next_connection() {
    let fake = Fake::start(|_, _, _, _| {
        Some(Fault::Answer(401, status(401, "Unauthorized", "Unauthorized", ""), None))
    })
    .await;
    let clusters = Clusters::new("test-server", Timing::default());
    let secret = Secret::new(fake.kubeconfig.clone());
    let connect = async || clusters.connect(&cluster("lab"), &secret).await.expect("connects");
    let (first, second) = (connect().await, connect().await);
    assert!(Arc::ptr_eq(&first, &second), "one pool a cluster");
    let error = first.test().await.expect_err("401");
    assert!(matches!(error, DeployError::Unauthorised { .. }), "{error}");
    assert!(!Arc::ptr_eq(&first, &connect().await));
    let third = connect().await;
    let other =
        clusters.connect(&cluster("lab"), &Secret::new(fake.kubeconfig.replace("t0ken", "other"))).await;
    assert!(!Arc::ptr_eq(&third, &other.expect("connects")), "new credentials, new pool");
}

/// Cannot write.
struct FullDisk;

#[async_trait::async_trait]
impl Journal for FullDisk {
    async fn save_inventory(&self, _: Vec<InventoryEntry>) -> Result<(), Problem> {
        Err(Problem::new(ProblemKind::Broken, "The disk is full.", "Make room."))
    }
    async fn entered(&self, _: Phase) {}
    async fn progress(&self, _: &[ObjectReport]) {}
    async fn note(&self, _: String) {}
}

#[tokio::test]
async fn nothing_is_written_that_was_not_written_down_first() {
    let fake = Fake::start(|_, _, _, _| None).await;
    let repo = fake.repo().await;
    let files = maps(&["a"]);
    let work = repo.work(&borrow(&files));
    let error = repo.connection.reconcile(work, &FullDisk, &repo.stop).await.expect_err("no journal");
    assert!(error.to_string().contains("The disk is full"), "{error}");
    assert_eq!(fake.count("PATCH"), 0);
}

#[tokio::test]
async fn a_stop_lets_the_write_under_way_land_and_begins_no_other() {
    let names: Vec<String> = (0..40).map(|i| format!("c{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stop = tokio_util::sync::CancellationToken::new();
    let trigger = stop.clone();
    let fake = Fake::start(move |m, _, _, _| {
        if *m == Method::PATCH {
            trigger.cancel();
        }
        None
    })
    .await;
    let mut repo = fake.repo().await;
    repo.stop = stop;
    let files = maps(&names);
    let error = repo.deploy(&borrow(&files)).await.expect_err("stopped");
    assert!(matches!(error, DeployError::Stopped), "{error}");
    let written = fake.names().len();
    assert!((1..=12).contains(&written), "{written} written");
    assert_eq!(repo.notebook.inventory().len(), 40, "all that may have been written is remembered");
}

#[tokio::test]
async fn death_at_any_call_loses_nothing_and_deletes_nothing_foreign() {
    let (before, after) = (maps(&["a", "b", "gone1", "gone2"]), maps(&["a", "b", "new1", "new2"]));
    for deadly in 1..60 {
        let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
        let armed = Arc::new(std::sync::atomic::AtomicUsize::new(usize::MAX));
        let countdown = armed.clone();
        let fake = Fake::start(move |_, _, _, _| {
            use std::sync::atomic::Ordering::SeqCst;
            let left = countdown.load(SeqCst);
            if left == 1 {
                let _ = tx.send(());
            }
            countdown.store(left.saturating_sub(1).max(1), SeqCst);
            None
        })
        .await;
        let repo = fake.repo().await;
        let foreign = json!({"metadata": {"name": "foreign", "uid": "f", "resourceVersion": "1"}});
        fake.state
            .lock()
            .expect("lock")
            .objects
            .insert("/api/v1/namespaces/team/configmaps/foreign".into(), foreign);
        repo.deployed(&borrow(&before)).await;
        armed.store(deadly, std::sync::atomic::Ordering::SeqCst);
        let files = borrow(&after);
        let died = tokio::select! {
            biased;
            Some(()) = rx.recv() => true,
            _ = repo.deploy(&files) => false,
        };
        armed.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
        repo.deployed(&files).await;
        assert_eq!(fake.names(), ["a", "b", "foreign", "new1", "new2"], "death at call {deadly}");
        assert_eq!(repo.notebook.inventory().len(), 4, "death at call {deadly}");
        if !died {
            assert!(deadly > 10, "the script must bite");
            return;
        }
    }
    panic!("a deploy of four objects needs no 60 calls");
}

#[tokio::test]
async fn an_empty_prune_is_confirmed_by_word() {
    let fake = Fake::start(|_, _, _, _| None).await;
    let mut repo = fake.repo().await;
    let files = maps(&["a", "b"]);
    repo.deployed(&borrow(&files)).await;
    assert!(matches!(repo.deploy(&[]).await, Err(DeployError::Empty { applied: 2 })));
    repo.prune = PruneConfirmation::UpTo(2);
    repo.deployed(&[]).await;
    assert!(fake.names().is_empty());
}

/// All that any library logs, at its most talkative.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_reaches_the_log_whatever_the_cluster_answers() {
    let heard = Heard::default();
    let writer = heard.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    let answers: HashMap<usize, Fault> = HashMap::from([
        (1, Fault::Raw(200, "{\"data\": \"hunter2\", broken")),
        (2, Fault::Answer(422, status(422, "Invalid", "Secret \"s\" is invalid: data: hunter2", "s"), None)),
        (3, Fault::Answer(200, json!("hunter2"), None)),
    ]);
    let fake =
        Fake::start(
            move |m, p, nth, _| {
                if *m == Method::PATCH && p.ends_with("/s") { answers.get(&nth).cloned() } else { None }
            },
        )
        .await;
    let repo = fake.repo().await;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n";
    for _ in 0..3 {
        if let Err(error) = repo.deploy(&[("s.yaml", secret)]).await {
            let mut told = format!("{error} {error:?} ");
            told.push_str(&Problem::from(error).to_string());
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    let heard = String::from_utf8_lossy(&heard.0.lock().expect("lock").clone()).into_owned();
    assert!(heard.contains("reconcile"), "the test must hear something: {heard}");
    for secret in ["hunter2", "aHVudGVyMg", "t0ken-in-config"] {
        assert!(!heard.contains(secret), "{secret} in the log: {heard}");
    }
}

/// Compiles only if the futures are `Send`.
const _: fn() = || {
    fn spawnable<T: Send>(_: T) {}
    #[allow(unused)]
    fn a_reconcile_can_be_spawned(repo: &'static Repo) {
        spawnable(repo.connection.reconcile(repo.work(&[]), &repo.notebook, &repo.stop));
        spawnable(repo.connection.dry_run(
            &repo.name(),
            &repo.binding,
            Vec::new(),
            &[],
            PruneConfirmation::None,
        ));
        spawnable(repo.connection.diff(repo.work(&[])));
    }
};
