//! How cost grows with objects, refs, packs and clients: rows for the table, and plots.

use std::path::Path;

use super::clone::whole;
use super::fetch::Requests;
use super::pushed::Grown;
use super::{Bench, fetch};
use crate::client::{Road, clone, http_refs_bytes};
use crate::generated;
use crate::load::window;
use crate::pairs::{Costed, Pairs, alternate, costed, ms};
use crate::plot::{Plot, Series};
use crate::report::Target;
use crate::site::Outcome;
use crate::statistics::median;
use crate::subject::Subject;

/// Points of one curve for each side.
#[derive(Default)]
struct Curves {
    peer: Vec<(f64, f64)>,
    ours: Vec<(f64, f64)>,
}

impl Curves {
    fn point<T>(&mut self, at: f64, pairs: &Pairs<T>, value: impl Fn(&T) -> f64) {
        let (peer, ours) = pairs.map(value);
        if !peer.is_empty() {
            self.peer.push((at, median(&peer)));
        }
        self.ours.push((at, median(&ours)));
    }

    fn series(self, what: &str) -> [Series; 2] {
        [
            Series { name: format!("git, {what}"), points: self.peer },
            Series { name: format!("Slipway, {what}"), points: self.ours },
        ]
    }
}

/// All four, each on its own: one that fails leaves the others.
pub(crate) fn all(bench: &mut Bench<'_>, subject: &Subject, folder: &Path) -> Outcome<()> {
    std::fs::create_dir_all(folder)?;
    objects(bench, folder)?;
    refs(bench, folder)?;
    packs(bench, folder)?;
    clients(bench, subject, folder)
}

fn objects(bench: &mut Bench<'_>, folder: &Path) -> Outcome<()> {
    let sizes: &[u64] = if bench.options.quick { &[250, 2500] } else { &[250, 2_500, 25_000, 250_000] };
    let (mut wall, mut cpu) = (Curves::default(), Curves::default());
    for commits in sizes {
        let subject = generated::linear(*commits, 10)?;
        bench.arena.place(&subject.name, &subject.path)?;
        let pairs = bench.options.large_runs();
        let all = alternate(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, round| {
            costed(site, || clone(site, Road::Http, &subject.name, &whole, round == 0))
        })?;
        let at = all.ours.first().map_or(0.0, |c| c.value.received.objects.into());
        wall.point(at, &all, |c| ms(c.value.wall));
        cpu.point(at, &all, |c| ms(c.cpu));
        bench.row(("growth: objects", &subject), "wall ms", &all, |c| ms(c.value.wall), Target::None);
        bench.row(("growth: objects", &subject), "server CPU ms", &all, |c| ms(c.cpu), Target::None);
    }
    let plot = Plot {
        title: "Full clone over HTTP, null client".into(),
        x: "objects in the repository".into(),
        y: "milliseconds".into(),
        series: wall.series("wall").into_iter().chain(cpu.series("server CPU")).collect(),
    };
    Ok(plot.write(&folder.join("clone-by-objects.svg"))?)
}

fn refs(bench: &mut Bench<'_>, folder: &Path) -> Outcome<()> {
    let counts: &[u64] = if bench.options.quick { &[10, 1000] } else { &[10, 100, 1_000, 10_000, 50_000] };
    let (mut wall, mut cpu) = (Curves::default(), Curves::default());
    for count in counts {
        let subject = generated::linear(1000, *count)?;
        bench.arena.place(&subject.name, &subject.path)?;
        let length = std::time::Duration::from_millis(700);
        let pairs = bench.options.large_runs();
        let all = alternate(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, _| {
            window(site, 1, length, &|connection, _| Ok(http_refs_bytes(connection, &subject.name)?))
        })?;
        wall.point(*count as f64, &all, |w| w.middle);
        cpu.point(*count as f64, &all, |w| w.cpu);
        bench.row(("growth: refs", &subject), "ls-refs ms", &all, |w| w.middle, Target::None);
        bench.row(("growth: refs", &subject), "server CPU ms/request", &all, |w| w.cpu, Target::None);
    }
    let plot = Plot {
        title: "ls-refs of everything over HTTP, one connection".into(),
        x: "refs in the repository".into(),
        y: "milliseconds".into(),
        series: wall.series("median latency").into_iter().chain(cpu.series("server CPU")).collect(),
    };
    Ok(plot.write(&folder.join("ls-refs-by-refs.svg"))?)
}

fn packs(bench: &mut Bench<'_>, folder: &Path) -> Outcome<()> {
    let counts: &[usize] = if bench.options.quick { &[1, 10] } else { &[1, 10, 30, 100, 300] };
    let subject = generated::linear(if bench.options.quick { 2500 } else { 25_000 }, 10)?;
    let pairs = bench.options.large_runs();
    let most = counts.iter().max().copied().unwrap_or(1) + counts.len() * (pairs + 1);
    let grown = Grown::begin(bench, &subject, "packs", most)?;
    let (mut first, mut cpu) = (Curves::default(), Curves::default());
    let mut done = 0;
    for count in counts {
        grown.push_all(bench, done + 1, *count)?;
        done = (*count).max(done);
        let base = done;
        let all = alternate(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, round| {
            grown.push(site, base + 1 + round)?;
            costed(site, || clone(site, Road::Http, &grown.name, &whole, round == 0))
        })?;
        done += pairs + 1;
        let time = |c: &Costed<crate::client::Timed>| ms(c.value.first);
        first.point(*count as f64, &all, time);
        cpu.point(*count as f64, &all, |c| ms(c.cpu));
        let label = format!("growth: {count} pushed packs");
        bench.row((&label, &subject), "first pack byte ms", &all, time, Target::None);
        bench.row((&label, &subject), "server CPU ms", &all, |c| ms(c.cpu), Target::None);
    }
    let plot = Plot {
        title: "Clone right after a push, repository of pushed packs".into(),
        x: "packs pushed after the first one".into(),
        y: "milliseconds".into(),
        series: first.series("first pack byte").into_iter().chain(cpu.series("server CPU")).collect(),
    };
    Ok(plot.write(&folder.join("clone-by-packs.svg"))?)
}

fn clients(bench: &mut Bench<'_>, subject: &Subject, folder: &Path) -> Outcome<()> {
    let counts: &[usize] = if bench.options.quick { &[1, 8] } else { &[1, 2, 4, 8, 16, 32, 64] };
    bench.arena.place(&subject.name, &subject.path)?;
    let requests = Requests::of(subject)?;
    let (mut rate, mut tail) = (Curves::default(), Curves::default());
    for count in counts {
        let pairs = bench.options.large_runs().min(3);
        let all: Pairs<crate::load::Window> =
            fetch::measure(bench, subject, *count, pairs, &|round, number| {
                requests.varied((round + count * 100) * 1_000_000 + number)
            })?;
        rate.point(*count as f64, &all, |w| w.rate);
        tail.point(*count as f64, &all, |w| w.p99);
        let label = format!("growth: {count} clients, small fetch");
        bench.row((&label, subject), "requests/s", &all, |w| w.rate, Target::None);
        bench.row((&label, subject), "p99 ms", &all, |w| w.p99, Target::None);
    }
    let plot = |title: &str, y: &str, curves: Curves, what: &str| Plot {
        title: title.into(),
        x: "connections at once".into(),
        y: y.into(),
        series: curves.series(what).into(),
    };
    let rates = plot("Fetch of about 20 commits, haves vary", "answers a second", rate, "rate");
    rates.write(&folder.join("fetch-rate-by-clients.svg"))?;
    let tails = plot("Fetch of about 20 commits, haves vary", "milliseconds", tail, "99th percentile");
    Ok(tails.write(&folder.join("fetch-p99-by-clients.svg"))?)
}
