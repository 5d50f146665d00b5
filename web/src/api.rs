//! The JSON API, `/-/api/v1/…`: every verb of the command line, for the command line and for anybody's scripts.
//!
//! Who asks is told by `Authorization: Bearer TOKEN`, by Basic with account and token, by a session cookie (then with
//! the header `X-Slipway-Csrf` on unsafe methods), or by an `Extension<Caller>` that whoever calls the router in-process
//! or over the admin socket sets. Bodies are JSON with `Content-Type: application/json`, at most 1 MiB; unknown fields
//! and unknown query keys are refused. Failures are `{"error":{"kind","what","cure"}}` with the status of
//! `Problem::http_status`. Lists take `limit` (1-1000, default 100) and answer with `next`, to be given as `after`
//! (or `before` for builds and deploys) for the rows that follow; `null` at the end. Times are milliseconds since
//! 1970-01-01 UTC; records are those of `slipway_core`, as serde writes them. `204` answers have no body.
//!
//! | Method, path below `/-/api/v1` | Request | Response |
//! |---|---|---|
//! | GET /openapi.json | | this table for machines |
//! | GET /whoami | | `{actor:{kind:"anonymous"\|"user"\|"token"\|"server",name?,owner?,scopes?}, version, http, ssh}` |
//! | GET /users | ?limit&after | `{users:[User], next}` |
//! | POST /users | `{name, owner?, keys?:["ssh-ed25519 AAAA… title"]}` | 201 `{user:User, keys:[PublicKey]}` |
//! | GET /users/{user} | | `User` |
//! | DELETE /users/{user} | | 204 |
//! | GET /keys | ?user&limit&after; without user: all for owners, else one's own | `{keys:[PublicKey], next}` |
//! | POST /keys | `{user?, key, title?}`; user defaults to oneself | 201 `PublicKey` |
//! | DELETE /keys/{fingerprint} | percent-encoded | 204 |
//! | GET /tokens | ?user&limit&after | `{tokens:[Token], next}` |
//! | POST /tokens | `{user?, name?, scopes?:["repo:read","repo:write","api"], expires_in_s?}`; scopes default to the first two | 201 `{token:Token, value}`: the only time the value is shown |
//! | DELETE /tokens/{id} | | 204 |
//! | GET /repos | ?limit&after | `{repos:[Repo], next}` |
//! | POST /repos | `{name, description?, public?, object_format?, default_branch?="main"}` | 201 `Repo` |
//! | GET /repos/{repo} | | `Repo` |
//! | PATCH /repos/{repo} | `{name?, description?, public?, default_branch?}`; the branch must be there, unless none is | `Repo` |
//! | DELETE /repos/{repo} | | 204 |
//! | POST /repos/{repo}/maintenance | `{full?}`; admins of the repository | `{name, ended, took_ms, replaced, before:Storage, after:Storage, full:{reachable,unreachable,dropped,postponed}\|null}` |
//! | GET /repos/{repo}/grants | ?limit&after | `{grants:[{user,role}], next}` |
//! | PUT /repos/{repo}/grants/{user} | `{role:"read"\|"write"\|"admin"}` | `{user,role}` |
//! | DELETE /repos/{repo}/grants/{user} | | 204 |
//! | GET /repos/{repo}/bindings | | `{registry:RegistryBinding\|null, cluster:ClusterBinding\|null}` |
//! | PUT /repos/{repo}/bindings/registry | `{registry, image?}`; image defaults to the lower-cased name | `RegistryBinding` |
//! | DELETE /repos/{repo}/bindings/registry | | 204 |
//! | PUT /repos/{repo}/bindings/cluster | `{cluster, branch?="main", path?=".", namespace?="default", prune?=true, dry_run?="warn", allow_namespaces?=[], cluster_scoped?=false}` | `ClusterBinding` |
//! | DELETE /repos/{repo}/bindings/cluster | | 204 |
//! | GET /repos/{repo}/events | ?limit | `{events:[Event]}` newest first |
//! | GET /repos/{repo}/builds | ?limit&before | `{builds:[Build + repo_name, url], next}` newest first |
//! | POST /repos/{repo}/builds | `{ref?, image?, no_cache?, params?:{NAME:VALUE}}`: a branch, tag or commit; the default branch without; of several images one or all; parameters that slipway.toml declares | 201 `Build + …`, `also`: the others' numbers |
//! | GET /repos/{repo}/schedules | | `{schedules:[{name,when,tz,branches,next,last,builds,told}], unread}` |
//! | GET /repos/{repo}/builds/{number} | `latest` for the newest | `Build + repo_name, url` |
//! | GET /repos/{repo}/builds/{number}/log | ?offset&follow=true | `text/plain`, the raw bytes; with follow until the build is over |
//! | GET /repos/{repo}/builds/{number}/steps | | `{stages:[{stage,title,state,start,end,started,ended,steps:[{number,name,state,took_ms,ranges}]}], first_line}`: places in the log, in bytes |
//! | GET /repos/{repo}/builds/{number}/artifacts | | `{artifacts:[{path,bytes}], tests:TestReport\|null}` |
//! | GET /repos/{repo}/builds/{number}/artifacts/{*path} | | the file's bytes, as an attachment |
//! | GET /repos/{repo}/builds/{number}/provenance, …/sbom | | what is stated of its image, in JSON (docs/supply-chain.md) |
//! | GET /images/verify | ?image=NAME[:TAG\|@DIGEST] | `Verified`; an error where no build here has made it |
//! | GET /signing-key | | the public key in PEM, for everybody |
//! | POST /repos/{repo}/builds/{number}/retry | | 201 `Build + …`, the new one |
//! | POST /repos/{repo}/builds/{number}/approve | `{to?:[target]}` | 201 `Build + …`, the promotion |
//! | POST /repos/{repo}/builds/{number}/cancel | | `Build + …` |
//! | GET /repos/{repo}/deploys | ?limit&before | `{deploys:[Deploy + repo_name, url], next}` |
//! | POST /repos/{repo}/deploys | (sync) | 201 `Deploy + …` |
//! | GET /repos/{repo}/deploys/{number} | `latest` for the newest | `Deploy + …` |
//! | POST /repos/{repo}/deploys/{number}/rollback | | 201 `Deploy + …`, the new one |
//! | POST /repos/{repo}/deploys/{number}/cancel | | `Deploy + …` |
//! | GET /repos/{repo}/diff | what a sync would change | `{diff}` text |
//! | GET /repos/{repo}/commits/{oid}/status | | `{commit, state:"pending"\|"success"\|"failure"\|"none", statuses:[{context,state,url,description}]}`: of builds, deploys and other systems |
//! | POST /repos/{repo}/commits/{oid}/statuses | `{context, state:"pending"\|"success"\|"failure", url?, description?}`; whoever may push | 201 `Status` |
//! | GET /repos/{repo}/webhooks | admins of the repository | `{webhooks:[Webhook]}` |
//! | POST /repos/{repo}/webhooks | `{url, kind?="gitea"\|"jenkins"\|"plain", events?=["push"], secret?}` | 201 `Webhook` |
//! | DELETE /repos/{repo}/webhooks/{number} | | 204 |
//! | GET /repos/{repo}/secrets | admins of the repository | `{secrets:[Secret]}`, never a value |
//! | PUT /repos/{repo}/secrets/{name} | `{value, for?=["build","test"], on?:{branches?, tags?}}`; the default branch's builds without `on` | `Secret` |
//! | DELETE /repos/{repo}/secrets/{name} | | 204 |
//! | GET /repos/{repo}/deliveries | ?limit&before&webhook | `{deliveries:[Delivery], next}` newest first |
//! | GET /repos/{repo}/deliveries/{number} | | `Delivery` |
//! | POST /repos/{repo}/deliveries/{number}/redeliver | | 201 `Delivery`, the new one |
//! | GET /registries | ?limit&after | `{registries:[Registry], next}` |
//! | GET /registries/{name} | | `Registry` |
//! | PUT /registries/{name} | `{url:"HOST[:PORT][/PREFIX]", kind?="generic"\|"ecr", region?, username?, password?, insecure?}` | `Registry` |
//! | POST /registries/{name}/test | | `{ok:true, what}`; a failed test is an error |
//! | DELETE /registries/{name} | | 204 |
//! | GET /clusters, GET /clusters/{name} | | `{clusters:[Cluster], next}`, `Cluster` |
//! | PUT /clusters/{name} | `{kubeconfig, context?}` | `Cluster` |
//! | POST /clusters/{name}/test | | `{ok:true, what}` |
//! | DELETE /clusters/{name} | | 204 |
//! | GET /doctor | | `{ok, checks:[{name, ok, what, cure}]}` |
//! | GET /doctor/repositories | ?after | `{checks:[…], looked, total, next}`: a part of the round, to go on after `next` |
//! | POST /doctor/repositories | `{after?}`; makes anew what can be | the same |
//! | GET /backup | | `application/octet-stream`: the records alone |
//! | POST /backup | ?keys=false; a body of 16 bytes a file that an earlier one has (docs/backup.md) or none | `application/x-tar`: everything |
//! | GET /export | | `application/jsonl`: all records (docs/backup.md) |
//!
//! `Repo` is `{id, name, description, public, object_format="sha1"|"sha256", created, http, ssh}`; `http` and `ssh` are its clone addresses.
//! One alone has `default_branch` (where HEAD names one), `storage:{packs, objects, bytes, not_indexed, bitmaps, graph_commits}` too, and once it was maintained
//! `maintenance:{ended, took_ms, full, failure}`.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use crate::parts::Shared;
use crate::refusal::{Answer, missing};

mod artifacts;
mod describe;
mod input;
mod made;
mod people;
mod repos;
mod results;
mod runs;
pub(crate) mod schedules;
mod secrets;
mod server;
mod statuses;
mod storage;
mod targets;
mod webhooks;

pub(crate) use self::input::Keys;
pub(crate) use self::made::key as signing_key;
pub(crate) use self::runs::{find_build, find_deploy, log_response};

/// Where the API lies.
const BASE: &str = "/-/api/v1";

/// One route and what its description says.
pub(crate) struct Endpoint {
    method: &'static str,
    /// Below [`BASE`].
    path: &'static str,
    summary: &'static str,
    /// The schema of the request's body.
    body: Option<&'static str>,
    /// Query keys.
    query: &'static [&'static str],
    status: u16,
    /// The schema of the answer's body.
    answer: Option<&'static str>,
    route: fn() -> MethodRouter<Arc<Shared>>,
}

impl Endpoint {
    const fn new(
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        route: fn() -> MethodRouter<Arc<Shared>>,
    ) -> Self {
        Self { method, path, summary, body: None, query: &[], status: 200, answer: None, route }
    }

    const fn takes(mut self, schema: &'static str) -> Self {
        self.body = Some(schema);
        self
    }

    const fn asks(mut self, query: &'static [&'static str]) -> Self {
        self.query = query;
        self
    }

    const fn gives(mut self, status: u16, schema: &'static str) -> Self {
        self.status = status;
        self.answer = Some(schema);
        self
    }

    const fn gives_nothing(mut self) -> Self {
        self.status = 204;
        self
    }
}

/// All endpoints; the router and its description are both made from this.
fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    let repos = [
        repos::ENDPOINTS,
        storage::ENDPOINTS,
        runs::ENDPOINTS,
        schedules::ENDPOINTS,
        results::ENDPOINTS,
        artifacts::ENDPOINTS,
        made::ENDPOINTS,
        statuses::ENDPOINTS,
    ];
    [people::ENDPOINTS]
        .into_iter()
        .chain(repos)
        .chain([targets::ENDPOINTS, secrets::ENDPOINTS, webhooks::ENDPOINTS, server::ENDPOINTS])
        .flatten()
}

/// The API's routes.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    let table = endpoints().fold(Router::new(), |router, endpoint| {
        router.route(&format!("{BASE}{}", endpoint.path), (endpoint.route)())
    });
    table.route(&format!("{BASE}/{{*rest}}"), axum::routing::any(nothing_here))
}

async fn nothing_here() -> Answer<()> {
    Err(missing("The API has nothing at this address."))
}
