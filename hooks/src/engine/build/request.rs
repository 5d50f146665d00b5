//! The request for one build, and what bollard's own lacks or has wrong.

use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::BuildImageOptions;
use bollard::{BollardRequest, Docker};
use slipway_core::spec::Network;

use super::ImageBuild;
use crate::engine::Engine;
use crate::engine::session::Login;
use crate::engine::source::Source;
use crate::registry::REFRESH_TOKEN;

impl Engine {
    pub(super) fn prepare(
        &self,
        docker: Docker,
        build: &ImageBuild,
        source: &Source,
        pull: bool,
    ) -> (Docker, BuildImageOptions, Option<HashMap<String, DockerCredentials>>) {
        let session = source.session_id();
        let options = BuildImageOptions {
            dockerfile: match session {
                Some(_) => build.plan.dockerfile_alone().to_owned(),
                None => build.plan.dockerfile_in_context(),
            },
            remote: session.map(|_| "client-session".to_owned()),
            t: Some(build.tag.clone()),
            target: build.target.clone(),
            platform: build.platform.clone(),
            buildargs: Some(build.arguments(session.is_some())).filter(|args| !args.is_empty()),
            // BuildKit knows no other networks than none and its own.
            networkmode: (build.network < Network::Bridge).then(|| "none".to_owned()),
            extrahosts: build.salt.as_ref().map(|name| format!("{name}:127.0.0.1")),
            labels: Some(build.labels.clone()),
            nocache: build.no_cache,
            pull: pull.then(|| "true".to_owned()),
            rm: true,
            forcerm: true,
            ..BuildImageOptions::default()
        };
        let Some(id) = session else {
            let bounds = build.bounds();
            let docker = docker.with_request_modifier(move |r| with_bounds(url_safe_login(r), &bounds));
            let logins: HashMap<String, DockerCredentials> =
                build.logins.iter().map(|(host, login)| (host.clone(), credentials(host, login))).collect();
            return (docker, options, (!logins.is_empty()).then_some(logins));
        };
        // bollard would open a session of its own for version 2; so it is told version 1 and the query mended.
        let to = format!("version=2&session={id}");
        (docker.with_request_modifier(move |request| with_query(request, "version=1", &to)), options, None)
    }
}

impl ImageBuild {
    /// The build's arguments, and for BuildKit ours: the namespace of cache mounts is no argument that slipway.toml can set.
    fn arguments(&self, buildkit: bool) -> HashMap<String, String> {
        let mut args = self.args.clone();
        if buildkit {
            args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), self.caches.clone());
        }
        args
    }

    /// What the classic builder bounds its steps by; BuildKit passes over it.
    fn bounds(&self) -> String {
        let memory = self.memory.map(|m| format!("&memory={0}&memswap={0}", m.0)).unwrap_or_default();
        let cpus = self.cpus.map(|c| format!("&cpuperiod=100000&cpuquota={}", u64::from(c.0) * 100));
        format!("{memory}{}", cpus.unwrap_or_default())
    }
}

pub(crate) fn credentials(host: &str, login: &Login) -> DockerCredentials {
    if login.username == REFRESH_TOKEN {
        return DockerCredentials {
            identitytoken: Some(login.password.expose().to_owned()),
            serveraddress: Some(host.to_owned()),
            ..DockerCredentials::default()
        };
    }
    DockerCredentials {
        username: Some(login.username.clone()),
        password: Some(login.password.expose().to_owned()),
        serveraddress: Some(host.to_owned()),
        ..DockerCredentials::default()
    }
}

fn with_query(mut request: BollardRequest, from: &str, to: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.as_ref().map(|p| p.path().to_owned()).unwrap_or_default();
    let query = parts.path_and_query.as_ref().and_then(|p| p.query()).unwrap_or_default();
    let mended: Vec<&str> = query.split('&').map(|pair| if pair == from { to } else { pair }).collect();
    if let Ok(path) = format!("{path}?{}", mended.join("&")).parse() {
        parts.path_and_query = Some(path);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The request with more in its query. (bollard's own fields end at 2 GiB.)
fn with_bounds(mut request: BollardRequest, bounds: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    let before = parts.path_and_query.as_ref().map(|p| p.as_str().to_owned()).unwrap_or_default();
    if let Ok(path) = format!("{before}{bounds}").parse() {
        parts.path_and_query = Some(path);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// bollard writes its login headers in base64's standard alphabet, engines read the URL-safe one.
pub(crate) fn url_safe_login(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        let Some(value) = request.headers().get(name).and_then(|v| v.to_str().ok()) else { continue };
        let value = value.replace('+', "-").replace('/', "_");
        if let Ok(mut value) = http::HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_is_mended() {
        let request =
            http::Request::post("http://x/build?buildargs=%7B%22version%22%3A%221%22%7D&version=1&t=a")
                .body(bollard::body_full(bytes::Bytes::new()))
                .expect("request");
        let mended = with_query(request, "version=1", "version=2&session=s");
        assert_eq!(
            mended.uri().query(),
            Some("buildargs=%7B%22version%22%3A%221%22%7D&version=2&session=s&t=a")
        );
    }

    #[test]
    fn a_login_header_is_url_safe() {
        let request = http::Request::post("/x")
            .header("X-Registry-Auth", "a+b/c=")
            .body(bollard::body_full(bytes::Bytes::new()));
        let request = url_safe_login(request.expect("request"));
        assert_eq!(request.headers()["x-registry-auth"], "a-b_c=");
    }
}
