//! Where fuzzers come in: what this crate reads of somebody who has not signed in yet, behind a function of bytes. Whatever
//! the bytes, none may panic, hang, or take memory that its input does not account for. Not part of the API: behind the
//! feature `fuzzing`, which `fuzz/` asks for; the tests below replay the seeds that are kept there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

use crate::limits::CREDENTIAL_BYTES_MAX;
use crate::origin::TrustedProxies;
use crate::sign_in::{Claim, claim};

/// A parser as a fuzzer sees it.
pub type Target = fn(&[u8]);

/// All of them, by name: that of the fuzz target and of the folder of its seeds.
pub const TARGETS: [(&str, Target); 3] =
    [("authorization", authorization), ("forwarded", forwarded), ("proxy", proxy)];

/// Gives bytes to the target of that name.
///
/// # Panics
/// If there is none, and if it does what it must not.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("there is no target {name}")).1(data);
}

/// The only proxy that is believed, and somebody who is none.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn proxies() -> TrustedProxies {
    TrustedProxies::parse(&[PROXY.to_string()]).unwrap_or_else(|text| panic!("{text} is an address"))
}

fn authorization(data: &[u8]) {
    if let Claim::Token { account, value } = claim(data) {
        let length = account.as_deref().map_or(0, str::len) + value.expose().len();
        assert!(length <= CREDENTIAL_BYTES_MAX, "{length} bytes of {}", data.len());
    }
}

/// A line is a header; its first byte says which.
fn forwarded(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let Some((which, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        if which & 1 == 0 {
            headers.append("x-forwarded-for", value);
        } else {
            headers.append(FORWARDED, value);
        }
    }
    let _ = proxies().client(PROXY, &headers);
    assert_eq!(proxies().client(STRANGER, &headers), STRANGER, "a stranger is believed");
}

fn proxy(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("no runtime: {e}"));
    let (mut told, mut untold) = (data, data);
    let (proxy, stranger) = (SocketAddr::new(PROXY, 1), SocketAddr::new(STRANGER, 1));
    let _ = runtime.block_on(proxies().accepted(&mut told, proxy));
    let from = runtime.block_on(proxies().accepted(&mut untold, stranger));
    assert!(from.is_ok_and(|from| from == stranger) && untold == data, "a stranger is believed");
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_taken_without_harm() {
        seeds::are_taken(&TARGETS);
    }
}
