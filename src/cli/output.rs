//! How answers read: tables, records, times. Pure.

use serde_json::{Value, json};

use super::results;

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

/// What a person looks for first; the other fields follow by name.
const FIRST: [&str; 17] = [
    "name",
    "repo_name",
    "number",
    "state",
    "phase",
    "stage",
    "failure",
    "results",
    "title",
    "commit",
    "ref_name",
    "actor",
    "cluster",
    "created",
    "started",
    "ended",
    "url",
];
/// Keys of the store that tell a person nothing; `--json` has them.
const INNER: [&str; 3] = ["repo", "event", "lease"];

/// A record, one field a line, what matters first; lists of objects and of stages as tables below. Empty fields and the
/// store's own keys are left out.
pub(super) fn record(value: &Value) -> String {
    let Some(fields) = value.as_object() else { return format!("{value}\n") };
    let rank = |name: &str| FIRST.iter().position(|f| *f == name).unwrap_or(FIRST.len());
    let mut shown: Vec<_> =
        fields.iter().filter(|(name, v)| !INNER.contains(&name.as_str()) && !is_empty(v)).collect();
    shown.sort_by_key(|(name, _)| (rank(name), name.as_str()));
    let is_list = |v: &Value| v.as_array().is_some_and(|items| items.iter().all(Value::is_object));
    let width = shown.iter().filter(|(_, v)| !is_list(v)).map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in shown.iter().filter(|(_, v)| !is_list(v)) {
        let text = match value {
            Value::Object(_) if name.as_str() == "failure" => failure(value),
            Value::Object(_) if name.as_str() == "storage" => storage(value),
            Value::Object(_) if name.as_str() == "maintenance" => maintenance(value),
            Value::Object(_) if name.as_str() == "results" => results::record(value),
            Value::Object(_) => inline(value),
            other => cell(name, other),
        };
        out.push_str(&format!("{name:width$}  {text}\n"));
    }
    for (name, value) in shown.iter().filter(|(_, v)| is_list(v)) {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        out.push_str(&format!("\n{name}:\n"));
        match name.as_str() {
            "stages" => {
                let rows: Vec<Value> = items.iter().map(timed).collect();
                out.push_str(&table(&rows, &["stage", "started", "took"]));
            }
            "objects" => {
                out.push_str(&table(items, &["kind", "namespace", "name", "change", "health", "message"]));
            }
            _ => items.iter().for_each(|item| out.push_str(&format!("  - {}\n", inline(item)))),
        }
    }
    out
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// What happened and what to do about it.
fn failure(value: &Value) -> String {
    let problem = &value["problem"];
    match (problem["what"].as_str(), problem["cure"].as_str()) {
        (Some(what), Some(cure)) => format!("{what} {cure}"),
        _ => inline(value),
    }
}

/// A stage with how long it took.
fn timed(stage: &Value) -> Value {
    let took = match (stage["started"].as_u64(), stage["ended"].as_u64()) {
        _ if stage["skipped"].as_bool() == Some(true) => "skipped".to_owned(),
        (Some(from), Some(to)) => format!("{:.1} s", to.saturating_sub(from) as f64 / 1000.0),
        _ => "runs".to_owned(),
    };
    json!({"stage": stage["stage"], "started": stage["started"], "took": took})
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

/// What a sync would change; says so where that is nothing (then every line of the diff only names an object).
pub(super) fn diff(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    let changes = text.lines().any(|line| !line.trim().is_empty() && !line.starts_with(' '));
    match (text.is_empty(), changes) {
        (true, _) => "Nothing to change.\n".into(),
        (false, true) => format!("{text}\n"),
        (false, false) => format!("{text}\nNothing to change: the cluster has what the branch says.\n"),
    }
}

/// Remarks that come with an answer, a line each.
pub(super) fn notes(answer: &Value) -> String {
    let notes = answer["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    notes.map(|note| format!("{note}\n")).collect()
}

/// What may be taken over, and how.
pub(super) fn adoptable(answer: &Value) -> String {
    let objects: Vec<&str> =
        answer["objects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if objects.is_empty() {
        return "Nothing to take over: what is there of the branch's objects is this repository's.\n".into();
    }
    let many = if objects.len() == 1 {
        "this object".to_owned()
    } else {
        format!("these {} objects", objects.len())
    };
    format!("{}\nTake {many} over with --yes; nothing is made anew or deleted by that.\n", objects.join("\n"))
}

/// How a repository is stored.
fn storage(value: &Value) -> String {
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    format!(
        "{} packs ({} not indexed), {} objects, {}, {} bitmaps, {} commits in the graph",
        number("packs"),
        number("not_indexed"),
        number("objects"),
        size(number("bytes")),
        number("bitmaps"),
        number("graph_commits")
    )
}

/// Bytes, in a unit that keeps the figure short.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn seconds(took: &Value) -> String {
    format!("{:.2} s", took.as_u64().unwrap_or(0) as f64 / 1000.0)
}

/// The last maintenance.
fn maintenance(value: &Value) -> String {
    let how = if value["full"].as_bool() == Some(true) { "packed anew" } else { "rolled up" };
    let when = cell("ended", &value["ended"]);
    match value["failure"].as_str() {
        Some(failure) => format!("{when}, failed: {failure}"),
        None => format!("{when}, {how} in {}", seconds(&value["took_ms"])),
    }
}

/// What a maintenance did: a sentence, and the figures side by side.
pub(super) fn maintained(answer: &Value) -> String {
    let name = answer["name"].as_str().unwrap_or_default();
    let mut out = format!(
        "{name} is maintained: {} packs became {} in {}.\n",
        answer["before"]["packs"],
        answer["after"]["packs"],
        seconds(&answer["took_ms"])
    );
    if answer["full"].is_object() {
        let full = &answer["full"];
        out.push_str(&format!(
            "{} objects are reachable, {} are not and stay for now, {} went.\n",
            full["reachable"], full["unreachable"], full["dropped"]
        ));
        if full["postponed"].as_u64().unwrap_or(0) > 0 {
            let put_off = &full["postponed"];
            out.push_str(&format!(
                "{put_off} more were due to go; pushes were under way, so they stay until the next time.\n"
            ));
        }
    }
    let rows = ["packs", "not_indexed", "objects", "bytes", "bitmaps", "graph_commits"].map(|what| {
        json!({"what": what.replace('_', " "), "before": answer["before"][what], "after": answer["after"][what]})
    });
    out.push_str(&table(&rows, &["what", "before", "after"]));
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

pub(super) fn cell(name: &str, value: &Value) -> String {
    let is_time = matches!(
        name,
        "created" | "started" | "ended" | "expires" | "retry_at" | "at" | "last_modified" | "next" | "last"
    );
    match value {
        Value::Null => "-".into(),
        Value::Number(ms) if is_time => ms.as_u64().map_or_else(|| ms.to_string(), time),
        Value::String(text) if name == "commit" => text.chars().take(10).collect(),
        Value::String(text) => line(text).chars().take(200).collect(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => plain(other),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), line)
}

/// What strangers wrote (titles, answers of other servers) stays in its line and gives the terminal no orders.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
        let text = record(&json!({
            "repo": 9, "title": "", "number": 3, "failure": null, "actor": "ann", "state": "failed",
            "stages": [{"stage": "clone", "started": 0, "ended": 1200}],
        }));
        assert_eq!(
            text,
            "number  3\nstate   failed\nactor   ann\n\nstages:\nSTAGE  STARTED              TOOK\nclone  1970-01-01 00:00:00  1.2 s\n"
        );
        assert_eq!(record(&json!({"said": "ok\n\u{1b}[31mred"})), "said  ok  [31mred\n");
        let text = record(
            &json!({"failure": {"class": "user", "problem": {"what": "It broke.", "cure": "Mend it."}}}),
        );
        assert_eq!(text, "failure  It broke. Mend it.\n");
    }

    #[test]
    fn storage_and_maintenance_read_as_sentences() {
        let stored = json!({"packs": 3, "not_indexed": 1, "objects": 70, "bytes": 12_345, "bitmaps": 2, "graph_commits": 9});
        let last = json!({"ended": 0, "took_ms": 1234, "full": false, "failure": null});
        assert_eq!(
            record(&json!({"name": "app", "storage": stored, "maintenance": last})),
            "name         app\n\
             maintenance  1970-01-01 00:00:00, rolled up in 1.23 s\n\
             storage      3 packs (1 not indexed), 70 objects, 12.3 kB, 2 bitmaps, 9 commits in the graph\n"
        );
        let after = json!({"packs": 1, "not_indexed": 0, "objects": 60, "bytes": 9_999, "bitmaps": 2, "graph_commits": 9});
        let text = maintained(&json!({
            "name": "app", "took_ms": 20, "before": stored, "after": after,
            "full": {"reachable": 60, "unreachable": 4, "dropped": 10, "postponed": 0},
        }));
        assert!(
            text.starts_with(
                "app is maintained: 3 packs became 1 in 0.02 s.\n60 objects are reachable, 4 are"
            ),
            "{text}"
        );
        assert!(text.contains("\nnot indexed    1       0\n"), "{text}");
    }

    #[test]
    fn a_diff_without_a_change_says_so() {
        assert!(
            diff("  Deployment usage/web  a.yaml:1").ends_with("the cluster has what the branch says.\n")
        );
        assert_eq!(diff("~ Deployment usage/web  a.yaml:1"), "~ Deployment usage/web  a.yaml:1\n");
        assert_eq!(diff(""), "Nothing to change.\n");
    }
}
