//! What a client is offered, which depends on who it says to be.
//!
//! Of two lists of ciphers the client's order decides (RFC 4253, 7.1), and OpenSSH's begins with ChaCha20-Poly1305. On
//! processors that have instructions for AES a clone with it took the server twice the processor time, so OpenSSH is
//! offered AES-GCM alone; it has had that since 6.2 (2013). Who cannot do AES-GCM (older PuTTY, Dropbear) is offered
//! ChaCha20-Poly1305 as well. What a client says of itself is part of what both ends sign in the key exchange: nobody in
//! between can change it, and every cipher here is a strong one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex};
use tokio::net::TcpStream;

use super::HostKeys;
use crate::limits::{
    SSH_CHANNEL_PACKETS, SSH_DEAD, SSH_ID_WAIT, SSH_KEEPALIVE, SSH_PACKET_BYTES, SSH_WINDOW_BYTES,
};

/// The ways to speak with a client.
pub(super) struct Offer {
    fast: Arc<Config>,
    wide: Arc<Config>,
}

impl Offer {
    pub(super) fn new(host_keys: &HostKeys) -> Self {
        let gcm = [cipher::AES_256_GCM, cipher::AES_128_GCM];
        let wide = [cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::CHACHA20_POLY1305];
        let fast: &[_] = if has_aes_instructions() { &gcm } else { &wide };
        Self { fast: Arc::new(config(host_keys, fast)), wide: Arc::new(config(host_keys, &wide)) }
    }

    /// The way for the client at the other end of `stream`, of which nothing is taken. Clients that let the server
    /// speak first are not waited for long.
    pub(super) async fn to(&self, stream: &TcpStream) -> Arc<Config> {
        let mut id = [0; 32];
        let said = match tokio::time::timeout(SSH_ID_WAIT, stream.peek(&mut id)).await {
            Ok(Ok(length)) => id.get(..length).unwrap_or_default(),
            _ => &[],
        };
        Arc::clone(if is_openssh(said) { &self.fast } else { &self.wide })
    }
}

/// True for `SSH-2.0-OpenSSH_…`, as its clients begin in every version.
fn is_openssh(id: &[u8]) -> bool {
    id.starts_with(b"SSH-2.0-OpenSSH_")
}

/// True where the processor has instructions for AES and for GCM's multiplication, which is all of x86-64 since 2013
/// and of 64-bit ARM, but for small boards.
fn has_aes_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

fn config(host_keys: &HostKeys, ciphers: &[cipher::Name]) -> Config {
    // Finite-field key exchange is left out: it costs the server far more than the client.
    let kex = vec![
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    let key = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        // People's keys alone; SHA-1 signatures (ssh-rsa without a hash) stay refused.
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Slipway_", env!("CARGO_PKG_VERSION")))),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(20),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_keys.key.clone()],
        window_size: SSH_WINDOW_BYTES,
        maximum_packet_size: SSH_PACKET_BYTES,
        channel_buffer_size: SSH_CHANNEL_PACKETS,
        event_buffer_size: 8,
        preferred: Preferred {
            kex: Cow::Owned(kex),
            key: Cow::Owned(key),
            cipher: Cow::Owned(ciphers.to_vec()),
            compression: Cow::Owned(vec![compression::NONE]),
            ..Preferred::DEFAULT
        },
        max_auth_attempts: 10,
        inactivity_timeout: Some(SSH_DEAD),
        keepalive_interval: Some(SSH_KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_is_known_by_its_first_words() {
        for (id, known) in [
            (&b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n"[..], true),
            (b"SSH-2.0-OpenSSH_for_Windows_9.5\r\n", true),
            (b"SSH-2.0-PuTTY_Release_0.78\r\n", false),
            (b"SSH-2.0-Go\r\n", false),
            (b"SSH-2.0-OpenSS", false),
            (b"", false),
        ] {
            assert_eq!(is_openssh(id), known, "{}", String::from_utf8_lossy(id));
        }
    }
}
