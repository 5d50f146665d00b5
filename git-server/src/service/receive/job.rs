//! A push on its blocking thread: what comes is received, judged, and handed to the one acceptance path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use slipway_core::accept::{Proposal, Verdict, default_branch_cure};
use slipway_core::event::{Cause, PushCertificate};
use slipway_core::{Oid, Problem, RefUpdate, RepoId, UnixMillis};
use slipway_forge::shares::Place;
use slipway_repository::{Objects, Progress, ReceiveLimits, Received, Side, View};

use crate::limits::BLAME_UPDATES_MAX;
use crate::service::certificate::{NonceRule, judge};
use crate::service::progress::Teller;
use crate::service::rules::{self, Alias};
use crate::service::{Engine, Opened, broken};
use crate::transport::{Input, InputReader, Output};
use crate::wire::pktline::SideBand;
use crate::wire::push::Push;
use crate::wire::text::one_line;

/// What became of a push.
pub(super) enum Outcome {
    /// The pack itself was refused, and with it every ref.
    Unpacked(Problem),
    /// One answer a command.
    Judged { answers: Vec<Result<(), Problem>>, verdict: Verdict },
}

/// A push on its blocking thread.
pub(super) struct Job {
    pub(super) engine: Arc<Engine>,
    pub(super) opened: Opened,
    pub(super) view: View,
    pub(super) nonce: NonceRule,
    pub(super) push: Push,
    pub(super) reader: InputReader,
    pub(super) output: Output,
    pub(super) stop: Arc<AtomicBool>,
    /// The client reads progress by now: a stateless one does once all of its request is here.
    pub(super) hears: Arc<AtomicBool>,
    pub(super) _place: Arc<Place>,
}

impl Job {
    /// Receives and judges it; gives the push and the input back.
    pub(super) fn run(mut self) -> ((Push, Outcome), Input) {
        let outcome = self.receive().and_then(|mut received| self.judge(&mut received));
        let (input, refused) = self.reader.into_input();
        // What the transport says of its own failure is clearer than "unexpected end".
        let outcome = outcome.unwrap_or_else(|problem| Outcome::Unpacked(refused.unwrap_or(problem)));
        ((self.push, outcome), input)
    }

    fn receive(&mut self) -> Result<Received, Problem> {
        let repository = &self.opened.repository;
        if !self.push.has_pack() {
            return repository.received_nothing_as(Side::Either).map_err(Problem::from);
        }
        let limits = &self.engine.limits;
        let limits = ReceiveLimits {
            pack_bytes_max: limits
                .pack_size_max
                .min(self.view.settings.receive.pack_bytes_max.unwrap_or(u64::MAX)),
            objects_max: u32::try_from(limits.pack_objects_max).unwrap_or(u32::MAX),
            object_bytes_max: limits.object_size_max,
            depth_max: u32::try_from(limits.delta_depth_max).unwrap_or(u32::MAX),
            threads_max: limits.push_threads_max,
            ..ReceiveLimits::default()
        };
        let band = if self.push.quiet { SideBand::None } else { self.push.band };
        let teller = Teller::new(&self.output, band, &self.hears);
        let tell = |p: Progress| teller.tell(&p);
        repository
            .receive_as(Side::Either, &mut self.reader, &limits, &tell, &self.stop)
            .map_err(Problem::from)
    }

    /// Checks what came, and asks the one acceptance path.
    fn judge(&self, received: &mut Received) -> Result<Outcome, Problem> {
        let mut answers: Vec<Result<(), Problem>> =
            self.push.commands.iter().map(|c| c.update.as_ref().map(drop).map_err(Clone::clone)).collect();
        let mut remarks = received.remarks().to_vec();
        let mut certificate = None;
        match self.check_certificate() {
            Ok(judged) => {
                remarks.extend(judged.as_ref().and_then(rules::certificate_remark));
                certificate = judged;
            }
            Err(problem) => answers.iter_mut().for_each(|a| *a = Err(problem.clone())),
        }
        self.check_rules(received, &mut answers, &mut remarks);
        let absent = self.check_absent(&mut answers, &mut remarks);
        let same = self.check_aliases(&mut answers);
        remarks.extend(rules::check_ends(&self.view, received, &self.push, &mut answers, &self.stop)?);
        self.check_connected(received, &mut answers)?;
        self.check_branches(received, &mut answers)?;
        if !self.push.commands.iter().zip(&answers).any(|(c, answer)| answer.is_ok() && !c.deletes) {
            // Nothing will lead to what came: it goes, and is not judged further.
            *received = self.opened.repository.received_nothing_as(Side::Either).map_err(Problem::from)?;
        }
        if self.push.atomic && answers.iter().any(Result::is_err) {
            answers.iter_mut().filter(|a| a.is_ok()).for_each(|a| *a = Err(not_alone()));
        }
        let proposed: Vec<usize> = (0..answers.len())
            .filter(|at| answers[*at].is_ok() && !same.contains_key(at) && !absent.contains(at))
            .collect();
        let updates: Vec<RefUpdate> =
            proposed.iter().filter_map(|at| self.push.commands[*at].update.as_ref().ok().cloned()).collect();
        if updates.is_empty() {
            remarks.extend(self.cure_of_deletion(&answers));
            return Ok(Outcome::Judged { answers, verdict: Verdict::unmoved(Vec::new(), remarks) });
        }
        let proposal = Proposal {
            repo: self.opened.id,
            repo_name: &self.opened.name,
            actor: self.opened.caller.actor.label(),
            cause: Cause::Push,
            updates,
            atomic: self.push.atomic,
            options: self.push.options.clone(),
            certificate,
            rights: &*self.opened.rights,
        };
        let mut verdict = self.engine.acceptance.accept(proposal, &*self.opened.repository, received)?;
        let mut judged = verdict.answers.iter().cloned();
        for at in proposed {
            answers[at] = judged.next().unwrap_or_else(|| Err(broken()));
        }
        for (at, other) in same {
            answers[at] = answers[other].clone();
        }
        remarks.extend(self.cure_of_deletion(&answers));
        verdict.notices.splice(0..0, remarks);
        Ok(Outcome::Judged { answers, verdict })
    }

    /// Judges the certificate, if there is one.
    fn check_certificate(&self) -> Result<Option<PushCertificate>, Problem> {
        let Some(certificate) = &self.push.certificate else { return Ok(None) };
        let now = UnixMillis::from(SystemTime::now());
        let Engine { signers, certificates, .. } = &*self.engine;
        let judged =
            judge(certificate, &self.push.options, &self.nonce, &self.opened, signers, certificates, now);
        let signer = one_line(&certificate.pusher);
        tracing::info!(signer, pushee = certificate.pushee, ?judged, "push certificate");
        judged.map(Some)
    }

    /// Asks the repository's own settings.
    fn check_rules(
        &self,
        received: &Received,
        answers: &mut [Result<(), Problem>],
        remarks: &mut Vec<String>,
    ) {
        for (command, answer) in self.push.commands.iter().zip(answers.iter_mut()).filter(|(_, a)| a.is_ok())
        {
            if let Ok(update) = &command.update {
                *answer = rules::check(&self.view, received, update);
                if answer.is_ok() {
                    remarks.extend(rules::warning(&self.view, update));
                }
            }
        }
        let updates = self.push.commands.iter().zip(&*answers).filter(|(_, answer)| answer.is_ok());
        let updates = updates.filter_map(|(command, _)| command.update.as_ref().ok());
        let made: Vec<_> = updates.filter(|u| u.is_create() && !u.is_delete()).map(|u| &u.name).collect();
        remarks.extend(rules::odd_names(&self.view, &made));
    }

    /// What can be done so that the default branch may go, if this push was refused that. A folder that is in no store has
    /// no such verb.
    fn cure_of_deletion(&self, answers: &[Result<(), Problem>]) -> Option<String> {
        let updates =
            || self.push.commands.iter().zip(answers).filter_map(|(c, a)| Some((c.update.as_ref().ok()?, a)));
        let head = self.view.whole.head();
        let refused = updates().any(|(u, answer)| u.is_delete() && u.name == *head && answer.is_err());
        let kept =
            updates().find(|(u, answer)| !u.is_delete() && answer.is_ok() && u.name.as_branch().is_some());
        let told = refused && self.opened.id != RepoId(0);
        told.then(|| default_branch_cure(&self.opened.name, kept.map(|(u, _)| &u.name)))
    }

    /// Finds the deletions of refs that are not there (both ids are zero): nothing is done, and that is no error. If one
    /// is there after all, whoever pushed did not know of it.
    fn check_absent(
        &self,
        answers: &mut [Result<(), Problem>],
        remarks: &mut Vec<String>,
    ) -> BTreeSet<usize> {
        let mut absent = BTreeSet::new();
        for ((at, command), answer) in self.push.commands.iter().enumerate().zip(answers) {
            let Ok(update) = &command.update else { continue };
            if answer.is_err() || !(update.is_create() && update.is_delete()) {
                continue;
            }
            if let Err(e) = self.view.whole.target_of(update.name.as_str()) {
                // It is there, and what it says cannot be read.
                *answer = Err(e.into());
            } else if self.view.whole.find_ref(update.name.as_str()).is_some() {
                *answer = Err(Problem::new(
                    slipway_core::ProblemKind::Conflict,
                    format!("{} has been made meanwhile.", update.name),
                    "Fetch, and delete it again if it shall go.",
                ));
            } else {
                remarks.push(format!("{} is not there; there is nothing to delete.", update.name));
                absent.insert(at);
            }
        }
        absent
    }

    /// Branches name commits and nothing else. Asked once it is known that the objects may be used: what is here and not
    /// to be seen is not told of.
    fn check_branches(
        &self,
        received: &Received,
        answers: &mut [Result<(), Problem>],
    ) -> Result<(), Problem> {
        for (command, answer) in self.push.commands.iter().zip(answers.iter_mut()).filter(|(_, a)| a.is_ok())
        {
            if let Ok(update) = &command.update
                && rules::is_branch(&self.view, &update.name)
                && !update.is_delete()
            {
                let found = received.header(&update.new).map_err(Problem::from)?;
                *answer = rules::check_tip(found.map(|(kind, _)| kind));
            }
        }
        Ok(())
    }

    /// Refuses updates that contradict one another through a symbolic ref. Gives those that merely repeat another one,
    /// each with that one's number: they share its answer.
    fn check_aliases(&self, answers: &mut [Result<(), Problem>]) -> BTreeMap<usize, usize> {
        let updates: Vec<(usize, &RefUpdate)> = self
            .push
            .commands
            .iter()
            .enumerate()
            .filter(|(at, _)| answers[*at].is_ok())
            .filter_map(|(at, command)| Some((at, command.update.as_ref().ok()?)))
            .collect();
        let mut same = BTreeMap::new();
        for (at, alias) in rules::aliases(&self.view, &updates) {
            match alias {
                Alias::Same(other) => drop(same.insert(at, other)),
                Alias::Contradicts(other) => {
                    for at in [at, other] {
                        answers[at] = Err(Problem::new(
                            slipway_core::ProblemKind::Conflict,
                            "inconsistent aliased update",
                            "Push to the symbolic ref or to the ref that it names, not to both.",
                        ));
                    }
                }
            }
        }
        same.retain(|at, _| answers[*at].is_ok());
        same
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
            .filter(|(at, _)| answers[*at].is_ok())
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
        "atomic push failure: another of its refs was refused",
        "See that ref's answer.",
    )
}
