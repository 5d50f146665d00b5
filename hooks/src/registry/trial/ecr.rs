//! The calls of a push to Amazon ECR, its own and those that the engine makes for it.

use slipway_core::Digest;
use slipway_core::trial::{Report, Trial};

use super::super::client::{Client, digest_of};
use super::super::ecr::{Ecr, There};
use super::super::{RegistryTarget, repository};
use super::{BLOB, Walk, manifest, tag};
use crate::error::HookError;
use crate::limits::LOGIN_PROVED;

const NO_IMAGE: &str = "Not tried: say which image, as in --image team/app.";
const NO_WRITE: &str = "Not tried without --write.";
const NO_REPOSITORY: &str = "It is allowed; there is no repository yet";
/// A tag that is asked for and that nobody has.
const NO_TAG: &str = "slipway-test";

/// What is asked of a repository without changing it, and what changes it.
const LOOKS: [&str; 4] = [
    "ecr:DescribeRepositories",
    "ecr:CreateRepository",
    "ecr:BatchGetImage",
    "ecr:BatchCheckLayerAvailability",
];
const WRITES: [&str; 4] =
    ["ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"];

pub(in crate::registry) async fn walk(
    client: &Client,
    account: &Ecr,
    target: &RegistryTarget,
    trial: &Trial,
) -> Report {
    let door = repository(target);
    let path = if trial.image.is_some() { door.path.clone() } else { String::new() };
    let mut walk = Walk::new(&target.registry, &path);
    // Boxed: each is large, and all of them in one future outgrow a thread's stack.
    Box::pin(identity(&mut walk, account)).await;
    Box::pin(login(&mut walk, client, account, target)).await;
    if trial.image.is_none() {
        for call in LOOKS.iter().chain(&WRITES) {
            walk.skip(call, NO_IMAGE);
        }
        return walk.report;
    }
    let there = Box::pin(look(&mut walk, account, &path, trial)).await;
    match (trial.write, there) {
        (true, true) => Box::pin(write(&mut walk, account, target, &path)).await,
        (true, false) => WRITES.iter().for_each(|call| walk.skip(call, "Not tried: there is no repository.")),
        (false, _) => WRITES.iter().for_each(|call| walk.skip(call, NO_WRITE)),
    }
    if account.scan_gate().is_some() {
        let asked = Box::pin(account.findings(&path, NO_TAG));
        walk.get("ecr:DescribeImageScanFindings", async {
            asked.await.map(|_| ((), "It is allowed".to_owned())).or_else(missing)
        })
        .await;
    }
    walk.report
}

/// Whose credentials they are.
async fn identity(walk: &mut Walk<'_>, account: &Ecr) {
    let call = if account.role().is_some() { "sts:AssumeRole" } else { "credentials" };
    walk.get(call, async {
        let key = Box::pin(account.credentials()).await?;
        Ok(((), format!("There are credentials, of the access key {key}")))
    })
    .await;
    if walk.stopped {
        return walk.skip("sts:GetCallerIdentity", "Not tried: there are no credentials.");
    }
    // Where STS cannot be reached, as in networks without a way out, ECR may well be.
    match Box::pin(account.caller()).await {
        Ok(arn) => {
            _ = walk.call("sts:GetCallerIdentity", &format!("AWS knows us as {arn}"), async { Ok(()) }).await
        }
        Err(e @ HookError::Aws { passing: true, .. }) => walk.forgive("sts:GetCallerIdentity", e),
        Err(e) => walk.fail("sts:GetCallerIdentity", e),
    }
}

/// The login, and whether the registry itself takes it.
async fn login(walk: &mut Walk<'_>, client: &Client, account: &Ecr, target: &RegistryTarget) {
    let host = &target.registry.host;
    let login = walk
        .get("ecr:GetAuthorizationToken", async {
            let login = Box::pin(account.new_login()).await?;
            Ok((login, format!("AWS gives a login for {host} in {}", account.region())))
        })
        .await;
    let Some(login) = login else { return walk.skip("login", "Not tried: there is no login.") };
    let mut door = repository(target);
    door.path.clear();
    door.login = Some(login);
    let asked = tokio::time::timeout(LOGIN_PROVED, client.check(&door)).await;
    let why = format!("no answer within {} s", LOGIN_PROVED.as_secs());
    match asked.unwrap_or_else(|_| Err(HookError::RegistryDown { host: host.clone(), why })) {
        Ok(scheme) => {
            _ = walk.call("login", &format!("{host} takes it, over {scheme}"), async { Ok(()) }).await
        }
        // The engine pushes, and may reach what this server does not.
        Err(e @ HookError::RegistryDown { .. }) => walk.forgive("login", e),
        Err(e) => walk.fail("login", e),
    }
}

/// What is asked of the repository before a push; whether it is there.
async fn look(walk: &mut Walk<'_>, account: &Ecr, path: &str, trial: &Trial) -> bool {
    let there = Box::pin(repository_is_there(walk, account, path, trial)).await;
    walk.get("ecr:BatchGetImage", async {
        Box::pin(account.manifest(path, NO_TAG))
            .await
            .map(|_| ((), "It is allowed".to_owned()))
            .or_else(missing)
    })
    .await;
    walk.get("ecr:BatchCheckLayerAvailability", async {
        let asked = Box::pin(account.check_layer(path, &digest_of(BLOB))).await;
        asked.map(|()| ((), "It is allowed".to_owned())).or_else(missing)
    })
    .await;
    there
}

async fn repository_is_there(walk: &mut Walk<'_>, account: &Ecr, path: &str, trial: &Trial) -> bool {
    const LOOK: &str = "ecr:DescribeRepositories";
    const CREATE: &str = "ecr:CreateRepository";
    if walk.stopped {
        walk.skip(LOOK, "Not tried: nothing after the failed call can go through.");
        walk.skip(CREATE, "Not tried: nothing after the failed call can go through.");
        return false;
    }
    match Box::pin(account.has_repository(path)).await {
        Ok(There::Yes) => {
            walk.call(LOOK, &format!("{path} is there"), async { Ok(()) }).await;
            walk.skip(CREATE, "Not needed: it is there.");
            return true;
        }
        Ok(There::No) => _ = walk.call(LOOK, &format!("{path} is not there"), async { Ok(()) }).await,
        Ok(There::Hidden(e)) => {
            walk.forgive(LOOK, e);
            walk.skip(CREATE, "Not tried: nobody may look whether it is there; pushes go on as if it were.");
            return true;
        }
        Err(e) => {
            walk.fail(LOOK, e);
            walk.skip(CREATE, "Not tried: nothing after the failed call can go through.");
            return false;
        }
    }
    if account.template().no_create {
        walk.fail(
            CREATE,
            HookError::NoRepository { name: path.to_owned(), region: account.region().to_owned() },
        );
        return false;
    }
    if !trial.write {
        walk.skip(CREATE, "Not tried without --write: the first push makes it.");
        return false;
    }
    walk.call(CREATE, &format!("{path} was made"), Box::pin(account.create_repository(path))).await
}

/// Stores a small image the way an engine does, and removes it again where that is allowed.
async fn write(walk: &mut Walk<'_>, account: &Ecr, target: &RegistryTarget, path: &str) {
    let digest: Digest = digest_of(BLOB);
    let begun = walk.get(WRITES[0], async {
        Ok((Box::pin(account.begin_upload(path)).await?, "An upload was begun".to_owned()))
    });
    let mut stored = false;
    match begun.await {
        Some(id) => {
            stored = walk.call(WRITES[1], "It was sent", Box::pin(account.upload(path, &id, BLOB))).await;
            if stored {
                stored = walk
                    .call(WRITES[2], "It was ended", Box::pin(account.end_upload(path, &id, &digest)))
                    .await;
            } else {
                walk.skip(WRITES[2], "Not tried: nothing was sent.");
            }
        }
        None => WRITES[1..3].iter().for_each(|call| walk.skip(call, "Not tried: no upload was begun.")),
    }
    let tag = tag();
    if !stored {
        return walk.skip(WRITES[3], "Not tried: there is no layer for it.");
    }
    let image = target.registry.image(&target.image);
    let (manifest, what) = (manifest(), format!("{path}:{tag} was stored"));
    if !walk.call(WRITES[3], &what, Box::pin(account.tag(path, &image, &tag, &manifest))).await {
        return;
    }
    match Box::pin(account.remove_tag(path, &tag)).await {
        Ok(()) => _ = walk.call("ecr:BatchDeleteImage", "It was removed again", async { Ok(()) }).await,
        // A push removes nothing.
        Err(e) => walk.forgive("ecr:BatchDeleteImage", e),
    }
}

/// AWS looks at rights first: who is told that there is no repository may do it.
fn missing(e: HookError) -> Result<((), String), HookError> {
    if e.has_no_repository() { Ok(((), NO_REPOSITORY.to_owned())) } else { Err(e) }
}
