//! The first words with a client, before the SSH library takes over: the server says what it is, and hears what the client
//! is and what it offers. The library must choose its own offer before it has heard either; so it is handed what was
//! read, and what it says first is left out (`stream.rs`), for that was said.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::offer::{OPENSSH_GCM_FIRST, SERVER_ID};
use crate::limits::{SSH_ID_BYTES_MAX, SSH_LISTS_BYTES_MAX, SSH_LISTS_WAIT};

/// The message with which a key exchange begins (RFC 4253, 7.1), and the bytes before its lists: kind and cookie.
const KEXINIT: (u8, usize) = (20, 17);

/// What a client says of itself.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// The major version of an OpenSSH.
    pub(super) openssh: Option<u32>,
    /// What it offers, if it said so before it was asked.
    pub(super) lists: Option<Lists>,
}

/// What a client offers: names, with commas between.
#[derive(Debug)]
pub(super) struct Lists {
    kex: String,
    key: String,
    cipher: String,
}

impl Lists {
    pub(super) fn has_kex(&self, name: &str) -> bool {
        self.kex.split(',').any(|one| one == name)
    }

    pub(super) fn has_key(&self, name: &str) -> bool {
        self.key.split(',').any(|one| one == name)
    }

    pub(super) fn has_cipher(&self, name: &str) -> bool {
        self.cipher.split(',').any(|one| one == name)
    }

    #[cfg(test)]
    pub(super) fn of(kex: &str, key: &str, cipher: &str) -> Self {
        Self { kex: kex.into(), key: key.into(), cipher: cipher.into() }
    }
}

/// What was said.
pub(super) struct Greeting {
    /// By whom.
    pub(super) client: Client,
    /// What was read, all of which the library has to read too.
    pub(super) heard: Vec<u8>,
    /// How many bytes were sent, which the library sends too.
    pub(super) said: usize,
}

/// Greets the client at the other end of `stream`.
///
/// # Errors
/// Those of the stream. What is no SSH is heard and handed on: the library knows what to say to it.
pub(super) async fn greet(stream: &mut TcpStream) -> io::Result<Greeting> {
    let words = format!("{SERVER_ID}\r\n");
    stream.write_all(words.as_bytes()).await?;
    let mut heard = Vec::with_capacity(4096);
    while id(&heard).is_none() && heard.len() < SSH_ID_BYTES_MAX {
        if !hear_more(stream, &mut heard).await? {
            break;
        }
    }
    let openssh = id(&heard).and_then(|(id, _)| openssh(id));
    let mut client = Client { openssh, lists: None };
    if openssh.is_none_or(|major| major < OPENSSH_GCM_FIRST) {
        client.lists =
            tokio::time::timeout(SSH_LISTS_WAIT, hear_lists(stream, &mut heard)).await.unwrap_or(Ok(None))?;
    }
    Ok(Greeting { client, heard, said: words.len() })
}

/// False where nothing more comes. May be dropped at any time: what was read is in `heard`.
async fn hear_more(stream: &mut TcpStream, heard: &mut Vec<u8>) -> io::Result<bool> {
    // As in stream.rs: a client that waits for an acknowledgement must not wait for the answer.
    #[cfg(target_os = "linux")]
    let _ = stream.set_quickack(true);
    heard.reserve(4096);
    Ok(stream.read_buf(heard).await? > 0)
}

async fn hear_lists(stream: &mut TcpStream, heard: &mut Vec<u8>) -> io::Result<Option<Lists>> {
    while let Some((_, length)) = id(heard) {
        match packet(heard.get(length..).unwrap_or_default()) {
            Packet::Short => {
                if !hear_more(stream, heard).await? {
                    break;
                }
            }
            Packet::Whole(payload) => return Ok(lists(payload)),
            Packet::Other => break,
        }
    }
    Ok(None)
}

/// The client's line without its end, and its length with it.
fn id(heard: &[u8]) -> Option<(&[u8], usize)> {
    let end = heard.iter().take(SSH_ID_BYTES_MAX).position(|&byte| byte == b'\n')?;
    let line = heard.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// The major version in `SSH-2.0-OpenSSH_9.2p1 Debian-2` or `SSH-2.0-OpenSSH_for_Windows_9.5`.
fn openssh(id: &[u8]) -> Option<u32> {
    let rest = id.strip_prefix(b"SSH-2.0-OpenSSH_")?;
    let rest = rest.strip_prefix(b"for_Windows_").unwrap_or(rest);
    let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// Everything here that reads what a client says, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn first_words(heard: &[u8]) {
    if let Some(lists) = client_of(heard).lists {
        let _ = (lists.has_kex("a"), lists.has_key("a"), lists.has_cipher("a"));
    }
}

/// What a client is whose words are all there.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn client_of(heard: &[u8]) -> Client {
    let Some((line, length)) = id(heard) else { return Client::default() };
    let lists = match packet(heard.get(length..).unwrap_or_default()) {
        Packet::Whole(payload) => lists(payload),
        Packet::Short | Packet::Other => None,
    };
    Client { openssh: openssh(line), lists }
}

enum Packet<'a> {
    /// More of it has to come.
    Short,
    /// Its payload.
    Whole(&'a [u8]),
    /// It is none, or too long.
    Other,
}

/// The first packet, which is not encrypted: length, length of the padding, payload, padding.
fn packet(bytes: &[u8]) -> Packet<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Packet::Short };
    let length = u32::from_be_bytes(*length) as usize;
    if !(2..=SSH_LISTS_BYTES_MAX).contains(&length) {
        return Packet::Other;
    }
    let Some(packet) = rest.get(..length) else { return Packet::Short };
    match packet.split_first() {
        Some((&padding, rest)) if usize::from(padding) < rest.len() => {
            Packet::Whole(&rest[..rest.len() - usize::from(padding)])
        }
        _ => Packet::Other,
    }
}

fn lists(payload: &[u8]) -> Option<Lists> {
    if payload.first() != Some(&KEXINIT.0) {
        return None;
    }
    let mut rest = payload.get(KEXINIT.1..)?;
    let mut next = || {
        let (length, more) = rest.split_first_chunk::<4>()?;
        let (list, more) = more.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = more;
        String::from_utf8(list.to_vec()).ok()
    };
    Some(Lists { kex: next()?, key: next()?, cipher: next()? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn openssh_and_its_version_are_known_by_its_first_words() {
        for (id, version) in [
            (&b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10"[..], Some(9)),
            (b"SSH-2.0-OpenSSH_10.0", Some(10)),
            (b"SSH-2.0-OpenSSH_for_Windows_9.5", Some(9)),
            (b"SSH-2.0-OpenSSH_", Some(0)),
            (b"SSH-2.0-OpenSSH_99999999999999999999", Some(9999)),
            (b"SSH-2.0-OpenSSH-keyscan", None),
            (b"SSH-2.0-PuTTY_Release_0.78", None),
            (b"SSH-2.0-Go", None),
            (b"", None),
        ] {
            assert_eq!(openssh(id), version, "{}", String::from_utf8_lossy(id));
        }
    }

    /// A packet with those lists.
    fn kexinit(names: &[&str]) -> Vec<u8> {
        let mut payload = vec![KEXINIT.0];
        payload.extend([7; 16]);
        for list in names {
            payload.extend((list.len() as u32).to_be_bytes());
            payload.extend(list.as_bytes());
        }
        let mut packet = (payload.len() as u32 + 5).to_be_bytes().to_vec();
        packet.push(4);
        packet.extend(payload);
        packet.extend([0; 4]);
        packet
    }

    /// What is made of those pieces, and how much was heard.
    async fn said(pieces: &[&[u8]], hang_up: bool) -> (Client, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let greeted = tokio::spawn(async move { greet(&mut stream).await.expect("heard") });
        for piece in pieces {
            peer.write_all(piece).await.expect("said");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if hang_up {
            peer.shutdown().await.expect("shut");
        }
        let greeting = greeted.await.expect("no panic");
        (greeting.client, greeting.heard.len())
    }

    #[tokio::test]
    async fn lists_are_heard_in_one_piece_or_in_many() {
        let packet = kexinit(&["a,b", "ssh-ed25519", "aes256-ctr", "x"]);
        let whole = [&b"SSH-2.0-Go\n"[..], &packet].concat();
        let bytes: Vec<&[u8]> = whole.chunks(7).collect();
        for pieces in [&[&whole[..]][..], &bytes] {
            let (client, heard) = said(pieces, false).await;
            let lists = client.lists.expect("lists");
            assert!(lists.has_kex("b") && !lists.has_kex("a,b") && lists.has_key("ssh-ed25519"));
            assert!(lists.has_cipher("aes256-ctr") && !lists.has_cipher("aes256"));
            assert_eq!(heard, whole.len());
        }
    }

    #[tokio::test]
    async fn what_is_no_list_is_left_to_the_library() {
        let long = [b'x'; SSH_ID_BYTES_MAX];
        let endless = (SSH_LISTS_BYTES_MAX as u32 + 1).to_be_bytes();
        for (pieces, hang_up) in [
            (&[&b"GET / HTTP/1.1\r\n\r\n\r\n\r\n"[..]][..], false),
            (&[&long[..]], false),
            (&[b"SSH-2.0-Go\r\n", &endless], false),
            (&[b"SSH-2.0-Go\r\n", &[0, 0, 0, 2, 9, 9]], false),
            (&[b"SSH-2.0-Go\r\n", &kexinit(&["a", "b"])], false),
            (&[b"SSH-2.0-Go\r\n", &[0, 0, 0]], true),
            (&[b"SSH-2.0-OpenSSH_10.1\r\n"], false),
            (&[b""], true),
            // One that waits for the server's own lists.
            (&[b"SSH-2.0-libssh_0.8\r\n"], false),
        ] {
            let (client, heard) = said(pieces, hang_up).await;
            assert!(client.lists.is_none(), "{pieces:?}");
            assert_eq!(heard, pieces.iter().map(|piece| piece.len()).sum::<usize>());
        }
    }
}
