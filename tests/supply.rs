//! What is put beside images: cosign and OpenSSL believe it, this server tells whose an image is, and a cluster that asks for it
//! takes nothing else. Needs the parts of tests/lab.

#[path = "harness/mod.rs"]
mod harness;
#[path = "supply/refusing.rs"]
mod refusing;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use harness::{Lab, Person, Slipway, eventually, lab, text};
use refusing::{Refusing, Takes};
use serde_json::Value;

const MINUTES: Duration = Duration::from_secs(180);

struct World {
    server: Slipway,
    ann: Person,
    tree: PathBuf,
    registry: String,
    path: String,
}

const APK: &str = "P:musl\nV:1.2.5-r0\nA:x86_64\n\nP:curl\nV:8.9.1-r0\nA:x86_64\n";
const DOCKERFILE: &str =
    "FROM alpine:3.20\nCOPY installed /lib/apk/db/installed\nCOPY site /usr/lib/python3/\nCOPY a /a\n";
const TEST: &str = "[test]\nshell = \"cat /a\"\n";

fn world(name: &str, registry: &str, toml: &str) -> World {
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let path = format!("slipway-test-{name}-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &path]);
    let files = [
        ("a", "1\n"),
        ("installed", APK),
        ("site/x-1.0.dist-info/METADATA", "Name: x\nVersion: 1.0\n"),
        ("Dockerfile", DOCKERFILE),
        (".dockerignore", "*.md\n"),
        ("slipway.toml", toml),
    ];
    let tree = ann.work_tree("app", &files);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    World { server, ann, tree, registry: registry.to_owned(), path }
}

impl World {
    fn push(&self, files: &[(&str, &str)]) -> Value {
        self.ann.commit(&self.tree, files, "Next");
        self.ann.git(&self.tree, &["push", "-f", "-o", "wait", "origin", "HEAD:main"]);
        self.server.json(&["build", "list", "app"])[0].clone()
    }

    fn image(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    fn pinned(&self, build: &Value) -> String {
        format!("{}@{}", self.image(), build["pushed"]["digest"].as_str().expect("a digest"))
    }

    /// A manifest, as the registry has it.
    fn manifest(&self, named: &str) -> Value {
        let types = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                     application/vnd.docker.distribution.manifest.v2+json";
        let url = format!("http://{}/v2/{}/manifests/{named}", self.registry, self.path);
        let (status, body) = harness::curl(&["-H", types, &url]);
        if status == 200 { serde_json::from_str(&body).expect("json") } else { Value::Null }
    }

    fn blob(&self, digest: &Value) -> Vec<u8> {
        let url =
            format!("http://{}/v2/{}/blobs/{}", self.registry, self.path, digest.as_str().expect("a digest"));
        harness::run(Command::new("curl").args(["-sSL", &url])).stdout
    }

    /// The tag that belongs to the build's image, with this ending.
    fn tag(&self, build: &Value, ending: &str) -> String {
        format!("{}{ending}", build["pushed"]["digest"].as_str().expect("a digest").replace(':', "-"))
    }

    fn public_key(&self) -> PathBuf {
        let file = self.server.data.with_file_name("cosign.pub");
        let (status, key) = harness::curl(&[&format!("http://{}/-/keys/cosign.pub", self.server.http)]);
        assert_eq!(status, 200);
        assert_eq!(key.trim(), self.server.cli(&["build", "public-key"]).trim());
        std::fs::write(&file, key).expect("written");
        file
    }

    fn refuses(&self, args: &[&str]) -> String {
        let out = self.server.try_cli(args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", text(&out.stdout));
        text(&out.stderr)
    }
}

/// Runs cosign, which tests/lab fetches; what it says, and whether it is content.
fn cosign(args: &[&str]) -> (bool, String) {
    let cache = std::env::var("XDG_CACHE_HOME").map_or_else(
        |_| PathBuf::from(std::env::var("HOME").unwrap_or_else(|_| "/root".into())).join(".cache"),
        PathBuf::from,
    );
    let program = std::env::var_os("SLIPWAY_TEST_COSIGN")
        .map_or_else(|| cache.join("slipway/bin/cosign"), PathBuf::from);
    assert!(program.exists(), "no cosign: run tests/lab up");
    let out = harness::run(Command::new(program).args(args).env("HOME", "/nonexistent"));
    (out.status.success(), text(&out.stdout) + &text(&out.stderr))
}

#[test]
fn what_is_pushed_is_signed_and_others_believe_it() {
    let lab = lab();
    let world = world("signed", &lab.registry, TEST);
    let first = world.push(&[]);
    assert_eq!(
        (&first["state"], &first["attached"]["signed"]),
        (&"succeeded".into(), &true.into()),
        "{first}"
    );
    assert_eq!(first["attached"]["contents"]["packages"], 3, "{first}");
    assert!(first["attached"]["notes"].is_null(), "{first}");
    let (key, image) = (world.public_key(), world.pinned(&first));
    let key = key.to_str().expect("utf-8");
    let flags = ["--key", key, "--insecure-ignore-tlog=true", "--allow-http-registry=true"];
    let check = |verb: &[&str], image: &str| cosign(&[verb, &flags, &[image]].concat());
    let (good, said) = check(&["verify"], &image);
    assert!(good && said.contains("\"build\":1"), "{said}");
    for kind in ["slsaprovenance1", "cyclonedx"] {
        let (good, said) = check(&["verify-attestation", "--type", kind], &image);
        assert!(good, "{kind}: {said}");
    }
    // This server says the same, by tag too, and names the build.
    let commit = first["commit"].as_str().expect("a commit");
    for named in [image.clone(), format!("{}:{commit}", world.image()), format!("{}:latest", world.image())] {
        let told = world.server.json(&["build", "verify", &named]);
        assert_eq!(
            (&told["build"], &told["test"], &told["commit"]),
            (&1.into(), &"passed".into(), &commit.into())
        );
        assert_eq!(told["repository"], format!("http://{}/app", world.server.http));
        assert_eq!(told["contents"], true, "{told}");
    }
    // A commit that changes nothing takes the image with all that is beside it.
    let (signature, statements) =
        (world.manifest(&world.tag(&first, ".sig")), world.manifest(&world.tag(&first, ".att")));
    assert_eq!(
        (signature["layers"].as_array().map(Vec::len), statements["layers"].as_array().map(Vec::len)),
        (Some(1), Some(2))
    );
    let same = world.push(&[("README.md", "words\n")]);
    assert_eq!((&same["reuses"], &same["attached"]["signed"]), (&1.into(), &true.into()), "{same}");
    assert_eq!(same["attached"]["contents"]["packages"], 3);
    assert_eq!(world.manifest(&world.tag(&first, ".sig")), signature, "never written anew");
    assert_eq!(world.manifest(&world.tag(&first, ".att")), statements);
    assert_eq!(world.server.json(&["build", "verify", &image])["build"], 1, "who made it");
    // All of it refers to the image, too; this registry keeps no list, so a tag has it.
    let list = world.manifest(&world.tag(&first, ""));
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(3), "{list}");
    for one in list["manifests"].as_array().expect("a list") {
        let referrer = world.manifest(one["digest"].as_str().expect("a digest"));
        assert_eq!(referrer["subject"]["digest"], first["pushed"]["digest"]);
        assert_eq!(referrer["annotations"]["org.opencontainers.image.revision"], commit);
    }
    // Another image behind the tag is not believed, nor another key.
    let docker =
        |args: &[&str]| assert!(harness::run(Command::new("docker").args(args)).status.success(), "{args:?}");
    let latest = format!("{}:latest", world.image());
    docker(&["tag", "alpine:3.20", &latest]);
    docker(&["push", "-q", &latest]);
    docker(&["rmi", &latest]);
    let said = world.refuses(&["build", "verify", &latest]);
    assert!(said.contains("has no signature") && said.contains("slipway build start"), "{said}");
    let other = Slipway::start();
    std::fs::write(key, other.cli(&["build", "public-key"])).expect("written");
    assert!(!check(&["verify"], &image).0, "another server's key");
}

/// The text behind base64.
fn decoded(text: &Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text.as_str().expect("text")).expect("base64")
}

#[test]
fn openssl_alone_can_check_it() {
    let lab = lab();
    let world = world("openssl", &lab.registry, TEST);
    let build = world.push(&[]);
    let key = world.public_key();
    let scratch = |name: &str| world.server.data.with_file_name(name);
    let check = |message: &[u8], signature: &[u8]| {
        std::fs::write(scratch("message"), message).expect("written");
        std::fs::write(scratch("signature"), signature).expect("written");
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-verify"]).arg(&key).arg("-signature").arg(scratch("signature"));
        text(&harness::run(openssl.arg(scratch("message"))).stdout).trim() == "Verified OK"
    };
    let layer = world.manifest(&world.tag(&build, ".sig"))["layers"][0].clone();
    let payload = world.blob(&layer["digest"]);
    let said: Value = serde_json::from_slice(&payload).expect("json");
    assert_eq!(said["critical"]["image"]["docker-manifest-digest"], build["pushed"]["digest"]);
    let signature = decoded(&layer["annotations"]["dev.cosignproject.cosign/signature"]);
    assert!(check(&payload, &signature));
    assert!(!check(b"other", &signature));
    let mut kinds = Vec::new();
    for layer in world.manifest(&world.tag(&build, ".att"))["layers"].as_array().expect("layers") {
        let envelope: Value = serde_json::from_slice(&world.blob(&layer["digest"])).expect("json");
        let payload = decoded(&envelope["payload"]);
        let kind = envelope["payloadType"].as_str().expect("a type");
        let mut framed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        framed.extend_from_slice(&payload);
        assert!(check(&framed, &decoded(&envelope["signatures"][0]["sig"])));
        let statement: Value = serde_json::from_slice(&payload).expect("json");
        kinds.push(statement["predicateType"].as_str().expect("a type").to_owned());
    }
    assert_eq!(kinds, ["https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"]);
}

#[test]
fn what_is_stated_can_be_had_by_those_who_may_read_the_repository() {
    let lab = lab();
    let toml = "[build]\nargs = { WORDS = \"of {branch}\" }\n[test]\nshell = \"cat /a\"\n";
    let world = world("stated", &lab.registry, toml);
    let build = world.push(&[]);
    let said = world.server.cli(&["build", "provenance", "app", "1"]);
    let provenance: Value = serde_json::from_str(&said).expect("json");
    let parameters = &provenance["buildDefinition"]["externalParameters"];
    assert_eq!(parameters["ref"], "refs/heads/main");
    assert_eq!(parameters["config"]["args"]["WORDS"], "of main");
    let depends = &provenance["buildDefinition"]["resolvedDependencies"];
    assert_eq!(depends[0]["digest"]["gitCommit"], build["commit"]);
    assert!(depends[1]["uri"].as_str().is_some_and(|uri| uri.contains("alpine:3.20")), "{depends}");
    assert_eq!(provenance["runDetails"]["metadata"]["invocationId"], build["url"]);
    let contents: Value =
        serde_json::from_str(&world.server.cli(&["build", "sbom", "app", "1"])).expect("json");
    let components = contents["components"].as_array().expect("a list");
    let urls: Vec<&str> = components.iter().filter_map(|one| one["purl"].as_str()).collect();
    let begins = [
        "pkg:apk/alpine/curl@8.9.1-r0?arch=x86_64",
        "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64",
        "pkg:pypi/x@1.0",
    ];
    assert!(
        urls.len() == 3 && urls.iter().zip(begins).all(|(url, begin)| url.starts_with(begin)),
        "{urls:?}"
    );
    // On the page, too, and labelled in the image with what no commit changes.
    let (status, page) = world.ann.get("/app/builds/1");
    assert!(status == 200 && page.contains("builds/1/provenance") && page.contains("3 packages"), "{page}");
    let image = build["pushed"]["digest"].as_str().expect("a digest");
    let config: Value =
        serde_json::from_slice(&world.blob(&world.manifest(image)["config"]["digest"])).expect("json");
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.source"], format!("http://{}/app", world.server.http));
    assert!(labels["org.opencontainers.image.revision"].is_null());
    // Nobody else is told of a private repository's image.
    let bob = world.server.person("bob", false);
    let verify = format!("build verify {}", world.pinned(&build));
    let out = bob.over_ssh(&verify, "");
    let said = text(&out.stderr);
    assert!(!out.status.success() && said.contains("No repository here that you may read"), "{said}");
    let out = world.ann.over_ssh(&verify, "");
    assert!(out.status.success() && text(&out.stdout).contains("refs/heads/main"), "{}", text(&out.stderr));
}

#[test]
fn a_crash_at_any_moment_leaves_one_signature_and_one_of_each_statement() {
    let lab = lab();
    let mut world = world("crash", &lab.registry, TEST);
    world.ann.git(&world.tree, &["push", "origin", "HEAD:main"]);
    for pause in [900, 400, 250] {
        std::thread::sleep(Duration::from_millis(pause));
        world.server.crash_and_restart();
    }
    let build = world.server.build_ended("app", 1, MINUTES);
    assert_eq!(
        (&build["state"], &build["attached"]["signed"]),
        (&"succeeded".into(), &true.into()),
        "{build}"
    );
    let layers = |ending: &str| world.manifest(&world.tag(&build, ending))["layers"].as_array().map(Vec::len);
    assert_eq!((layers(".sig"), layers(".att")), (Some(1), Some(2)), "{build}");
}

/// Manifests of one deployment of that image.
fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: hello\nspec:\n  replicas: 1\n  selector:\n    matchLabels: {{app: hello}}\n  \
         template:\n    metadata:\n      labels: {{app: hello}}\n    spec:\n      containers:\n        - name: hello\n          image: {image}\n          \
         command: [\"/bin/busybox\", \"sleep\", \"1000\"]\n"
    )
}

fn follow<'a>(world: &World, lab: &'a Lab, name: &str, more: &[&str]) -> harness::Namespace<'a> {
    let namespace = lab.namespace(name);
    let server = &world.server;
    server.cli(&["repo", "create", "manifests"]);
    server.cli(&["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")]);
    let bind = ["bind", "manifests", "--cluster", "lab", "--namespace", &namespace.name, "--require-signed"];
    server.cli(&[&bind[..], more].concat());
    namespace
}

const DEPLOYED: &str = "[test]\nshell = \"cat /a\"\n[deploy.prod]\nrepo = \"manifests\"\npath = \"d.yaml\"\n";

#[test]
fn a_cluster_that_asks_for_it_takes_signed_images_alone() {
    let lab = lab();
    let world = world("gate", &lab.registry, DEPLOYED);
    let namespace = follow(&world, &lab, "gate", &[]);
    let file = deployment(&format!("{}:old", world.image()));
    let tree = world.ann.work_tree("manifests", &[("d.yaml", &file)]);
    let push = |tree: &PathBuf| {
        let out = world.ann.try_git(tree, &["push", &world.ann.ssh_url("manifests"), "HEAD:main"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stderr)
    };
    // A tag can be anything tomorrow: told at the push, refused by the deploy, and nothing is sent.
    let told = push(&tree);
    assert!(told.contains("is not named by digest"), "{told}");
    let deploy = world.server.deploy_ended("manifests", 1, MINUTES);
    assert_eq!(deploy["state"], "failed", "{deploy}");
    let what = deploy["failure"]["problem"]["what"].as_str().expect("a sentence");
    assert!(
        what.contains("takes images alone that builds here have signed") && what.contains("d.yaml:1"),
        "{what}"
    );
    let objects = || lab.kubectl(&["-n", &namespace.name, "get", "deployments", "-o", "name"]);
    assert_eq!(objects(), "");
    // An image that somebody else pushed, by digest.
    let foreign = format!("{}:foreign", world.image());
    let docker = |args: &[&str]| harness::run(Command::new("docker").args(args));
    assert!(docker(&["tag", "alpine:3.20", &foreign]).status.success());
    let pushed = text(&docker(&["push", &foreign]).stdout);
    docker(&["rmi", &foreign]);
    let digest =
        pushed.split_whitespace().find(|word| word.starts_with("sha256:")).expect("a digest").to_owned();
    world.ann.commit(&tree, &[("d.yaml", &deployment(&format!("{}@{digest}", world.image())))], "Foreign");
    push(&tree);
    let deploy = world.server.deploy_ended("manifests", 2, MINUTES);
    let what = deploy["failure"]["problem"]["what"].as_str().expect("a sentence");
    assert!(what.contains("has no signature"), "{what}");
    assert_eq!(objects(), "");
    // What a build makes is let in.
    let build = world.push(&[]);
    assert_eq!(build["state"], "succeeded", "{build}");
    let deploy = world.server.deploy_ended("manifests", 3, MINUTES);
    assert_eq!(deploy["state"], "healthy", "{deploy}");
    assert!(objects().contains("hello"));
    // What an owner names is let in without.
    world.ann.git(&tree, &["pull", "-q", "--rebase", &world.ann.ssh_url("manifests"), "main"]);
    let bound = ["bind", "manifests", "--cluster", "lab", "--namespace", &namespace.name, "--require-signed"];
    world.server.cli(&[&bound[..], &["--allow-unsigned", &world.image()]].concat());
    world.ann.commit(&tree, &[("d.yaml", &deployment(&foreign))], "Foreign again");
    push(&tree);
    assert_eq!(world.server.deploy_ended("manifests", 4, MINUTES)["state"], "healthy");
}

#[test]
fn a_registry_that_takes_images_alone_stops_only_who_wants_more() {
    let lab = lab();
    let refusing = Refusing::start(&lab.registry, Takes::Images);
    let world = world("refusing", &refusing.address, TEST);
    let build = world.push(&[]);
    assert_eq!(build["state"], "succeeded", "{build}");
    assert!(build["attached"]["signed"].is_null(), "{build}");
    let note = build["attached"]["notes"][0].as_str().expect("a note");
    assert!(note.starts_with("The signature is not beside the image:"), "{note}");
    let said = world.refuses(&["build", "verify", &world.pinned(&build)]);
    assert!(said.contains("has no signature"), "{said}");
    let said = world.refuses(&["build", "provenance", "app", "1"]);
    assert!(said.contains("where it comes from"), "{said}");
    // Manifests of a cluster that wants it wait, and go on when it can be had.
    let _namespace = follow(&world, &lab, "refusing", &["--dry-run", "off"]);
    let file = deployment(&format!("{}:old", world.image()));
    let tree = world.ann.work_tree("manifests", &[("d.yaml", &file)]);
    world.ann.git(&tree, &["push", "-q", &world.ann.ssh_url("manifests"), "HEAD:main"]);
    world.ann.commit(&world.tree, &[("slipway.toml", DEPLOYED), ("a", "2\n")], "Deploy");
    world.ann.git(&world.tree, &["push", "origin", "HEAD:main"]);
    let waits = eventually("the build waits", MINUTES, || {
        let build = world.server.json(&["build", "show", "app", "2"]);
        (build["state"] == "waiting").then_some(build)
    });
    assert_eq!(waits["stage"], "bump", "{waits}");
    let what = waits["failure"]["problem"]["what"].as_str().expect("a sentence");
    assert!(what.contains("takes signed images alone, and this one is not"), "{what}");
    refusing.let_in();
    let build = world.server.build_ended("app", 2, MINUTES);
    assert_eq!(
        (&build["state"], &build["attached"]["signed"]),
        (&"succeeded".into(), &true.into()),
        "{build}"
    );
    assert_eq!(world.server.json(&["build", "verify", &world.pinned(&build)])["build"], 2);
}

#[test]
fn where_tags_may_not_change_what_cannot_be_found_is_not_told_as_there() {
    let lab = lab();
    let refusing = Refusing::start(&lab.registry, Takes::NewTags);
    let world = world("immutable", &refusing.address, TEST);
    let build = world.push(&[]);
    assert_eq!(
        (&build["state"], &build["attached"]["signed"]),
        (&"succeeded".into(), &true.into()),
        "{build}"
    );
    // This registry lists no referrers, so nothing would lead to the contents.
    assert!(build["attached"]["contents"].is_null(), "{build}");
    let note = build["attached"]["notes"][0].as_str().expect("a note");
    assert!(note.starts_with("The list of contents is not beside the image:"), "{note}");
    assert_eq!(world.server.json(&["build", "verify", &world.pinned(&build)])["contents"], false);
    // Once tags may change, a build of the same adds what is missing, and nothing else.
    refusing.let_in();
    let same = world.push(&[("README.md", "words\n")]);
    assert_eq!(
        (&same["reuses"], &same["attached"]["contents"]["packages"]),
        (&1.into(), &3.into()),
        "{same}"
    );
    let layers = |ending: &str| world.manifest(&world.tag(&build, ending))["layers"].as_array().map(Vec::len);
    assert_eq!((layers(".sig"), layers(".att")), (Some(1), Some(2)));
}

#[test]
fn who_wants_none_of_it_says_so() {
    let lab = lab();
    let folder = tempfile::tempdir().expect("temp");
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    std::fs::write(data.join("config.toml"), "[supply_chain]\nsign = false\n").expect("written");
    let server = Slipway::start_in(&data, &[]);
    let ann = server.person("ann", true);
    let path = format!("slipway-test-unsigned-{}", std::process::id());
    server.cli(&["repo", "create", "app"]);
    server.cli(&["registry", "add", "local", "--url", &lab.registry, "--insecure"]);
    server.cli(&["bind", "app", "--registry", "local", "--image", &path]);
    let tree = ann.work_tree("app", &[("Dockerfile", "FROM alpine:3.20\nCOPY Dockerfile /d\n")]);
    ann.git(&tree, &["push", "-o", "wait", &ann.ssh_url("app"), "HEAD:main"]);
    let build = server.json(&["build", "list", "app"])[0].clone();
    assert_eq!((&build["state"], &build["stage"]), (&"succeeded".into(), &"push".into()), "{build}");
    assert!(build["attached"].is_null(), "{build}");
    assert!(!data.join("keys/cosign.key").exists());
}
