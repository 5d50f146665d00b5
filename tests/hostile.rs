//! Clients that mean harm, with and without an account, against the real binary, while honest work goes on beside them:
//! half-sent requests, answers that nobody reads, connections by the hundred, packs that burst, and an owner who puts an
//! end to it.

#[path = "harness/mod.rs"]
mod harness;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use harness::*;

/// How long an honest request may take beside hostile ones: a guard against hanging, and no measure.
const GUARD: Duration = Duration::from_secs(10);

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(GUARD)).expect("set");
    stream
}

/// Sends a text over each of so many connections, and keeps them.
fn hold(address: &str, count: usize, text: &str) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = connect(address);
        // Whoever had to give way already is cut off here.
        let _ = stream.write_all(text.as_bytes());
        stream
    };
    (0..count).map(one).collect()
}

/// Opens more files than a test has by default.
fn raise_own_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("more files");
}

/// Runs it within the guard.
fn in_time<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    assert!(begun.elapsed() < GUARD, "{what} took {:?}", begun.elapsed());
    done
}

/// Everything that honest people do, over every door.
fn honest(server: &Slipway, owner: &Person, folder: &std::path::Path, when: &str) {
    let health = in_time(when, || curl(&[&format!("http://{}/-/healthz", server.http)]));
    assert_eq!(health.0, 200, "{when}");
    assert_eq!(in_time(when, || owner.get("/-/api/v1/whoami")).0, 200, "{when}");
    assert_eq!(in_time(when, || curl(&[&format!("http://{}/pub", server.http)])).0, 200, "{when}");
    in_time(when, || owner.git(folder, &["ls-remote", &owner.http_url("pub")]));
    owner.commit(folder, &[("when", when)], when);
    in_time(when, || owner.git(folder, &["push", "-q", &owner.ssh_url("pub"), "main"]));
    in_time(when, || server.cli(&["user", "list"]));
}

/// A server with a public repository that has these files.
fn served(server: &Slipway, files: &[(&str, &str)]) -> (Person, std::path::PathBuf) {
    let owner = server.person("root", true);
    server.cli(&["repo", "create", "pub", "--public"]);
    let folder = owner.work_tree("pub", files);
    owner.git(&folder, &["push", "-q", &owner.http_url("pub"), "main"]);
    (owner, folder)
}

#[test]
fn two_thousand_half_sent_bodies_take_nothing_away() {
    raise_own_files();
    let server = Slipway::start();
    let (owner, folder) = served(&server, &[("a", "a")]);
    let form = "POST /-/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 1000\r\n\r\nab";
    let api = "POST /-/api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let git = "POST /pub/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-upload-pack-request\r\n\
               Content-Length: 1000\r\n\r\n00";
    let mut held = Vec::new();
    for text in [form, api, git] {
        held.extend(hold(&server.http, 700, text));
        honest(&server, &owner, &folder, &format!("{} half-sent bodies", held.len()));
    }
    assert!(server.resident_mib(true) < 400, "{} MiB", server.resident_mib(true));
}

#[test]
fn few_open_files_are_shared_out_so_that_every_door_stays_open() {
    raise_own_files();
    let server = Slipway::start_with_files(1024);
    let (owner, folder) = served(&server, &[("a", "a")]);
    let mut held =
        hold(&server.http, 1030, "POST /-/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab");
    honest(&server, &owner, &folder, "1030 connections over HTTP");
    held.extend(hold(&server.ssh, 600, ""));
    // Those in front of it have to have been silent for a moment.
    honest(&server, &owner, &folder, "600 over SSH beside them");
    let admin = UnixStream::connect(server.data.join("run/admin.sock"));
    assert!(admin.is_ok(), "the admin socket takes connections");
    drop(held);
}

#[test]
fn an_ssh_client_that_finds_no_place_is_told_why_by_its_own_program() {
    raise_own_files();
    let server = Slipway::start_with_files(128);
    let owner = server.person("root", true);
    // Whoever has not signed in for a while gives way, and is waited for until then: new ones keep the queue full.
    let _held = hold(&server.ssh, 64, "");
    let told = owner.over_ssh("whoami", "");
    let words = text(&told.stderr);
    let fine = told.status.success() || words.contains("SSH connections");
    assert!(fine, "a sentence, or a place: {words}");
}

#[test]
fn an_account_makes_so_many_repositories_and_no_more() {
    let server = Slipway::start();
    let (owner, writer) = (server.person("root", true), server.person("bob", false));
    let mut refused = None;
    for n in 0..150 {
        let name = format!("{{\"name\":\"r{n}\"}}");
        let auth = format!("{}:{}", writer.name, writer.token);
        let url = format!("http://{}/-/api/v1/repos", server.http);
        let (status, body) = curl(&["-u", &auth, "-H", "Content-Type: application/json", "-d", &name, &url]);
        if status != 201 {
            refused = Some((n, status, body));
            break;
        }
    }
    let (n, status, body) = refused.expect("a bound");
    assert_eq!((n, status), (100, 413), "{body}");
    assert!(body.contains("as many as one account may"), "{body}");
    let over_ssh = writer.over_ssh("repo create another", "");
    assert!(text(&over_ssh.stderr).contains("as many as one account may"), "{}", text(&over_ssh.stderr));
    assert!(owner.over_ssh("repo create another", "").status.success(), "owners have no such bound");
    server.cli(&["repo", "remove", "r0", "--yes"]);
    assert!(writer.over_ssh("repo create r0", "").status.success(), "one went, one may come");
}
