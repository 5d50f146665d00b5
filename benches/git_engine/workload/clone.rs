//! Clones by the null client: whole, shallow, without blobs, and a hundred at once.

use super::Bench;
use crate::account::Peaks;
use crate::client::{Road, Timed, clone};
use crate::pairs::{Costed, Pairs, Side, alternate, alternate_at_once, costed, ms, word};
use crate::report::Target;
use crate::request::Fetch;
use crate::site::{Outcome, Site};
use crate::subject::Subject;

const MIB: f64 = 1024.0 * 1024.0;

/// Everything that the refs name.
pub(crate) fn whole(wants: Vec<String>) -> Fetch {
    Fetch { wants, ..Fetch::default() }
}

/// A clone with what the server took for it.
pub(crate) struct Cloned {
    costed: Costed<Timed>,
    memory: Peaks,
}

fn measured(site: &Site, what: impl FnOnce() -> Outcome<Timed>) -> Outcome<Cloned> {
    let watch = site.account.watch();
    let costed = costed(site, what)?;
    Ok(Cloned { costed, memory: watch.peaks() })
}

/// The whole repository over HTTP and SSH.
pub(crate) fn full(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    for (road, wall, cpu) in [(Road::Http, 0.25, 0.125), (Road::Ssh, 0.5, 0.25)] {
        let pairs = bench.options.large_runs();
        let all = alternate(pairs, bench.arena.peer(road), &bench.arena.ours, |site, _, round| {
            measured(site, || clone(site, road, &subject.name, &whole, round == 0))
        })?;
        let label = format!("full-clone {}, null client", word(road));
        rows(bench, (&label, subject), &all, wall, Some(cpu));
        bench.row(
            (&label, subject),
            "objects",
            &all,
            |c| c.costed.value.received.objects.into(),
            Target::None,
        );
        bench.row(
            (&label, subject),
            "anonymous memory growth MiB",
            &all,
            |c| c.memory.growth.anonymous as f64 / MIB,
            Target::None,
        );
        bench.row(
            (&label, subject),
            "mapped files growth MiB",
            &all,
            |c| c.memory.growth.mapped as f64 / MIB,
            Target::None,
        );
    }
    Ok(())
}

fn rows(bench: &mut Bench<'_>, place: (&str, &Subject), all: &Pairs<Cloned>, wall: f64, cpu: Option<f64>) {
    bench.row(place, "wall ms", all, |c| ms(c.costed.value.wall), Target::RatioAtMost(wall));
    let target = cpu.map_or(Target::None, Target::RatioAtMost);
    bench.row(place, "server CPU ms", all, |c| ms(c.costed.cpu), target);
    bench.row(place, "first pack byte ms", all, |c| ms(c.costed.value.first), Target::None);
    let bytes = |c: &Cloned| c.costed.value.received.wire_bytes as f64 / MIB;
    bench.row(place, "answer MiB", all, bytes, Target::RatioAtMost(1.05));
}

/// Depth 1 and blob:none, repeated.
pub(crate) fn partial(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let shallow = |wants: Vec<String>| Fetch { wants, depth: Some(1), ..Fetch::default() };
    let blobless = |wants: Vec<String>| Fetch { wants, filter: Some("blob:none"), ..Fetch::default() };
    let tip = subject.tip.clone();
    let shallow_tip = move |_: Vec<String>| shallow(vec![tip.clone()]);
    partial_kind(bench, subject, "partial-clone depth 1, HTTP", &shallow_tip)?;
    partial_kind(bench, subject, "partial-clone blob:none, HTTP", &blobless)
}

fn partial_kind(
    bench: &mut Bench<'_>,
    subject: &Subject,
    label: &str,
    wish: &(dyn Fn(Vec<String>) -> Fetch + Sync),
) -> Outcome<()> {
    let pairs = bench.options.large_runs();
    let all = alternate(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, round| {
        measured(site, || clone(site, Road::Http, &subject.name, wish, round == 0))
    })?;
    rows(bench, (label, subject), &all, 0.15, None);
    bench.row((label, subject), "objects", &all, |c| c.costed.value.received.objects.into(), Target::None);
    Ok(())
}

/// What many clones at once took.
struct Crowd {
    wall_ms: f64,
    cpu_ms: f64,
    growth_mib: f64,
    refused: f64,
}

/// A hundred at once. git's side holds eight streams at a time (its CGI processes); growth is given for each of them.
pub(crate) fn many(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let (ours, theirs) = (100, if bench.options.quick { 8 } else { 100 });
    let pairs = if bench.options.quick { 1 } else { 3 };
    let mut high = 0;
    let all = alternate_at_once(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, side, _| {
        let (clients, streams) = if side == Side::Ours { (ours, ours) } else { (theirs, theirs.min(8)) };
        let crowd = crowd(site, subject, clients, streams)?;
        if side == Side::Ours {
            high = site.account.high_water().max(high);
        }
        Ok(crowd)
    })?;
    let label = "many-clones HTTP, 100 at once";
    bench.row((label, subject), "server CPU ms/clone", &all, |c| c.cpu_ms, Target::RatioAtMost(0.1));
    bench.row((label, subject), "anonymous MiB/stream", &all, |c| c.growth_mib, Target::OursAtMost(4.0));
    bench.row((label, subject), "wall ms/clone", &all, |c| c.wall_ms, Target::None);
    bench.row((label, subject), "clones refused", &all, |c| c.refused, Target::OursAtMost(0.0));
    bench.ours((label, subject), "VmHWM MiB, mapped files included", high as f64 / MIB);
    Ok(())
}

fn crowd(site: &Site, subject: &Subject, clients: usize, streams: usize) -> Outcome<Crowd> {
    let watch = site.account.watch();
    let costed = costed(site, || {
        std::thread::scope(|scope| {
            let one = || clone(site, Road::Http, &subject.name, &whole, false).map_err(|e| e.to_string());
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
            Ok(threads
                .into_iter()
                .filter_map(|t| t.join().unwrap_or_else(|_| Err("it died".into())).err())
                .collect())
        })
    })?;
    let refusals: Vec<String> = costed.value;
    if let Some(first) = refusals.first() {
        eprintln!("  {} of {clients} clones failed, the first: {first}", refusals.len());
    }
    let served = (clients - refusals.len()).max(1) as f64;
    Ok(Crowd {
        wall_ms: ms(costed.wall) / served,
        cpu_ms: ms(costed.cpu) / served,
        growth_mib: watch.peaks().growth.anonymous as f64 / MIB / served.min(streams as f64),
        refused: refusals.len() as f64,
    })
}

/// A repository as large as the disk allows: one pair of clones, with memory.
pub(crate) fn huge(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let all = alternate(1, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, round| {
        measured(site, || clone(site, Road::Http, &subject.name, &whole, round == 0))
    })?;
    let label = "huge full clone, HTTP";
    rows(bench, (label, subject), &all, 0.25, Some(0.125));
    bench.row((label, subject), "objects", &all, |c| c.costed.value.received.objects.into(), Target::None);
    let memory = |c: &Cloned| c.memory.peak.anonymous as f64 / MIB;
    bench.row((label, subject), "anonymous memory peak MiB", &all, memory, Target::OursAtMost(1024.0));
    let memory = |c: &Cloned| c.memory.peak.mapped as f64 / MIB;
    bench.row((label, subject), "mapped files peak MiB", &all, memory, Target::None);
    Ok(())
}
