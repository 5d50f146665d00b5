//! Where an engine is, how it is reached, and with what it and we prove who we are.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::error::one_line;

/// An engine as the operator names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// `unix://…`, `tcp://…`, `https://…` or `ssh://…`; absent is `DOCKER_HOST`, or else the usual socket.
    pub host: Option<String>,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem` for TLS; absent is where Docker's clients look.
    pub certs: Option<PathBuf>,
    /// Private key for SSH; absent is the first of `~/.ssh` by its usual names.
    pub ssh_key: Option<PathBuf>,
    /// Known host keys for SSH; absent is `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
}

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
const KINDS: &str = "unix://, tcp://, https:// or ssh://";

/// How an engine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket of this machine.
    Socket(PathBuf),
    /// `HOST:PORT`, without any protection.
    Plain(String),
    /// `HOST:PORT` over TLS.
    Tls { at: String, certs: Option<PathBuf> },
    /// Docker's command on another machine.
    Ssh(SshAddress),
}

/// Whose account on which machine, and the files that say who is who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshAddress {
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The engine's socket there; absent is whatever Docker's command there takes.
    pub(crate) socket: Option<String>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) known_hosts: Option<PathBuf>,
}

/// True for `HOST` and `HOST:PORT`.
fn is_authority(at: &str) -> bool {
    at.parse::<http::uri::Authority>().is_ok_and(|authority| !authority.host().is_empty())
}

impl Reach {
    /// The address in words, and as it is.
    ///
    /// # Errors
    /// The address, and what is wrong with it: a clause.
    pub(crate) fn read(&self) -> Result<(String, Address), (String, String)> {
        let named = self.host.clone().or_else(|| std::env::var("DOCKER_HOST").ok());
        let host = named.filter(|host| !host.is_empty()).unwrap_or_else(|| DEFAULT_HOST.to_owned());
        match self.address(&host) {
            Ok(address) => Ok((host, address)),
            Err(why) => Err((slipway_core::without_account(&host), why)),
        }
    }

    fn address(&self, host: &str) -> Result<Address, String> {
        // Told in logs and errors: a password in it is nobody's business.
        let shown = slipway_core::without_account(host);
        let kinds = || format!("{shown:?} does not begin with {KINDS}");
        let (scheme, rest) = host.split_once("://").ok_or_else(kinds)?;
        let at = rest.trim_end_matches('/').to_owned();
        let verified = std::env::var_os("DOCKER_TLS_VERIFY").is_some();
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Address::Socket(PathBuf::from(rest))),
            "unix" => Err(format!("{shown:?} names no absolute path")),
            "https" | "tcp" | "http" if at.contains('@') => Err(format!(
                "{shown:?} names an account, which engines do not ask for: they know clients by certificates"
            )),
            "https" | "tcp" | "http" if !is_authority(&at) => {
                Err(format!("{shown:?} names no host, such as tcp://10.0.0.5:2375"))
            }
            "https" => Ok(Address::Tls { at, certs: self.certs.clone() }),
            "tcp" | "http" if verified || self.certs.is_some() => {
                Ok(Address::Tls { at, certs: self.certs.clone() })
            }
            "tcp" | "http" => Ok(Address::Plain(at)),
            "ssh" => self.ssh(rest).map(Address::Ssh),
            _ => Err(kinds()),
        }
    }

    /// Reads `[USER@]HOST[:PORT][/SOCKET]`.
    fn ssh(&self, rest: &str) -> Result<SshAddress, String> {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, at) = match authority.rsplit_once('@') {
            Some((user, at)) => (user.to_owned(), at),
            None => (local_user(), authority),
        };
        if user.contains(':') {
            return Err("a password has no place in an address; a key proves who we are".to_owned());
        }
        let at: http::uri::Authority =
            at.parse().map_err(|_| format!("{:?} is no name of a host", one_line(at)))?;
        let host = at.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let told = at.as_str().strip_prefix(at.host()).unwrap_or_default();
        if !told.is_empty() && at.port_u16().is_none() {
            return Err(format!("{:?} is no port", told.trim_start_matches(':')));
        }
        let path = path.trim_end_matches('/');
        // It becomes a word of a command line on the other side.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if user.is_empty() || host.is_empty() || !path.chars().all(plain) {
            return Err("an address over SSH is ssh://USER@HOST[:PORT][/PATH/OF/THE/SOCKET]".to_owned());
        }
        Ok(SshAddress {
            user,
            host,
            port: at.port_u16().unwrap_or(22),
            socket: Some(path.to_owned()).filter(|path| !path.is_empty()),
            key: self.ssh_key.clone(),
            known_hosts: self.known_hosts.clone(),
        })
    }
}

fn local_user() -> String {
    ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "root".into())
}

/// Why there is no connection, and what would help where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A clause.
    pub(crate) why: String,
    /// A sentence.
    pub(crate) cure: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for Refusal {}

impl Refusal {
    pub(crate) fn new(why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { why: why.into(), cure: Some(cure.into()) }
    }

    /// Without a cure of its own.
    pub(crate) fn plain(why: impl Into<String>) -> Self {
        Self { why: why.into(), cure: None }
    }

    /// What an error of a connection means: the innermost of its causes says it.
    pub(crate) fn read(e: &(dyn Error + 'static), address: &Address) -> Self {
        let mut cause = Some(e);
        let mut innermost = e;
        while let Some(here) = cause {
            innermost = here;
            if let Some(refusal) = here.downcast_ref::<Self>() {
                return refusal.clone();
            }
            if let Some(e) = here.downcast_ref::<rustls::Error>() {
                return Self::of_tls(e, address);
            }
            // What is wrapped in an I/O error is no cause of it, for the library; its own causes are.
            let wrapped = here.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause = wrapped.map(|e| e as &(dyn Error + 'static)).or_else(|| here.source());
        }
        Self::plain(one_line(&innermost.to_string()))
    }

    fn of_tls(e: &rustls::Error, address: &Address) -> Self {
        use rustls::{AlertDescription as Alert, CertificateError, Error as Tls};
        let (at, folder) = match address {
            Address::Tls { at, certs } => (at.as_str(), super::connection::folder(certs.as_deref())),
            _ => ("", None),
        };
        let folder =
            folder.map_or_else(|| "the folder DOCKER_CERT_PATH".to_owned(), |f| f.display().to_string());
        let why = one_line(&e.to_string());
        match e {
            Tls::InvalidMessage(_) => Self::new(
                "what is there does not speak TLS",
                format!("Write tcp://{at} if that is meant, or let the engine speak TLS there."),
            ),
            Tls::InvalidCertificate(CertificateError::UnknownIssuer) => Self::new(
                "nobody whom this machine trusts has signed its certificate",
                format!("Put the certificate of who has signed it into {folder}/ca.pem."),
            ),
            Tls::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::new(
                why,
                "Write the address with a name that its certificate has, or give it another certificate.",
            ),
            Tls::InvalidCertificate(_) => {
                Self::new(why, "Give the engine a certificate that is valid, and look at both clocks.")
            }
            Tls::AlertReceived(
                Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA | Alert::AccessDenied,
            ) => Self::new(
                format!("it does not take us for whom it serves ({why})"),
                format!(
                    "Put a certificate that it trusts, and its key, into {folder}: cert.pem and key.pem."
                ),
            ),
            _ => Self::plain(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(host: &str) -> Result<Address, String> {
        let reach = Reach { host: Some(host.to_owned()), ..Reach::default() };
        reach.read().map(|(_, address)| address).map_err(|(_, why)| why)
    }

    fn ssh(host: &str) -> (String, String, u16, Option<String>) {
        match read(host) {
            Ok(Address::Ssh(at)) => (at.user, at.host, at.port, at.socket),
            other => panic!("{host}: {other:?}"),
        }
    }

    #[test]
    fn an_address_says_how_an_engine_is_reached() {
        assert_eq!(read("unix:///run/x.sock"), Ok(Address::Socket("/run/x.sock".into())));
        assert_eq!(read("tcp://h:2375/"), Ok(Address::Plain("h:2375".into())));
        assert_eq!(read("https://h:2376"), Ok(Address::Tls { at: "h:2376".into(), certs: None }));
        let with = Reach { host: Some("tcp://h:1".into()), certs: Some("/c".into()), ..Reach::default() };
        assert_eq!(
            with.read().map(|(_, a)| a),
            Ok(Address::Tls { at: "h:1".into(), certs: Some("/c".into()) })
        );
        let told = read("tcp://u:hunter2@h:1").expect_err("no account");
        assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
        for wrong in ["", "h:1", "ftp://h", "npipe:////./pipe/docker_engine"] {
            assert!(wrong.is_empty() || read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_over_ssh_is_read_as_docker_reads_it() {
        let whole = ssh("ssh://ci@builder.example.org:2222/run/user/1000/docker.sock");
        let socket = Some("/run/user/1000/docker.sock".to_owned());
        assert_eq!(whole, ("ci".into(), "builder.example.org".into(), 2222, socket));
        assert_eq!(ssh("ssh://ci@h"), ("ci".into(), "h".into(), 22, None));
        assert_eq!(ssh("ssh://ci@[::1]:23/"), ("ci".into(), "::1".into(), 23, None));
        for wrong in
            ["ssh://", "ssh://@h", "ssh://a:b@h", "ssh://a@h/x;reboot", "ssh://a@h/$(x)", "ssh://a@h:x"]
        {
            assert!(read(wrong).is_err(), "{wrong}: {:?}", read(wrong));
        }
    }

    #[test]
    fn the_innermost_cause_is_told_with_its_cure() {
        let address = Address::Tls { at: "h:1".into(), certs: Some("/certs".into()) };
        let wrapped =
            std::io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        let told = Refusal::read(&wrapped, &address);
        assert!(told.cure.as_deref().is_some_and(|cure| cure.contains("/certs/ca.pem")), "{told:?}");
        let wrapped = std::io::Error::other(Refusal::new("a", "B."));
        assert_eq!(Refusal::read(&wrapped, &address), Refusal::new("a", "B."));
        let plain = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        assert_eq!(Refusal::read(&plain, &address), Refusal::plain("refused"));
    }
}
