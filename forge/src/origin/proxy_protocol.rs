//! The PROXY protocol's binary header, version 2 (haproxy, doc/proxy-protocol.txt, section 2.2): a signature of 12 bytes,
//! version and command, address family and transport, the length of what follows in two bytes, then addresses, ports and
//! extensions, which are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the part whose length is fixed.
pub(super) const HEAD_BYTES: usize = 16;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The most that may follow; addresses and the extensions of honest proxies are far smaller.
const REST_BYTES_MAX: usize = 2048;

/// The fixed part of a header.
#[derive(Debug)]
pub(super) struct Head {
    /// The connection is the proxy's own (a health check): its addresses count for nothing.
    local: bool,
    family: u8,
    rest: usize,
}

impl Head {
    pub(super) fn parse(head: &[u8; HEAD_BYTES]) -> Result<Self, &'static str> {
        let [signature @ .., command, family, high, low] = head;
        if signature != SIGNATURE {
            return Err("it does not begin with a PROXY protocol header of version 2");
        }
        let local = match command {
            0x20 => true,
            0x21 => false,
            _ => return Err("its PROXY protocol header has an unknown version or command"),
        };
        let rest = usize::from(u16::from_be_bytes([*high, *low]));
        if rest > REST_BYTES_MAX {
            return Err("its PROXY protocol header is too long");
        }
        Ok(Self { local, family: *family, rest })
    }

    /// How many bytes follow.
    pub(super) fn rest_bytes(&self) -> usize {
        self.rest
    }

    /// Who opened the connection at the proxy; `None` where the proxy did, or does not know.
    pub(super) fn source(&self, rest: &[u8]) -> Result<Option<SocketAddr>, &'static str> {
        if self.local {
            return Ok(None);
        }
        let short = "its PROXY protocol header is shorter than its addresses";
        match self.family {
            // AF_UNSPEC
            0x00 => Ok(None),
            // TCP over IPv4: two addresses, two ports.
            0x11 => {
                let (addresses, ports) = rest.get(..12).ok_or(short)?.split_at(8);
                let source: [u8; 4] = addresses[..4].try_into().map_err(|_| short)?;
                Ok(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(source)), port(ports))))
            }
            // TCP over IPv6.
            0x21 => {
                let (addresses, ports) = rest.get(..36).ok_or(short)?.split_at(32);
                let source: [u8; 16] = addresses[..16].try_into().map_err(|_| short)?;
                Ok(Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(source)), port(ports))))
            }
            _ => Err("its PROXY protocol header is of a transport that is not TCP"),
        }
    }
}

fn port(ports: &[u8]) -> u16 {
    ports.first_chunk::<2>().map_or(0, |port| u16::from_be_bytes(*port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &[u8]) -> Result<Option<SocketAddr>, &'static str> {
        let head = raw.first_chunk::<HEAD_BYTES>().ok_or("short")?;
        let head = Head::parse(head)?;
        let rest = raw.get(HEAD_BYTES..HEAD_BYTES + head.rest_bytes()).ok_or("short")?;
        head.source(rest)
    }

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn sources_are_read() {
        let four = [203, 0, 113, 9, 10, 0, 0, 5, 0x12, 0x67, 0, 22];
        assert_eq!(read(&header(0x21, 0x11, &four)), Ok(Some(SocketAddr::from(([203, 0, 113, 9], 0x1267)))));
        // With extensions behind the addresses.
        let extended = [&four[..], &[4, 0, 1, 0]].concat();
        assert!(read(&header(0x21, 0x11, &extended)).is_ok_and(|source| source.is_some()));
        let mut six = [0; 36];
        (six[15], six[33]) = (1, 80);
        let source = read(&header(0x21, 0x21, &six)).expect("read").expect("told");
        assert_eq!(source, "[::1]:80".parse().expect("an address"));
        assert_eq!(read(&header(0x20, 0x11, &four)), Ok(None), "a health check");
        assert_eq!(read(&header(0x21, 0x00, &[])), Ok(None), "unknown to the proxy");
    }

    #[test]
    fn whatever_else_comes_is_an_error_and_no_panic() {
        for bad in [header(0x11, 0x11, &[0; 12]), header(0x22, 0x11, &[0; 12]), header(0x21, 0x12, &[0; 12])]
        {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
        assert!(read(&header(0x21, 0x11, &[0; 11])).is_err());
        assert!(read(&header(0x21, 0x21, &[0; 35])).is_err());
        assert!(read(&header(0x21, 0x11, &[0; REST_BYTES_MAX + 1])).is_err());
        assert!(read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_err());
    }
}
