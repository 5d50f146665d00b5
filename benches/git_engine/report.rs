//! The results: a Markdown table on standard output, every single value in a CSV file.

use std::fmt::Write as _;
use std::path::Path;

use crate::statistics::{median, ratio};

/// What issue and documentation ask of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Nothing: for information.
    None,
    /// Ours by theirs at most this.
    RatioAtMost(f64),
    /// Ours by theirs at least this.
    RatioAtLeast(f64),
    /// Our own value at most this.
    OursAtMost(f64),
}

/// One line of the table.
pub(crate) struct Row {
    /// The workload's name, as `--only` takes it, and what of it.
    pub(crate) workload: String,
    /// Which repository.
    pub(crate) subject: String,
    /// What was measured, with its unit.
    pub(crate) metric: &'static str,
    /// git's values, in the order of pairs.
    pub(crate) peer: Vec<f64>,
    /// Ours.
    pub(crate) ours: Vec<f64>,
    /// What is asked.
    pub(crate) target: Target,
}

impl Row {
    fn wanted(&self) -> String {
        match self.target {
            Target::None => String::new(),
            Target::RatioAtMost(x) => format!("≤ {}×", number(x)),
            Target::RatioAtLeast(x) => format!("≥ {}×", number(x)),
            Target::OursAtMost(x) => format!("ours ≤ {}", number(x)),
        }
    }

    fn met(&self) -> &'static str {
        let said = |yes| if yes { "yes" } else { "NO" };
        let pairs = ratio(&self.ours, &self.peer).map(|r| r.median);
        match (self.target, pairs) {
            (Target::OursAtMost(x), _) => said(median(&self.ours) <= x),
            (Target::RatioAtMost(x), Some(r)) => said(r <= x),
            (Target::RatioAtLeast(x), Some(r)) => said(r >= x),
            (Target::None, _) => "",
            (_, None) => "no peer",
        }
    }

    fn line(&self) -> String {
        let ratio = ratio(&self.ours, &self.peer).map_or_else(String::new, |r| {
            format!("{}× [{}–{}, {}]", number(r.median), number(r.interval.0), number(r.interval.1), r.kind)
        });
        let peer = if self.peer.is_empty() { "–".to_owned() } else { number(median(&self.peer)) };
        format!(
            "| {} | {} | {} | {peer} | {} | {ratio} | {} | {} |",
            self.workload,
            self.subject,
            self.metric,
            number(median(&self.ours)),
            self.wanted(),
            self.met()
        )
    }
}

/// Three significant digits.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else if size >= 0.001 {
        let digits = 2 - size.log10().floor() as i32;
        format!("{value:.*}", usize::try_from(digits).unwrap_or(3))
    } else {
        format!("{value:.2e}")
    }
}

/// All results so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    /// Adds a line and shows it at once on standard error.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{}", row.line());
        self.rows.push(row);
    }

    /// Notes that a workload could not be measured.
    pub(crate) fn failed(&mut self, workload: &str, subject: &str, error: &dyn std::fmt::Display) {
        let line = format!("{workload} on {subject} FAILED: {error}");
        eprintln!("{line}");
        self.failures.push(line);
    }

    /// True if a workload could not be measured.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "| workload | repository | metric | git (median) | Slipway (median) | Slipway by git, pairs | target | met |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            out.push_str(&row.line());
            out.push('\n');
        }
        for failure in &self.failures {
            let _ = writeln!(out, "\n{failure}");
        }
        out
    }

    /// Writes every value: workload, repository, metric, side, pair, value.
    pub(crate) fn write_csv(&self, path: &Path) -> std::io::Result<()> {
        let mut out = String::from("workload,repository,metric,side,pair,value\n");
        for row in &self.rows {
            for (side, values) in [("git", &row.peer), ("slipway", &row.ours)] {
                for (pair, value) in values.iter().enumerate() {
                    let metric = row.metric.replace(',', ";");
                    let _ = writeln!(out, "{},{},{metric},{side},{pair},{value}", row.workload, row.subject);
                }
            }
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, out)
    }
}
