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
const GUARD: Duration = Duration::from_secs(30);

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(GUARD)).expect("set");
    stream
}

/// A connection from another address of this machine.
fn connect_from_elsewhere(address: &str) -> TcpStream {
    let to = address.parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 2], 0).into()).expect("another address");
        socket.connect(to).await.expect("connected")
    });
    let stream = stream.into_std().expect("a stream");
    stream.set_nonblocking(false).expect("set");
    stream
}

/// Sends a text over each of so many connections, and keeps them.
fn hold(address: &str, count: usize, text: &str) -> Vec<TcpStream> {
    hold_with(connect, address, count, text)
}

fn hold_with(connect: fn(&str) -> TcpStream, address: &str, count: usize, text: &str) -> Vec<TcpStream> {
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
    // Whoever comes from the same address gets the places of those that have been silent for a moment.
    std::thread::sleep(Duration::from_secs(4));
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

/// A repository with a large file that does not compress.
fn with_large_file(server: &Slipway) -> (Person, std::path::PathBuf) {
    let (owner, folder) = served(server, &[("a", "a")]);
    let mut noise = vec![0; 15 << 20];
    let mut state = 1u64;
    for byte in &mut noise {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *byte = (state >> 56) as u8;
    }
    std::fs::write(folder.join("big.bin"), noise).expect("written");
    owner.commit(&folder, &[], "large");
    owner.git(&folder, &["push", "-q", &owner.http_url("pub"), "main"]);
    (owner, folder)
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

#[test]
fn readers_who_do_not_read_cost_little_and_keep_nobody_out() {
    raise_own_files();
    let server = Slipway::start();
    let (owner, folder) = with_large_file(&server);
    let tip = owner.git(&folder, &["rev-parse", "HEAD"]).trim().to_owned();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let body = format!(
        "{}0001{}{}0000",
        packet("command=fetch"),
        packet(&format!("want {tip}\n")),
        packet("done\n")
    );
    let clone = format!(
        "POST /pub/git-upload-pack HTTP/1.1\r\nHost: x\r\nGit-Protocol: version=2\r\n\
         Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut held = Vec::new();
    for (what, text) in [
        ("raw files", get("/pub/raw/big.bin")),
        ("archives", get("/pub/archive/main.tar.gz")),
        ("clones", clone),
        ("pages", get("/pub")),
    ] {
        held.extend(hold(&server.http, 150, &text));
        std::thread::sleep(Duration::from_secs(1));
        honest(&server, &owner, &folder, &format!("{what} that nobody reads"));
        let fresh = owner.home.join(format!("clone-{}", held.len()));
        in_time(what, || {
            owner.git(&folder, &["clone", "-q", &owner.http_url("pub"), fresh.to_str().expect("utf-8")])
        });
    }
    assert!(server.resident_mib(true) < 400, "{} MiB", server.resident_mib(true));
}

/// zlib's form without any compression.
fn stored(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short");
    let (mut a, mut b) = (1u32, 0u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    let mut out = vec![0x78, 0x01, 0x01];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend((b << 16 | a).to_be_bytes());
    out
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A pack of few bytes: 16 MiB of nothing, and a delta that copies it nine times: more than memory has for all.
fn delta_bomb(owner: &Person, folder: &std::path::Path) -> Vec<u8> {
    use sha1::Digest as _;
    const BASE: u64 = 16 << 20;
    let file = owner.home.join("zeros");
    std::fs::File::create(&file).and_then(|file| file.set_len(BASE)).expect("zeros");
    let blob = owner.git(folder, &["hash-object", "-w", file.to_str().expect("utf-8")]);
    let mut command = owner.git_command(folder, &["pack-objects", "--stdout", "-q"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("git");
    child.stdin.take().expect("stdin").write_all(blob.as_bytes()).expect("written");
    let whole = child.wait_with_output().expect("packed").stdout;
    let mut pack = [b"PACK\0\0\0\x02\0\0\0\x02", &whole[12..whole.len() - 20]].concat();
    for n in 0..1u8 {
        let (copies, at) = (9, pack.len());
        let mut delta = Vec::new();
        varint(BASE, &mut delta);
        varint(copies * 0xff_ffff + 1, &mut delta);
        for _ in 0..copies {
            delta.extend([0x80 | 0x10 | 0x20 | 0x40, 0xff, 0xff, 0xff]);
        }
        delta.extend([1, n + 1]);
        let size = delta.len();
        pack.extend([0x80 | 6 << 4 | (size & 15) as u8, (size >> 4) as u8]);
        // The distance back to the base, as offset deltas have it.
        let mut rest = at - 12;
        let mut distance = vec![(rest & 0x7f) as u8];
        while rest >> 7 > 0 {
            rest = (rest >> 7) - 1;
            distance.insert(0, 0x80 | (rest & 0x7f) as u8);
        }
        pack.extend(distance);
        pack.extend(stored(&delta));
    }
    let sum = sha1::Sha1::digest(&pack);
    pack.extend(sum);
    pack
}

#[test]
fn a_delta_bomb_costs_its_sender_time_and_the_server_no_memory() {
    let server = Slipway::start();
    let (owner, folder) = served(&server, &[("a", "a")]);
    let tip = owner.git(&folder, &["rev-parse", "HEAD"]).trim().to_owned();
    let bomb = delta_bomb(&owner, &folder);
    assert!(bomb.len() < 20_000, "{} bytes", bomb.len());
    let before = server.resident_mib(true);
    let push = |n: usize| {
        let command = packet(&format!("{} {tip} refs/heads/bomb-{n}\0report-status", "0".repeat(40)));
        let body = owner.home.join(format!("body-{n}"));
        std::fs::write(&body, [command.as_bytes(), b"0000", &bomb].concat()).expect("written");
        let (auth, url) = (
            format!("{}:{}", owner.name, owner.token),
            format!("http://{}/pub/git-receive-pack", server.http),
        );
        let data = format!("@{}", body.display());
        let kind = "Content-Type: application/x-git-receive-pack-request";
        let sent = run(std::process::Command::new("curl").args([
            "-s",
            "-m",
            "300",
            "-u",
            &auth,
            "-H",
            kind,
            "--data-binary",
            &data,
            &url,
        ]));
        text(&sent.stdout)
    };
    std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..2).map(|n| scope.spawn(move || push(n))).collect();
        for push in pushes {
            let told = push.join().expect("pushed");
            assert!(told.contains("unpack ok"), "{told}");
        }
    });
    let peak = server.resident_mib(true);
    println!("{before} MiB became {peak} MiB");
    assert!(peak < before + 250, "{before} MiB became {peak} MiB");
    owner.git(&folder, &["ls-remote", &owner.http_url("pub")]);
}

#[test]
fn files_of_any_size_are_sent_whole_in_part_and_in_archives() {
    let server = Slipway::start();
    let (owner, folder) = served(&server, &[("a", "a")]);
    let bytes = 48u64 << 20;
    std::fs::File::create(folder.join("zero.bin")).and_then(|file| file.set_len(bytes)).expect("zeros");
    owner.commit(&folder, &[], "large");
    owner.git(&folder, &["push", "-q", &owner.http_url("pub"), "main"]);
    let (raw, out) = (format!("http://{}/pub/raw/zero.bin", server.http), owner.home.join("out"));
    let fetch = |args: &[&str]| {
        let all = run(std::process::Command::new("curl")
            .args(["-s", "-m", "300", "-D", "-", "-o"])
            .arg(&out)
            .args(args));
        assert!(all.status.success(), "{args:?}");
        (text(&all.stdout).to_lowercase(), std::fs::metadata(&out).map_or(0, |m| m.len()))
    };
    let (head, got) = fetch(&[&raw]);
    assert!(head.contains("200 ok") && head.contains("accept-ranges: bytes") && got == bytes, "{head}");
    let tag = head.lines().find_map(|l| l.strip_prefix("etag: ")).expect("a tag").trim().to_owned();
    let (head, got) = fetch(&["-r", "40000000-40000009", &raw]);
    assert!(head.contains("206 partial") && got == 10, "{head}");
    assert!(head.contains("content-range: bytes 40000000-40000009/50331648"), "{head}");
    let (head, _) = fetch(&["-H", &format!("If-None-Match: {tag}"), &raw]);
    assert!(head.contains("304 not modified"), "{head}");
    let (head, _) = fetch(&["-r", "60000000-", &raw]);
    assert!(head.contains("416 ") && head.contains("content-range: bytes */50331648"), "{head}");
    fetch(&[&format!("http://{}/pub/archive/main.tar.gz", server.http)]);
    let listed = run(std::process::Command::new("tar").arg("-tvzf").arg(&out));
    assert!(listed.status.success() && text(&listed.stdout).contains("50331648"), "{}", text(&listed.stdout));
    let over_ssh = owner.home.join("ssh.tar");
    let to = over_ssh.to_str().expect("utf-8");
    owner.git(&folder, &["archive", "-o", to, &format!("--remote={}", owner.ssh_url("pub")), "main"]);
    assert!(std::fs::metadata(&over_ssh).is_ok_and(|m| m.len() > bytes));
    assert!(server.resident_mib(true) < 400, "{} MiB", server.resident_mib(true));
}

#[test]
fn an_owner_removes_the_offender_while_everything_is_full() {
    raise_own_files();
    let server = Slipway::start();
    let (owner, folder) = with_large_file(&server);
    let writer = server.person("bob", false);
    let auth = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", writer.name, writer.token))
    };
    server.cli(&["grant", "bob", "pub", "write"]);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {auth}\r\n\r\n");
    let push = format!(
        "POST /pub/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {auth}\r\n\
         Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 1000000\r\n\r\n{}0000PACK",
        packet(&format!("{0} {1} refs/heads/x\0report-status", "0".repeat(40), "1".repeat(40)))
    );
    // From another address than the honest: what an address may hold is its share, also while all of it is being worked on.
    let hold = |address: &str, count, text: &str| hold_with(connect_from_elsewhere, address, count, text);
    let mut held = hold(&server.http, 60, &push);
    held.extend(hold(&server.http, 100, &get("/pub/archive/main.tar.gz")));
    held.extend(hold(&server.http, 1000, &get("/pub/raw/big.bin")));
    held.extend(hold(&server.ssh, 300, ""));
    honest(&server, &owner, &folder, "everything is full");
    in_time("by ssh", || assert!(owner.over_ssh("user list", "").status.success()));
    let begun = Instant::now();
    server.cli(&["user", "remove", "bob"]);
    println!("removed within {:?}", begun.elapsed());
    assert_eq!(writer.get("/-/api/v1/whoami").0, 401);
}
