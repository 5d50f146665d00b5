//! The server's log on standard error.

use tracing_subscriber::EnvFilter;

use crate::terminal;

/// Starts the log. `SLIPWAY_LOG` holds a filter such as `slipway=debug`; the default is `info`.
///
/// kube's own client logs whole response bodies when it cannot decode one; bodies can hold Secrets, so it is silenced
/// whatever the filter says.
pub(crate) fn init() {
    let wanted = std::env::var("SLIPWAY_LOG").unwrap_or_else(|_| "info".into());
    let filter =
        EnvFilter::try_new(format!("{wanted},kube_client=off,sled=warn,russh=warn,hyper=warn,bollard=warn"))
            .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second start (the demo after a test) keeps the first: nothing is lost by ignoring it.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(ansi)
            .with_writer(|| terminal::Log)
            // It would go the way of what it tells of.
            .log_internal_errors(false)
            .try_init(),
    );
}
