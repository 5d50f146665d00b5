//! Bad input gets one clear sentence, the same on every surface, and the server goes on.

#[path = "harness/mod.rs"]
mod harness;

use std::io::Write;
use std::process::{Command, Stdio};

use harness::{Person, Slipway, curl, run, text};

fn server_with_app() -> (Slipway, Person, std::path::PathBuf) {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.http_url("app")]);
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    (server, ann, tree)
}

/// The server still does its work.
fn assert_alive(ann: &Person, tree: &std::path::Path) {
    ann.commit(tree, &[("alive.txt", &format!("{:?}", std::time::Instant::now()))], "alive");
    ann.git(tree, &["push", "-q", "origin", "main"]);
}

/// POSTs bytes to a git service.
fn post(ann: &Person, path: &str, service: &str, body: &[u8]) -> (u16, String) {
    let mut curl = Command::new("curl")
        .args(["-s", "-m", "30", "-w", "\n%{http_code}", "-u", &format!("{}:{}", ann.name, ann.token)])
        .args(["-H", &format!("Content-Type: application/x-git-{service}-request"), "--data-binary", "@-"])
        .arg(format!("http://{}/{path}/git-{service}", ann.http))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    curl.stdin.take().expect("stdin").write_all(body).expect("write");
    let out = curl.wait_with_output().expect("curl ends");
    let all = text(&out.stdout);
    let (body, status) = all.rsplit_once('\n').unwrap_or(("", "0"));
    (status.parse().unwrap_or(0), body.to_owned())
}

fn pkt(line: &str) -> Vec<u8> {
    format!("{:04x}{line}", line.len() + 4).into_bytes()
}

/// A push of one command with these bytes as its pack.
fn push_of(old: &str, new: &str, name: &str, pack: &[u8]) -> Vec<u8> {
    let mut body = pkt(&format!("{old} {new} {name}\0report-status"));
    body.extend_from_slice(b"0000");
    body.extend_from_slice(pack);
    body
}

const ZERO: &str = "0000000000000000000000000000000000000000";

#[test]
fn an_unknown_key_and_a_wrong_token_are_refused() {
    let (server, ann, tree) = server_with_app();
    let stranger_key = ann.home.join("stranger");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&stranger_key));
    let stranger = Person { key: stranger_key, ..ann.clone() };
    let refused = stranger.try_git(&tree, &["ls-remote", &ann.ssh_url("app")]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("Permission denied"), "{refused:?}");
    for (account, token) in [
        ("ann", "slp_aaaaaaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
        ("ann", "x"),
        ("bob", &ann.token),
    ] {
        let url = format!("http://{}/app/info/refs?service=git-upload-pack", server.http);
        let (status, body) = curl(&["-u", &format!("{account}:{token}"), &url]);
        assert_eq!(status, 401, "{account} {body}");
    }
    assert_alive(&ann, &tree);
}

#[test]
fn a_forbidden_repository_answers_as_an_unknown_one_everywhere() {
    let (server, ann, tree) = server_with_app();
    let eve = server.person("eve", false);
    let answers = |repo: &str| {
        let hide = |text: String| text.replace(repo, "REPO");
        let ssh = eve.try_git(&tree, &["ls-remote", &eve.ssh_url(repo)]);
        let http = eve.try_git(&tree, &["ls-remote", &eve.http_url(repo)]);
        let push = eve.try_git(&tree, &["push", &eve.ssh_url(repo), "main"]);
        let page = eve.get(&format!("/{repo}"));
        let api = eve.get(&format!("/-/api/v1/repos/{repo}"));
        let anonymous = curl(&[&format!("http://{}/{repo}/info/refs?service=git-upload-pack", eve.http)]);
        let nobody = curl(&[&format!("http://{}/-/api/v1/repos/{repo}", eve.http)]);
        vec![
            hide(text(&ssh.stderr)),
            hide(text(&http.stderr)),
            hide(text(&push.stderr)),
            format!("{} {}", page.0, api.0),
            hide(api.1),
            format!("{} {}", anonymous.0, nobody.0),
            hide(nobody.1),
        ]
    };
    let (forbidden, unknown) = (answers("app"), answers("nix"));
    assert_eq!(forbidden, unknown);
    assert!(forbidden[0].contains("There is no repository"), "{}", forbidden[0]);
    // And with a role it is there.
    server.cli(&["grant", "eve", "app", "read"]);
    assert!(eve.git(&tree, &["ls-remote", &eve.ssh_url("app")]).contains("refs/heads/main"));
    let denied = eve.try_git(&tree, &["push", &eve.ssh_url("app"), "main:x"]);
    assert!(text(&denied.stderr).contains("may not do this"), "{}", text(&denied.stderr));
    assert_alive(&ann, &tree);
}

#[test]
fn path_tricks_reach_nothing() {
    let (server, ann, tree) = server_with_app();
    for path in [
        "../app",
        "app/../app",
        "%2e%2e/app",
        "app%00",
        ".git",
        "app.git/../../db",
        "//app",
        "~root",
        "app;id",
        "-",
    ] {
        let ssh = ann.over_ssh(&format!("git-upload-pack '/{path}'"), "0000");
        assert_ne!(ssh.status.code(), Some(0), "{path}: {}", text(&ssh.stdout));
        assert!(!text(&ssh.stdout).contains("refs/heads"), "{path}");
    }
    for path in ["..%2fapp", "%2e%2e%2fdb%2fconf", "app%2f..%2f..", "app/raw/..%2f..%2fconfig", "-/../db"] {
        let (status, body) = curl(&["--path-as-is", &format!("http://{}/{path}", server.http)]);
        assert!(matches!(status, 400 | 401 | 303 | 302 | 404), "{path}: {status} {body}");
    }
    for name in ["../x", ".x", "a/b", "x.git", "v1", "-"] {
        let out = server.try_cli(&["repo", "create", "--", name]);
        assert_eq!(out.status.code(), Some(2), "{name}: {}", text(&out.stderr));
    }
    assert_alive(&ann, &tree);
}

#[test]
fn commands_over_ssh_are_the_command_line_s_and_never_a_shell() {
    let (_server, ann, tree) = server_with_app();
    let listed = ann.over_ssh("repo list", "");
    assert!(text(&listed.stdout).contains("app"), "{listed:?}");
    let key = std::fs::read_to_string(ann.key.with_extension("pub")).expect("key");
    let added = ann.over_ssh("repo create by-ssh", "");
    assert_eq!(added.status.code(), Some(0), "{}", text(&added.stderr));
    let twice = ann.over_ssh("key add ann --key -", &key);
    assert_eq!(twice.status.code(), Some(1));
    for command in [
        "id",
        "sh -c id",
        "repo list; id",
        "$(id)",
        "git-upload-pack /app; id",
        "user add x --key /etc/passwd",
        "serve",
        "demo",
    ] {
        let out = ann.over_ssh(command, "");
        assert_ne!(out.status.code(), Some(0), "{command}");
        assert!(!text(&out.stdout).contains("uid="), "{command}");
        assert!(!text(&out.stderr).contains("root:x:"), "{command}");
    }
    assert_alive(&ann, &tree);
}

#[test]
fn bad_ref_names_and_commands_are_refused_before_anything_is_stored() {
    let (server, ann, tree) = server_with_app();
    let tip = ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    for name in [
        "refs/heads/../../x",
        "refs/heads/a..b",
        "refs/heads/.x",
        "refs/heads/x.lock",
        "HEAD",
        "main",
        "refs/heads/a b",
        "refs/slipway/x",
    ] {
        let (status, body) = post(&ann, "app", "receive-pack", &push_of(ZERO, &tip, name, b""));
        assert!(status == 200 || (400..500).contains(&status), "{name}: {status}");
        assert!(!body.contains(&format!("ok {name}")), "{name}: {body}");
    }
    for body in
        [&b"zzzz"[..], b"0003", b"fff", &[0xff; 64], b"00000000", &pkt("not a command\0report-status")]
    {
        let (status, _) = post(&ann, "app", "receive-pack", body);
        assert!(status == 200 || (400..500).contains(&status), "{body:?}: {status}");
    }
    let many: Vec<u8> = (0..20_000)
        .flat_map(|n| {
            pkt(&format!("{ZERO} {tip} refs/heads/b{n}{}", if n == 0 { "\0report-status" } else { "" }))
        })
        .collect();
    let (_, body) = post(&ann, "app", "receive-pack", &[many, b"0000".to_vec()].concat());
    assert!(!body.contains("ok refs/heads/b0"), "{body}");
    let listed = ann.git(&tree, &["ls-remote", "origin"]);
    assert_eq!(listed.lines().filter(|l| l.contains("refs/heads/")).count(), 1, "{listed}");
    assert!(!server.data.join("repos/x").exists());
    assert_alive(&ann, &tree);
}

#[test]
fn damaged_packs_and_packs_with_holes_are_refused_with_a_sentence() {
    let (server, ann, tree) = server_with_app();
    let base = ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    ann.commit(&tree, &[("b.txt", "two\n"), ("dir/c.txt", "three\n")], "second");
    let tip = ann.git(&tree, &["rev-parse", "HEAD"]).trim().to_owned();
    let pack = |revs: &str, extra: &[&str]| {
        let mut args = vec!["pack-objects", "--stdout", "-q"];
        args.extend(extra);
        let mut child = ann.git_command(&tree, &args);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git");
        child.stdin.take().expect("stdin").write_all(revs.as_bytes()).expect("write");
        child.wait_with_output().expect("git ends").stdout
    };
    let whole = pack(&format!("{tip}\n^{base}\n"), &["--revs"]);
    let tree_id = ann.git(&tree, &["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    let holes = pack(&format!("{tip}\n{tree_id}\n"), &[]);
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mut wrong_count = whole.clone();
    wrong_count[11] = wrong_count[11].wrapping_add(1);
    for (what, bytes) in [
        ("truncated", &whole[..whole.len() - 30]),
        ("header only", &whole[..12]),
        ("nothing", &[][..]),
        ("garbage", &[0x5a; 4096][..]),
        ("flipped", &flipped),
        ("wrong count", &wrong_count),
        ("missing objects", &holes),
    ] {
        let (status, body) =
            post(&ann, "app", "receive-pack", &push_of(&base, &tip, "refs/heads/main", bytes));
        assert!(status == 200 || (400..500).contains(&status), "{what}: {status} {body}");
        assert!(!body.contains("ok refs/heads/main"), "{what}: {body}");
        assert!(body.contains("unpack ") || body.contains("ERR ") || status >= 400, "{what}: {body}");
    }
    let objects = server.data.join("repos/app.git/objects");
    let leftovers = std::fs::read_dir(&objects).expect("objects").filter_map(Result::ok);
    let quarantine: Vec<_> =
        leftovers.filter(|e| e.file_name().to_string_lossy().starts_with("tmp_objdir")).collect();
    assert!(quarantine.is_empty(), "{quarantine:?}");
    // The whole pack is fine.
    let (_, body) = post(&ann, "app", "receive-pack", &push_of(&base, &tip, "refs/heads/main", &whole));
    assert!(body.contains("ok refs/heads/main"), "{body}");
    assert_alive(&ann, &tree);
}

#[test]
fn a_disk_without_space_refuses_the_push_and_loses_nothing() {
    let disk = tempfile::tempdir().expect("temp");
    let mounted =
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "slipway-test"]).arg(disk.path()));
    assert!(mounted.status.success(), "tests run as root: {}", text(&mounted.stderr));
    let outside = tempfile::tempdir().expect("temp");
    {
        let server = Slipway::start_in(&disk.path().join("data"), &[]);
        let mut ann = server.person("ann", true);
        ann.home = outside.path().to_owned();
        server.cli(&["repo", "create", "app"]);
        let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
        ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
        ann.git(&tree, &["push", "-q", "origin", "main"]);
        let mut noise = Vec::new();
        let source = std::fs::File::open("/dev/urandom").expect("random");
        std::io::Read::read_to_end(&mut std::io::Read::take(source, 40 << 20), &mut noise).expect("random");
        std::fs::write(tree.join("big.bin"), &noise).expect("write");
        ann.commit(&tree, &[], "too big");
        let refused = ann.try_git(&tree, &["push", "origin", "main"]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.to_lowercase().contains("space"), "{said}");
        ann.git(&tree, &["reset", "-q", "--hard", "HEAD~1"]);
        ann.commit(&tree, &[("small.txt", "fits\n")], "small");
        ann.git(&tree, &["push", "-q", "origin", "main"]);
        ann.git(&server.data.join("repos/app.git"), &["fsck", "--full", "--strict"]);
    }
    run(Command::new("umount").arg(disk.path()));
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_with_a_sentence() {
    let server = Slipway::start();
    let out = run(Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(["serve", "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0", "--data"])
        .arg(&server.data));
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("slipway: "), "{}", text(&out.stderr));
    assert!(!text(&out.stderr).contains("panicked"), "{}", text(&out.stderr));
}

#[test]
fn usage_errors_are_status_2_and_refusals_status_1() {
    let server = Slipway::start();
    assert_eq!(server.try_cli(&["repo", "creat", "x"]).status.code(), Some(2));
    assert_eq!(server.try_cli(&["repo", "show", "nix"]).status.code(), Some(1));
    assert_eq!(server.try_cli(&["repo", "list"]).status.code(), Some(0));
    let nowhere =
        run(Command::new(env!("CARGO_BIN_EXE_slipway")).args(["repo", "list", "--data", "/nonexistent"]));
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("slipway serve"), "{}", text(&nowhere.stderr));
}

#[test]
fn a_name_that_is_none_is_refused_with_a_cure_on_the_command_line() {
    for args in [&["repo", "create", "a b"][..], &["repo", "show", ".x"], &["user", "add", "a/b"]] {
        let out = harness::run(std::process::Command::new(harness::program()).args(args));
        let said = harness::text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.starts_with("slipway: The ") && said.contains(". Use letters, digits"),
            "{args:?}: {said}"
        );
    }
}
