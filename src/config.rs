//! The server's configuration. Flags > environment (`SLIPWAY_…`) > config.toml > defaults; unknown keys are refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use slipway_core::ceilings::Ceilings;
use slipway_core::limits::{Chosen, Limits};
use slipway_core::{Problem, ProblemKind, sentence};
use slipway_forge::networks::Networks;
use slipway_forge::origin::TrustedProxies;

use crate::backup::settings::Backups;
use crate::cli::Serve;
use crate::http::Front;
use crate::http::tls::Files;
use crate::{machine, upkeep};

mod isolation;
use self::isolation::Clusters;

/// config.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address for HTTP.
    pub(crate) http: SocketAddr,
    /// Address for SSH.
    pub(crate) ssh: SocketAddr,
    /// Address for HTTPS; absent is none, or port 8443 of 127.0.0.1 where there is a certificate.
    pub(crate) https: Option<SocketAddr>,
    /// How people reach the pages, for links; absent is `http://`, or `https://` where that is served, and the bound
    /// address.
    pub(crate) base_url: Option<String>,
    /// Names by which it may be asked besides that of `base_url`.
    pub(crate) hosts: Vec<String>,
    /// Docker Engine; absent is `DOCKER_HOST` or the usual socket.
    pub(crate) docker_host: Option<String>,
    /// `[limits]` in the places that they had before: `builds_max`, `deploys_max` and `drain_s`.
    pub(crate) builds_max: Option<u64>,
    pub(crate) deploys_max: Option<u64>,
    pub(crate) drain_s: Option<u64>,
    /// Addresses and networks of the proxies in front whose word on who connects is believed.
    pub(crate) trusted_proxies: Vec<String>,
    /// The listeners (`http`, `ssh`) to which those speak the PROXY protocol, version 2.
    pub(crate) proxy_protocol: Vec<Listener>,
    /// `[tls]`.
    pub(crate) tls: Option<Tls>,
    /// `[maintenance]`.
    pub(crate) maintenance: Maintenance,
    /// `[webhooks]`.
    pub(crate) webhooks: Webhooks,
    /// `[clusters]`.
    pub(crate) clusters: Clusters,
    /// `[builds]`: the most that builds may have.
    pub(crate) builds: Ceilings,
    /// `[tests]`: the most that tests may have.
    pub(crate) tests: Ceilings,
    /// `[backup]`.
    pub(crate) backup: Backups,
    /// `[limits]`, as far as they are set.
    #[serde(rename = "limits")]
    pub(crate) chosen: Chosen,
    /// All limits.
    #[serde(skip)]
    pub(crate) limits: Arc<Limits>,
    /// The file that all of this is from.
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

/// One of the two public listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Listener {
    /// Pages, API and Git over HTTP.
    Http,
    /// SSH.
    Ssh,
}

/// The certificate, and what stays of plain HTTP beside it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The certificate with those that sign it; PEM. A relative path counts from the configuration's folder.
    pub(crate) cert: PathBuf,
    /// Its private key; PEM.
    pub(crate) key: PathBuf,
    /// What is answered at the address for HTTP.
    #[serde(default)]
    pub(crate) plain: Plain,
}

/// What is answered over plain HTTP where there is HTTPS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Plain {
    /// Where the same is over HTTPS.
    #[default]
    Redirect,
    /// The same.
    Serve,
    /// Nothing: the address is not bound.
    Off,
}

/// How repositories are kept fast.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Maintenance {
    /// Without being asked to. By hand it is always done.
    pub(crate) enabled: bool,
    /// How long after the last push to a repository, in seconds.
    pub(crate) delay_s: u64,
}

/// Where webhooks may reach.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Webhooks {
    /// Addresses and networks besides the public internet's.
    pub(crate) allowed_networks: Vec<String>,
}

impl Webhooks {
    pub(crate) fn networks(&self) -> Networks {
        // Checked when it was loaded.
        Networks::parse(&self.allowed_networks).unwrap_or_default()
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { enabled: true, delay_s: 2 }
    }
}

impl Maintenance {
    pub(crate) fn settings(self) -> upkeep::Settings {
        upkeep::Settings { enabled: self.enabled, delay: Duration::from_secs(self.delay_s) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            ssh: SocketAddr::from(([127, 0, 0, 1], 2222)),
            https: None,
            base_url: None,
            hosts: Vec::new(),
            docker_host: None,
            builds_max: None,
            deploys_max: None,
            drain_s: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            tls: None,
            maintenance: Maintenance::default(),
            webhooks: Webhooks::default(),
            clusters: Clusters::default(),
            builds: Ceilings::default(),
            tests: Ceilings::default(),
            backup: Backups::default(),
            chosen: Chosen::default(),
            limits: Arc::new(Limits::of(machine::here(), &Chosen::default())),
            file: PathBuf::new(),
        }
    }
}

impl Config {
    /// Reads the file (DATA/config.toml unless named) and lets the flags win.
    pub(crate) fn load(data: &Path, serve: &Serve) -> Result<Self, Problem> {
        let mut config = match &serve.config {
            Some(file) => Self::read(file)?,
            None => {
                let file = data.join("config.toml");
                if file.exists() { Self::read(&file)? } else { Self::default() }
            }
        };
        config.file = serve.config.clone().unwrap_or_else(|| data.join("config.toml"));
        config.http = serve.http.unwrap_or(config.http);
        config.ssh = serve.ssh.unwrap_or(config.ssh);
        config.https = serve.https.or(config.https);
        config.check()
    }

    fn read(file: &PathBuf) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(file).map_err(|e| {
            let what = format!("The configuration {} cannot be read: {e}.", file.display());
            Problem::new(ProblemKind::Invalid, what, "Check the path and its permissions.")
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(1, |s| text[..s.start].matches('\n').count() + 1);
            let what = sentence(&format!("{}:{line}: {}", file.display(), e.message()));
            Problem::new(ProblemKind::Invalid, what, "Mend the configuration and start again.")
        })?;
        if let (Some(tls), Some(folder)) = (&mut config.tls, file.parent()) {
            tls.cert = folder.join(&tls.cert);
            tls.key = folder.join(&tls.key);
        }
        Ok(config)
    }

    /// Where HTTPS is served, and with which files, if it is.
    pub(crate) fn secure(&self) -> Option<(SocketAddr, Files)> {
        let tls = self.tls.as_ref()?;
        let address = self.https.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8443)));
        Some((address, Files { cert: tls.cert.clone(), key: tls.key.clone() }))
    }

    /// What is answered over plain HTTP.
    pub(crate) fn plain(&self) -> Plain {
        self.tls.as_ref().map_or(Plain::Serve, |tls| tls.plain)
    }

    /// The proxies that speak the PROXY protocol to that listener.
    pub(crate) fn proxies_of(&self, listener: Listener) -> TrustedProxies {
        if self.proxy_protocol.contains(&listener) { self.proxies() } else { TrustedProxies::default() }
    }

    /// The proxies in front of HTTP.
    pub(crate) fn front(&self) -> Front {
        Front { connections: self.proxies_of(Listener::Http), requests: self.proxies(), ..Front::default() }
    }

    fn proxies(&self) -> TrustedProxies {
        // Checked when it was loaded.
        TrustedProxies::parse(&self.trusted_proxies).unwrap_or_default()
    }

    /// Takes what older configurations say outside of `[limits]`, and makes limits of all.
    ///
    /// # Errors
    /// A sentence on what is wrong.
    fn settle_limits(&mut self) -> Result<(), String> {
        let moved = [
            ("builds_max", self.builds_max, "builds_max"),
            ("deploys_max", self.deploys_max, "deploys_max"),
            ("drain_s", self.drain_s.map(|seconds| seconds.saturating_mul(1000)), "drain_timeout"),
        ];
        for (old, value, new) in moved {
            let Some(value) = value else { continue };
            if self.chosen.has(new) {
                return Err(format!("{old} and {new} of [limits] cannot both be given."));
            }
            self.chosen.set(new, value).map_err(|wrong| format!("{wrong}."))?;
            tracing::warn!("config.toml: {old} is {new} of [limits] now; the old place still counts");
        }
        self.limits = Arc::new(Limits::of(machine::here(), &self.chosen));
        Ok(())
    }

    fn check(mut self) -> Result<Self, Problem> {
        let invalid =
            |what: &str| Problem::new(ProblemKind::Invalid, what, "Mend the configuration and start again.");
        self.settle_limits().map_err(|wrong| invalid(&wrong))?;
        if self.maintenance.delay_s > 3600 {
            return Err(invalid("maintenance.delay_s must lie from 0 to 3600."));
        }
        if let Err(wrong) = self.backup.check() {
            return Err(invalid(&format!("{wrong}.")));
        }
        if let Err(wrong) = TrustedProxies::parse(&self.trusted_proxies) {
            return Err(invalid(&format!("trusted_proxies: {wrong:?} is no address and no network.")));
        }
        if let Err(wrong) = Networks::parse(&self.webhooks.allowed_networks) {
            return Err(invalid(&format!(
                "webhooks.allowed_networks: {wrong:?} is no address and no network."
            )));
        }
        if !self.proxy_protocol.is_empty() && self.trusted_proxies.is_empty() {
            return Err(invalid(
                "proxy_protocol needs trusted_proxies: from whom else would it be believed?",
            ));
        }
        let is_url = |url: &String| {
            let uri =
                url.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
            uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
        };
        if self.base_url.as_ref().is_some_and(|url| !is_url(url)) {
            return Err(invalid("base_url must be an address that starts with http:// or https://."));
        }
        if self.https.is_some() && self.tls.is_none() {
            return Err(invalid("https needs a certificate: [tls] with cert and key."));
        }
        let is_name = |name: &String| name.parse::<http::uri::Authority>().is_ok_and(|a| a.host() == name);
        if let Some(wrong) = self.hosts.iter().find(|name| !is_name(name)) {
            return Err(invalid(&format!("hosts: {wrong:?} is no name of a host.")));
        }
        if !self.hosts.is_empty() && self.base_url.is_none() {
            return Err(invalid("hosts needs base_url: without it every name is answered."));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().expect("temp");
        std::fs::write(folder.path().join("config.toml"), "http = \"127.0.0.1:1\"\nssh = \"127.0.0.1:2\"\n")
            .expect("write");
        let serve = Serve { ssh: Some(SocketAddr::from(([127, 0, 0, 1], 3))), ..Serve::default() };
        let config = Config::load(folder.path(), &serve).expect("valid");
        assert_eq!((config.http.port(), config.ssh.port(), config.limits.builds_max), (1, 3, 2));
    }

    #[test]
    fn maintenance_is_on_and_can_be_tuned() {
        let folder = tempfile::tempdir().expect("temp");
        let load = |text: &str| {
            std::fs::write(folder.path().join("config.toml"), text).expect("write");
            Config::load(folder.path(), &Serve::default())
        };
        let default = load("").expect("valid").maintenance;
        assert_eq!((default.enabled, default.delay_s), (true, 2));
        let tuned = load("[maintenance]\nenabled = false\ndelay_s = 9\n").expect("valid").maintenance;
        assert_eq!((tuned.enabled, tuned.delay_s), (false, 9));
        assert!(load("[maintenance]\ndelay = 9\n").is_err());
        assert!(load("[maintenance]\ndelay_s = 3601\n").is_err());
    }

    #[test]
    fn a_network_for_webhooks_that_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("temp");
        let load = |text: &str| {
            std::fs::write(folder.path().join("config.toml"), text).expect("write");
            Config::load(folder.path(), &Serve::default())
        };
        let good = load("[webhooks]\nallowed_networks = [\"10.0.0.0/8\", \"::1\"]\n").expect("valid");
        assert!(good.webhooks.networks().reach("10.1.1.1".parse().expect("address")));
        let bad = load("[webhooks]\nallowed_networks = [\"intranet\"]\n").expect_err("refused");
        assert!(bad.what.contains("\"intranet\""), "{bad}");
    }

    #[test]
    fn what_is_no_ceiling_no_program_and_no_file_is_refused_with_its_line() {
        let folder = tempfile::tempdir().expect("temp");
        let load = |text: &str| {
            std::fs::write(folder.path().join("config.toml"), text).expect("write");
            Config::load(folder.path(), &Serve::default())
        };
        let good = "[builds]\nnetwork = \"none\"\n[tests]\nmemory = \"2GiB\"\ncpus = 2\npids = 100\n[clusters]\n\
                    exec = [\"/usr/bin/aws eks get-token\"]\nexec_env = [\"HOME\"]\nfiles = [\"/etc/ca.pem\"]\n";
        let good = load(good).expect("valid");
        assert_eq!(
            (good.builds.said().as_str(), good.tests.said().as_str()),
            ("network=none", "memory=2GiB cpus=2 pids=100")
        );
        assert_eq!(good.clusters.rules().exec, ["/usr/bin/aws eks get-token"]);
        assert_eq!(load("").expect("valid").clusters.rules(), slipway_deployer::KubeconfigRules::default());
        for (line, want) in [
            ("[tests]\n\nmemory = \"lots\"", ":3: \"lots\" is not a size"),
            ("[tests]\nmemory = \"100000GiB\"", ":2: \"100000GiB\" is not a size"),
            ("[tests]\ncpus = 4096", ":2: 4096 is not a number"),
            ("[builds]\nnetwork = \"host\"", ":2: unknown variant `host`"),
            ("[builds]\nmomery = \"1GiB\"", ":2: unknown field `momery`"),
            ("[clusters]\nexec = [\"aws\"]", ":2: \"aws\" is not an absolute path"),
            ("[clusters]\nfiles = [\"/a/../b\"]", ":2: \"/a/../b\" is not an absolute path"),
            ("[clusters]\nexec_env = [\"A=B\"]", ":2: \"A=B\" is not the name"),
        ] {
            let problem = load(line).expect_err("refused");
            assert!(problem.what.contains(&format!("config.toml{want}")), "{line}: {problem}");
        }
    }

    #[test]
    fn what_tls_and_names_need_is_said() {
        let folder = tempfile::tempdir().expect("temp");
        let load = |text: &str| {
            std::fs::write(folder.path().join("config.toml"), text).expect("write");
            Config::load(folder.path(), &Serve::default())
        };
        let tls = "[tls]\ncert = \"c.pem\"\nkey = \"/k.pem\"\n";
        let good = load(tls).expect("valid");
        let (address, files) = good.secure().expect("https");
        assert_eq!((address.port(), good.plain()), (8443, Plain::Redirect));
        assert_eq!((files.cert, files.key), (folder.path().join("c.pem"), PathBuf::from("/k.pem")));
        assert_eq!(load("").expect("valid").plain(), Plain::Serve);
        for (text, said) in [
            ("https = \"127.0.0.1:1\"\n", "https needs a certificate"),
            ("[tls]\ncert = \"c\"\n", "config.toml:1: missing field `key`"),
            (&format!("{tls}plain = \"no\"\n"), "config.toml:4: unknown variant `no`"),
            ("hosts = [\"a\"]\n", "hosts needs base_url"),
            ("base_url = \"http://a\"\nhosts = [\"a:1\"]\n", "hosts: \"a:1\""),
            ("base_url = \"a.example\"\n", "base_url must be"),
            ("base_url = \"https://\"\n", "base_url must be"),
        ] {
            let problem = load(text).expect_err("refused");
            assert!(problem.what.contains(said), "{text}: {problem}");
        }
    }

    #[test]
    fn a_typo_is_refused_with_its_line() {
        let folder = tempfile::tempdir().expect("temp");
        std::fs::write(folder.path().join("config.toml"), "builds_max = 2\nbulids = 3\n").expect("write");
        let problem = Config::load(folder.path(), &Serve::default()).expect_err("refused");
        assert!(problem.what.contains("config.toml:2: unknown field `bulids`"), "{problem}");
    }
}
