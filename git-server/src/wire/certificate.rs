//! Push certificates: the signed form of a push's commands (gitprotocol-pack, "Push Certificate"). Read here; what the
//! nonce and the signature are worth is judged by `service`.

use super::{WireError, push_bounded, read_text};
use crate::limits::{CERTIFICATE_BYTES_MAX, SIGNATURE_BYTES_MAX};
use slipway_core::limits::{PUSH_OPTIONS_MAX, PUSH_UPDATES_MAX};

const END: &[u8] = b"push-cert-end\n";
/// First lines of the signatures that git knows: OpenPGP, OpenPGP wrapped, X.509, SSH.
const SIGNATURES: [&[u8]; 4] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
];

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Who says to have signed.
    pub(crate) pusher: String,
    /// Where the pusher meant to push.
    pub(crate) pushee: Option<String>,
    /// The nonce that the server gave.
    pub(crate) nonce: Option<String>,
    /// Push options that were signed with it.
    pub(crate) options: Vec<String>,
    /// The commands, a line each, without line ends.
    pub(crate) commands: Vec<Vec<u8>>,
    /// What is signed.
    pub(crate) payload: Vec<u8>,
    /// The signature in its armour.
    pub(crate) signature: Vec<u8>,
}

/// Collects the packets of a certificate.
#[derive(Debug, Default)]
pub(crate) struct CertificateReader {
    text: Vec<u8>,
}

impl CertificateReader {
    /// Takes a packet's data as sent; the certificate once it has ended.
    pub(crate) fn take(&mut self, data: &[u8]) -> Result<Option<Certificate>, WireError> {
        if data == END {
            return parse(&self.text).map(Some);
        }
        if self.text.len().saturating_add(data.len()) > CERTIFICATE_BYTES_MAX {
            return Err(WireError::TooMany {
                what: "bytes in a push certificate",
                max: CERTIFICATE_BYTES_MAX,
            });
        }
        self.text.extend_from_slice(data);
        Ok(None)
    }
}

fn malformed(found: &[u8]) -> WireError {
    WireError::unexpected("a line of a push certificate", found)
}

/// The lines of a text, and how much of it they took.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its end, and where it begins; `None` behind the last.
    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        let rest = self.text.get(self.at..)?;
        let end = rest.iter().position(|b| *b == b'\n')?;
        let start = self.at;
        self.at += end + 1;
        Some((start, rest.get(..end)?))
    }
}

fn parse(text: &[u8]) -> Result<Certificate, WireError> {
    let mut lines = Lines { text, at: 0 };
    let mut certificate = read_head(&mut lines)?;
    let signed = loop {
        let (start, line) = lines.next().ok_or_else(|| malformed(b"no signature"))?;
        if SIGNATURES.iter().any(|first| line.starts_with(first)) {
            break start;
        }
        if certificate.commands.len() >= PUSH_UPDATES_MAX {
            return Err(WireError::TooManyRefs);
        }
        certificate.commands.push(line.to_vec());
    };
    let (payload, signature) = text.split_at(signed.min(text.len()));
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(WireError::TooMany { what: "bytes in a signature", max: SIGNATURE_BYTES_MAX });
    }
    if certificate.commands.is_empty() {
        return Err(malformed(b"no commands"));
    }
    (certificate.payload, certificate.signature) = (payload.to_vec(), signature.to_vec());
    Ok(certificate)
}

/// Everything up to the empty line.
fn read_head(lines: &mut Lines<'_>) -> Result<Certificate, WireError> {
    let mut certificate = Certificate::default();
    let mut pusher = None;
    match lines.next() {
        Some((_, b"certificate version 0.1")) => {}
        other => return Err(malformed(other.map_or(&b"nothing"[..], |(_, line)| line))),
    }
    loop {
        let (_, line) = lines.next().ok_or(WireError::Cut)?;
        if line.is_empty() {
            break;
        }
        let (key, value) = match line.iter().position(|b| *b == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = read_text(value, "a line of a push certificate")?;
        match key {
            b"pusher" => once(&mut pusher, value, "pusher")?,
            b"pushee" => once(&mut certificate.pushee, value, "pushee")?,
            b"nonce" => once(&mut certificate.nonce, value, "nonce")?,
            b"push-option" => {
                push_bounded(&mut certificate.options, value, "push options", PUSH_OPTIONS_MAX)?
            }
            _ => return Err(malformed(line)),
        }
    }
    certificate.pusher = pusher.ok_or_else(|| malformed(b"no pusher"))?;
    Ok(certificate)
}

fn once(slot: &mut Option<String>, value: String, what: &'static str) -> Result<(), WireError> {
    if slot.replace(value).is_some() { Err(WireError::Twice(what)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "certificate version 0.1\npusher A <a@x> 1 +0000\npushee ssh://x/y\nnonce 1-ab\n";
    const COMMAND: &str =
        "0000000000000000000000000000000000000000 1111111111111111111111111111111111111111 refs/heads/main\n";
    const SIGNATURE: &str = "-----BEGIN SSH SIGNATURE-----\nxyz\n-----END SSH SIGNATURE-----\n";

    fn read(text: &str) -> Result<Certificate, WireError> {
        let mut reader = CertificateReader::default();
        for line in text.split_inclusive('\n') {
            assert!(reader.take(line.as_bytes())?.is_none());
        }
        reader.take(END).map(|certificate| certificate.expect("ended"))
    }

    #[test]
    fn a_certificate_is_read() {
        let text = format!("{HEAD}push-option wait\n\n{COMMAND}{SIGNATURE}");
        let read = read(&text).expect("valid");
        assert_eq!(read.nonce.as_deref(), Some("1-ab"));
        assert_eq!(read.options, ["wait"]);
        assert_eq!(read.commands, [COMMAND.trim_end().as_bytes().to_vec()]);
        assert_eq!(read.payload, &text.as_bytes()[..text.len() - SIGNATURE.len()]);
        assert_eq!(read.signature, SIGNATURE.as_bytes());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bad in [
            String::new(),
            "certificate version 9\n".into(),
            HEAD.into(),
            format!("{HEAD}\n"),
            format!("{HEAD}\n{COMMAND}"),
            format!("{HEAD}\n{SIGNATURE}"),
            format!("{HEAD}nonce 2-cd\n\n{COMMAND}{SIGNATURE}"),
            format!("{HEAD}evil x\n\n{COMMAND}{SIGNATURE}"),
            format!("certificate version 0.1\nnonce 1-ab\n\n{COMMAND}{SIGNATURE}"),
        ] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bounds_hold() {
        let long = format!("{HEAD}\n{COMMAND}{SIGNATURE}{}", "x".repeat(SIGNATURE_BYTES_MAX));
        assert!(matches!(read(&format!("{long}\n")), Err(WireError::TooMany { .. })));
        let mut reader = CertificateReader::default();
        let line = vec![b'x'; 60_000];
        let taken = (0..).find(|_| reader.take(&line).is_err()).expect("ends");
        assert!(taken * line.len() <= CERTIFICATE_BYTES_MAX);
        let many = format!("{HEAD}\n{}{SIGNATURE}", COMMAND.repeat(PUSH_UPDATES_MAX + 1));
        assert!(matches!(read(&many), Err(WireError::TooManyRefs)));
    }
}
