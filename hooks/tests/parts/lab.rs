//! The real parts, as `tests/lab` leaves their addresses.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A value of the lab's environment: from this process, or from the file that `tests/lab up` writes.
fn value(name: &str) -> String {
    if let Ok(value) = std::env::var(name) {
        return value;
    }
    let file = PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(".cache/slipway/lab/env");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|l| l.trim_start_matches("export ").strip_prefix(&format!("{name}=")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("{name} is not set: run tests/lab up first"))
}

/// The engine's address.
pub(crate) fn engine() -> String {
    value("DOCKER_HOST")
}

/// `HOST:PORT` of the open registry.
pub(crate) fn registry() -> String {
    value("SLIPWAY_TEST_REGISTRY")
}

/// A registry of its own that wants a login: user `dev` or `AWS`, password [`PASSWORD`].
pub(crate) struct LockedRegistry {
    pub(crate) host: String,
    child: Child,
    _folder: tempfile::TempDir,
}

/// The password of a published bcrypt test vector (crypt_blowfish), since nothing here makes bcrypt hashes.
pub(crate) const PASSWORD: &str = "U*U";
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

impl LockedRegistry {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With a certificate that an authority of its own has signed; the authority's certificate.
    pub(crate) fn start_with_tls() -> (Self, String) {
        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let script = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
               -keyout {ca_key} -out {ca} 2>&1 && \
             openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=registry -keyout {key} -out {ask} 2>&1 && \
             printf subjectAltName=IP:127.0.0.1 > {names} && \
             openssl x509 -req -in {ask} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {names} -out {pem} 2>&1",
            ca_key = file("ca.key"),
            ca = file("ca.pem"),
            key = file("key"),
            ask = file("ask"),
            names = file("names"),
            pem = file("pem"),
        );
        let made = Command::new("sh").arg("-c").arg(&script).output().expect("sh");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let authority = std::fs::read_to_string(file("ca.pem")).expect("written");
        let tls = format!(", tls: {{ certificate: {}, key: {} }}", file("pem"), file("key"));
        let registry = Self::start_with(&tls);
        (registry, authority)
    }

    fn start_with(tls: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port();
        let host = format!("127.0.0.1:{port}");
        let path = folder.path().display();
        std::fs::write(folder.path().join("users"), format!("dev:{HASH}\nAWS:{HASH}\n")).expect("written");
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {path}/data }} }}\n\
             auth: {{ htpasswd: {{ realm: test, path: {path}/users }} }}\nhttp: {{ addr: \"{host}\"{tls} }}\n"
        );
        std::fs::write(folder.path().join("config.yml"), config).expect("written");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed: run tests/lab up first");
        let begun = Instant::now();
        while std::net::TcpStream::connect(&host).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { host, child, _folder: folder }
    }
}

impl Drop for LockedRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the docker command against the lab's engine; its output.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let done =
        Command::new("docker").env("DOCKER_HOST", engine()).args(arguments).output().expect("docker runs");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
