//! What the server says first: refs with capabilities (versions 0 and 1), or capabilities alone (version 2).

use slipway_core::{Oid, RefName};
use slipway_repository::{Ref, Unborn};

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
    /// Where the repository's own history ends; nowhere for most.
    pub(crate) shallow: &'a [Oid],
}

/// What this server offers to one client at one repository, beyond what it offers to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// One request and one answer at a time.
    pub(crate) stateless: bool,
    /// What this conversation is called in logs, where the repository says so.
    pub(crate) session_id: Option<String>,
    /// Filters.
    pub(crate) filter: bool,
    /// Wants by ref name.
    pub(crate) ref_in_want: bool,
    /// Whole answers through the side band.
    pub(crate) sideband_all: bool,
    /// The command `object-info`.
    pub(crate) object_info: bool,
    /// The command `bundle-uri`.
    pub(crate) bundle_uri: bool,
    /// A HEAD not yet born.
    pub(crate) unborn: Unborn,
    /// Versions 0 and 1: wants that are tips of refs, shown or not.
    pub(crate) tip: bool,
    /// Versions 0 and 1: wants that refs reach.
    pub(crate) reachable: bool,
    /// All-or-nothing pushes.
    pub(crate) atomic: bool,
    /// Push options.
    pub(crate) push_options: bool,
    /// Push certificates, with this nonce in them.
    pub(crate) nonce: Option<String>,
}

/// Writes the first message of a service. A client that asks receive-pack for version 2 is answered in version 0.
pub(crate) fn put_advertisement(
    service: Service,
    version: Version,
    offer: &Offer,
    state: &Advertised<'_>,
    out: &mut Vec<u8>,
) {
    match (service, version) {
        (Service::UploadPack, Version::V2) => put_v2(offer, state.format, out),
        (_, version) => {
            if version == Version::V1 {
                put_line(out, "version 1");
            }
            match service {
                Service::UploadPack => put_refs(state, &upload_capabilities(offer, state), true, out),
                Service::ReceivePack => {
                    put_refs(state, &receive_capabilities(offer, state.format), false, out)
                }
            }
        }
    }
}

fn put_v2(offer: &Offer, format: &str, out: &mut Vec<u8>) {
    put_line(out, "version 2");
    put_line(out, &format!("agent={AGENT}"));
    put_line(out, if offer.unborn == Unborn::Advertise { "ls-refs=unborn" } else { "ls-refs" });
    let mut fetch = String::from("fetch=shallow wait-for-done");
    for (word, offered) in
        [("filter", offer.filter), ("ref-in-want", offer.ref_in_want), ("sideband-all", offer.sideband_all)]
    {
        if offered {
            fetch.push(' ');
            fetch.push_str(word);
        }
    }
    put_line(out, &fetch);
    put_line(out, "server-option");
    put_line(out, &format!("object-format={format}"));
    if let Some(id) = &offer.session_id {
        put_line(out, &format!("session-id={id}"));
    }
    for (word, offered) in [("object-info", offer.object_info), ("bundle-uri", offer.bundle_uri)] {
        if offered {
            put_line(out, word);
        }
    }
    put_flush(out);
}

fn put_words(line: &mut String, words: &[(&str, bool)]) {
    for (word, _) in words.iter().filter(|(_, offered)| *offered) {
        line.push_str(word);
        line.push(' ');
    }
}

fn upload_capabilities(offer: &Offer, state: &Advertised<'_>) -> String {
    let mut line = String::from(
        "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not deepen-relative \
         no-progress include-tag multi_ack_detailed ",
    );
    put_words(
        &mut line,
        &[
            ("allow-tip-sha1-in-want", offer.tip),
            ("allow-reachable-sha1-in-want", offer.reachable),
            ("no-done", offer.stateless),
        ],
    );
    if state.refs.iter().any(|r| r.name.as_str() == "HEAD" && r.symref.is_some()) {
        line.push_str(&format!("symref=HEAD:{} ", state.head));
    }
    put_words(&mut line, &[("filter", offer.filter)]);
    put_session(&mut line, offer);
    line.push_str(&format!("object-format={} agent={AGENT}", state.format));
    line
}

fn put_session(line: &mut String, offer: &Offer) {
    if let Some(id) = &offer.session_id {
        line.push_str(&format!("session-id={id} "));
    }
}

fn receive_capabilities(offer: &Offer, format: &str) -> String {
    let mut line = String::from("report-status report-status-v2 delete-refs side-band-64k quiet ");
    put_words(&mut line, &[("atomic", offer.atomic), ("ofs-delta", true)]);
    if let Some(nonce) = &offer.nonce {
        line.push_str(&format!("push-cert={nonce} "));
    }
    put_words(&mut line, &[("push-options", offer.push_options)]);
    put_session(&mut line, offer);
    line.push_str(&format!("object-format={format} agent={AGENT}"));
    line
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
    state.shallow.iter().for_each(|id| put_line(out, &format!("shallow {id}")));
    put_flush(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(service: Service, version: Version, refs: &[Ref]) -> String {
        say_offer(service, version, refs, &Offer::default())
    }

    fn say_offer(service: Service, version: Version, refs: &[Ref], offer: &Offer) -> String {
        let head = RefName::parse("refs/heads/main").expect("valid");
        let mut out = Vec::new();
        let state = Advertised { refs, head: &head, format: "sha1", shallow: &[] };
        put_advertisement(service, version, offer, &state, &mut out);
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
    fn what_is_offered_is_named_and_nothing_else() {
        let offer = Offer {
            stateless: true,
            session_id: Some("s1".into()),
            filter: true,
            ref_in_want: true,
            sideband_all: true,
            object_info: true,
            bundle_uri: true,
            unborn: Unborn::Advertise,
            tip: true,
            reachable: true,
            atomic: true,
            push_options: true,
            nonce: Some("1-ab".into()),
        };
        for (service, version, words) in [
            (
                Service::UploadPack,
                Version::V2,
                &[
                    "fetch=shallow wait-for-done filter ref-in-want sideband-all\n",
                    "session-id=s1\n",
                    "object-info\n",
                    "bundle-uri\n",
                ][..],
            ),
            (
                Service::UploadPack,
                Version::V0,
                &[
                    " allow-tip-sha1-in-want ",
                    " allow-reachable-sha1-in-want ",
                    " no-done ",
                    " filter ",
                    " session-id=s1 ",
                ],
            ),
            (
                Service::ReceivePack,
                Version::V0,
                &[" atomic ", " push-options ", " push-cert=1-ab ", " session-id=s1 "],
            ),
        ] {
            let (all, none) = (say_offer(service, version, &refs(), &offer), say(service, version, &refs()));
            for word in words {
                assert!(all.contains(word), "{word:?} in {all}");
                assert!(!none.contains(word), "{word:?} in {none}");
            }
        }
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
