//! Texts and bytes of ConfigMaps and Secrets, which API servers of all ages complain of in ways that name neither the key nor
//! the cure, or as if they were broken. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::yaml::noun;

/// What is wrong with an object's data, as a clause; `None` if nothing. Keys are told, values never.
pub(crate) fn fault(group: &str, kind: &str, object: &Map<String, Value>) -> Option<String> {
    let fields: &[(&str, bool)] = match (group, kind) {
        ("", "ConfigMap") => &[("data", false), ("binaryData", true)],
        ("", "Secret") => &[("data", true), ("stringData", false)],
        _ => return None,
    };
    fields.iter().find_map(|(field, encoded)| {
        let entries = match object.get(*field)? {
            Value::Object(entries) => entries,
            // Old API servers drop what is no mapping there, without a word.
            Value::Null => return None,
            other => {
                return Some(format!(
                    "{field} is {}, and a mapping of names to texts is wanted",
                    noun(other)
                ));
            }
        };
        entries
            .iter()
            .find_map(|(key, value)| Some(format!("{field}.{key} {}", wrong(kind, value, *encoded)?)))
    })
}

fn wrong(kind: &str, value: &Value, encoded: bool) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if encoded => {
            // Line breaks count for nothing there.
            let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
            let plain = if kind == "Secret" {
                "; plain texts go under stringData"
            } else {
                "; plain texts go under data"
            };
            STANDARD.decode(text).err().map(|_| format!("is not base64{plain}"))
        }
        Value::String(_) => None,
        Value::Bool(_) | Value::Number(_) => {
            Some(format!("is {}, and a text is wanted; quote it", noun(value)))
        }
        other => Some(format!("is {}, and a text is wanted", noun(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_key_is_told_with_its_cure_and_never_a_value() {
        for (kind, object, want) in [
            (
                "Secret",
                json!({"data": {"pw": "hunter2!"}}),
                Some("data.pw is not base64; plain texts go under stringData"),
            ),
            (
                "Secret",
                json!({"data": {"pw": "aHVu\ndGVyMg==\n", "none": null}, "stringData": {"a": "x"}}),
                None,
            ),
            (
                "Secret",
                json!({"stringData": {"pin": 1234}}),
                Some("stringData.pin is a number, and a text is wanted; quote it"),
            ),
            (
                "ConfigMap",
                json!({"data": {"a": true}}),
                Some("data.a is a boolean, and a text is wanted; quote it"),
            ),
            (
                "ConfigMap",
                json!({"data": {"a": {"b": 1}}}),
                Some("data.a is a mapping, and a text is wanted"),
            ),
            (
                "ConfigMap",
                json!({"binaryData": {"a": "?"}}),
                Some("binaryData.a is not base64; plain texts go under data"),
            ),
            (
                "Secret",
                json!({"stringData": ["hunter2"]}),
                Some("stringData is a list, and a mapping of names to texts is wanted"),
            ),
            (
                "Secret",
                json!({"data": "hunter2"}),
                Some("data is a text, and a mapping of names to texts is wanted"),
            ),
            ("Secret", json!({"data": null}), None),
            ("Pod", json!({"data": {"a": 1}}), None),
        ] {
            assert_eq!(fault("", kind, object.as_object().expect("object")).as_deref(), want);
        }
        assert_eq!(
            fault("example.org", "Secret", json!({"data": {"a": 1}}).as_object().expect("object")),
            None
        );
    }
}
