//! Signed pushes: by stock git, and by somebody who means no good.

use std::path::Path;
use std::process::Command;

use slipway_core::event::{Event, Signed};
use slipway_core::{ObjectFormat, RepoName, Role, Scope};

use crate::http::{RECEIVE, get, post};
use crate::server::{Person, Server, fingerprint, gits, text};

const SEED: &str = "a seed";

fn served() -> (Server, Person, std::path::PathBuf, String) {
    served_in(ObjectFormat::Sha1)
}

fn served_in(format: ObjectFormat) -> (Server, Person, std::path::PathBuf, String) {
    let server = Server::start();
    let dev = server.person("dev", false).with_format(format);
    let path = server.repo_of(format, "app", false);
    server.grant("dev", "app", Role::Write);
    let token = server.token("dev", &[Scope::RepoWrite], None);
    dev.git(&path, &["config", "receive.certNonceSeed", SEED]);
    (server, dev, path, token)
}

#[test]
fn signed_pushes_of_stock_git_are_taken() {
    [ObjectFormat::Sha1, ObjectFormat::Sha256].into_iter().for_each(signed_pushes);
}

fn signed_pushes(format: ObjectFormat) {
    let (server, dev, _, token) = served_in(format);
    let tree = dev.work_tree("tree", &[("a", "a")]);
    let other = dev.home.join("other");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other).output();
    assert!(made.expect("ssh-keygen runs").status.success());
    for (n, git) in gits().iter().enumerate() {
        let dev = dev.with_git(git);
        for (m, url) in [dev.ssh_url("app"), dev.http_url("app", &token)].iter().enumerate() {
            for (key, remark) in [("id", false), ("other", true)] {
                let key_file = format!("user.signingKey={}", dev.home.join(key).display());
                let spec = format!("main:refs/heads/{key}-{n}-{m}");
                let args = [
                    "-c",
                    "gpg.format=ssh",
                    "-c",
                    &key_file,
                    "push",
                    "--signed",
                    "-o",
                    "ci.skip",
                    url,
                    &spec,
                ];
                let out = dev.try_git(&tree, &args);
                let said = text(&out.stderr);
                assert!(out.status.success(), "{said}");
                assert_eq!(
                    said.contains("signed by a key that this account does not have"),
                    remark,
                    "{said}"
                );
                let kept = last_event(&server).certificate.expect("kept");
                assert_eq!(kept.signed, if remark { Signed::ByOther } else { Signed::ByAccount });
                assert_eq!(kept.key, Some(fingerprint(&dev.home.join(key))));
                assert!(!kept.signer.is_empty());
            }
        }
    }
    dev.git(&tree, &["push", "-q", &dev.ssh_url("app"), "main:unsigned"]);
    assert_eq!(last_event(&server).certificate, None);
    drop(server);
}

fn last_event(server: &Server) -> Event {
    let name = RepoName::parse("app").expect("valid");
    let repo = server.store.repo_by_name(&name).expect("read").expect("there");
    server.store.events(repo.id, 1).expect("read").remove(0)
}

/// Certificates as an attacker makes them.
struct Forger<'a> {
    server: &'a Server,
    dev: &'a Person,
    token: &'a str,
}

impl Forger<'_> {
    fn nonce(&self) -> String {
        let url = format!("http://{}/app/info/refs?service=git-receive-pack", self.server.http);
        let told = text(&self.server.block_on(get(&url, Some(("dev", self.token)))).body);
        told.split("push-cert=").nth(1).and_then(|t| t.split(' ').next()).unwrap_or_default().to_owned()
    }

    fn sign(&self, payload: &str, key: &Path) -> String {
        let file = self.dev.home.join("payload");
        std::fs::write(&file, payload).expect("written");
        let _ = std::fs::remove_file(file.with_extension("sig"));
        let out =
            Command::new("ssh-keygen").args(["-Y", "sign", "-n", "git", "-f"]).arg(key).arg(&file).output();
        assert!(out.expect("ssh-keygen runs").status.success());
        std::fs::read_to_string(file.with_extension("sig")).expect("signed")
    }

    /// Pushes the deletion of a branch under a certificate; the report.
    fn push(&self, payload: &str, signature: &str, options: &[&str]) -> String {
        let caps = if options.is_empty() { "report-status" } else { "report-status push-options" };
        let mut body = packet(&format!("push-cert\0{caps}"));
        for line in payload.split_inclusive('\n').chain(signature.split_inclusive('\n')) {
            body.push_str(&packet(line));
        }
        body.push_str(&packet("push-cert-end\n"));
        body.push_str("0000");
        if !options.is_empty() {
            options.iter().for_each(|option| body.push_str(&packet(option)));
            body.push_str("0000");
        }
        let url = format!("http://{}/app/git-receive-pack", self.server.http);
        let answer = self.server.block_on(post(&url, ("dev", self.token), &[RECEIVE], body.into()));
        text(&answer.body)
    }
}

fn packet(data: &str) -> String {
    format!("{:04x}{data}", data.len() + 4)
}

#[test]
fn a_certificate_is_good_once_and_for_what_it_says() {
    let (server, dev, path, token) = served();
    let tree = dev.work_tree("tree", &[("a", "a")]);
    let url = dev.ssh_url("app");
    dev.git(&tree, &["push", "-q", &url, "main", "main:doomed"]);
    let main = dev.git(&tree, &["rev-parse", "main"]).trim().to_owned();
    let forger = Forger { server: &server, dev: &dev, token: &token };
    let key = dev.home.join("id");
    let payload = |nonce: &str, name: &str, option: &str| {
        format!(
            "certificate version 0.1\npusher dev <a@x> 1 +0000\nnonce {nonce}\n{option}\n{main} {} {name}\n",
            "0".repeat(40)
        )
    };
    let exists =
        || dev.try_git(&path, &["rev-parse", "-q", "--verify", "refs/heads/doomed"]).status.success();
    let nonce = forger.nonce();
    assert!(nonce.contains('-'), "{nonce}");
    let good = payload(&nonce, "refs/heads/doomed", "");
    let signature = forger.sign(&good, &key);

    // Another text under the same signature.
    let said = forger.push(&payload(&nonce, "refs/heads/main", ""), &signature, &[]);
    assert!(said.contains("signature is not valid"), "{said}");
    // Nonces that are forged, stale, another repository's, or missing.
    let stale = "1000000000-".to_owned() + nonce.split('-').nth(1).expect("two parts");
    for (bad, why) in
        [("1-00", "not one of this repository's"), (stale.as_str(), "not one of"), ("", "not one of")]
    {
        let text = payload(bad, "refs/heads/doomed", "");
        let said = forger.push(&text, &forger.sign(&text, &key), &[]);
        assert!(said.contains(why), "{bad}: {said}");
    }
    let text = good.replace(&format!("nonce {nonce}\n"), "");
    assert!(forger.push(&text, &forger.sign(&text, &key), &[]).contains("has no nonce"));
    // Push options that were not signed, or that were taken out.
    assert!(forger.push(&good, &signature, &["wait"]).contains("inconsistent push options"));
    let text = payload(&nonce, "refs/heads/doomed", "push-option wait\n");
    let said = forger.push(&text, &forger.sign(&text, &key), &[]);
    assert!(said.contains("inconsistent push options"), "{said}");
    // A signature made for something else than git.
    assert!(exists());

    let said = forger.push(&good, &signature, &[]);
    assert!(said.contains("ok refs/heads/doomed"), "{said}");
    assert!(!exists());
    // Somebody listened, and sends it again once the branch is back.
    dev.git(&tree, &["push", "-q", &url, "main:doomed"]);
    let said = forger.push(&good, &signature, &[]);
    assert!(said.contains("was used before") && exists(), "{said}");

    // Too old by the repository's own measure.
    dev.git(&path, &["config", "receive.certNonceSlop", "0"]);
    let nonce = forger.nonce();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let text = payload(&nonce, "refs/heads/doomed", "");
    let said = forger.push(&text, &forger.sign(&text, &key), &[]);
    assert!(said.contains("nonce is stale"), "{said}");
    // Without a seed none is taken.
    dev.git(&path, &["config", "--unset", "receive.certNonceSeed"]);
    assert_eq!(forger.nonce(), "");
    assert!(forger.push(&text, &forger.sign(&text, &key), &[]).contains("takes no push certificates"));
    assert!(exists());
}
