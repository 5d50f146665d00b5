//! HTTPS by the program itself: stock clients, HTTP/2, certificates that change, plain HTTP beside it, names that are not its.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Slipway, curl, eventually, run, text};

/// A certificate for 127.0.0.1 and git.example.com, signed by itself, with its key.
fn certificate(folder: &Path, name: &str, days: &str) {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        days,
    ]);
    openssl.args([
        "-subj",
        &format!("/CN={name}"),
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:git.example.com",
    ]);
    let made = run(openssl.arg("-keyout").arg(file("key")).arg("-out").arg(file("pem")));
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// A data folder with such a certificate and this configuration besides.
fn folder(config: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("slipway-test-").tempdir().expect("temp").keep();
    let data = folder.join("data");
    fs::create_dir_all(&data).expect("folder");
    certificate(&data, "cert", "100");
    let tls = "[tls]\ncert = \"cert.pem\"\nkey = \"cert.key\"\n";
    fs::write(data.join("config.toml"), format!("https = \"127.0.0.1:0\"\n{config}\n{tls}")).expect("config");
    data
}

fn https(server: &Slipway) -> String {
    fs::read_to_string(server.data.join("run/https")).expect("an address").trim().to_owned()
}

#[test]
fn curl_and_git_speak_https_and_plain_http_leads_there() {
    let data = folder("");
    let server = Slipway::start_in(&data, &[]);
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let (at, ca) = (https(&server), data.join("cert.pem"));
    let ca = ca.to_str().expect("utf-8");
    let (status, body) = curl(&[
        "--cacert",
        ca,
        "-u",
        &format!("ann:{}", ann.token),
        &format!("https://{at}/-/api/v1/whoami"),
    ]);
    assert!(status == 200 && body.contains(&format!("https://{at}")), "base_url follows: {body}");
    let head = |args: &[&str]| {
        text(
            &run(Command::new("curl").args(["-s", "-D", "-", "-o", "/dev/null", "--cacert", ca]).args(args))
                .stdout,
        )
    };
    let told = head(&[&format!("https://{at}/-/api/v1/whoami")]);
    assert!(told.starts_with("HTTP/2 200"), "{told}");
    assert!(told.contains("private, no-store") && !told.contains("strict-transport"), "{told}");
    assert!(head(&["--http1.1", &format!("https://{at}/")]).starts_with("HTTP/1.1 "));
    let told = head(&["-X", "POST", &format!("http://{}/app?x=1", server.http)]);
    assert!(
        told.starts_with("HTTP/1.1 308") && told.contains(&format!("location: https://{at}/app?x=1")),
        "{told}"
    );
    assert!(
        !curl(&[&format!("https://{at}/")]).1.contains("Slipway"),
        "unknown authorities are refused by the client"
    );
    // Stock git, by the new address and by the old.
    let tree = ann.work_tree("tree", &[("a", "one\n")]);
    let secure = format!("https://ann:{}@{at}/app", ann.token);
    let git = |args: &[&str]| {
        let out = run(ann.git_command(&tree, args).env("GIT_SSL_CAINFO", ca));
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    git(&["push", &secure, "HEAD:refs/heads/b0"]);
    // curl hands no password of one address on to another, so git asks for it anew; a helper knows it.
    let helper = format!("credential.helper=!f() {{ echo username=ann; echo password={}; }}; f", ann.token);
    git(&["-c", &helper, "push", &format!("http://{}/app", server.http), "HEAD:refs/heads/b1"]);
    let listed = git(&["ls-remote", &secure]);
    assert!(listed.contains("refs/heads/b0") && listed.contains("refs/heads/b1"), "{listed}");
    // Who says nothing holds nobody up, and what is no TLS is cut off.
    let _silent: Vec<_> = (0..50).map(|_| TcpStream::connect(&at).expect("connected")).collect();
    let mut plain = TcpStream::connect(&at).expect("connected");
    plain.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert!(!text(&answer).contains("HTTP/1.1"), "{answer:?}");
    assert_eq!(curl(&["--cacert", ca, &format!("https://{at}/-/healthz")]).0, 200);
}

/// The name in the certificate that is shown.
fn shown(at: &str) -> String {
    let out = run(Command::new("curl").args([
        "-s",
        "-k",
        "-v",
        "-o",
        "/dev/null",
        &format!("https://{at}/-/healthz"),
    ]));
    let told = text(&out.stderr);
    let line = told.lines().find_map(|line| line.split_once("subject: ")).map_or("", |(_, name)| name);
    line.trim().trim_start_matches("CN=").trim_start_matches("CN =").trim().to_owned()
}

#[test]
fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    let data = folder("");
    let server = Slipway::start_in(&data, &[]);
    let at = https(&server);
    assert_eq!(shown(&at), "cert");
    // A connection that was there before goes on.
    let mut kept = Command::new("openssl");
    kept.args(["s_client", "-quiet", "-connect", &at]).stdin(std::process::Stdio::piped());
    let mut kept = kept
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl");
    certificate(&data, "new", "3");
    let put = |from: &str, to: &str| fs::rename(data.join(from), data.join(to)).expect("renamed");
    put("new.key", "cert.key");
    put("new.pem", "cert.pem");
    let within = Duration::from_secs(60);
    eventually("the new one is shown", within, || (shown(&at) == "new").then_some(()));
    eventually("its end is told", within, || server.log().contains("expires soon").then_some(()));
    // A key that is another's, then a file that is none: told, and the one before stays.
    certificate(&data, "other", "100");
    put("other.pem", "cert.pem");
    eventually("the broken pair is told", within, || {
        server.log().contains("is not the key of the certificate").then_some(())
    });
    fs::write(data.join("cert.pem"), "nonsense").expect("written");
    eventually("and again", within, || server.log().contains("there is no certificate in it").then_some(()));
    assert_eq!(shown(&at), "new");
    put("other.key", "cert.key");
    certificate(&data, "third", "100");
    put("third.key", "cert.key");
    put("third.pem", "cert.pem");
    eventually("a whole one is shown again", within, || (shown(&at) == "third").then_some(()));
    let mut stdin = kept.stdin.take().expect("piped");
    stdin.write_all(b"GET /-/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    kept.stdout.take().expect("piped").read_to_string(&mut answer).expect("read");
    assert!(answer.contains("200 OK"), "{answer}");
    kept.wait().expect("reaped");
}

/// What a start with that configuration says when it is refused.
fn refusal(data: &Path) -> String {
    let mut serve = Command::new(harness::program());
    serve.args(["serve", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0", "--data"]).arg(data);
    let out = run(&mut serve);
    assert!(!out.status.success());
    text(&out.stderr)
}

#[test]
fn what_cannot_be_a_certificate_is_refused_at_the_start() {
    let data = folder("");
    fs::write(data.join("cert.key"), "nonsense").expect("written");
    let told = refusal(&data);
    assert!(told.contains("tls.key") && told.contains("no private key"), "{told}");
    fs::remove_file(data.join("cert.pem")).expect("removed");
    let told = refusal(&data);
    assert!(told.contains("tls.cert") && told.contains("cert.pem"), "{told}");
    fs::write(data.join("config.toml"), "https = \"127.0.0.1:0\"\n").expect("written");
    assert!(refusal(&data).contains("https needs a certificate"));
    fs::write(data.join("config.toml"), "[tls]\ncert = \"cert.pem\"\nkye = \"cert.key\"\n").expect("written");
    assert!(refusal(&data).contains("config.toml:3:1: unknown key `kye`; did you mean `key`?"));
}

#[test]
fn plain_http_can_be_left_out_or_served_and_an_open_key_is_told_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = folder("");
    let config = data.join("config.toml");
    let both = fs::read_to_string(&config).expect("there");
    fs::write(&config, format!("{both}plain = \"serve\"\n")).expect("written");
    fs::set_permissions(data.join("cert.key"), fs::Permissions::from_mode(0o644)).expect("changed");
    let server = Slipway::start_in(&data, &[]);
    assert_eq!(curl(&[&format!("http://{}/", server.http)]).0, 200);
    assert!(server.log().contains("tls.key may be read by others"), "{}", server.log());
    drop(server);
    fs::write(&config, format!("{both}plain = \"off\"\n")).expect("written");
    let mut serve = Command::new(harness::program());
    serve.args(["serve", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0", "--data"]).arg(&data);
    let mut child = serve.stderr(std::process::Stdio::null()).spawn().expect("started");
    let at = eventually("it serves", Duration::from_secs(30), || {
        let at = fs::read_to_string(data.join("run/https")).ok()?.trim().to_owned();
        (curl(&["-k", &format!("https://{at}/-/readyz")]).0 == 200).then_some(at)
    });
    assert!(!data.join("run/http").exists(), "only {at}");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[test]
fn names_that_are_not_its_own_get_a_sentence_and_browsers_are_told_of_https() {
    let data = folder("base_url = \"https://git.example.com\"\nhosts = [\"slipway.internal\"]");
    let server = Slipway::start_in(&data, &[]);
    server.cli(&["repo", "create", "app", "--public"]);
    let at = https(&server);
    let ask = |host: &str, path: &str| {
        curl(&["-k", "-H", &format!("Host: {host}"), &format!("https://{at}{path}")])
    };
    for path in ["/", "/app", "/app/info/refs?service=git-upload-pack", "/-/api/v1/repos", "/-/login"] {
        let (status, told) = ask("evil.example", path);
        assert!(
            status == 421 && told.contains("This server is not called") && told.contains("base_url"),
            "{path}: {told}"
        );
        for host in ["git.example.com", "GIT.example.com:443", "slipway.internal", "localhost", &at] {
            assert_eq!(ask(host, path).0, 200, "{host}{path}");
        }
    }
    let told =
        run(Command::new("curl").args(["-s", "-k", "-D", "-", "-o", "/dev/null", &format!("https://{at}/")]));
    assert!(
        text(&told.stdout).contains("strict-transport-security: max-age=31536000"),
        "{}",
        text(&told.stdout)
    );
    let mut raw = TcpStream::connect(&server.http).expect("connected");
    raw.write_all(b"GET /-/healthz HTTP/1.1\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    raw.read_to_string(&mut answer).expect("read");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("has no Host"), "{answer}");
}

#[test]
fn the_doctor_tells_of_a_certificate_that_the_next_start_would_refuse_or_that_ends() {
    let data = folder("");
    let server = Slipway::start_in(&data, &[]);
    let row = || {
        let told = text(&server.try_cli(&["doctor"]).stdout);
        let at = told.find(" tls: ").unwrap_or_else(|| panic!("no row: {told}"));
        let begin = told[..at].rfind('\n').map_or(0, |at| at + 1);
        told[begin..].lines().next().unwrap_or_default().to_owned()
    };
    assert!(row().starts_with("ok  ") && row().contains("is good for "), "{}", row());
    certificate(&data, "soon", "5");
    certificate(&data, "other", "100");
    let file = |name: &str| data.join(name);
    for (cert, key, told) in [
        ("soon.pem", "soon.key", "expires soon, in "),
        ("soon.pem", "other.key", "it is not the key of the certificate"),
        ("other.key", "other.key", "there is no certificate in it"),
        ("other.pem", "other.pem", "there is no private key in it"),
        ("", "other.key", "tls.cert, "),
    ] {
        match cert {
            "" => fs::remove_file(file("cert.pem")).expect("removed"),
            _ => drop(fs::copy(file(cert), file("cert.pem")).expect("copied")),
        }
        fs::copy(file(key), file("cert.key")).expect("copied");
        let row = row();
        assert!(row.starts_with("FAIL") && row.contains(told), "{cert} {key}: {row}");
    }
    fs::write(data.join("config.toml"), "htp = 1\n").expect("written");
    let told = text(&server.try_cli(&["doctor"]).stdout);
    assert!(told.contains("FAIL configuration") && told.contains("1:1: unknown key `htp`"), "{told}");
}
