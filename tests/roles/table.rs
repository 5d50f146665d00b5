//! Who may do what: a row for every way in.

use super::Rule::{self, Administer, Known, Open, Operate, Push, Read, ReadSigned, Server, Signed};
use super::shape;

/// One way in over HTTP.
pub(super) struct Row {
    pub(super) method: &'static str,
    /// As the router names it; the API's description says the same below its base.
    pub(super) route: &'static str,
    /// An address of it. `{repo}`: a repository, `{gone}`: one for this call alone, `{new}`: a name not used before.
    pub(super) path: &'static str,
    pub(super) body: &'static str,
    pub(super) rule: Rule,
}

impl Row {
    pub(super) fn shape(&self) -> String {
        shape(self.route)
    }

    pub(super) fn content_type(&self) -> &'static str {
        if self.path.starts_with("/-/api/") {
            "Content-Type: application/json"
        } else if self.path.ends_with("git-upload-pack") {
            "Content-Type: application/x-git-upload-pack-request"
        } else if self.path.ends_with("git-receive-pack") {
            "Content-Type: application/x-git-receive-pack-request"
        } else {
            "Content-Type: application/x-www-form-urlencoded"
        }
    }
}

const fn row(
    method: &'static str,
    route: &'static str,
    path: &'static str,
    body: &'static str,
    rule: Rule,
) -> Row {
    Row { method, route, path, body, rule }
}

macro_rules! api {
    ($method:literal $route:literal $path:literal $body:literal $rule:expr) => {
        row($method, $route, concat!("/-/api/v1", $path), $body, $rule)
    };
}

pub(super) const API: &[Row] = &[
    api!("GET" "/openapi.json" "/openapi.json" "" Open),
    api!("GET" "/whoami" "/whoami" "" Open),
    api!("GET" "/users" "/users" "" Server),
    api!("POST" "/users" "/users" r#"{"name":"{new}"}"# Server),
    api!("GET" "/users/{user}" "/users/root-of-all" "" Server),
    api!("PATCH" "/users/{user}" "/users/{new}" r#"{"owner":true}"# Server),
    api!("DELETE" "/users/{user}" "/users/{new}" "" Server),
    api!("GET" "/users/{user}/sessions" "/users/root-of-all/sessions" "" Server),
    api!("DELETE" "/users/{user}/sessions" "/users/root-of-all/sessions" "" Server),
    api!("GET" "/keys" "/keys" "" Known),
    api!("GET" "/keys" "/keys?user=root-of-all" "" Server),
    api!("POST" "/keys" "/keys" r#"{"key":"ssh-ed25519 nonsense"}"# Known),
    api!("POST" "/keys" "/keys" r#"{"user":"root-of-all","key":"ssh-ed25519 nonsense"}"# Server),
    api!("DELETE" "/keys/{fingerprint}" "/keys/SHA256:nonsense" "" Known),
    api!("GET" "/tokens" "/tokens" "" Known),
    api!("GET" "/tokens" "/tokens?user=root-of-all" "" Server),
    api!("POST" "/tokens" "/tokens" r#"{"expires_in_s":5}"# Known),
    api!("POST" "/tokens" "/tokens" r#"{"user":"root-of-all"}"# Server),
    api!("DELETE" "/tokens/{id}" "/tokens/nonsense" "" Known),
    api!("GET" "/repos" "/repos" "" Open),
    api!("POST" "/repos" "/repos" r#"{"name":"{new}"}"# Known),
    api!("GET" "/repos/{repo}" "/repos/{repo}" "" Read),
    api!("PATCH" "/repos/{repo}" "/repos/{repo}" r#"{"description":"d"}"# Administer),
    api!("DELETE" "/repos/{repo}" "/repos/{gone}" "" Administer),
    api!("POST" "/repos/{repo}/maintenance" "/repos/{repo}/maintenance" "{}" Administer),
    api!("GET" "/repos/{repo}/grants" "/repos/{repo}/grants" "" Administer),
    api!("PUT" "/repos/{repo}/grants/{user}" "/repos/{gone}/grants/otto" r#"{"role":"read"}"# Administer),
    api!("DELETE" "/repos/{repo}/grants/{user}" "/repos/{repo}/grants/otto" "" Administer),
    api!("GET" "/repos/{repo}/bindings" "/repos/{repo}/bindings" "" Read),
    api!("PUT" "/repos/{repo}/bindings/registry" "/repos/{repo}/bindings/registry" r#"{"registry":"none"}"# Server),
    api!("DELETE" "/repos/{repo}/bindings/registry" "/repos/{repo}/bindings/registry" "" Administer),
    api!("PUT" "/repos/{repo}/bindings/cluster" "/repos/{repo}/bindings/cluster" r#"{"cluster":"none"}"# Server),
    api!("DELETE" "/repos/{repo}/bindings/cluster" "/repos/{repo}/bindings/cluster" "" Administer),
    api!("GET" "/repos/{repo}/events" "/repos/{repo}/events" "" Read),
    api!("GET" "/repos/{repo}/builds" "/repos/{repo}/builds" "" Read),
    api!("POST" "/repos/{repo}/builds" "/repos/{repo}/builds" "{}" Operate),
    api!("GET" "/repos/{repo}/schedules" "/repos/{repo}/schedules" "" Read),
    api!("GET" "/repos/{repo}/builds/{number}" "/repos/{repo}/builds/1" "" Read),
    api!("GET" "/repos/{repo}/builds/{number}/log" "/repos/{repo}/builds/1/log" "" Read),
    api!("GET" "/repos/{repo}/builds/{number}/steps" "/repos/{repo}/builds/1/steps" "" Read),
    api!("GET" "/repos/{repo}/builds/{number}/artifacts" "/repos/{repo}/builds/1/artifacts" "" Read),
    api!("GET" "/repos/{repo}/builds/{number}/artifacts/{*path}" "/repos/{repo}/builds/1/artifacts/app/x" "" Read),
    api!("GET" "/repos/{repo}/builds/{number}/provenance" "/repos/{repo}/builds/1/provenance" "" Read),
    api!("GET" "/repos/{repo}/builds/{number}/sbom" "/repos/{repo}/builds/1/sbom" "" Read),
    api!("GET" "/images/verify" "/images/verify?image=127.0.0.1:9/none" "" Signed),
    api!("GET" "/signing-key" "/signing-key" "" Open),
    api!("POST" "/repos/{repo}/builds/{number}/retry" "/repos/{repo}/builds/1/retry" "{}" Operate),
    api!("POST" "/repos/{repo}/builds/{number}/approve" "/repos/{repo}/builds/1/approve" "{}" Operate),
    api!("POST" "/repos/{repo}/builds/{number}/promote" "/repos/{repo}/builds/1/promote" "{}" Operate),
    api!("POST" "/repos/{repo}/builds/{number}/cancel" "/repos/{repo}/builds/1/cancel" "{}" Operate),
    api!("GET" "/repos/{repo}/deploys" "/repos/{repo}/deploys" "" Read),
    api!("POST" "/repos/{repo}/deploys" "/repos/{repo}/deploys" "{}" Operate),
    api!("GET" "/repos/{repo}/deploys/{number}" "/repos/{repo}/deploys/1" "" Read),
    api!("POST" "/repos/{repo}/deploys/{number}/rollback" "/repos/{repo}/deploys/1/rollback" "{}" Operate),
    api!("POST" "/repos/{repo}/deploys/{number}/cancel" "/repos/{repo}/deploys/1/cancel" "{}" Operate),
    api!("GET" "/repos/{repo}/diff" "/repos/{repo}/diff" "" Operate),
    api!("GET" "/repos/{repo}/adoptable" "/repos/{repo}/adoptable" "" Server),
    api!("POST" "/repos/{repo}/adopt" "/repos/{repo}/adopt" "{}" Server),
    api!("GET" "/repos/{repo}/commits/{oid}/status" "/repos/{repo}/commits/1111111111111111111111111111111111111111/status" "" Read),
    api!("POST" "/repos/{repo}/commits/{oid}/statuses" "/repos/{repo}/commits/1111111111111111111111111111111111111111/statuses" r#"{"context":"c","state":"success"}"# Push),
    api!("GET" "/repos/{repo}/webhooks" "/repos/{repo}/webhooks" "" Administer),
    api!("POST" "/repos/{repo}/webhooks" "/repos/{gone}/webhooks" r#"{"url":"https://example.com/"}"# Administer),
    api!("DELETE" "/repos/{repo}/webhooks/{number}" "/repos/{repo}/webhooks/7" "" Administer),
    api!("GET" "/repos/{repo}/secrets" "/repos/{repo}/secrets" "" Administer),
    api!("PUT" "/repos/{repo}/secrets/{name}" "/repos/{gone}/secrets/token" r#"{"value":"0123456789"}"# Administer),
    api!("DELETE" "/repos/{repo}/secrets/{name}" "/repos/{repo}/secrets/none" "" Administer),
    api!("GET" "/repos/{repo}/deliveries" "/repos/{repo}/deliveries" "" Administer),
    api!("GET" "/repos/{repo}/deliveries/{number}" "/repos/{repo}/deliveries/7" "" Administer),
    api!("POST" "/repos/{repo}/deliveries/{number}/redeliver" "/repos/{repo}/deliveries/7/redeliver" "{}" Administer),
    api!("GET" "/registries" "/registries" "" Server),
    api!("GET" "/registries/{name}" "/registries/none" "" Server),
    api!("PUT" "/registries/{name}" "/registries/local" r#"{"url":"127.0.0.1:9"}"# Server),
    api!("POST" "/registries/{name}/test" "/registries/none/test" "{}" Server),
    api!("DELETE" "/registries/{name}" "/registries/none" "" Server),
    api!("GET" "/clusters" "/clusters" "" Server),
    api!("GET" "/clusters/{name}" "/clusters/none" "" Server),
    api!("PUT" "/clusters/{name}" "/clusters/none" r#"{"kubeconfig":"nonsense"}"# Server),
    api!("POST" "/clusters/{name}/test" "/clusters/none/test" "{}" Server),
    api!("DELETE" "/clusters/{name}" "/clusters/none" "" Server),
    api!("GET" "/doctor" "/doctor" "" Server),
    api!("GET" "/doctor/repositories" "/doctor/repositories" "" Server),
    api!("POST" "/doctor/repositories" "/doctor/repositories" "{}" Server),
    api!("GET" "/backup" "/backup" "" Server),
    api!("POST" "/backup" "/backup?keys=false" "" Server),
    api!("GET" "/export" "/export" "" Server),
];

pub(super) const PAGES: &[Row] = &[
    row("GET", "/-/healthz", "/-/healthz", "", Open),
    row("GET", "/-/readyz", "/-/readyz", "", Open),
    row("GET", "/-/metrics", "/-/metrics", "", Signed),
    row("GET", "/-/keys/cosign.pub", "/-/keys/cosign.pub", "", Open),
    row("GET", "/-/schema/slipway.json", "/-/schema/slipway.json", "", Open),
    row("GET", "/", "/", "", Open),
    row("GET", "/robots.txt", "/robots.txt", "", Open),
    row("GET", "/-/new", "/-/new", "", Known),
    row("POST", "/-/new", "/-/new", "name={new}", Known),
    row("GET", "/-/assets/{name}", "/-/assets/slipway.css", "", Open),
    row("GET", "/-/login", "/-/login", "", Open),
    row("POST", "/-/logout", "/-/logout", "a=b", Open),
    row("GET", "/-/keys", "/-/keys", "", Known),
    row("POST", "/-/keys", "/-/keys", "do=remove&fingerprint=SHA256:nonsense", Known),
    row("GET", "/-/sessions", "/-/sessions", "", Known),
    row("POST", "/-/sessions", "/-/sessions", "do=nothing", Known),
    row("GET", "/-/tokens", "/-/tokens", "", Known),
    row("POST", "/-/tokens", "/-/tokens", "do=remove&id=nonsense", Known),
    row("GET", "/-/admin", "/-/admin", "", Server),
    row("POST", "/-/admin", "/-/admin", "do=remove-user&name={new}", Server),
    row("GET", "/-/admin/doctor", "/-/admin/doctor", "", Server),
    row("GET", "/{repo}", "/{repo}", "", Read),
    row("GET", "/{repo}/", "/{repo}/", "", Read),
    row("GET", "/{repo}/files", "/{repo}/files", "", Read),
    row("GET", "/{repo}/files/{*path}", "/{repo}/files/a.txt", "", Read),
    row("GET", "/{repo}/files/{*path}", "/{repo}/files/a.txt?at=main", "", Read),
    row("GET", "/{repo}/raw/{*path}", "/{repo}/raw/a.txt", "", Read),
    row("GET", "/{repo}/blame/{*path}", "/{repo}/blame/a.txt", "", Read),
    row("GET", "/{repo}/log", "/{repo}/log", "", Read),
    row("GET", "/{repo}/log/{*path}", "/{repo}/log/a.txt", "", Read),
    row("GET", "/{repo}/commit/{oid}", "/{repo}/commit/1111111111111111111111111111111111111111", "", Read),
    row("GET", "/{repo}/compare", "/{repo}/compare", "", Read),
    row("GET", "/{repo}/compare/{*range}", "/{repo}/compare/main...main", "", Read),
    row("GET", "/{repo}/refs", "/{repo}/refs", "", Read),
    row("GET", "/{repo}/search", "/{repo}/search?q=a", "", ReadSigned),
    row("GET", "/{repo}/archive/{*name}", "/{repo}/archive/main.tar.gz", "", Read),
    row("GET", "/{repo}/builds", "/{repo}/builds", "", Read),
    row("POST", "/{repo}/builds", "/{repo}/builds", "ref=main", Operate),
    row("GET", "/{repo}/builds/{number}", "/{repo}/builds/1", "", Read),
    row("POST", "/{repo}/builds/{number}", "/{repo}/builds/1", "do=retry", Operate),
    row("GET", "/{repo}/badge.svg", "/{repo}/badge.svg", "", Read),
    row("GET", "/{repo}/builds/{number}/log", "/{repo}/builds/1/log", "", Read),
    row("GET", "/{repo}/builds/{number}/live", "/{repo}/builds/1/live", "", Read),
    row("GET", "/{repo}/deploys", "/{repo}/deploys", "", Read),
    row("POST", "/{repo}/deploys", "/{repo}/deploys", "do=sync", Operate),
    row("GET", "/{repo}/deploys/diff", "/{repo}/deploys/diff", "", Operate),
    row("GET", "/{repo}/deploys/{number}", "/{repo}/deploys/1", "", Read),
    row("POST", "/{repo}/deploys/{number}", "/{repo}/deploys/1", "do=cancel", Operate),
    row("GET", "/{repo}/deploys/{number}/live", "/{repo}/deploys/1/live", "", Read),
    row("GET", "/{repo}/settings", "/{repo}/settings", "", Administer),
    row("POST", "/{repo}/settings", "/{repo}/settings", "do=default-branch&branch=main", Administer),
];

pub(super) const GIT: &[Row] = &[
    row("GET", "", "/{repo}/info/refs?service=git-upload-pack", "", Read),
    row("GET", "", "/{repo}.git/info/refs?service=git-upload-pack", "", Read),
    row("GET", "", "/v1/repos/{repo}/info/refs?service=git-upload-pack", "", Read),
    row("GET", "", "/{repo}/info/refs?service=git-receive-pack", "", Push),
    row("GET", "", "/v1/repos/{repo}/info/refs?service=git-receive-pack", "", Push),
    row("GET", "", "/v1/repos/{repo}", "", Open),
    row("POST", "", "/{repo}/info/lfs/objects/batch", "{}", Open),
    row("POST", "", "/{repo}/git-upload-pack", "0000", Read),
    row("POST", "", "/{repo}/git-receive-pack", "0000", Push),
];

/// One verb over SSH.
pub(super) struct Verb {
    /// Its words.
    pub(super) line: &'static str,
    pub(super) input: &'static str,
    /// `None`: it is not one that a server can be asked for.
    pub(super) rule: Option<Rule>,
}

const fn verb(line: &'static str, rule: Rule) -> Verb {
    Verb { line, input: "", rule: Some(rule) }
}

const fn fed(line: &'static str, input: &'static str, rule: Rule) -> Verb {
    Verb { line, input, rule: Some(rule) }
}

const fn local(line: &'static str) -> Verb {
    Verb { line, input: "", rule: None }
}

pub(super) const VERBS: &[Verb] = &[
    local("serve"),
    local("demo"),
    local("completions"),
    local("check"),
    local("import jenkinsfile"),
    local("import gitlab-ci"),
    local("import woodpecker"),
    local("import buildspec"),
    // Asks for a build, again and again, as `build show` does once.
    local("build wait"),
    local("restore"),
    local("upload-pack"),
    local("receive-pack"),
    verb("user add {new}", Server),
    verb("user list", Server),
    verb("user remove {new}", Server),
    verb("user set {new} --owner", Server),
    verb("user sessions root-of-all", Server),
    verb("user sign-out root-of-all", Server),
    fed("key add {new} --key -", "ssh-ed25519 nonsense", Server),
    verb("key list", Known),
    verb("key remove SHA256:nonsense", Known),
    verb("token create {new}", Server),
    verb("token list", Known),
    verb("token remove nonsense", Known),
    verb("repo create {new}", Known),
    verb("repo list", Known),
    verb("repo show {repo}", Read),
    verb("repo set {repo} --description d", Administer),
    verb("repo rename {gone} {new}", Administer),
    verb("repo remove {gone} --yes", Administer),
    verb("repo maintain {repo}", Administer),
    verb("grant otto {gone} read", Administer),
    verb("revoke otto {repo}", Administer),
    verb("registry add local --url 127.0.0.1:9", Server),
    verb("registry list", Server),
    verb("registry test none", Server),
    verb("registry remove none", Server),
    fed("cluster add none --kubeconfig -", "nonsense", Server),
    verb("cluster list", Server),
    verb("cluster test none", Server),
    verb("cluster remove none", Server),
    verb("bind {repo} --registry none", Server),
    verb("unbind {repo} --registry", Administer),
    verb("build start {repo}", Operate),
    verb("build list {repo}", Read),
    verb("build schedule list {repo}", Read),
    verb("build show {repo} 1", Read),
    verb("build log {repo} 1", Read),
    verb("build steps {repo} 1", Read),
    verb("build artifacts {repo} 1", Read),
    verb("build artifacts {repo} 1 app/x", Read),
    verb("build provenance {repo} 1", Read),
    verb("build sbom {repo} 1", Read),
    verb("build verify 127.0.0.1:9/none", Signed),
    verb("build public-key", Signed),
    verb("build retry {repo} 1", Operate),
    verb("build promote {repo} 1", Operate),
    verb("build approve {repo} 1", Operate),
    verb("build cancel {repo} 1", Operate),
    verb("deploy list {repo}", Read),
    verb("deploy show {repo}", Read),
    verb("deploy diff {repo}", Operate),
    verb("deploy sync {repo}", Operate),
    verb("deploy rollback {repo} 1", Operate),
    verb("deploy adopt {repo}", Server),
    fed("secret set {gone} token", "0123456789", Administer),
    verb("secret list {repo}", Administer),
    verb("secret remove {repo} none", Administer),
    fed("webhook add {gone} --url https://example.com/", "", Administer),
    verb("webhook list {repo}", Administer),
    verb("webhook remove {repo} 7", Administer),
    verb("webhook deliveries {repo}", Administer),
    verb("webhook redeliver {repo} 7", Administer),
    verb("doctor", Server),
    verb("export", Server),
    verb("backup --records -", Server),
    local("backup list"),
    local("backup verify"),
];
