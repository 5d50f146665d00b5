//! The engine's socket, passed through: when each request for a build begins.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

const ENGINE: &str = "/var/run/docker.sock";
const REQUEST: &[u8] = b"POST /build?";

pub(crate) struct Tap {
    /// What `docker_host` is to be.
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<f64>>>,
}

impl Tap {
    pub(crate) fn open(folder: &Path) -> Self {
        let path: PathBuf = folder.join("engine.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let seen: Arc<Mutex<Vec<f64>>> = Arc::default();
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                pass(client, &notes);
            }
        });
        Self { host: format!("unix://{}", path.display()), seen }
    }

    /// When the first since the last call began, in ms since 1970.
    pub(crate) fn first(&self) -> Option<f64> {
        let mut seen = self.seen.lock().expect("the lock");
        let first = seen.first().copied();
        seen.clear();
        first
    }
}

fn pass(client: UnixStream, notes: &Arc<Mutex<Vec<f64>>>) {
    let engine = UnixStream::connect(ENGINE).expect("the engine");
    let (mut from, mut to) = (client.try_clone().expect("a clone"), engine.try_clone().expect("a clone"));
    let notes = Arc::clone(notes);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n) = from.read(&mut buffer) {
            if buffer[..n].windows(REQUEST.len()).take(64).any(|w| w == REQUEST) {
                notes.lock().expect("the lock").push(now());
            }
            if n == 0 || to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        drop(to.shutdown(std::net::Shutdown::Write));
    });
    let (mut from, mut to) = (engine, client);
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Write));
    });
}

/// In ms since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64() * 1e3)
}
