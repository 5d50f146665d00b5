//! The figures of docs/performance.md on large build contexts: `cargo bench --bench context`.
//!
//! Needs the engine and the registry of tests/lab, and BuildKit's own client: `docker buildx`, or the words of
//! SLIPWAY_BUILDX. `git push -o wait` of a repository with 120 MB in 2,000 files, and the same by hand from its work tree
//! (buildx build, the test in a container, push of two tags), alternate on the same engine, with nothing changed and with
//! one file changed; the ratio of pairs is printed, and how much the engine's build cache grew on either side.

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Person, Slipway, run, text};

const FILES: usize = 2_000;
const FILE_BYTES: usize = 60_000;
const ROUNDS: usize = 7;

fn main() {
    // `cargo test --benches` passes --test: then there is nothing to do.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let registry = std::env::var("SLIPWAY_TEST_REGISTRY").expect("eval \"$(tests/lab env)\" first");
    let server = Slipway::start();
    let ann = server.person("ann", true);
    let image = format!("slipway-context-{}", std::process::id());
    for args in [
        vec!["repo", "create", "app"],
        vec!["registry", "add", "local", "--url", &registry, "--insecure"],
        vec!["bind", "app", "--registry", "local", "--image", &image],
    ] {
        server.cli(&args);
    }
    let tree = work_tree(&ann);
    ann.git(&tree, &["remote", "add", "origin", &ann.ssh_url("app")]);
    let by_hand = format!("{registry}/{image}-hand");
    for (what, changes) in [("nothing changed", false), ("one file changed", true)] {
        let (mut ratios, mut ours, mut theirs, mut grown) = (Vec::new(), Vec::new(), Vec::new(), (0.0, 0.0));
        for round in 0..=ROUNDS {
            let before = cache_mb();
            commit(&ann, &tree, changes, &format!("s{round}"));
            let a = timed(|| push(&ann, &tree));
            let between = cache_mb();
            commit(&ann, &tree, changes, &format!("h{round}"));
            let b = timed(|| build_by_hand(&tree, &by_hand));
            // The first pair makes the objects.
            if round > 0 {
                println!("  {what}, round {round}: slipway {a:.0} ms, by hand {b:.0} ms");
                ratios.push(a / b);
                ours.push(a);
                theirs.push(b);
                grown = (grown.0 + between - before, grown.1 + cache_mb() - between);
            }
        }
        let (a, b) = (median(ours), median(theirs));
        println!(
            "{what}: slipway {a:.0} ms, by hand {b:.0} ms (medians); ratio of pairs {:.2}",
            median(ratios)
        );
        println!("{what}: bound 1.0 × by hand + 50 ms = {:.0} ms", b + 50.0);
        println!("{what}: the cache grew by {:.1} MB in {ROUNDS} pushes, {:.1} MB by hand", grown.0, grown.1);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    Duration::as_secs_f64(&began.elapsed()) * 1000.0
}

/// 2,000 files that no compression makes smaller.
fn work_tree(ann: &Person) -> PathBuf {
    let dockerfile = "FROM alpine:3.20\nCOPY lib /data/lib\nCOPY app /data/app\n";
    let spec = "[build]\npull = \"missing\"\n[test]\nshell = \"test -e /data/app/0.bin\"\n";
    let tree = ann.work_tree("tree", &[("Dockerfile", dockerfile), ("slipway.toml", spec)]);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for n in 0..FILES {
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        while bytes.len() < FILE_BYTES {
            // xorshift64*: G. Marsaglia, "Xorshift RNGs", 2003; S. Vigna, 2016.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
        }
        let file = tree.join(format!("{}/{}/{n}.bin", if n % 2 == 0 { "app" } else { "lib" }, n % 50));
        let file = if n == 0 { tree.join("app/0.bin") } else { file };
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, bytes).expect("written");
    }
    ann.git(&tree, &["add", "-A"]);
    ann.git(&tree, &["commit", "-q", "-m", "files"]);
    tree
}

fn commit(ann: &Person, tree: &Path, changes: bool, word: &str) {
    if changes {
        ann.commit(tree, &[("app/small.txt", &format!("{word:<30}"))], word);
    } else {
        ann.git(tree, &["commit", "-q", "--allow-empty", "-m", word]);
    }
}

fn push(ann: &Person, tree: &Path) {
    let done = ann.try_git(tree, &["push", "-q", "-o", "wait", "origin", "main"]);
    let said = text(&done.stderr);
    assert!(said.contains("verdict: all done"), "{said}");
}

fn build_by_hand(tree: &Path, image: &str) {
    let sha = text(&run(Command::new("git").arg("-C").arg(tree).args(["rev-parse", "HEAD"])).stdout);
    let (tag, latest) = (format!("{image}:{}", sha.trim()), format!("{image}:latest"));
    let words = std::env::var("SLIPWAY_BUILDX").unwrap_or_else(|_| "docker buildx".into());
    let mut words = words.split_whitespace();
    let mut buildx = Command::new(words.next().expect("a program"));
    buildx.args(words).args(["build", "--provenance=false", "-q", "-t", &tag, "-t", &latest]).arg(tree);
    check(&mut buildx);
    let test = ["run", "--rm", "--network=none", "--init", &tag, "/bin/sh", "-ec", "test -e /data/app/0.bin"];
    check(Command::new("docker").args(test));
    for name in [&tag, &latest] {
        check(Command::new("docker").args(["push", "-q", name]));
    }
}

fn check(command: &mut Command) -> String {
    let done = run(command);
    assert!(done.status.success(), "{command:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

/// The engine's build cache, as `docker system df` has it.
fn cache_mb() -> f64 {
    let told = check(Command::new("docker").args(["system", "df", "--format", "{{.Type}}\t{{.Size}}"]));
    let size =
        told.lines().find_map(|line| line.strip_prefix("Build Cache\t")).expect("a build cache").trim();
    let at = size.find(|c: char| c.is_ascii_alphabetic()).expect("a unit");
    let unit = match &size[at..] {
        "B" => 1e-6,
        "kB" => 1e-3,
        "MB" => 1.0,
        "GB" => 1e3,
        unit => panic!("{unit}?"),
    };
    size[..at].parse::<f64>().expect("a number") * unit
}
