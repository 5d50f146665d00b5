//! The doors of the server: its public listeners for HTTP, HTTPS and SSH, and the admin socket.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use slipway_core::{Problem, ProblemKind};
use slipway_git_server::{GitServer, HostKeys};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Listener, Plain};
use crate::data::DataFolder;
use crate::http;
use crate::http::host::{Host, Names};
use crate::http::tls::Tls;
use crate::supervisor::blocking;

/// The bound listeners.
pub(crate) struct Doors {
    http_listener: Option<TcpListener>,
    https_listener: Option<(TcpListener, Tls)>,
    ssh_listener: TcpListener,
    admin_listener: UnixListener,
    /// Each by its name (`http`, `https`, `ssh`) with its address.
    pub(crate) addresses: Vec<(&'static str, SocketAddr)>,
    pub(crate) ssh: SocketAddr,
    /// How people reach the pages, without a slash at its end.
    pub(crate) base_url: String,
}

impl Doors {
    /// Binds them all.
    pub(crate) async fn bind(config: &Config, data: &DataFolder) -> Result<Self, Problem> {
        let (mut addresses, mut own) = (Vec::new(), String::new());
        let mut http_listener = None;
        if config.plain() != Plain::Off {
            let listener = http::bind(config.http, "HTTP", "--http").await?;
            addresses.push(("http", local(&listener)?));
            own = format!("http://{}", local(&listener)?);
            http_listener = Some(listener);
        }
        let mut https_listener = None;
        if let Some((address, files)) = config.secure() {
            // Before anything is bound there: who cannot prove the server is not to speak for it.
            let tls = blocking(move || Tls::load(files)).await?;
            let listener = http::bind(address, "HTTPS", "--https").await?;
            addresses.push(("https", local(&listener)?));
            own = format!("https://{}", local(&listener)?);
            https_listener = Some((listener, tls));
        }
        let ssh_listener = http::bind(config.ssh, "SSH", "--ssh").await?;
        let admin_listener = http::bind_admin(&data.admin_socket())?;
        let ssh = local(&ssh_listener)?;
        addresses.push(("ssh", ssh));
        let base_url = config.base_url.clone().unwrap_or(own).trim_end_matches('/').to_owned();
        Ok(Self { http_listener, https_listener, ssh_listener, admin_listener, addresses, ssh, base_url })
    }

    /// Opens them: Git, pages and API to the public, pages and API at the admin socket.
    pub(crate) async fn open(
        self,
        config: &Config,
        data: &DataFolder,
        (git, web): (&GitServer, &Router),
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Result<(), Problem> {
        let (keys, repos) = (data.keys(), data.repos());
        let host_keys = blocking(move || {
            let lost = !has(&keys, "ssh_host_") && has(&repos, "");
            let loaded = HostKeys::load_or_create(&keys)?;
            if lost {
                tracing::warn!(
                    "the SSH host keys were gone, and new ones are made: clients are warned of another server; if there is a \
                     copy of the old ones, put them into keys and start again"
                );
            }
            Ok(loaded)
        })
        .await?;
        // Each listener has its share of the connections that the process may hold.
        let listeners =
            usize::from(self.http_listener.is_some()) + usize::from(self.https_listener.is_some());
        let mut limits = http::Limits::from(&*config.limits);
        limits.connections /= listeners.max(1);
        let end = || (stop.clone(), config.limits.drain_timeout);
        let names = Names::new(config.base_url.as_deref(), &config.hosts);
        let public = git.router().merge(web.clone());
        let host = Host { names, leads_to: None };
        if let Some(listener) = self.http_listener {
            let leads_to = (config.plain() == Plain::Redirect).then(|| Arc::from(self.base_url.as_str()));
            let front = http::Front { host: Host { leads_to, ..host.clone() }, ..config.front() };
            tasks.spawn(http::serve(listener, public.clone(), front, limits, end()));
        }
        if let Some((listener, tls)) = self.https_listener {
            tasks.spawn(tls.clone().keep_current(stop.clone()));
            let front = http::Front { tls: Some(tls), host, ..config.front() };
            tasks.spawn(http::serve(listener, public, front, limits, end()));
        }
        tasks.spawn(http::serve_admin(self.admin_listener, web.clone(), limits, stop.clone()));
        let proxies = config.proxies_of(Listener::Ssh);
        tasks.spawn(git.clone().serve_ssh(self.ssh_listener, host_keys, proxies, stop.clone()));
        data.write_run(&self.addresses)
    }

    /// For links in what git clients are told.
    pub(crate) fn base_url(&self) -> Arc<str> {
        Arc::from(self.base_url.as_str())
    }
}

/// True if the folder has something whose name begins so.
fn has(folder: &Path, begin: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(begin))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Problem> {
    listener.local_addr().map_err(|e| {
        Problem::new(ProblemKind::Broken, format!("A bound address cannot be read: {e}."), "Start again.")
    })
}
