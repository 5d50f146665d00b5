//! Secrets of a repository: what its builds and tests are given beside its files. Nobody reads a value back.

use std::collections::BTreeSet;

use slipway_core::limits;
use slipway_core::repo_secret::{RepoSecret, SecretRefs, SecretUse};
use slipway_core::{Action, Problem, RefName, RepoId, Secret, SecretName};
use slipway_store::{StoreError, View as Records};

use crate::access::repo;
use crate::caller::Caller;
use crate::forge::Forge;
use crate::refusal::invalid;

/// A secret as described by whoever sets it.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Its value.
    pub value: Secret,
    /// What it is for; nothing said means builds and tests.
    pub uses: BTreeSet<SecretUse>,
    /// Which refs' builds are given it; nothing said means the default branch's.
    pub on: SecretRefs,
}

/// Sets a secret, new or in place of the one of that name.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `Invalid`; `Conflict` where there are too many.
pub fn set(
    forge: &Forge,
    caller: &Caller,
    name: &str,
    secret: SecretName,
    new: NewSecret,
) -> Result<RepoSecret, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    check_value(&new.value)?;
    new.on.check()?;
    let usual = || SecretUse::USUAL.into_iter().collect();
    check_key(&new)?;
    let secret = RepoSecret {
        repo: record.id,
        name: secret,
        uses: if new.uses.is_empty() { usual() } else { new.uses },
        on: new.on,
        by: caller.actor.label(),
        changed: forge.now(),
    };
    forge.store.put_secret(&secret, &new.value)?;
    Ok(secret)
}

/// A value that cannot be hidden in a log is none: one letter is in every line.
fn check_value(value: &Secret) -> Result<(), Problem> {
    let (bytes, most) = (value.expose().len(), limits::in_force().secret_size_max);
    if bytes as u64 > most {
        return Err(invalid(
            format!("The value has {bytes} bytes, and a secret may have {most}."),
            "Keep large files elsewhere; secret_size_max in config.toml is the bound.",
        ));
    }
    if value.expose().trim().is_empty() {
        return Err(invalid("The value is empty.", "Give it with --file FILE, or on standard input."));
    }
    if value.expose().contains('\0') {
        return Err(invalid("The value has a zero byte in it.", "Give binary files in base64."));
    }
    Ok(())
}

/// A key that signs is never given out, and so it is for nothing else.
fn check_key(new: &NewSecret) -> Result<(), Problem> {
    if !new.uses.contains(&SecretUse::Ssh) {
        return Ok(());
    }
    if new.uses.len() > 1 {
        return Err(invalid(
            "A key for ssh signs and is given to nobody, so it cannot be for builds or tests, too.",
            "Say ssh alone, or set it under another name as well.",
        ));
    }
    let text = new.value.expose().trim_start();
    if !(text.starts_with("-----BEGIN ")
        && text.lines().next().is_some_and(|line| line.contains("PRIVATE KEY")))
    {
        return Err(invalid(
            "The value is no private key.",
            "Give the file that ssh-keygen made, the one without .pub, of a key without a passphrase.",
        ));
    }
    if is_locked(text) {
        return Err(invalid(
            "The key has a passphrase, which nobody could give while a build runs.",
            "Make one without for this purpose alone (ssh-keygen -N ''), or take it away from a copy: ssh-keygen -p -N '' -f COPY.",
        ));
    }
    Ok(())
}

/// True for a private key that a passphrase locks: OpenSSH's own form (its PROTOCOL.key: the magic, then the cipher's name), PKCS #8, and
/// the older PEM.
fn is_locked(text: &str) -> bool {
    use base64::Engine as _;
    let mut lines = text.lines().map(str::trim);
    if lines.next().is_some_and(|first| first.contains("ENCRYPTED"))
        || text.contains("Proc-Type: 4,ENCRYPTED")
    {
        return true;
    }
    let body: String = lines.take_while(|line| !line.starts_with("-----")).collect();
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(body) else { return false };
    let cipher = bytes.strip_prefix(b"openssh-key-v1\0").and_then(|rest| {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
    });
    cipher.is_some_and(|name| name != b"none")
}

/// All secrets of a repository, by name. Never their values.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository.
pub fn list(forge: &Forge, caller: &Caller, name: &str) -> Result<Vec<RepoSecret>, Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    forge.store.secrets(record.id)
}

/// Removes a secret.
///
/// # Errors
/// `Denied` unless the caller is an admin of the repository; `NotFound`.
pub fn remove(forge: &Forge, caller: &Caller, name: &str, secret: &SecretName) -> Result<(), Problem> {
    let record = repo(forge, caller, name, Action::AdminRepo)?;
    forge.store.remove_secret(record.id, secret)
}

/// What a build is given, and why not the rest.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Secrets that it is given for something, with their values.
    pub secrets: Vec<(RepoSecret, Secret)>,
    /// Those that it is not given for a purpose, with the reason.
    pub withheld: Vec<(SecretName, SecretUse, String)>,
}

/// The secrets of builds of `ref_name`. No value is read that is not given.
///
/// # Errors
/// Of the records.
pub fn given(
    records: &Records<'_>,
    repo: RepoId,
    ref_name: &RefName,
    default_branch: &RefName,
) -> Result<Given, StoreError> {
    let mut given = Given::default();
    for mut secret in records.secrets(repo)? {
        for purpose in SecretUse::ALL {
            if let Some(why) = secret.why_not(purpose, ref_name, default_branch) {
                secret.uses.remove(&purpose);
                given.withheld.push((secret.name.clone(), purpose, why));
            }
        }
        if secret.uses.is_empty() {
            continue;
        }
        if let Some(value) = records.secret_value(repo, &secret.name)? {
            given.secrets.push((secret, value));
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    /// The beginning of a key in OpenSSH's own form, with that cipher.
    fn key(cipher: &str) -> String {
        let mut bytes = b"openssh-key-v1\0".to_vec();
        bytes.extend_from_slice(&u32::try_from(cipher.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(cipher.as_bytes());
        bytes.extend_from_slice(&[0; 40]);
        let body = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n")
    }

    #[test]
    fn a_key_with_a_passphrase_is_known_in_every_form() {
        assert!(!super::is_locked(&key("none")) && super::is_locked(&key("aes256-ctr")));
        assert!(super::is_locked("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"));
        assert!(super::is_locked(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n"
        ));
        assert!(!super::is_locked("-----BEGIN PRIVATE KEY-----\nAAAA\n") && !super::is_locked("x"));
    }
}
