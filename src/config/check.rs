//! What the reader of TOML cannot say of config.toml: values that are none, and values that do not fit each other. Each is told with
//! its place, what it is, and what it could be.

use std::sync::Arc;

use http::Uri;
use http::uri::Authority;
use slipway_core::limits::Limits;
use slipway_core::place::Wrong;
use slipway_forge::networks::Networks;
use slipway_forge::origin::TrustedProxies;
use slipway_hooks::Engine;

use super::{Config, engines};
use crate::machine;

impl Config {
    /// Looks at everything that the file says, and makes limits of `[limits]` and of what older files say outside of it.
    ///
    /// # Errors
    /// The first that is wrong.
    pub(super) fn check(&mut self) -> Result<(), Wrong> {
        self.settle_limits()?;
        if self.maintenance.delay_s > 3600 {
            let told = format!("{} does not lie from 0 to 3600", self.maintenance.delay_s);
            return Err(Wrong::at("maintenance.delay_s", told));
        }
        self.backup.check().map_err(|wrong| wrong.under(&["backup"]))?;
        self.clusters.check().map_err(|wrong| wrong.under(&["clusters"]))?;
        let is_proxy = |text: &str| TrustedProxies::parse(&[text.to_owned()]).is_ok();
        all_networks("trusted_proxies", &self.trusted_proxies, is_proxy)?;
        let is_network = |text: &str| Networks::parse(&[text.to_owned()]).is_ok();
        all_networks("webhooks.allowed_networks", &self.webhooks.allowed_networks, is_network)?;
        if !self.proxy_protocol.is_empty() && self.trusted_proxies.is_empty() {
            let told = "proxy_protocol needs trusted_proxies: from whom else would it be believed?";
            return Err(Wrong::at("proxy_protocol", told));
        }
        if self.https.is_some() && self.tls.is_none() {
            return Err(Wrong::at("https", "https needs a certificate: [tls] with cert and key"));
        }
        if let Some(Err(why)) = self.docker_host.as_deref().map(Engine::check_address) {
            return Err(Wrong::at("docker_host", why));
        }
        engines::check(&self.engines, self.docker_host.as_deref())?;
        self.check_names()
    }

    fn settle_limits(&mut self) -> Result<(), Wrong> {
        let moved = [
            ("builds_max", self.builds_max, "builds_max"),
            ("deploys_max", self.deploys_max, "deploys_max"),
            ("drain_s", self.drain_s.map(|seconds| seconds.saturating_mul(1000)), "drain_timeout"),
        ];
        for (old, value, new) in moved {
            let Some(value) = value else { continue };
            if self.chosen.has(new) {
                let told = format!("{old} and {new} of [limits] cannot both be given");
                return Err(Wrong::at(old, told).itself());
            }
            self.chosen.set(new, value).map_err(|why| Wrong::at(old, why))?;
            tracing::warn!("config.toml: {old} is {new} of [limits] now; the old place still counts");
        }
        self.limits = Arc::new(Limits::of(machine::here(), &self.chosen));
        Ok(())
    }

    /// `base_url` and `hosts`.
    fn check_names(&self) -> Result<(), Wrong> {
        if let Some(Err(why)) = self.base_url.as_deref().map(check_url) {
            return Err(Wrong::at("base_url", why));
        }
        let is_name =
            |name: &String| name.parse::<Authority>().is_ok_and(|a| a.host() == name && !name.is_empty());
        if let Some(at) = self.hosts.iter().position(|name| !is_name(name)) {
            let told = format!("{:?} is no name of a host, such as \"git.example.org\"", self.hosts[at]);
            return Err(Wrong::at("hosts", told).item(at));
        }
        if !self.hosts.is_empty() && self.base_url.is_none() {
            return Err(Wrong::at("hosts", "hosts needs base_url: without it every name is answered"));
        }
        Ok(())
    }
}

fn all_networks(way: &str, all: &[String], is_one: impl Fn(&str) -> bool) -> Result<(), Wrong> {
    let Some(at) = all.iter().position(|text| !is_one(text)) else { return Ok(()) };
    let told = format!("{:?} is no address and no network, such as \"10.0.0.5\" or \"10.1.0.0/16\"", all[at]);
    Err(Wrong::at(way, told).item(at))
}

/// Pages, git and links are at the root of their host: a path, a name of a user or a query would be in no link.
fn check_url(url: &str) -> Result<(), String> {
    let shown = slipway_core::without_account(url);
    let wrong = |why: &str| {
        format!("{shown:?} {why}: base_url is like \"https://git.example.org\" or \"http://10.0.0.5:8080\"")
    };
    let uri = url.parse::<Uri>().map_err(|_| wrong("is no address"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("does not begin with http:// or https://"));
    }
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err(wrong("has no host"));
    };
    if authority.as_str().contains('@') {
        return Err(wrong("has a user's name in it"));
    }
    if authority.as_str().ends_with(':') || authority.port_u16() == Some(0) {
        return Err(wrong("has a port that is none"));
    }
    if url.contains('#') || uri.query().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    if !matches!(uri.path(), "" | "/") {
        return Err(wrong("has a path, and everything is served at the root"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::*;

    /// What a file is refused with, behind its name.
    fn refused(text: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("temp");
        std::fs::write(folder.path().join("config.toml"), text).expect("write");
        let problem = Config::load(folder.path(), &Serve::default()).expect_err("refused");
        let (_, told) =
            problem.what.split_once("config.toml:").unwrap_or_else(|| panic!("no place: {problem}"));
        told.to_owned()
    }

    #[test]
    fn every_value_that_is_refused_is_told_with_its_place() {
        for (text, told) in [
            ("http = \"here\"", "1:8: \"here\" is no address with a port, such as \"127.0.0.1:8080\""),
            ("ssh = 22", "1:7: invalid type: integer `22`"),
            ("https = \"a:b\"", "1:9: \"a:b\" is no address with a port"),
            ("htp = \"x\"", "1:1: unknown key `htp`; did you mean `http`?"),
            ("base_url = \"git.example.org\"", "1:12: \"git.example.org\" does not begin with http"),
            ("base_url = \"ftp://a\"", "1:12: \"ftp://a\" does not begin with http"),
            ("base_url = \"https://a/git\"", "1:12: \"https://a/git\" has a path"),
            ("base_url = \"https://a/?q\"", "1:12: \"https://a/?q\" has a query"),
            ("base_url = \"https://a#x\"", "1:12: \"https://a#x\" has a query or a fragment"),
            ("base_url = \"https://me@a\"", "1:12: \"https://me@a\" has a user's name"),
            ("base_url = \"https://a:0\"", "1:12: \"https://a:0\" has a port that is none"),
            ("hosts = [\"a\"]", "1:9: hosts needs base_url"),
            ("base_url = \"http://a\"\nhosts = [\"b\", \"c:1\"]", "2:15: \"c:1\" is no name of a host"),
            ("docker_host = \"foo://x\"", "1:15: \"foo://x\" does not begin with unix://"),
            (
                "docker_host = \"unix://run/docker.sock\"",
                "1:15: \"unix://run/docker.sock\" names no absolute path",
            ),
            ("docker_host = \"tcp://\"", "1:15: \"tcp://\" names no host"),
            (
                "builds_max = 3\n[limits]\nbuilds_max = 4",
                "1:1: builds_max and builds_max of [limits] cannot both",
            ),
            ("builds_max = 3000", "1:14: builds_max: 3000 is not a number from 1"),
            ("drain_s = -1", "1:11: invalid value: integer `-1`"),
            ("trusted_proxies = [\"10.0.0.1\", \"proxy\"]", "1:32: \"proxy\" is no address and no network"),
            ("proxy_protocol = [\"http\"]", "1:18: proxy_protocol needs trusted_proxies"),
            ("proxy_protocol = [\"htp\"]", "1:19: unknown value `htp`; did you mean `http`?"),
            ("[tls]\ncert = \"c\"", "1:1: missing field `key`"),
            (
                "[tls]\ncert = \"c\"\nkey = \"k\"\nplain = \"of\"",
                "4:9: unknown value `of`; did you mean `off`?",
            ),
            ("[maintenance]\ndelay_s = 9999", "2:11: 9999 does not lie from 0 to 3600"),
            ("[maintenance]\nenabled = 1", "2:11: invalid type: integer `1`"),
            (
                "[webhooks]\nallowed_networks = [\n  \"::1\",\n  \"intranet\" ]",
                "4:3: \"intranet\" is no address",
            ),
            ("[clusters]\nexec = [\"/a\", \"b\"]", "2:15: \"b\" is not an absolute path"),
            ("[builds]\nmemory = \"lots\"", "2:10: \"lots\" is not a size"),
            ("[tests]\npids = 1", "2:8: \"1\" is not a number from 16"),
            ("[backup]\nevery = \"soon\"", "2:9: \"soon\" is no time from 1m to 366d"),
            ("[backup]\nevery = \"1h\"\nat = \"03:00\"", "3:1: every and at cannot both be given"),
            ("[backup]\nat = \"25:00\"", "2:6: \"25:00\" is no time of day"),
            ("[backup]\nto = \"b\"", "2:6: \"b\" is no absolute path"),
            ("[backup]\nkeep = { last = 0 }", "2:17: 0 does not lie from 1 to 10000"),
            ("[backup]\nkeep = { weekly = 20000 }", "2:19: 20000 does not lie from 0 to 10000"),
            ("[backup]\nkep = 1", "2:1: unknown key `kep`; did you mean `keep`?"),
            ("[limits]\npack_size_max = \"8 TB\"", "2:17: pack_size_max: \"8 TB\" is not a size"),
            ("[limits]\nbuild_max = 3", "2:1: unknown limit `build_max`; did you mean `builds_max`?"),
            ("a = \n", "1:"),
        ] {
            let got = refused(text.as_bytes());
            assert!(got.starts_with(told), "{text:?}: {got}");
            assert!(got.ends_with(['.', '?']) && !got.ends_with(".."), "{text:?}: {got}");
        }
        assert!(refused(b"# \xc3\xa4\nx = \"\xff\"").starts_with("2:6: this is not UTF-8 text."));
    }
}
