//! What ECR's scan found in an image.

use std::collections::BTreeMap;

use aws_sdk_ecr::operation::describe_image_scan_findings::DescribeImageScanFindingsOutput;
use aws_sdk_ecr::types::{ImageIdentifier, ScanStatus};
use slipway_core::target::Severity;

use super::Ecr;
use crate::error::{HookError, one_line};
use crate::limits::{FINDINGS_NAMED_MAX, FINDINGS_READ_MAX};

/// What a scan says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// There is none yet.
    None,
    /// It goes on.
    Runs,
    /// It is over.
    Done(Findings),
    /// There will be none: why.
    Never(String),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// How many of each severity.
    pub(crate) counts: BTreeMap<Severity, u32>,
    /// Some of them, with their severity.
    pub(crate) names: Vec<(Severity, String)>,
}

impl Findings {
    /// What is at that level or worse, in words; `None` for nothing.
    pub(crate) fn at(&self, level: Severity) -> Option<String> {
        let counts: Vec<String> = self
            .counts
            .range(..=level)
            .filter(|(_, n)| **n > 0)
            .map(|(s, n)| format!("{n} {}", s.as_str()))
            .collect();
        if counts.is_empty() {
            return None;
        }
        let names: Vec<&str> = self
            .names
            .iter()
            .filter(|(s, _)| *s <= level)
            .map(|(_, name)| name.as_str())
            .take(FINDINGS_NAMED_MAX)
            .collect();
        let named = if names.is_empty() { String::new() } else { format!(" ({}, …)", names.join(", ")) };
        Some(format!("{}{named}", counts.join(", ")))
    }
}

impl Ecr {
    /// What the scan of that tag or digest says.
    pub(crate) async fn findings(&self, repository: &str, named: &str) -> Result<Scan, HookError> {
        let id = ImageIdentifier::builder();
        let id = if named.starts_with("sha256:") { id.image_digest(named) } else { id.image_tag(named) };
        let request = self.client().await.describe_image_scan_findings().repository_name(repository);
        match request.image_id(id.build()).max_results(FINDINGS_READ_MAX).send().await {
            Ok(answer) => Ok(read(&answer)),
            Err(e)
                if e.as_service_error()
                    .is_some_and(|s| s.is_scan_not_found_exception() || s.is_image_not_found_exception()) =>
            {
                Ok(Scan::None)
            }
            Err(e) => Err(self.failure("ecr:DescribeImageScanFindings", &e)),
        }
    }

    /// Has an image scanned that nothing scans by itself. True if it is.
    pub(crate) async fn start_scan(&self, repository: &str, digest: &str) -> Result<(), HookError> {
        let id = ImageIdentifier::builder().image_digest(digest).build();
        match self.client().await.start_image_scan().repository_name(repository).image_id(id).send().await {
            Ok(_) => Ok(()),
            // Once a day is all that there is; the answer of that scan counts.
            Err(e) if e.as_service_error().is_some_and(|s| s.is_limit_exceeded_exception()) => Ok(()),
            Err(e) => Err(self.failure("ecr:StartImageScan", &e)),
        }
    }
}

fn read(answer: &DescribeImageScanFindingsOutput) -> Scan {
    let told = answer.image_scan_status();
    let status = told.and_then(|s| s.status()).cloned().unwrap_or(ScanStatus::Pending);
    match status {
        // A scan that goes on for as long as the image is there has looked at it.
        ScanStatus::Complete | ScanStatus::Active => Scan::Done(found(answer)),
        ScanStatus::Pending | ScanStatus::InProgress => Scan::Runs,
        other => {
            let words = told.and_then(|s| s.description()).unwrap_or("without more words");
            Scan::Never(one_line(&format!("{}, {words}", other.as_str())))
        }
    }
}

fn found(answer: &DescribeImageScanFindingsOutput) -> Findings {
    let Some(told) = answer.image_scan_findings() else { return Findings::default() };
    let mut found = Findings::default();
    for (severity, count) in told.finding_severity_counts().into_iter().flatten() {
        if let Some(severity) = severity_of(severity.as_str()) {
            found.counts.insert(severity, u32::try_from(*count).unwrap_or(0));
        }
    }
    let basic = told.findings().iter().map(|f| (f.severity().map(|s| s.as_str()), f.name()));
    let enhanced = told.enhanced_findings().iter().map(|f| {
        let id = f.package_vulnerability_details().and_then(|d| d.vulnerability_id());
        (f.severity(), id.or(f.title()))
    });
    let named =
        basic.chain(enhanced).filter_map(|(severity, name)| Some((severity_of(severity?)?, one_line(name?))));
    found.names = named.collect();
    found.names.sort();
    found
}

fn severity_of(name: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_below_the_level_do_not_count() {
        let name = |severity, text: &str| (severity, text.to_owned());
        let found = Findings {
            counts: [(Severity::High, 2), (Severity::Medium, 7)].into(),
            names: vec![
                name(Severity::High, "CVE-1"),
                name(Severity::High, "CVE-2"),
                name(Severity::Medium, "CVE-3"),
            ],
        };
        assert_eq!(found.at(Severity::Critical), None);
        assert_eq!(found.at(Severity::High).as_deref(), Some("2 high (CVE-1, CVE-2, …)"));
        assert_eq!(found.at(Severity::Medium).as_deref(), Some("2 high, 7 medium (CVE-1, CVE-2, CVE-3, …)"));
        assert_eq!(Findings::default().at(Severity::Medium), None);
    }
}
