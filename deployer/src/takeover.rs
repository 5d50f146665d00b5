//! Fields that `kubectl apply` wrote, moved to this server's name. Pure.
//!
//! `kubectl apply` without `--server-side` leaves its fields under managers of its own. Left there, a field that a
//! manifest drops would stay for ever, because another manager still claims it. So before the first apply its entries
//! are united with ours, as client-go's `csaupgrade` does it. `fieldsV1` is a trie of objects: union is a deep merge.

use serde_json::{Value, json};

use crate::payload::LAST_APPLIED;

/// The field manager of every write.
pub(crate) const MANAGER: &str = "slipway";

/// The JSON patch that moves kubectl's fields of `live` to us, bound to its resourceVersion; `None` if there are none.
pub(crate) fn takeover(live: &Value, api_version: &str) -> Option<Value> {
    let metadata = &live["metadata"];
    let entries = metadata["managedFields"].as_array()?;
    let version = metadata["resourceVersion"].as_str()?;
    let (theirs, mut rest): (Vec<Value>, Vec<Value>) = entries
        .iter()
        .cloned()
        .partition(|e| is_kubectls(e) && e["apiVersion"].as_str() == Some(api_version));
    if theirs.is_empty() {
        return None;
    }
    let at = rest.iter().position(|e| {
        e["manager"] == MANAGER && e["operation"] == "Apply" && e["apiVersion"] == api_version && is_main(e)
    });
    let mut ours = match at {
        Some(at) => rest.remove(at),
        None => {
            json!({"manager": MANAGER, "operation": "Apply", "apiVersion": api_version, "fieldsType": "FieldsV1", "fieldsV1": {}})
        }
    };
    for entry in theirs {
        if ours["time"].is_null() {
            ours["time"] = entry["time"].clone();
        }
        unite(&mut ours["fieldsV1"], entry["fieldsV1"].clone());
    }
    rest.push(ours);
    Some(json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields", "value": rest},
    ]))
}

fn is_main(entry: &Value) -> bool {
    entry["subresource"].as_str().unwrap_or_default().is_empty()
}

/// Entries of client-side apply. Plain `kubectl` was its name before 1.18, but also that of edits and scales: there
/// the annotation that only an apply writes tells.
fn is_kubectls(entry: &Value) -> bool {
    if entry["operation"] != "Update" || !is_main(entry) {
        return false;
    }
    match entry["manager"].as_str() {
        Some("kubectl-client-side-apply" | "before-first-apply") => true,
        Some("kubectl") => {
            !entry["fieldsV1"]["f:metadata"]["f:annotations"][format!("f:{LAST_APPLIED}").as_str()].is_null()
        }
        _ => false,
    }
}

fn unite(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(there) => unite(there, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (into, from) if into.is_null() => *into = from,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectls_fields_become_ours_and_others_stay() {
        let live = json!({"metadata": {"resourceVersion": "7", "managedFields": [
            {"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "v1", "time": "t", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"manager": "slipway", "operation": "Apply", "apiVersion": "v1", "time": "u", "fieldsV1": {"f:data": {"f:b": {}}}},
            {"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:edited": {}}}},
            {"manager": "controller", "operation": "Update", "apiVersion": "v1", "subresource": "status", "fieldsV1": {}},
        ]}});
        let patch = takeover(&live, "v1").expect("there is something to take");
        assert_eq!(patch[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
        let entries = patch[1]["value"].as_array().expect("entries");
        let managers: Vec<_> = entries.iter().map(|e| e["manager"].as_str().expect("manager")).collect();
        assert_eq!(managers, ["kubectl", "controller", "slipway"]);
        assert_eq!(entries[2]["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
        assert_eq!(takeover(&json!({"metadata": {"resourceVersion": "7", "managedFields": []}}), "v1"), None);
        assert_eq!(takeover(&live, "v2"), None, "fields of another version are not ours to read");
    }
}
