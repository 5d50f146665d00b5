//! What of a commit gets to the real engine, and when.

use slipway_core::Problem;
use slipway_core::run::FailureClass;
use tokio_util::sync::CancellationToken;

use crate::lab;
use crate::world::World;

const COPIES: &str = "FROM alpine:3.20\nCOPY . /c\n";

async fn build(world: &World) -> String {
    let image = world.hooks.build_image(&world.job, &CancellationToken::new()).await.map(|built| built.id);
    match image {
        Ok(image) => image,
        Err(e) => panic!("{e}:\n{}", world.log().await),
    }
}

/// The lines of the log that tell what was sent.
async fn sent(world: &World) -> Vec<String> {
    let log = world.log().await;
    log.lines().filter(|line| line.starts_with("context: ")).map(str::to_owned).collect()
}

fn listed(image: &str) -> String {
    lab::docker(&["run", "--rm", "--network=none", image, "/bin/sh", "-c", "cd /c && find . | sort"])
}

#[tokio::test]
async fn a_dockerfile_can_be_kept_out_of_the_image() {
    let world = World::new(&[
        ("Dockerfile", COPIES),
        (".dockerignore", "*\n!x\n!sub\nsub/no\n"),
        ("x", "x"),
        ("sub/yes", "y"),
        ("sub/no", "n"),
    ])
    .await;
    let image = build(&world).await;
    assert_eq!(listed(&image), ".\n./sub\n./sub/yes\n./x");
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn an_ignore_file_of_the_dockerfile_holds_before_the_common_one() {
    let world = World::new(&[
        ("slipway.toml", "[build]\ndockerfile = \"docker/Dockerfile\"\n"),
        ("docker/Dockerfile", COPIES),
        ("docker/Dockerfile.dockerignore", "docker\n.dockerignore\nslipway.toml\n"),
        (".dockerignore", "x\n"),
        ("x", "x"),
    ])
    .await;
    let image = build(&world).await;
    assert_eq!(listed(&image), ".\n./x");
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn what_the_engine_has_is_not_sent_again() {
    let files = [("Dockerfile", COPIES), ("a/long", &"long ".repeat(100_000)), ("b", "one"), ("c", "c")];
    let mut world = World::new(&files).await;
    let first = build(&world).await;
    assert_eq!(build(&world).await, first, "the same commit is the same image");
    world.commit(&[]);
    assert_eq!(build(&world).await, first, "and so is the same content");
    // Of the same size.
    world.commit(&[("b", "two")]);
    let changed = build(&world).await;
    let cat = lab::docker(&["run", "--rm", "--network=none", &changed, "/bin/cat", "/c/b"]);
    assert_eq!(cat, "two");
    world.commit(&[("b", "one")]);
    assert_eq!(build(&world).await, first, "what comes back is what it was");
    assert_eq!(
        sent(&world).await,
        [
            "context: 4 files, 500031 bytes, 0 files ignored; sent 4 files, 500031 bytes",
            "context: 4 files, 500031 bytes, 0 files ignored; sent 0 files, 0 bytes",
            "context: 4 files, 500031 bytes, 0 files ignored; sent 0 files, 0 bytes",
            "context: 4 files, 500031 bytes, 0 files ignored; sent 1 files, 3 bytes",
            "context: 4 files, 500031 bytes, 0 files ignored; sent 1 files, 3 bytes",
        ]
    );
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn what_keeps_its_work_in_a_cache_mount_sees_what_changed() {
    // Like make: it makes anew what is older than its source.
    let dockerfile = "FROM alpine:3.20\nCOPY source /source\nRUN --mount=type=cache,target=/k \
                      if [ ! -e /k/made ] || [ /source -nt /k/made ]; then cp /source /k/made; fi; cp /k/made /made\n";
    // What an earlier run of this left in the engine is no answer.
    let run = std::time::UNIX_EPOCH.elapsed().expect("a time").as_nanos();
    let (one, two) = (format!("one {run}"), format!("two {run}"));
    let mut world = World::new(&[("Dockerfile", dockerfile), ("source", &one)]).await;
    for word in [&one, &two, &one] {
        world.commit(&[("source", word)]);
        let image = build(&world).await;
        let made = lab::docker(&["run", "--rm", "--network=none", &image, "/bin/cat", "/made"]);
        assert_eq!(made, *word);
        // This image's `-nt` compares whole seconds (`make` and `cargo` do not): what follows is to be in another one.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_newer_base_is_found_where_the_engine_has_an_older_one() {
    let name = format!("{}/hkt/base{}:moving", lab::registry(), std::process::id());
    let make = async |word: &str| {
        let dockerfile = format!("FROM alpine:3.20\nRUN echo {word} > /word\n");
        let world = World::new(&[("Dockerfile", &dockerfile)]).await;
        let image = build(&world).await;
        lab::docker(&["tag", &image, &name]);
        world.hooks.finish(&world.job).await.expect("cleaned");
        image
    };
    let old = make("old").await;
    make("new").await;
    lab::docker(&["push", "-q", &name]);
    lab::docker(&["tag", &old, &name]);
    let word = async |pull: &str| {
        let spec = format!("[build]\n{pull}\n");
        let world = World::new(&[("Dockerfile", &format!("FROM {name}\n")), ("slipway.toml", &spec)]).await;
        let image = build(&world).await;
        let word = lab::docker(&["run", "--rm", "--network=none", &image, "/bin/cat", "/word"]);
        world.hooks.finish(&world.job).await.expect("cleaned");
        word
    };
    assert_eq!(word("pull = \"missing\"").await, "old");
    lab::docker(&["tag", &old, &name]);
    assert_eq!(word("").await, "new");
    lab::docker(&["rmi", &name]);
}

#[tokio::test]
async fn a_base_that_only_the_engine_has_will_do_unless_it_must_not() {
    // Nothing listens there.
    let name = format!("127.0.0.1:1/hkt{}:local", std::process::id());
    lab::docker(&["tag", "alpine:3.20", &name]);
    let dockerfile = format!("FROM {name}\n");
    let world = World::new(&[("Dockerfile", &dockerfile)]).await;
    build(&world).await;
    build(&world).await;
    let log = world.log().await;
    let told = log.matches("cannot be pulled, so the engine's own copy is used").count();
    assert_eq!(told, 1, "a moment later it is not asked for again: {log}");
    world.hooks.finish(&world.job).await.expect("cleaned");
    let world =
        World::new(&[("Dockerfile", &dockerfile), ("slipway.toml", "[build]\npull = \"always\"\n")]).await;
    let e = world.hooks.build_image(&world.job, &CancellationToken::new()).await.expect_err("must not");
    assert_eq!(e.class(), FailureClass::Infra, "{e:?}");
    let problem = Problem::from(e);
    assert!(
        problem.what.starts_with(&format!("The base image {name} cannot be pulled for now")),
        "{problem}"
    );
    lab::docker(&["rmi", &name]);
}

#[tokio::test]
async fn a_secret_that_is_wanted_is_named() {
    let world = World::new(&[(
        "Dockerfile",
        "FROM alpine:3.20\nRUN --mount=type=secret,id=tok,required=true cat /run/secrets/tok\n",
    )])
    .await;
    let e = world.hooks.build_image(&world.job, &CancellationToken::new()).await.expect_err("no secret");
    let problem = Problem::from(e);
    assert_eq!(
        problem.what,
        "A step of the Dockerfile asks for the secret \"tok\", and the repository has none of that name."
    );
}
