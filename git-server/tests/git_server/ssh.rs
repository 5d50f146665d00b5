//! The SSH side as OpenSSH's client meets it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use slipway_core::Role;

use crate::server::{Server, text};

#[test]
fn a_command_hears_that_its_client_has_left() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let mut client = ann.ssh(&[], &["linger"]).stdin(Stdio::null()).spawn().expect("ssh runs");
    let until = |verb: &str| {
        let begun = Instant::now();
        while !server.echo.has(verb) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{verb}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("linger");
    assert!(!server.echo.has("left"), "the end of its input is not the end of it");
    client.kill().expect("killed");
    client.wait().expect("ended");
    until("left");
}

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

/// What OpenSSH tells of a connection with these options: the key exchange, host key and cipher that were agreed on, or
/// the end of it.
fn agreed(person: &crate::server::Person, options: &[&str]) -> String {
    let mut all = vec!["-v"];
    for option in options {
        all.extend(["-o", option]);
    }
    let told = person.ssh(&all, &["x"]).output().expect("ssh runs");
    let text = text(&told.stderr);
    let word = |start: &str| {
        let line = text.lines().find_map(|line| line.split_once(start)).map_or("?", |(_, rest)| rest);
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    if !told.status.success() {
        return format!(
            "no {}",
            text.split_once("no matching ")
                .map_or(text.as_str(), |(_, rest)| rest.split_once(" found").map_or(rest, |(kind, _)| kind))
        );
    }
    let (kex, key) = (word("kex: algorithm: "), word("kex: host key algorithm: "));
    let (cipher, mac) = (word("server->client cipher: "), word(" MAC: "));
    format!("{kex} {key} {cipher} {mac}")
}

/// Asks for the RSA key as a client does that knows no other kind, has it made so, and lets `person` know it.
fn learn_rsa_key(server: &Server, person: &crate::server::Person) {
    let (host, port) = (server.ssh.ip().to_string(), server.ssh.port().to_string());
    let scan = || {
        let scanned =
            Command::new("ssh-keyscan").args(["-T", "30", "-t", "rsa", "-p", &port, &host]).output();
        text(&scanned.expect("ssh-keyscan runs").stdout)
    };
    let (first, again) = (scan(), scan());
    assert!(first.contains(" ssh-rsa AAAA") && first == again, "{first}");
    let known = person.home.join("known_hosts");
    let before = std::fs::read_to_string(&known).expect("there");
    std::fs::write(known, before + &first).expect("written");
}

#[test]
fn openssh_agrees_on_what_is_strong_whatever_its_settings_leave() {
    let server = Server::start();
    let ann = server.person("ann", true);
    learn_rsa_key(&server, &ann);
    let usual = agreed(&ann, &[]);
    assert!(usual.contains(" ssh-ed25519 ") && usual.ends_with("-gcm@openssh.com <implicit>"), "{usual}");
    let etm = "hmac-sha2-256-etm@openssh.com";
    for (options, want) in [
        // As RHEL's FIPS policy leaves it, and a stricter one of older hardening guides.
        (
            &[
                "KexAlgorithms=ecdh-sha2-nistp256,ecdh-sha2-nistp384,diffie-hellman-group14-sha256",
                "HostKeyAlgorithms=ecdsa-sha2-nistp256,rsa-sha2-256,rsa-sha2-512",
                "Ciphers=aes256-gcm@openssh.com,aes256-ctr,aes128-ctr",
            ][..],
            "ecdh-sha2-nistp256 ecdsa-sha2-nistp256 aes256-gcm@openssh.com <implicit>".to_owned(),
        ),
        (&["Ciphers=aes256-ctr,aes192-ctr,aes128-ctr"], format!("* ssh-ed25519 aes256-ctr {etm}")),
        (
            &[
                "KexAlgorithms=ecdh-sha2-nistp384",
                "HostKeyAlgorithms=rsa-sha2-256",
                "Ciphers=aes256-ctr",
                "MACs=hmac-sha2-512-etm@openssh.com",
            ],
            "ecdh-sha2-nistp384 rsa-sha2-256 aes256-ctr hmac-sha2-512-etm@openssh.com".into(),
        ),
        (
            &["KexAlgorithms=ecdh-sha2-nistp521"],
            "ecdh-sha2-nistp521 ssh-ed25519 *-gcm@openssh.com <implicit>".into(),
        ),
        (
            &["KexAlgorithms=diffie-hellman-group14-sha256", "HostKeyAlgorithms=rsa-sha2-512"],
            "diffie-hellman-group14-sha256 rsa-sha2-512 *-gcm@openssh.com <implicit>".into(),
        ),
        (
            &["HostKeyAlgorithms=ecdsa-sha2-nistp256,ssh-ed25519"],
            "* ecdsa-sha2-nistp256 *-gcm@openssh.com <implicit>".into(),
        ),
        (&["Ciphers=aes128-ctr,chacha20-poly1305@openssh.com"], format!("* ssh-ed25519 aes128-ctr {etm}")),
        (&["Ciphers=chacha20-poly1305@openssh.com,aes128-ctr"], format!("* ssh-ed25519 aes128-ctr {etm}")),
        (
            &["Ciphers=chacha20-poly1305@openssh.com"],
            "* ssh-ed25519 chacha20-poly1305@openssh.com <implicit>".into(),
        ),
        (&["Ciphers=aes256-gcm@openssh.com"], "* ssh-ed25519 aes256-gcm@openssh.com <implicit>".into()),
        (
            &["Ciphers=aes128-gcm@openssh.com", "MACs=hmac-sha1"],
            "* ssh-ed25519 aes128-gcm@openssh.com <implicit>".into(),
        ),
        (&["Ciphers=aes128-cbc"], "no cipher".into()),
        (&["Ciphers=aes256-ctr", "MACs=hmac-sha1,umac-128-etm@openssh.com"], "no MAC".into()),
        (&["KexAlgorithms=diffie-hellman-group14-sha1"], "no key exchange method".into()),
        (
            &["KexAlgorithms=diffie-hellman-group1-sha1,diffie-hellman-group-exchange-sha1"],
            "no key exchange method".into(),
        ),
        (&["HostKeyAlgorithms=ssh-rsa"], "no host key type".into()),
    ] {
        let got = agreed(&ann, options);
        let fits =
            |(got, want): (&str, &str)| want.strip_prefix('*').map_or(got == want, |end| got.ends_with(end));
        let same = got.split(' ').count() == want.split(' ').count()
            && got.split(' ').zip(want.split(' ')).all(fits);
        assert!(same, "{options:?}: {got}, not {want}");
    }
    let password = ann.ssh(&["-o", "PubkeyAuthentication=no"], &["x"]).output().expect("ssh runs");
    assert!(text(&password.stderr).contains("Permission denied (publickey)"), "{}", text(&password.stderr));
}

#[test]
fn strict_key_exchange_is_kept_in_every_way() {
    let server = Server::start();
    for id in ["SSH-2.0-OpenSSH_9.9\r\n", "SSH-2.0-OpenSSH_10.1\r\n", "SSH-2.0-PuTTY_Release_0.83\r\n"] {
        assert!(lists_for(&server, id).contains("kex-strict-s-v00@openssh.com"), "{id}");
    }
}

#[test]
fn other_clients_are_shown_the_key_they_know_and_the_choice_of_ciphers() {
    let server = Server::start();
    // One that lets the server speak first.
    let said = lists_for(&server, "SSH-2.0-libssh_0.8.9\r\n");
    assert!(said.contains("ssh-ed25519") && !said.contains("rsa-sha2-512,"), "{said}");
    assert!(said.contains("aes256-gcm@openssh.com,aes128-gcm@openssh.com,chacha20"), "{said}");
    assert!(said.contains("aes256-ctr"), "{said}");
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

/// Says that it can do nothing but the dear key exchange, and then nothing more.
fn stalls_in_a_dear_exchange(address: std::net::SocketAddr) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let list = |names: &str| [&(names.len() as u32).to_be_bytes()[..], names.as_bytes()].concat();
    let mut payload = [&[20][..], &[7; 16]].concat();
    let (mac, none) = ("hmac-sha2-256", "none");
    let cipher = "aes128-ctr";
    for names in
        ["diffie-hellman-group14-sha256", "ssh-ed25519", cipher, cipher, mac, mac, none, none, "", ""]
    {
        payload.extend(list(names));
    }
    payload.extend([0; 5]);
    let padding = 4 + (8 - (4 + 1 + payload.len() + 4) % 8) % 8;
    let mut out = b"SSH-2.0-Staller\r\n".to_vec();
    out.extend(((1 + payload.len() + padding) as u32).to_be_bytes());
    out.push(padding as u8);
    out.extend(payload);
    out.extend(std::iter::repeat_n(0, padding));
    // The beginning of what it would have to be answered with something computed.
    out.extend([0, 0, 1, 12, 6, 30]);
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    stream.write_all(&out).expect("sent");
    let mut first = [0; 8];
    stream.read_exact(&mut first).expect("greeted");
    stream
}

#[test]
fn who_stalls_in_a_dear_key_exchange_keeps_nobody_from_another() {
    let server = Server::start();
    let ann = server.person("ann", true);
    let _stalled: Vec<_> = (0..20).map(|_| stalls_in_a_dear_exchange(server.ssh)).collect();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let begun = std::time::Instant::now();
    let got = agreed(&ann, &["KexAlgorithms=diffie-hellman-group14-sha256"]);
    assert!(got.starts_with("diffie-hellman-group14-sha256 "), "{got}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}
