//! What the server says first: refs with capabilities (versions 0 and 1), or capabilities alone (version 2).

use slipway_core::RefName;
use slipway_repository::Ref;

use super::pktline::{put, put_flush, put_line};
use super::{AGENT, Service, Version};

/// The state of a repository, as far as the first message tells it.
pub(crate) struct Advertised<'a> {
    /// HEAD first if it resolves, then by name.
    pub(crate) refs: &'a [Ref],
    /// The branch that HEAD names, born or not.
    pub(crate) head: &'a RefName,
    /// `sha1` or `sha256`.
    pub(crate) format: &'static str,
}

/// Writes the first message of a service. A client that asks receive-pack for version 2 is answered in version 0.
pub(crate) fn put_advertisement(
    service: Service,
    version: Version,
    stateless: bool,
    state: &Advertised<'_>,
    out: &mut Vec<u8>,
) {
    match (service, version) {
        (Service::UploadPack, Version::V2) => put_v2(state.format, out),
        (_, version) => {
            if version == Version::V1 {
                put_line(out, "version 1");
            }
            match service {
                Service::UploadPack => put_refs(state, &upload_capabilities(state, stateless), true, out),
                Service::ReceivePack => put_refs(state, &receive_capabilities(state.format), false, out),
            }
        }
    }
}

fn put_v2(format: &str, out: &mut Vec<u8>) {
    for line in [
        "version 2",
        &format!("agent={AGENT}"),
        "ls-refs=unborn",
        "fetch=shallow wait-for-done filter ref-in-want",
        "server-option",
        &format!("object-format={format}"),
    ] {
        put_line(out, line);
    }
    put_flush(out);
}

fn upload_capabilities(state: &Advertised<'_>, stateless: bool) -> String {
    let mut words = String::from(
        "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative \
         no-progress include-tag multi_ack_detailed allow-tip-sha1-in-want allow-reachable-sha1-in-want ",
    );
    if stateless {
        words.push_str("no-done ");
    }
    if state.refs.iter().any(|r| r.name.as_str() == "HEAD") {
        words.push_str(&format!("symref=HEAD:{} ", state.head));
    }
    words.push_str(&format!("filter object-format={} agent={AGENT}", state.format));
    words
}

fn receive_capabilities(format: &str) -> String {
    format!(
        "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta push-options \
         object-format={format} agent={AGENT}"
    )
}

/// The refs, capabilities behind the first. receive-pack leaves HEAD and peeled tags out.
fn put_refs(state: &Advertised<'_>, capabilities: &str, fetch: bool, out: &mut Vec<u8>) {
    let mut capabilities = Some(capabilities);
    let mut line = |id: &str, name: &[&[u8]]| {
        let mut parts: Vec<&[u8]> = vec![id.as_bytes(), b" "];
        parts.extend_from_slice(name);
        if let Some(words) = capabilities.take() {
            parts.extend_from_slice(&[b"\0", words.as_bytes()]);
        }
        parts.push(b"\n");
        put(out, &parts);
    };
    let mut shown = state.refs.iter().filter(|r| fetch || r.name.as_str() != "HEAD").peekable();
    if shown.peek().is_none() {
        let digits = if state.format == "sha256" { 64 } else { 40 };
        line(&"0".repeat(digits), &[b"capabilities^{}"]);
    }
    for entry in shown {
        line(&entry.target.to_string(), &[entry.name.as_str().as_bytes()]);
        if let Some(peeled) = entry.peeled.filter(|_| fetch) {
            line(&peeled.to_string(), &[entry.name.as_str().as_bytes(), b"^{}"]);
        }
    }
    put_flush(out);
}

#[cfg(test)]
mod tests {
    use slipway_core::Oid;

    use super::*;

    fn say(service: Service, version: Version, refs: &[Ref]) -> String {
        let head = RefName::parse("refs/heads/main").expect("valid");
        let mut out = Vec::new();
        let state = Advertised { refs, head: &head, format: "sha1" };
        put_advertisement(service, version, false, &state, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn refs() -> Vec<Ref> {
        let name = |n: &str| RefName::parse(n).expect("valid");
        let (one, two) = (Oid::Sha1([0x11; 20]), Oid::Sha1([0x22; 20]));
        vec![
            Ref { name: name("HEAD"), target: one, peeled: None, symref: Some(name("refs/heads/main")) },
            Ref { name: name("refs/heads/main"), target: one, peeled: None, symref: None },
            Ref { name: name("refs/tags/v1"), target: two, peeled: Some(one), symref: None },
        ]
    }

    #[test]
    fn version_0_names_refs_and_peeled_tags() {
        let said = say(Service::UploadPack, Version::V0, &refs());
        assert!(said[4..].starts_with(&format!("{} HEAD\0multi_ack ", "11".repeat(20))), "{said}");
        assert!(said.contains(" symref=HEAD:refs/heads/main "));
        assert!(said.contains(&format!("{} refs/tags/v1^{{}}\n0000", "11".repeat(20))));
        assert!(!said.contains("no-done"), "no-done is for stateless connections only");
    }

    #[test]
    fn version_1_says_so_first() {
        assert!(say(Service::UploadPack, Version::V1, &refs()).starts_with("000eversion 1\n"));
    }

    #[test]
    fn version_2_names_capabilities_only() {
        let said = say(Service::UploadPack, Version::V2, &refs());
        assert!(
            said.starts_with("000eversion 2\n") && said.ends_with("0000") && !said.contains("refs/heads")
        );
    }

    #[test]
    fn receive_pack_leaves_out_head_and_falls_back_from_version_2() {
        let said = say(Service::ReceivePack, Version::V2, &refs());
        assert!(
            said[4..].starts_with(&format!("{} refs/heads/main\0report-status ", "11".repeat(20))),
            "{said}"
        );
        assert!(!said.contains("^{}"));
    }

    #[test]
    fn an_empty_repository_still_names_its_capabilities() {
        for service in [Service::UploadPack, Service::ReceivePack] {
            let said = say(service, Version::V0, &[]);
            assert!(said[4..].starts_with(&format!("{} capabilities^{{}}\0", "0".repeat(40))), "{said}");
        }
    }
}
