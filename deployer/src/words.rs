//! What the API server answers, in sentences for the author of a manifest. Pure.

use crate::limits::{MESSAGE_BYTES_MAX, cut};
use crate::owner::Key;
use crate::wire::{CallError, Refusal};
use crate::wishes::RECREATE;

/// Why `verb` (`apply`, `read`, `delete`) of an object was refused; begins in lower case, without its name.
pub(crate) fn refusal(key: &Key, verb: &str, error: &CallError) -> String {
    let r = match error {
        CallError::Api(r) => r,
        CallError::Own(inner) => {
            let why = match inner.as_ref() {
                CallError::Api(r) => said(key, r),
                other => other.to_string(),
            };
            return cut(
                &format!("the API server fails on it and answers other calls: {why}"),
                MESSAGE_BYTES_MAX,
            );
        }
        _ => return error.to_string(),
    };
    let sentence = match r.code {
        403 if r.message.contains("exceeded quota") => {
            format!("a quota of the namespace refuses it: {}", said(key, r))
        }
        403 if r.message.contains("being terminated") => {
            format!("namespace {} is being deleted", key.namespace.as_deref().unwrap_or_default())
        }
        403 => format!("the cluster forbids to {verb} it: {}", said(key, r)),
        404 if is_namespace(r) => format!(
            "namespace {} does not exist; make it in the cluster, or commit a Namespace and bind with --cluster-scoped",
            key.namespace.as_deref().unwrap_or_default()
        ),
        404 if error.is_missing_kind() => format!("the cluster no longer serves its kind {}", key.kind),
        409 if r.reason == "AlreadyExists" => "it was made by somebody else at the same moment".to_owned(),
        409 => format!("others change it at the same time: {}", said(key, r)),
        413 => "it is too large for the cluster".to_owned(),
        422 if is_immutable(r) => format!(
            "a field of it cannot be changed any more: {}; give it another name, delete it in the cluster, or let it be deleted \
             and made anew with the annotation {RECREATE}: enabled",
            said(key, r)
        ),
        _ if error.is_webhook() => format!("an admission webhook does not answer: {}", said(key, r)),
        _ if r.message.contains("denied the request") => {
            format!("an admission webhook refuses it: {}", said(key, r))
        }
        _ if r.message.contains("request is too large") => "it is too large for the cluster".to_owned(),
        _ => said(key, r),
    };
    cut(&sentence, MESSAGE_BYTES_MAX)
}

fn is_namespace(r: &Refusal) -> bool {
    r.details.as_ref().is_some_and(|d| d.kind == "namespaces")
}

/// 422 alone is just a mistake; only a cause that says so is a field that was fixed at creation. All kinds say it in these
/// words, custom ones by their rules included.
fn is_immutable(r: &Refusal) -> bool {
    const SAID: [&str; 8] = [
        "immutable",
        "may not change",
        "may not be changed",
        "cannot be changed",
        "can not be changed",
        "cannot change",
        "Forbidden: updates to",
        "pod updates may not",
    ];
    let immutable = |text: &str| SAID.iter().any(|s| text.contains(s)) || forbids_updates(text);
    r.code == 422
        && (immutable(&r.message) || r.details.iter().flat_map(|d| &d.causes).any(|c| immutable(&c.message)))
}

/// `updates to parameters are forbidden`, `updates to statefulset spec for fields other than …`.
fn forbids_updates(text: &str) -> bool {
    text.split_once("updates to ")
        .is_some_and(|(_, rest)| rest.contains("forbidden") || rest.contains("fields other than"))
}

/// True where the object would have to be made anew to be as wanted.
pub(crate) fn is_fixed(error: &CallError) -> bool {
    matches!(error, CallError::Api(r) if is_immutable(r))
}

/// The server's own words. Those on a Secret may quote it, so only the fields' names are told.
fn said(key: &Key, r: &Refusal) -> String {
    if key.group.is_empty() && key.kind == "Secret" && matches!(r.code, 400 | 422 | 500) {
        let causes = r.details.iter().flat_map(|d| &d.causes);
        let fields: Vec<&str> = causes.map(|c| c.field.as_str()).filter(|f| !f.is_empty()).take(10).collect();
        let reason = if r.reason.is_empty() { "refused" } else { &r.reason };
        if fields.is_empty() {
            return format!("the Secret is not valid ({reason}); check that values under data are base64");
        }
        return format!("the Secret is not valid ({reason}) at {}", fields.join(", "));
    }
    // `Deployment.apps "web" is invalid: …` repeats what the sentence around it says.
    let message = r.message.split_once("is invalid: ").map_or(r.message.as_str(), |(_, rest)| rest);
    message.trim_end_matches('.').to_owned()
}

/// Managers whose fields an apply without force would not take over: `kubectl-edit (.spec.replicas)`.
pub(crate) fn conflicts(error: &CallError) -> Option<String> {
    let CallError::Api(r) = error else { return None };
    let causes = r.details.as_ref()?.causes.iter().filter(|c| c.reason == "FieldManagerConflict");
    let told: Vec<String> = causes
        .take(10)
        .map(|c| {
            let manager = c.message.split('"').nth(1).unwrap_or("another manager");
            format!("{manager} ({})", c.field)
        })
        .collect();
    (r.code == 409 && !told.is_empty()).then(|| told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str) -> Key {
        Key { group: String::new(), kind: kind.into(), namespace: Some("team".into()), name: "a".into() }
    }

    fn api(json: serde_json::Value) -> CallError {
        CallError::Api(Box::new(serde_json::from_value(json).expect("a status")))
    }

    #[test]
    fn refusals_become_sentences() {
        let secret = serde_json::json!({"code": 400, "reason": "BadRequest", "message": "illegal base64 data near hunter2"});
        let cases = [
            (
                "Pod",
                serde_json::json!({"code": 403, "message": "pods \"a\" is forbidden: exceeded quota: q"}),
                "a quota of the namespace",
            ),
            (
                "Pod",
                serde_json::json!({"code": 403, "message": "User \"u\" cannot patch resource \"pods\""}),
                "forbids to apply it: User \"u\" cannot patch",
            ),
            (
                "Pod",
                serde_json::json!({"code": 404, "message": "x", "details": {"kind": "namespaces", "name": "team"}}),
                "namespace team does not exist",
            ),
            (
                "Job",
                serde_json::json!({"code": 422, "message": "Job.batch \"a\" is invalid: spec.template: field is immutable"}),
                "cannot be changed any more",
            ),
            (
                "Pod",
                serde_json::json!({"code": 422, "message": "Pod \"a\" is invalid: spec.x: Required value"}),
                "spec.x: Required value",
            ),
            ("Secret", secret, "check that values under data are base64"),
        ];
        for (kind, status, want) in cases {
            let got = refusal(&key(kind), "apply", &api(status));
            assert!(got.contains(want) && !got.contains("hunter2"), "{got}");
        }
    }

    #[test]
    fn conflicts_name_managers_and_fields() {
        let status = serde_json::json!({"code": 409, "details": {"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using v1", "field": ".data.a"}]}});
        assert_eq!(conflicts(&api(status)).as_deref(), Some("kubectl-edit (.data.a)"));
        assert_eq!(conflicts(&api(serde_json::json!({"code": 409, "message": "other"}))), None);
    }
}
