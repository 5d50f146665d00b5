//! Who gets a place for an SSH connection, and how those are told who do not.

use std::net::SocketAddr;
use std::sync::Arc;

use slipway_core::Problem;
use slipway_core::limits::Limits;
use slipway_forge::origin::TrustedProxies;
use slipway_forge::shares::{Party, Place, Shares};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::warn;

use crate::limits::FAREWELL;

/// A connection that has its place.
pub(super) struct Admitted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

/// Waits for a place for whoever connects, and finds out who it is where a proxy tells; a refusal is to be told.
pub(super) async fn admit(
    places: &Arc<Shares>,
    proxies: &TrustedProxies,
    (mut stream, proxy): (TcpStream, SocketAddr),
    limits: &Limits,
) -> Result<Admitted, Option<(TcpStream, Problem)>> {
    let party = if proxies.has(proxy.ip()) { Party::Proxy } else { Party::at(proxy.ip()) };
    let place = match places.enter(party, limits.ssh_connection_wait).await {
        Ok(place) => place,
        Err(problem) => return Err(Some((stream, problem))),
    };
    place.waits(limits.ssh_login_timeout * 2);
    let peer = match proxies.accepted(&mut stream, proxy).await {
        Ok(peer) => peer,
        Err(error) => {
            warn!(%proxy, "a proxy does not say who connects: {error}");
            return Err(None);
        }
    };
    match place.becomes(Party::at(peer.ip())) {
        Ok(()) => Ok(Admitted { stream, peer, place }),
        Err(problem) => Err(Some((stream, problem))),
    }
}

/// Tells a client that finds no place why, in the first message that it understands: who disconnects before keys are
/// exchanged does so in the clear (RFC 4253, 11.1), and clients show it.
pub(super) async fn turn_away(mut stream: TcpStream, problem: &Problem) {
    let farewell = async {
        let mut out = b"SSH-2.0-Slipway\r\n".to_vec();
        put_disconnect(&mut out, &problem.to_string());
        stream.write_all(&out).await?;
        stream.shutdown().await?;
        // Closed with unread bytes, the message would be lost on its way.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    drop(tokio::time::timeout(FAREWELL, farewell).await);
}

/// An unencrypted packet (RFC 4253, 6) with SSH_MSG_DISCONNECT and the reason "too many connections".
fn put_disconnect(out: &mut Vec<u8>, text: &str) {
    const DISCONNECT: u8 = 1;
    const TOO_MANY_CONNECTIONS: u32 = 12;
    let number = |n: usize| u32::try_from(n).unwrap_or(0).to_be_bytes();
    let mut payload = vec![DISCONNECT];
    payload.extend_from_slice(&TOO_MANY_CONNECTIONS.to_be_bytes());
    payload.extend_from_slice(&number(text.len()));
    payload.extend_from_slice(text.as_bytes());
    payload.extend_from_slice(&number(0));
    // Length, padding's length, payload and padding fill blocks of eight; at least four bytes are padding.
    let padding = 4 + (8 - (4 + 1 + payload.len() + 4) % 8) % 8;
    out.extend_from_slice(&number(1 + payload.len() + padding));
    out.push(u8::try_from(padding).unwrap_or(4));
    out.extend_from_slice(&payload);
    out.extend(std::iter::repeat_n(0, padding));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fills_whole_blocks_and_says_how_long_it_is() {
        for text in ["", "a", "There are too many SSH connections from your address.", &"x".repeat(300)] {
            let mut out = Vec::new();
            put_disconnect(&mut out, text);
            let length = u32::from_be_bytes([out[0], out[1], out[2], out[3]]) as usize;
            let padding = usize::from(out[4]);
            assert_eq!((out.len(), out.len() % 8), (length + 4, 0), "{text:?}");
            assert!(padding >= 4 && out[5] == 1);
            assert_eq!(&out[14..14 + text.len()], text.as_bytes());
            assert_eq!(out.len(), 14 + text.len() + 4 + padding);
        }
    }
}
