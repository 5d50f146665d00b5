//! How deploys of a binding go about what they share with others: fields that are somebody else's, tools whose objects are
//! taken over, how long a rollout may take, and what becomes of a push while the cluster cannot be asked.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::field_path::FieldPath;
use crate::kind_rules::KindRules;

/// Most fields that one binding leaves to others.
pub const IGNORE_MAX: usize = 64;
/// Most tools that one binding takes over from.
pub const MANAGERS_MAX: usize = 16;
/// Longest name of a field manager, in bytes: what Kubernetes allows.
const MANAGER_BYTES_MAX: usize = 128;
/// The longest that an owner may let a rollout take, in seconds.
pub const TIMEOUT_S_MAX: u64 = 24 * 3600;

/// What becomes of a push that its cluster could not be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateDown {
    /// It is let through, and told so.
    Allow,
    /// It is refused.
    Refuse,
}

/// The rules of one binding. Records from before there was a choice have the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployRules {
    /// Fields that are left as they are in the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<IgnoreRule>,
    /// Further field managers whose fields are taken over, by name.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub take_over_from: BTreeSet<String>,
    /// How long a rollout may take, in seconds; else what the server's settings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// What an owner chose; else the mode decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_down: Option<GateDown>,
}

impl DeployRules {
    /// What is wrong with them, as a sentence without its end; `None` if nothing.
    pub fn fault(&self) -> Option<String> {
        if self.ignore.len() > IGNORE_MAX {
            return Some(format!("More than {IGNORE_MAX} fields are ignored"));
        }
        if self.take_over_from.len() > MANAGERS_MAX {
            return Some(format!("More than {MANAGERS_MAX} field managers are named"));
        }
        let bad =
            |m: &&String| m.is_empty() || m.len() > MANAGER_BYTES_MAX || m.chars().any(char::is_control);
        if let Some(bad) = self.take_over_from.iter().find(bad) {
            let shown: String = bad.chars().take(40).collect();
            return Some(format!("{shown:?} cannot be the name of a field manager"));
        }
        match self.timeout_s {
            Some(s) if s == 0 || s > TIMEOUT_S_MAX => {
                Some(format!("A rollout may take from 1 to {TIMEOUT_S_MAX} seconds, not {s}"))
            }
            _ => None,
        }
    }
}

/// Which field of which objects is left alone: `Deployment.apps/web /spec/replicas`, `* .metadata.labels["x"]`,
/// `*.apps manager:kube-controller-manager`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IgnoreRule {
    kind: String,
    name: Option<String>,
    /// What is left alone.
    pub what: Ignored,
    text: String,
}

/// What a rule leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A field.
    Field(FieldPath),
    /// Whatever the field manager of that name owns.
    Manager(String),
}

impl Ignored {
    /// Reads a JSON pointer, a jq path or `manager:NAME`.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.strip_prefix("manager:").map(str::trim) {
            None => FieldPath::parse(text).map(Self::Field),
            Some(name) if name.is_empty() || name.len() > MANAGER_BYTES_MAX => {
                Err("manager: wants the name of a field manager".to_owned())
            }
            Some(name) => Ok(Self::Manager(name.to_owned())),
        }
    }
}

impl IgnoreRule {
    /// Whether the rule is about an object.
    pub fn is_for(&self, group: &str, kind: &str, name: &str) -> bool {
        KindRules::is_named_by(&self.kind, group, kind) && self.name.as_deref().is_none_or(|n| n == name)
    }
}

impl fmt::Display for IgnoreRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for IgnoreRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (object, what) = text.trim().split_once(char::is_whitespace).ok_or_else(|| {
            format!("{text:?} is not KIND[.GROUP][/NAME] and a path, such as Deployment.apps /spec/replicas")
        })?;
        let (kind, name) = match object.split_once('/') {
            Some((kind, name)) => (kind, Some(name.to_owned())),
            None => (object, None),
        };
        if !KindRules::is_rule(kind) {
            return Err(format!("{kind:?} names no kind of objects"));
        }
        Ok(Self { kind: kind.to_owned(), name, what: Ignored::parse(what)?, text: text.trim().to_owned() })
    }
}

impl From<IgnoreRule> for String {
    fn from(rule: IgnoreRule) -> String {
        rule.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> IgnoreRule {
        IgnoreRule::try_from(text.to_owned()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn a_rule_is_for_the_objects_that_it_names() {
        let web = rule("Deployment.apps/web /spec/replicas");
        assert!(web.is_for("apps", "Deployment", "web"));
        assert!(!web.is_for("apps", "Deployment", "api") && !web.is_for("apps", "StatefulSet", "web"));
        assert!(rule("Deployment /spec/replicas").is_for("apps", "Deployment", "x"));
        assert!(rule("*.apps .spec").is_for("apps", "StatefulSet", "x"));
        assert!(!rule("*.apps .spec").is_for("batch", "Job", "x"));
        assert!(rule("* manager:me").is_for("", "Pod", "x"));
        assert_eq!(rule("* manager: me ").what, Ignored::Manager("me".into()));
    }

    #[test]
    fn rules_are_written_as_they_were_read_and_old_records_have_none() {
        let rules = DeployRules { ignore: vec![rule("* .a[]")], ..DeployRules::default() };
        let text = serde_json::to_string(&rules).expect("JSON");
        assert_eq!(text, r#"{"ignore":["* .a[]"]}"#);
        assert_eq!(serde_json::from_str::<DeployRules>(&text).expect("rules"), rules);
        assert_eq!(serde_json::from_str::<DeployRules>("{}").expect("rules"), DeployRules::default());
        assert!(serde_json::from_str::<DeployRules>(r#"{"ignore":["Deployment"]}"#).is_err());
    }

    #[test]
    fn what_nobody_means_is_a_fault() {
        let of = |manager: &str, timeout_s| DeployRules {
            take_over_from: [manager.to_owned()].into(),
            timeout_s,
            ..DeployRules::default()
        };
        assert_eq!(of("argocd-controller", Some(60)).fault(), None);
        for bad in [of("", None), of("a\nb", None), of("x", Some(0)), of("x", Some(TIMEOUT_S_MAX + 1))] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
        let many = DeployRules { ignore: vec![rule("* .a"); IGNORE_MAX + 1], ..DeployRules::default() };
        assert!(many.fault().is_some());
    }
}
