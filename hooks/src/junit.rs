//! JUnit's XML, as test runners write it: `testsuite`s of `testcase`s with `failure`, `error` or `skipped` in them. Entities are
//! never expanded, and a document with a DOCTYPE is refused.

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use slipway_core::kept::{FailedTest, TestReport};

/// Failed tests that are named.
const FAILED_MAX: usize = 20;
/// Elements within elements.
const DEPTH_MAX: usize = 64;
/// Characters of a name or message that are kept.
const TEXT_CHARS_MAX: usize = 300;

/// A test under way.
#[derive(Default)]
struct Case {
    name: String,
    failed: bool,
    broke: bool,
    skipped: bool,
    message: String,
    /// The text of the failure is being read.
    inside: bool,
}

/// Adds what a document says. What was read of one that is broken stays.
///
/// # Errors
/// A clause on what is wrong with it.
pub(crate) fn read(document: &[u8], report: &mut TestReport) -> Result<(), String> {
    let text = String::from_utf8_lossy(document);
    let mut reader = Reader::from_str(&text);
    let mut case: Option<Case> = None;
    let (mut depth, mut elements) = (0usize, 0usize);
    loop {
        match reader.read_event().map_err(|e| format!("is no XML: {e}"))? {
            Event::Eof => break,
            Event::DocType(_) => return Err("has a DOCTYPE, which is not read".into()),
            Event::Start(start) => {
                (depth, elements) = (depth + 1, elements + 1);
                if depth > DEPTH_MAX {
                    return Err(format!("has more than {DEPTH_MAX} elements within each other"));
                }
                begin(&start, &mut case);
            }
            Event::Empty(start) => {
                elements += 1;
                begin(&start, &mut case);
                end(start.local_name().as_ref(), &mut case, report);
            }
            Event::End(name) => {
                depth = depth.saturating_sub(1);
                end(name.local_name().as_ref(), &mut case, report);
            }
            Event::Text(text) => words(&text, &mut case),
            Event::CData(text) => words(&text, &mut case),
            _ => {}
        }
    }
    if elements == 0 { Err("is no XML".into()) } else { Ok(()) }
}

fn begin(start: &BytesStart<'_>, case: &mut Option<Case>) {
    match (start.local_name().as_ref(), case.as_mut()) {
        ("testcase", None) => {
            let (class, name) = (attribute(start, "classname"), attribute(start, "name"));
            let name = if class.is_empty() { name } else { format!("{class}: {name}") };
            *case = Some(Case { name: cut(&name), ..Case::default() });
        }
        (what @ ("failure" | "error"), Some(case)) => {
            (case.failed, case.broke) = (case.failed | (what == "failure"), case.broke | (what == "error"));
            if case.message.is_empty() {
                case.message = cut(&attribute(start, "message"));
                case.inside = case.message.is_empty();
            }
        }
        ("skipped", Some(case)) => case.skipped = true,
        _ => {}
    }
}

fn end(name: &str, case: &mut Option<Case>, report: &mut TestReport) {
    if let Some(open) = case {
        open.inside &= name != "failure" && name != "error";
    }
    if name != "testcase" {
        return;
    }
    let Some(over) = case.take() else { return };
    report.tests += 1;
    report.errors += u64::from(over.broke);
    report.failures += u64::from(over.failed && !over.broke);
    report.skipped += u64::from(over.skipped);
    if (over.failed || over.broke) && report.failed.len() < FAILED_MAX {
        report.failed.push(FailedTest { name: over.name, message: over.message });
    }
}

fn words(text: &str, case: &mut Option<Case>) {
    let Some(case) = case.as_mut().filter(|case| case.inside) else { return };
    if let Some(line) = text.lines().map(str::trim).find(|line| !line.is_empty()) {
        case.message = cut(line);
        case.inside = false;
    }
}

/// The value of an attribute; empty where there is none.
fn attribute(start: &BytesStart<'_>, name: &str) -> String {
    let found = start.attributes().flatten().find(|found| found.key.local_name().as_ref() == name);
    let raw = found.map(|found| found.value.into_owned()).unwrap_or_default();
    match unescape(&raw) {
        Ok(text) => text.into_owned(),
        Err(_) => raw,
    }
}

/// One line of it.
fn cut(text: &str) -> String {
    let plain: String =
        text.chars().take(4 * TEXT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> (Result<(), String>, TestReport) {
        let mut report = TestReport::default();
        (read(text.as_bytes(), &mut report), report)
    }

    #[test]
    fn a_report_is_summed_and_its_failures_are_named() {
        let (done, all) = report(
            r#"<?xml version="1.0"?><testsuites><testsuite name="s" tests="5"><properties/>
            <testcase classname="A" name="one"/><testcase name="two"><skipped/></testcase>
            <testcase classname="B" name="three &amp; more"><failure message="1 &lt; 2&#10;x">long</failure></testcase>
            <testcase name="four"><error>
              <![CDATA[boom
              more]]></error></testcase>
            <testcase name="five"><system-out>error</system-out></testcase></testsuite></testsuites>"#,
        );
        done.expect("read");
        assert_eq!((all.tests, all.failures, all.errors, all.skipped), (5, 1, 1, 1));
        let told: Vec<_> = all.failed.iter().map(|f| (f.name.as_str(), f.message.as_str())).collect();
        assert_eq!(told, [("B: three & more", "1 < 2 x"), ("four", "boom")]);
    }

    #[test]
    fn what_is_hostile_or_broken_is_refused_or_bounded() {
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testcase name="&b;"/>"#;
        assert!(report(bomb).0.expect_err("refused").contains("DOCTYPE"));
        assert_eq!(report(r#"<t><testcase name="&b;"><failure/></testcase></t>"#).1.failed[0].name, "&b;");
        assert!(report(&"<a>".repeat(100)).0.is_err());
        assert!(report("").0.is_err() && report("no xml").0.is_err() && report("<a></b>").0.is_err());
        let many = "<testcase name='x'><failure/></testcase>".repeat(50);
        let (_, all) = report(&format!("<t>{many}</t>"));
        assert_eq!((all.failures, all.failed.len()), (50, 20));
        let long = report(&format!("<t><testcase name='{}'><failure/></testcase></t>", "ü".repeat(9_000))).1;
        assert!(long.failed[0].name.chars().count() <= 300);
    }
}
