//! How fast packs are taken in, and with how much memory.
//!
//! `receive_rate PACK [TIPS [ROUNDS]]` takes the pack file in, each round into a fresh repository, checks that the ids
//! listed in the file TIPS (one a line) are connected, publishes, and prints one line a round: seconds until received,
//! until checked, until published, processor seconds, the peak of resident memory in MiB, objects a second.
//! `receive_rate --onto BASE BASETIPS PACK TIPS ROUNDS` pushes BASE and points refs at its tips first, once, and then
//! takes PACK in again and again without publishing it: what a small push costs. There, processor time is the thread's.
//! `SLIPWAY_THREADS` sets the number of threads.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use slipway_core::accept::{Incoming, RefStore};
use slipway_core::{ObjectFormat, Oid, RefName, RefUpdate, RepoId};
use slipway_repository::{ReceiveLimits, Repositories};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = std::env::temp_dir().join(format!("receive-rate-{}", std::process::id()));
    let outcome = match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--onto", base, base_tips, pack, tips, rounds] => onto(&folder, base, base_tips, pack, tips, rounds),
        [pack] => take(pack, &[], &folder, 0),
        [pack, tips] => ids(tips).and_then(|tips| take(pack, &tips, &folder, 0)),
        [pack, tips, rounds] => {
            let (tips, rounds) = (ids(tips)?, rounds.parse::<u32>()?);
            (0..rounds).try_for_each(|round| take(pack, &tips, &folder, round))
        }
        _ => Err("usage: receive_rate [--onto BASE BASETIPS] PACK [TIPS [ROUNDS]]".into()),
    };
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn ids(path: &str) -> Result<Vec<Oid>, Box<dyn Error>> {
    Ok(fs::read_to_string(path)?.lines().filter_map(|id| Oid::parse(id).ok()).collect())
}

fn limits() -> ReceiveLimits {
    let threads = std::env::var("SLIPWAY_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    ReceiveLimits { object_bytes_max: 4 << 30, threads, ..ReceiveLimits::default() }
}

fn onto(
    folder: &Path,
    base: &str,
    base_tips: &str,
    pack: &str,
    tips: &str,
    rounds: &str,
) -> Result<(), Box<dyn Error>> {
    let stop = AtomicBool::new(false);
    let repository = Repositories::open(folder)?.create(RepoId(1), ObjectFormat::Sha1)?;
    let mut received = repository.receive(&mut File::open(base)?, &limits(), &|_| {}, &stop)?;
    received.check_connected(&ids(base_tips)?, &stop)?;
    received.publish()?;
    drop(received);
    let updates: Result<Vec<RefUpdate>, Box<dyn Error>> = (0..)
        .zip(ids(base_tips)?)
        .map(|(n, new)| {
            Ok(RefUpdate { name: RefName::parse(&format!("refs/heads/b{n}"))?, old: new.zero_like(), new })
        })
        .collect();
    repository.update(&updates?, true)?;
    let (pack, tips, rounds) = (fs::read(pack)?, ids(tips)?, rounds.parse::<u32>()?);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let (start, cpu) = (Instant::now(), thread_us()?);
        let received = repository.receive(&mut &pack[..], &limits(), &|_| {}, &stop)?;
        times[0].push(thread_us()? - cpu);
        received.check_connected(&tips, &stop)?;
        times[1].push(thread_us()? - cpu);
        drop(received);
        times[2].push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.iter_mut().for_each(|t| t.sort_by(f64::total_cmp));
    let median = |t: &Vec<f64>| t[t.len() / 2];
    println!(
        "processor time, medians: received {:.0} us, and checked {:.0} us; wall {:.0} us",
        median(&times[0]),
        median(&times[1]),
        median(&times[2])
    );
    Ok(())
}

/// Processor time of this thread in microseconds, from proc(5).
fn thread_us() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split_whitespace().next().ok_or("no schedstat")?.parse::<f64>()? / 1e3)
}

fn take(pack: &str, tips: &[Oid], folder: &Path, round: u32) -> Result<(), Box<dyn Error>> {
    let repositories = Repositories::open(folder)?;
    let repository = repositories.create(RepoId(2 + u64::from(round)), ObjectFormat::Sha1)?;
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let mut received =
        repository.receive(&mut File::open(pack)?, &limits(), &|_| {}, &AtomicBool::new(false))?;
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
