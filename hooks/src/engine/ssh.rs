//! An engine over SSH, as Docker's own command reaches it: `docker system dial-stdio` on the other machine, whose input and
//! output are the connection.
//!
//! The other machine must be known beforehand: its key stands in a file of known hosts, and nothing is learned by the way.
//! Every connection is an SSH connection of its own, so that none waits for another's channel (sshd's `MaxSessions`).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, Handle};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Disconnect, Preferred, SshId};

use super::address::{Refusal, SshAddress};
use super::connection::{Duplex, tcp};
use crate::error::one_line;
use crate::limits::ENGINE_KEEPALIVE;

mod pipe;

/// The usual names of private keys, best first.
const KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

impl SshAddress {
    /// Connects.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Duplex>, Refusal> {
        let ours = self.clone();
        let read = tokio::task::spawn_blocking(move || Ok((ours.known()?, ours.keys()?))).await;
        let (known, keys) = read.map_err(|e| Refusal::plain(e.to_string()))??;
        let stream = tcp((self.host.as_str(), self.port)).await.map_err(|e| Refusal::plain(e.to_string()))?;
        let seen = Arc::new(Mutex::new(None));
        let config = Arc::new(config(&known));
        let other = Other { known, seen: seen.clone() };
        let mut handle = client::connect_stream(config, stream, other).await.map_err(|e| {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            seen.map_or_else(|| Refusal::plain(words(&e)), |key| self.not_known(&key))
        })?;
        self.sign_in(&mut handle, keys).await?;
        let channel = handle.channel_open_session().await.map_err(|e| Refusal::plain(words(&e)))?;
        channel.exec(true, self.command()).await.map_err(|e| Refusal::plain(words(&e)))?;
        Ok(Box::new(pipe::begin(handle, channel, self.by_hand())))
    }

    fn command(&self) -> String {
        match &self.socket {
            Some(path) => format!("docker --host unix://{path} system dial-stdio"),
            None => "docker system dial-stdio".to_owned(),
        }
    }

    /// What shows a person what goes wrong.
    fn by_hand(&self) -> String {
        format!(
            "Docker's command must be there for {} and reach the engine; try it: ssh -p {} {}@{} docker version.",
            self.user, self.port, self.user, self.host
        )
    }

    fn known_hosts(&self) -> Result<PathBuf, Refusal> {
        self.known_hosts.clone().or_else(|| Some(home()?.join("known_hosts"))).ok_or_else(no_home)
    }

    /// The keys by which the other machine is known. Blocking.
    fn known(&self) -> Result<Vec<PublicKey>, Refusal> {
        let file = self.known_hosts()?;
        let read = russh::keys::known_hosts::known_host_keys_path(&self.host, self.port, &file);
        let keys = read.map_err(|e| {
            Refusal::new(
                format!("{} cannot be read: {}", file.display(), one_line(&e.to_string())),
                "Mend the file of known hosts.",
            )
        })?;
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }

    /// The keys that prove who we are. Blocking.
    fn keys(&self) -> Result<Vec<PrivateKey>, Refusal> {
        if let Some(file) = &self.key {
            return Ok(vec![load(file)?]);
        }
        let folder = home().ok_or_else(no_home)?;
        let files = KEYS.iter().map(|name| folder.join(name)).filter(|file| file.exists());
        let (mut keys, mut wrong) = (Vec::new(), None);
        for read in files.map(|file| load(&file)) {
            match read {
                Ok(key) => keys.push(key),
                Err(refusal) => wrong = Some(refusal),
            }
        }
        match wrong {
            Some(refusal) if keys.is_empty() => Err(refusal),
            None if keys.is_empty() => Err(Refusal::new(
                format!("there is no private key in {}", folder.display()),
                "Make one there with ssh-keygen, or name one: ssh_key of its [[engines]] in config.toml.",
            )),
            _ => Ok(keys),
        }
    }

    async fn sign_in(&self, handle: &mut Handle<Other>, keys: Vec<PrivateKey>) -> Result<(), Refusal> {
        let failed = |e: russh::Error| Refusal::plain(words(&e));
        let mut tried = Vec::new();
        for key in keys {
            tried.push(key.public_key().fingerprint(HashAlg::Sha256).to_string());
            let hash = match key.algorithm() {
                Algorithm::Rsa { .. } => handle.best_supported_rsa_hash().await.map_err(failed)?.flatten(),
                _ => None,
            };
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            if handle.authenticate_publickey(&self.user, key).await.map_err(failed)?.success() {
                return Ok(());
            }
        }
        Err(Refusal::new(
            format!("it does not let {} in with the key {}", self.user, tried.join(" or ")),
            format!(
                "Write the key's public half into the file .ssh/authorized_keys of {} there, or name another key: \
                 ssh_key of its [[engines]] in config.toml.",
                self.user
            ),
        ))
    }

    /// The other machine's key is none of those by which it is known.
    fn not_known(&self, key: &PublicKey) -> Refusal {
        let file =
            self.known_hosts().map_or_else(|_| "known_hosts".to_owned(), |file| file.display().to_string());
        let shown = key.fingerprint(HashAlg::Sha256);
        Refusal::new(
            format!("the key of that machine ({shown}) is not the one by which {file} knows it, if it does"),
            format!(
                "Compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says there, and then write it into \
                 that file: ssh-keyscan -p {} {}.",
                self.port, self.host
            ),
        )
    }
}

fn home() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".ssh"))
}

fn no_home() -> Refusal {
    Refusal::new(
        "there is no home folder",
        "Name the files: ssh_key and known_hosts of its [[engines]] in config.toml.",
    )
}

fn load(file: &Path) -> Result<PrivateKey, Refusal> {
    let wrong = |why: String, cure: &str| {
        Err(Refusal::new(format!("the key {} cannot be used: {why}", file.display()), cure))
    };
    match russh::keys::load_secret_key(file, None) {
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => wrong(
            "it has a passphrase".to_owned(),
            "Make a key without one, for this server alone, and name it: ssh_key of its [[engines]] in config.toml.",
        ),
        Err(e) => wrong(
            one_line(&e.to_string()),
            "Name a private key that OpenSSH reads: ssh_key of its [[engines]] in config.toml.",
        ),
    }
}

/// Asks first for keys of the kinds by which the other machine is known.
fn config(known: &[PublicKey]) -> client::Config {
    let usual = Preferred::default();
    // One RSA key can be asked for by several names.
    let kind = |algorithm: &Algorithm| match algorithm {
        Algorithm::Rsa { .. } => Algorithm::Rsa { hash: None },
        other => other.clone(),
    };
    let is_known = |algorithm: &Algorithm| known.iter().any(|key| kind(&key.algorithm()) == kind(algorithm));
    let (first, then): (Vec<_>, Vec<_>) = usual.key.iter().cloned().partition(is_known);
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Slipway")),
        preferred: Preferred { key: first.into_iter().chain(then).collect(), ..usual },
        keepalive_interval: Some(ENGINE_KEEPALIVE),
        nodelay: true,
        ..client::Config::default()
    }
}

fn words(e: &russh::Error) -> String {
    one_line(&e.to_string())
}

/// The other machine: is it the one that is meant?
struct Other {
    known: Vec<PublicKey>,
    /// Its key, where it is not known.
    seen: Arc<Mutex<Option<PublicKey>>>,
}

impl client::Handler for Other {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let known = self.known.iter().any(|known| known.key_data() == key.key_data());
        if !known {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        }
        Ok(known)
    }
}

async fn leave(handle: &Handle<Other>) {
    // Best effort: whoever is gone needs no farewell.
    let farewell = handle.disconnect(Disconnect::ByApplication, "", "en");
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), farewell).await;
}
