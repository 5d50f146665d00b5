//! What is signed, and how: cosign's payload for an image ("simple signing"), and DSSE around in-toto statements. Pure but
//! for the key.
//!
//! DSSE: <https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md>; the payload: cosign's `SIGNATURE_SPEC.md`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use slipway_core::{Digest, Problem};

use super::key::SigningKey;

/// The type of a payload that says which image is signed.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The type of an envelope.
pub(super) const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// The type of a statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What cosign calls what it signs.
const COSIGN: &str = "cosign container image signature";

/// The payload that says: this image, by that name, is signed. `more` is whatever else shall be believed.
pub(super) fn payload(name: &str, digest: &Digest, more: &Value) -> Vec<u8> {
    json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest.as_str()},
            "type": COSIGN,
        },
        "optional": more,
    })
    .to_string()
    .into_bytes()
}

/// True if a payload says that of the image.
pub(super) fn is_of(payload: &[u8], digest: &Digest) -> bool {
    let Ok(said) = serde_json::from_slice::<Value>(payload) else { return false };
    let critical = &said["critical"];
    critical["type"] == COSIGN && critical["image"]["docker-manifest-digest"] == digest.as_str()
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// What of a statement is signed: its type and its bytes, with their lengths (DSSE's "PAE").
fn framed(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut all = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    all.extend_from_slice(payload);
    all
}

/// A signed statement. Blocking.
///
/// # Errors
/// Of the key.
pub(super) fn seal(key: &SigningKey, statement: &Value) -> Result<Vec<u8>, Problem> {
    let payload = statement.to_string().into_bytes();
    let sig = STANDARD.encode(key.sign(&framed(IN_TOTO, &payload))?);
    let envelope = json!({
        "payloadType": IN_TOTO,
        "payload": STANDARD.encode(&payload),
        "signatures": [{"keyid": "", "sig": sig}],
    });
    Ok(envelope.to_string().into_bytes())
}

/// The statement in an envelope, if the key has signed it. Blocking.
///
/// # Errors
/// Of the key.
pub(super) fn open(key: &SigningKey, envelope: &[u8]) -> Result<Option<Value>, Problem> {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(envelope) else { return Ok(None) };
    let Ok(payload) = STANDARD.decode(&envelope.payload) else { return Ok(None) };
    if envelope.payload_type != IN_TOTO {
        return Ok(None);
    }
    let signed = framed(IN_TOTO, &payload);
    for signature in envelope.signatures.iter().take(super::read::LAYERS_MAX) {
        let Ok(bytes) = STANDARD.decode(&signature.sig) else { continue };
        if key.has_signed(&signed, &bytes)? {
            return Ok(serde_json::from_slice(&payload).ok());
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_that_of_the_protocol() {
        // The example of DSSE's protocol.md.
        assert_eq!(
            framed("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn what_is_changed_is_not_believed() {
        let folder = tempfile::tempdir().expect("temp");
        let key = SigningKey::within(folder.path());
        let sealed = seal(&key, &json!({"_type": "x"})).expect("sealed");
        assert_eq!(open(&key, &sealed).expect("asked"), Some(json!({"_type": "x"})));
        let text = String::from_utf8(sealed).expect("text");
        let other = text.replace(&STANDARD.encode(r#"{"_type":"x"}"#), &STANDARD.encode(r#"{"_type":"y"}"#));
        assert_ne!(text, other);
        assert_eq!(open(&key, other.as_bytes()).expect("asked"), None);
        let retyped = text.replace("vnd.in-toto+json", "vnd.in-toto+text");
        for nonsense in [&*retyped, "", "{}", "[]", r#"{"payloadType":"a","payload":"*","signatures":[]}"#] {
            assert_eq!(open(&key, nonsense.as_bytes()).expect("asked"), None, "{nonsense}");
        }
        let others = tempfile::tempdir().expect("temp");
        assert_eq!(open(&SigningKey::within(others.path()), text.as_bytes()).expect("asked"), None);
    }

    #[test]
    fn a_payload_is_of_one_image() {
        let digest = |c: &str| Digest::parse(&format!("sha256:{}", c.repeat(64))).expect("a digest");
        let said = payload("r/app", &digest("a"), &json!({"build": 1}));
        assert!(is_of(&said, &digest("a")) && !is_of(&said, &digest("b")));
        let other = String::from_utf8(said).expect("text").replace(COSIGN, "something else");
        assert!(!is_of(other.as_bytes(), &digest("a")) && !is_of(b"{", &digest("a")));
    }
}
