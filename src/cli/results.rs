//! What is known of a build beside its record, as lines. Pure.

use serde_json::{Value, json};

use super::output::table;

/// The stages and steps of a log: how each ended, how long it took, and where it begins.
pub(super) fn steps(answer: &Value) -> String {
    let mut rows = Vec::new();
    for stage in answer["stages"].as_array().into_iter().flatten() {
        let took =
            stage["started"].as_u64().zip(stage["ended"].as_u64()).map(|(from, to)| to.saturating_sub(from));
        rows.push(row(stage, &stage["title"], took, &stage["start"]));
        for step in stage["steps"].as_array().into_iter().flatten() {
            let name = json!(format!("  {}", step["name"].as_str().unwrap_or_default()));
            rows.push(row(step, &name, step["took_ms"].as_u64(), &step["ranges"][0][0]));
        }
    }
    let first = first_line(answer);
    let first = if first.is_empty() { first } else { format!("\nThe failure begins with: {first}\n") };
    format!("{}{first}", table(&rows, &["step", "state", "took", "byte"]))
}

fn row(part: &Value, name: &Value, took_ms: Option<u64>, byte: &Value) -> Value {
    let took = took_ms.map(|ms| format!("{:.1} s", ms as f64 / 1000.0));
    json!({"step": name, "state": part["state"], "took": took, "byte": byte})
}

/// What a build's record has of it.
pub(super) fn record(results: &Value) -> String {
    let removed =
        results["log_removed"]["because"].as_str().map(|because| format!("the log was removed {because}"));
    let all = [Some(first_line(results)), tests(&results["tests"]), removed];
    all.into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What reports of a test say, with the tests that failed.
fn tests(report: &Value) -> Option<String> {
    let count = |key: &str| report[key].as_u64().unwrap_or(0);
    let all = report["tests"].as_u64()?;
    let failed = report["failed"].as_array().into_iter().flatten().filter_map(|test| test["name"].as_str());
    let failed: Vec<String> = failed.map(|name| name.chars().filter(|c| !c.is_control()).collect()).collect();
    let named = if failed.is_empty() { String::new() } else { format!(": {}", failed.join(", ")) };
    let (bad, skipped) = (count("failures") + count("errors"), count("skipped"));
    Some(format!("{all} tests, {bad} failed, {skipped} skipped{named}"))
}

/// The line where a failure begins, and where it is.
pub(super) fn first_line(results: &Value) -> String {
    let line = &results["first_line"];
    match (line["text"].as_str(), line["offset"].as_u64()) {
        (Some(text), Some(offset)) => {
            // A program's words: no order of theirs reaches the terminal.
            let plain: String = text.chars().filter(|c| !c.is_control()).collect();
            format!("{plain} (byte {offset} of the log)")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_below_their_stages() {
        let answer = json!({
            "stages": [{"stage": "build", "title": "build image", "state": "failed", "start": 40, "started": 1_000,
                "ended": 3_500, "steps": [{"number": 1, "name": "[1/1] RUN x", "state": "failed", "took_ms": null,
                "ranges": [[52, 90]]}]}],
            "first_line": {"stage": "build", "offset": 60, "text": "error: \u{1b}no"}
        });
        let told = steps(&answer);
        assert!(told.contains("build image    failed  2.5 s  40"), "{told}");
        assert!(told.contains("  [1/1] RUN x  failed  -      52"), "{told}");
        assert!(told.ends_with("The failure begins with: error: no (byte 60 of the log)\n"), "{told}");
        assert_eq!(steps(&json!({"stages": [], "first_line": null})), "none\n");
    }
}
