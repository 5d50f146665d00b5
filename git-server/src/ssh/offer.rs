//! What a client is offered, which depends on what it offers.
//!
//! Of two lists the client's order decides (RFC 4253, 7.1), and that of OpenSSH before 10 puts ChaCha20-Poly1305 and
//! AES-CTR before AES-GCM. On processors that have instructions for AES a clone with another cipher than AES-GCM took the
//! server twice the processor time and more, so an OpenSSH that can do AES-GCM is offered nothing else; one that was told
//! to leave it out is offered what it has. Other clients have the choice.
//!
//! A client that looks its server up in a list of known ones may still ask for another kind of key than the one it knows
//! (Go's library does), and then takes the server for another. So whoever can do Ed25519 is shown that key, as ever;
//! OpenSSH, which asks first for what it knows, may choose.
//!
//! What a client says of itself and what it offers are signed by both ends in the key exchange: nobody in between can
//! change them, and every algorithm here is a strong one.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use slipway_core::Problem;
use tokio::sync::Semaphore;
use tracing::warn;

use super::HostKeys;
use super::greeting::Client;
use super::strangers::Strangers;
use super::turns::Turns;
use crate::limits::{SSH_CHANNEL_PACKETS, SSH_FINITE_MAX, SSH_PACKET_BYTES, SSH_WINDOW_BYTES};
use crate::service::blocking;

/// What the server says to be.
pub(super) const SERVER_ID: &str = concat!("SSH-2.0-Slipway_", env!("CARGO_PKG_VERSION"));

/// OpenSSH prefers AES-GCM to AES-CTR since then.
pub(super) const OPENSSH_GCM_FIRST: u32 = 10;

const CURVES: [kex::Name; 6] = [
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
];
/// For who has no curves. It costs the server a hundred times as much, and larger groups a thousand times.
const FINITE: [kex::Name; 1] = [kex::DH_G14_SHA256];
const EXTENSIONS: [kex::Name; 2] =
    [kex::EXTENSION_SUPPORT_AS_SERVER, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER];

const ECDSA: &str = "ecdsa-sha2-nistp256";
const RSA: [&str; 2] = ["rsa-sha2-512", "rsa-sha2-256"];

const GCM: [cipher::Name; 2] = [cipher::AES_256_GCM, cipher::AES_128_GCM];
const CTR: [cipher::Name; 3] = [cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];
const CHACHA: [cipher::Name; 1] = [cipher::CHACHA20_POLY1305];

/// The ways to speak with a client.
pub(super) struct Offer {
    host_keys: HostKeys,
    /// Pause between two signs of life that a silent client is asked for.
    keepalive: Duration,
    /// That of nearly all connections: without an RSA key, and with one.
    fast: [OnceLock<Arc<Config>>; 2],
    fast_aes: bool,
    finite: Arc<Semaphore>,
    pub(super) strangers: Strangers,
}

/// What a client is offered.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Way {
    kex: &'static [kex::Name],
    ciphers: Vec<cipher::Name>,
    /// The Ed25519 key alone.
    first_key: bool,
    /// The client takes no other key than RSA's.
    rsa_alone: bool,
}

impl Offer {
    pub(super) fn new(host_keys: &HostKeys, keepalive: Duration) -> Self {
        Self {
            host_keys: host_keys.clone(),
            keepalive,
            fast: Default::default(),
            fast_aes: has_aes_instructions(),
            finite: Arc::new(Semaphore::new(SSH_FINITE_MAX)),
            strangers: Strangers::default(),
        }
    }

    /// The way for that client, and the turns that it takes if the key exchange is a dear one, until that is over.
    pub(super) async fn to(&self, client: &Client, over: Arc<AtomicBool>) -> (Arc<Config>, Option<Turns>) {
        let way = way(client, self.fast_aes);
        let turns = (way.kex == FINITE).then(|| Turns::new(Arc::clone(&self.finite), over));
        if way.rsa_alone && !self.host_keys.has_rsa() {
            let keys = self.host_keys.clone();
            let made = blocking(move || keys.make_rsa().map_err(Problem::from)).await;
            if let Err(problem) = made {
                warn!(%problem, "there is no RSA host key");
            }
        }
        let config = match way == Way::fast() {
            true => {
                let fast = &self.fast[usize::from(self.host_keys.has_rsa())];
                Arc::clone(fast.get_or_init(|| Arc::new(config(&self.host_keys, &way, self.keepalive))))
            }
            false => Arc::new(config(&self.host_keys, &way, self.keepalive)),
        };
        (config, turns)
    }
}

impl Way {
    fn fast() -> Self {
        Self { kex: &CURVES, ciphers: GCM.to_vec(), first_key: false, rsa_alone: false }
    }
}

fn way(client: &Client, fast_aes: bool) -> Way {
    let all = || [&GCM[..], &CHACHA, &CTR].concat();
    let Some(lists) = &client.lists else {
        // One that waits for the server's lists, or is known to have the right order.
        let ciphers = match client.openssh {
            Some(OPENSSH_GCM_FIRST..) if fast_aes => [&GCM[..], &CTR].concat(),
            Some(_) if fast_aes => GCM.to_vec(),
            _ => all(),
        };
        return Way { ciphers, first_key: client.openssh.is_none(), ..Way::fast() };
    };
    let has = |ciphers: &[cipher::Name]| ciphers.iter().any(|name| lists.has_cipher(name.as_ref()));
    let ciphers = match client.openssh {
        Some(_) if fast_aes && has(&GCM) => GCM.to_vec(),
        Some(_) if fast_aes && has(&CTR) => CTR.to_vec(),
        _ => all(),
    };
    let curves = CURVES.iter().any(|name| lists.has_kex(name.as_ref()));
    let finite = !curves && FINITE.iter().any(|name| lists.has_kex(name.as_ref()));
    let ed25519 = lists.has_key(Algorithm::Ed25519.as_str());
    let rsa_alone = !ed25519 && !lists.has_key(ECDSA) && RSA.iter().any(|name| lists.has_key(name));
    let first_key = client.openssh.is_none() && ed25519;
    Way { kex: if finite { &FINITE } else { &CURVES }, ciphers, first_key, rsa_alone }
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

fn config(host_keys: &HostKeys, way: &Way, keepalive: Duration) -> Config {
    let key = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        // SHA-1 signatures (ssh-rsa without a hash) stay refused, of people's keys and of the server's own.
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    Config {
        server_id: SshId::Standard(Cow::Borrowed(SERVER_ID)),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(20),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: host_keys.now().take(if way.first_key { 1 } else { usize::MAX }).cloned().collect(),
        window_size: SSH_WINDOW_BYTES,
        maximum_packet_size: SSH_PACKET_BYTES,
        channel_buffer_size: SSH_CHANNEL_PACKETS,
        event_buffer_size: 8,
        preferred: Preferred {
            kex: Cow::Owned([way.kex, &EXTENSIONS].concat()),
            key: Cow::Owned(key),
            cipher: Cow::Owned(way.ciphers.clone()),
            mac: Cow::Borrowed(&[
                mac::HMAC_SHA256_ETM,
                mac::HMAC_SHA512_ETM,
                mac::HMAC_SHA256,
                mac::HMAC_SHA512,
            ]),
            compression: Cow::Owned(vec![compression::NONE]),
            ..Preferred::DEFAULT
        },
        max_auth_attempts: 10,
        inactivity_timeout: Some(keepalive * 5),
        keepalive_interval: Some(keepalive),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::greeting::Lists;

    /// What a client with these lists is offered, as one line.
    fn offered(openssh: Option<u32>, lists: Option<(&str, &str, &str)>) -> String {
        let lists = lists.map(|(kex, key, cipher)| Lists::of(kex, key, cipher));
        let way = way(&Client { openssh, lists }, true);
        let kex = if way.kex == FINITE { "finite" } else { "curves" };
        let ciphers: Vec<_> =
            way.ciphers.iter().map(|c| c.as_ref().split('@').next().unwrap_or("")).collect();
        format!(
            "{kex} {} {}",
            ciphers.join(","),
            match way {
                Way { first_key: true, .. } => "ed25519",
                Way { rsa_alone: true, .. } => "rsa",
                _ => "all",
            }
        )
    }

    #[test]
    fn the_table_of_clients() {
        let (curve, group) = ("curve25519-sha256", "diffie-hellman-group14-sha256");
        let (gcm, ctr, chacha) = ("aes128-gcm@openssh.com", "aes256-ctr", "chacha20-poly1305@openssh.com");
        let all = "aes256-gcm,aes128-gcm,chacha20-poly1305,aes256-ctr,aes192-ctr,aes128-ctr";
        let list = |ciphers: &[&str]| ciphers.join(",");
        for (openssh, lists, want) in [
            (
                Some(9),
                Some((curve, "ssh-ed25519", list(&[chacha, ctr, gcm]))),
                "curves aes256-gcm,aes128-gcm all".into(),
            ),
            (
                Some(9),
                Some((curve, "ssh-ed25519", list(&[chacha, ctr]))),
                "curves aes256-ctr,aes192-ctr,aes128-ctr all".into(),
            ),
            (Some(9), Some((curve, "ssh-ed25519", list(&[chacha]))), format!("curves {all} all")),
            (Some(9), Some((group, "rsa-sha2-256", list(&[gcm]))), "finite aes256-gcm,aes128-gcm rsa".into()),
            (Some(9), None, "curves aes256-gcm,aes128-gcm all".into()),
            (Some(10), None, "curves aes256-gcm,aes128-gcm,aes256-ctr,aes192-ctr,aes128-ctr all".into()),
            (None, None, format!("curves {all} ed25519")),
            (
                None,
                Some((curve, "ecdsa-sha2-nistp256,ssh-ed25519", list(&[gcm, ctr]))),
                format!("curves {all} ed25519"),
            ),
            (None, Some((curve, "ecdsa-sha2-nistp256", list(&[ctr]))), format!("curves {all} all")),
            (None, Some((group, "ssh-rsa", list(&[ctr]))), format!("finite {all} all")),
            // Who can do nothing of it is told what there is.
            (
                None,
                Some(("diffie-hellman-group1-sha1", "ssh-dss", list(&["3des-cbc"]))),
                format!("curves {all} all"),
            ),
        ] {
            let shown = format!("{openssh:?} {lists:?}");
            let lists = lists.as_ref().map(|(kex, key, ciphers)| (*kex, *key, ciphers.as_str()));
            assert_eq!(offered(openssh, lists), want, "{shown}");
        }
    }
}
