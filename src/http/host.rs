//! By which name the server is asked. A browser takes any name that leads to an address for an origin of its own, so a page
//! elsewhere whose name is turned to this address could read what is public here (DNS rebinding): with `base_url` set,
//! other names are answered with nothing but a sentence. Addresses and `localhost` are nobody's to turn.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, HOST, LOCATION, STRICT_TRANSPORT_SECURITY};
use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use slipway_core::{Problem, ProblemKind};

use super::refusal::refusal;

/// A year: how long browsers come by https alone once they were told to.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// What is asked by machines that look whether the server lives, and is answered wherever it is asked.
const HEALTH: [&str; 2] = ["/-/healthz", "/-/readyz"];

/// The names that are this server's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// In lower case; empty: all.
    names: Vec<String>,
    https: bool,
}

impl Names {
    /// That of `base_url`, and `more`. Without a `base_url`, all.
    pub(crate) fn new(base_url: Option<&str>, more: &[String]) -> Self {
        let Some(base) = base_url else { return Self::default() };
        let own = base.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
        let more = more.iter().map(|name| name.to_ascii_lowercase());
        Self { names: own.into_iter().chain(more).collect(), https: base.starts_with("https://") }
    }

    fn know(&self, authority: &Authority) -> bool {
        let host = authority.host().trim_matches(['[', ']']);
        let host = host.strip_suffix('.').unwrap_or(host);
        self.names.is_empty()
            || host.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|name| host.eq_ignore_ascii_case(name))
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let mut hosts = request.headers().get_all(HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (None, _) => None,
            (Some(host), None) => {
                let host = Authority::try_from(host.as_bytes()).ok().filter(|a| !a.as_str().contains('@'));
                Some(
                    host.ok_or_else(|| {
                        malformed("The request's Host header is empty, or no name of a host.")
                    })?,
                )
            }
            (Some(_), Some(_)) => return Err(malformed("The request has more than one Host.")),
        };
        let target = request.uri().authority();
        if request.version() == Version::HTTP_11 && named.is_none() {
            return Err(malformed("The request has no Host."));
        }
        match named.iter().chain(target).find(|authority| !self.know(authority)) {
            Some(other) => Err(misdirected(other.host())),
            None => Ok(()),
        }
    }
}

fn malformed(what: &str) -> Problem {
    Problem::new(ProblemKind::Invalid, what, "Use a client that speaks HTTP/1.1 or HTTP/2.")
}

fn misdirected(name: &str) -> Problem {
    let name: String = name.chars().take(100).collect();
    Problem::new(
        ProblemKind::NotFound,
        format!("This server is not called {name:?}."),
        "Use the address in base_url; an owner of the server adds other names to hosts in config.toml.",
    )
}

/// By which names a listener is asked, and where it leads whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) names: Names,
    /// Where all but health checks are sent from here, without a slash at its end: a plain listener while people are to
    /// come by https leads there, Git clients too, with method and body.
    pub(crate) leads_to: Option<Arc<str>>,
}

impl Host {
    /// The answer to a request that goes no further.
    pub(super) fn turned<B>(&self, request: &Request<B>) -> Option<Response> {
        let path = request.uri().path();
        if let Some(base) = &self.leads_to
            && !HEALTH.contains(&path)
        {
            return Some(led(base, request.uri()));
        }
        self.names.check(request).err().map(|problem| self.finished(refuse(path, &problem)))
    }

    /// Tells browsers to come by https alone where that is where people go.
    pub(super) fn finished(&self, mut response: Response) -> Response {
        if self.names.https {
            response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
        }
        response
    }
}

fn refuse(path: &str, problem: &Problem) -> Response {
    let misdirected = problem.kind == ProblemKind::NotFound;
    let status = if misdirected { StatusCode::MISDIRECTED_REQUEST } else { StatusCode::BAD_REQUEST };
    refusal(path, status, problem)
}

fn led(base: &str, uri: &Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut response = Response::new(Body::from(format!("This is at {base} now.\n")));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    match HeaderValue::from_str(&format!("{base}{path}")) {
        Ok(to) => drop(response.headers_mut().insert(LOCATION, to)),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(names: &Names, host: Option<&str>, target: &str, version: Version) -> &'static str {
        let mut request = Request::builder().uri(target).version(version);
        for host in host.into_iter().flat_map(|hosts| hosts.split('|')) {
            request = request.header(HOST, host);
        }
        match names.check(&request.body(Body::empty()).expect("a request")) {
            Ok(()) => "ok",
            Err(problem) if problem.kind == ProblemKind::NotFound => "misdirected",
            Err(_) => "malformed",
        }
    }

    #[test]
    fn the_table_of_names() {
        let names = Names::new(Some("https://Git.example.com:8443"), &["slipway.internal".into()]);
        let any = Names::new(None, &["slipway.internal".into()]);
        let (one, two, old) = (Version::HTTP_11, Version::HTTP_2, Version::HTTP_10);
        for (host, target, version, want, unset) in [
            (Some("git.example.com"), "/", one, "ok", "ok"),
            (Some("GIT.example.COM:8443"), "/", one, "ok", "ok"),
            (Some("git.example.com.:80"), "/", one, "ok", "ok"),
            (Some("slipway.internal:8080"), "/", one, "ok", "ok"),
            (Some("127.0.0.1:8080"), "/", one, "ok", "ok"),
            (Some("10.1.2.3"), "/", one, "ok", "ok"),
            (Some("[::1]:8080"), "/", one, "ok", "ok"),
            (Some("localhost:8080"), "/", one, "ok", "ok"),
            (Some("evil.example"), "/", one, "misdirected", "ok"),
            (Some("git.example.com.evil.example"), "/", one, "misdirected", "ok"),
            (Some("127.0.0.1.evil.example"), "/", one, "misdirected", "ok"),
            (Some("evil.example"), "/", old, "misdirected", "ok"),
            (Some("git.example.com"), "http://evil.example/", one, "misdirected", "ok"),
            (None, "https://git.example.com/", two, "ok", "ok"),
            (None, "https://evil.example/", two, "misdirected", "ok"),
            (None, "/", old, "ok", "ok"),
            (None, "/", one, "malformed", "malformed"),
            (Some(""), "/", one, "malformed", "malformed"),
            (Some("a b"), "/", one, "malformed", "malformed"),
            (Some("evil@git.example.com"), "/", one, "malformed", "malformed"),
            (Some("git.example.com|git.example.com"), "/", one, "malformed", "malformed"),
        ] {
            assert_eq!(verdict(&names, host, target, version), want, "{host:?} {target}");
            assert_eq!(verdict(&any, host, target, version), unset, "{host:?} {target}, any name");
        }
    }
}
