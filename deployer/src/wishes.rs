//! What the annotations of one object ask of its deploy, in the spelling of this server and of the tools that people come
//! from: whether it is written at all, waited for, made anew where it cannot be changed, and which fields are left alone. Pure.

use serde_json::{Map, Value};
use slipway_core::deploy_rules::{IGNORE_MAX, Ignored, TIMEOUT_S_MAX};
use slipway_core::spec::parse_duration_ms;

/// `never` leaves the object alone, `once` writes it only where it is not there; also on the live object.
const APPLY: &str = "slipway.dev/apply";
/// `disabled`: its health is told and not waited for.
const WAIT: &str = "slipway.dev/wait";
/// How long its rollout may take: `20m`.
const TIMEOUT: &str = "slipway.dev/timeout";
/// `enabled`: deleted and made anew where a field of it cannot be changed.
pub(crate) const RECREATE: &str = "slipway.dev/recreate";
/// Fields that are left as they are in the cluster: JSON pointers, jq paths, `manager:NAME`, a line or `;` each.
const IGNORE: &str = "slipway.dev/ignore";
/// Argo CD's options of one object, with commas.
const ARGO_OPTIONS: &str = "argocd.argoproj.io/sync-options";

/// Whether an object is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Apply {
    /// Always.
    #[default]
    Always,
    /// Only where it is not there.
    Once,
    /// Never.
    Never,
}

/// What one object asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) apply: Apply,
    /// Its health is told and not waited for.
    pub(crate) unwaited: bool,
    /// How long its rollout may take, in seconds.
    pub(crate) timeout_s: Option<u64>,
    pub(crate) recreate: bool,
    pub(crate) ignore: Vec<Ignored>,
}

impl Wishes {
    /// Reads them of a manifest.
    ///
    /// # Errors
    /// What cannot be read, as a clause with the annotation's name.
    pub(crate) fn read(object: &Map<String, Value>) -> Result<Self, String> {
        let annotations =
            object.get("metadata").and_then(|m| m.get("annotations")).and_then(Value::as_object);
        let Some(annotations) = annotations else { return Ok(Self::default()) };
        let said = Said(annotations);
        let timeout_s = match said.of(TIMEOUT) {
            None => None,
            Some(text) => match parse_duration_ms(text).map(|ms| ms / 1000) {
                Some(s) if (1..=TIMEOUT_S_MAX).contains(&s) => Some(s),
                _ => return Err(format!("{TIMEOUT}: {text:?} is no time from 1s to 24h")),
            },
        };
        let mut ignore = Vec::new();
        for one in
            said.of(IGNORE).unwrap_or_default().split([';', '\n']).map(str::trim).filter(|t| !t.is_empty())
        {
            ignore.push(Ignored::parse(one).map_err(|why| format!("{IGNORE}: {why}"))?);
        }
        if ignore.len() > IGNORE_MAX {
            return Err(format!("{IGNORE}: more than {IGNORE_MAX} fields"));
        }
        Ok(Self {
            apply: said.apply(),
            unwaited: said.unwaited(),
            timeout_s,
            recreate: said.recreate(),
            ignore,
        })
    }
}

/// The annotation of a live object by which somebody has paused it.
pub(crate) fn paused(live: &Value) -> Option<&'static str> {
    let annotations = live["metadata"]["annotations"].as_object()?;
    let said = Said(annotations);
    if said.is(APPLY, "never") {
        return Some("slipway.dev/apply: never");
    }
    said.is("kustomize.toolkit.fluxcd.io/reconcile", "disabled")
        .then_some("kustomize.toolkit.fluxcd.io/reconcile: disabled")
}

/// Annotations, looked at by name.
struct Said<'a>(&'a Map<String, Value>);

impl Said<'_> {
    fn of(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.of(key).is_some_and(|v| v.trim().eq_ignore_ascii_case(value))
    }

    fn apply(&self) -> Apply {
        const FLUX: &str = "kustomize.toolkit.fluxcd.io/ssa";
        let never = self.is(APPLY, "never")
            || self.is(FLUX, "Ignore")
            || self.is("kustomize.toolkit.fluxcd.io/reconcile", "disabled");
        if never {
            Apply::Never
        } else if self.is(APPLY, "once") || self.is(FLUX, "IfNotPresent") {
            Apply::Once
        } else {
            Apply::Always
        }
    }

    fn unwaited(&self) -> bool {
        self.is(WAIT, "disabled")
            || self.is("argocd.argoproj.io/ignore-healthcheck", "true")
            // kapp takes it by its name alone, whatever is said.
            || self.of("kapp.k14s.io/disable-wait").is_some()
            || self.is("werf.io/track-termination-mode", "NonBlocking")
            || self.is("werf.io/fail-mode", "IgnoreAndContinueDeployProcess")
    }

    fn recreate(&self) -> bool {
        let argo = |option: &str| {
            self.of(ARGO_OPTIONS)
                .is_some_and(|all| all.split(',').any(|o| o.trim().eq_ignore_ascii_case(option)))
        };
        self.is(RECREATE, "enabled")
            || self.is("kustomize.toolkit.fluxcd.io/force", "enabled")
            || (argo("Force=true") && argo("Replace=true"))
            || ["fallback-on-replace", "always-replace"]
                .iter()
                .any(|s| self.is("kapp.k14s.io/update-strategy", s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(annotations: Value) -> Result<Wishes, String> {
        let object = json!({"metadata": {"annotations": annotations}});
        Wishes::read(object.as_object().expect("object"))
    }

    #[test]
    fn every_tools_spelling_is_understood() {
        let usual = Wishes::default();
        for (key, value, want) in [
            ("slipway.dev/apply", "never", Wishes { apply: Apply::Never, ..usual.clone() }),
            ("kustomize.toolkit.fluxcd.io/ssa", "Ignore", Wishes { apply: Apply::Never, ..usual.clone() }),
            (
                "kustomize.toolkit.fluxcd.io/reconcile",
                "disabled",
                Wishes { apply: Apply::Never, ..usual.clone() },
            ),
            ("slipway.dev/apply", "once", Wishes { apply: Apply::Once, ..usual.clone() }),
            (
                "kustomize.toolkit.fluxcd.io/ssa",
                "IfNotPresent",
                Wishes { apply: Apply::Once, ..usual.clone() },
            ),
            ("kustomize.toolkit.fluxcd.io/ssa", "Merge", usual.clone()),
            ("slipway.dev/wait", "disabled", Wishes { unwaited: true, ..usual.clone() }),
            ("kapp.k14s.io/disable-wait", "", Wishes { unwaited: true, ..usual.clone() }),
            ("argocd.argoproj.io/ignore-healthcheck", "true", Wishes { unwaited: true, ..usual.clone() }),
            ("argocd.argoproj.io/ignore-healthcheck", "false", usual.clone()),
            (
                "werf.io/fail-mode",
                "IgnoreAndContinueDeployProcess",
                Wishes { unwaited: true, ..usual.clone() },
            ),
            ("slipway.dev/timeout", "20m", Wishes { timeout_s: Some(1200), ..usual.clone() }),
            ("slipway.dev/recreate", "enabled", Wishes { recreate: true, ..usual.clone() }),
            ("kustomize.toolkit.fluxcd.io/force", "enabled", Wishes { recreate: true, ..usual.clone() }),
            (
                "argocd.argoproj.io/sync-options",
                "Force=true, Replace=true",
                Wishes { recreate: true, ..usual.clone() },
            ),
            ("argocd.argoproj.io/sync-options", "Replace=true", usual.clone()),
            (
                "kapp.k14s.io/update-strategy",
                "fallback-on-replace",
                Wishes { recreate: true, ..usual.clone() },
            ),
        ] {
            assert_eq!(read(json!({key: value})), Ok(want), "{key}: {value}");
        }
        assert_eq!(
            read(json!({IGNORE: "/spec/replicas; .metadata.labels[\"a\"]\nmanager:x"}))
                .expect("paths")
                .ignore
                .len(),
            3
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_by_name() {
        for (key, value) in
            [(TIMEOUT, "soon"), (TIMEOUT, "0s"), (TIMEOUT, "99h"), (IGNORE, "spec"), (IGNORE, ".a | env")]
        {
            let why = read(json!({key: value})).expect_err(value);
            assert!(why.starts_with(key), "{why}");
        }
    }

    #[test]
    fn somebody_may_pause_a_live_object() {
        assert_eq!(
            paused(&json!({"metadata": {"annotations": {"slipway.dev/apply": "never"}}})),
            Some("slipway.dev/apply: never")
        );
        assert!(paused(&json!({"metadata": {"annotations": {"slipway.dev/apply": "once"}}})).is_none());
        assert!(paused(&json!({"metadata": {}})).is_none());
    }
}
