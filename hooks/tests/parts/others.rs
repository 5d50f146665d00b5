//! What others have in the engine outlives finish and sweep, however it came from an image of ours; what a dead server of
//! ours left does not.

use std::cell::RefCell;
use std::process::Command;
use std::time::{Duration, Instant};

use slipway_core::{BuildNumber, RepoId};
use slipway_hooks::HookError;
use tokio_util::sync::CancellationToken;

use crate::lab::{self, docker};
use crate::world::World;

const DOCKERFILE: (&str, &str) = (
    "Dockerfile",
    "FROM alpine:3.20\nVOLUME /data\nLABEL slipway.managed=1 slipway.build=any#1\nCMD [\"sleep\", \"31536005\"]\n",
);
/// Writes what must not be lost.
const WRITE: &str = "echo customers > /data/db";

/// What somebody else made, by the arguments that remove it.
#[derive(Default)]
struct Theirs(RefCell<Vec<Vec<String>>>);

impl Theirs {
    fn made(&self, remove: &[&str]) {
        self.0.borrow_mut().push(remove.iter().map(|&word| word.to_owned()).collect());
    }

    /// `docker run -d` with those arguments; the container's id.
    fn run(&self, arguments: &[&str]) -> String {
        let id = docker(&[&["run", "-d", "--network=none"], arguments].concat());
        assert_eq!(id.len(), 64, "docker run {arguments:?}: {id}");
        self.made(&["rm", "-fv", &id]);
        id
    }

    /// An image of that Dockerfile, without a name; its id. By the classic builder, whose images know their parents.
    fn build(&self, dockerfile: &str) -> String {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("Dockerfile"), dockerfile).expect("written");
        let built = Command::new("docker")
            .args(["build", "-q"])
            .arg(folder.path())
            .env("DOCKER_HOST", lab::engine())
            .env("DOCKER_BUILDKIT", "0")
            .output()
            .expect("docker runs");
        let id = String::from_utf8_lossy(&built.stdout).trim().to_owned();
        assert!(id.starts_with("sha256:"), "{id}");
        self.made(&["rmi", &id]);
        id
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        for remove in self.0.borrow().iter().rev() {
            docker(&remove.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

fn state(container: &str) -> String {
    docker(&["inspect", "-f", "{{.Id}} {{.State.Status}} {{.State.StartedAt}}", container])
}

fn image_is_there(id: &str) -> bool {
    docker(&["image", "inspect", "-f", "{{.Id}}", id]).starts_with("sha256:")
}

/// All labels of an image or container as arguments of `docker run`.
fn copied_labels(of: &str) -> Vec<String> {
    let labels =
        docker(&["inspect", "-f", "{{range $k, $v := .Config.Labels}}--label={{$k}}={{$v}}\n{{end}}", of]);
    labels.lines().map(str::to_owned).collect()
}

/// A build whose test runs on, and the id of its container.
async fn testing(world: &World, image: &str) -> (impl Future<Output = Result<(), HookError>>, String) {
    let (hooks, job, image) = (world.restarted(), world.job.clone(), image.to_owned());
    let test =
        tokio::spawn(
            async move { hooks.test_image(&job, &image, &CancellationToken::new()).await.map(|_| ()) },
        );
    let begun = Instant::now();
    let id = loop {
        let label = format!("label=slipway.server={}", world.server);
        let found = docker(&["ps", "-q", "--no-trunc", "--filter", &label]);
        if !found.is_empty() {
            break found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60) && !test.is_finished(), "the test does not run");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    (async move { test.await.expect("no panic") }, id)
}

#[tokio::test]
async fn containers_of_others_outlive_finish_and_sweep_with_their_data() {
    let toml = ("slipway.toml", "[test]\nshell = \"sleep 31536006\"\n");
    let world = World::new(&[DOCKERFILE, toml]).await;
    let image = world.built().await;
    let (test, our_container) = testing(&world, &image).await;
    let theirs = Theirs::default();
    let named = format!("{}-data", world.server);
    docker(&["volume", "create", &named]);
    theirs.made(&["volume", "rm", &named]);
    let committed = docker(&["commit", &our_container]);
    theirs.made(&["rmi", &committed]);
    let our_name = docker(&["inspect", "-f", "{{.Name}}", &our_container]);
    let alike = format!("{}-1", our_name.trim_start_matches('/'));
    let volume = docker(&["inspect", "-f", "{{range .Mounts}}{{.Name}}{{end}}", &our_container]);
    let of_image = copied_labels(&image);
    let of_container = copied_labels(&our_container);
    assert!(!of_image.is_empty() && !of_container.is_empty());
    let with = |labels: &[String], rest: &[&str]| {
        let all: Vec<&str> = labels.iter().map(String::as_str).chain(rest.iter().copied()).collect();
        theirs.run(&all)
    };
    let containers = [
        ("running", theirs.run(&[&image])),
        ("stopped, with an anonymous volume", theirs.run(&[&image, "sh", "-c", WRITE])),
        ("with a named volume", theirs.run(&["-v", &format!("{named}:/data"), &image, "sh", "-c", WRITE])),
        ("with the image's labels", with(&of_image, &[&image])),
        ("with our container's labels", with(&of_container, &[&image])),
        ("with our container's labels and almost its name", with(&of_container, &["--name", &alike, &image])),
        ("from our container's image", theirs.run(&[&committed, "sleep", "31536005"])),
        (
            "of another image, with our container's labels",
            with(&of_container, &["alpine:3.20", "sleep", "31536005"]),
        ),
        (
            "with the volume of our container",
            theirs.run(&["--volumes-from", &our_container, &image, "sh", "-c", WRITE]),
        ),
    ];
    docker(&["wait", &containers[1].1, &containers[2].1, &containers[8].1]);
    let before: Vec<_> = containers.iter().map(|(_, id)| state(id)).collect();

    let swept = world.restarted().sweep(&[]).await.expect("swept");
    assert_eq!((swept.containers, swept.images), (1, 1));
    assert!(test.await.is_err(), "our own container is gone under its test");
    assert_eq!(state(&our_container), "");
    world.hooks.finish(&world.job).await.expect("cleaned");

    for ((what, id), before) in containers.iter().zip(before) {
        assert_eq!(state(id), before, "{what}");
    }
    for id in [&containers[1].1, &containers[2].1, &containers[8].1] {
        let data = docker(&[
            "run",
            "--rm",
            "--network=none",
            "--volumes-from",
            id,
            "alpine:3.20",
            "cat",
            "/data/db",
        ]);
        assert_eq!(data, "customers");
    }
    assert!(docker(&["volume", "ls", "-q"]).contains(&volume), "the volume that is in use elsewhere");
    assert!(image_is_there(&image), "it is in use");
    drop(theirs);
    world.hooks.finish(&world.job).await.expect("cleaned");
    assert_eq!(world.images(), "");
}

#[tokio::test]
async fn images_of_others_outlive_finish_and_sweep() {
    let world = World::new(&[DOCKERFILE]).await;
    let image = world.built().await;
    let target = world.target();
    let pushed = world
        .hooks
        .push_image(&world.job, &image, &target, &world.tags(), &CancellationToken::new())
        .await
        .expect("pushed");
    let theirs = Theirs::default();
    // A nameless image is the most fragile one: nothing but its labels says where it comes from.
    let tag = docker(&["inspect", "-f", "{{index .RepoTags 0}}", &image]);
    let child = theirs.build(&format!("FROM {tag}\nRUN echo theirs > /theirs\n"));
    let grandchild = theirs.build(&format!("FROM {tag}\nLABEL slipway.managed=1\nRUN echo more > /more\n"));
    let pinned = format!("{}@{}", pushed.name, pushed.digest);
    docker(&["pull", "-q", &pinned]);
    theirs.made(&["rmi", &pinned]);
    let copy = format!("slipway/{}:b1.1-{}", world.server, "0".repeat(32));
    docker(&["tag", "alpine:3.20", &copy]);
    theirs.made(&["rmi", &copy]);

    world.hooks.finish(&world.job).await.expect("cleaned");
    let swept = world.restarted().sweep(&[]).await.expect("swept");
    assert_eq!((swept.containers, swept.images), (0, 0));

    for id in [&image, &child, &grandchild, &pinned, &copy] {
        assert!(image_is_there(id), "{id}");
    }
    let tags = docker(&["inspect", "-f", "{{.RepoTags}} {{.RepoDigests}}", &image]);
    assert_eq!(tags, format!("[] [{pinned}]"), "our names are gone, theirs are not");
    drop(theirs);
    assert_eq!(world.images(), "");
}

#[tokio::test]
async fn a_nameless_image_below_ours_is_not_taken_with_it() {
    let world = World::new(&[DOCKERFILE]).await;
    let image = world.built().await;
    let theirs = Theirs::default();
    let base = theirs.build("FROM alpine:3.20\nRUN echo base > /base\n");
    // As if the classic builder had made our image from it.
    let ours = theirs.build(&format!("FROM {base}\nRUN echo ours > /ours\n"));
    docker(&["tag", &ours, &docker(&["inspect", "-f", "{{index .RepoTags 0}}", &image])]);
    world.hooks.finish(&world.job).await.expect("cleaned");
    assert!(!image_is_there(&ours) && image_is_there(&base));
    theirs.made(&["rmi", &image]);
}

/// The image that has the name in the engine.
fn holder(name: &str) -> String {
    docker(&["image", "inspect", "-f", "{{.Id}}", name])
}

#[tokio::test]
async fn a_push_leaves_the_names_of_others_in_the_engine_as_they_are() {
    let world = World::new(&[DOCKERFILE]).await;
    let never = CancellationToken::new();
    let image = world.built().await;
    let target = world.target();
    let tags = world.tags();
    let push = || world.hooks.push_image(&world.job, &image, &target, &tags, &never);
    let pushed = push().await.expect("pushed");
    let name = format!("{}:{}", pushed.name, world.job.build.commit);
    assert_eq!(holder(&name), "", "the name was only for the push");
    let pinned = format!("{}@{}", pushed.name, pushed.digest);
    let theirs = Theirs::default();
    // So that the next push has to go by the engine: something else has the tag in the registry.
    let in_the_way = || {
        docker(&["tag", "alpine:3.20", &name]);
        docker(&["push", "-q", &name]);
        let digest = docker(&["inspect", "-f", "{{join .RepoDigests \"\\n\"}}", "alpine:3.20"]);
        let digest = digest.lines().find(|d| d.starts_with(&pushed.name)).expect("pushed").to_owned();
        theirs.made(&["rmi", &digest]);
    };

    in_the_way();
    push().await.expect("pushed over another image's name");
    assert_eq!(holder(&name), holder("alpine:3.20"), "the name is that image's again");

    docker(&["pull", "-q", &pinned]);
    theirs.made(&["rmi", &pinned]);
    in_the_way();
    docker(&["rmi", &name]);
    push().await.expect("pushed beside a digest");
    assert_eq!(holder(&pinned), image, "the image is held by its digest");

    in_the_way();
    docker(&["tag", &image, &name]);
    theirs.made(&["rmi", &name]);
    push().await.expect("pushed under a name that it has");
    assert_eq!(holder(&name), image, "the name stays");
    world.hooks.finish(&world.job).await.expect("cleaned");
    assert_eq!((holder(&name), holder(&pinned)), (image.clone(), image.clone()));
}

#[tokio::test]
async fn a_sweep_takes_dead_builds_and_leaves_the_living_and_those_of_other_installations() {
    let toml = ("slipway.toml", "[test]\nshell = \"sleep 31536007\"\n");
    let world = World::new(&[DOCKERFILE, toml]).await;
    let other = World::new(&[DOCKERFILE, toml]).await;
    let image = world.built().await;
    let (test, container) = testing(&world, &image).await;
    let volume = docker(&["inspect", "-f", "{{range .Mounts}}{{.Name}}{{end}}", &container]);
    let image = other.built().await;
    let (_other_test, other_container) = testing(&other, &image).await;

    let alive = [(RepoId(1), BuildNumber(1))];
    let swept = world.restarted().sweep(&alive).await.expect("swept");
    assert_eq!((swept.containers, swept.images), (1, 0));
    assert!(test.await.is_err());
    assert!(!volume.is_empty() && !docker(&["volume", "ls", "-q"]).contains(&volume), "it made that volume");
    let swept = world.restarted().sweep(&[]).await.expect("swept");
    assert_eq!((swept.containers, swept.images), (0, 1));
    assert_eq!((world.containers(), world.images()), (String::new(), String::new()));

    assert!(state(&other_container).contains("running"));
    assert_ne!(other.images(), "");
    other.restarted().finish(&other.job).await.expect("cleaned");
    assert_eq!((other.containers(), other.images()), (String::new(), String::new()));
    assert_eq!(lab::docker(&["ps", "-aq", "--filter", &format!("id={other_container}")]), "");
}

#[tokio::test]
async fn an_attempt_that_is_repeated_leaves_no_nameless_image() {
    let base = format!("hkt-base-{}", std::process::id());
    let theirs = Theirs::default();
    docker(&["tag", "alpine:3.20", &base]);
    theirs.made(&["rmi", &base]);
    let dockerfile = format!("FROM {base}\nCOPY Dockerfile /\n");
    let world = World::new(&[("Dockerfile", &dockerfile)]).await;
    let never = CancellationToken::new();
    let first = world.built().await;
    // The base moves on, so that the next attempt makes another image.
    let moved = theirs.build("FROM alpine:3.20\nRUN echo moved > /on\n");
    docker(&["tag", &moved, &base]);
    let again = world.hooks.build_image(&world.job, &never).await.map(|built| built.id).expect("built again");
    assert_ne!(first, again);
    assert!(!image_is_there(&first), "it went with the name that it had");
    world.hooks.finish(&world.job).await.expect("cleaned");
    assert_eq!(world.images(), "");
}
