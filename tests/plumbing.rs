//! `slipway upload-pack` and `slipway receive-pack` in the place of git's own, met by stock git.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    /// Programs named as git's, which run ours.
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let lab = Self { folder: tempfile::tempdir().expect("a folder") };
        for verb in ["upload-pack", "receive-pack"] {
            let path = lab.program(verb);
            let text = format!("#!/bin/sh\nexec '{}' {verb} \"$@\"\n", env!("CARGO_BIN_EXE_slipway"));
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("allowed");
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, verb: &str) -> PathBuf {
        self.path(&format!("slipway-{verb}"))
    }

    fn try_git(&self, dir: &Path, args: &[&str]) -> Output {
        let mut git = Command::new("git");
        git.current_dir(dir).args(args).env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
        git.env("HOME", self.folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@example.org");
        }
        git.output().expect("git runs")
    }

    fn git(&self, dir: &Path, args: &[&str]) -> String {
        let out = self.try_git(dir, args);
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    fn commit(&self, dir: &Path, name: &str) -> String {
        std::fs::write(dir.join(name), name).expect("written");
        self.git(dir, &["add", "-A"]);
        self.git(dir, &["commit", "-q", "-m", name]);
        self.git(dir, &["rev-parse", "HEAD"])
    }
}

#[test]
fn stock_git_fetches_and_pushes_through_the_pipe() {
    ["sha1", "sha256"].into_iter().for_each(through_the_pipe);
}

fn through_the_pipe(format: &str) {
    let lab = Lab::new();
    let format = format!("--object-format={format}");
    let top = lab.folder.path().to_owned();
    let work = lab.path("work");
    lab.git(&top, &["init", "-q", "-b", "main", &format, "work"]);
    lab.git(&top, &["init", "-q", "--bare", "-b", "main", &format, "bare.git"]);
    let first = lab.commit(&work, "first");
    let (up, down) = (lab.program("receive-pack"), lab.program("upload-pack"));
    let receive = format!("--receive-pack={}", up.display());
    let upload = format!("--upload-pack={}", down.display());
    let url = format!("file://{}", lab.path("bare").display());
    lab.git(&work, &["push", "-q", &receive, &url, "main"]);
    assert_eq!(lab.git(&lab.path("bare.git"), &["rev-parse", "main"]), first);
    for version in ["0", "1", "2"] {
        let protocol = format!("protocol.version={version}");
        let name = format!("clone{version}");
        lab.git(&top, &["-c", &protocol, "clone", "-q", &upload, &url, &name]);
        let second = lab.commit(&work, &format!("in-{version}"));
        lab.git(&work, &["-c", &protocol, "push", "-q", "--atomic", &receive, &url, "main"]);
        lab.git(&lab.path(&name), &["-c", &protocol, "fetch", "-q", &upload]);
        assert_eq!(lab.git(&lab.path(&name), &["rev-parse", "origin/main"]), second);
        lab.git(&lab.path(&name), &["fsck", "--strict"]);
    }
    // A repository with a work tree, and git's own defaults.
    let url = format!("file://{}", work.display());
    lab.git(&top, &["clone", "-q", &upload, &url, "of-work"]);
    lab.commit(&lab.path("of-work"), "more");
    let out = lab.try_git(&lab.path("of-work"), &["push", &receive, &url, "main"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("branch is currently checked out"), "{said}");
    lab.git(&lab.path("of-work"), &["push", "-q", &receive, &url, "main:other"]);
    let out = lab.try_git(&top, &["clone", "-q", &upload, "--filter=tree:0", "--bare", &url, "whole"]);
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("filtering not recognized"),
        "filters are off in git"
    );
    lab.git(&work, &["config", "uploadpack.allowFilter", "true"]);
    lab.git(&top, &["clone", "-q", &upload, "--filter=tree:0", "--bare", &url, "part"]);
}

#[test]
fn one_request_at_a_time_for_gits_http_helper() {
    let lab = Lab::new();
    let top = lab.folder.path().to_owned();
    lab.git(&top, &["init", "-q", "-b", "main", "work"]);
    let first = lab.commit(&lab.path("work"), "first");
    let run = |verb: &str, flags: &[&str], protocol: &str, input: &str| {
        use std::io::Write;
        let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
            .arg(verb)
            .args(flags)
            .arg(lab.path("work"))
            .env("GIT_PROTOCOL", protocol)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("runs");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
        let out = child.wait_with_output().expect("ends");
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    for flag in ["--http-backend-info-refs", "--advertise-refs"] {
        let (ok, said) = run("upload-pack", &["--stateless-rpc", flag], "version=2", "");
        assert!(ok && said.starts_with("000eversion 2\n") && said.ends_with("0000"), "{said}");
        let (ok, said) = run("receive-pack", &["--stateless-rpc", flag], "", "");
        assert!(ok && said.contains(&first) && said.contains("report-status"), "{said}");
    }
    let (ok, said) = run("upload-pack", &["--stateless-rpc"], "version=2", "0014command=ls-refs\n0000");
    assert!(ok && said.contains(&format!("{first} refs/heads/main")), "{said}");
    let (ok, said) = run("upload-pack", &["--timeout=1", "--no-strict"], "version=2", "0000");
    assert!(ok && said.starts_with("000eversion 2\n"), "{said}");
    let (ok, _) = run("upload-pack", &["--strict"], "", "");
    assert!(!ok, "the folder itself is no repository");
}

#[test]
fn config_of_the_environment_counts_more_than_that_of_files() {
    let lab = Lab::new();
    lab.git(lab.folder.path(), &["init", "-q", "-b", "main", "work"]);
    lab.git(&lab.path("work"), &["config", "uploadpack.allowFilter", "false"]);
    let said = |variables: &[(&str, &str)]| {
        let mut slipway = Command::new(env!("CARGO_BIN_EXE_slipway"));
        slipway.args(["upload-pack", "--advertise-refs"]).arg(lab.path("work"));
        slipway.env("GIT_PROTOCOL", "version=2").envs(variables.iter().copied());
        let out = slipway.output().expect("runs");
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (ok, plain) = said(&[]);
    assert!(ok && plain.contains("ls-refs=unborn\n") && !plain.contains("filter"), "{plain}");
    let count = [
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "uploadpack.allowFilter"),
        ("GIT_CONFIG_VALUE_0", "true"),
        ("GIT_CONFIG_PARAMETERS", "'lsrefs.unborn'='ignore'"),
    ];
    let (ok, told) = said(&count);
    assert!(ok && told.contains("ls-refs\n") && told.contains("filter"), "{told}");
    assert!(!said(&[("GIT_CONFIG_PARAMETERS", "lsrefs.unborn")]).0, "what is not quoted is refused");
}

#[test]
fn what_gits_own_tests_found_stays_found() {
    let lab = Lab::new();
    let (top, work) = (lab.folder.path().to_owned(), lab.path("work"));
    lab.git(&top, &["init", "-q", "-b", "main", "work"]);
    lab.git(&top, &["init", "-q", "--bare", "-b", "main", "bare.git"]);
    lab.commit(&work, "first");
    let receive = format!("--receive-pack={}", lab.program("receive-pack").display());
    let upload = format!("--upload-pack={}", lab.program("upload-pack").display());
    let url = format!("file://{}", lab.path("bare.git").display());
    // Nothing to push and nothing said: git takes it for a failure.
    assert!(!lab.try_git(&work, &["push", &receive, &url, ":"]).status.success());
    lab.git(&work, &["push", "-q", &receive, &url, "main:hidden/main"]);
    // A ref that is not there is deleted without a word against it.
    let out = lab.try_git(&work, &["push", &receive, &url, ":refs/heads/nothing"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && said.contains("nothing to delete"), "{said}");
    // What pushes are not shown, but fetches are, may be built upon.
    lab.git(&lab.path("bare.git"), &["config", "receive.hideRefs", "refs/heads/hidden"]);
    lab.commit(&work, "second");
    lab.git(
        &work,
        &["-c", "push.negotiate=true", "-c", "protocol.version=2", "push", "-q", &receive, &url, "main"],
    );
    // A shallow clone that nothing is young enough for fails, and is not empty.
    let out = lab.try_git(&top, &["clone", "-q", &upload, "--shallow-since=2090-01-01", &url, "none"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("commits selected"), "{said}");
}
