//! The listeners, bound before anything is served, and what is served at each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slipway_core::{Problem, ProblemKind};
use slipway_git_server::{GitServer, HostKeys};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Listener};
use crate::data::DataFolder;
use crate::http;
use crate::supervisor::blocking;

/// The bound listeners.
pub(crate) struct Doors {
    http_listener: TcpListener,
    ssh_listener: TcpListener,
    admin_listener: UnixListener,
    pub(crate) http: SocketAddr,
    pub(crate) ssh: SocketAddr,
    /// How people reach the pages, without a slash at its end.
    pub(crate) base_url: String,
}

impl Doors {
    /// Binds them all.
    pub(crate) async fn bind(config: &Config, data: &DataFolder) -> Result<Self, Problem> {
        let http_listener = http::bind(config.http, "HTTP", "--http").await?;
        let ssh_listener = http::bind(config.ssh, "SSH", "--ssh").await?;
        let admin_listener = http::bind_admin(&data.admin_socket())?;
        let (http, ssh) = (local(&http_listener)?, local(&ssh_listener)?);
        let base_url = config.base_url.clone().unwrap_or_else(|| format!("http://{http}"));
        let base_url = base_url.trim_end_matches('/').to_owned();
        Ok(Self { http_listener, ssh_listener, admin_listener, http, ssh, base_url })
    }

    /// Opens them: Git, pages and API to the public, pages and API at the admin socket.
    pub(crate) async fn open(
        self,
        config: &Config,
        data: &DataFolder,
        (git, web): (&GitServer, &axum::Router),
        (tasks, stop): (&TaskTracker, &CancellationToken),
        connections: usize,
    ) -> Result<(), Problem> {
        let keys = data.keys();
        let host_keys = blocking(move || HostKeys::load_or_create(&keys).map_err(Problem::from)).await?;
        let (public, drain) = (git.router().merge(web.clone()), Duration::from_secs(config.drain_s));
        let limits = http::Limits { connections, ..http::Limits::default() };
        let end = (stop.clone(), drain);
        tasks.spawn(http::serve(self.http_listener, public, config.front(), limits, end));
        tasks.spawn(http::serve_admin(self.admin_listener, web.clone(), stop.clone()));
        let proxies = config.proxies_of(Listener::Ssh);
        tasks.spawn(git.clone().serve_ssh(self.ssh_listener, host_keys, proxies, stop.clone()));
        data.write_run(self.http, self.ssh)
    }

    /// For links in what git clients are told.
    pub(crate) fn base_url(&self) -> Arc<str> {
        Arc::from(self.base_url.as_str())
    }
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Problem> {
    listener.local_addr().map_err(|e| {
        Problem::new(ProblemKind::Broken, format!("A bound address cannot be read: {e}."), "Start again.")
    })
}
