//! Blobs, and lists of what refers to a manifest.
//!
//! A registry may keep its blobs elsewhere and lead there. It is followed without the login, never from TLS to none, and not
//! far; what is read whole is proven by its digest.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Response;
use hyper::body::Incoming;
use slipway_core::Digest;

use super::{Answer, Ask, Client, Repository, deepest, digest_of, refusal};
use crate::error::{HookError, one_line};
use crate::limits::{BLOB_HOPS_MAX, MANIFEST_BYTES_MAX};
use crate::registry::Manifest;

impl Client {
    /// A blob whole; `None` where there is none, or one that is larger than `most` bytes.
    pub(crate) async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        most: usize,
    ) -> Result<Option<Vec<u8>>, HookError> {
        let Some(body) = self.stream(repository, digest).await? else { return Ok(None) };
        let read = tokio::time::timeout(self.timeout, Limited::new(body, most).collect()).await;
        let read =
            read.map_err(|_| down(repository, format!("no answer within {} s", self.timeout.as_secs())))?;
        let bytes = match read {
            Ok(read) => read.to_bytes(),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => return Ok(None),
            Err(e) => return Err(down(repository, one_line(&e.to_string()))),
        };
        if digest_of(&bytes) == *digest {
            return Ok(Some(bytes.to_vec()));
        }
        Err(HookError::RegistryBroken {
            host: repository.host.clone(),
            action: format!("the blob {digest} of {}", repository.path),
            message: format!("bytes whose digest is {}", digest_of(&bytes)),
        })
    }

    /// A blob as it comes; `None` where there is none.
    pub(crate) async fn stream(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Incoming>, HookError> {
        let scheme = self.scheme(repository).await?;
        let ask = Ask::new(
            Method::GET,
            format!("/v2/{}/blobs/{digest}", repository.path),
            format!("the blob {digest} of {}", repository.path),
        );
        let mut uri = format!("{scheme}://{}{}", repository.host, ask.path);
        let (mut authorization, mut asked, mut away) = (None, false, false);
        for _ in 0..BLOB_HOPS_MAX {
            let response = self.fetch(repository, &uri, authorization.take()).await?;
            match response.status() {
                StatusCode::OK => return Ok(Some(response.into_body())),
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::UNAUTHORIZED if !asked && !away => {
                    asked = true;
                    let Some(login) = self.challenged(repository, scheme, response.headers(), &ask).await?
                    else {
                        return Err(refused(repository, &ask, response));
                    };
                    authorization = Some(login);
                }
                status if status.is_redirection() => {
                    uri = elsewhere(&uri, response.headers(), repository.plain_allowed)
                        .ok_or_else(|| refused(repository, &ask, response))?;
                    away = true;
                }
                _ => return Err(refused(repository, &ask, response)),
            }
        }
        Err(down(repository, format!("{} leads on and on", ask.action)))
    }

    /// Stores a manifest under a tag or its digest. True if the registry says that it has noted what it refers to.
    pub(crate) async fn put_referrer(
        &self,
        repository: &Repository,
        named: &str,
        manifest: &Manifest,
    ) -> Result<bool, HookError> {
        let scheme = self.scheme(repository).await?;
        let path = format!("/v2/{}/manifests/{named}", repository.path);
        let mut ask = Ask::new(Method::PUT, path, format!("the artefact {named} of {}", repository.path));
        ask.headers.push((CONTENT_TYPE, &manifest.media_type));
        ask.body = manifest.bytes.clone().into();
        let answer = self.ask(repository, scheme, &ask).await?;
        if answer.status.is_success() {
            return Ok(answer.headers.contains_key("oci-subject"));
        }
        Err(refusal(repository, &ask, &answer))
    }

    /// What refers to the manifest of that digest, as the registry lists it; `None` where it has no such list.
    pub(crate) async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, HookError> {
        let scheme = self.scheme(repository).await?;
        let path = format!("/v2/{}/referrers/{digest}", repository.path);
        let mut ask = Ask::new(Method::GET, path, format!("the referrers of {digest}"));
        ask.headers.push((ACCEPT, "application/vnd.oci.image.index.v1+json"));
        ask.body_max = MANIFEST_BYTES_MAX;
        let answer = self.ask(repository, scheme, &ask).await?;
        // A registry that does not know the call may call its own pages, or nothing, by that address.
        let is_list =
            answer.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().ends_with(b"json"));
        Ok((answer.status == StatusCode::OK && is_list).then(|| answer.body.to_vec()))
    }

    async fn fetch(
        &self,
        repository: &Repository,
        uri: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, HookError> {
        let mut request = Request::builder().method(Method::GET).uri(uri);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|e| down(repository, e.to_string()))?;
        let http = self.http(repository.ca.as_deref()).await;
        match tokio::time::timeout(self.timeout, http.request(request)).await {
            Ok(response) => response.map_err(|e| down(repository, deepest(&e))),
            Err(_) => Err(down(repository, format!("no answer within {} s", self.timeout.as_secs()))),
        }
    }
}

fn down(repository: &Repository, why: String) -> HookError {
    HookError::RegistryDown { host: repository.host.clone(), why }
}

fn refused(repository: &Repository, ask: &Ask<'_>, response: Response<Incoming>) -> HookError {
    let (head, _) = response.into_parts();
    refusal(repository, ask, &Answer { status: head.status, headers: head.headers, body: Bytes::new() })
}

/// Where an answer leads: another address of the same scheme, or of a safer one.
fn elsewhere(from: &str, headers: &HeaderMap, plain_allowed: bool) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let from: Uri = from.parse().ok()?;
    let authority = from.authority()?;
    let whole = if location.starts_with('/') && !location.starts_with("//") {
        format!("{}://{authority}{location}", from.scheme_str()?)
    } else {
        location.to_owned()
    };
    let to: Uri = whole.parse().ok()?;
    let safe = match to.scheme_str()? {
        "https" => true,
        "http" => plain_allowed && from.scheme_str() == Some("http"),
        _ => false,
    };
    let plain_host = !to.authority()?.as_str().contains('@');
    (safe && plain_host).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_followed_to_where_it_is_no_less_safe() {
        let to = |from: &str, location: &str, plain: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().expect("a value"));
            elsewhere(from, &headers, plain)
        };
        let (tls, plain) = ("https://r.example/v2/a/blobs/x", "http://127.0.0.1:5000/v2/a/blobs/x");
        assert_eq!(
            to(tls, "https://s3.example/k?sig=1", false).as_deref(),
            Some("https://s3.example/k?sig=1")
        );
        assert_eq!(to(tls, "/store/x", false).as_deref(), Some("https://r.example/store/x"));
        assert_eq!(to(plain, "http://127.0.0.1:1/x", true).as_deref(), Some("http://127.0.0.1:1/x"));
        for (from, location, plain_allowed) in [
            (tls, "http://s3.example/k", true),
            (plain, "http://10.0.0.1/k", false),
            (tls, "file:///etc/passwd", true),
            (tls, "https://user:word@s3.example/k", false),
            (tls, "//s3.example/k", false),
        ] {
            assert_eq!(to(from, location, plain_allowed), None, "{location}");
        }
    }
}
