//! A fetch of about 20 commits over HTTP: the same request again and again, and with other haves each time.

use std::time::Duration;

use super::Bench;
use crate::client::{Road, http_fetch};
use crate::load::{Window, window};
use crate::pairs::{Pairs, alternate};
use crate::report::Target;
use crate::request::Fetch;
use crate::site::{Outcome, git, run};
use crate::statistics::Random;
use crate::subject::Subject;

const COMMITS: usize = 20;
/// Ancestors that varied requests name beside the one that matters.
const FURTHER_HAVES: usize = 8;

/// How requests are made.
pub(crate) struct Requests {
    tip: String,
    near: Vec<String>,
    far: Vec<String>,
}

impl Requests {
    /// Finds the first-parent ancestor that is 20 commits or a few more behind the tip.
    pub(crate) fn of(subject: &Subject) -> Outcome<Self> {
        let line = run(git(&subject.path).args(["rev-list", "--first-parent", "-n", "3000", &subject.tip]))?;
        let line: Vec<String> = line.lines().map(str::to_owned).collect();
        let mut depth = line.len().saturating_sub(1).min(1);
        while depth + 1 < line.len() {
            let range = format!("{}..{}", line[depth], subject.tip);
            let count: usize = run(git(&subject.path).args(["rev-list", "--count", &range]))?.parse()?;
            if count >= COMMITS {
                break;
            }
            depth += 1;
        }
        let (near, far) = line.split_at((depth + 1).min(line.len()));
        let far = if far.is_empty() { near.to_vec() } else { far.to_vec() };
        Ok(Self { tip: subject.tip.clone(), near: near[1..].to_vec(), far })
    }

    /// The request that is always the same.
    pub(crate) fn fixed(&self) -> Vec<u8> {
        let mut haves: Vec<String> = self.near.last().into_iter().cloned().collect();
        haves.extend(self.far.iter().take(FURTHER_HAVES).cloned());
        Fetch { wants: vec![self.tip.clone()], haves, ..Fetch::default() }.bytes()
    }

    /// A request that no other number gives: from 1 to 20 commits behind, with random older haves.
    pub(crate) fn varied(&self, number: usize) -> Vec<u8> {
        let mut random = Random::new(number as u64 + 1);
        let mut haves = vec![self.near[number % self.near.len()].clone()];
        haves.extend((0..FURTHER_HAVES).map(|_| self.far[random.below(self.far.len())].clone()));
        Fetch { wants: vec![self.tip.clone()], haves, ..Fetch::default() }.bytes()
    }
}

/// Measures one kind of request at that many connections.
pub(crate) fn measure(
    bench: &Bench<'_>,
    subject: &Subject,
    connections: usize,
    pairs: usize,
    request: &(dyn Fn(usize, usize) -> Vec<u8> + Sync),
) -> Outcome<Pairs<Window>> {
    let length = Duration::from_millis(if bench.options.quick { 600 } else { 3000 });
    let name = &subject.name;
    alternate(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, round| {
        window(site, connections, length, &|connection, number| {
            // Every answer's size is looked at; only the warm-up's checksums.
            let timed = http_fetch(connection, name, &request(round, number), round == 0)?;
            Ok(timed.received.wire_bytes)
        })
    })
}

/// All rows of this workload.
pub(crate) fn small(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let requests = Requests::of(subject)?;
    let pairs = bench.options.runs.min(8);
    for connections in [1, 8] {
        for varied in [false, true] {
            // Rounds are far apart, so that no varied request comes twice in one run.
            let request = |round: usize, number: usize| {
                if varied { requests.varied(round * 10_000_000 + number) } else { requests.fixed() }
            };
            let measured = measure(bench, subject, connections, pairs, &request)?;
            let kind = if varied { "haves vary" } else { "repeated" };
            let label = format!("small-fetch HTTP, {connections} conn, {kind}");
            let (rate, tail) = match connections {
                1 => (Target::None, Target::OursAtMost(10.0)),
                _ => (Target::RatioAtLeast(10.0), Target::None),
            };
            bench.row((&label, subject), "requests/s", &measured, |w| w.rate, rate);
            bench.row((&label, subject), "p99 ms", &measured, |w| w.p99, tail);
            bench.row((&label, subject), "server CPU ms/request", &measured, |w| w.cpu, Target::None);
            let bytes = if varied { Target::None } else { Target::RatioAtMost(1.05) };
            bench.row((&label, subject), "answer bytes", &measured, |w| w.bytes, bytes);
        }
    }
    Ok(())
}
