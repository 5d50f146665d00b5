//! Connections to registries: whom TLS believes.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use slipway_core::{Problem, ProblemKind};

use crate::limits::{CA_BYTES_MAX, REGISTRY_CONNECT};

/// Whether `pem` holds certificates of authorities that TLS can believe.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub fn check_ca(pem: &str) -> Result<(), Problem> {
    let wrong = |what: String| {
        let cure = "Give the certificate of the authority that signed the registry's, in PEM: -----BEGIN CERTIFICATE-----.";
        Problem::new(ProblemKind::Invalid, what, cure)
    };
    if pem.len() > CA_BYTES_MAX {
        return Err(wrong(format!("The file of authorities is larger than {CA_BYTES_MAX} bytes.")));
    }
    believe(&mut RootCertStore::empty(), pem).map_err(|why| wrong(format!("The file of authorities {why}.")))
}

/// The system's authorities, and those in `ca`.
pub(super) fn connector(ca: Option<&str>) -> HttpsConnector<HttpConnector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(REGISTRY_CONNECT));
    tcp.set_nodelay(true);
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(why) = ca.and_then(|pem| believe(&mut roots, pem).err()) {
        tracing::warn!("a registry's file of authorities {why}; it is left out");
    }
    if roots.is_empty() {
        tracing::warn!(errors = ?native.errors, "no system certificates; only plain-HTTP registries can be spoken to");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp)
}

/// Adds the certificates in `pem`, at least one; else a clause on what is wrong with them.
fn believe(roots: &mut RootCertStore, pem: &str) -> Result<(), String> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| format!("is not PEM: {e}"))?;
        roots.add(certificate).map_err(|e| format!("has a certificate that cannot be believed: {e}"))?;
    }
    if roots.len() == before { Err("has no certificate".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        for (pem, why) in [
            ("", "has no certificate"),
            ("hello", "has no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be believed"),
            ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "is not PEM"),
        ] {
            let problem = check_ca(pem).expect_err("refused");
            assert!(problem.what.contains(why), "{pem:?}: {problem}");
        }
        assert!(check_ca(&"x".repeat(CA_BYTES_MAX + 1)).is_err());
    }
}
