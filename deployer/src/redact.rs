//! Values out of what the API server says. It quotes what it refuses, whole pods among it, with environment variables that may
//! be secret; the fields' names and the reasons are what helps. Pure.

use crate::wire::Refusal;

/// Longest value that is told as it is, in bytes.
const PLAIN_BYTES_MAX: usize = 80;

/// Takes values that may be secret, and such as nobody wants to read, out of a refusal.
pub(crate) fn redact(refusal: &mut Refusal) {
    let mut lines = Vec::new();
    for cause in refusal.details.iter_mut().flat_map(|d| &mut d.causes) {
        cause.message = without_value(&cause.message, is_secret(&cause.field));
        if !cause.field.is_empty() && cause.reason.starts_with("FieldValue") {
            lines.push(format!("{}: {}", cause.field, cause.message));
        }
    }
    let invalid = refusal.message.split_once("is invalid: ").map(|(head, _)| head.to_owned());
    refusal.message = match invalid {
        // The causes say the same with the fields apart.
        Some(head) if !lines.is_empty() => {
            let all = lines.join(", ");
            format!("{head}is invalid: {}", if lines.len() == 1 { all } else { format!("[{all}]") })
        }
        _ => without_value(&refusal.message, false),
    };
}

/// Fields whose values are nobody's business.
fn is_secret(field: &str) -> bool {
    let last = field.rsplit('.').next().unwrap_or(field);
    field.contains("env[") && last == "value"
        || ["data", "stringData", "args", "command"]
            .iter()
            .any(|f| last == *f || last.starts_with(&format!("{f}[")))
}

/// `Invalid value: VALUE: why` without the value, unless it is a short one that nobody hides.
fn without_value(message: &str, secret: bool) -> String {
    for lead in ["Invalid value: ", "Unsupported value: ", "Duplicate value: ", "Not found: "] {
        let Some((before, rest)) = message.split_once(lead) else { continue };
        let (value, after) = rest.split_at(value_end(rest));
        let plain = !secret
            && value.len() <= PLAIN_BYTES_MAX
            && !value.contains(['{', '\n'])
            && !value.contains("map[");
        let value = if plain { value } else { "…" };
        return format!("{}{lead}{value}{}", without_go_values(before), without_go_values(after));
    }
    without_go_values(message)
}

/// Where a value that Go printed ends: at `: `, outside of quotes and brackets.
fn value_end(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0u32, None, false);
    for (at, c) in text.char_indices() {
        match (quoted, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(q), c) if q == c => quoted = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quoted = Some(c),
            (None, '{' | '[' | '(') => depth += 1,
            (None, '}' | ']' | ')') => depth = depth.saturating_sub(1),
            (None, ':') if depth == 0 && text.get(at + 1..).is_some_and(|r| r.starts_with(' ')) => return at,
            _ => {}
        }
    }
    text.len()
}

/// `got &value.valueUnstructured{Value:2}` and `got &{map[a:b]}` are how an old server says that something is of another type, with all
/// that is in it. Where such a value ends cannot be told for sure (its texts are not quoted), so that everything behind it goes.
fn without_go_values(message: &str) -> String {
    const LEADS: [&str; 3] = ["&value.valueUnstructured{", "&{", "map["];
    let Some(at) = LEADS.iter().filter_map(|lead| message.find(lead)).min() else {
        return message.to_owned();
    };
    format!("{}another type; quote it if it shall be a text", &message[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RefusalCause, RefusalDetails};

    fn invalid(field: &str, cause: &str) -> Refusal {
        let causes = vec![RefusalCause {
            reason: "FieldValueInvalid".into(),
            message: cause.into(),
            field: field.into(),
        }];
        Refusal {
            code: 422,
            message: format!("Job.batch \"j\" is invalid: {field}: {cause}"),
            details: Some(RefusalDetails { causes, ..RefusalDetails::default() }),
            ..Refusal::default()
        }
    }

    #[test]
    fn a_dump_of_a_pod_leaves_the_field_and_the_reason() {
        let dump = "Invalid value: core.PodTemplateSpec{Spec:core.PodSpec{Env:[]core.EnvVar{core.EnvVar{Name:\"PW\", Value:\"hunter2: \\\" }\"}}}}: field is immutable";
        let mut refusal = invalid("spec.template", dump);
        redact(&mut refusal);
        assert_eq!(
            refusal.message,
            "Job.batch \"j\" is invalid: spec.template: Invalid value: …: field is immutable"
        );
        assert_eq!(
            refusal.details.expect("details").causes[0].message,
            "Invalid value: …: field is immutable"
        );
        // Without causes, as from servers in between.
        let mut bare =
            Refusal { message: format!("x is invalid: spec.template: {dump}"), ..Refusal::default() };
        redact(&mut bare);
        assert_eq!(bare.message, "x is invalid: spec.template: Invalid value: …: field is immutable");
    }

    #[test]
    fn short_plain_values_stay_and_secret_ones_do_not() {
        let told = |field: &str, cause: &str| {
            let mut refusal = invalid(field, cause);
            redact(&mut refusal);
            refusal.message
        };
        let port = "Invalid value: 99999: must be between 1 and 65535, inclusive";
        assert!(told("spec.ports[0].port", port).ends_with(port));
        for (field, cause) in [
            ("spec.containers[0].env[0].value", "Invalid value: \"hunter2\": no"),
            ("data[key]", "Invalid value: \"hunter2\": no"),
            ("spec.containers[0].args[0]", "Invalid value: \"hunter2\": no"),
        ] {
            assert!(told(field, cause).ends_with("Invalid value: …: no"), "{}", told(field, cause));
        }
    }

    #[test]
    fn what_is_no_text_is_told_without_itself() {
        for value in [
            "&value.valueUnstructured{Value:hunter2}",
            "&value.valueUnstructured{Value:[]interface {}{\"hunter2\"}}",
            "&value.valueUnstructured{Value:map[string]interface {}{\"a\":\"hunter2\"}}",
            "&{map[PW:hunter2]}",
            "map[PW:{a} hunter2]",
        ] {
            let message = format!("failed: .env[name=\"PIN\"].value: expected string, got {value}");
            let mut refusal = Refusal { message, ..Refusal::default() };
            redact(&mut refusal);
            let told = &refusal.message;
            assert!(
                !told.contains("hunter2") && told.contains("PIN") && told.contains("quote it"),
                "{value}: {told}"
            );
        }
    }
}
