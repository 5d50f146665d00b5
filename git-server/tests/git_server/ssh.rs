//! The SSH side as OpenSSH's client meets it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use slipway_core::Role;

use crate::server::{Server, text};

#[test]
fn a_shell_is_a_greeting_and_a_command_keeps_its_exit_status() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let out = ann.ssh(&[], &[]).output().expect("ssh runs");
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with("Hello ann. You are signed in; there is no shell here."));
    let out = ann.ssh(&[], &["repo", "create", "'my app'"]).output().expect("ssh runs");
    assert_eq!(text(&out.stdout), "ann ran [\"repo\", \"create\", \"my app\"] with 0 bytes\n");
    assert_eq!((text(&out.stderr).as_str(), out.status.code()), ("done\n", Some(0)));
    assert_eq!(ann.ssh(&[], &["fail"]).output().expect("ssh runs").status.code(), Some(3));
}

#[test]
fn what_is_not_offered_is_refused() {
    let server = Server::start();
    let ann = server.person("ann", true);
    for (command, sentence) in [
        ("git-upload-pack 'app' 'b'", "not quoted as git does it"),
        ("git-upload-pack 'app'; id", "not quoted as git does it"),
        ("git-lfs-authenticate app download", "no Git LFS"),
        ("echo 'unclosed", "A quote is not closed."),
    ] {
        let out = ann.ssh(&[], &[command]).output().expect("ssh runs");
        assert_eq!(out.status.code(), Some(1), "{command}");
        assert!(text(&out.stderr).contains(sentence), "{command}: {}", text(&out.stderr));
    }
    let sftp = ann.ssh(&["-s"], &["sftp"]).output().expect("ssh runs");
    assert!(!sftp.status.success());
    let forward = ann.ssh(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"], &["x"]).output();
    assert!(!forward.expect("ssh runs").status.success());
    let through = ann.ssh(&["-W", "127.0.0.1:22"], &[]).output().expect("ssh runs");
    assert!(!through.status.success());
}

#[test]
fn a_command_reads_and_writes_without_getting_stuck() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let feed = |verb: &str, bytes: usize| {
        let mut child = ann
            .ssh(&[], &[verb])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ssh runs");
        let mut stdin = child.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || {
            // The server may stop reading before it has all.
            let _ = stdin.write_all(&vec![b'k'; bytes]);
        });
        let out = child.wait_with_output().expect("ssh ends");
        writer.join().expect("no panic");
        out
    };
    assert!(text(&feed("read", 100_000).stdout).contains("with 100000 bytes"));
    // It writes more than a window and never reads; the client sends more than is ever kept.
    let out = feed("flood", 20_000_000);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(out.stdout.len() > 4_000_000);
}

#[test]
fn connecting_takes_no_second() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        assert!(ann.ssh(&[], &["x"]).output().expect("ssh runs").status.success());
        best = best.min(started.elapsed());
    }
    assert!(best < Duration::from_millis(900), "{best:?}: is the first answer to `none` delayed?");
}

#[test]
fn several_channels_share_one_connection() {
    let server = Server::start();
    let ann = server.person("ann", false);
    server.repo("app", false);
    server.grant("ann", "app", Role::Write);
    let socket = ann.home.join("mux");
    let master_options =
        ["-o", "ControlMaster=yes", "-o", &format!("ControlPath={}", socket.display()), "-N"];
    let mut master = ann.ssh(&master_options, &[]).spawn().expect("ssh runs");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !socket.exists() {
        assert!(Instant::now() < deadline, "no master connection");
        std::thread::sleep(Duration::from_millis(50));
    }
    let path = format!("ControlPath={}", socket.display());
    let runs: Vec<_> = (0..6)
        .map(|_| ann.ssh(&["-o", &path], &["x"]).stdout(Stdio::piped()).spawn().expect("ssh runs"))
        .collect();
    for run in runs {
        assert!(run.wait_with_output().expect("ends").status.success());
    }
    master.kill().expect("killed");
    master.wait().expect("reaped");
}

#[test]
fn only_strong_algorithms_are_spoken() {
    let server = Server::start();
    let ann = server.person("ann", true);
    for weak in [
        "Ciphers=aes256-ctr",
        "KexAlgorithms=diffie-hellman-group14-sha256",
        "Ciphers=aes128-cbc",
        "MACs=hmac-sha1",
    ] {
        let out = ann.ssh(&["-o", weak], &["x"]).output().expect("ssh runs");
        let spoken = out.status.success();
        // With an AEAD cipher no MAC is negotiated, so the last one goes through.
        assert_eq!(spoken, weak.starts_with("MACs"), "{weak}");
    }
    for good in ["Ciphers=aes256-gcm@openssh.com", "Ciphers=aes128-gcm@openssh.com"] {
        assert!(ann.ssh(&["-o", good], &["x"]).output().expect("ssh runs").status.success(), "{good}");
    }
    let password = ann.ssh(&["-o", "PubkeyAuthentication=no"], &["x"]).output().expect("ssh runs");
    assert!(text(&password.stderr).contains("Permission denied (publickey)"), "{}", text(&password.stderr));
}

/// What the server answers to a client that says `id`: its own line and the plain text of its key exchange lists.
fn lists_for(server: &Server, id: &str) -> String {
    let mut stream = TcpStream::connect(server.ssh).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream.write_all(id.as_bytes()).expect("said");
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    while !text(&said).contains("hmac-") {
        let length = stream.read(&mut piece).expect("answered");
        assert_ne!(length, 0, "hung up after {:?}", text(&said));
        said.extend_from_slice(&piece[..length]);
    }
    text(&said)
}

#[test]
fn openssh_is_offered_the_fast_cipher_alone_and_others_a_choice() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let told = ann.ssh(&["-v"], &["x"]).output().expect("ssh runs");
    let told = text(&told.stderr);
    assert!(told.contains("-gcm@openssh.com MAC: <implicit>"), "{told}");
    assert!(!told.contains("cipher: chacha20"), "{told}");
    for other in ["SSH-2.0-PuTTY_Release_0.78\r\n", "SSH-2.0-Go\n", "SSH-2.0-OpenSS\r\n"] {
        let said = lists_for(&server, other);
        assert!(said.contains("aes256-gcm@openssh.com,aes128-gcm@openssh.com,chacha20"), "{other}: {said}");
    }
    assert!(!lists_for(&server, "SSH-2.0-OpenSSH_7.4\r\n").contains("chacha20"));
}

#[test]
fn who_waits_for_the_server_to_speak_is_spoken_to() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.ssh).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let begun = Instant::now();
    let mut first = [0; 8];
    stream.read_exact(&mut first).expect("greeted");
    assert_eq!(&first, b"SSH-2.0-");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // One that says half of it, and one that hangs up, hold up nobody.
    let mut half = TcpStream::connect(server.ssh).expect("connected");
    half.write_all(b"S").expect("said");
    drop(TcpStream::connect(server.ssh).expect("connected"));
    assert!(server.person("ann", true).ssh(&[], &["x"]).output().expect("ssh runs").status.success());
}

#[test]
fn draining_ends_idle_connections_and_takes_no_new_ones() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let mut idle = ann.ssh(&["-N"], &[]).spawn().expect("ssh runs");
    std::thread::sleep(Duration::from_millis(800));
    assert!(
        server.block_on(server.git.drain(Duration::from_secs(10))),
        "an idle connection held up the drain"
    );
    assert!(idle.wait().expect("reaped").code().is_some());
    assert!(!ann.ssh(&[], &["x"]).output().expect("ssh runs").status.success());
}

#[test]
fn archives_are_gits_and_of_refs_alone() {
    let server = Server::start();
    let dev = server.person("dev", false);
    let path = server.repo("app", false);
    server.grant("dev", "app", Role::Write);
    let tree = dev.work_tree("tree", &[("a", "a"), ("dir/b", "b"), ("dir/deep/c", "c"), ("other/d", "d")]);
    let url = dev.ssh_url("app");
    dev.git(&tree, &["tag", "-a", "-m", "t", "v1"]);
    dev.git(&tree, &["push", "-q", &url, "main", "v1"]);
    let id = dev.git(&tree, &["rev-parse", "main"]).trim().to_owned();
    let remote = format!("--remote={url}");
    for args in [
        &["main"][..],
        &["v1"],
        &["--prefix=x/y/", "main"],
        &["main", "dir"],
        &["main", "dir/deep", "a"],
        &["--prefix=p/", "refs/heads/main", "other/d"],
    ] {
        let ours = dev.try_git(&tree, &[&["archive", &remote, "--format=tar"], args].concat());
        assert!(ours.status.success(), "{args:?}: {}", text(&ours.stderr));
        let theirs = dev.try_git(&tree, &[&["archive", "--format=tar"], args].concat());
        assert!(ours.stdout == theirs.stdout, "{args:?}");
    }
    let packed = dev.try_git(&tree, &["archive", &remote, "--format=tgz", "main"]);
    assert!(packed.status.success() && packed.stdout.starts_with(&[0x1f, 0x8b]));
    let listed = dev.git(&tree, &["archive", &remote, "--list"]);
    assert_eq!(listed, "tar\ntgz\ntar.gz\n");
    dev.git(&path, &["config", "uploadpack.hideRefs", "refs/tags"]);
    for (args, why) in [
        (&[id.as_str()][..], "There is no ref"),
        (&["nothing"], "There is no ref \"nothing\" here. Name a branch"),
        (&["v1"], "There is no ref"),
        (&["main", "nothing"], "There is nothing at \"nothing\"."),
    ] {
        let out = dev.try_git(&tree, &[&["archive", &remote, "--format=tar"], args].concat());
        assert!(!out.status.success() && text(&out.stderr).contains(why), "{args:?}: {}", text(&out.stderr));
    }
    let eve = server.person("eve", false);
    let out = eve.try_git(&tree, &["archive", &format!("--remote={}", eve.ssh_url("app")), "main"]);
    assert!(!out.status.success());
}
