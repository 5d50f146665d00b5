//! Pushes to real registries: the lab's open one, and one that wants a login.

use slipway_core::run::FailureClass;
use slipway_core::trial::{Report, Trial};
use slipway_hooks::{HookError, RegistryTarget};
use tokio_util::sync::CancellationToken;

use crate::lab::{self, LockedRegistry, PASSWORD};
use crate::world::{World, target};

fn never() -> CancellationToken {
    CancellationToken::new()
}

async fn built(files: &[(&str, &str)]) -> (World, String) {
    let world = World::new(files).await;
    let image = world.hooks.build_image(&world.job, &never()).await.map(|built| built.id).expect("built");
    (world, image)
}

async fn tried(world: &World, target: &RegistryTarget) -> Report {
    let asked =
        world.hooks.test_registry(&target.registry, target.password.as_ref(), &Trial::default()).await;
    asked.expect("a report")
}

/// The digest by which the registry knows the tag, asked with curl.
fn digest(host: &str, image: &str, tag: &str) -> String {
    let url = format!("http://{host}/v2/{image}/manifests/{tag}");
    let accept = "Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
    let login = format!("dev:{PASSWORD}");
    let done = std::process::Command::new("curl")
        .args(["-sI", "-u", &login, "-H", accept, &url])
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&done.stdout).to_lowercase();
    text.lines()
        .find_map(|l| l.strip_prefix("docker-content-digest: ").map(|d| d.trim().to_owned()))
        .unwrap_or_default()
}

#[tokio::test]
async fn the_tested_image_is_pushed_with_all_its_tags() {
    let (world, image) = built(&[("Dockerfile", "FROM alpine:3.20\nCOPY Dockerfile /\n")]).await;
    let target = world.target();
    let pushed =
        world.hooks.push_image(&world.job, &image, &target, &world.tags(), &never()).await.expect("pushed");
    assert_eq!(pushed.name, format!("{}/{}", lab::registry(), target.image));
    assert_eq!(pushed.tags, world.tags());
    for tag in &pushed.tags {
        assert_eq!(digest(&lab::registry(), &target.image, tag), pushed.digest.as_str(), "{tag}");
    }
    // Pushing it again does nothing, and gives the same.
    let again = world
        .hooks
        .push_image(&world.job, &image, &target, &world.tags(), &never())
        .await
        .expect("pushed again");
    assert_eq!(again, pushed);
    assert!(world.log().await.contains("is in the registry already"));
    world.hooks.finish(&world.job).await.expect("cleaned");
    assert_eq!(world.images(), "", "no name of it stays in the engine");
}

#[tokio::test]
async fn a_tag_moves_to_what_the_registry_has_without_an_engine() {
    let (world, image) = built(&[("Dockerfile", "FROM alpine:3.20\nRUN echo moves\n")]).await;
    let (target, own) = (world.target(), [world.job.build.commit.to_string()]);
    let mut pushed =
        world.hooks.push_image(&world.job, &image, &target, &own, &never()).await.expect("pushed");
    assert_eq!(digest(&lab::registry(), &target.image, "latest"), "");
    world.hooks.finish(&world.job).await.expect("cleaned");
    world.hooks.move_tag(&world.job, None, &target, &pushed, "latest").await.expect("moved");
    assert_eq!(digest(&lab::registry(), &target.image, "latest"), pushed.digest.as_str());
    pushed.digest = slipway_core::Digest::parse(&format!("sha256:{}", "0".repeat(64))).expect("valid");
    let e = world.hooks.move_tag(&world.job, None, &target, &pushed, "latest").await.expect_err("not there");
    assert!(matches!(e, HookError::NotInRegistry { .. }) && e.class() == FailureClass::User, "{e:?}");
}

#[tokio::test]
async fn a_login_is_used_for_push_tag_and_base() {
    let registry = LockedRegistry::start();
    let (world, image) = built(&[("Dockerfile", "FROM alpine:3.20\nRUN echo locked\n")]).await;
    let open = target(&registry.host, "team/base", Some(("dev", PASSWORD)));
    let pushed =
        world.hooks.push_image(&world.job, &image, &open, &world.tags(), &never()).await.expect("pushed");
    assert_eq!(digest(&registry.host, "team/base", "latest"), pushed.digest.as_str());
    let said = tried(&world, &open).await.judged().expect("answers");
    assert!(said.contains("as dev") && !said.contains(PASSWORD), "{said}");

    for login in [None, Some(("dev", "wrong-password"))] {
        let shut = target(&registry.host, "team/other", login);
        let e = world
            .hooks
            .push_image(&world.job, &image, &shut, &world.tags(), &never())
            .await
            .expect_err("refused");
        assert_eq!(e.class(), FailureClass::Policy, "{e:?}");
        let problem = tried(&world, &shut).await.judged().expect_err("refused");
        assert!(problem.what.starts_with("login: "), "{problem}");
    }
    world.hooks.finish(&world.job).await.expect("cleaned");

    // The same image as a base: only with the login.
    let base = format!("FROM {}@{}\nRUN true\n", pushed.name, pushed.digest);
    let mut world = World::new(&[("Dockerfile", &base)]).await;
    world.hooks.build_image(&world.job, &never()).await.expect_err("no login");
    world.job.logins = vec![open];
    world
        .hooks
        .build_image(&world.job, &never())
        .await
        .map(|built| built.id)
        .expect("built on a private base");
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn what_keeps_an_image_from_its_registry_has_a_class() {
    let (world, image) = built(&[("Dockerfile", "FROM alpine:3.20\nRUN echo classes\n")]).await;
    let nobody = target("127.0.0.1:1", "x", None);
    let e = world
        .hooks
        .push_image(&world.job, &image, &nobody, &world.tags(), &never())
        .await
        .expect_err("nobody there");
    assert!(matches!(&e, HookError::RegistryDown { .. }), "{e:?}");
    let gone = format!("sha256:{}", "0".repeat(64));
    let e = world
        .hooks
        .push_image(&world.job, &gone, &world.target(), &world.tags(), &never())
        .await
        .expect_err("no image");
    assert!(matches!(&e, HookError::ImageGone { .. }), "{e:?}");
    let stop = never();
    stop.cancel();
    let e = world
        .hooks
        .push_image(&world.job, &image, &world.target(), &world.tags(), &stop)
        .await
        .expect_err("stopped");
    assert!(e.is_stopped());
    world.hooks.finish(&world.job).await.expect("cleaned");
}
