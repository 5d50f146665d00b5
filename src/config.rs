//! The server's configuration. Flags > environment (`SLIPWAY_…`) > config.toml > defaults; unknown keys are refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use slipway_core::ceilings::Ceilings;
use slipway_core::limits::{Chosen, Limits};
use slipway_core::{Problem, ProblemKind};
use slipway_forge::networks::Networks;
use slipway_forge::origin::TrustedProxies;
use slipway_hooks::Reach;

use crate::backup::settings::Backups;
use crate::cli::Serve;
use crate::http::Front;
use crate::http::tls::Files;
use crate::{machine, upkeep};

mod check;
mod engines;
mod file;
mod isolation;
mod supply_chain;
use self::engines::EngineTable;
use self::file::{File, address, some_address};
use self::isolation::Clusters;
pub(crate) use self::supply_chain::SupplyChain;

/// config.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address for HTTP.
    #[serde(deserialize_with = "address")]
    pub(crate) http: SocketAddr,
    /// Address for SSH.
    #[serde(deserialize_with = "address")]
    pub(crate) ssh: SocketAddr,
    /// Address for HTTPS; absent is none, or port 8443 of 127.0.0.1 where there is a certificate.
    #[serde(deserialize_with = "some_address")]
    pub(crate) https: Option<SocketAddr>,
    /// How people reach the pages, for links; absent is `http://`, or `https://` where that is served, and the bound
    /// address.
    pub(crate) base_url: Option<String>,
    /// Names by which it may be asked besides that of `base_url`.
    pub(crate) hosts: Vec<String>,
    /// Docker Engine; absent is `DOCKER_HOST` or the usual socket.
    pub(crate) docker_host: Option<String>,
    /// `[[engines]]`: several, in place of `docker_host`.
    pub(crate) engines: Vec<EngineTable>,
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
    /// `[supply_chain]`.
    pub(crate) supply_chain: SupplyChain,
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
            engines: Vec::new(),
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
            supply_chain: SupplyChain::default(),
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
        let path = serve.config.clone().unwrap_or_else(|| data.join("config.toml"));
        let mut config =
            if serve.config.is_some() || path.exists() { Self::read(&path)? } else { Self::default() };
        config.file = path;
        config.http = serve.http.unwrap_or(config.http);
        config.ssh = serve.ssh.unwrap_or(config.ssh);
        config.https = serve.https.or(config.https);
        if config.https.is_some() && config.tls.is_none() {
            let what = "--https needs a certificate: [tls] with cert and key in config.toml.";
            return Err(Problem::new(ProblemKind::Invalid, what, "Add it, or leave --https out."));
        }
        Ok(config)
    }

    /// Looks whether a server could start with that file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn look(path: &Path) -> Result<(), Problem> {
        Self::read(path).map(drop)
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let file = File::read(path)?;
        let mut config: Self = file.parse()?;
        config.check().map_err(|wrong| file.refuse(&wrong))?;
        engines::settle(&mut config.engines, path.parent().unwrap_or(Path::new("")));
        if let (Some(tls), Some(folder)) = (&mut config.tls, path.parent()) {
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

    /// Each engine's name, how it is reached, and how many builds it has at once.
    pub(crate) fn engines(&self) -> Vec<(String, Reach, u64)> {
        engines::all(&self.engines, self.docker_host.as_deref(), self.limits.builds_max as u64)
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
    fn images_are_signed_unless_the_server_says_otherwise() {
        let folder = tempfile::tempdir().expect("temp");
        let load = |text: &str| {
            std::fs::write(folder.path().join("config.toml"), text).expect("write");
            Config::load(folder.path(), &Serve::default())
        };
        let usual = load("").expect("valid").supply_chain;
        assert!(usual.sign && usual.sbom);
        let less = load("[supply_chain]\nsbom = false\n").expect("valid").supply_chain;
        assert!(less.sign && !less.sbom);
        assert!(load("[supply_chain]\nsbomb = true\n").is_err());
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
            ("[tests]\n\nmemory = \"lots\"", ":3:10: \"lots\" is not a size"),
            ("[tests]\nmemory = \"100000GiB\"", ":2:10: \"100000GiB\" is not a size"),
            ("[tests]\ncpus = 4096", ":2:8: 4096 is not a number"),
            ("[builds]\nnetwork = \"host\"", ":2:11: unknown value `host`"),
            ("[builds]\nmomery = \"1GiB\"", ":2:1: unknown key `momery`; did you mean `memory`?"),
            ("[clusters]\nexec = [\"aws\"]", ":2:9: \"aws\" is not an absolute path"),
            ("[clusters]\nfiles = [\"/a/../b\"]", ":2:10: \"/a/../b\" is not an absolute path"),
            ("[clusters]\nexec_env = [\"A=B\"]", ":2:13: \"A=B\" is not the name"),
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
            ("https = \"127.0.0.1:1\"\n", "config.toml:1:9: https needs a certificate"),
            ("[tls]\ncert = \"c\"\n", "config.toml:1:1: missing field `key`"),
            (&format!("{tls}plain = \"no\"\n"), "config.toml:4:9: unknown value `no`"),
            ("hosts = [\"a\"]\n", "config.toml:1:9: hosts needs base_url"),
            (
                "base_url = \"http://a\"\nhosts = [\"a:1\"]\n",
                "config.toml:2:10: \"a:1\" is no name of a host",
            ),
            ("base_url = \"a.example\"\n", "config.toml:1:12: "),
            ("base_url = \"https://\"\n", "config.toml:1:12: "),
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
        assert!(
            problem.what.contains("config.toml:2:1: unknown key `bulids`; did you mean `builds`?"),
            "{problem}"
        );
    }
}
