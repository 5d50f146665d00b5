//! Slipway's Git engine beside git's own server side, in one run: `cargo bench --bench git_engine -- [--quick] …`.
//!
//! Peers are OpenSSH's sshd with git-upload-pack and git-receive-pack, and nginx with fcgiwrap and git-http-backend, on
//! tuned repositories. Each pair of measurements alternates, so that what else the machine does falls on both sides; the
//! page cache is warm. Null clients throw the bytes away after checking the pack's trailer once per workload, outside
//! the timing; where the table says "stock client", it is git's. See `--help`.

mod account;
mod answer;
mod arena;
mod chain;
mod client;
mod daemon;
mod generated;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod http;
mod interrupt;
mod load;
mod older;
mod options;
mod pairs;
mod peers;
mod pkt;
mod plot;
mod report;
mod request;
mod site;
mod statistics;
mod subject;
mod workload;

use std::path::Path;
use std::process::{Command, ExitCode};

use arena::Arena;
use options::Options;
use report::Report;
use site::{Outcome, git, run};
use subject::Subject;
use workload::{Bench, bulk, clone, fetch, growth, push, pushed, refs};

fn main() -> ExitCode {
    // `cargo test --benches` passes --test: then there is nothing to do.
    if std::env::args().any(|a| a == "--test") {
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|a| a == "--help" || a == "-h") {
        println!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let options = match Options::read() {
        Ok(options) => options,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::default();
    let heading = match measure(&options, &mut report) {
        Ok(heading) => heading,
        Err(error) => {
            eprintln!("git_engine: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{heading}\n{}", report.table());
    let csv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/git_engine.csv");
    match report.write_csv(&csv) {
        Ok(()) => println!("every value: {}", csv.display()),
        Err(error) => eprintln!("{}: {error}", csv.display()),
    }
    if report.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs what is wanted; the lines that stand above the table.
fn measure(options: &Options, report: &mut Report) -> Outcome<String> {
    answer::self_check()?;
    interrupt::watch()?;
    let subjects = subjects(options)?;
    let arena = Arena::start()?;
    let heading = heading(&arena, options);
    eprintln!("{heading}");
    if options.hold {
        hold(&arena, &subjects[0])?;
        return Ok(heading);
    }
    let mut bench = Bench { arena: &arena, options, report };
    for subject in &subjects {
        real(&mut bench, subject);
    }
    generated_ones(&mut bench)?;
    if options.plots {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plots");
        bench.attempt("growth", &subjects[0], |b, s| growth::all(b, s, &folder));
    }
    Ok(heading)
}

/// Shows where both sides are, and waits for the end of standard input.
fn hold(arena: &Arena, subject: &Subject) -> Outcome<()> {
    arena.place(&subject.name, &subject.path)?;
    for (name, site) in [
        ("Slipway", Some(&arena.ours)),
        ("nginx", arena.peers.http.as_ref()),
        ("sshd", arena.peers.ssh.as_ref()),
    ] {
        let Some(site) = site else { continue };
        if let Some(door) = &site.http {
            println!("{name}: {}", door.url(&subject.name));
        }
        if let Some(door) = &site.ssh {
            println!(
                "{name}: GIT_SSH_COMMAND='ssh {}' {}",
                door.options().join(" "),
                door.url(&subject.name)
            );
        }
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// The real repositories, or a generated stand-in.
fn subjects(options: &Options) -> Outcome<Vec<Subject>> {
    let most = if options.quick { 1 } else { options.repos.len() };
    let mut all = Vec::new();
    for path in options.repos.iter().take(most) {
        all.push(Subject::real(path)?);
    }
    if all.is_empty() {
        eprintln!("no real repository given (--repo or SLIPWAY_BENCH_REPOS): measuring with a generated one");
        all.push(generated::linear(20_000, 289)?);
    }
    Ok(all)
}

/// Every row of the table; pushes come last, since they change the repository.
fn real(bench: &mut Bench<'_>, subject: &Subject) {
    bench.attempt("ls-refs", subject, refs::over_http);
    bench.attempt("ls-remote", subject, refs::over_ssh);
    bench.attempt("small-fetch", subject, fetch::small);
    bench.attempt("full-clone", subject, clone::full);
    bench.attempt("partial-clone", subject, clone::partial);
    bench.attempt("many-clones", subject, clone::many);
    bench.attempt("pushed-clone", subject, pushed::clones);
    bench.attempt("push", subject, push::one_commit);
    bench.attempt("first-push", subject, push::first);
}

fn generated_ones(bench: &mut Bench<'_>) -> Outcome<()> {
    let options = bench.options;
    if options.wants("bulk-ssh") || options.wants("first-push") {
        let count = if options.large {
            200
        } else if options.quick {
            20
        } else {
            50
        };
        let blobs = generated::blobs(count)?;
        bench.attempt("bulk-ssh", &blobs, bulk::ssh);
        if !options.quick {
            bench.attempt("first-push", &blobs, push::first);
        }
    }
    if !options.quick {
        shapes(bench)?;
    }
    if let Some(objects) = options.huge {
        // A commit of the linear history is four objects.
        let huge = generated::linear(objects / 4, 100)?;
        bench.attempt("huge", &huge, clone::huge);
    }
    Ok(())
}

/// Repositories of one extreme each.
fn shapes(bench: &mut Bench<'_>) -> Outcome<()> {
    let wanted = |names: &[&str]| names.iter().any(|n| bench.options.wants(n));
    let (refs_wanted, wide, long) = (
        wanted(&["ls-refs", "ls-remote"]),
        wanted(&["partial-clone", "push"]),
        wanted(&["small-fetch", "full-clone"]),
    );
    if refs_wanted {
        let many_refs = generated::linear(1000, 50_000)?;
        bench.attempt("ls-refs", &many_refs, refs::over_http);
        bench.attempt("ls-remote", &many_refs, refs::over_ssh);
    }
    if wide {
        let wide = generated::wide(200_000)?;
        bench.attempt("partial-clone", &wide, clone::partial);
        bench.attempt("push", &wide, push::one_commit);
    }
    if long {
        let long = generated::linear(200_000, 100)?;
        bench.attempt("small-fetch", &long, fetch::small);
        bench.attempt("full-clone", &long, clone::full);
    }
    Ok(())
}

fn heading(arena: &Arena, options: &Options) -> String {
    let first_line = |command: &mut Command| {
        let out = command.output().ok();
        let all = out.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&all).lines().next().unwrap_or("?").to_owned()
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let git_version = run(git(Path::new("/")).arg("--version")).unwrap_or_default();
    let nginx = site::program("nginx").map_or("no nginx".into(), |n| first_line(Command::new(n).arg("-v")));
    let mut lines = vec![
        format!(
            "Kernel {}, {cores} cores that clients and servers share; load at the start {}",
            kernel.trim(),
            load.trim()
        ),
        format!("{git_version}; {}; {nginx}", first_line(Command::new("ssh").arg("-V"))),
        format!("Slipway: {}", harness::program().display()),
        std::env::var("SLIPWAY_AGAINST").map_or_else(
            |_| "peer: git's own server side".into(),
            |file| format!("peer, in the columns of git: {file}"),
        ),
        format!(
            "processor time: {}; memory: sampled RssAnon of the same processes",
            arena.ours.account.method()
        ),
        format!(
            "page cache warm, pairs alternate, {} pairs of small and {} of large operations",
            options.runs,
            options.large_runs()
        ),
    ];
    lines.extend(arena.peers.advice());
    lines.into_iter().map(|l| format!("- {l}\n")).collect()
}
