//! Logins: what a registry's challenge asks for, and whom the password is given to.
//!
//! A password goes to the registry itself, once it has asked for it, and to the address that its challenge names for tokens;
//! that one must be as safe as the registry is, or nobody on the way could be kept from naming their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use slipway_core::target::is_loopback;

use super::{Answer, Ask, Client, Repository, refusal};
use crate::engine::session::Login;
use crate::error::HookError;

/// The user name by which Docker's own files say that the password is a refresh token.
pub(crate) const REFRESH_TOKEN: &str = "<token>";

impl Client {
    /// The answer to `first`, or where that was a challenge, to the same request with a login.
    pub(super) async fn authorised(
        &self,
        repository: &Repository,
        scheme: &str,
        ask: &Ask<'_>,
        first: Answer,
    ) -> Result<Answer, HookError> {
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        match self.challenged(repository, scheme, &first.headers, ask).await? {
            Some(authorization) => self.send(repository, scheme, ask, Some(authorization)).await,
            None => Ok(first),
        }
    }

    /// The login that an answer asks for, where there is one to give.
    pub(super) async fn challenged(
        &self,
        repository: &Repository,
        scheme: &str,
        headers: &HeaderMap,
        ask: &Ask<'_>,
    ) -> Result<Option<HeaderValue>, HookError> {
        // A registry may offer several ways, each in a header of its own.
        for challenge in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok()) {
            let authorization = self.authorization(repository, scheme, challenge, ask).await?;
            if authorization.is_some() {
                return Ok(authorization);
            }
        }
        Ok(None)
    }

    async fn authorization(
        &self,
        repository: &Repository,
        scheme: &str,
        challenge: &str,
        ask: &Ask<'_>,
    ) -> Result<Option<HeaderValue>, HookError> {
        let (kind, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if kind.eq_ignore_ascii_case("basic") {
            return Ok(repository.login.as_ref().and_then(basic));
        }
        if !kind.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let broken = |message: String| HookError::RegistryBroken {
            host: repository.host.clone(),
            action: ask.action.clone(),
            message,
        };
        let realm = parameter(parameters, "realm").unwrap_or_default();
        let realm: Uri = realm.parse().map_err(|_| broken("a login address that is none".into()))?;
        trusted(repository, scheme, &realm)
            .map_err(|why| broken(format!("the login address {realm}, {why}")))?;
        let token = self.token(repository, &realm, parameters, ask).await?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| broken("a token that is none".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The token protocol of the distribution project: `GET realm?service=…&scope=…` with Basic, or with a refresh token
    /// a form.
    async fn token(
        &self,
        repository: &Repository,
        realm: &Uri,
        parameters: &str,
        ask: &Ask<'_>,
    ) -> Result<String, HookError> {
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let scope = match parameter(parameters, "scope") {
            Some(scope) => scope,
            None if repository.path.is_empty() => String::new(),
            None => format!("repository:{}:pull,push", repository.path),
        };
        let wanted = wanted(&parameter(parameters, "service").unwrap_or_default(), &scope);
        let issuer = Repository {
            host: realm.authority().map(|a| a.as_str().to_owned()).unwrap_or_default(),
            ..repository.clone()
        };
        let action = format!("a token for {}", ask.action);
        let (token_ask, login) = match repository.login.as_ref().filter(|l| l.username == REFRESH_TOKEN) {
            Some(login) => (refresh(realm, &wanted, login, action), None),
            None => (look_up(realm, &wanted, action), repository.login.as_ref().and_then(basic)),
        };
        let scheme = realm.scheme_str().unwrap_or("https");
        let answer = self.send(&issuer, scheme, &token_ask, login).await?;
        if !answer.status.is_success() {
            return Err(refusal(&issuer, &token_ask, &answer));
        }
        let token: Option<Token> = serde_json::from_slice(&answer.body).ok();
        token.and_then(|t| t.token.or(t.access_token)).ok_or_else(|| HookError::RegistryBroken {
            host: issuer.host,
            action: token_ask.action,
            message: "an answer without a token".into(),
        })
    }
}

/// Whether the address for tokens is as safe as the registry is; else a clause on why not.
fn trusted(repository: &Repository, scheme: &str, realm: &Uri) -> Result<(), &'static str> {
    let host = realm.host().unwrap_or_default();
    if host.is_empty() || realm.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("which has no host, or a name in it");
    }
    let near = host.eq_ignore_ascii_case(name_of(&repository.host))
        || is_loopback(host) && is_loopback(&repository.host);
    match (scheme, realm.scheme_str()) {
        ("https", Some("https")) => Ok(()),
        (_, Some("https")) if near => Ok(()),
        // Whoever is on the way to a registry without TLS could have written the challenge.
        (_, Some("https")) => Err("which is another host, and was told without TLS"),
        (_, Some("http")) if near && repository.plain_allowed => Ok(()),
        _ => Err("which is not https"),
    }
}

/// The host of `HOST[:PORT]`.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn wanted(service: &str, scope: &str) -> String {
    let mut wanted = format!("service={}", encoded(service));
    if !scope.is_empty() {
        wanted.push_str(&format!("&scope={}", encoded(scope)));
    }
    wanted
}

fn look_up(realm: &Uri, wanted: &str, action: String) -> Ask<'static> {
    let before = realm.query().map(|q| format!("{q}&")).unwrap_or_default();
    Ask::new(Method::GET, format!("{}?{before}{wanted}", realm.path()), action)
}

fn refresh(realm: &Uri, wanted: &str, login: &Login, action: String) -> Ask<'static> {
    let path = realm.path_and_query().map(|p| p.as_str().to_owned()).unwrap_or_else(|| "/".into());
    let mut ask = Ask::new(Method::POST, path, action);
    ask.headers.push((CONTENT_TYPE, "application/x-www-form-urlencoded"));
    let token = encoded(login.password.expose());
    ask.body = format!("grant_type=refresh_token&client_id=slipway&{wanted}&refresh_token={token}").into();
    ask
}

fn basic(login: &Login) -> Option<HeaderValue> {
    let text = STANDARD.encode(format!("{}:{}", login.username, login.password.expose()));
    let mut value = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// One `name="value"` of a challenge.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read() {
        let text = r#"realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        assert_eq!(parameter(text, "realm").as_deref(), Some("https://auth.example/token"));
        assert_eq!(parameter(text, "service").as_deref(), Some("registry.example"));
        assert_eq!(parameter(text, "scope").as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(parameter(text, "nothing"), None);
        assert_eq!(parameter("realm=x, service=y", "service").as_deref(), Some("y"));
    }

    #[test]
    fn a_password_goes_only_where_it_is_as_safe_as_with_the_registry() {
        let goes = |host: &str, plain_allowed: bool, scheme: &str, realm: &str| {
            let repository = Repository {
                host: host.into(),
                path: "a".into(),
                login: None,
                plain_allowed,
                ca: None,
                spoken: Default::default(),
            };
            trusted(&repository, scheme, &realm.parse().expect("an address")).is_ok()
        };
        for (host, plain, scheme, realm) in [
            ("registry-1.docker.io", false, "https", "https://auth.docker.io/token"),
            ("r.example:5000", true, "http", "http://r.example:5001/token"),
            ("r.example:5000", true, "http", "https://r.example/token"),
            ("127.0.0.1:5000", true, "http", "http://localhost:5001/token"),
        ] {
            assert!(goes(host, plain, scheme, realm), "{host} {scheme} {realm}");
        }
        for (host, plain, scheme, realm) in [
            ("r.example", false, "https", "http://r.example/token"),
            ("r.example", true, "https", "http://evil.example/token"),
            ("r.example:5000", true, "http", "http://evil.example/token"),
            ("r.example:5000", true, "http", "https://evil.example/token"),
            ("r.example:5000", true, "http", "https://r.example@evil.example/token"),
            ("127.0.0.1:5000", true, "http", "http://10.0.0.1/token"),
            ("r.example", true, "https", "http://127.0.0.1:1/token"),
            ("r.example", true, "https", "/token"),
        ] {
            assert!(!goes(host, plain, scheme, realm), "{host} {scheme} {realm}");
        }
    }

    #[test]
    fn a_refresh_token_goes_in_a_form() {
        let login = Login { username: REFRESH_TOKEN.into(), password: slipway_core::Secret::new("a&b") };
        let realm: Uri = "https://auth.example/oauth2/token?x=1".parse().expect("an address");
        let ask = refresh(&realm, &wanted("r", "repository:a:pull,push"), &login, "x".into());
        assert_eq!((ask.method, ask.path.as_str()), (Method::POST, "/oauth2/token?x=1"));
        let form = String::from_utf8_lossy(&ask.body).into_owned();
        assert_eq!(
            form,
            "grant_type=refresh_token&client_id=slipway&service=r&scope=repository%3Aa%3Apull%2Cpush&refresh_token=a%26b"
        );
        assert_eq!(look_up(&realm, "service=r", "x".into()).path, "/oauth2/token?x=1&service=r");
    }
}
