//! The life of one piece of work of any kind: wait for its turn, take it, and then, again and again, record what the
//! machine made of what happened and only then carry out what it asks for.

use std::sync::Arc;
use std::time::Duration;

use slipway_core::run::{Machine, Next, Signal, Standing, State};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::desk::Inner;
use crate::lanes::Seat;
use crate::limits::{CUT_EFFECT_MAX, PROGRESS_MAX, RECORD_PAUSE_MAX, RECORD_PAUSE_MIN};
use crate::ports::{Kept, Rank};
use crate::slots::Slot;
use crate::{blocking, now};

/// One piece of work under way on this node.
pub(crate) struct Task<W: Machine> {
    desk: Arc<Inner<W>>,
    work: W,
    seat: Seat,
    /// Held while it runs.
    slot: Option<Slot>,
    /// What the last step asked for.
    next: Next<W::Effect>,
    /// Whether this task holds the lease.
    holds: bool,
}

/// The task ends, and the record stays as it is: the server stops, the record is gone, or another node has the work.
struct Leave;

/// How an effect ended.
enum End<I> {
    /// By itself.
    Done(I),
    /// Somebody wants it stopped.
    Stopped(Signal),
    /// The server cuts it short.
    Cut,
    /// The work is not this node's any more.
    Lost,
}

impl<W: Machine> Task<W> {
    pub(crate) fn new(desk: Arc<Inner<W>>, work: W, seat: Seat) -> Self {
        Self { desk, work, seat, slot: None, next: Next::Nothing, holds: false }
    }

    pub(crate) async fn live(mut self) {
        loop {
            let input = match self.work.run().state.standing() {
                Standing::Queued => self.ready(Signal::Start).await,
                Standing::Waiting => self.pause().await,
                Standing::Running => self.running().await,
                Standing::Over => break,
            };
            let Ok(input) = input else { return };
            if self.take(input).await.is_err() {
                return;
            }
        }
        self.slot = None;
        self.desk.hands.finish(&self.work).await;
    }

    /// Waits until it may go on: the gate, its turn, a free place. Then that is `signal`, or what came before.
    async fn ready(&mut self, signal: Signal) -> Result<W::Input, Leave> {
        let (desk, turn, work) = (self.desk.clone(), self.seat.turn.clone(), self.work.clone());
        let place = async move {
            desk.gate.cancelled().await;
            turn.cancelled().await;
            match desk.hands.rank(&work).await {
                Rank::Now => None,
                rank => desk.slots.take(work.id().repo, rank).await,
            }
        };
        tokio::select! {
            biased;
            () = self.desk.stop.cancelled() => Err(Leave),
            told = self.seat.inbox.recv() => told.map(W::Input::from).ok_or(Leave),
            slot = place => {
                self.slot = slot;
                Ok(signal.into())
            }
        }
    }

    async fn pause(&mut self) -> Result<W::Input, Leave> {
        self.slot = None;
        // A clock that was set back must not make a pause of years.
        let at = self.work.run().retry_at.unwrap_or_default();
        let pause = Duration::from_millis(at.since(now()).min(W::PAUSE_MS_MAX));
        tokio::select! {
            biased;
            () = self.desk.stop.cancelled() => return Err(Leave),
            told = self.seat.inbox.recv() => return told.map(W::Input::from).ok_or(Leave),
            () = tokio::time::sleep(pause) => {}
        }
        self.ready(Signal::RetryDue).await
    }

    /// Carries out what the last step asked for. If that is nothing, then whoever was at it has died.
    async fn running(&mut self) -> Result<W::Input, Leave> {
        let Next::Do(effect) = std::mem::replace(&mut self.next, Next::Nothing) else {
            return self.ready(Signal::Restarted).await;
        };
        if self.desk.cut.is_cancelled() {
            return Ok(Signal::Interrupted.into());
        }
        let stop = CancellationToken::new();
        let (progress, reports) = mpsc::channel(PROGRESS_MAX);
        let (hands, began) = (self.desk.hands.clone(), self.work.clone());
        let doing = hands.carry_out(&began, &effect, progress, &stop);
        tokio::pin!(doing);
        let end = self.attend(&mut doing, reports).await;
        if !matches!(end, End::Done(_)) {
            stop.cancel();
        }
        match end {
            End::Done(input) => Ok(input),
            End::Stopped(signal) => {
                drop(tokio::time::timeout(hands.stop_grace(), &mut doing).await);
                Ok(signal.into())
            }
            End::Cut => match tokio::time::timeout(CUT_EFFECT_MAX, &mut doing).await {
                Ok(input) if self.gets_on_with(&input) => Ok(input),
                _ => Ok(Signal::Interrupted.into()),
            },
            End::Lost => {
                drop(tokio::time::timeout(hands.stop_grace(), &mut doing).await);
                Err(Leave)
            }
        }
    }

    /// Looks after an effect: records its progress, keeps the lease, listens for whoever wants it stopped.
    async fn attend(
        &mut self,
        doing: &mut (impl Future<Output = W::Input> + Unpin),
        mut reports: mpsc::Receiver<W::Input>,
    ) -> End<W::Input> {
        let every = (self.desk.rules.lease / 3).max(Duration::from_millis(1));
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        let mut reporting = true;
        let desk = self.desk.clone();
        loop {
            let kept = tokio::select! {
                biased;
                report = reports.recv(), if reporting => match report {
                    Some(report) => self.note(report).await,
                    None => {
                        reporting = false;
                        Ok(())
                    }
                },
                outcome = &mut *doing => {
                    while let Ok(report) = reports.try_recv() {
                        if self.note(report).await.is_err() {
                            return End::Lost;
                        }
                    }
                    return End::Done(outcome);
                }
                () = desk.cut.cancelled() => return End::Cut,
                signal = self.seat.inbox.recv() => match signal {
                    Some(signal) if self.heeds(signal) => return End::Stopped(signal),
                    Some(_) => Ok(()),
                    None => return End::Lost,
                },
                _ = renewal.tick() => self.renew().await,
            };
            if kept.is_err() {
                return End::Lost;
            }
        }
    }

    /// Whether the machine would make anything of a signal now.
    fn heeds(&self, signal: Signal) -> bool {
        let mut trial = self.work.clone();
        trial.step(signal.into(), now());
        trial != self.work
    }

    /// Whether an outcome is no failure. What was done while the server was stopping stays done; what failed then may have
    /// failed of that.
    fn gets_on_with(&self, outcome: &W::Input) -> bool {
        let mut trial = self.work.clone();
        trial.step(outcome.clone(), now());
        trial.run().failure.is_none()
    }

    /// One step of the machine: the new state is on disk when this returns.
    async fn take(&mut self, input: W::Input) -> Result<(), Leave> {
        let before = self.work.clone();
        self.next = self.work.step(input, now());
        if self.work == before {
            return Ok(());
        }
        if matches!(self.next, Next::Over) {
            self.desk.hands.conclude(&self.work).await;
        }
        self.hold();
        self.record().await
    }

    /// Progress of the effect under way.
    async fn note(&mut self, report: W::Input) -> Result<(), Leave> {
        let before = self.work.clone();
        self.work.step(report, now());
        if self.work == before { Ok(()) } else { self.record().await }
    }

    async fn renew(&mut self) -> Result<(), Leave> {
        self.hold();
        self.record().await
    }

    /// Takes the lease, or moves its end: while it runs it is renewed; a pause needs no renewal.
    fn hold(&mut self) {
        let now = now();
        let lease_ms = u64::try_from(self.desk.rules.lease.as_millis()).unwrap_or(u64::MAX);
        let run = self.work.run_mut();
        let until = match run.state.standing() {
            Standing::Queued | Standing::Over => return,
            Standing::Running => now.plus_ms(lease_ms),
            // Put down: whoever comes first may take it up.
            Standing::Waiting if self.desk.stop.is_cancelled() => now,
            Standing::Waiting => run.retry_at.unwrap_or(now).max(now).plus_ms(lease_ms),
        };
        if self.holds {
            run.hold_until(until);
        } else {
            run.take(&self.desk.rules.node, until);
            self.holds = true;
        }
    }

    /// Writes the record, trying again while the disk refuses: an effect must not run before its record stands.
    async fn record(&mut self) -> Result<(), Leave> {
        let mut pause = RECORD_PAUSE_MIN;
        loop {
            let (records, work) = (self.desk.records.clone(), self.work.clone());
            let (kind, id) = (W::KIND.word(), self.work.id());
            match blocking(move || records.put(&work)).await {
                Ok(Kept::Written) => {
                    self.desk.changes.tell(&self.work);
                    return Ok(());
                }
                // Of what is over the engine may still have something to be cleaned away.
                Ok(Kept::Gone) if self.work.run().is_over() => return Ok(()),
                Ok(Kept::Gone) => return Err(Leave),
                Ok(Kept::Taken) => {
                    tracing::warn!(kind, repo = %id.repo, number = id.number, "another node has taken this over");
                    return Err(Leave);
                }
                Err(problem) => {
                    tracing::error!(%problem, kind, "the record cannot be written; trying again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RECORD_PAUSE_MAX),
                () = self.desk.stop.cancelled() => return Err(Leave),
            }
        }
    }
}
