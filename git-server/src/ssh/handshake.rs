//! The first part of an SSH connection, before anybody can sign in, with a client whose words are all there already: for
//! fuzzers. The library at work is the one that serves, with what it is told to offer; its answers go nowhere.

use std::io::Cursor;
use std::sync::OnceLock;
use std::time::Duration;

use russh::keys::signature::Verifier as _;
use russh::keys::ssh_encoding::Decode as _;
use russh::keys::ssh_key::{Certificate, Signature};
use russh::keys::{HashAlg, key};
use russh::server::{Auth, Handler};
use tokio::runtime::{Builder, Runtime};

use super::HostKeys;
use super::greeting::client_of;
use super::offer::Offer;

/// Far more than a connection needs whose client has hung up.
const TIME: Duration = Duration::from_secs(8);

/// Lets nobody in.
struct Closed;

impl Handler for Closed {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::reject())
    }
}

/// Speaks with a client who says that and hangs up.
pub(crate) fn handshake(said: &[u8]) {
    static SERVER: OnceLock<(Runtime, Offer)> = OnceLock::new();
    let (runtime, offer) = SERVER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("slipway-fuzzing-keys-{}", std::process::id()));
        let keys = HostKeys::load_or_create(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let runtime = Builder::new_current_thread().enable_time().build();
        (
            runtime.unwrap_or_else(|e| panic!("no runtime: {e}")),
            Offer::new(&keys, std::time::Duration::from_secs(30)),
        )
    });
    let spoken = async {
        let (config, _turns) = offer.to(&client_of(said), Default::default()).await;
        let stream = tokio::io::join(Cursor::new(said.to_vec()), tokio::io::sink());
        if let Ok(running) = russh::server::run_stream(config, stream, Closed).await {
            // How it ends is the library's to say; that it ends is what counts.
            let _ = running.await;
        }
    };
    let ended = runtime.block_on(async { tokio::time::timeout(TIME, spoken).await });
    assert!(ended.is_ok(), "the connection outlives its client");
}

/// Reads what a client shows to sign in: a key behind its length in two bytes, then a signature; and the key as a certificate.
pub(crate) fn credentials(shown: &[u8]) {
    let (length, rest) = shown.split_first_chunk().unwrap_or((&[0, 0], shown));
    let (blob, mut signature) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    if let Ok(key) = key::parse_public_key(blob) {
        let _ = (key.fingerprint(HashAlg::Sha256).to_string(), key.to_openssh());
        if let Ok(signature) = Signature::decode(&mut signature) {
            assert!(key.key_data().verify(b"something else", &signature).is_err(), "a forged signature");
        }
    }
    let mut blob = blob;
    if let Ok(certificate) = Certificate::decode(&mut blob) {
        let _ = (certificate.valid_after_time(), certificate.valid_before_time());
        let _ = certificate.verify_signature();
    }
}
