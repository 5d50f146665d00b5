//! A server under a company's use, and under attack while it works.
//!
//! `cargo bench --bench crowd` lets 200 accounts use 1,000 repositories for ten minutes: of their requests 90 % fetch, 8 % look
//! at pages, 2 % push. `-- --hostile` does so for a while under each attack and under all at once, each time after the same without any,
//! in the same run. What is printed: latencies of honest requests, errors, the server's memory, and how long an owner waits
//! for a verb of the command line meanwhile.
//!
//! Options after `--`: `--seconds N` (of the crowd, 600), `--rate N` (requests a second, 150), `--hostile`, `--phase N`
//! (seconds of each attack, 30), `--rounds N` (of each attack, 1: idle and attacked in turn), `--attack bodies|readers|pushes|bombs|passwords|all`
//! (that one alone), `--repositories N`, `--accounts N`, `--limit 'NAME = VALUE'` (of the server's config.toml; again for more), `--soak` (an hour).

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

/// Parts of the crowd's time after which memory is told: what grows without end does not stop doing so.
const PARTS: u32 = 10;
use statistics::percentile;

/// Whatever goes wrong ends the run and is printed.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Options {
    seconds: u64,
    rate: f64,
    hostile: bool,
    phase: u64,
    rounds: u64,
    limits: Vec<String>,
    attacks: Vec<&'static [Attack]>,
    repositories: usize,
    accounts: usize,
}

impl Options {
    fn read() -> Outcome<Self> {
        let mut options = Self {
            seconds: 600,
            rate: 150.0,
            hostile: false,
            phase: 30,
            rounds: 1,
            limits: Vec::new(),
            attacks: Attack::ALL.iter().map(std::slice::from_ref).chain([Attack::ALL]).collect(),
            repositories: 1000,
            accounts: 200,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || -> Outcome<u64> { Ok(args.next().ok_or("a number is missing")?.parse()?) };
            match arg.as_str() {
                "--seconds" => options.seconds = number()?,
                "--rate" => options.rate = number()? as f64,
                "--phase" => options.phase = number()?,
                "--rounds" => options.rounds = number()?.max(1),
                "--limit" => options.limits.push(args.next().ok_or("a limit is missing")?),
                "--attack" => {
                    let name = args.next().ok_or("a name is missing")?;
                    let one = || Attack::named(&name).ok_or_else(|| format!("there is no attack {name}"));
                    options.attacks =
                        vec![if name == "all" { Attack::ALL } else { std::slice::from_ref(one()?) }];
                }
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
    let server = Server::start(&options.limits)?;
    let crowd = Crowd::settle(&server, options.accounts, options.repositories, options.rate)?;
    println!(
        "{} accounts, {} repositories; idle: {}",
        options.accounts,
        options.repositories,
        server.memory()?
    );
    if !options.hostile {
        let mut seen = Seen::default();
        for part in 1..=PARTS {
            seen.join(crowd.work(&server, Duration::from_secs(options.seconds) / PARTS)?);
            println!("after {part} of {PARTS}: {} requests, {}", seen.count(), server.memory()?);
        }
        report("crowd", &seen, None);
        return Ok(());
    }
    for attacks in &options.attacks {
        beside_idle(&server, &crowd, attacks, &options)?;
    }
    Ok(())
}

/// Idle and attacked in turn, and what was seen of each in all rounds.
fn beside_idle(server: &Server, crowd: &Crowd, attacks: &[Attack], options: &Options) -> Outcome<()> {
    let phase = Duration::from_secs(options.phase);
    let (mut idle, mut attacked) = (Seen::default(), Seen::default());
    let mut told = String::new();
    for _ in 0..options.rounds {
        idle.join(crowd.work(server, phase)?);
        let running = attack::begin(server, crowd, attacks)?;
        // So that it is under way.
        std::thread::sleep(Duration::from_secs(3));
        attacked.join(crowd.work(server, phase)?);
        told = running.end();
        // What was begun is over before the next round is idle.
        std::thread::sleep(Duration::from_secs(2));
    }
    report("nobody attacks", &idle, None);
    report(if let [one] = attacks { one.name() } else { "all together" }, &attacked, Some(&idle));
    println!("    {told}");
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
