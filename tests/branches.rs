//! Default branches as people meet them: the first push of `master`, a source that renames its default, and what a push
//! that starts nothing says. Nothing here needs an engine, a registry or a cluster: a binding is enough.

#[path = "harness/mod.rs"]
mod harness;

use std::path::Path;
use std::process::Output;

use harness::{Person, Slipway, curl, text};

const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM scratch\nCOPY a.txt /\n");

fn server() -> (Slipway, Person) {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    (server, ann)
}

/// A repository bound to a registry that nobody answers for.
fn bound(server: &Slipway, name: &str) {
    if !server.cli(&["registry", "list"]).contains("nowhere") {
        server.cli(&["registry", "add", "nowhere", "--url", "127.0.0.1:9", "--insecure"]);
    }
    server.cli(&["repo", "create", name]);
    server.cli(&["bind", name, "--registry", "nowhere"]);
}

fn said(out: &Output) -> String {
    format!("{}{}", text(&out.stdout), text(&out.stderr))
}

fn head_of(server: &Slipway, repo: &str) -> String {
    server.json(&["repo", "show", repo])["default_branch"].as_str().unwrap_or_default().to_owned()
}

fn builds(server: &Slipway, repo: &str) -> usize {
    server.json(&["build", "list", repo]).as_array().map(Vec::len).unwrap_or_default()
}

/// What a fresh clone has checked out.
fn cloned(ann: &Person, url: &str, name: &str) -> String {
    ann.git(&ann.home, &["clone", "-q", url, name]);
    let clone = ann.home.join(name);
    assert!(clone.join("a.txt").exists(), "{url} is checked out");
    ann.git(&clone, &["symbolic-ref", "--short", "HEAD"]).trim().to_owned()
}

#[test]
fn the_first_push_of_master_is_cloned_shown_and_built() {
    let (mut server, ann) = server();
    bound(&server, "m1");
    let tree = ann.work_tree("tree", &[("a.txt", "one\n"), DOCKERFILE]);
    ann.git(&tree, &["branch", "-m", "master"]);
    let pushed = ann.git(&tree, &["push", &ann.ssh_url("m1"), "master"]);
    assert!(pushed.contains("master is the default branch of m1 now"), "{pushed}");
    assert!(pushed.contains("build 1 →"), "{pushed}");
    server.crash_and_restart();
    assert_eq!(cloned(&ann, &ann.ssh_url("m1"), "by-ssh"), "master");
    assert_eq!(cloned(&ann, &ann.http_url("m1"), "by-http"), "master");
    assert_eq!(head_of(&server, "m1"), "master");
    let (status, page) = ann.get("/m1");
    assert!(status == 200 && page.contains("a.txt") && !page.contains("is empty"), "{page}");
    // A second branch changes nothing.
    let pushed = ann.git(&tree, &["push", &ann.ssh_url("m1"), "master:main"]);
    assert!(pushed.contains("no build of main: not the default branch (master builds"), "{pushed}");
    assert_eq!((head_of(&server, "m1"), builds(&server, "m1")), ("master".into(), 1));
}

#[test]
fn of_several_first_branches_head_s_own_name_wins_then_main_then_master() {
    let (server, ann) = server();
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    for (name, head, pushed, want) in [
        ("r1", None, &["dev", "master", "main"][..], "main"),
        ("r2", None, &["dev", "master"], "master"),
        ("r3", None, &["dev"], "dev"),
        ("r4", Some("trunk"), &["dev", "main", "trunk"], "trunk"),
        ("r5", Some("trunk"), &["main"], "main"),
    ] {
        let mut create = vec!["repo", "create", name];
        create.extend(head.iter().flat_map(|head| ["--default-branch", head]));
        server.cli(&create);
        assert_eq!(head_of(&server, name), head.unwrap_or("main"), "{name} before");
        let specs: Vec<String> = pushed.iter().map(|to| format!("main:{to}")).collect();
        let url = ann.http_url(name);
        let mut push = vec!["push", "-q", &url];
        push.extend(specs.iter().map(String::as_str));
        ann.git(&tree, &push);
        assert_eq!(head_of(&server, name), want, "{name}");
        assert_eq!(cloned(&ann, &url, &format!("clone-{name}")), want);
    }
}

#[test]
fn a_repository_with_sha256_ids_takes_its_first_branch_too() {
    let (server, ann) = server();
    server.cli(&["repo", "create", "long", "--object-format", "sha256"]);
    let tree = ann.home.join("long-tree");
    std::fs::create_dir_all(&tree).expect("folder");
    ann.git(&tree, &["init", "-q", "-b", "master", "--object-format=sha256"]);
    ann.commit(&tree, &[("a.txt", "one\n")], "first");
    ann.git(&tree, &["push", "-q", &ann.ssh_url("long"), "master"]);
    assert_eq!(cloned(&ann, &ann.ssh_url("long"), "long-clone"), "master");
}

#[test]
fn a_source_that_renames_its_default_is_helped_on() {
    let (server, ann) = server();
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["branch", "-m", "dev"]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    ann.git(&tree, &["push", "-q", "origin", "dev"]);
    let refused = said(&ann.try_git(&tree, &["push", "origin", "dev:main", ":dev"]));
    assert!(refused.contains("deletion of the current branch prohibited"), "{refused}");
    assert!(refused.contains("slipway repo set app --default-branch main"), "{refused}");
    let alone = said(&ann.try_git(&tree, &["push", "origin", ":dev"]));
    assert!(alone.contains("slipway repo set app --default-branch OTHER"), "{alone}");
    server.cli(&["repo", "set", "app", "--default-branch", "main"]);
    ann.git(&tree, &["push", "-q", "origin", ":dev"]);
    assert_eq!(cloned(&ann, &ann.ssh_url("app"), "clone"), "main");
}

#[test]
fn the_default_branch_is_chosen_by_admins_on_every_surface_among_what_is_there() {
    let (server, ann) = server();
    let (adam, will) = (server.person("adam", false), server.person("will", false));
    server.cli(&["repo", "create", "app"]);
    server.cli(&["grant", "adam", "app", "admin"]);
    server.cli(&["grant", "will", "app", "write"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main", "main:dev", "main:secret", "main:old"]);
    std::fs::write(
        server.data.join("repos/app.git/config"),
        std::fs::read_to_string(server.data.join("repos/app.git/config")).expect("config")
            + "[transfer]\n\thideRefs = refs/heads/secret\n",
    )
    .expect("config");
    let api = |who: &Person, body: &str| {
        let (as_who, url) =
            (format!("{}:{}", who.name, who.token), format!("http://{}/-/api/v1/repos/app", who.http));
        curl(&["-X", "PATCH", "-u", &as_who, "-H", "Content-Type: application/json", "-d", body, &url])
    };
    let (status, answer) = api(&adam, r#"{"default_branch":"dev"}"#);
    assert!(status == 200 && answer.contains(r#""default_branch":"dev""#), "{answer}");
    assert_eq!(head_of(&server, "app"), "dev");
    assert_eq!(api(&will, r#"{"default_branch":"main"}"#).0, 403);
    for (body, status, words) in [
        (r#"{"default_branch":"gone"}"#, 404, "app has no branch gone."),
        (r#"{"default_branch":"secret"}"#, 404, "app has no branch secret"),
        (r#"{"default_branch":"../../x"}"#, 400, "is no name of a branch"),
        (r#"{"default_branch":"a\nb"}"#, 400, "is no name of a branch"),
        (r#"{"default_branch":"HEAD"}"#, 400, "is no name of a branch"),
        (r#"{"default_branch":"gone","description":"changed"}"#, 404, "app has no branch gone."),
    ] {
        let (got, answer) = api(&adam, body);
        assert!(got == status && answer.contains(words), "{body}: {got} {answer}");
    }
    let over_ssh = adam.over_ssh("repo set app --default-branch old --description 'x y' --public", "");
    assert_eq!(over_ssh.status.code(), Some(0), "{}", said(&over_ssh));
    let shown = server.json(&["repo", "show", "app"]);
    assert_eq!(
        (&shown["default_branch"], &shown["description"], &shown["public"]),
        (&"old".into(), &"x y".into(), &true.into())
    );
    let denied = will.over_ssh("repo set app --private", "");
    assert!(denied.status.code() == Some(1) && said(&denied).contains("may not"), "{}", said(&denied));
    server.cli(&["repo", "set", "app", "--private", "--default-branch", "refs/heads/main"]);
    assert_eq!(cloned(&ann, &ann.ssh_url("app"), "clone"), "main");
}

#[test]
fn a_default_branch_without_a_commit_is_told_from_an_empty_repository() {
    let (server, ann) = server();
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main:dev"]);
    // As repositories stand that were pushed to before the first branch became the default.
    std::fs::write(server.data.join("repos/app.git/HEAD"), "ref: refs/heads/main\n").expect("HEAD");
    let (status, page) = ann.get("/app");
    assert!(status == 200 && page.contains("slipway repo set app --default-branch"), "{page}");
    assert!(!page.contains("The repository is empty"), "{page}");
}

/// Pushes with options; what the client was told.
fn push(ann: &Person, tree: &Path, args: &[&str]) -> String {
    let mut all = vec!["push"];
    all.extend(args);
    ann.git(tree, &all)
}

#[test]
fn a_push_that_starts_nothing_says_why_and_whoever_waits_is_never_told_all_done() {
    let (server, ann) = server();
    bound(&server, "app");
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    let told = push(&ann, &tree, &["-o", "wait", "origin", "main"]);
    assert!(told.contains("verdict: nothing was started: no build of main: no Dockerfile"), "{told}");
    ann.commit(&tree, &[("svc/Dockerfile", "FROM scratch\n")], "A folder");
    let told = push(&ann, &tree, &["-o", "wait", "origin", "main"]);
    assert!(told.contains("no Dockerfile, but svc/Dockerfile: say context = \"svc\""), "{told}");
    ann.git(&tree, &["rm", "-q", "svc/Dockerfile"]);
    ann.commit(&tree, &[DOCKERFILE], "Build it [ci skip]");
    let told = push(&ann, &tree, &["origin", "main"]);
    assert!(told.contains("no build of main: skipped by [ci skip]"), "{told}");
    ann.commit(&tree, &[("a.txt", "two\n")], "more");
    let told = push(&ann, &tree, &["-o", "ci.skip", "-o", "wait", "origin", "main"]);
    assert!(told.contains("verdict: nothing was started: no build of main: skipped by -o ci.skip"), "{told}");
    let told = push(&ann, &tree, &["-o", "wait", "origin", "main:dev", "main:next"]);
    assert!(told.contains("nothing was started: no build of dev, next: not the default branch"), "{told}");
    let told = push(&ann, &tree, &["-o", "wait", "origin", ":dev"]);
    assert!(told.contains("nothing was started: what is deleted is neither built nor deployed"), "{told}");
    assert_eq!(builds(&server, "app"), 0);
    ann.git(&tree, &["mv", "Dockerfile", "Containerfile"]);
    ann.commit(&tree, &[], "Podman's name");
    let told = push(&ann, &tree, &["-o", "build.no-cache", "origin", "main"]);
    assert!(told.contains("build 1 →") && !told.contains("not known"), "{told}");
    assert_eq!(server.json(&["build", "show", "app", "1"])["no_cache"], true);
    // Unbound: silent, but for whoever waits.
    server.cli(&["repo", "create", "plain"]);
    let told = push(&ann, &tree, &[&ann.http_url("plain"), "main"]);
    assert!(!told.contains("remote:"), "{told}");
    let told = push(&ann, &tree, &["-o", "wait", &ann.http_url("plain"), "main:x"]);
    assert!(told.contains("nothing was started: plain is bound to no registry and no cluster"), "{told}");
}

#[test]
fn a_push_option_that_nobody_knows_is_told() {
    let (server, ann) = server();
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    let told = push(&ann, &tree, &["-o", "wiat", "-o", "foo=bar", &ann.ssh_url("app"), "main"]);
    assert!(told.contains("the push option \"wiat\" is not known; known are wait, ci.skip"), "{told}");
    assert!(told.contains("did you mean wait?") && told.contains("\"foo=bar\" is not known"), "{told}");
}

#[test]
fn a_commit_that_has_no_build_is_built_when_somebody_asks() {
    let (server, ann) = server();
    let (will, rita) = (server.person("will", false), server.person("rita", false));
    bound(&server, "app");
    server.cli(&["grant", "will", "app", "write"]);
    server.cli(&["grant", "rita", "app", "read"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    let empty = server.try_cli(&["build", "start", "app"]);
    assert!(said(&empty).contains("has no Dockerfile."), "{}", said(&empty));
    let first = ann.commit(&tree, &[DOCKERFILE], "first [skip ci]");
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    ann.git(&tree, &["tag", "-a", "-m", "one", "v1"]);
    let second = ann.commit(&tree, &[("a.txt", "two\n")], "second [skip ci]");
    ann.git(&tree, &["push", "-q", "origin", "main", "v1"]);
    assert_eq!(builds(&server, "app"), 0);

    let started = server.json(&["build", "start", "app"]);
    assert_eq!((&started["number"], &started["commit"]), (&1.into(), &second.clone().into()));
    assert_eq!((&started["ref_name"], &started["actor"]), (&"refs/heads/main".into(), &"ann".into()));
    let again = server.try_cli(&["build", "start", "app", &second]);
    assert!(
        said(&again).contains("Build 1 of commit") && said(&again).contains("under way"),
        "{}",
        said(&again)
    );
    let by_tag = will.over_ssh("build start app v1 --json", "");
    let by_tag: serde_json::Value = serde_json::from_slice(&by_tag.stdout).expect("json");
    assert_eq!(
        (&by_tag["commit"], &by_tag["ref_name"], &by_tag["actor"]),
        (&first.clone().into(), &"refs/tags/v1".into(), &"will".into())
    );
    server.cli(&["build", "cancel", "app", "2"]);
    for named in ["2", &first] {
        let waited = server.try_cli(&["build", "wait", "app", named]);
        assert!(waited.status.code() == Some(1) && said(&waited).contains("cancelled"), "{}", said(&waited));
    }
    let unknown = server.try_cli(&["build", "wait", "app", "feedfeed"]);
    assert!(said(&unknown).contains("is of a commit \"feedfeed\""), "{}", said(&unknown));
    let by_id = server.json(&["build", "start", "app", &first[..12]]);
    assert_eq!((&by_id["commit"], &by_id["ref_name"]), (&first.clone().into(), &"refs/heads/main".into()));
    let denied = rita.over_ssh("build start app", "");
    assert!(denied.status.code() == Some(1) && said(&denied).contains("may not"), "{}", said(&denied));
}

#[test]
fn a_work_tree_is_checked_in_the_words_of_a_push() {
    let (server, ann) = server();
    bound(&server, "app");
    let wrong = "[push]\ntags = [\"{sha}\", \"{brnch}\"]\n";
    let tree = ann.work_tree("tree", &[("a.txt", "one\n"), DOCKERFILE, ("slipway.toml", wrong)]);
    let words = "slipway.toml:2:18: unknown placeholder `{brnch}`; did you mean `{branch}`?";
    let told = push(&ann, &tree, &[&ann.ssh_url("app"), "main"]);
    assert!(told.contains(words), "{told}");
    let check = |more: &[&str]| {
        let out = std::process::Command::new(harness::program()).arg("check").args(more).output();
        out.expect("it runs")
    };
    let folder = tree.to_str().expect("utf-8");
    let out = check(&[folder]);
    assert!(out.status.code() == Some(1) && said(&out).contains(words), "{}", said(&out));
    std::fs::write(tree.join("slipway.toml"), "[push]\ntags = [\"{sha}\"]\n").expect("written");
    let out = check(&[folder]);
    assert!(out.status.success() && said(&out).contains("slipway.toml is valid"), "{}", said(&out));
    let schema: serde_json::Value = serde_json::from_slice(&check(&["--schema"]).stdout).expect("json");
    assert_eq!(schema["title"], "slipway.toml");
}

#[test]
fn what_is_hidden_cannot_be_built_and_is_not_told_from_what_is_not_there() {
    let (server, ann) = server();
    bound(&server, "app");
    let tree = ann.work_tree("tree", &[("a.txt", "one\n"), DOCKERFILE]);
    ann.git(&tree, &["push", "-q", "-o", "ci.skip", &ann.ssh_url("app"), "main"]);
    let secret = ann.commit(&tree, &[("a.txt", "secret\n")], "secret");
    ann.git(&tree, &["push", "-q", &ann.ssh_url("app"), "main:secret"]);
    let config = server.data.join("repos/app.git/config");
    let before = std::fs::read_to_string(&config).expect("config");
    std::fs::write(&config, before + "[transfer]\n\thideRefs = refs/heads/secret\n").expect("config");
    let absent = "0123456789012345678901234567890123456789";
    for name in ["secret", "refs/heads/secret", &secret, &secret[..10], absent, "gone", "HEAD^{tree}"] {
        let out = server.try_cli(&["build", "start", "app", name]);
        let want = format!("app has no branch, tag or commit {name:?}");
        assert!(out.status.code() == Some(1) && said(&out).contains(&want), "{name}: {}", said(&out));
    }
    server.cli(&["repo", "create", "loose"]);
    let unbound = server.try_cli(&["build", "start", "loose"]);
    assert!(said(&unbound).contains("slipway bind loose --registry NAME"), "{}", said(&unbound));
    assert_eq!(builds(&server, "app"), 0);
}
