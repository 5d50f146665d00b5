//! The permissions that let a repository use a registry or a cluster. Granting reach beyond a repository is an owner's
//! act; taking it away is also its admins'.

use std::collections::BTreeSet;

use slipway_core::accept::Bindings;
use slipway_core::ceilings::Ceilings;
use slipway_core::deploy::DeployCause;
use slipway_core::deploy_rules::DeployRules;
use slipway_core::files::Files;
use slipway_core::kind_rules::KindRules;
use slipway_core::target::{ClusterBinding, DryRun, PodSecurity, RegistryBinding, RepoRecord};
use slipway_core::{
    Action, ClusterName, Problem, ProblemKind, RefName, RegistryName, RepoId, RepoName, image,
};
use slipway_store::View as Records;

use crate::access::{may, repo, repo_in, repository};
use crate::address::{default_image, is_dns_label, is_image_part, read_folder};
use crate::caller::Caller;
use crate::default_branch;
use crate::forge::Forge;
use crate::limits::{ADDRESS_BYTES_MAX, ALLOW_UNSIGNED_MAX, KIND_RULES_MAX, MAY_PULL_MAX, NAMESPACES_MAX};
use crate::refusal::{cut, invalid, no_cluster, no_registry};
use crate::sync::queue_sync;

/// Which registry a repository shall push to, and what its builds may use. What is empty or absent is the default.
#[derive(Clone, Debug)]
pub struct NewRegistryBinding {
    /// Which registry.
    pub registry: RegistryName,
    /// Image path; the repository's own name in lower case.
    pub image: Option<String>,
    /// Whose build caches it shares; nobody's.
    pub cache_group: Option<String>,
    /// Further repositories, by name, whose images its builds may use.
    pub may_pull: BTreeSet<String>,
    /// Whether a Dockerfile may name another frontend than Docker's own.
    pub any_frontend: bool,
    /// Whether a Dockerfile may have the engine fetch addresses.
    pub remote_add: bool,
    /// The most that its builds may have.
    pub builds: Ceilings,
    /// The most that its tests may have.
    pub tests: Ceilings,
}

/// Which cluster shall follow a repository, and how. What is empty or absent is the default.
#[derive(Clone, Debug)]
pub struct NewClusterBinding {
    /// Which cluster.
    pub cluster: ClusterName,
    /// The branch that it follows; the repository's default branch.
    pub branch: Option<String>,
    /// The folder whose manifests are applied; all of it.
    pub path: Option<String>,
    /// Where objects without a namespace go; `default`.
    pub namespace: Option<String>,
    /// Whether objects that left the repository are deleted.
    pub prune: bool,
    /// Whether a push is first shown to the cluster.
    pub dry_run: DryRun,
    /// Further namespaces that objects may name.
    pub allow_namespaces: BTreeSet<String>,
    /// Whether objects of no namespace are allowed.
    pub cluster_scoped: bool,
    /// Which kinds of objects are allowed.
    pub kinds: KindRules,
    /// What pods may ask of their node.
    pub pod_security: PodSecurity,
    /// Whether objects that somebody else made are taken over.
    pub adopt: bool,
    /// Whether only images that builds here have made are let in.
    pub require_signed: bool,
    /// Images that are let in without: names, or what they begin with.
    pub allow_unsigned: BTreeSet<String>,
    /// How it goes about what it shares with others.
    pub rules: DeployRules,
}

/// What a repository is bound to.
///
/// # Errors
/// What the authoriser says of reading it.
pub fn show(forge: &Forge, caller: &Caller, name: &str) -> Result<Bindings, Problem> {
    forge.store.read(|records| {
        let record = repo_in(records, caller, name, Action::ReadRepo)?;
        records.bindings(record.id)
    })
}

/// Lets a repository push images to a registry, under `image` or its own name in lower case.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Invalid` for what cannot be an image's path; `Conflict` where no path is named
/// and another repository has the own one; `NotFound`.
pub fn bind_registry(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    new: NewRegistryBinding,
) -> Result<RegistryBinding, Problem> {
    may(caller, Action::AdminServer)?;
    let binding = forge.store.transact(|tx| {
        let record = repo_in(tx.view(), caller, name, Action::AdminRepo)?;
        let wanted = new.image.clone().filter(|i| !i.is_empty());
        let chosen = wanted.is_some();
        let image = wanted.unwrap_or_else(|| default_image(&record.name));
        check_image(&image)?;
        tx.view().registry(&new.registry)?.ok_or_else(|| no_registry(&new.registry))?;
        if new.may_pull.len() > MAY_PULL_MAX {
            return Err(
                invalid(format!("More than {MAY_PULL_MAX} repositories are named."), "Name fewer.").into()
            );
        }
        let mut may_pull = BTreeSet::new();
        for other in &new.may_pull {
            may_pull.insert(repo_in(tx.view(), caller, other, Action::ReadRepo)?.id);
        }
        let binding = RegistryBinding {
            cache_group: read_cache_group(new.cache_group.clone())?,
            may_pull,
            any_frontend: new.any_frontend,
            remote_add: new.remote_add,
            builds: new.builds.clone(),
            tests: new.tests.clone(),
            ..RegistryBinding::plain(record.id, new.registry.clone(), image)
        };
        if !chosen {
            need_own_image(tx.view(), &binding)?;
        }
        tx.bind_registry(&binding)?;
        Ok(binding)
    })?;
    forge.outside.rebound(binding.repo);
    Ok(binding)
}

/// The names of the repositories whose images a binding lets builds use. For owners alone: private ones may be among them.
///
/// # Errors
/// `Denied` unless the caller is an owner.
pub fn may_pull(forge: &Forge, caller: &Caller, binding: &RegistryBinding) -> Result<Vec<RepoName>, Problem> {
    may(caller, Action::AdminServer)?;
    forge.store.read(|records| {
        let found = binding.may_pull.iter().map(|id| Ok(records.repo(*id)?.map(|r| r.name)));
        found.filter_map(Result::transpose).collect()
    })
}

fn read_cache_group(group: Option<String>) -> Result<Option<String>, Problem> {
    let group = group.filter(|g| !g.is_empty());
    match group {
        Some(bad) if !is_dns_label(&bad) => Err(invalid(
            format!("{:?} cannot be the name of a cache group.", cut(&bad)),
            "Use up to 63 lower-case letters, digits and dashes.",
        )),
        group => Ok(group),
    }
}

/// Refuses an image path that nobody chose and that another repository has: their builds would move one another's tags.
fn need_own_image(records: Records<'_>, binding: &RegistryBinding) -> Result<(), Problem> {
    for other in records.bound_to_registry(&binding.registry)? {
        let taken = records.bindings(other)?.registry.is_some_and(|b| b.image == binding.image);
        if other != binding.repo && taken {
            let name = records.repo(other)?.map(|record| record.name.to_string()).unwrap_or_default();
            return Err(Problem::new(
                ProblemKind::Conflict,
                format!(
                    "The images of {name} have the path {:?} in {} already.",
                    binding.image, binding.registry
                ),
                "Name another path with --image, or the same one if they shall share it.",
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_image(image: &str) -> Result<(), Problem> {
    if image.len() > ADDRESS_BYTES_MAX || !image.split('/').all(is_image_part) {
        return Err(invalid(
            format!("{:?} cannot be an image path.", cut(image)),
            "Use lower-case letters and digits, joined by '.', '_', '-' and '/': team/app",
        ));
    }
    Ok(())
}

/// Takes it back; fine if there is none.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository.
pub fn unbind_registry(forge: &Forge, caller: &Caller, name: &str) -> Result<(), Problem> {
    forge.store.transact(|tx| {
        let record = repo_in(tx.view(), caller, name, Action::AdminRepo)?;
        tx.unbind_registry(record.id)
    })
}

/// Lets a cluster follow a repository; with remarks on what is odd about that.
///
/// # Errors
/// `Denied` unless the caller is an owner; `Invalid`; `NotFound`.
pub fn bind_cluster(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    new: NewClusterBinding,
) -> Result<(ClusterBinding, Vec<String>), Problem> {
    may(caller, Action::AdminServer)?;
    let default = default_branch::show(forge, caller, name)?;
    let (record, binding, before) = forge.store.transact(|tx| {
        let record = repo_in(tx.view(), caller, name, Action::AdminRepo)?;
        let binding = read(new.clone(), record.id, default.as_ref())?;
        tx.view().cluster(&binding.cluster)?.ok_or_else(|| no_cluster(&binding.cluster))?;
        check_not_cleared(tx.view(), &record)?;
        let before = tx.view().bindings(record.id)?.cluster;
        tx.bind_cluster(&binding)?;
        Ok((record, binding, before))
    })?;
    let mut remarks = Vec::new();
    if let Some(before) = before.filter(|b| b.cluster != binding.cluster) {
        remarks.extend(with_cure(staying(forge, record.id, &before.cluster)?));
    }
    remarks.extend(missing_folder(forge, &record, &binding));
    Ok((binding, remarks))
}

/// Takes it back; fine if there is none. What was applied stays in the cluster, and is told.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository.
pub fn unbind_cluster(forge: &Forge, caller: &Caller, name: &str) -> Result<Vec<String>, Problem> {
    let (record, before) = forge.store.transact(|tx| {
        let record = repo_in(tx.view(), caller, name, Action::AdminRepo)?;
        let before = tx.view().bindings(record.id)?.cluster;
        tx.unbind_cluster(record.id)?;
        Ok((record, before))
    })?;
    Ok(match before {
        Some(before) => with_cure(staying(forge, record.id, &before.cluster)?).collect(),
        None => Vec::new(),
    })
}

/// Queues a deploy that deletes all that was applied; once that is done, the binding is taken back.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository, and where it is not bound.
pub fn clear_cluster(forge: &Forge, caller: &Caller, name: &str) -> Result<Vec<String>, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    let deploy = queue_sync(forge, caller, record.id, &DeployCause::Clear)?;
    Ok(vec![format!(
        "Deploy {} deletes what was applied to cluster {}, and then the binding goes; see slipway deploy show {} {}.",
        deploy.number, deploy.cluster, record.name, deploy.number
    )])
}

/// Whoever binds a repository again while all that it applied is about to be deleted would lose that all the same.
fn check_not_cleared(records: Records<'_>, record: &RepoRecord) -> Result<(), Problem> {
    let unfinished = records.unfinished_deploys_of(record.id)?;
    let Some(clear) = unfinished.iter().find(|d| d.cause == DeployCause::Clear) else {
        return Ok(());
    };
    Err(Problem::new(
        ProblemKind::Conflict,
        format!(
            "Deploy {} is about to delete all that {} has in cluster {}.",
            clear.number, record.name, clear.cluster
        ),
        format!(
            "Wait until it is done, or cancel it on its page, /{}/deploys/{}, and bind again.",
            record.name, clear.number
        ),
    ))
}

/// What a repository has in a cluster, for whoever lets go of it: a sentence, if it is anything.
pub(crate) fn staying(forge: &Forge, repo: RepoId, cluster: &ClusterName) -> Result<Option<String>, Problem> {
    Ok(match forge.store.inventory(repo, cluster)?.len() {
        0 => None,
        1 => Some(format!("1 object stays in cluster {cluster} as it is.")),
        n => Some(format!("{n} objects stay in cluster {cluster} as they are.")),
    })
}

/// What can be done about them.
fn with_cure(stays: Option<String>) -> impl Iterator<Item = String> {
    let cure = "To delete them, bind it again and say: slipway unbind REPO --cluster --delete-objects; another repository takes \
                them over with slipway deploy adopt.";
    stays.map(|stays| format!("{stays} {cure}")).into_iter()
}

/// A folder that is not in the branch is a slip of the pen, or comes with the next push.
fn missing_folder(forge: &Forge, record: &RepoRecord, binding: &ClusterBinding) -> Option<String> {
    let snapshot = repository(forge, record).ok()?.snapshot().ok()?;
    let tip = snapshot.target_of(binding.branch.as_str()).ok()??;
    let there = snapshot.files_at(&tip, &binding.path, &mut |_, _| Ok(false)).ok()?;
    (!there).then(|| {
        let branch = binding.branch.short();
        format!(
            "There is no {:?} in branch {branch} now: nothing is applied until it is pushed.",
            binding.path
        )
    })
}

fn read(new: NewClusterBinding, repo: RepoId, default: Option<&RefName>) -> Result<ClusterBinding, Problem> {
    let or = |text: Option<String>, default: &str| match text.filter(|t| !t.is_empty()) {
        Some(text) => text,
        None => default.to_owned(),
    };
    let branch = or(new.branch, default.map_or("main", RefName::short));
    let branch = RefName::branch(branch.strip_prefix("refs/heads/").unwrap_or(&branch))?;
    let namespace = or(new.namespace, "default");
    if new.allow_namespaces.len() > NAMESPACES_MAX {
        return Err(invalid(format!("More than {NAMESPACES_MAX} namespaces are allowed."), "Name fewer."));
    }
    if let Some(bad) = std::iter::once(&namespace).chain(&new.allow_namespaces).find(|n| !is_dns_label(n)) {
        return Err(invalid(
            format!("{:?} cannot be a namespace.", cut(bad)),
            "Use up to 63 lower-case letters, digits and dashes, as Kubernetes does.",
        ));
    }
    check_kinds(&new.kinds)?;
    if let Some(fault) = new.rules.fault() {
        return Err(invalid(format!("{fault}."), "See slipway bind --help."));
    }
    Ok(ClusterBinding {
        repo,
        cluster: new.cluster,
        branch,
        path: read_folder(&or(new.path, "."))?,
        namespace,
        prune: new.prune,
        dry_run: new.dry_run,
        allow_namespaces: new.allow_namespaces,
        cluster_scoped: new.cluster_scoped,
        kinds: new.kinds,
        pod_security: new.pod_security,
        adopt: new.adopt,
        require_signed: new.require_signed,
        allow_unsigned: read_names(&new.allow_unsigned)?,
        rules: new.rules,
    })
}

/// Beginnings of images' names, filled up as clusters do it: `nginx` is `docker.io/library/nginx`. One of a registry alone ends
/// in a slash, or is a host with a dot or a port.
fn read_names(names: &BTreeSet<String>) -> Result<BTreeSet<String>, Problem> {
    if names.len() > ALLOW_UNSIGNED_MAX {
        return Err(invalid(
            format!("More than {ALLOW_UNSIGNED_MAX} images are let in unsigned."),
            "Name fewer.",
        ));
    }
    let is_name = |name: &str| {
        let mut chars = name.chars();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
        name.len() <= ADDRESS_BYTES_MAX
            && chars.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '[')
            && chars.all(plain)
    };
    let one = |name: &String| {
        let bare = name.trim_end_matches('/');
        if !is_name(bare) {
            return Err(invalid(
                format!("{:?} cannot be what an image's name begins with.", cut(name)),
                "Write HOST[:PORT] or HOST[:PORT]/PATH, without a tag: docker.io/library",
            ));
        }
        let is_host = !bare.contains('/') && (bare != name || bare.contains(['.', ':']));
        Ok(if is_host { bare.to_owned() } else { image::whole_name(bare) })
    };
    names.iter().map(one).collect()
}

fn check_kinds(kinds: &KindRules) -> Result<(), Problem> {
    let mut all = kinds.allow.iter().chain(&kinds.deny);
    if kinds.allow.len() + kinds.deny.len() > KIND_RULES_MAX {
        return Err(invalid(format!("More than {KIND_RULES_MAX} rules on kinds are given."), "Name fewer."));
    }
    match all.find(|rule| !KindRules::is_rule(rule)) {
        None => Ok(()),
        Some(bad) => Err(invalid(
            format!("{:?} names no kind of objects.", cut(bad)),
            "Write KIND, KIND.GROUP, *.GROUP or *, such as RoleBinding.rbac.authorization.k8s.io",
        )),
    }
}
