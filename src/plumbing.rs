//! `slipway upload-pack` and `slipway receive-pack`: the engine on standard input and output, with the flags, the
//! environment and the config files of git's commands of the same names.

mod overrides;

use std::path::PathBuf;
use std::time::Duration;

use slipway_core::Problem;
use slipway_git_server::{Pipe, PipeService};

use crate::cli::Plumbing;

/// Serves one client. True if all went well.
pub(crate) async fn serve(service: PipeService, flags: Plumbing) -> Result<bool, Problem> {
    let pipe = Pipe {
        service,
        strict: flags.strict,
        stateless: flags.stateless_rpc,
        advertise: flags.http_backend_info_refs,
        timeout: flags.timeout.filter(|s| *s > 0).map(Duration::from_secs),
        protocol: std::env::var("GIT_PROTOCOL").unwrap_or_default(),
        config: config_files(),
        overrides: overrides::read(|name| std::env::var(name).ok())?,
    };
    match pipe.serve(&flags.folder, std::io::stdin(), std::io::stdout()).await {
        Ok(done) => Ok(done),
        Err(problem) => {
            // As git says it; what a client sent must not steer a terminal.
            let line: String =
                problem.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            crate::terminal::say(format_args!("fatal: {line}"));
            Ok(false)
        }
    }
}

/// git's config files before the repository's own (git-config(1), FILES).
fn config_files() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut files = Vec::new();
    if std::env::var_os("GIT_CONFIG_NOSYSTEM").is_none() {
        files.push(set("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into()));
    }
    if let Some(global) = set("GIT_CONFIG_GLOBAL") {
        files.push(global);
        return files;
    }
    let home = set("HOME");
    let xdg = set("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    files.extend(xdg.map(|folder| folder.join("git/config")));
    files.extend(home.map(|home| home.join(".gitconfig")));
    files
}
