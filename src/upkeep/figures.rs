//! Figures of maintenance, for all repositories together.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use slipway_repository::Maintained;

/// Upper bounds of the histogram's buckets, in milliseconds.
const BUCKETS_MS: [u64; 7] = [10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000];

#[derive(Default)]
pub(super) struct Figures {
    failures: AtomicU64,
    replaced: AtomicU64,
    dropped: AtomicU64,
    rolled_up: Histogram,
    full: Histogram,
}

#[derive(Default)]
struct Histogram {
    counts: [AtomicU64; BUCKETS_MS.len()],
    all: AtomicU64,
    ms: AtomicU64,
}

impl Histogram {
    fn put(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        for (bound, count) in BUCKETS_MS.iter().zip(&self.counts) {
            if ms <= *bound {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.ms.fetch_add(ms, Ordering::Relaxed);
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    fn render(&self, kind: &str, out: &mut String) {
        let name = "slipway_maintenance_seconds";
        let all = self.all.load(Ordering::Relaxed);
        // Writing to a String cannot fail.
        for (bound, count) in BUCKETS_MS.iter().zip(&self.counts) {
            let (le, count) = (*bound as f64 / 1000.0, count.load(Ordering::Relaxed));
            let _ = writeln!(out, "{name}_bucket{{kind=\"{kind}\",le=\"{le}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{kind=\"{kind}\",le=\"+Inf\"}} {all}");
        let seconds = self.ms.load(Ordering::Relaxed) as f64 / 1000.0;
        let _ =
            writeln!(out, "{name}_sum{{kind=\"{kind}\"}} {seconds}\n{name}_count{{kind=\"{kind}\"}} {all}");
    }
}

impl Figures {
    pub(super) fn done(&self, done: &Maintained) {
        self.replaced.fetch_add(done.replaced as u64, Ordering::Relaxed);
        match &done.full {
            Some(full) => {
                self.dropped.fetch_add(full.dropped, Ordering::Relaxed);
                self.full.put(done.took);
            }
            None => self.rolled_up.put(done.took),
        }
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn render(&self, waiting: usize, out: &mut String) {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("slipway_maintenance_waiting", "gauge", "Repositories in line to be looked at.", waiting as u64),
            (
                "slipway_maintenance_failures_total",
                "counter",
                "Maintenance that failed.",
                read(&self.failures),
            ),
            (
                "slipway_maintenance_packs_replaced_total",
                "counter",
                "Packs that others took the place of.",
                read(&self.replaced),
            ),
            (
                "slipway_maintenance_objects_dropped_total",
                "counter",
                "Unreachable objects that expired.",
                read(&self.dropped),
            ),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        let name = "slipway_maintenance_seconds";
        let _ = writeln!(out, "# HELP {name} Time that maintenance took.\n# TYPE {name} histogram");
        self.rolled_up.render("roll-up", out);
        self.full.render("full", out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_all_that_is_faster() {
        let figures = Figures::default();
        figures.done(&Maintained { took: Duration::from_millis(50), replaced: 3, ..Maintained::default() });
        let mut out = String::new();
        figures.render(2, &mut out);
        for line in [
            "slipway_maintenance_waiting 2",
            "slipway_maintenance_packs_replaced_total 3",
            "slipway_maintenance_seconds_bucket{kind=\"roll-up\",le=\"0.01\"} 0",
            "slipway_maintenance_seconds_bucket{kind=\"roll-up\",le=\"0.1\"} 1",
            "slipway_maintenance_seconds_bucket{kind=\"roll-up\",le=\"+Inf\"} 1",
            "slipway_maintenance_seconds_sum{kind=\"roll-up\"} 0.05",
            "slipway_maintenance_seconds_count{kind=\"full\"} 0",
        ] {
            assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
        }
    }
}
