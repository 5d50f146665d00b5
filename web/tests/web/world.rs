//! A small server: users of every role, repositories with history, builds and deploys in several states.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use slipway_core::accept::{Acceptance, Incoming, RefStore};
use slipway_core::build::{Build, BuildState, PushedImage, Stage, StageTime, TestVerdict};
use slipway_core::deploy::{Change as Did, Deploy, DeployCause, DeployState, Health, ObjectReport, Phase};
use slipway_core::people::{Token, User};
use slipway_core::run::{Failure, FailureClass, Run};
use slipway_core::target::{Cluster, ClusterBinding, DryRun, Registry, RegistryBinding, RegistryKind};
use slipway_core::{
    Actor, BuildNumber, ClusterName, DeployNumber, Digest, EventId, ObjectFormat, Oid, Problem, ProblemKind,
    RefName, RefUpdate, RegistryName, RepoId, RepoName, Role, Scope, Secret, UnixMillis, UserName,
};
use slipway_forge::{Caller, Credential, Forge, Outside, Surface, mint_token};
use slipway_repository::{Edit, Repositories, Repository, Signature};
use slipway_store::{MasterKey, Store};
use slipway_web::{Addresses, Parts, router};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tower::ServiceExt;

use crate::outside::{Fake, NoObjection};

pub(crate) const NOW: UnixMillis = UnixMillis(1_795_400_000_000);
pub(crate) const EVIL: &str = "<script>alert('x')</script>\"'&";

pub(crate) fn user(name: &str) -> UserName {
    UserName::parse(name).expect("a user name")
}

pub(crate) fn repo_name(name: &str) -> RepoName {
    RepoName::parse(name).expect("a repository name")
}

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) store: Store,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) operations: Arc<Fake>,
    pub(crate) app: RepoId,
    _folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// How a request proves who sends it.
#[derive(Clone, Debug)]
pub(crate) enum As {
    Nobody,
    Actor(Actor),
    Bearer(String),
    Session { cookie: String, csrf: String },
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at("http://127.0.0.1:8080")
    }

    pub(crate) fn at(http: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = MasterKey::load_or_create(&folder.path().join("keys/master")).expect("a key");
        let store = Store::in_memory(&key).expect("a store");
        let repositories = Arc::new(Repositories::open(&folder.path().join("repos")).expect("a folder"));
        let operations = Arc::new(Fake::new(store.clone(), Arc::clone(&repositories)));
        let forge = Arc::new(Forge::new(slipway_forge::Parts {
            limits: Arc::default(),
            store: store.clone(),
            repositories: Arc::clone(&repositories),
            acceptance: Arc::new(Acceptance::new(Arc::new(store.clone()), Arc::new(NoObjection), || NOW)),
            outside: Arc::clone(&operations) as Arc<dyn Outside>,
            clock: || NOW,
        }));
        let router = router(Parts {
            limits: Arc::default(),
            forge,
            addresses: Addresses { http: http.into(), ssh: "127.0.0.1:2222".into() },
            version: "0.0.0-test",
        });
        let mut world = Self { router, store, repositories, operations, app: RepoId(0), _folder: folder };
        world.fill();
        world
    }

    fn fill(&mut self) {
        for (name, owner) in
            [("olga", true), ("stan", false), ("rita", false), ("will", false), ("adam", false)]
        {
            self.store.create_user(&User { name: user(name), owner, created: NOW }).expect("a user");
        }
        let registry = Registry {
            name: RegistryName::parse("local").expect("a name"),
            kind: RegistryKind::Generic,
            host: "127.0.0.1:5000".into(),
            prefix: String::new(),
            region: None,
            username: None,
            insecure: true,
            created: NOW,
            ca: None,
            ecr: Default::default(),
        };
        self.store.put_registry(&registry, None).expect("a registry");
        let cluster = Cluster {
            name: ClusterName::parse("lab").expect("a name"),
            server: "https://127.0.0.1:6443".into(),
            context: None,
            created: NOW,
        };
        self.store.put_cluster(&cluster, &Secret::new("kubeconfig")).expect("a cluster");
        self.app = self.repository("app", false);
        self.history("app");
        self.repository("open", true);
        self.commit(
            "open",
            None,
            &[("README.md", "# Open\n\n[docs](docs/a.md)\n"), ("docs/a.md", "hi\n")],
            "Begin",
        );
        self.repository("empty", true);
        for (name, role) in [("rita", Role::Read), ("will", Role::Write), ("adam", Role::Admin)] {
            self.store.grant(&user(name), self.app, role).expect("a grant");
        }
        self.bind_and_run();
    }

    pub(crate) fn repository(&self, name: &str, public: bool) -> RepoId {
        self.repository_of(ObjectFormat::Sha1, name, public)
    }

    /// The same with ids of that hash.
    pub(crate) fn repository_of(&self, format: ObjectFormat, name: &str, public: bool) -> RepoId {
        let about = "A line about it";
        let record =
            self.store.create_repo_as(format, &repo_name(name), about, public, NOW).expect("a record");
        self.repositories.create(record.id, format).expect("a repository");
        record.id
    }

    pub(crate) fn opened(&self, name: &str) -> Arc<Repository> {
        let record = self.store.repo_by_name(&repo_name(name)).expect("read").expect("there");
        self.repositories.get(record.id).expect("open")
    }

    pub(crate) fn history(&self, name: &str) {
        let first = self.commit(
            name,
            None,
            &[
                ("README.md", "# App\n\nSee [the code](src/main.rs) <b>now</b>.\n\n![logo](logo.png)\n"),
                ("src/main.rs", "fn main() {\n    println!(\"<b>&\");\n}\n"),
                ("a b/ü#?%.txt", "odd name\n"),
                ("logo.png", "\u{89}PNG"),
                ("<script>alert(1)<script>.txt", "evil name\n"),
            ],
            "Begin",
        );
        self.commit(
            name,
            Some(first),
            &[("src/main.rs", "fn main() {}\n")],
            &format!("Change {EVIL}\n\nBody {EVIL}\n"),
        );
        let tip = self.tip(name);
        let repository = self.opened(name);
        for full in ["refs/heads/feature/x", "refs/tags/v1"] {
            let update = RefUpdate {
                name: RefName::parse(full).expect("a ref"),
                old: tip.zero_like(),
                new: if full.contains("tags") { first } else { tip },
            };
            repository.update(&[update], true).expect("written").into_iter().for_each(|r| r.expect("moved"));
        }
    }

    pub(crate) fn tip(&self, name: &str) -> Oid {
        let repository = self.opened(name);
        let main = RefName::branch("main").expect("a branch");
        RefStore::current(&*repository, &main).expect("read").expect("born")
    }

    pub(crate) fn commit(
        &self,
        name: &str,
        parent: Option<Oid>,
        files: &[(&str, &str)],
        message: &str,
    ) -> Oid {
        static CLOCK: AtomicU32 = AtomicU32::new(0);
        let repository = self.opened(name);
        let at_ms = NOW.0 - 10_000_000 + u64::from(CLOCK.fetch_add(1, Ordering::Relaxed)) * 1000;
        let by = || Signature {
            name: format!("Ann {EVIL}"),
            email: "ann@example.com".into(),
            at_ms,
            offset_minutes: 0,
        };
        let edits: Vec<Edit> = files
            .iter()
            .map(|(path, text)| Edit {
                path: (*path).into(),
                content: Some(if path.ends_with(".png") {
                    b"\x89PNG\r\n\x1a\nxx".to_vec()
                } else {
                    text.as_bytes().to_vec()
                }),
                executable: false,
            })
            .collect();
        let (id, mut received) =
            repository.commit(parent.as_ref(), &edits, message, &by(), &by()).expect("a commit");
        received.publish().expect("published");
        let update = RefUpdate {
            name: RefName::branch("main").expect("a branch"),
            old: parent.unwrap_or(id.zero_like()),
            new: id,
        };
        repository.update(&[update], true).expect("written").into_iter().for_each(|r| r.expect("moved"));
        id
    }

    fn bind_and_run(&self) {
        let registry = RegistryName::parse("local").expect("a name");
        self.store.bind_registry(&RegistryBinding::plain(self.app, registry, "app".into())).expect("bound");
        self.store
            .bind_cluster(&ClusterBinding {
                repo: self.app,
                cluster: ClusterName::parse("lab").expect("a name"),
                branch: RefName::branch("main").expect("a branch"),
                path: ".".into(),
                namespace: "default".into(),
                prune: true,
                dry_run: DryRun::Warn,
                allow_namespaces: ["other".to_owned()].into(),
                cluster_scoped: false,
                kinds: Default::default(),
                pod_security: Default::default(),
                adopt: false,
                require_signed: false,
                allow_unsigned: Default::default(),
                rules: Default::default(),
            })
            .expect("bound");
        for state in [BuildState::Succeeded, BuildState::Failed, BuildState::Running] {
            self.store.add_build(self.build(state)).expect("a build");
        }
        for state in [DeployState::Healthy, DeployState::Failed] {
            self.store.add_deploy(self.deploy(state)).expect("a deploy");
        }
    }

    pub(crate) fn build(&self, state: BuildState) -> Build {
        let time = |stage, started: u64, ended: Option<u64>| StageTime {
            stage,
            started: UnixMillis(NOW.0 - started),
            ended: ended.map(|e| UnixMillis(NOW.0 - e)),
            skipped: false,
        };
        let problem =
            Problem::new(ProblemKind::Invalid, format!("The test failed with status 1. {EVIL}"), "Mend it.");
        let failed = state == BuildState::Failed;
        let done = state == BuildState::Succeeded;
        Build {
            repo: self.app,
            number: BuildNumber(0),
            event: EventId(1),
            ref_name: RefName::branch("main").expect("a branch"),
            commit: self.tip("app"),
            part: None,
            content: None,
            reuses: None,
            engine: None,
            afresh: false,
            needs: Vec::new(),
            title: format!("Change {EVIL}"),
            actor: "will".into(),
            stage: if done { Stage::Push } else { Stage::Test },
            stages: vec![
                time(Stage::Clone, 60_000, Some(59_000)),
                time(Stage::Build, 59_000, Some(9_000)),
                time(Stage::Test, 9_000, done.then_some(4_000)),
            ],
            image: Some("sha256:1".into()),
            test: if done { TestVerdict::Passed } else { TestVerdict::Pending },
            pushed: done.then(|| PushedImage {
                name: "127.0.0.1:5000/app".into(),
                tags: vec!["latest".into()],
                digest: Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("a digest"),
            }),
            bumps: vec![],
            moves: vec![],
            bases: None,
            attached: Default::default(),
            results: Default::default(),
            cause: slipway_core::build::BuildCause::Push,
            no_cache: false,
            asked: slipway_core::build::Asked::default(),
            run: Run {
                failure: failed.then(|| Failure { class: FailureClass::User, problem: problem.clone() }),
                started: Some(UnixMillis(NOW.0 - 60_000)),
                ended: state.is_final().then_some(UnixMillis(NOW.0 - 3_000)),
                ..Run::new(state, UnixMillis(NOW.0 - 61_000))
            },
        }
    }

    pub(crate) fn deploy(&self, state: DeployState) -> Deploy {
        let object = |kind: &str, health| ObjectReport {
            group: "apps".into(),
            version: "v1".into(),
            kind: kind.into(),
            namespace: Some("default".into()),
            name: "app".into(),
            source: "deployment.yaml:1".into(),
            change: Did::Configured,
            health,
            message: EVIL.into(),
        };
        Deploy {
            repo: self.app,
            number: DeployNumber(0),
            event: None,
            cause: DeployCause::Sync,
            cluster: ClusterName::parse("lab").expect("a name"),
            commit: self.tip("app"),
            title: format!("Change {EVIL}"),
            actor: "will".into(),
            phase: Phase::Rollout,
            objects: vec![object("Service", Health::Healthy), object("Deployment", Health::Degraded)],
            notes: vec![format!("A note {EVIL}")],
            run: Run { started: Some(NOW), ended: Some(NOW), ..Run::new(state, NOW) },
        }
    }

    /// A token of that user.
    pub(crate) fn token(&self, name: &str, scopes: &[Scope]) -> String {
        let minted = mint_token().expect("random");
        let token = Token {
            id: minted.id,
            user: user(name),
            name: "test".into(),
            scopes: scopes.iter().copied().collect(),
            created: NOW,
            expires: None,
            parent: None,
        };
        self.store.add_token(&token, minted.sha256).expect("recorded");
        minted.value.expose().to_owned()
    }

    /// Signs in on the page, as a browser would.
    pub(crate) async fn sign_in(&self, name: &str) -> As {
        let token = self.token(name, &[Scope::Api]);
        let reply = self.form("/-/login", &As::Nobody, &[("token", &token), ("next", "/-/keys")]).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        let cookie = reply.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let half = As::Session { cookie: cookie.clone(), csrf: String::new() };
        let page = self.get("/-/keys", &half).await.text();
        let csrf =
            page.split("name=\"csrf\" value=\"").nth(1).and_then(|t| t.split('"').next()).expect("a token");
        As::Session { cookie, csrf: csrf.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str, who: &As) -> Reply {
        self.send(Request::get(path), who, Body::empty()).await
    }

    /// Sends a form with the session's token.
    pub(crate) async fn form(&self, path: &str, who: &As, fields: &[(&str, &str)]) -> Reply {
        let mut fields: Vec<(&str, &str)> = fields.to_vec();
        if let As::Session { csrf, .. } = who {
            fields.push(("csrf", csrf));
        }
        self.form_as_given(path, who, &fields).await
    }

    pub(crate) async fn form_as_given(&self, path: &str, who: &As, fields: &[(&str, &str)]) -> Reply {
        let encode = |t: &str| {
            percent_encoding::utf8_percent_encode(t, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let body: Vec<String> = fields.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request, who, Body::from(body.join("&"))).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, who: &As, body: Option<Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("/-/api/v1{path}"));
        if let As::Session { csrf, .. } = who {
            request = request.header("x-slipway-csrf", csrf);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request, who, body).await
    }

    pub(crate) async fn send(&self, request: http::request::Builder, who: &As, body: Body) -> Reply {
        let response = self.open(request, who, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(|b| b.to_bytes().to_vec()).unwrap_or_default();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// The answer with its body still open.
    pub(crate) async fn open(
        &self,
        request: http::request::Builder,
        who: &As,
        body: Body,
    ) -> axum::response::Response {
        let request = match who {
            As::Nobody => request,
            As::Actor(actor) => request.extension(Caller {
                actor: actor.clone(),
                credential: Credential::None,
                surface: Surface::Ssh,
                from: None,
            }),
            As::Bearer(token) => request.header("authorization", format!("Bearer {token}")),
            As::Session { cookie, .. } => request.header("cookie", cookie),
        };
        let request = request.header("host", "127.0.0.1:8080").body(body).expect("a request");
        self.router.clone().oneshot(request).await.expect("infallible")
    }
}

pub(crate) fn owner() -> As {
    As::Actor(Actor::User { name: user("olga"), owner: true })
}

pub(crate) fn member(name: &str) -> As {
    As::Actor(Actor::User { name: user(name), owner: false })
}

/// A public key that is made here and belongs to nobody.
pub(crate) fn key_line(seed: u8) -> String {
    use base64::Engine as _;
    let mut blob = Vec::new();
    for field in [&b"ssh-ed25519"[..], &[seed; 32]] {
        blob.extend_from_slice(&u32::try_from(field.len()).expect("short").to_be_bytes());
        blob.extend_from_slice(field);
    }
    format!("ssh-ed25519 {} ann@desk", base64::engine::general_purpose::STANDARD.encode(blob))
}

pub(crate) fn error_kind(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(json!({}));
    body["error"]["kind"].as_str().unwrap_or_default().to_owned()
}
