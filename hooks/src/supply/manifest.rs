//! Artefacts beside an image, as manifests of the OCI image specification 1.1: what each is made of, and which tags lead
//! there. Pure.

use serde_json::{Map, Value, json};
use slipway_core::Digest;

use crate::registry::{Manifest, digest_of};

/// The type of a manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The type of a list of manifests.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The type of an image's configuration, which old registries and cosign want of every manifest.
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What has nothing to say, in the words of the specification.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What says which statement an artefact holds.
pub(super) const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// A piece of an artefact.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) annotations: Map<String, Value>,
}

impl Piece {
    pub(super) fn of(media_type: &str, bytes: &[u8], annotations: &[(&str, &str)]) -> Self {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        Self {
            media_type: media_type.to_owned(),
            digest: digest_of(bytes),
            size: bytes.len() as u64,
            annotations: annotations.collect(),
        }
    }

    /// As a manifest names it; `None` for what is no such thing.
    pub(super) fn read(told: &Value) -> Option<Self> {
        Some(Self {
            media_type: told["mediaType"].as_str()?.to_owned(),
            digest: Digest::parse(told["digest"].as_str()?).ok()?,
            size: told["size"].as_u64()?,
            annotations: told["annotations"].as_object().cloned().unwrap_or_default(),
        })
    }

    fn told(&self) -> Value {
        let mut told =
            json!({"mediaType": self.media_type, "digest": self.digest.as_str(), "size": self.size});
        if !self.annotations.is_empty() {
            told["annotations"] = Value::Object(self.annotations.clone());
        }
        told
    }
}

/// The pieces of a manifest, in order.
pub(super) fn pieces(manifest: &[u8]) -> Vec<Piece> {
    let Ok(read) = serde_json::from_slice::<Value>(manifest) else { return Vec::new() };
    read["layers"].as_array().into_iter().flatten().filter_map(Piece::read).collect()
}

/// A manifest and what must be in the registry before it: its configuration.
pub(super) struct Artefact {
    pub(super) manifest: Manifest,
    pub(super) config: Vec<u8>,
}

/// What cosign's tags lead to: pieces behind a configuration of an image that is none.
pub(super) fn tagged(
    pieces: &[Piece],
    subject: Option<&Value>,
    annotations: &Map<String, Value>,
) -> Artefact {
    let diffs: Vec<&str> = pieces.iter().map(|piece| piece.digest.as_str()).collect();
    let config = json!({
        "architecture": "", "os": "", "created": "0001-01-01T00:00:00Z", "config": {},
        "history": vec![json!({"created": "0001-01-01T00:00:00Z"}); pieces.len()],
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    artefact(CONFIG, config.to_string().into_bytes(), pieces, None, (subject, annotations))
}

/// An artefact of its own, found by what it refers to.
pub(super) fn referrer(
    artefact_type: &str,
    piece: &Piece,
    subject: &Value,
    annotations: &Map<String, Value>,
) -> Artefact {
    let pieces = std::slice::from_ref(piece);
    artefact(EMPTY, b"{}".to_vec(), pieces, Some(artefact_type), (Some(subject), annotations))
}

fn artefact(
    config_type: &str,
    config: Vec<u8>,
    pieces: &[Piece],
    artefact_type: Option<&str>,
    (subject, annotations): (Option<&Value>, &Map<String, Value>),
) -> Artefact {
    let mut told = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Piece::of(config_type, &config, &[]).told(),
        "layers": pieces.iter().map(Piece::told).collect::<Vec<_>>(),
    });
    if let Some(artefact_type) = artefact_type {
        told["artifactType"] = json!(artefact_type);
    }
    if let Some(subject) = subject {
        told["subject"] = subject.clone();
    }
    if !annotations.is_empty() {
        told["annotations"] = Value::Object(annotations.clone());
    }
    Artefact { manifest: manifest(MANIFEST, told.to_string().into_bytes()), config }
}

fn manifest(media_type: &str, bytes: Vec<u8>) -> Manifest {
    Manifest { media_type: media_type.to_owned(), digest: digest_of(&bytes), bytes }
}

/// What an artefact's `subject` is: the image.
pub(super) fn subject(image: &Manifest) -> Value {
    let media_type = serde_json::from_slice::<Value>(&image.bytes)
        .ok()
        .and_then(|read| read["mediaType"].as_str().map(str::to_owned))
        .unwrap_or_else(|| image.media_type.split(';').next().unwrap_or_default().trim().to_owned());
    json!({"mediaType": media_type, "digest": image.digest.as_str(), "size": image.bytes.len()})
}

/// The tag under which a registry without a list of referrers has one (distribution specification 1.1), and cosign's with
/// their endings (`.sig`, `.att`).
pub(super) fn tag(digest: &Digest, ending: &str) -> String {
    format!("{}{ending}", digest.as_str().replace(':', "-"))
}

/// The list with these besides; `None` where it has them already. `old` is what was there.
pub(super) fn listed(old: Option<&[u8]>, new: &[Manifest], most: usize) -> Option<Manifest> {
    let read = old.and_then(|old| serde_json::from_slice::<Value>(old).ok()).unwrap_or_default();
    let mut all: Vec<Value> = read["manifests"].as_array().cloned().unwrap_or_default();
    let before = all.len();
    for one in new {
        let read = serde_json::from_slice::<Value>(&one.bytes).unwrap_or_default();
        if all.iter().any(|known| known["digest"] == one.digest.as_str()) || all.len() >= most {
            continue;
        }
        let artefact_type = match &read["artifactType"] {
            Value::String(said) => said.clone(),
            _ => read["config"]["mediaType"].as_str().unwrap_or_default().to_owned(),
        };
        let mut told = json!({
            "mediaType": one.media_type, "digest": one.digest.as_str(), "size": one.bytes.len(),
            "artifactType": artefact_type,
        });
        if let Value::Object(said) = &read["annotations"] {
            told["annotations"] = Value::Object(said.clone());
        }
        all.push(told);
    }
    if all.len() == before {
        return None;
    }
    let told = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
    Some(manifest(INDEX, told.to_string().into_bytes()))
}

/// The manifests that a list of referrers names, but for those that are told to state something else than `of`.
pub(super) fn referrers(list: &[u8], of: Option<&str>) -> Vec<Digest> {
    let read = serde_json::from_slice::<Value>(list).unwrap_or_default();
    let all = read["manifests"].as_array().into_iter().flatten();
    let may = |one: &&Value| match (&one["annotations"][PREDICATE_TYPE], of) {
        (Value::String(told), Some(of)) => told == of,
        (Value::String(_), None) => false,
        _ => true,
    };
    all.filter(may).filter_map(|one| Digest::parse(one["digest"].as_str()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_added_to_and_never_told_twice() {
        let image = manifest("application/vnd.docker.distribution.manifest.v2+json", b"{}".to_vec());
        let piece = Piece::of("text/plain", b"words", &[("k", "v")]);
        let one = referrer("application/x", &piece, &subject(&image), &Map::new()).manifest;
        let first = listed(None, std::slice::from_ref(&one), 10).expect("new");
        assert!(listed(Some(&first.bytes), std::slice::from_ref(&one), 10).is_none());
        assert!(listed(Some(&first.bytes), std::slice::from_ref(&image), 1).is_none(), "it is full");
        assert_eq!(referrers(&first.bytes, None), std::slice::from_ref(&one.digest));
        let stating: Map<String, Value> = [(PREDICATE_TYPE.to_owned(), json!("a"))].into_iter().collect();
        let stated = referrer("application/x", &piece, &subject(&image), &stating).manifest;
        let list = listed(None, std::slice::from_ref(&stated), 10).expect("new").bytes;
        assert_eq!(referrers(&list, Some("a")), [stated.digest]);
        assert!(referrers(&list, Some("b")).is_empty() && referrers(&list, None).is_empty());
        let read: Value = serde_json::from_slice(&first.bytes).expect("read");
        assert_eq!(read["manifests"][0]["artifactType"], "application/x");
        // What others have put there stays.
        let other = br#"{"manifests":[{"digest":"sha256:1","mediaType":"m"}]}"#;
        let both = listed(Some(other), &[one], 10).expect("new");
        assert_eq!(
            serde_json::from_slice::<Value>(&both.bytes).expect("read")["manifests"][0]["digest"],
            "sha256:1"
        );
        assert_eq!(pieces(&tagged(std::slice::from_ref(&piece), None, &Map::new()).manifest.bytes), [piece]);
        assert_eq!(subject(&image)["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
        assert!(tag(&image.digest, ".sig").starts_with("sha256-"));
    }
}
