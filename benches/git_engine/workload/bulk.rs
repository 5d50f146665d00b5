//! Bulk throughput over SSH with AES-256-GCM: a clone of large blobs from us, against OpenSSH's own rate (`cat` of a file
//! of the same size, no git in it) and against a clone from it.

use std::fs;

use super::Bench;
use super::clone::whole;
use crate::client::{Road, clone_ssh_with, read_over_ssh};
use crate::pairs::{Side, alternate, costed, ms};
use crate::report::Target;
use crate::site::Outcome;
use crate::subject::Subject;

const GCM: [&str; 2] = ["-c", "aes256-gcm@openssh.com"];

struct Bulk {
    rate: f64,
    cpu_per_gb: f64,
}

/// Both comparisons.
pub(crate) fn ssh(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let packs = subject.packs()?;
    let [pack] = packs.as_slice() else { return Err("it is not in one pack".into()) };
    let size = fs::metadata(pack)?.len();
    let cat = format!("cat '{}'", pack.display());
    for (against, label, target) in [
        ("cat", "bulk-ssh AES-GCM, against `ssh cat`", Target::RatioAtLeast(1.0)),
        ("clone", "bulk-ssh AES-GCM, against a clone", Target::None),
    ] {
        let pairs = bench.options.large_runs();
        let all = alternate(pairs, bench.arena.peer(Road::Ssh), &bench.arena.ours, |site, side, round| {
            let door = site.ssh.as_ref().ok_or("no SSH")?;
            let bulk = costed(site, || {
                if side == Side::Peer && against == "cat" {
                    return Ok((size, read_over_ssh(door, &GCM, &cat, size)?));
                }
                let timed = clone_ssh_with(door, &GCM, &subject.name, &whole, round == 0)?;
                Ok((timed.received.pack_bytes, timed.stream))
            })?;
            let (bytes, took) = bulk.value;
            let rate = bytes as f64 / 1e6 / took.as_secs_f64();
            Ok(Bulk { rate, cpu_per_gb: ms(bulk.cpu) / (bytes as f64 / 1e9) })
        })?;
        bench.row((label, subject), "MB/s", &all, |b| b.rate, target);
        bench.row((label, subject), "server CPU ms/GB", &all, |b| b.cpu_per_gb, Target::None);
    }
    Ok(())
}
