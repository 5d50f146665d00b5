//! Which addresses the server may be sent to by people: the public ones, and the networks that an owner allowed in the
//! configuration. Judges addresses, never names: whoever connects asks about the very address that it connects to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 that is not, or not safely, the public internet (IANA's special-purpose registry), and the addresses at which
/// clouds tell their machines' secrets that lie outside of it.
const NOT_PUBLIC_V4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Of IPv6 only 2000::/3 is the public internet, and of that not these: Teredo and other special purposes, documentation,
/// 6to4.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The networks that an owner allowed besides the public ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Nothing but the public ones.
pub static PUBLIC_ONLY: Networks = Networks(Vec::new());

impl Networks {
    /// Reads addresses and networks.
    ///
    /// # Errors
    /// The first that is neither.
    pub fn parse(raw: &[String]) -> Result<Self, String> {
        let net = |text: &String| {
            let text = text.trim();
            text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| text.to_owned())
        };
        raw.iter().map(net).collect::<Result<_, _>>().map(Self)
    }

    /// True if people may have the server connect to that address.
    pub fn reach(&self, address: IpAddr) -> bool {
        let named = || self.0.iter().any(|net| net.contains(&address));
        match address {
            IpAddr::V4(v4) => is_public_v4(v4) || named(),
            // An IPv4 address in disguise is reached only where both the disguise and the address in it may be.
            IpAddr::V6(v6) => match embedded(v6) {
                Some(inside) if v6.to_ipv4_mapped().is_some() => self.reach(inside.into()),
                Some(inside) => named() && self.reach(inside.into()),
                None => is_public_v6(v6) || named(),
            },
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|(net, bits)| Ipv4Net::new_assert(*net, *bits).contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let lies_in = |(net, bits): &(Ipv6Addr, u8)| Ipv6Net::new_assert(*net, *bits).contains(&address);
    lies_in(&PUBLIC_V6) && !NOT_PUBLIC_V6.iter().any(lies_in)
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible (RFC 4291), NAT64 (RFC 6052, 8215), 6to4 (RFC 3056),
/// Teredo (RFC 4380, whose client's address is inverted).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => {
            Some(v4(high, low))
        }
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(networks: &[&str], address: &str) -> bool {
        let networks: Vec<String> = networks.iter().map(|n| (*n).to_owned()).collect();
        Networks::parse(&networks).expect("networks").reach(address.parse().expect(address))
    }

    #[test]
    fn nothing_but_the_public_internet_is_reached_unasked() {
        for public in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]
        {
            assert!(reach(&[], public), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!reach(&[], inside), "{inside}");
        }
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_is_seen_through() {
        for disguised in [
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::10.0.0.1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:0:0:0:0:80ff:fffe",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "2001::1",
        ] {
            assert!(!reach(&[], disguised), "{disguised}");
        }
        assert!(reach(&[], "::ffff:1.1.1.1"), "the same as the address in it");
        assert!(reach(&["64:ff9b::/96"], "64:ff9b::1.1.1.1"), "an owner's NAT64");
        assert!(!reach(&["64:ff9b::/96"], "64:ff9b::10.0.0.1"), "is no way to what lies behind it");
        assert!(!reach(&["::/0"], "::ffff:10.0.0.1"));
        assert!(reach(&["10.0.0.0/8"], "::ffff:10.0.0.1"));
    }

    #[test]
    fn an_owner_allows_networks_and_no_more_than_those() {
        assert!(reach(&["127.0.0.0/8"], "127.0.0.1") && !reach(&["127.0.0.0/8"], "10.0.0.1"));
        assert!(reach(&["10.1.2.3"], "10.1.2.3") && !reach(&["10.1.2.3"], "10.1.2.4"));
        assert!(reach(&["fd00::/8"], "fd12::1") && reach(&["::1"], "::1"));
        assert_eq!(Networks::parse(&["10.0.0.0/8".into(), "all".into()]), Err("all".into()));
    }
}
