//! Figures in Prometheus' text format.

use std::fmt::Write;

use crate::supervisor::Supervisor;
use crate::upkeep::Upkeep;

/// All figures of this process.
pub(super) fn render(supervisor: &Supervisor, upkeep: &Upkeep) -> String {
    let (builds, deploys) = (supervisor.builds.unfinished(), supervisor.deploys.unfinished());
    let mut out = String::new();
    gauge(
        &mut out,
        "slipway_builds_unfinished",
        "Builds that are queued, running or waiting.",
        builds as u64,
    );
    gauge(
        &mut out,
        "slipway_deploys_unfinished",
        "Deploys that are queued, running or waiting.",
        deploys as u64,
    );
    gauge(
        &mut out,
        "slipway_deliveries_unfinished",
        "Deliveries of webhooks that are queued, running or waiting.",
        supervisor.deliveries.unfinished() as u64,
    );
    upkeep.figures(&mut out);
    if let Some(bytes) = resident_bytes() {
        gauge(&mut out, "process_resident_memory_bytes", "Resident memory.", bytes);
    }
    let _ = writeln!(out, "# HELP slipway_info The running version.\n# TYPE slipway_info gauge");
    let _ = writeln!(out, "slipway_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    out
}

fn gauge(out: &mut String, name: &str, help: &str, value: u64) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}

/// Resident memory of this process (proc(5), statm), in bytes.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
