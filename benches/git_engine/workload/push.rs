//! Pushes: one commit by stock git and by the null client, and a large first push. git's side keeps the same promise:
//! `core.fsync=all`, `core.fsyncMethod=fsync`.

use std::{fs, io};

use super::Bench;
use crate::account::Peaks;
use crate::chain::Chain;
use crate::client::{self, PackSource, Push, Road};
use crate::pairs::{Costed, Pairs, Side, alternate, alternate_at_once, costed, ms, word};
use crate::report::Target;
use crate::site::{Outcome, Site, git, run};
use crate::subject::Subject;

const MIB: f64 = 1024.0 * 1024.0;

/// One commit at a time, over both roads and by both clients.
pub(crate) fn one_commit(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    for (road, wall) in [(Road::Http, 0.6), (Road::Ssh, 0.35)] {
        let name = word(road).to_lowercase();
        let rounds = bench.options.runs + 1;
        let chain = |client: &str| {
            let label = format!("{name}-{client}");
            Chain::make(subject, &bench.arena.scratch, &label, &format!("refs/heads/bench/{label}"), rounds)
        };
        let (stock_chain, null_chain) = (chain("stock")?, chain("null")?);
        let by_stock = stock(bench, subject, road, &stock_chain)?;
        let by_null = null(bench, subject, road, &null_chain)?;
        let label = format!("push 1 commit {}, stock client", word(road));
        bench.row((&label, subject), "wall ms", &by_stock, |c| ms(c.wall), Target::RatioAtMost(wall));
        bench.row((&label, subject), "server CPU ms", &by_stock, |c| ms(c.cpu), Target::RatioAtMost(0.2));
        let label = format!("push 1 commit {}, null client", word(road));
        bench.row((&label, subject), "wall ms", &by_null, |c| ms(c.wall), Target::None);
        bench.row((&label, subject), "server CPU ms", &by_null, |c| ms(c.cpu), Target::RatioAtMost(0.2));
    }
    Ok(())
}

fn stock(bench: &Bench<'_>, subject: &Subject, road: Road, chain: &Chain) -> Outcome<Pairs<Costed<()>>> {
    alternate(bench.options.runs, bench.arena.peer(road), &bench.arena.ours, |site, _, round| {
        let mut command = stock_push(site, road, subject, chain, round + 1)?;
        costed(site, || run(&mut command).map(drop))
    })
}

fn stock_push(
    site: &Site,
    road: Road,
    subject: &Subject,
    chain: &Chain,
    number: usize,
) -> Outcome<std::process::Command> {
    let mut command = git(&chain.repo);
    let url = match (road, &site.http, &site.ssh) {
        (Road::Http, Some(door), _) => {
            // As a credential helper would: sent at once, where git first asks without it if it stands in the URL.
            if let Some(value) = &door.authorization {
                command.arg("-c").arg(format!("http.extraHeader=Authorization: {value}"));
            }
            door.url(&subject.name)
        }
        (Road::Ssh, _, Some(door)) => {
            command.env("GIT_SSH_COMMAND", format!("ssh {}", door.options().join(" ")));
            door.url(&subject.name)
        }
        _ => return Err("that server has no such door".into()),
    };
    command.args(["push", "-q", &url, &format!("{}:{}", chain.commits[number], chain.branch)]);
    Ok(command)
}

fn null(bench: &Bench<'_>, subject: &Subject, road: Road, chain: &Chain) -> Outcome<Pairs<Costed<()>>> {
    alternate(bench.options.runs, bench.arena.peer(road), &bench.arena.ours, |site, _, round| {
        let old = (round > 0).then(|| chain.commits[round].as_str());
        let push = chain.push(round + 1, old)?;
        costed(site, || client::push(site, road, &subject.name, &push).map(drop))
    })
}

/// What a large push took.
struct Large {
    costed: Costed<()>,
    memory: Peaks,
}

/// Everything of a repository into an empty one, by the null client over HTTP.
pub(crate) fn first(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let packs = subject.packs()?;
    let [pack] = packs.as_slice() else { return Err("it is not in one pack".into()) };
    let push = Push { updates: subject.creations()?, pack: PackSource::File(pack.clone()) };
    let size = fs::metadata(pack)?.len() as f64 / 1e6;
    let pairs = if bench.options.quick { 1 } else { bench.options.large_runs().min(5) };
    // The page cache is to be as warm for the first push as for the second.
    io::copy(&mut fs::File::open(pack)?, &mut io::sink())?;
    let mut high = 0;
    let all =
        alternate_at_once(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, side, round| {
            let name = format!("first-{}-{round}", subject.name);
            bench.arena.create(&name)?;
            let watch = site.account.watch();
            let costed = costed(site, || client::push(site, Road::Http, &name, &push).map(drop))?;
            if side == Side::Ours {
                high = site.account.high_water().max(high);
            }
            bench.arena.remove(&name, side)?;
            Ok(Large { costed, memory: watch.peaks() })
        })?;
    let label = format!("first-push {size:.0} MB HTTP, null client");
    bench.row((&label, subject), "wall ms", &all, |l| ms(l.costed.wall), Target::RatioAtMost(0.8));
    bench.row((&label, subject), "server CPU ms", &all, |l| ms(l.costed.cpu), Target::None);
    let peak = |l: &Large| l.memory.peak.anonymous as f64 / MIB;
    bench.row((&label, subject), "anonymous memory peak MiB", &all, peak, Target::OursAtMost(256.0));
    let growth = |l: &Large| l.memory.growth.mapped as f64 / MIB;
    bench.row((&label, subject), "mapped files growth MiB", &all, growth, Target::None);
    bench.ours((&label, subject), "VmHWM MiB, mapped files included", high as f64 / MIB);
    Ok(())
}
