//! Where somebody comes from, if proxies stand in front: the PROXY protocol on a connection, `Forwarded` (RFC 7239) and
//! `X-Forwarded-For` on a request. Only proxies that config.toml names are believed; whatever anybody else says of
//! addresses is not looked at.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};

mod proxy_protocol;

use self::proxy_protocol::{HEAD_BYTES, Head};

/// How long a proxy may take to send its header.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Addresses of one request's headers that are looked at.
const HOPS_MAX: usize = 32;

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks (`10.0.0.5`, `10.1.0.0/16`, `fd00::/8`).
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let one = |text: &String| {
            let net = text.parse::<IpNet>().ok();
            net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).ok_or_else(|| text.clone())
        };
        texts.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// True if that address is one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Who a connection is from: the proxy's word in a PROXY protocol header (version 2), where a trusted one opened it.
    ///
    /// # Errors
    /// Where a trusted proxy sends no such header, or a broken one: what follows could be from anybody.
    pub async fn accepted(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
    ) -> io::Result<SocketAddr> {
        if !self.has(peer.ip()) {
            return Ok(peer);
        }
        let told = tokio::time::timeout(HEADER_TIME, read_header(stream));
        let told = told.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(told.unwrap_or(peer))
    }

    /// Who a request is from that came over a connection from `peer`: walking back through the proxies that are trusted,
    /// the first address that is not. Where both headers are there and tell different addresses, one of them is the
    /// client's own invention, and neither is believed.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.has(peer) {
            return peer;
        }
        let (x, standard) = (x_forwarded_for(headers), forwarded(headers));
        match (x, standard) {
            (Some(hops), None) | (None, Some(hops)) => self.walk(peer, &hops),
            (Some(x), Some(standard)) => {
                let (one, other) = (self.walk(peer, &x), self.walk(peer, &standard));
                if one == other { one } else { peer }
            }
            (None, None) => peer,
        }
    }

    /// `hops` as written: the nearest to us last.
    fn walk(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut at = peer;
        for hop in hops.iter().rev().take(HOPS_MAX) {
            // Unknown or hidden on purpose: nobody beyond can be told.
            let Some(hop) = hop else { return at };
            at = hop.to_canonical();
            if !self.has(at) {
                return at;
            }
        }
        at
    }
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let broken = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let head = Head::parse(&head).map_err(broken)?;
    let mut rest = vec![0; head.rest_bytes()];
    stream.read_exact(&mut rest).await?;
    head.source(&rest).map_err(broken)
}

/// The addresses of all `X-Forwarded-For` headers, in order.
fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let values = headers.get_all("x-forwarded-for");
    let parts = values.iter().flat_map(|v| v.to_str().unwrap_or("?").split(','));
    let hops: Vec<_> = parts.map(|part| address(part.trim())).collect();
    (!hops.is_empty()).then_some(hops)
}

/// The `for` parameters of all `Forwarded` headers, in order; an element without one hides who it is.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let values = headers.get_all(http::header::FORWARDED);
    let elements = values.iter().flat_map(|v| v.to_str().unwrap_or("?").split(','));
    let hop = |element: &str| {
        let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut whose = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
        whose.next().and_then(|(_, value)| address(value.trim().trim_matches('"')))
    };
    let hops: Vec<_> = elements.map(hop).collect();
    (!hops.is_empty()).then_some(hops)
}

/// An address with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn proxies() -> TrustedProxies {
        let texts = ["10.0.0.5".to_owned(), "10.1.0.0/16".into(), "fd00::/8".into()];
        TrustedProxies::parse(&texts).expect("valid")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_as_far_as_they_go() {
        for (peer, told, want) in [
            ("10.0.0.5", "203.0.113.9", "203.0.113.9"),
            ("::ffff:10.0.0.5", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.6", "203.0.113.9", "10.0.0.6"),
            ("10.0.0.5", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.5", "1.1.1.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
            ("10.0.0.5", "10.1.2.3", "10.1.2.3"),
            ("10.0.0.5", "203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.5", "[2001:db8::1]:4711", "2001:db8::1"),
            ("10.0.0.5", "2001:db8::1", "2001:db8::1"),
            ("10.0.0.5", "1.1.1.1, unknown", "10.0.0.5"),
            ("10.0.0.5", "", "10.0.0.5"),
            ("10.0.0.5", "' OR 1=1", "10.0.0.5"),
        ] {
            let client = proxies().client(ip(peer), &headers(&[("x-forwarded-for", told)]));
            assert_eq!(client, ip(want), "{peer} {told:?}");
        }
        for (told, want) in [
            ("for=203.0.113.9;proto=https;by=10.0.0.5", "203.0.113.9"),
            ("For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=1.1.1.1, for=203.0.113.9", "203.0.113.9"),
            ("for=_hidden", "10.0.0.5"),
            ("proto=https", "10.0.0.5"),
        ] {
            let client = proxies().client(ip("10.0.0.5"), &headers(&[("forwarded", told)]));
            assert_eq!(client, ip(want), "{told:?}");
        }
    }

    #[test]
    fn a_header_that_the_client_made_up_beside_the_proxys_is_not_believed() {
        let both = headers(&[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=1.1.1.1")]);
        assert_eq!(proxies().client(ip("10.0.0.5"), &both), ip("10.0.0.5"));
        let agree = headers(&[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")]);
        assert_eq!(proxies().client(ip("10.0.0.5"), &agree), ip("203.0.113.9"));
        let twice = headers(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")]);
        assert_eq!(proxies().client(ip("10.0.0.5"), &twice), ip("203.0.113.9"));
    }

    #[test]
    fn what_is_no_network_is_told() {
        let wrong = TrustedProxies::parse(&["10.0.0.5".to_owned(), "proxy.example".into()]);
        assert_eq!(wrong.map(drop), Err("proxy.example".to_owned()));
    }

    #[tokio::test]
    async fn a_trusted_connection_begins_with_its_header_or_ends() {
        let (proxy, other) = (SocketAddr::from(([10, 0, 0, 5], 1)), SocketAddr::from(([10, 0, 0, 6], 1)));
        let header = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
            &[203, 0, 113, 9, 10, 0, 0, 5, 0x12, 0x67, 0, 22],
            b"SSH-2.0-x",
        ]
        .concat();
        let mut stream = &header[..];
        let from = proxies().accepted(&mut stream, proxy).await.expect("told");
        assert_eq!((from, stream), (SocketAddr::from(([203, 0, 113, 9], 0x1267)), &b"SSH-2.0-x"[..]));
        let mut stream = &header[..];
        assert_eq!(proxies().accepted(&mut stream, other).await.expect("as it is"), other);
        assert_eq!(stream.len(), header.len(), "nothing is read of anybody else's");
        for cut in [0, 1, 15, 16, 20] {
            assert!(proxies().accepted(&mut &header[..cut], proxy).await.is_err(), "{cut}");
        }
        assert!(proxies().accepted(&mut &b"SSH-2.0-OpenSSH_9.9\r\n"[..], proxy).await.is_err());
    }
}
