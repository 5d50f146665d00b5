//! `ls-refs`: over HTTP by the null client, over SSH by stock `git ls-remote`.

use std::time::Duration;

use super::Bench;
use crate::client::{Road, http_refs, http_refs_bytes};
use crate::http::Connection;
use crate::load::window;
use crate::pairs::{alternate, costed, ms};
use crate::report::Target;
use crate::site::{Outcome, git, run};
use crate::subject::Subject;

/// Answers a second at 1 and 8 connections.
pub(crate) fn over_http(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let name = subject.name.clone();
    let length = Duration::from_millis(if bench.options.quick { 500 } else { 2000 });
    let pairs = bench.options.runs.min(10);
    for connections in [1, 8] {
        let label = format!("ls-refs HTTP, {connections} conn");
        let measured = alternate(pairs, bench.arena.peer(Road::Http), &bench.arena.ours, |site, _, _| {
            // One answer is taken apart, so that the rest may be thrown away unread.
            let door = site.http.as_ref().ok_or("no HTTP")?;
            let lines = http_refs(&mut Connection::open(&door.address, None)?, &name, &[])?;
            let whole: u64 = lines.iter().map(|l| l.len() as u64 + 5).sum::<u64>() + 4;
            window(site, connections, length, &|connection, _| {
                let bytes = http_refs_bytes(connection, &name)?;
                if bytes == whole {
                    Ok(bytes)
                } else {
                    Err(format!("{bytes} bytes instead of {whole}").into())
                }
            })
        })?;
        let target = if connections == 8 { Target::RatioAtLeast(30.0) } else { Target::None };
        bench.row((&label, subject), "requests/s", &measured, |w| w.rate, target);
        bench.row((&label, subject), "p99 ms", &measured, |w| w.p99, Target::None);
        bench.row((&label, subject), "server CPU ms/request", &measured, |w| w.cpu, Target::None);
        bench.row((&label, subject), "answer bytes", &measured, |w| w.bytes, Target::RatioAtMost(1.05));
    }
    Ok(())
}

/// Stock client.
pub(crate) fn over_ssh(bench: &mut Bench<'_>, subject: &Subject) -> Outcome<()> {
    let scratch = bench.arena.scratch.clone();
    let measured =
        alternate(bench.options.runs, bench.arena.peer(Road::Ssh), &bench.arena.ours, |site, _, _| {
            let door = site.ssh.as_ref().ok_or("no SSH")?;
            let ssh = format!("ssh {}", door.options().join(" "));
            costed(site, || {
                let mut command = git(&scratch);
                run(command.args(["ls-remote", &door.url(&subject.name)]).env("GIT_SSH_COMMAND", ssh))
                    .map(|l| l.len())
            })
        })?;
    let label = "ls-remote SSH, stock client";
    bench.row((label, subject), "wall ms", &measured, |c| ms(c.wall), Target::RatioAtMost(0.3));
    bench.row((label, subject), "server CPU ms", &measured, |c| ms(c.cpu), Target::None);
    Ok(())
}
