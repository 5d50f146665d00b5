//! How long an answer to a fetch takes to be made: `fetch_rate REPOSITORY.git [COMMITS [ROUNDS [PASSES]]]`.
//!
//! Each round asks for another commit of the default branch and has the one so many commits before it, so that no answer
//! is at hand; each further pass has one commit more before it, so that parts of answers are. Prints time, answers a
//! second, bytes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use slipway_core::Oid;
use slipway_repository::{PackRequest, Repository, Settings, Snapshot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: fetch_rate REPOSITORY.git [COMMITS [ROUNDS [PASSES]]]";
    let path = PathBuf::from(args.next().ok_or(usage)?);
    let mut number = |otherwise| args.next().map_or(Ok(otherwise), |n| n.parse::<usize>());
    let (commits, rounds, passes) = (number(20)?, number(500)?, number(3)?);
    let repository = Repository::open_with(path, Settings::default(), Vec::new())?;
    let snapshot = repository.snapshot()?;
    let mut line = Vec::new();
    let mut at = snapshot.refs().first().map(|r| r.target);
    while let Some(id) = at.filter(|_| line.len() < rounds + commits + passes) {
        line.push(id);
        at = snapshot.commit(&id)?.and_then(|commit| commit.parents.first().copied());
    }
    for between in commits..commits + passes {
        pass(&snapshot, &line, between, rounds)?;
    }
    Ok(())
}

fn pass(
    snapshot: &Arc<Snapshot>,
    line: &[Oid],
    between: usize,
    rounds: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut bytes, mut objects, mut done) = (0, 0u64, 0u32);
    let mut out = vec![0; 256 << 10];
    let started = Instant::now();
    for pair in line.windows(between + 1).take(rounds) {
        let request = PackRequest {
            wants: vec![pair[0]],
            haves: vec![pair[between]],
            thin: true,
            ofs_delta: true,
            include_tag: true,
            ..PackRequest::default()
        };
        let mut pack = snapshot.pack(&request, &AtomicBool::new(false))?;
        objects += u64::from(pack.objects());
        loop {
            let got = pack.fill(&mut out)?;
            bytes += got as u64;
            if got < out.len() {
                break;
            }
        }
        done += 1;
    }
    let took = started.elapsed();
    println!(
        "{between} commits: {done} answers in {:.2} s: {:.0} a second, {:.2} ms each, {} objects and {} bytes on average",
        took.as_secs_f64(),
        f64::from(done) / took.as_secs_f64(),
        took.as_secs_f64() * 1000.0 / f64::from(done.max(1)),
        objects / u64::from(done.max(1)),
        bytes / u64::from(done.max(1)),
    );
    Ok(())
}
