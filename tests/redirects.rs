//! A repository that was renamed is found by its old name, by whoever may see it, until somebody takes the name; and what
//! people change at the same time is all of it there afterwards.

#[path = "harness/mod.rs"]
mod harness;

use std::process::Command;

use harness::{Person, Slipway, curl, program, run, text};
use serde_json::Value;

fn renamed() -> (Slipway, Person, std::path::PathBuf) {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.http_url("app")]);
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    server.cli(&["repo", "rename", "app", "application"]);
    (server, ann, tree)
}

/// Status and where it leads.
fn led(who: Option<&Person>, http: &str, path: &str, more: &[&str]) -> (u16, String) {
    let sign_in = who.map(|p| format!("{}:{}", p.name, p.token));
    let mut args = vec!["-o", "/dev/null", "-D", "-"];
    args.extend(sign_in.iter().flat_map(|s| ["-u", s.as_str()]));
    args.extend(more);
    let url = format!("http://{http}{path}");
    args.push(&url);
    let (status, head) = curl(&args);
    let to = head.lines().find_map(|l| l.strip_prefix("location: ").or_else(|| l.strip_prefix("Location: ")));
    (status, to.unwrap_or_default().trim().to_owned())
}

#[test]
fn old_addresses_lead_to_the_new_name_for_whoever_may_see_it() {
    let (server, ann, tree) = renamed();
    let bob = server.person("bob", false);
    let http = server.http.as_str();
    let at = |path: &str| led(Some(&ann), http, path, &[]);
    assert_eq!(at("/app"), (301, "/application".into()));
    assert_eq!(at("/app/files/a.txt?at=main"), (301, "/application/files/a.txt?at=main".into()));
    assert_eq!(
        at("/-/api/v1/repos/app/events?limit=1"),
        (301, "/-/api/v1/repos/application/events?limit=1".into())
    );
    let patch = ["-X", "PATCH", "-H", "Content-Type: application/json", "-d", "{\"description\":\"d\"}"];
    let patched = led(Some(&ann), http, "/-/api/v1/repos/app", &patch);
    assert_eq!(patched, (308, "/-/api/v1/repos/application".into()));
    let refs = "/app.git/info/refs?service=git-upload-pack";
    assert_eq!(at(refs), (301, "/application/info/refs?service=git-upload-pack".into()));
    let long = "/v1/repos/app/info/refs?service=git-receive-pack";
    assert_eq!(at(long), (301, "/v1/repos/application/info/refs?service=git-receive-pack".into()));
    for path in ["/app", "/-/api/v1/repos/app", refs] {
        let unknown = path.replace("app", "nosuch");
        assert_eq!(led(Some(&bob), http, path, &[]).0, 404, "{path} for a stranger");
        assert_eq!(led(None, http, path, &[]).0, led(None, http, &unknown, &[]).0, "{path} for nobody");
    }
    // git goes on by itself.
    ann.commit(&tree, &[("b.txt", "two\n")], "second");
    ann.git(&tree, &["push", "-q", "origin", "main"]);
    ann.git(&ann.home, &["clone", "-q", &ann.http_url("app"), "by-http"]);
    let over_ssh = ann.git(&ann.home, &["clone", &ann.ssh_url("app"), "by-ssh"]);
    assert!(over_ssh.contains("app is called application now"), "{over_ssh}");
    ann.commit(&ann.home.join("by-ssh"), &[("c.txt", "three\n")], "third");
    ann.git(&ann.home.join("by-ssh"), &["push", "-q", "origin", "main"]);
    assert!(!bob.try_git(&bob.home, &["ls-remote", &bob.http_url("app")]).status.success());
    assert!(!bob.try_git(&bob.home, &["ls-remote", &bob.ssh_url("app")]).status.success());
    // So does the command line, by socket and by token.
    assert_eq!(server.json(&["repo", "show", "app"])["name"], "application");
    let url = format!("http://{http}");
    let remote = run(Command::new(program())
        .args(["repo", "show", "app", "--json", "--server", &url])
        .env("SLIPWAY_TOKEN", &ann.token));
    assert!(text(&remote.stdout).contains("application"), "{}", text(&remote.stderr));
}

#[test]
fn a_name_that_somebody_took_leads_to_them() {
    let (server, ann, _) = renamed();
    let bob = server.person("bob", false);
    let made = bob.over_ssh("repo create app --public", "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    for who in [&ann, &bob] {
        assert_eq!(led(Some(who), &server.http, "/app", &[]).0, 200);
    }
    let (_, page) = ann.get("/app");
    assert!(page.contains("is empty"), "{page}");
    assert!(
        server.data.join("repos/app.git").is_symlink()
            && server.data.join("repos/application.git").is_symlink()
    );
}

#[test]
fn what_is_changed_at_the_same_time_is_all_there() {
    let (server, ann, tree) = renamed();
    let patch = |body: String| {
        let sign_in = format!("ann:{}", ann.token);
        let url = format!("http://{}/-/api/v1/repos/app", server.http);
        let json = ["-L", "-X", "PATCH", "-H", "Content-Type: application/json", "-d", &body, &url];
        curl(&[&["-u", &sign_in], &json[..]].concat())
    };
    for round in 0..12 {
        std::thread::scope(|scope| {
            let bodies = [
                format!("{{\"name\":\"r{round}\"}}"),
                format!("{{\"description\":\"of round {round}\"}}"),
                format!("{{\"public\":{}}}", round % 2 == 0),
            ];
            let asked: Vec<_> = bodies.map(|body| scope.spawn(|| patch(body))).into_iter().collect();
            for one in asked {
                let (status, body) = one.join().expect("curl");
                assert_eq!(status, 200, "{body}");
            }
        });
        let record: Value =
            serde_json::from_str(&ann.get(&format!("/-/api/v1/repos/r{round}")).1).expect("json");
        let what = (record["name"].clone(), record["description"].clone(), record["public"].clone());
        let want = (format!("r{round}").into(), format!("of round {round}").into(), (round % 2 == 0).into());
        assert_eq!(what, want, "{record}");
        ann.git(&tree, &["ls-remote", "-q", &ann.http_url(&format!("r{round}"))]);
        let id = record["id"].as_u64().expect("an id");
        let link = std::fs::read_link(server.data.join(format!("repos/r{round}.git"))).expect("a link");
        assert_eq!(link, std::path::PathBuf::from(format!("{id}.git")));
    }
    let links = std::fs::read_dir(server.data.join("repos")).expect("repos").flatten();
    assert_eq!(links.filter(|e| e.path().is_symlink()).count(), 1, "no old link is left");
}
