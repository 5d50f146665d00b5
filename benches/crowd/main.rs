//! A server under a company's use, and under attack while it works.
//!
//! `cargo bench --bench crowd` lets 200 accounts use 1,000 repositories for ten minutes: of their requests 90 % fetch, 8 % look
//! at pages, 2 % push. `-- --hostile` then does so for a while under each attack and under all at once, beside the same without any
//! in the same run. What is printed: latencies of honest requests, errors, the server's memory, and how long an owner waits
//! for a verb of the command line meanwhile.
//!
//! Options after `--`: `--seconds N` (of the crowd, 600), `--rate N` (requests a second, 150), `--hostile`, `--phase N`
//! (seconds of each attack, 30), `--repositories N`, `--accounts N`, `--soak` (an hour).

mod attack;
mod bomb;
#[path = "../git_engine/http.rs"]
#[allow(dead_code, reason = "shared with the benchmark of the engine, which uses more of it")]
mod http;
mod pack;
mod people;
#[path = "../git_engine/pkt.rs"]
#[allow(dead_code, reason = "shared")]
mod pkt;
mod server;
#[path = "../git_engine/statistics.rs"]
#[allow(dead_code, reason = "shared")]
mod statistics;

use std::time::Duration;

use attack::Attack;
use people::{Crowd, Seen};
use server::Server;
use statistics::percentile;

/// Whatever goes wrong ends the run and is printed.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Options {
    seconds: u64,
    rate: f64,
    hostile: bool,
    phase: u64,
    repositories: usize,
    accounts: usize,
}

impl Options {
    fn read() -> Outcome<Self> {
        let mut options =
            Self { seconds: 600, rate: 150.0, hostile: false, phase: 30, repositories: 1000, accounts: 200 };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || -> Outcome<u64> { Ok(args.next().ok_or("a number is missing")?.parse()?) };
            match arg.as_str() {
                "--seconds" => options.seconds = number()?,
                "--rate" => options.rate = number()? as f64,
                "--phase" => options.phase = number()?,
                "--repositories" => options.repositories = usize::try_from(number()?)?,
                "--accounts" => options.accounts = usize::try_from(number()?)?,
                "--hostile" => options.hostile = true,
                "--soak" => options.seconds = 3600,
                // What cargo adds.
                "--bench" => {}
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> Outcome<()> {
    let options = Options::read()?;
    let server = Server::start()?;
    let crowd = Crowd::settle(&server, options.accounts, options.repositories, options.rate)?;
    println!(
        "{} accounts, {} repositories; idle: {}",
        options.accounts,
        options.repositories,
        server.memory()?
    );
    if !options.hostile {
        let seen = crowd.work(&server, Duration::from_secs(options.seconds))?;
        report("crowd", &seen, None);
        return Ok(());
    }
    let phase = Duration::from_secs(options.phase);
    let idle = crowd.work(&server, phase)?;
    report("nobody attacks", &idle, None);
    for attacks in Attack::ALL.iter().map(std::slice::from_ref).chain([Attack::ALL]) {
        let running = attack::begin(&server, &crowd, attacks)?;
        // So that it is under way.
        std::thread::sleep(Duration::from_secs(3));
        let seen = crowd.work(&server, phase)?;
        let told = running.end();
        let name = if let [one] = attacks { one.name() } else { "all together" };
        report(name, &seen, Some(&idle));
        println!("    {told}");
    }
    Ok(())
}

/// One phase: a line for each kind of request, one for the server.
fn report(name: &str, seen: &Seen, idle: Option<&Seen>) {
    println!(
        "== {name}: {} requests in {:.0} s, {} errors",
        seen.count(),
        seen.wall.as_secs_f64(),
        seen.errors.len()
    );
    for (kind, all) in seen.kinds() {
        let (middle, p99) = (percentile(all, 0.5), percentile(all, 0.99));
        let beside = idle.and_then(|idle| idle.kinds().into_iter().find(|(k, _)| *k == kind));
        let beside = beside.map(|(_, idle)| format!("  p99 {:.2} × idle", p99 / percentile(idle, 0.99)));
        println!(
            "    {kind:<6} {:>7}   median {middle:>7.1} ms   p99 {p99:>7.1} ms   max {:>7.1} ms{}",
            all.len(),
            percentile(all, 1.0),
            beside.unwrap_or_default()
        );
    }
    println!(
        "    server: at most {} MiB, {:.0} % of a core; an owner's verb took {:.0} ms at most",
        seen.memory_max >> 20,
        seen.processor.as_secs_f64() / seen.wall.as_secs_f64() * 100.0,
        percentile(&seen.verbs, 1.0)
    );
    for error in seen.errors.iter().take(5) {
        println!("    error: {error}");
    }
}
