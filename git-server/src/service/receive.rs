//! Takes a push: commands, then the pack into quarantine, then the one acceptance path, then the report.

mod job;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::StreamExt;
use slipway_core::accept::Verdict;
use slipway_core::{EventId, Problem, ProblemKind, RepoId};
use slipway_forge::priority;
use slipway_forge::shares::Party;
use slipway_repository::View;

use self::job::{Job, Outcome};
use super::certificate::NonceRule;
use super::{Conversation, StopFlag, broken};
use crate::limits::{DRAIN_TIME, KEEPALIVE_PAUSE};
use crate::transport::{Input, Stop};
use crate::wire::WireError;
use crate::wire::advertise::Offer;
use crate::wire::pktline::{Band, SideBand};
use crate::wire::push::{Push, PushReader};
use crate::wire::report::put_report;
use crate::wire::text::one_line;

impl Conversation {
    /// Serves one push.
    pub(crate) async fn receive_pack(&mut self, view: View, offer: Offer) -> Result<(), Stop> {
        let Some(mut push) = self.read_push(view.snapshot.object_format().as_str()).await? else {
            return Ok(());
        };
        if let Some(id) = &push.session_id {
            tracing::debug!(client_session = id, session = offer.session_id, "push");
        }
        // What was not offered counts for nothing, as in git.
        push.atomic &= offer.atomic;
        let band = push.band;
        let (outcome, mut input) = self.take_in(push, view, offer).await?;
        let (push, outcome) = outcome;
        let refused = matches!(outcome, Outcome::Unpacked(_));
        if refused && self.stateless {
            input.drain(DRAIN_TIME).await;
        }
        if let Outcome::Judged { verdict, answers } = &outcome {
            self.remark(verdict, &push, answers).await?;
        }
        let mut out = Vec::new();
        if push.report {
            put_outcome(&push, &outcome, &mut out);
        }
        if band != SideBand::None {
            out.extend_from_slice(b"0000");
        }
        self.output.send(out).await?;
        if refused && !self.stateless {
            // The client reads the report only once it has written all of its pack.
            input.drain(DRAIN_TIME).await;
        }
        Ok(())
    }

    /// Everything before the pack; `None` if the client wants nothing after all.
    async fn read_push(&mut self, format: &'static str) -> Result<Option<Push>, Stop> {
        let mut reader = PushReader::new(format);
        loop {
            let result = match self.packet().await {
                Ok(Some(packet)) => reader.take(&packet).map_err(Stop::from),
                // Who wants nothing says so with a flush; git takes silence for a failed push, and says so.
                Ok(None) if reader.is_idle() => return Err(Stop::Gone),
                Ok(None) => Err(WireError::Cut.into()),
                Err(stop) => Err(stop),
            };
            match result {
                Ok(None) => {}
                Ok(Some(push)) if push.commands.is_empty() => return Ok(None),
                Ok(Some(push)) => return Ok(Some(push)),
                Err(Stop::Refused(problem)) if reader.band() != SideBand::None => {
                    let mut out = Vec::new();
                    let line = format!("{}\n", one_line(&problem.to_string()));
                    reader.band().put(&mut out, Band::Fatal, line.as_bytes());
                    self.output.send(out).await?;
                    self.input.drain(DRAIN_TIME).await;
                    return Err(Stop::Told(problem));
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Runs the push on a blocking thread, the client kept informed. Gives the input back.
    async fn take_in(
        &mut self,
        push: Push,
        view: View,
        offer: Offer,
    ) -> Result<((Push, Outcome), Input), Stop> {
        let place = self.engine.place(&self.engine.receivers, &self.opened.caller);
        let place = Arc::new(self.wait(push.band, place).await??);
        let flag = StopFlag::default();
        let rest = self.take_rest();
        let (_, spare) = crate::transport::input();
        let reader = std::mem::replace(&mut self.input, spare).into_reader(rest, Arc::clone(&place));
        let job = Job {
            engine: Arc::clone(&self.engine),
            opened: self.opened.clone(),
            nonce: NonceRule {
                seed: view.settings.receive.certificate_seed.clone(),
                given: offer.nonce.filter(|_| !self.stateless),
                slop_s: view.settings.receive.certificate_slop_s,
            },
            view,
            push,
            reader,
            output: self.output.clone(),
            stop: flag.share(),
            hears: if self.stateless {
                Arc::clone(&self.input_ended)
            } else {
                Arc::new(AtomicBool::new(true))
            },
            _place: Arc::clone(&place),
        };
        let band = job.push.band;
        let span = tracing::Span::current();
        // Not `blocking`: the outcome is no error of the conversation, and the input comes back with it.
        let party = Party::of(&self.opened.caller);
        let work = priority::work(party, move || span.in_scope(|| job.run()));
        let done = tokio::select! {
            done = self.wait(band, work) => done?,
            // What waits for the client ends with its connection.
            () = place.gone() => return Err(Stop::Refused(gave_way())),
        };
        done.ok_or_else(|| Stop::Refused(broken()))
    }

    /// Tells the pusher what will happen and where to watch; with `-o wait` also how it goes, until the verdict.
    async fn remark(
        &self,
        verdict: &Verdict,
        push: &Push,
        answers: &[Result<(), Problem>],
    ) -> Result<(), Stop> {
        if push.band == SideBand::None {
            return Ok(());
        }
        let (base, name) = (self.engine.base_url.trim_end_matches('/'), &self.opened.name);
        let mut lines: Vec<String> = verdict.notices.clone();
        let builds = verdict.orders.builds.iter();
        lines.extend(builds.map(|b| format!("{} → {base}/{name}/builds/{}", b.label(), b.number)));
        let deploys = verdict.orders.deploys.iter().map(|d| d.number);
        lines.extend(deploys.map(|n| format!("deploy {n} → {base}/{name}/deploys/{n}")));
        if builds_and_deploys(verdict) == 0 {
            lines.extend(self.place_to_look(push, answers));
        }
        let waits = push.has_option("wait");
        if let Some(idle) = verdict.idle.as_ref().filter(|idle| !idle.expected && !waits) {
            lines.extend_from_slice(&idle.whys);
        }
        for line in &lines {
            self.say(push.band, line).await?;
        }
        match (verdict.event, &verdict.idle) {
            (Some(_), Some(idle)) if waits => {
                let why = if idle.whys.is_empty() {
                    String::new()
                } else {
                    ": ".to_owned() + &idle.whys.join("; ")
                };
                self.say(push.band, &format!("verdict: nothing was started{why}")).await
            }
            (Some(event), None) if waits => self.follow(event, push.band).await,
            _ => Ok(()),
        }
    }

    /// The page of what was pushed: the commit of a branch, or all refs where there are several.
    fn place_to_look(&self, push: &Push, answers: &[Result<(), Problem>]) -> Option<String> {
        if push.quiet || self.opened.id == RepoId(0) {
            return None;
        }
        let moved = push.commands.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
        let mut moved =
            moved.filter_map(|(command, _)| command.update.as_ref().ok()).filter(|u| !u.is_delete());
        let (first, more) = (moved.next()?, moved.next().is_some());
        let page = format!("{}/{}", self.engine.base_url.trim_end_matches('/'), self.opened.name);
        Some(match first.name.as_branch() {
            Some(branch) if !more => format!("{branch} → {page}/commit/{}", first.new),
            _ => format!("refs → {page}/refs"),
        })
    }

    async fn say(&self, band: SideBand, line: &str) -> Result<(), Stop> {
        let mut out = Vec::new();
        band.put(&mut out, Band::Remark, format!("{}\n", one_line(line)).as_bytes());
        self.output.send(out).await
    }

    async fn follow(&self, event: EventId, band: SideBand) -> Result<(), Stop> {
        let Some(follow) = &self.opened.follow else { return Ok(()) };
        let mut lines = follow.lines(event);
        let mut pause =
            tokio::time::interval_at(tokio::time::Instant::now() + KEEPALIVE_PAUSE, KEEPALIVE_PAUSE);
        loop {
            tokio::select! {
                line = lines.next() => match line {
                    Some(line) => self.say(band, &line).await?,
                    None => return Ok(()),
                },
                () = self.output.closed() => return Err(Stop::Gone),
                () = self.engine.stop.cancelled() => {
                    return self.say(band, "The server is stopping; the work goes on when it is back.").await;
                }
                _ = pause.tick() => self.keep_alive(band),
            }
        }
    }
}

/// What a pusher is told that sent nothing while others wanted its place.
fn gave_way() -> Problem {
    Problem::new(
        ProblemKind::Busy,
        "Nothing came for some time, and other pushes waited.",
        "Check the network and push again.",
    )
}

fn builds_and_deploys(verdict: &Verdict) -> usize {
    verdict.orders.builds.len() + verdict.orders.deploys.len()
}

fn put_outcome(push: &Push, outcome: &Outcome, out: &mut Vec<u8>) {
    let names = push.commands.iter().map(|c| c.raw_name.as_slice());
    match outcome {
        Outcome::Unpacked(problem) => {
            let failed = Problem::new(problem.kind, "unpacker error", "");
            put_report(push.band, Err(problem), names.map(|n| (n, Err(&failed))), out);
        }
        Outcome::Judged { answers, .. } => {
            let answers = names.zip(answers).map(|(name, answer)| (name, answer.as_ref().copied()));
            put_report(push.band, Ok(()), answers, out);
        }
    }
}
