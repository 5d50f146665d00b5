//! Registries by the real server: whose credentials ask AWS, what is recorded and refused, trials on every surface, and the
//! gate of ECR's scan. AWS is played by a small server on loopback.

#[path = "harness/mod.rs"]
mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use harness::{Slipway, lab, run, text};
use serde_json::{Value, json};

/// AWS: ECR, STS, the container's and the node's credentials.
struct Aws {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Actions of ECR, with the access key that signed them.
    calls: Vec<(String, String)>,
    /// The registry that has the images.
    registry: String,
    /// What the scan says.
    findings: Value,
    /// The action that is denied.
    denied: String,
}

impl Aws {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || while serve(&stream, &state).is_some() {});
            }
        });
        Self { address, state }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("lock")
    }

    /// Whose key signed the last call of that action.
    fn signed(&self, action: &str) -> String {
        let state = self.state();
        state.calls.iter().rfind(|(a, _)| a == action).map(|(_, key)| key.clone()).unwrap_or_default()
    }
}

/// One request on a connection that is kept; `None` at its end.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let found = head.iter().skip(1).filter_map(|l| l.split_once(": "));
        found
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.to_owned())
            .next()
            .unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let key = header("authorization")
        .split_once("Credential=")
        .map_or(String::new(), |(_, rest)| rest.split('/').next().unwrap_or_default().to_owned());
    let target = header("x-amz-target");
    let input = String::from_utf8_lossy(&body).into_owned();
    let (status, answer) = match target.rsplit_once('.') {
        Some((_, action)) => ecr(&mut state.lock().expect("lock"), action, &input, key),
        None => identity(&head[0], &header("authorization"), &input),
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 600\r\n\r\n{answer}",
        answer.len()
    );
    (&*stream).write_all(answer.as_bytes()).ok()
}

fn ecr(state: &mut State, action: &str, input: &str, key: String) -> (u16, String) {
    state.calls.push((action.to_owned(), key));
    if state.denied == action {
        let answer = json!({"__type": "AccessDeniedException", "message": format!("not authorized to perform: ecr:{action}")});
        return (400, answer.to_string());
    }
    let input: Value = serde_json::from_str(input).unwrap_or_default();
    let name = input["repositoryName"].as_str().unwrap_or_default();
    let answer = match action {
        "GetAuthorizationToken" => {
            let token = base64::engine::general_purpose::STANDARD.encode("AWS:a-login");
            json!({"authorizationData": [{"authorizationToken": token, "expiresAt": 4_000_000_000.0, "proxyEndpoint": "https://x"}]})
        }
        "DescribeRepositories" => json!({"repositories": []}),
        "DescribeImageScanFindings" => json!({
            "imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {
                "findingSeverityCounts": state.findings, "findings": [{"name": "CVE-2026-7", "severity": "CRITICAL"}]},
        }),
        "BatchGetImage" => image(&state.registry, name, &input["imageIds"][0]),
        "PutImage" => {
            let manifest = input["imageManifest"].as_str().unwrap_or_default();
            let kind =
                format!("Content-Type: {}", input["imageManifestMediaType"].as_str().unwrap_or_default());
            let url = format!(
                "http://{}/v2/{name}/manifests/{}",
                state.registry,
                input["imageTag"].as_str().unwrap_or_default()
            );
            run(Command::new("curl").args([
                "-sf",
                "-X",
                "PUT",
                "-H",
                &kind,
                "--data-binary",
                manifest,
                &url,
            ]));
            json!({"image": {}})
        }
        _ => json!({}),
    };
    (200, answer.to_string())
}

fn image(registry: &str, name: &str, id: &Value) -> Value {
    let named = id["imageTag"].as_str().or(id["imageDigest"].as_str()).unwrap_or_default();
    let types = "Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
    let url = format!("http://{registry}/v2/{name}/manifests/{named}");
    let out = run(Command::new("curl").args(["-sfi", "-H", types, &url]));
    let answer = text(&out.stdout);
    let found = answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200"));
    let Some((head, manifest)) = found else {
        return json!({"images": [], "failures": [{"imageId": id, "failureCode": "ImageNotFound"}]});
    };
    let field = |name: &str| {
        let line =
            head.lines().find_map(|l| l.to_lowercase().strip_prefix(name).map(|v| v.trim().to_owned()));
        line.unwrap_or_default()
    };
    json!({"images": [{
        "imageId": {"imageDigest": field("docker-content-digest:")}, "imageManifest": manifest,
        "imageManifestMediaType": field("content-type:"),
    }], "failures": []})
}

/// Everybody who gives credentials, each of them its own.
fn identity(request: &str, authorization: &str, form: &str) -> (u16, String) {
    let given = |id: &str| {
        json!({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": id, "SecretAccessKey": "s", "Token": "t",
            "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"})
    };
    if request.starts_with("GET /container ") && authorization == "the-pods-token" {
        return (200, given("AKIAPOD").to_string());
    }
    if request.starts_with("PUT /latest/api/token ") {
        return (200, "token".into());
    }
    if let Some(path) = request.strip_prefix("GET /latest/meta-data/iam/security-credentials/") {
        return (200, if path.starts_with("node ") { given("AKIANODE").to_string() } else { "node".into() });
    }
    let action = form.split('&').find_map(|p| p.strip_prefix("Action=")).unwrap_or_default();
    let credentials = |id: &str| {
        format!(
            "<Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        )
    };
    let result = match action {
        "AssumeRoleWithWebIdentity" if form.contains("WebIdentityToken=the-pods-jwt") => {
            credentials("AKIAIRSA")
        }
        "AssumeRole" => credentials("AKIAROLE"),
        "GetCallerIdentity" => "<Arn>arn:aws:sts::123456789012:assumed-role/a/b</Arn>".into(),
        _ => return (404, String::new()),
    };
    let space = "https://sts.amazonaws.com/doc/2011-06-15/";
    (
        200,
        format!(
            "<{action}Response xmlns=\"{space}\"><{action}Result>{result}</{action}Result></{action}Response>"
        ),
    )
}

/// A server whose AWS is that one, with these variables besides.
fn server(aws: &Aws, env: &[(&str, &str)]) -> Slipway {
    let url = aws.url();
    let nothing = [
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let kept = nothing.into_iter().filter(|(name, _)| env.iter().all(|(given, _)| given != name));
    let all: Vec<_> = kept.chain(env.iter().copied()).filter(|(_, value)| !value.is_empty()).collect();
    Slipway::start_with_env(&all)
}

fn add(server: &Slipway, aws: &Aws, more: &[&str]) {
    let url = aws.url();
    let mut args =
        vec!["registry", "add", "ecr", "--kind", "ecr", "--region", "eu-central-1", "--url", "127.0.0.1:9"];
    args.extend(["--endpoint", &url]);
    args.extend(more);
    server.cli(&args);
}

/// What it is, the server's variables, flags of the registry, and the key that signs.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a str);

#[test]
fn every_source_of_credentials_is_asked() {
    let folder = tempfile::tempdir().expect("temp");
    let file = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).expect("write");
        folder.path().join(name).display().to_string()
    };
    let jwt = file("jwt", "the-pods-jwt");
    let token = file("token", "the-pods-token");
    let profiles = file("credentials", "[ci]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n");
    let aws = Aws::start();
    let container = format!("{}/container", aws.url());
    let variables = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let mut named = variables.to_vec();
    named.push(("AWS_SHARED_CREDENTIALS_FILE", &profiles));
    let role = "arn:aws:iam::123456789012:role/slipway";
    let irsa = [("AWS_WEB_IDENTITY_TOKEN_FILE", jwt.as_str()), ("AWS_ROLE_ARN", role)];
    let url = aws.url();
    let pod = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_str()),
    ];
    let node = [("AWS_EC2_METADATA_DISABLED", ""), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let assume = ["--assume-role", role, "--external-id", "x-1"];
    let cases: [Case; 7] = [
        ("variables", &variables, &[], "AKIAENV"),
        ("a profile, before variables", &named, &["--aws-profile", "ci"], "AKIAPROFILE"),
        ("a service account's role", &irsa, &[], "AKIAIRSA"),
        ("a pod's identity", &pod, &[], "AKIAPOD"),
        ("a node's role", &node, &[], "AKIANODE"),
        ("a role on top of a service account's", &irsa, &assume, "AKIAROLE"),
        ("a role on top of a node's", &node, &assume, "AKIAROLE"),
    ];
    for (what, env, flags, key) in cases {
        let server = server(&aws, env);
        add(&server, &aws, flags);
        let report = server.json(&["registry", "test", "ecr"]);
        assert_eq!(aws.signed("GetAuthorizationToken"), key, "{what}: {report:#}");
        assert!(report["steps"][0]["what"].as_str().is_some_and(|w| w.contains(key)), "{what}: {report:#}");
    }
}

#[test]
fn without_credentials_the_failing_call_is_named() {
    let aws = Aws::start();
    let server = server(&aws, &[]);
    add(&server, &aws, &[]);
    let out = server.try_cli(&["registry", "test", "ecr", "--image", "team/app"]);
    let told = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{told}");
    let outcome = |call: &str| {
        let line = told
            .lines()
            .find(|l| l.starts_with(&format!("{call} ")))
            .unwrap_or_else(|| panic!("{call}: {told}"));
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(outcome("credentials"), "failed", "{told}");
    for call in
        ["sts:GetCallerIdentity", "ecr:GetAuthorizationToken", "login", "ecr:BatchGetImage", "ecr:PutImage"]
    {
        assert_eq!(outcome(call), "skipped", "one cause is one failure: {told}");
    }
    assert!(told.contains("Record an access key") && !told.contains("CredentialsNotLoaded"), "{told}");
    assert_eq!(aws.signed("GetAuthorizationToken"), "");
}

#[test]
fn a_trial_reads_the_same_on_every_surface() {
    let aws = Aws::start();
    let server = server(&aws, &[("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")]);
    let ann = server.person("ann", true);
    add(&server, &aws, &[]);
    assert!(server.cli(&["registry", "test", "ecr"]).starts_with("CALL "));
    aws.state().denied = "BatchGetImage".into();
    let verb = ["registry", "test", "ecr", "--image", "team/app"];
    let out = server.try_cli(&verb);
    let told = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1));
    let statement = r#"{"Action":"ecr:BatchGetImage","Effect":"Allow","Resource":"arn:aws:ecr:eu-central-1:*:repository/team/app"}"#;
    assert!(told.contains(statement), "{told}");
    let over_ssh = ann.over_ssh("registry test ecr --image team/app", "");
    assert_eq!((over_ssh.status.code(), text(&over_ssh.stdout)), (Some(1), told.clone()));
    let out = server.try_cli(&[&verb[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&text(&out.stdout)).expect("json");
    assert_eq!((out.status.code(), &report["ok"]), (Some(1), &json!(false)));
    let doctor = text(&server.try_cli(&["doctor"]).stdout);
    assert!(doctor.contains("ok   registry ecr: "), "a repository is not looked at: {doctor}");
    // A path that is none, and writing without one.
    let refused = text(&server.try_cli(&["registry", "test", "ecr", "--image", "../x"]).stderr);
    assert!(refused.contains("cannot be an image path"), "{refused}");
    assert!(!server.try_cli(&["registry", "test", "ecr", "--write"]).status.success());
}

#[test]
fn settings_are_recorded_and_those_that_make_no_sense_refused() {
    let aws = Aws::start();
    let server = server(&aws, &[]);
    let template = [
        "--immutable-tags",
        "--except",
        "latest",
        "--scan-on-push",
        "--lifecycle",
        "{\"rules\":[]}",
        "--encryption",
        "kms:alias/ecr",
        "--repository-tag",
        "team=a",
        "--scan-gate",
        "high",
        "--aws-profile",
        "ci",
    ];
    add(&server, &aws, &template);
    let recorded = server.json(&["registry", "list"])[0]["ecr"].clone();
    assert_eq!(
        recorded,
        json!({"profile": "ci", "endpoint": aws.url(), "scan_gate": "high", "repositories": {
            "immutable_tags": true, "except": ["latest"], "scan_on_push": true, "lifecycle": "{\"rules\":[]}",
            "encryption": "kms:alias/ecr", "tags": {"team": "a"}}})
    );
    add(&server, &aws, &[]);
    assert_eq!(
        server.json(&["registry", "list"])[0]["ecr"],
        json!({"endpoint": aws.url()}),
        "recorded anew is all anew"
    );
    let refused = |args: &[&str], why: &str| {
        let out = server.try_cli(&[&["registry", "add", "x"], args].concat());
        let told = text(&out.stderr);
        assert!(!out.status.success() && told.contains(why), "{args:?}: {told}");
    };
    let ecr = ["--kind", "ecr", "--region", "eu-central-1", "--url", "127.0.0.1:9"];
    refused(&["--url", "r.example", "--scan-gate", "high"], "of another kind");
    refused(&[&ecr[..], &["--endpoint", "http://ecr.example"]].concat(), "cannot be the address");
    refused(&[&ecr[..], &["--assume-role", "slipway"]].concat(), "is not the ARN of a role");
    refused(&[&ecr[..], &["--external-id", "x"]].concat(), "--assume-role");
    refused(&[&ecr[..], &["--except", "latest"]].concat(), "--immutable-tags");
    refused(&[&ecr[..], &["--lifecycle", "{"]].concat(), "is not JSON");
    let file = server.data.join("no-certificate");
    std::fs::write(&file, "hello\n").expect("write");
    let file = file.display().to_string();
    refused(&["--url", "r.example", "--ca-file", &file], "has no certificate");
    refused(&[&ecr[..], &["--ca-file", &file]].concat(), "kind generic");
}

fn show(data: &Path, git: &harness::Person) -> String {
    git.git(&data.join("repos/manifests.git"), &["show", "main:d.yaml"])
}

#[test]
fn findings_of_the_scan_keep_the_manifests_where_they_are() {
    let lab = lab();
    let aws = Aws::start();
    let server = server(&aws, &[("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")]);
    let ann = server.person("ann", true);
    let image = format!("slipway-test-scan-{}", std::process::id());
    aws.state().registry = lab.registry.clone();
    server.cli(&["repo", "create", "app"]);
    server.cli(&["repo", "create", "manifests"]);
    let url = aws.url();
    let place =
        ["--region", "eu-central-1", "--url", &lab.registry, "--endpoint", &url, "--scan-gate", "high"];
    server.cli(&[&["registry", "add", "ecr", "--kind", "ecr"], &place[..]].concat());
    server.cli(&["bind", "app", "--registry", "ecr", "--image", &image]);
    let manifests =
        ann.work_tree("manifests", &[("d.yaml", &format!("image: {}/{image}:old\n", lab.registry))]);
    ann.git(&manifests, &["push", "-q", &ann.ssh_url("manifests"), "main"]);
    let spec = "[deploy.prod]\nrepo = \"manifests\"\n";
    let tree = ann.work_tree("app", &[("Dockerfile", "FROM alpine:3.20\n"), ("slipway.toml", spec)]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);

    aws.state().findings = json!({"CRITICAL": 1, "LOW": 5});
    let told = ann.git(&tree, &["push", "-o", "wait", "origin", "HEAD:main"]);
    assert!(told.contains("1 critical (CVE-2026-7, …)"), "{told}");
    assert!(show(&server.data, &ann).ends_with(":old\n"), "{}", show(&server.data, &ann));
    let build = server.build_ended("app", 1, Duration::from_secs(180));
    assert_eq!(
        (&build["state"], &build["failure"]["class"]),
        (&json!("failed"), &json!("user")),
        "{build:#}"
    );

    aws.state().findings = json!({"MEDIUM": 1});
    server.cli(&["build", "retry", "app", "1"]);
    let build = server.build_ended("app", 2, Duration::from_secs(180));
    assert_eq!(build["state"], "succeeded", "{build:#}");
    assert!(show(&server.data, &ann).contains("@sha256:"), "{}", show(&server.data, &ann));
}
