//! The figures of docs/performance.md on builds: `cargo bench --bench builds`.
//!
//! Needs the engine and the registry of tests/lab, and BuildKit's own client: `docker buildx`, or the words of
//! SLIPWAY_BUILDX. What has a peer (`buildx build`, `docker run`, `docker push`) alternates with it on the same engine, and the ratio
//! of pairs is printed. After `--`: names of parts, else all of them (`push`, `first-byte`, `whole`, `same`, `crowd`, `queue`, `fair`, `log`, `kill`).

#[path = "../../tests/harness/mod.rs"]
mod harness;
mod latency;
mod peer;
mod queue;
mod tap;
mod world;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` passes --test: then there is nothing to do.
    if args.iter().any(|a| a == "--test") {
        return;
    }
    let parts: [(&str, fn()); 9] = [
        ("push", latency::push_reply),
        ("first-byte", latency::first_byte),
        ("whole", peer::whole_run),
        ("same", latency::same_content),
        ("crowd", peer::sixteen_at_once),
        ("queue", queue::hundred_waiting),
        ("fair", queue::another_repository),
        ("log", latency::log_lines),
        ("kill", queue::killed),
    ];
    let named: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|n| *n == name) {
            println!("== {name}");
            part();
        }
    }
}
