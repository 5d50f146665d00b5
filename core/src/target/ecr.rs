//! What Amazon ECR is told besides its region: who asks, where, how missing repositories are made, and what a scan may find.
//!
//! One form for the API and for records.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::is_loopback;
use crate::{Problem, ProblemKind};

/// Longest name, id or address here.
const TEXT_BYTES_MAX: usize = 2048;
/// Longest lifecycle policy that ECR takes.
const LIFECYCLE_BYTES_MAX: usize = 30_720;
/// Most patterns of tags that may change although the others may not, and wildcards in each, as ECR has it.
const EXCEPT_MAX: usize = 5;
const WILDCARDS_MAX: usize = 2;
/// Most AWS tags of a repository.
const TAGS_MAX: usize = 50;

/// How ECR is spoken to, and what it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EcrSettings {
    /// A profile of the AWS files of the server's account, in place of the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that is assumed on top of whatever identity there is: its ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<String>,
    /// What the role's trust policy asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Where the API is, in place of AWS' public address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The least severe finding of ECR's scan that keeps manifests from being written; none: scans are not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_gate: Option<Severity>,
    /// How a missing repository is made.
    #[serde(skip_serializing_if = "RepositoryTemplate::is_default")]
    pub repositories: RepositoryTemplate,
}

/// What a repository gets when it is made; those that are there are never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepositoryTemplate {
    /// None is made: a push to a missing repository fails.
    #[serde(skip_serializing_if = "is_false")]
    pub no_create: bool,
    /// Tags may not change.
    #[serde(skip_serializing_if = "is_false")]
    pub immutable_tags: bool,
    /// Those that may all the same: patterns with `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Every image is scanned when it is pushed.
    #[serde(skip_serializing_if = "is_false")]
    pub scan_on_push: bool,
    /// A lifecycle policy, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<String>,
    /// How images are encrypted at rest; none: as ECR does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// AWS tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Encryption at rest; written `aes256`, `kms` or `kms:KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// By S3's own keys.
    Aes256,
    /// By a key of KMS: that one, or the account's own for ECR.
    Kms(Option<String>),
}

/// How bad a finding is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Critical.
    Critical,
    /// High.
    High,
    /// Medium.
    Medium,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::High, Self::Medium];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
        }
    }
}

impl EcrSettings {
    /// True if nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all of it can be so.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn check(&self) -> Result<(), Problem> {
        for text in
            [&self.profile, &self.assume_role, &self.external_id, &self.endpoint].into_iter().flatten()
        {
            if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
                return Err(wrong(
                    "A setting for ECR is empty, too long or has control characters.",
                    "Check it.",
                ));
            }
        }
        if let Some(role) = &self.assume_role
            && !(role.starts_with("arn:aws") && role.contains(":iam::") && role.contains(":role/"))
        {
            let what = format!("{role:?} is not the ARN of a role.");
            return Err(wrong(what, "Write it as IAM shows it: arn:aws:iam::123456789012:role/NAME"));
        }
        if self.external_id.is_some() && self.assume_role.is_none() {
            return Err(wrong(
                "An external id is for a role that is assumed, and none is named.",
                "Name the role, too.",
            ));
        }
        self.endpoint.as_deref().map_or(Ok(()), check_endpoint)?;
        self.repositories.check()
    }
}

impl RepositoryTemplate {
    /// True if nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self) -> Result<(), Problem> {
        if !self.except.is_empty() && !self.immutable_tags {
            return Err(wrong(
                "Exceptions are for tags that may not change, and here all may.",
                "Say that tags are immutable, too.",
            ));
        }
        if self.except.len() > EXCEPT_MAX {
            return Err(wrong(
                format!("There are more than {EXCEPT_MAX} patterns of tags that may change."),
                "ECR takes no more.",
            ));
        }
        self.except.iter().try_for_each(|pattern| check_pattern(pattern))?;
        self.lifecycle.as_deref().map_or(Ok(()), check_lifecycle)?;
        let fits = |(key, value): (&String, &String)| {
            (1..=128).contains(&key.len())
                && value.len() <= 256
                && !key.starts_with("aws:")
                && !key.chars().chain(value.chars()).any(char::is_control)
        };
        if self.tags.len() > TAGS_MAX || !self.tags.iter().all(fits) {
            let cure = "At most 50, with keys of 1 to 128 bytes that do not begin with aws:, and values of up to 256.";
            return Err(wrong("The AWS tags for new repositories are not what AWS takes.", cure));
        }
        Ok(())
    }
}

fn check_pattern(pattern: &str) -> Result<(), Problem> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._*-".contains(c);
    let wildcards = pattern.matches('*').count();
    if (1..=128).contains(&pattern.len()) && pattern.chars().all(legal) && wildcards <= WILDCARDS_MAX {
        return Ok(());
    }
    let cure = "Use letters, digits, `.`, `_`, `-` and at most two `*`, as in latest or v*-rc.";
    Err(wrong(format!("{pattern:?} is no pattern of tags that ECR takes."), cure))
}

fn check_lifecycle(policy: &str) -> Result<(), Problem> {
    let cure = "Take one that `aws ecr put-lifecycle-policy` takes: {\"rules\": […]}";
    if policy.len() > LIFECYCLE_BYTES_MAX {
        return Err(wrong(format!("The lifecycle policy is larger than {LIFECYCLE_BYTES_MAX} bytes."), cure));
    }
    match serde_json::from_str::<serde_json::Value>(policy) {
        Ok(value) if value["rules"].is_array() => Ok(()),
        Ok(_) => Err(wrong("The lifecycle policy has no list of rules.", cure)),
        Err(e) => Err(wrong(format!("The lifecycle policy is not JSON: {e}."), cure)),
    }
}

/// HTTPS, or to this machine HTTP; a host and nothing that hides one.
fn check_endpoint(url: &str) -> Result<(), Problem> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_graphic() && !"@?#\\\"<>{}|^`".contains(c);
    let legal = !host.is_empty() && !host.starts_with(':') && rest.chars().all(plain);
    if legal && (scheme == "https" || scheme == "http" && is_loopback(host)) {
        return Ok(());
    }
    let what = format!("{url:?} cannot be the address of ECR's API.");
    Err(wrong(
        what,
        "Write https://HOST[:PORT], without name and password; plain HTTP goes to this machine alone.",
    ))
}

fn wrong(what: impl Into<String>, cure: &str) -> Problem {
    Problem::new(ProblemKind::Invalid, what, cure)
}

fn is_false(is: &bool) -> bool {
    !is
}

impl FromStr for Encryption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = |key: &str| {
            !key.is_empty() && key.len() <= TEXT_BYTES_MAX && key.chars().all(|c| c.is_ascii_graphic())
        };
        match text.split_once(':') {
            None if text == "aes256" => Ok(Self::Aes256),
            None if text == "kms" => Ok(Self::Kms(None)),
            Some(("kms", name)) if key(name) => Ok(Self::Kms(Some(name.to_owned()))),
            _ => Err("encryption is aes256, kms or kms:KEY".into()),
        }
    }
}

impl Serialize for Encryption {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Aes256 => out.serialize_str("aes256"),
            Self::Kms(None) => out.serialize_str("kms"),
            Self::Kms(Some(key)) => out.serialize_str(&format!("kms:{key}")),
        }
    }
}

impl<'de> Deserialize<'de> for Encryption {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(), String> {
        let settings: EcrSettings = serde_json::from_str(text).map_err(|e| e.to_string())?;
        settings.check().map_err(|p| p.to_string())
    }

    #[test]
    fn what_ecr_takes_is_taken() {
        for text in [
            "{}",
            r#"{"profile":"prod"}"#,
            r#"{"assume_role":"arn:aws:iam::123456789012:role/slipway","external_id":"x-1"}"#,
            r#"{"assume_role":"arn:aws-cn:iam::123456789012:role/path/slipway"}"#,
            r#"{"endpoint":"https://vpce-1.api.ecr.eu-west-1.vpce.amazonaws.com"}"#,
            r#"{"endpoint":"http://127.0.0.1:4566"}"#,
            r#"{"scan_gate":"high"}"#,
            r#"{"repositories":{"immutable_tags":true,"except":["latest","v*-*"],"scan_on_push":true}}"#,
            r#"{"repositories":{"lifecycle":"{\"rules\":[]}","encryption":"kms:alias/ecr","tags":{"team":"a"}}}"#,
        ] {
            assert_eq!(parsed(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_ecr_does_not_take_is_refused() {
        for text in [
            r#"{"profile":""}"#,
            r#"{"unknown":1}"#,
            r#"{"assume_role":"slipway"}"#,
            r#"{"external_id":"x"}"#,
            r#"{"endpoint":"http://ecr.example"}"#,
            r#"{"endpoint":"http://127.0.0.1@ecr.example"}"#,
            r#"{"endpoint":"http://127.0.0.1\\@ecr.example"}"#,
            r#"{"endpoint":"https://user:word@ecr.example"}"#,
            r#"{"endpoint":"https:///x"}"#,
            r#"{"endpoint":"ecr.example"}"#,
            r#"{"scan_gate":"low"}"#,
            r#"{"repositories":{"except":["latest"]}}"#,
            r#"{"repositories":{"immutable_tags":true,"except":["a*b*c*"]}}"#,
            r#"{"repositories":{"immutable_tags":true,"except":["a","b","c","d","e","f"]}}"#,
            r#"{"repositories":{"lifecycle":"{}"}}"#,
            r#"{"repositories":{"lifecycle":"rules"}}"#,
            r#"{"repositories":{"encryption":"rot13"}}"#,
            r#"{"repositories":{"tags":{"aws:x":"y"}}}"#,
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn encryption_reads_as_it_is_written() {
        for text in ["\"aes256\"", "\"kms\"", "\"kms:arn:aws:kms:eu-west-1:1:key/2\""] {
            let read: Encryption = serde_json::from_str(text).expect("valid");
            assert_eq!(serde_json::to_string(&read).expect("text"), text);
        }
    }
}
