//! The workloads: one module each for rows of the table that belong together.

pub(crate) mod bulk;
pub(crate) mod clone;
pub(crate) mod fetch;
pub(crate) mod growth;
pub(crate) mod push;
pub(crate) mod pushed;
pub(crate) mod refs;

use crate::arena::Arena;
use crate::options::Options;
use crate::pairs::Pairs;
use crate::report::{Report, Row, Target};
use crate::site::Outcome;
use crate::subject::Subject;

/// What every workload works with.
pub(crate) struct Bench<'a> {
    /// The servers.
    pub(crate) arena: &'a Arena,
    /// What to measure.
    pub(crate) options: &'a Options,
    /// Where results go.
    pub(crate) report: &'a mut Report,
}

impl Bench<'_> {
    /// Adds a row made of one number of each measurement.
    pub(crate) fn row<T>(
        &mut self,
        place: (&str, &Subject),
        metric: &'static str,
        pairs: &Pairs<T>,
        value: impl Fn(&T) -> f64,
        target: Target,
    ) {
        let (peer, ours) = pairs.map(value);
        let (workload, subject) = place;
        self.report.add(Row {
            workload: workload.into(),
            subject: subject.name.clone(),
            metric,
            peer,
            ours,
            target,
        });
    }

    /// Adds a row of a single value of ours that has no counterpart.
    pub(crate) fn ours(&mut self, place: (&str, &Subject), metric: &'static str, value: f64) {
        let (workload, subject) = (place.0.to_owned(), place.1.name.clone());
        self.report.add(Row {
            workload,
            subject,
            metric,
            peer: Vec::new(),
            ours: vec![value],
            target: Target::None,
        });
    }

    /// Runs a workload if it is wanted; a failure ends it alone.
    pub(crate) fn attempt(
        &mut self,
        workload: &str,
        subject: &Subject,
        run: impl FnOnce(&mut Self, &Subject) -> Outcome<()>,
    ) {
        if !self.options.wants(workload) {
            return;
        }
        eprintln!("— {workload} on {}", subject.name);
        let begun = std::time::Instant::now();
        let placed = self.arena.place(&subject.name, &subject.path);
        if let Err(error) = placed.and_then(|()| run(self, subject)) {
            self.report.failed(workload, &subject.name, &error);
        }
        eprintln!("  took {:.0} s", begun.elapsed().as_secs_f64());
    }
}
