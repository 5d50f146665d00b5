//! A repository that only ever received pushes, with no `gc` on either side: a first push, then a hundred of one commit
//! each. One more push goes before every clone, so that no answer can be an old one.

use super::Bench;
use super::clone::whole;
use crate::chain::Chain;
use crate::client::{PackSource, Push, Road, Timed, clone, push};
use crate::pairs::{Costed, alternate, costed, ms};
use crate::report::Target;
use crate::site::{Outcome, Site, git, run};
use crate::subject::Subject;

/// Pushes after the first one.
const PUSHES: usize = 100;

/// Both sides of a repository that grows by pushes alone.
pub(crate) struct Grown {
    /// Its name on the servers.
    pub(crate) name: String,
    chain: Chain,
}

impl Grown {
    /// The first push to both sides, with `count` more prepared.
    pub(crate) fn begin(bench: &Bench<'_>, subject: &Subject, label: &str, count: usize) -> Outcome<Self> {
        let name = format!("{label}-{}", subject.name);
        bench.arena.create(&name)?;
        // Packs stay packs, as on a server that is pushed to heavily.
        run(git(&bench.arena.peer_repo(&name)).args(["config", "transfer.unpackLimit", "1"]))?;
        let packs = subject.packs()?;
        let [pack] = packs.as_slice() else { return Err("it is not in one pack".into()) };
        let first = Push { updates: subject.creations()?, pack: PackSource::File(pack.clone()) };
        for site in sites(bench) {
            push(site, Road::Http, &name, &first)?;
        }
        let chain = Chain::make(subject, &bench.arena.scratch, label, &subject.branch, count)?;
        Ok(Self { name, chain })
    }

    /// Push number `number`, from 1, to one side.
    pub(crate) fn push(&self, site: &Site, number: usize) -> Outcome<()> {
        let one = self.chain.push(number, Some(&self.chain.commits[number - 1]))?;
        push(site, Road::Http, &self.name, &one).map(drop)
    }

    /// Pushes number `from` to `to` to both sides.
    pub(crate) fn push_all(&self, bench: &Bench<'_>, from: usize, to: usize) -> Outcome<()> {
        for number in from..=to {
            let one = self.chain.push(number, Some(&self.chain.commits[number - 1]))?;
            for site in sites(bench) {
                push(site, Road::Http, &self.name, &one)?;
            }
        }
        Ok(())
    }
}

fn sites<'a>(bench: &'a Bench<'_>) -> impl Iterator<Item = &'a Site> {
    std::iter::once(&bench.arena.ours).chain(bench.arena.peer(Road::Http))
}

/// Clones of it.
pub(crate) fn clones(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let pairs = bench.options.large_runs();
    let grown = Grown::begin(bench, subject, "pushed", PUSHES + pairs + 1)?;
    grown.push_all(bench, 1, PUSHES)?;
    let all = alternate(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, round| {
        grown.push(site, PUSHES + 1 + round)?;
        costed(site, || clone(site, Road::Http, &grown.name, &whole, round == 0))
    })?;
    let label = "pushed-clone, 1 base + 100 pushes, HTTP";
    let first = Target::RatioAtMost(0.1);
    bench.row((label, subject), "first pack byte ms", &all, |c| ms(c.value.first), first);
    bench.row((label, subject), "wall ms", &all, |c| ms(c.value.wall), Target::None);
    bench.row((label, subject), "server CPU ms", &all, |c| ms(c.cpu), Target::None);
    let bytes = |c: &Costed<Timed>| c.value.received.wire_bytes as f64 / (1024.0 * 1024.0);
    bench.row((label, subject), "answer MiB", &all, bytes, Target::RatioAtMost(1.05));
    Ok(())
}
