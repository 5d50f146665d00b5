//! A repository's own config decides what is shown and taken, as it does with git's server.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use slipway_core::{Role, Scope};

use crate::http::{RECEIVE, UPLOAD, V2, get, post};
use crate::server::{Person, Server, gits, text};

struct Lab {
    server: Server,
    dev: Person,
    /// The repository's folder.
    path: PathBuf,
    tree: PathBuf,
    token: String,
}

impl Lab {
    /// A repository `app` with one commit on `main`, pushed by `dev`.
    fn new() -> Self {
        let server = Server::start();
        let dev = server.person("dev", false);
        let path = server.repo("app", false);
        server.grant("dev", "app", Role::Write);
        let token = server.token("dev", &[Scope::RepoWrite], None);
        let tree = dev.work_tree("tree", &[("a", "a"), ("dir/b", "b"), (".sparse", "/dir/\n")]);
        dev.git(&tree, &["push", "-q", &dev.ssh_url("app"), "main"]);
        Self { server, dev, path, tree, token }
    }

    fn set(&self, settings: &[(&str, &str)]) {
        for (key, value) in settings {
            self.dev.git(&self.path, &["config", "--add", key, value]);
        }
    }

    fn urls(&self) -> [String; 2] {
        [self.dev.ssh_url("app"), self.dev.http_url("app", &self.token)]
    }

    /// What a push that must fail says.
    fn refused(&self, args: &[&str]) -> String {
        let out = self.dev.try_git(&self.tree, &[&["push"], args].concat());
        assert!(!out.status.success(), "{args:?} went through");
        text(&out.stderr)
    }

    /// The answer to one raw request.
    fn ask(&self, service: &str, body: impl Into<Bytes>, version_2: bool) -> String {
        let url = format!("http://{}/app/git-{service}", self.server.http);
        let content = if service == "upload-pack" { UPLOAD } else { RECEIVE };
        let mut headers = vec![content];
        headers.extend(version_2.then_some(V2));
        let answer = post(&url, ("dev", &self.token), &headers, body.into());
        let answer = self.server.block_on(answer);
        assert_eq!(answer.status, 200, "{}", text(&answer.body));
        text(&answer.body)
    }

    fn told(&self, service: &str) -> String {
        let url = format!("http://{}/app/info/refs?service=git-{service}", self.server.http);
        text(&self.server.block_on(get(&url, Some(("dev", &self.token)))).body)
    }
}

fn line(text: &str) -> String {
    format!("{:04x}{text}\n", text.len() + 5)
}

fn command(name: &str, args: &[String]) -> String {
    let args: String = args.iter().map(|a| line(a)).collect();
    format!("{}0001{args}0000", line(&format!("command={name}")))
}

/// A pack of nothing.
fn empty_pack() -> Vec<u8> {
    let head = b"PACK\0\0\0\x02\0\0\0\0";
    let trailer = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, head);
    [head, trailer.as_ref()].concat()
}

/// A repository with a branch and a tag that are hidden, their commit and a blob of it.
fn lab_with_secret() -> (Lab, String, String) {
    let lab = Lab::new();
    let (dev, tree) = (&lab.dev, &lab.tree);
    dev.git(tree, &["checkout", "-q", "-b", "wip"]);
    let secret = dev.commit(tree, &[("secret", "the secret")], "secret");
    let blob = dev.git(tree, &["rev-parse", "wip:secret"]).trim().to_owned();
    dev.git(tree, &["tag", "-a", "-m", "t", "tag-of-secret"]);
    let url = dev.ssh_url("app");
    dev.git(tree, &["push", "-q", &url, "wip:refs/hidden/x", "tag-of-secret:refs/hidden/tag"]);
    dev.git(tree, &["fetch", "-q", &url, &secret]);
    lab.set(&[("transfer.hideRefs", "refs/hidden"), ("transfer.advertiseObjectInfo", "true")]);
    (lab, secret, blob)
}

#[test]
fn hidden_refs_are_not_there() {
    let (lab, secret, blob) = lab_with_secret();
    let (dev, tree) = (&lab.dev, &lab.tree);
    let url = dev.ssh_url("app");
    let clone = dev.home.join("clone");
    dev.git(&dev.home, &["clone", "-q", &url, "clone"]);
    for git in gits() {
        let dev = dev.with_git(&git);
        for version in ["0", "1", "2"] {
            let version = format!("protocol.version={version}");
            for url in lab.urls() {
                assert!(!dev.git(&clone, &["-c", &version, "ls-remote", &url]).contains("hidden"));
                for want in [secret.as_str(), blob.as_str(), "refs/hidden/x"] {
                    let out = dev.try_git(&clone, &["-c", &version, "fetch", &url, want]);
                    let said = text(&out.stderr);
                    assert!(!out.status.success(), "{want} came over {url}");
                    assert!(
                        said.contains("not our ref") || said.contains("remote ref refs/hidden/x"),
                        "{said}"
                    );
                }
            }
        }
    }
    let by_name =
        lab.ask("upload-pack", command("fetch", &["want-ref refs/hidden/x".into(), "done".into()]), true);
    let unknown =
        lab.ask("upload-pack", command("fetch", &["want-ref refs/hidden/z".into(), "done".into()]), true);
    assert_eq!(by_name.replace("/x", "/z"), unknown);
    assert!(by_name.contains("unknown ref refs/hidden/x"), "{by_name}");
    // Claiming to have it proves nothing, and gives no deltas on it.
    let main = dev.git(tree, &["rev-parse", "main"]).trim().to_owned();
    let haves = [format!("want {main}"), format!("have {secret}"), format!("have {blob}")];
    let said = lab.ask("upload-pack", command("fetch", &haves), true);
    assert!(said.contains("NAK") && !said.contains("ACK"), "{said}");
    let sizes = ["size".to_owned(), format!("oid {secret}"), format!("oid {main}")];
    let said = lab.ask("upload-pack", command("object-info", &sizes), true);
    assert!(said.contains(&format!("{secret} \n")) && !said.contains(&format!("{main} \n")), "{said}");
    // The pack for what is shown has nothing of it, tags that follow included.
    assert!(!dev.try_git(&clone, &["cat-file", "-e", &secret]).status.success());

    lab.set(&[("uploadpack.allowTipSHA1InWant", "true")]);
    dev.git(&clone, &["fetch", "-q", &url, &secret]);
    // Negation shows it again.
    lab.set(&[("transfer.hideRefs", "!refs/hidden/x")]);
    assert!(dev.git(&clone, &["ls-remote", &url]).contains("refs/hidden/x"));
}

#[test]
fn hidden_refs_are_not_moved_and_not_stolen() {
    let (lab, secret, blob) = lab_with_secret();
    let (dev, tree) = (&lab.dev, &lab.tree);
    let url = dev.ssh_url("app");
    let clone = dev.home.join("clone");
    dev.git(&dev.home, &["clone", "-q", &url, "clone"]);
    let deny = "deny updating a hidden ref";
    dev.git(&lab.path, &["symbolic-ref", "refs/heads/door", "refs/hidden/x"]);
    assert!(!dev.git(&clone, &["ls-remote", &url]).contains("door"));
    for name in ["refs/hidden/y", "refs/hidden/x", "refs/heads/door"] {
        assert!(lab.refused(&["-f", &url, &format!("main:{name}")]).contains(deny), "{name}");
    }
    let zero = "0".repeat(40);
    let commands = format!("{secret} {zero} refs/hidden/x\0report-status");
    let said = lab.ask("receive-pack", format!("{:04x}{commands}0000", commands.len() + 4), false);
    assert!(said.contains(&format!("ng refs/hidden/x {deny}")), "{said}");
    // gitnamespaces(7), SECURITY: a ref to an object that was never sent.
    for stolen in [&secret, &blob] {
        let commands = format!("{zero} {stolen} refs/heads/stolen\0report-status");
        let mut body = format!("{:04x}{commands}0000", commands.len() + 4).into_bytes();
        body.extend_from_slice(&empty_pack());
        let said = lab.ask("receive-pack", body, false);
        assert!(said.contains("ng refs/heads/stolen"), "{said}");
    }
    // A whole push that merely leaves the objects out, for the server to have.
    dev.git(tree, &["update-ref", "refs/remotes/o/x", &secret]);
    let next = dev.commit(tree, &[("n", "n")], "on top of the secret");
    let thin = dev
        .git_command(tree, &["pack-objects", "--revs", "--stdout", "-q"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            let mut stdin = child.stdin.take().expect("piped");
            stdin.write_all(format!("{next}\n^{secret}\n").as_bytes())?;
            drop(stdin);
            child.wait_with_output()
        })
        .expect("packed");
    let commands = format!("{zero} {next} refs/heads/stolen\0report-status");
    let body = [format!("{:04x}{commands}0000", commands.len() + 4).as_bytes(), &thin.stdout].concat();
    let said = lab.ask("receive-pack", body, false);
    assert!(said.contains("ng refs/heads/stolen"), "{said}");
}

#[test]
fn a_head_that_names_a_hidden_branch_is_hidden_with_it() {
    let lab = Lab::new();
    lab.set(&[("uploadpack.hideRefs", "refs/heads/main")]);
    for version in ["0", "2"] {
        let version = format!("protocol.version={version}");
        assert_eq!(lab.dev.git(&lab.tree, &["-c", &version, "ls-remote", "--symref", &lab.urls()[1]]), "");
    }
    let said = lab.ask("upload-pack", command("ls-refs", &["unborn".into(), "symrefs".into()]), true);
    assert_eq!(said, "0000");
    // Pushes see it: receive.hideRefs is another list.
    lab.dev.commit(&lab.tree, &[("c", "c")], "next");
    lab.dev.git(&lab.tree, &["push", "-q", &lab.urls()[0], "main"]);
}

#[test]
fn wants_by_id_are_limited_where_the_config_says_so() {
    let lab = Lab::new();
    let first = lab.dev.git(&lab.tree, &["rev-parse", "HEAD"]).trim().to_owned();
    lab.dev.commit(&lab.tree, &[("c", "c")], "next");
    let url = lab.dev.ssh_url("app");
    lab.dev.git(&lab.tree, &["push", "-q", &url, "main"]);
    let empty = lab.dev.work_tree("empty", &[("x", "x")]);
    let fetch = |depth: &str| {
        lab.dev.try_git(&empty, &["-c", "protocol.version=0", "fetch", depth, &url, &first]).status.success()
    };
    assert!(fetch("--depth=1"), "by default all that is reachable may be asked for");
    lab.set(&[("uploadpack.allowReachableSHA1InWant", "false")]);
    assert!(!fetch("--depth=2"));
    assert!(!lab.told("upload-pack").contains("allow-reachable-sha1-in-want"));
    // Something that no ref reaches.
    let lost = lab.dev.git(&lab.path, &["commit-tree", "-m", "lost", "main^{tree}"]).trim().to_owned();
    let want = |version: &str| {
        let version = format!("protocol.version={version}");
        lab.dev.try_git(&empty, &["-c", &version, "fetch", &url, &lost]).status.success()
    };
    assert!(!want("0") && !want("2"));
    lab.set(&[("uploadpack.allowAnySHA1InWant", "true")]);
    assert!(want("0") && want("2"));
}

fn objects(dev: &Person, repo: &Path) -> String {
    let all = ["cat-file", "--batch-check", "--batch-all-objects", "--unordered"];
    let mut lines: Vec<String> = dev.git(repo, &all).lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn partial_clones_have_what_gits_server_sends() {
    let lab = Lab::new();
    lab.dev.commit(&lab.tree, &[("dir/c", "c"), ("big", &"x".repeat(5000)), ("deep/er/d", "d")], "next");
    lab.dev.git(&lab.tree, &["tag", "-a", "-m", "t", "v1"]);
    for url in lab.urls() {
        lab.dev.git(&lab.tree, &["push", "-q", &url, "main", "v1"]);
    }
    lab.set(&[("uploadpack.allowFilter", "true")]);
    let file = format!("file://{}", lab.path.display());
    for (n, filter) in [
        "blob:none",
        "blob:limit=1k",
        "tree:1",
        "object:type=commit",
        "object:type=tag",
        "sparse:oid=main:.sparse",
        "combine:tree:3+blob:limit=100",
        "combine:sparse:oid=main%3a.sparse+blob:limit=2k",
    ]
    .iter()
    .enumerate()
    {
        let filter = format!("--filter={filter}");
        let clone = |name: &str, url: &str| {
            let args = ["clone", "-q", "--bare", "--no-local", &filter, url, name];
            let out = lab.dev.try_git(&lab.dev.home, &args);
            assert!(out.status.success(), "{filter} {url}: {}", text(&out.stderr));
            objects(&lab.dev, &lab.dev.home.join(name))
        };
        let theirs = clone(&format!("theirs{n}"), &file);
        for (m, url) in lab.urls().iter().enumerate() {
            assert_eq!(clone(&format!("ours{n}-{m}"), url), theirs, "{filter}");
        }
    }
}

#[test]
fn filters_are_refused_where_the_config_says_so() {
    let lab = Lab::new();
    let clone = |name: &str, filter: &str| {
        let filter = format!("--filter={filter}");
        let url = lab.dev.ssh_url("app");
        let out = lab.dev.try_git(&lab.dev.home, &["clone", "--bare", &filter, &url, name]);
        (out.status.success(), text(&out.stderr))
    };
    lab.set(&[
        ("uploadpackfilter.allow", "false"),
        ("uploadpackfilter.tree.allow", "true"),
        ("uploadpackfilter.tree.maxDepth", "2"),
    ]);
    for (filter, why) in [
        ("blob:none", "filter 'blob:none' not supported"),
        ("combine:tree:1+tree:2", "filter 'combine' not supported"),
        ("tree:3", "tree filter allows max depth 2, but got 3"),
    ] {
        let (ok, said) = clone("no", filter);
        assert!(!ok && said.contains(why), "{filter}: {said}");
    }
    assert!(clone("yes", "tree:2").0);
    lab.set(&[("uploadpack.allowFilter", "false")]);
    let (ok, said) = clone("whole", "tree:3");
    assert!(ok && said.contains("filtering not recognized by server"), "{said}");
    let said = lab.ask("upload-pack", command("fetch", &["filter tree:0".into(), "done".into()]), true);
    assert!(said.contains("ERR"), "{said}");
    // Patterns in a blob that nobody may see are in no blob.
    lab.set(&[("uploadpack.allowFilter", "true"), ("uploadpackfilter.allow", "true")]);
    let patterns = lab.tree.join("patterns");
    std::fs::write(&patterns, "/in no commit/\n").expect("written");
    let file = patterns.display().to_string();
    let lost = lab.dev.git(&lab.path, &["hash-object", "-w", &file]).trim().to_owned();
    for name in [lost.as_str(), "main:nothing", "main:dir", "nobody:.sparse", "1:2:3"] {
        let (ok, said) = clone("sparse", &format!("sparse:oid={name}"));
        assert!(!ok && said.contains("unable to access sparse blob"), "{name}: {said}");
    }
}

#[test]
fn version_2_offers_what_the_config_asks_for() {
    let lab = Lab::new();
    lab.set(&[
        ("uploadpack.allowSidebandAll", "true"),
        ("uploadpack.advertiseBundleURIs", "true"),
        ("transfer.advertiseSID", "true"),
        ("bundle.version", "1"),
        ("bundle.mode", "all"),
        ("bundle.base.uri", "https://example.org/base.bundle"),
    ]);
    let said = lab.ask("upload-pack", line("command=bundle-uri") + "0000", true);
    for (key, value) in [("version", "1"), ("mode", "all"), ("base.uri", "https://example.org/base.bundle")] {
        assert!(said.contains(&line(&format!("bundle.{key}={value}"))[..]), "{said}");
    }
    let id = |service| {
        let told = lab.told(service);
        let id = told.split("session-id=").nth(1).and_then(|t| t.split(' ').next()).expect(&told).to_owned();
        assert_eq!(id.len(), 32);
        id
    };
    assert_ne!(id("upload-pack"), id("upload-pack"));
    id("receive-pack");
    for git in gits() {
        let dev = lab.dev.with_git(&git);
        for (n, url) in lab.urls().iter().enumerate() {
            let name = format!("clone{n}-{}", git.components().count());
            let mut clone = dev.git_command(&dev.home, &["clone", "-q", "--server-option=x=y", url, &name]);
            let out = clone.env("GIT_TRACE_PACKET", "1").output().expect("git runs");
            let said = text(&out.stderr);
            assert!(out.status.success() && said.contains("> sideband-all"), "{said}");
            let missing = "1".repeat(40);
            let out = dev.try_git(&dev.home.join(&name), &["fetch", url, &missing]);
            assert!(
                text(&out.stderr).contains(&format!("remote: fatal: upload-pack: not our ref {missing}"))
                    || text(&out.stderr).contains(&format!("not our ref {missing}")),
                "{}",
                text(&out.stderr)
            );
        }
    }
}

#[test]
fn pushes_are_limited_where_the_config_says_so() {
    let lab = Lab::new();
    let (dev, tree) = (&lab.dev, &lab.tree);
    for url in lab.urls() {
        dev.git(tree, &["push", "-q", &url, "main:refs/heads/old", "main:refs/tags/t"]);
    }
    lab.set(&[("receive.denyDeletes", "true"), ("receive.denyNonFastForwards", "true")]);
    dev.git(tree, &["commit", "-q", "--amend", "-m", "another"]);
    for url in lab.urls() {
        assert!(lab.refused(&[&url, ":refs/heads/old"]).contains("deletion prohibited"));
        assert!(lab.refused(&["-f", &url, "HEAD:refs/heads/old"]).contains("non-fast-forward"));
        let said = lab.refused(&["--atomic", &url, ":refs/heads/old", "HEAD:refs/heads/new"]);
        assert!(said.contains("atomic push failure"), "{said}");
    }
    // Tags are not branches.
    dev.git(tree, &["push", "-q", "-f", &lab.urls()[0], "HEAD:refs/tags/t"]);
    dev.git(tree, &["push", "-q", &lab.urls()[1], ":refs/tags/t"]);
    lab.set(&[
        ("receive.advertiseAtomic", "false"),
        ("receive.advertisePushOptions", "false"),
        ("receive.maxInputSize", "100"),
    ]);
    let said = lab.refused(&["--atomic", &lab.urls()[0], "HEAD:refs/heads/x"]);
    assert!(said.contains("does not support --atomic"), "{said}");
    let said = lab.refused(&["-o", "x", &lab.urls()[1], "HEAD:refs/heads/x"]);
    assert!(said.contains("does not support push options"), "{said}");
    dev.commit(tree, &[("big", &"0123456789abcdef".repeat(200))], "big");
    let said = lab.refused(&[&lab.urls()[0], "HEAD:refs/heads/x"]);
    assert!(said.contains("over the limit of 100"), "{said}");
}

#[test]
fn updates_through_a_symbolic_ref_must_agree() {
    let lab = Lab::new();
    lab.dev.git(&lab.path, &["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    for url in lab.urls() {
        let new = lab.dev.commit(&lab.tree, &[("n", &url)], "next");
        lab.dev.git(&lab.tree, &["push", "-q", &url, "main", "main:alias"]);
        assert_eq!(lab.dev.git(&lab.path, &["rev-parse", "main"]).trim(), new);
        assert_eq!(lab.dev.git(&lab.path, &["symbolic-ref", "refs/heads/alias"]).trim(), "refs/heads/main");
        lab.dev.commit(&lab.tree, &[("m", &url)], "after next");
        lab.dev.commit(&lab.tree, &[("o", &url)], "and then");
        let said = lab.refused(&[&url, "main", "main~1:alias"]);
        assert!(said.contains("inconsistent aliased update"), "{said}");
        assert_eq!(lab.dev.git(&lab.path, &["rev-parse", "main"]).trim(), new);
        lab.dev.git(&lab.tree, &["reset", "-q", "--hard", &new]);
    }
}

#[test]
fn a_shallow_clone_may_push_what_hangs_together() {
    let lab = Lab::new();
    lab.dev.commit(&lab.tree, &[("c", "c")], "next");
    lab.dev.git(&lab.tree, &["push", "-q", &lab.urls()[0], "main"]);
    for (n, url) in lab.urls().iter().enumerate() {
        let name = format!("shallow{n}");
        lab.dev.git(&lab.dev.home, &["clone", "-q", "--depth=1", url, &name]);
        let shallow = lab.dev.home.join(&name);
        lab.dev.commit(&shallow, &[("d", url)], "from a shallow clone");
        lab.dev.git(&shallow, &["push", "-q", url, "HEAD:main"]);
        // Where the history is really cut the push is refused.
        lab.server.repo(&format!("other{n}"), false);
        lab.server.grant("dev", &format!("other{n}"), Role::Write);
        let out =
            lab.dev.try_git(&shallow, &["push", &url.replace("app", &format!("other{n}")), "HEAD:main"]);
        assert!(
            !out.status.success()
                && text(&out.stderr).contains("(shallow update not allowed)")
                && text(&out.stderr).contains("git fetch --unshallow"),
            "{}",
            text(&out.stderr)
        );
    }
}

#[test]
fn old_histories_come_in_where_the_config_lets_them() {
    let lab = Lab::new();
    let raw = lab.dev.git(&lab.tree, &["cat-file", "commit", "HEAD"]);
    let old = lab.dev.home.join("old-commit");
    std::fs::write(&old, raw.replacen("<a@example.org>", "", 1)).expect("written");
    let old = ["hash-object", "-t", "commit", "-w", "--literally", old.to_str().expect("a path")];
    let old = lab.dev.git(&lab.tree, &old);
    for (n, url) in lab.urls().iter().enumerate() {
        let spec = format!("{}:refs/heads/old{n}", old.trim());
        let push = ["push", url, &spec];
        let refused = lab.refused(&push[1..]);
        assert!(
            refused.contains("(missingEmail)") && refused.contains("its author has no email"),
            "{refused}"
        );
        lab.set(&[("receive.fsck.missingEmail", "warn")]);
        let out = lab.dev.try_git(&lab.tree, &push);
        let said = text(&out.stderr);
        assert!(out.status.success(), "{said}");
        assert!(said.contains("remote: warning: commit ") && said.contains("(missingEmail)"), "{said}");
        lab.dev.git(&lab.path, &["config", "--unset", "receive.fsck.missingEmail"]);
        lab.dev.git(&lab.path, &["update-ref", "-d", &format!("refs/heads/old{n}")]);
        // By its id.
        std::fs::write(lab.path.join("known"), &old).expect("written");
        lab.set(&[("receive.fsck.skipList", "known")]);
        let out = lab.dev.try_git(&lab.tree, &push);
        let said = text(&out.stderr);
        assert!(out.status.success() && !said.contains("warning"), "{said}");
        lab.dev.git(&lab.path, &["config", "--unset", "receive.fsck.skipList"]);
        lab.dev.git(&lab.path, &["update-ref", "-d", &format!("refs/heads/old{n}")]);
    }
}

#[test]
fn a_config_that_cannot_be_obeyed_stops_serving() {
    let lab = Lab::new();
    lab.set(&[("receive.denyDeletes", "perhaps")]);
    for url in lab.urls() {
        let out = lab.dev.try_git(&lab.tree, &["ls-remote", &url]);
        assert!(
            !out.status.success() && text(&out.stderr).contains("receive.denydeletes"),
            "{}",
            text(&out.stderr)
        );
    }
    lab.dev.git(&lab.path, &["config", "--unset", "receive.denyDeletes"]);
    lab.dev.git(&lab.tree, &["ls-remote", &lab.urls()[0]]);
}
