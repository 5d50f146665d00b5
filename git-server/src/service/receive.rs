//! Takes a push: commands, then the pack into quarantine, then the one acceptance path, then the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use slipway_core::accept::{Proposal, Verdict};
use slipway_core::event::Cause;
use slipway_core::{EventId, Oid, Problem, RefUpdate};
use slipway_repository::{Progress, ReceiveLimits, Received};
use tokio::sync::OwnedSemaphorePermit;

use super::{Conversation, Opened, Shared, StopFlag, broken};
use crate::limits::{BLAME_UPDATES_MAX, DRAIN_TIME, KEEPALIVE_PAUSE, PROGRESS_PAUSE};
use crate::transport::{Input, InputReader, Output, Stop};
use crate::wire::WireError;
use crate::wire::pktline::{Band, SideBand};
use crate::wire::push::{Push, PushReader};
use crate::wire::report::put_report;
use crate::wire::text::one_line;

/// What became of a push.
enum Outcome {
    /// The pack itself was refused, and with it every ref.
    Unpacked(Problem),
    /// One answer a command.
    Judged { answers: Vec<Result<(), Problem>>, verdict: Verdict },
}

impl Conversation {
    /// Serves one push.
    pub(crate) async fn receive_pack(&mut self, format: &'static str) -> Result<(), Stop> {
        let Some(push) = self.read_push(format).await? else { return Ok(()) };
        let band = push.band;
        let (outcome, mut input) = self.take_in(push).await?;
        let (push, outcome) = outcome;
        let refused = matches!(outcome, Outcome::Unpacked(_));
        if refused && self.stateless {
            input.drain(DRAIN_TIME).await;
        }
        if let Outcome::Judged { verdict, .. } = &outcome {
            self.remark(verdict, &push).await?;
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
                Ok(None) if reader.is_idle() => return Ok(None),
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
    async fn take_in(&mut self, push: Push) -> Result<((Push, Outcome), Input), Stop> {
        let permit = self.wait(push.band, self.shared.place(&self.shared.receivers)).await??;
        let flag = StopFlag::default();
        let rest = self.take_rest();
        let (_, spare) = crate::transport::input();
        let reader = std::mem::replace(&mut self.input, spare).into_reader(rest);
        let job = Job {
            shared: Arc::clone(&self.shared),
            opened: Opened {
                record: self.opened.record.clone(),
                repository: Arc::clone(&self.opened.repository),
                actor: self.opened.actor.clone(),
            },
            push,
            reader,
            output: self.output.clone(),
            stop: flag.share(),
            hears: if self.stateless {
                Arc::clone(&self.input_ended)
            } else {
                Arc::new(AtomicBool::new(true))
            },
            _permit: permit,
        };
        let band = job.push.band;
        let span = tracing::Span::current();
        // Not `blocking`: the outcome is no error of the conversation, and the input comes back with it.
        let work = tokio::task::spawn_blocking(move || span.in_scope(|| job.run()));
        let done = self.wait(band, work).await?;
        done.map_err(|_| Stop::Refused(broken()))
    }

    /// Tells the pusher what will happen and where to watch; with `-o wait` also how it goes, until the verdict.
    async fn remark(&self, verdict: &Verdict, push: &Push) -> Result<(), Stop> {
        if push.band == SideBand::None {
            return Ok(());
        }
        let (base, name) = (self.shared.base_url.trim_end_matches('/'), &self.opened.record.name);
        let mut lines: Vec<String> = verdict.notices.clone();
        let builds = verdict.orders.builds.iter().map(|b| b.number);
        lines.extend(builds.map(|n| format!("build {n} → {base}/{name}/builds/{n}")));
        let deploys = verdict.orders.deploys.iter().map(|d| d.number);
        lines.extend(deploys.map(|n| format!("deploy {n} → {base}/{name}/deploys/{n}")));
        for line in &lines {
            self.say(push.band, line).await?;
        }
        match verdict.event {
            Some(event) if push.has_option("wait") => self.follow(event, push.band).await,
            _ => Ok(()),
        }
    }

    async fn say(&self, band: SideBand, line: &str) -> Result<(), Stop> {
        let mut out = Vec::new();
        band.put(&mut out, Band::Remark, format!("{}\n", one_line(line)).as_bytes());
        self.output.send(out).await
    }

    async fn follow(&self, event: EventId, band: SideBand) -> Result<(), Stop> {
        let mut lines = self.shared.follow.follow(event);
        let mut pause =
            tokio::time::interval_at(tokio::time::Instant::now() + KEEPALIVE_PAUSE, KEEPALIVE_PAUSE);
        let end = tokio::time::sleep(self.shared.limits.follow_max);
        tokio::pin!(end);
        loop {
            tokio::select! {
                line = lines.next() => match line {
                    Some(line) => self.say(band, &line).await?,
                    None => return Ok(()),
                },
                () = self.output.closed() => return Err(Stop::Gone),
                () = self.shared.stop.cancelled() => {
                    return self.say(band, "The server is stopping; the work goes on when it is back.").await;
                }
                () = &mut end => return self.say(band, "This takes long; watch it on its page.").await,
                _ = pause.tick() => self.keep_alive(band),
            }
        }
    }
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

/// A push on its blocking thread.
struct Job {
    shared: Arc<Shared>,
    opened: Opened,
    push: Push,
    reader: InputReader,
    output: Output,
    stop: Arc<AtomicBool>,
    /// The client reads progress by now: a stateless one does once all of its request is here.
    hears: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl Job {
    fn run(mut self) -> ((Push, Outcome), Input) {
        let outcome = self.receive().and_then(|mut received| self.judge(&mut received));
        let (input, refused) = self.reader.into_input();
        // What the transport says of its own failure is clearer than "unexpected end".
        let outcome = outcome.unwrap_or_else(|problem| Outcome::Unpacked(refused.unwrap_or(problem)));
        ((self.push, outcome), input)
    }

    fn receive(&mut self) -> Result<Received, Problem> {
        let repository = &self.opened.repository;
        if !self.push.has_pack() {
            return repository.received_nothing().map_err(Problem::from);
        }
        let limits = &self.shared.limits;
        let limits = ReceiveLimits {
            pack_bytes_max: limits.pack_bytes_max,
            objects_max: limits.objects_max,
            object_bytes_max: limits.object_bytes_max,
            depth_max: limits.delta_depth_max,
            ..ReceiveLimits::default()
        };
        let band = if self.push.quiet { SideBand::None } else { self.push.band };
        let teller =
            Teller { output: &self.output, band, hears: &self.hears, last: std::cell::Cell::new(None) };
        repository.receive(&mut self.reader, &limits, &|p| teller.tell(&p), &self.stop).map_err(Problem::from)
    }

    /// Checks what came, and asks the one acceptance path.
    fn judge(&self, received: &mut Received) -> Result<Outcome, Problem> {
        let mut answers: Vec<Result<(), Problem>> =
            self.push.commands.iter().map(|c| c.update.as_ref().map(drop).map_err(Clone::clone)).collect();
        self.check_connected(received, &mut answers)?;
        if self.push.atomic && answers.iter().any(Result::is_err) {
            answers.iter_mut().filter(|a| a.is_ok()).for_each(|a| *a = Err(not_alone()));
        }
        let updates: Vec<RefUpdate> = self
            .push
            .commands
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_ok())
            .filter_map(|(command, _)| command.update.as_ref().ok().cloned())
            .collect();
        if updates.is_empty() {
            let verdict =
                Verdict { event: None, answers: Vec::new(), orders: Default::default(), notices: Vec::new() };
            return Ok(Outcome::Judged { answers, verdict });
        }
        let proposal = Proposal {
            repo: self.opened.record.id,
            repo_name: &self.opened.record.name,
            actor: self.opened.actor.label(),
            cause: Cause::Push,
            updates,
            atomic: self.push.atomic,
            options: self.push.options.clone(),
        };
        let verdict = self.shared.acceptance.accept(proposal, &*self.opened.repository, received)?;
        let mut judged = verdict.answers.iter().cloned();
        for answer in answers.iter_mut().filter(|a| a.is_ok()) {
            *answer = judged.next().unwrap_or_else(|| Err(broken()));
        }
        Ok(Outcome::Judged { answers, verdict })
    }

    /// Every new tip must lead to objects that are here. If not, the refs to blame are found one by one.
    fn check_connected(
        &self,
        received: &Received,
        answers: &mut [Result<(), Problem>],
    ) -> Result<(), Problem> {
        let tips: Vec<(usize, Oid)> = self
            .push
            .commands
            .iter()
            .enumerate()
            .filter_map(|(at, c)| c.update.as_ref().ok().filter(|u| !u.is_delete()).map(|u| (at, u.new)))
            .collect();
        let all: Vec<Oid> = tips.iter().map(|(_, id)| *id).collect();
        let Err(problem) = received.check_connected(&all, &self.stop).map_err(Problem::from) else {
            return Ok(());
        };
        for (at, id) in &tips {
            let blamed = if tips.len() > BLAME_UPDATES_MAX || tips.len() == 1 {
                Err(problem.clone())
            } else {
                received.check_connected(&[*id], &self.stop).map_err(Problem::from)
            };
            if let Some(answer) = answers.get_mut(*at) {
                *answer = blamed;
            }
        }
        Ok(())
    }
}

fn not_alone() -> Problem {
    Problem::new(
        slipway_core::ProblemKind::Conflict,
        "The push was atomic and another of its refs was refused.",
        "See that ref's answer.",
    )
}

/// Tells the pusher how the pack comes along: now and then, and never so that anything waits for it.
struct Teller<'a> {
    output: &'a Output,
    band: SideBand,
    hears: &'a AtomicBool,
    last: std::cell::Cell<Option<Instant>>,
}

impl Teller<'_> {
    fn tell(&self, progress: &Progress) {
        // Receiving is shown by the client itself ("Writing objects").
        let Progress::Resolving { deltas, total } = progress else { return };
        let (deltas, total) = (*deltas, *total);
        let end = deltas >= total;
        let early = self.last.get().is_some_and(|at| at.elapsed() < PROGRESS_PAUSE);
        let hears = self.band != SideBand::None && self.hears.load(Ordering::Relaxed);
        if !hears || total == 0 || (early && !end) {
            return;
        }
        self.last.set(Some(Instant::now()));
        let percent = u64::from(deltas) * 100 / u64::from(total).max(1);
        let tail = if end { ", done.\n" } else { "\r" };
        let mut out = Vec::new();
        let line = format!("Resolving deltas: {percent:3}% ({deltas}/{total}){tail}");
        self.band.put(&mut out, Band::Remark, line.as_bytes());
        self.output.offer(Bytes::from(out));
    }
}
