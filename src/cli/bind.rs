//! The verbs that let a repository use a registry or a cluster.

use clap::{Args, ValueEnum};
use serde_json::json;
use slipway_core::ceilings::Ceilings;
use slipway_core::deploy_rules::IgnoreRule;
use slipway_core::spec::parse_duration_ms;
use slipway_core::{ClusterName, Problem, ProblemKind, RegistryName, RepoName};

use super::request::{Request, call, says, send};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DryRunName {
    Off,
    Warn,
    Enforce,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PodSecurityName {
    Privileged,
    Baseline,
    Restricted,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["registry", "cluster"])))]
pub(crate) struct Bind {
    /// The repository's name
    pub(crate) repo: RepoName,
    /// The registry its images go to
    #[arg(long)]
    pub(crate) registry: Option<RegistryName>,
    /// Image path in that registry [default: the repository's name in lower case]
    #[arg(long, requires = "registry")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) builds: BuildRules,
    /// The cluster its manifests go to
    #[arg(long)]
    pub(crate) cluster: Option<ClusterName>,
    /// The branch that the cluster follows [default: the repository's default branch]
    #[arg(long, requires = "cluster")]
    pub(crate) branch: Option<String>,
    /// The folder with the manifests
    #[arg(long, default_value = ".", requires = "cluster")]
    pub(crate) path: String,
    /// Where objects without a namespace go
    #[arg(long, default_value = "default", requires = "cluster")]
    pub(crate) namespace: String,
    /// Delete from the cluster what leaves the repository (the default)
    #[arg(long, requires = "cluster", overrides_with = "no_prune")]
    pub(crate) prune: bool,
    /// Keep in the cluster what leaves the repository
    #[arg(long, requires = "cluster")]
    pub(crate) no_prune: bool,
    /// Show pushes to the cluster before they are accepted
    #[arg(long, value_enum, default_value = "warn", requires = "cluster")]
    pub(crate) dry_run: DryRunName,
    /// A further namespace that objects may name (repeatable)
    #[arg(long, value_name = "NS", requires = "cluster")]
    pub(crate) allow_namespace: Vec<String>,
    /// Allow objects of no namespace (CRDs, Namespaces; ClusterRoles need --allow-kind as well)
    #[arg(long, requires = "cluster")]
    pub(crate) cluster_scoped: bool,
    /// Allow a kind of objects: KIND, KIND.GROUP, *.GROUP or * (repeatable) [default: all that give no rights]
    #[arg(long, value_name = "KIND", requires = "cluster")]
    pub(crate) allow_kind: Vec<String>,
    /// Deny a kind of objects (repeatable); the more exact rule decides
    #[arg(long, value_name = "KIND", requires = "cluster")]
    pub(crate) deny_kind: Vec<String>,
    /// What pods may ask of their node, as Kubernetes' Pod Security Standards name it
    #[arg(long, value_enum, default_value = "baseline", requires = "cluster")]
    pub(crate) pod_security: PodSecurityName,
    /// Take over objects that are there already and made by nobody known here
    #[arg(long, requires = "cluster")]
    pub(crate) adopt: bool,
    /// Let in only images that builds of this server have made, named by digest, as their signatures prove
    #[arg(long, requires = "cluster")]
    pub(crate) require_signed: bool,
    /// Images that are let in without: a name without tag, or what it begins with, such as docker.io/library (repeatable)
    #[arg(long, value_name = "IMAGE", requires = "require_signed")]
    pub(crate) allow_unsigned: Vec<String>,
    #[command(flatten)]
    pub(crate) rules: Rules,
}

/// How deploys go about what they share with others.
#[derive(Debug, Args)]
pub(crate) struct Rules {
    /// Leave a field as it is in the cluster: 'KIND[.GROUP][/NAME] PATH', PATH being a JSON pointer, a jq path, or manager:NAME (repeatable)
    #[arg(long, value_name = "RULE", requires = "cluster")]
    pub(crate) ignore: Vec<String>,
    /// Take over the fields of this field manager, besides those of kubectl, Argo CD, Flux, Helm and kapp (repeatable)
    #[arg(long, value_name = "MANAGER", requires = "cluster")]
    pub(crate) take_over_from: Vec<String>,
    /// How long a rollout may take, such as 20m [default: rollout_timeout of the server's settings]
    #[arg(long, value_name = "TIME", requires = "cluster")]
    pub(crate) timeout: Option<String>,
    /// A push that the cluster cannot be asked about [default: allow, and refuse with --dry-run enforce]
    #[arg(long, value_enum, requires = "cluster")]
    pub(crate) gate_down: Option<GateDownName>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum GateDownName {
    Allow,
    Refuse,
}

/// What builds may use besides the registry.
#[derive(Debug, Args)]
pub(crate) struct BuildRules {
    /// Share build caches with the repositories of this group [default: with nobody]
    #[arg(long, value_name = "NAME", requires = "registry")]
    pub(crate) cache_group: Option<String>,
    /// Let its builds use the images of this repository (repeatable)
    #[arg(long, value_name = "REPO", requires = "registry")]
    pub(crate) may_pull: Vec<RepoName>,
    /// Let its Dockerfile name any frontend (`# syntax=`), which is a program that builds
    #[arg(long, requires = "registry")]
    pub(crate) any_frontend: bool,
    /// Let its Dockerfile have the engine fetch addresses (`ADD https://...`), from the engine's own network
    #[arg(long, requires = "registry")]
    pub(crate) remote_add: bool,
    /// The most that its builds may have: network, memory, cpus, pids, disk, timeout (repeatable)
    #[arg(long, value_name = "KEY=VALUE", requires = "registry")]
    pub(crate) build_limit: Vec<String>,
    /// The most that its tests may have, likewise; slipway.toml can only ask for less
    #[arg(long, value_name = "KEY=VALUE", requires = "registry")]
    pub(crate) test_limit: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["registry", "cluster"])))]
pub(crate) struct Unbind {
    /// The repository's name
    pub(crate) repo: RepoName,
    #[arg(long)]
    pub(crate) registry: bool,
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Delete what was applied to the cluster first, by a deploy; then the binding goes
    #[arg(long, requires = "cluster")]
    pub(crate) delete_objects: bool,
}

pub(super) fn bind(bind: Bind) -> Result<Request, Problem> {
    let repo = &bind.repo;
    if let Some(registry) = &bind.registry {
        let BuildRules { cache_group, may_pull, any_frontend, remote_add, build_limit, test_limit } =
            &bind.builds;
        let body = json!({
            "registry": registry, "image": bind.image, "cache_group": cache_group, "may_pull": may_pull,
            "any_frontend": any_frontend, "remote_add": remote_add,
            "builds": ceilings(build_limit)?, "tests": ceilings(test_limit)?,
        });
        let sentence = format!("{repo} is bound to registry {registry}.");
        return Ok(send("PUT", format!("/repos/{repo}/bindings/registry"), body, says(sentence)));
    }
    let cluster = bind.cluster.as_ref().map(|c| c.as_str()).unwrap_or_default();
    let dry_run = match bind.dry_run {
        DryRunName::Off => "off",
        DryRunName::Warn => "warn",
        DryRunName::Enforce => "enforce",
    };
    let pod_security = match bind.pod_security {
        PodSecurityName::Privileged => "privileged",
        PodSecurityName::Baseline => "baseline",
        PodSecurityName::Restricted => "restricted",
    };
    let body = json!({
        "cluster": cluster, "branch": bind.branch, "path": bind.path, "namespace": bind.namespace,
        "prune": !bind.no_prune, "dry_run": dry_run, "allow_namespaces": bind.allow_namespace,
        "cluster_scoped": bind.cluster_scoped, "allow_kinds": bind.allow_kind, "deny_kinds": bind.deny_kind,
        "pod_security": pod_security, "adopt": bind.adopt, "rules": rules(&bind.rules)?,
        "require_signed": bind.require_signed, "allow_unsigned": bind.allow_unsigned,
    });
    let sentence = format!("{repo} is bound to cluster {cluster}, namespace {}.", bind.namespace);
    Ok(send("PUT", format!("/repos/{repo}/bindings/cluster"), body, says(sentence)))
}

fn rules(said: &Rules) -> Result<serde_json::Value, Problem> {
    let invalid = |what: String, cure: &str| Problem::new(ProblemKind::Invalid, what, cure);
    let timeout_s = match &said.timeout {
        None => None,
        Some(text) => Some(
            parse_duration_ms(text)
                .map(|ms| ms / 1000)
                .ok_or_else(|| invalid(format!("{text:?} is no time."), "Write it as 20m."))?,
        ),
    };
    for rule in &said.ignore {
        IgnoreRule::try_from(rule.clone()).map_err(|why| {
            invalid(
                format!("The rule cannot be read: {why}."),
                "Write it as 'Deployment.apps/web /spec/replicas'.",
            )
        })?;
    }
    let gate_down = said.gate_down.map(|g| match g {
        GateDownName::Allow => "allow",
        GateDownName::Refuse => "refuse",
    });
    Ok(json!({
        "ignore": said.ignore, "take_over_from": said.take_over_from, "timeout_s": timeout_s, "gate_down": gate_down,
    }))
}

fn ceilings(said: &[String]) -> Result<Ceilings, Problem> {
    let mut all = Ceilings::default();
    for one in said {
        all.set(one).map_err(|why| {
            Problem::new(
                ProblemKind::Invalid,
                format!("The limit cannot be read: {why}."),
                "Write it as memory=4GiB.",
            )
        })?;
    }
    Ok(all)
}

pub(super) fn unbind(unbind: &Unbind) -> Request {
    let repo = &unbind.repo;
    if unbind.delete_objects {
        let sentence = format!("{repo} is unbound from its cluster once its objects are deleted.");
        return call("DELETE", format!("/repos/{repo}/bindings/cluster?delete_objects=true"), says(sentence));
    }
    let what = if unbind.registry { "registry" } else { "cluster" };
    call(
        "DELETE",
        format!("/repos/{repo}/bindings/{what}"),
        says(format!("{repo} is bound to no {what} any more.")),
    )
}
