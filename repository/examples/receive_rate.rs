//! How fast a pack is taken in, and with how much memory.
//!
//! `receive_rate PACK [TIPS [ROUNDS]]` takes the pack file in, each round into a fresh repository, checks that the ids
//! listed in the file TIPS (one a line) are connected, publishes, and prints one line a round: seconds until received,
//! until checked, until published, processor seconds, the peak of resident memory in MiB, objects a second.
//! `SLIPWAY_THREADS` sets the number of threads.

use std::error::Error;
use std::fs::{self, File};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use slipway_core::accept::Incoming;
use slipway_core::{Oid, RepoName};
use slipway_repository::{ReceiveLimits, Repositories};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let pack = args.next().ok_or("usage: receive_rate PACK [TIPS [ROUNDS]]")?;
    let tips: Vec<Oid> = match args.next() {
        Some(path) => fs::read_to_string(path)?.lines().filter_map(|id| Oid::parse(id).ok()).collect(),
        None => Vec::new(),
    };
    let rounds: u32 = args.next().map_or(Ok(1), |n| n.parse())?;
    let folder = std::env::temp_dir().join(format!("receive-rate-{}", std::process::id()));
    let outcome = (0..rounds).try_for_each(|round| take(&pack, &tips, &folder, round));
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn take(pack: &str, tips: &[Oid], folder: &std::path::Path, round: u32) -> Result<(), Box<dyn Error>> {
    let repositories = Repositories::open(folder)?;
    let repository = repositories.create(&RepoName::parse(&format!("r{round}"))?)?;
    let limits = ReceiveLimits { object_bytes_max: 4 << 30, ..ReceiveLimits::default() };
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let mut received =
        repository.receive(&mut File::open(pack)?, &limits, &|_| {}, &AtomicBool::new(false))?;
    let got = start.elapsed().as_secs_f64();
    received.check_connected(tips, &AtomicBool::new(false))?;
    let checked = start.elapsed().as_secs_f64();
    received.publish()?;
    let published = start.elapsed().as_secs_f64();
    let objects = received.object_count();
    println!(
        "received {got:.4} s, checked {checked:.4} s, published {published:.4} s, cpu {:.2} s, peak {} MiB, \
         {objects} objects, {:.0} objects/s",
        cpu_seconds()? - cpu,
        peak_kib()? / 1024,
        f64::from(objects) / published
    );
    drop(received);
    fs::remove_dir_all(folder.join(format!("r{round}.git")))?;
    Ok(())
}

/// User and system time of this process, from proc(5), in ticks of 10 ms.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').ok_or("no stat")?.1;
    let words: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| words.get(at).and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).ok_or("no peak")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
