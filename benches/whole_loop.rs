//! The figures of docs/performance.md that concern the whole loop: `cargo bench --bench whole_loop`.
//!
//! Needs the parts of tests/lab. Slipway's loop (push → pod answers) and the same steps by hand (docker build, docker
//! push, kubectl apply --server-side, kubectl rollout status → pod answers) alternate in one run, on the same engine,
//! registry and cluster, each changing one page of the same application; medians and the ratio of pairs are printed.

#[path = "../tests/harness/mod.rs"]
mod harness;
#[allow(dead_code)] // Tests use the rest.
#[path = "../tests/harness/samples.rs"]
mod samples;
#[path = "builds/tap.rs"]
mod tap;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Lab, Person, Slipway, curl, lab, run, text};
use samples::borrowed;
use tap::Tap;

const ROUNDS: usize = 9;

fn main() {
    // `cargo test --benches` passes --test: then there is nothing to do.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_slipway"));
    let size = std::fs::metadata(binary).expect("binary").len();
    println!("binary size: {:.1} MiB", size as f64 / (1 << 20) as f64);
    start_up();
    idle_memory();
    loops();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// From the process's start on an empty folder to the first answered request.
fn start_up() {
    let times: Vec<f64> = (0..11)
        .map(|_| {
            let began = Instant::now();
            let server = Slipway::start();
            let took = ms(began.elapsed());
            drop(server);
            took
        })
        .collect();
    println!(
        "start-up on an empty folder, to the first answer (polled each 20 ms): median {:.0} ms",
        median(times)
    );
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("kB").parse::<f64>().expect("number") / 1024.0
}

/// Resident memory once started, and after some use.
fn idle_memory() {
    let server = Slipway::start();
    std::thread::sleep(Duration::from_secs(3));
    println!("idle memory, just started: {:.1} MiB resident", resident_mib(server.child.id()));
    let ann = server.person("ann", true);
    server.cli(&["repo", "create", "app"]);
    let tree = ann.work_tree("tree", &[("a.txt", "one\n")]);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    for n in 0..20 {
        ann.commit(&tree, &[("a.txt", &n.to_string())], "more");
        ann.git(&tree, &["push", "-q", "origin", "main"]);
        ann.git(&tree, &["ls-remote", &ann.http_url("app")]);
        assert_eq!(ann.get("/app").0, 200);
    }
    std::thread::sleep(Duration::from_secs(3));
    println!(
        "idle memory, after 20 pushes, fetches and pages: {:.1} MiB resident",
        resident_mib(server.child.id())
    );
}

struct World<'a> {
    lab: &'a Lab,
    ann: Person,
    app: PathBuf,
    slipway_ns: harness::Namespace<'a>,
    hand_ns: harness::Namespace<'a>,
    hand_image: String,
}

fn loops() {
    let lab = lab();
    let folder = tempfile::tempdir().expect("temp");
    let tap = Tap::open(folder.path());
    let server = Slipway::start_with_env(&[("DOCKER_HOST", &tap.host)]);
    let world = world(&lab, &server);
    let mut first_bytes = Vec::new();
    let (mut ours, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + 1 {
        let (a, request) = loop_by_slipway(&world, &format!("page s{round}"), &tap);
        let b = loop_by_hand(&world, &format!("page h{round}"));
        // The first pair warms both sides: it makes the objects.
        if round > 0 {
            println!("  round {round}: slipway {:.0} ms, by hand {:.0} ms", ms(a), ms(b));
            first_bytes.push(request);
            ours.push(ms(a));
            by_hand.push(ms(b));
            ratios.push(ms(a) / ms(b));
        }
    }
    println!("git push begins → first byte of the build request: median {:.0} ms", median(first_bytes));
    let (a, b) = (median(ours), median(by_hand));
    println!(
        "whole loop, change a page → the pod answers with it: slipway {a:.0} ms, by hand {b:.0} ms (medians)"
    );
    println!(
        "ratio of pairs: median {:.2}; bound 1.1 × by hand + 300 ms = {:.0} ms",
        median(ratios),
        1.1 * b + 300.0
    );
    accepted_to_request(&server);
}

/// From the recorded event to the recorded start of the stage that sends the request, as the server's own clock has it.
fn accepted_to_request(server: &Slipway) {
    let builds = server.json(&["build", "list", "AppCodeRepo"]);
    let waits: Vec<f64> = builds
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|b| {
            let stage = b["stages"].as_array()?.iter().find(|s| s["stage"] == "build")?;
            Some(stage["started"].as_f64()? - b["created"].as_f64()?)
        })
        .collect();
    for build in builds.as_array().expect("list").iter().rev() {
        let stages: Vec<String> = build["stages"]
            .as_array()
            .expect("stages")
            .iter()
            .map(|s| {
                format!(
                    "{} {}",
                    s["stage"].as_str().unwrap_or(""),
                    s["ended"].as_f64().unwrap_or(0.0) - s["started"].as_f64().unwrap_or(0.0)
                )
            })
            .collect();
        println!("  build {}: {} ms, retries {}", build["number"], stages.join(", "), build["retries"]);
    }
    for deploy in server.json(&["deploy", "list", "ManifestRepo"]).as_array().expect("list").iter().rev() {
        let (created, started, ended) =
            (deploy["created"].as_f64(), deploy["started"].as_f64(), deploy["ended"].as_f64());
        println!(
            "  deploy {}: waited {:?}, took {:?}, retries {} {}",
            deploy["number"],
            started.zip(created).map(|(a, b)| a - b),
            ended.zip(started).map(|(a, b)| a - b),
            deploy["retries"],
            deploy["state"]
        );
    }
    println!("push accepted → stage \"build image\" begins: median {:.0} ms", median(waits));
}

fn world<'a>(lab: &'a Lab, server: &Slipway) -> World<'a> {
    let (slipway_ns, hand_ns) = (lab.namespace("bench-s"), lab.namespace("bench-h"));
    let ann = server.person("ann", true);
    let path = format!("slipway-bench-{}", std::process::id());
    for args in [
        vec!["repo", "create", "AppCodeRepo"],
        vec!["repo", "create", "ManifestRepo"],
        vec!["registry", "add", "local", "--url", &lab.registry, "--insecure"],
        vec!["cluster", "add", "lab", "--kubeconfig", lab.kubeconfig.to_str().expect("utf-8")],
        vec!["bind", "AppCodeRepo", "--registry", "local", "--image", &path],
    ] {
        server.cli(&args);
    }
    let image = format!("{}/{path}", lab.registry);
    let manifests = ann.work_tree("manifests", &borrowed(&samples::manifests(&image)));
    ann.git(&manifests, &["push", "-q", &ann.http_url("ManifestRepo"), "main"]);
    server.cli(&["bind", "ManifestRepo", "--cluster", "lab", "--namespace", &slipway_ns.name]);
    let mut files = samples::app("page");
    files.push((
        "slipway.toml",
        "[deploy.prod]\nrepo = \"ManifestRepo\"\npath = \"deployment.yaml\"\n".into(),
    ));
    let app = ann.work_tree("app", &borrowed(&files));
    ann.git(&app, &["remote", "add", "origin", &ann.ssh_url("AppCodeRepo")]);
    World { lab, ann, app, slipway_ns, hand_ns, hand_image: format!("{image}-hand") }
}

/// How long it takes, and after how many ms the engine had the request.
fn loop_by_slipway(world: &World<'_>, page: &str, tap: &Tap) -> (Duration, f64) {
    world.ann.commit(&world.app, &[("index.html", &format!("{page}\n"))], page);
    tap.first();
    let (began, pushed) = (Instant::now(), tap::now());
    world.ann.git(&world.app, &["push", "-q", "origin", "main"]);
    wait_for_page(world.lab, &world.slipway_ns.name, page);
    let took = began.elapsed();
    (took, tap.first().expect("a build request was seen") - pushed)
}

fn loop_by_hand(world: &World<'_>, page: &str) -> Duration {
    world.ann.commit(&world.app, &[("index.html", &format!("{page}\n"))], page);
    let tag = world.ann.git(&world.app, &["rev-parse", "HEAD"]).trim().to_owned();
    let image = format!("{}:{tag}", world.hand_image);
    let began = Instant::now();
    docker(&["build", "-q", "-t", &image, world.app.to_str().expect("utf-8")]);
    docker(&["push", "-q", &image]);
    let file = world.ann.home.join("by-hand.yaml");
    let manifests: Vec<String> = samples::manifests("IMAGE").into_iter().map(|(_, text)| text).collect();
    // kubectl leaves the ports' protocol to the server, and old servers then refuse them.
    let text = manifests.join("---\n").replace("IMAGE:latest", &image);
    let text = text.replace("targetPort: 8080\n", "targetPort: 8080\n      protocol: TCP\n");
    let text = text.replace("containerPort: 8080\n", "containerPort: 8080\n              protocol: TCP\n");
    std::fs::write(&file, text).expect("write");
    let ns = world.hand_ns.name.as_str();
    world.lab.kubectl(&["-n", ns, "apply", "--server-side", "-f", file.to_str().expect("utf-8")]);
    world.lab.kubectl(&["-n", ns, "rollout", "status", "deployment/hello", "--timeout=120s"]);
    wait_for_page(world.lab, ns, page);
    began.elapsed()
}

fn docker(args: &[&str]) {
    // Debian's client has BuildKit within; newer ones need a plugin for it.
    let docker = if Path::new("/usr/bin/docker").exists() { "/usr/bin/docker" } else { "docker" };
    let out = run(Command::new(docker).args(args).env("DOCKER_BUILDKIT", "1"));
    assert!(out.status.success(), "docker {args:?}: {}", text(&out.stderr));
}

/// Asks the cluster for the pod and the pod for its page, the same way for both sides.
fn wait_for_page(lab: &Lab, namespace: &str, page: &str) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        let pods = lab.try_kubectl(&[
            "-n",
            namespace,
            "get",
            "pods",
            "-l",
            "app=hello",
            "-o",
            "jsonpath={.items[*].status.podIP}",
        ]);
        for ip in text(&pods.stdout).split_whitespace() {
            if curl(&["-m", "1", &format!("http://{ip}:8080/")]).1.trim() == page {
                return;
            }
        }
    }
    panic!("{namespace} does not answer {page:?}");
}
