//! Two hashes: a client of the other one is refused with words that help, whatever it speaks.

use slipway_core::{ObjectFormat, Role, Scope};

use crate::http::{RECEIVE, UPLOAD, V2, post};
use crate::server::{Person, Server, text};

fn pkt(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

fn served(format: ObjectFormat) -> (Server, Person, String) {
    let server = Server::start();
    let dev = server.person("dev", false);
    server.repo_of(format, "app", false);
    server.grant("dev", "app", Role::Write);
    let token = server.token("dev", &[Scope::RepoWrite], None);
    (server, dev, token)
}

#[test]
fn a_client_of_the_other_format_is_told_so() {
    for (here, there) in
        [(ObjectFormat::Sha1, ObjectFormat::Sha256), (ObjectFormat::Sha256, ObjectFormat::Sha1)]
    {
        let (server, dev, token) = served(here);
        let (native, stranger) = (dev.with_format(here), dev.with_format(there));
        let url = native.http_url("app", &token);
        let tree = native.work_tree("native", &[("a", "a")]);
        native.git(&tree, &["push", "-q", &url, "main"]);
        // Stock git compares the formats itself.
        let tree = stranger.work_tree("stranger", &[("b", "b")]);
        for verb in [&["fetch"][..], &["push"][..]] {
            let out = stranger.try_git(&tree, &[verb, &[&url, "main:refs/heads/b"]].concat());
            assert!(!out.status.success(), "{here} {verb:?}");
        }
        // Who does not is told by the server.
        let told = format!("mismatched object format: server {here}; client {there}");
        let id = there.zero().to_string().replace('0', "1");
        let fetch = pkt("command=fetch")
            + &pkt(&format!("object-format={there}"))
            + "0001"
            + &pkt(&format!("want {id}"))
            + &pkt("done")
            + "0000";
        let ask = |service: &str, headers: &[(&str, &str)], body: String| {
            let url = format!("http://{}/app/{service}", server.http);
            text(&server.block_on(post(&url, ("dev", &token), headers, body.into())).body)
        };
        let said = ask("git-upload-pack", &[UPLOAD, V2], fetch);
        assert!(said.contains(&told), "{said}");
        let zero = here.zero();
        let command = format!("{zero} {zero} refs/heads/x\0report-status object-format={there}");
        let said = ask("git-receive-pack", &[RECEIVE], pkt(&command) + "0000");
        assert!(said.contains(&told), "{said}");
    }
}
