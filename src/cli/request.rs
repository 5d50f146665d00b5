//! What a verb asks of the JSON API: method, path, body, and how the answer reads. Pure.

use serde_json::{Value, json};
use slipway_core::spec::parse_duration_ms;
use slipway_core::{Problem, ProblemKind, Role};

use super::{ClusterVerb, DeployVerb, KeyVerb, TokenVerb, UserVerb, Verb, builds, repos};

/// One call of the API.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    /// A body that is no JSON.
    pub(crate) raw: Option<bytes::Bytes>,
    pub(crate) shows: Shows,
}

/// How the answer is shown to people.
#[derive(Debug)]
pub(crate) enum Shows {
    /// A sentence; the answer itself says nothing new.
    Sentence(String),
    /// The rows of the list under that key, these fields as columns.
    Rows(&'static str, &'static [&'static str]),
    /// One record, field by field.
    Record,
    /// What a maintenance did.
    Maintained,
    /// One text field, as it is.
    Text(&'static str),
    /// The answer's raw bytes as they come.
    Stream,
    /// What programs wrote, as it comes, but for orders to the terminal.
    Log,
    /// The stages and steps of a log.
    Steps,
    /// The doctor's checks.
    Checks,
    /// Objects that may be taken over.
    Adoptable,
    /// The calls of a registry's trial.
    Trial,
}

/// Reads what a flag names: a file here, or standard input for `-`. Over SSH only `-` is allowed.
pub(crate) trait Files {
    fn read(&mut self, name: &str) -> Result<String, Problem>;
}

pub(super) fn call(method: &'static str, path: impl Into<String>, shows: Shows) -> Request {
    Request { method, path: path.into(), body: None, raw: None, shows }
}

pub(super) fn send(method: &'static str, path: impl Into<String>, body: Value, shows: Shows) -> Request {
    Request { method, path: path.into(), body: Some(body), raw: None, shows }
}

pub(super) fn says(sentence: impl Into<String>) -> Shows {
    Shows::Sentence(sentence.into())
}

/// Percent-encodes one path segment.
pub(super) fn segment(raw: &str) -> String {
    let mut out = String::new();
    for byte in raw.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The API call for a verb. Those that the program itself carries out have none: `None`.
///
/// # Errors
/// A file that cannot be read, or a value that does not fit.
pub(crate) fn request(verb: Verb, files: &mut dyn Files) -> Result<Option<Request>, Problem> {
    Ok(Some(match verb {
        Verb::Serve(_)
        | Verb::Demo(_)
        | Verb::Completions { .. }
        | Verb::Check { .. }
        | Verb::Import(_)
        | Verb::Restore(_)
        | Verb::UploadPack(_)
        | Verb::ReceivePack(_) => return Ok(None),
        Verb::User(verb) => user(verb, files)?,
        Verb::Key(verb) => key(verb, files)?,
        Verb::Token(verb) => token(verb)?,
        Verb::Repo(verb) => repos::request(verb)?,
        Verb::Grant { user, repo, role } => {
            let role = Role::from(role);
            let sentence =
                format!("{user} has the role {} in {repo}.", json!(role).as_str().unwrap_or_default());
            send("PUT", format!("/repos/{repo}/grants/{user}"), json!({"role": role}), says(sentence))
        }
        Verb::Revoke { user, repo } => call(
            "DELETE",
            format!("/repos/{repo}/grants/{user}"),
            says(format!("{user} has no role in {repo} any more.")),
        ),
        Verb::Registry(verb) => super::registries::request(verb, files)?,
        Verb::Cluster(verb) => cluster(verb, files)?,
        Verb::Bind(bind) => super::bind::bind(*bind)?,
        Verb::Unbind(unbind) => super::bind::unbind(&unbind),
        Verb::Build(verb) => return Ok(builds::request(verb)),
        Verb::Deploy(verb) => deploy(verb),
        Verb::Secret(verb) => super::secrets::request(verb, files)?,
        Verb::Webhook(verb) => super::webhooks::request(verb, files)?,
        Verb::Doctor { .. } => call("GET", "/doctor", Shows::Checks),
        Verb::Export => call("GET", "/export", Shows::Stream),
        Verb::Backup(backup) => return Ok(super::backups::request(&backup)),
    }))
}

fn user(verb: UserVerb, files: &mut dyn Files) -> Result<Request, Problem> {
    Ok(match verb {
        UserVerb::Add { name, owner, key } => {
            let keys = key.iter().map(|file| files.read(file)).collect::<Result<Vec<_>, _>>()?;
            let sentence = format!("User {name} is added with {} key(s).", keys.len());
            send("POST", "/users", json!({"name": name, "owner": owner, "keys": keys}), says(sentence))
        }
        UserVerb::List => {
            call("GET", "/users?limit=1000", Shows::Rows("users", &["name", "owner", "created"]))
        }
        UserVerb::Set { name, owner, no_owner: _ } => {
            let is = if owner { "is an owner of the server" } else { "is no owner of the server" };
            let sentence = format!("{name} {is} now.");
            send("PATCH", format!("/users/{name}"), json!({"owner": owner}), says(sentence))
        }
        UserVerb::Sessions { name } => call(
            "GET",
            format!("/users/{name}/sessions"),
            Shows::Rows("sessions", &["id", "expires", "current"]),
        ),
        UserVerb::SignOut { name } => {
            let sentence = format!("{name} is signed out everywhere; keys and tokens stay.");
            call("DELETE", format!("/users/{name}/sessions"), says(sentence))
        }
        UserVerb::Remove { name } => {
            call("DELETE", format!("/users/{name}"), says(format!("User {name} is removed.")))
        }
    })
}

fn key(verb: KeyVerb, files: &mut dyn Files) -> Result<Request, Problem> {
    Ok(match verb {
        KeyVerb::Add { user, key, title } => {
            let key = files.read(&key)?;
            let sentence = format!("The key is added to {user}.");
            let mut body = json!({"user": user, "key": key});
            if let Some(title) = title {
                body["title"] = json!(title);
            }
            send("POST", "/keys", body, says(sentence))
        }
        KeyVerb::List { user } => {
            let of = user.map_or(String::new(), |u| format!("&user={u}"));
            call(
                "GET",
                format!("/keys?limit=1000{of}"),
                Shows::Rows("keys", &["fingerprint", "user", "title", "created"]),
            )
        }
        KeyVerb::Remove { fingerprint } => call(
            "DELETE",
            format!("/keys/{}", segment(&fingerprint)),
            says(format!("The key {fingerprint} is removed.")),
        ),
    })
}

fn token(verb: TokenVerb) -> Result<Request, Problem> {
    Ok(match verb {
        TokenVerb::Create { user, name, scope, expires } => {
            let mut body = json!({"user": user, "name": name, "scopes": scope});
            if let Some(expires) = expires {
                let ms = parse_duration_ms(&expires).ok_or_else(|| {
                    Problem::new(
                        ProblemKind::Invalid,
                        format!("{expires:?} is not a time."),
                        "Give one such as 90d.",
                    )
                })?;
                body["expires_in_s"] = json!(ms / 1000);
            }
            send("POST", "/tokens", body, Shows::Text("value"))
        }
        TokenVerb::List { user } => {
            let of = user.map_or(String::new(), |u| format!("&user={u}"));
            let columns = &["id", "user", "name", "scopes", "created", "expires"];
            call("GET", format!("/tokens?limit=1000{of}"), Shows::Rows("tokens", columns))
        }
        TokenVerb::Remove { id } => {
            call("DELETE", format!("/tokens/{}", segment(&id)), says(format!("The token {id} is removed.")))
        }
    })
}

fn cluster(verb: ClusterVerb, files: &mut dyn Files) -> Result<Request, Problem> {
    Ok(match verb {
        ClusterVerb::Add { name, kubeconfig, context } => {
            let mut body = json!({"kubeconfig": files.read(&kubeconfig)?});
            if let Some(context) = context {
                body["context"] = json!(context);
            }
            send("PUT", format!("/clusters/{name}"), body, says(format!("Cluster {name} is known.")))
        }
        ClusterVerb::List => {
            call("GET", "/clusters?limit=1000", Shows::Rows("clusters", &["name", "server", "context"]))
        }
        ClusterVerb::Test { name } => call("POST", format!("/clusters/{name}/test"), Shows::Text("what")),
        ClusterVerb::Remove { name } => {
            call("DELETE", format!("/clusters/{name}"), says(format!("Cluster {name} is forgotten.")))
        }
    })
}

fn deploy(verb: DeployVerb) -> Request {
    const COLUMNS: &[&str] = &["number", "state", "phase", "cluster", "commit", "title", "actor", "created"];
    match verb {
        DeployVerb::List { repo } => {
            call("GET", format!("/repos/{repo}/deploys"), Shows::Rows("deploys", COLUMNS))
        }
        DeployVerb::Show { repo, number } => {
            let which = number.map_or("latest".to_owned(), |n| n.to_string());
            call("GET", format!("/repos/{repo}/deploys/{which}"), Shows::Record)
        }
        DeployVerb::Diff { repo } => call("GET", format!("/repos/{repo}/diff"), Shows::Text("diff")),
        DeployVerb::Sync { repo } => send("POST", format!("/repos/{repo}/deploys"), json!({}), Shows::Record),
        DeployVerb::Rollback { repo, number, prune } => {
            let body = json!({"prune": prune});
            send("POST", format!("/repos/{repo}/deploys/{number}/rollback"), body, Shows::Record)
        }
        DeployVerb::Adopt { repo, yes: false } => {
            call("GET", format!("/repos/{repo}/adoptable"), Shows::Adoptable)
        }
        DeployVerb::Adopt { repo, yes: true } => {
            send("POST", format!("/repos/{repo}/adopt"), json!({}), Shows::Record)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    struct NoFiles;
    impl Files for NoFiles {
        fn read(&mut self, name: &str) -> Result<String, Problem> {
            Ok(format!("<{name}>\n"))
        }
    }

    fn request_of(line: &str) -> Request {
        let cli = Cli::try_parse_from(std::iter::once("slipway").chain(line.split(' '))).expect(line);
        request(cli.verb, &mut NoFiles).expect(line).expect(line)
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_verb_asks_for_its_route() {
        for (line, want) in [
            ("user add ann --owner --key k.pub", "POST /users"),
            ("key remove SHA256:a/b+c", "DELETE /keys/SHA256%3Aa%2Fb%2Bc"),
            ("repo create app", "POST /repos"),
            ("repo set app --default-branch x", "PATCH /repos/app"),
            ("build start app", "POST /repos/app/builds"),
            ("repo maintain app --full", "POST /repos/app/maintenance"),
            ("repo remove app --yes", "DELETE /repos/app"),
            ("grant ann app write", "PUT /repos/app/grants/ann"),
            ("revoke ann app", "DELETE /repos/app/grants/ann"),
            ("bind app --registry local --image x", "PUT /repos/app/bindings/registry"),
            ("bind m --cluster lab --namespace default --prune", "PUT /repos/m/bindings/cluster"),
            ("unbind m --cluster", "DELETE /repos/m/bindings/cluster"),
            ("build log app 3 --follow", "GET /repos/app/builds/3/log?follow=true"),
            ("build steps app 3", "GET /repos/app/builds/3/steps"),
            ("build verify r:5000/a@sha256:0", "GET /images/verify?image=r%3A5000%2Fa%40sha256%3A0"),
            ("build sbom app 3", "GET /repos/app/builds/3/sbom"),
            ("deploy show m", "GET /repos/m/deploys/latest"),
            ("deploy rollback m 2", "POST /repos/m/deploys/2/rollback"),
            ("--data D doctor", "GET /doctor"),
            ("doctor --data D", "GET /doctor"),
            ("backup -", "POST /backup?keys=true"),
            ("backup --without-keys -", "POST /backup?keys=false"),
            ("backup --records -", "GET /backup"),
            ("export", "GET /export"),
        ] {
            let request = request_of(line);
            assert_eq!(format!("{} {}", request.method, request.path), want, "{line}");
        }
    }

    #[test]
    fn a_repository_is_set_in_what_is_named_and_nothing_else() {
        let body = |flags: &str| request_of(&format!("repo set app {flags}")).body.expect("a body");
        assert_eq!(body("--default-branch dev --private"), json!({"default_branch": "dev", "public": false}));
        assert_eq!(body("--public --description x"), json!({"description": "x", "public": true}));
        for wrong in ["repo set app", "repo set app --public --private"] {
            let parsed = Cli::try_parse_from(std::iter::once("slipway").chain(wrong.split(' ')));
            assert!(parsed.is_err(), "{wrong}");
        }
        assert_eq!(request_of("build start app v1").body, Some(json!({"ref": "v1"})));
    }

    #[test]
    fn a_binding_grants_what_is_named_and_nothing_else() {
        let body = |line: &str| request_of(line).body.expect("a body");
        let plain = body("bind m --cluster lab");
        assert_eq!((&plain["pod_security"], &plain["adopt"]), (&json!("baseline"), &json!(false)));
        assert_eq!((&plain["allow_kinds"], &plain["deny_kinds"]), (&json!([]), &json!([])));
        let wide =
            body("bind m --cluster lab --adopt --pod-security privileged --allow-kind Role --deny-kind Pod");
        assert_eq!((&wide["pod_security"], &wide["adopt"]), (&json!("privileged"), &json!(true)));
        assert_eq!((&wide["allow_kinds"], &wide["deny_kinds"]), (&json!(["Role"]), &json!(["Pod"])));
        assert_eq!((&plain["require_signed"], &plain["allow_unsigned"]), (&json!(false), &json!([])));
        let signed = body("bind m --cluster lab --require-signed --allow-unsigned docker.io/library");
        assert_eq!(
            (&signed["require_signed"], &signed["allow_unsigned"]),
            (&json!(true), &json!(["docker.io/library"]))
        );
        let plain = body("bind app --registry local");
        assert_eq!((&plain["may_pull"], &plain["builds"]), (&json!([]), &json!({})));
        let wide = body(
            "bind app --registry local --cache-group team --may-pull base --any-frontend --remote-add \
             --build-limit network=none --test-limit memory=4GiB --test-limit network=bridge",
        );
        assert_eq!((&wide["cache_group"], &wide["may_pull"]), (&json!("team"), &json!(["base"])));
        assert_eq!((&wide["any_frontend"], &wide["remote_add"]), (&json!(true), &json!(true)));
        assert_eq!(wide["builds"], json!({"network": "none"}));
        assert_eq!(wide["tests"], json!({"memory": "4GiB", "network": "bridge"}));
        let wrong = Cli::try_parse_from("slipway bind app --registry r --test-limit cpus=many".split(' '));
        assert!(request(wrong.expect("parses").verb, &mut NoFiles).is_err());
    }

    #[test]
    fn prune_is_the_default_and_can_be_turned_off() {
        for (flags, want) in [("", true), (" --prune", true), (" --no-prune", false)] {
            let body = request_of(&format!("bind m --cluster lab{flags}")).body.expect("a body");
            assert_eq!(body["prune"], want, "{flags}");
        }
    }

    #[test]
    fn a_repository_is_not_removed_by_half_a_word() {
        let cli = Cli::try_parse_from(["slipway", "repo", "remove", "app"]).expect("parses");
        assert!(request(cli.verb, &mut NoFiles).is_err());
    }
}
