//! How answers read: tables, records, times. Pure.

use serde_json::Value;

/// A table with a heading; columns as wide as their widest cell.
pub(super) fn table(rows: &[Value], columns: &[&str]) -> String {
    if rows.is_empty() {
        return "none\n".into();
    }
    let head: Vec<String> = columns.iter().map(|c| c.to_uppercase().replace('_', " ")).collect();
    let mut lines = vec![head];
    lines.extend(rows.iter().map(|row| columns.iter().map(|&c| cell(c, &row[c])).collect()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        for (at, text) in line.iter().enumerate() {
            out.push_str(text);
            if at + 1 < line.len() {
                out.push_str(&" ".repeat(widths[at].saturating_sub(text.chars().count()) + 2));
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A record, one field a line; empty fields are left out.
pub(super) fn record(value: &Value) -> String {
    let mut out = String::new();
    let Some(fields) = value.as_object() else { return format!("{value}\n") };
    let in_line = |value: &Value| {
        !value.is_null() && !value.as_array().is_some_and(|items| items.iter().all(Value::is_object))
    };
    let width = fields.iter().filter(|(_, v)| in_line(v)).map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) if items.iter().all(Value::is_object) => {
                out.push_str(&format!("{name}:\n"));
                for item in items {
                    out.push_str(&format!("  - {}\n", inline(item)));
                }
            }
            Value::Object(_) => out.push_str(&format!("{name:width$}  {}\n", inline(value))),
            other => out.push_str(&format!("{name:width$}  {}\n", cell(name, other))),
        }
    }
    out
}

/// The doctor's checks.
pub(super) fn checks(answer: &Value) -> String {
    let mut out = String::new();
    for check in answer["checks"].as_array().into_iter().flatten() {
        let ok = check["ok"].as_bool().unwrap_or(false);
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        out.push_str(&format!("{} {}: {}\n", if ok { "ok  " } else { "FAIL" }, text("name"), text("what")));
        if !ok {
            out.push_str(&format!("     {}\n", text("cure")));
        }
    }
    out
}

fn inline(value: &Value) -> String {
    let Some(fields) = value.as_object() else { return plain(value) };
    let parts: Vec<String> = fields
        .iter()
        .filter(|(_, v)| !v.is_null() && v.as_str() != Some(""))
        .map(|(name, v)| format!("{name}: {}", if v.is_object() { inline(v) } else { cell(name, v) }))
        .collect();
    parts.join(", ")
}

fn cell(name: &str, value: &Value) -> String {
    let is_time = matches!(name, "created" | "started" | "ended" | "expires" | "retry_at" | "at");
    match value {
        Value::Null => "-".into(),
        Value::Number(ms) if is_time => ms.as_u64().map_or_else(|| ms.to_string(), time),
        Value::String(text) if name == "commit" => text.chars().take(10).collect(),
        Value::String(text) => text.chars().take(200).collect(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => plain(other),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Milliseconds since 1970 as `2026-11-22 14:05:09` UTC. Algorithm: Howard Hinnant, "chrono-compatible low-level date
/// algorithms", civil_from_days.
fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest % 3600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_line_up_and_times_are_dates() {
        let rows =
            [json!({"name": "a", "created": 0}), json!({"name": "longer", "created": 1_795_356_309_000u64})];
        assert_eq!(
            table(&rows, &["name", "created"]),
            "NAME    CREATED\na       1970-01-01 00:00:00\nlonger  2026-11-22 14:05:09\n"
        );
        assert_eq!(table(&[], &["name"]), "none\n");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00");
    }

    #[test]
    fn a_record_leaves_empty_fields_out() {
        let text =
            record(&json!({"number": 3, "failure": null, "stages": [{"stage": "clone", "ended": null}]}));
        assert_eq!(text, "number  3\nstages:\n  - stage: clone\n");
    }
}
