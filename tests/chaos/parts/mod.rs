//! Parts outside of the server, made here: an engine with a registry, a cluster, and an address for webhooks. They live on
//! while the server is killed, and remember what they were asked to do and in which of its lives.

pub(crate) mod cluster;
pub(crate) mod engine;
pub(crate) mod http;
pub(crate) mod listener;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::cluster::Cluster;
use self::engine::{Engine, Registry};
use self::listener::Listener;
use crate::activity::{Activity, Tally};

/// Which life of the server it is; shared.
#[derive(Clone, Default)]
pub(crate) struct Lives(Arc<AtomicUsize>);

impl Lives {
    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Something that was done outside of the server at its word.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) life: usize,
    /// What it was done for: a build, a commit, a delivery.
    pub(crate) of: String,
    pub(crate) what: String,
}

/// What was done, oldest first.
pub(crate) struct Effects {
    tally: Arc<Tally>,
    done: Mutex<Vec<Effect>>,
}

impl Effects {
    fn new(tally: &Arc<Tally>) -> Arc<Self> {
        Arc::new(Self { tally: Arc::clone(tally), done: Mutex::default() })
    }

    /// Notes an effect and takes some time for it, so that kills come in its midst.
    fn carry_out(&self, activity: Activity, life: usize, of: &str, what: String) {
        let _doing = self.tally.doing(activity);
        let mut done = self.done.lock().expect("lock");
        let time = 10 + done.len() as u64 * 7919 % 150;
        done.push(Effect { life, of: of.to_owned(), what });
        drop(done);
        std::thread::sleep(Duration::from_millis(time));
    }

    pub(crate) fn all(&self) -> Vec<Effect> {
        self.done.lock().expect("lock").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.done.lock().expect("lock").len()
    }
}

/// All of them.
pub(crate) struct Parts {
    lives: Lives,
    addresses: Vec<String>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) listener: Arc<Listener>,
    /// `HOST:PORT` of each.
    pub(crate) registry_at: String,
    pub(crate) cluster_at: String,
    pub(crate) listener_at: String,
    /// The engine's address.
    pub(crate) docker_host: String,
}

impl Parts {
    /// Opens them; the engine's socket is made in `folder`.
    pub(crate) fn open(folder: &Path, tally: &Arc<Tally>) -> Self {
        let lives = Lives::default();
        let registry = Arc::new(Registry::default());
        let registry_at = http::serve(Arc::clone(&registry), lives.clone());
        let engine = Arc::new(Engine::new(registry, Effects::new(tally)));
        let socket = folder.join("engine.sock");
        http::serve_at(Arc::clone(&engine), lives.clone(), &socket);
        let cluster = Arc::new(Cluster::new(Effects::new(tally)));
        let cluster_at = http::serve(Arc::clone(&cluster), lives.clone());
        let listener = Arc::new(Listener::new(Effects::new(tally)));
        let listener_at = http::serve(Arc::clone(&listener), lives.clone());
        let socket = socket.to_str().expect("utf-8").to_owned();
        let addresses = vec![socket.clone(), cluster_at.clone(), listener_at.clone()];
        let docker_host = format!("unix://{socket}");
        Self {
            lives,
            addresses,
            engine,
            cluster,
            listener,
            registry_at,
            cluster_at,
            listener_at,
            docker_host,
        }
    }

    /// The server is dead and begins a new life: what comes from now on is of that.
    pub(crate) fn next_life(&self) {
        self.addresses.iter().for_each(|address| http::fence(address));
        self.lives.0.fetch_add(1, Ordering::SeqCst);
    }
}
