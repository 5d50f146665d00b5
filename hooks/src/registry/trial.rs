//! Walking through the calls of a push, one after another, and telling of each what came of it.

use std::future::Future;
use std::time::SystemTime;

use serde_json::{Value, json};
use slipway_core::target::Registry;
use slipway_core::trial::{Outcome, Report, Step};
use slipway_core::{Problem, sentence};

use super::Manifest;
use super::client::digest_of;
use crate::error::HookError;

pub(super) mod ecr;
pub(super) mod generic;

/// What a trial stores: the empty JSON object, as configuration and only layer of an image.
const BLOB: &[u8] = b"{}";

/// The steps so far.
struct Walk<'a> {
    registry: &'a Registry,
    /// The repository that it is about.
    path: &'a str,
    report: Report,
    /// Something failed that all further calls would fail at, too.
    stopped: bool,
}

impl<'a> Walk<'a> {
    fn new(registry: &'a Registry, path: &'a str) -> Self {
        Self { registry, path, report: Report::default(), stopped: false }
    }

    /// Makes a call that gives something and a sentence; `None` if it was not made or failed.
    async fn get<T>(
        &mut self,
        call: &str,
        work: impl Future<Output = Result<(T, String), HookError>>,
    ) -> Option<T> {
        if self.stopped {
            self.skip(call, "Not tried: nothing after the failed call can go through.");
            return None;
        }
        match work.await {
            Ok((got, what)) => {
                self.push(call, Outcome::Ok, what, String::new(), None);
                Some(got)
            }
            Err(e) => {
                self.fail(call, e);
                None
            }
        }
    }

    /// Makes a call of which only matters whether it goes through.
    async fn call(
        &mut self,
        call: &str,
        what: &str,
        work: impl Future<Output = Result<(), HookError>>,
    ) -> bool {
        self.get(call, async { work.await.map(|()| ((), what.to_owned())) }).await.is_some()
    }

    /// A refusal keeps others from nothing; everything else stops the walk.
    fn fail(&mut self, call: &str, e: HookError) {
        let narrow = e.is_denied_by_aws() && !matches!(e, HookError::NoCredentials { .. });
        self.stopped |= !narrow && !matches!(e, HookError::RegistryDenied { .. });
        self.tell(call, Outcome::Failed, e);
    }

    /// A failure that a push would survive.
    fn forgive(&mut self, call: &str, e: HookError) {
        self.tell(call, Outcome::Skipped, e);
    }

    fn tell(&mut self, call: &str, outcome: Outcome, e: HookError) {
        let policy = e.is_denied_by_aws().then(|| statement(self.registry, call, self.path));
        let Problem { what, cure, .. } = e.into();
        self.push(call, outcome, what, cure, policy);
    }

    fn skip(&mut self, call: &str, why: &str) {
        self.push(call, Outcome::Skipped, why.to_owned(), String::new(), None);
    }

    fn push(&mut self, call: &str, outcome: Outcome, what: String, cure: String, policy: Option<Value>) {
        self.report.steps.push(Step { call: call.to_owned(), outcome, what: sentence(&what), cure, policy });
    }
}

/// The smallest statement that allows an identity a call, for its policy in IAM.
fn statement(registry: &Registry, action: &str, path: &str) -> Value {
    let region = registry.region.as_deref().unwrap_or("*");
    let partition = match region {
        r if r.starts_with("cn-") => "aws-cn",
        r if r.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let first = registry.host.split('.').next().unwrap_or_default();
    let account = if first.len() == 12 && first.bytes().all(|b| b.is_ascii_digit()) { first } else { "*" };
    let resource = match (action, &registry.ecr.assume_role) {
        ("sts:AssumeRole", Some(role)) => role.clone(),
        // It is about the whole account, and IAM takes nothing narrower.
        ("ecr:GetAuthorizationToken", _) => "*".into(),
        _ if path.is_empty() => "*".into(),
        _ => format!("arn:{partition}:ecr:{region}:{account}:repository/{path}"),
    };
    json!({"Effect": "Allow", "Action": action, "Resource": resource})
}

/// A tag that nothing else has.
fn tag() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("slipway-test-{}", now.as_millis())
}

/// The image that is stored for a try: an artifact with nothing in it.
fn manifest() -> Manifest {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let empty = json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(BLOB).as_str(), "size": BLOB.len(),
    });
    let text = json!({
        "schemaVersion": 2, "mediaType": media_type, "artifactType": "application/vnd.slipway.test",
        "config": empty, "layers": [empty],
    });
    let bytes = text.to_string().into_bytes();
    let digest = digest_of(&bytes);
    Manifest { media_type: media_type.into(), bytes, digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_core::target::RegistryKind;
    use slipway_core::{RegistryName, UnixMillis};

    fn registry(host: &str, region: &str) -> Registry {
        Registry {
            name: RegistryName::parse("ecr").expect("a name"),
            kind: RegistryKind::Ecr,
            host: host.into(),
            prefix: String::new(),
            region: Some(region.into()),
            username: None,
            insecure: false,
            created: UnixMillis(0),
            ca: None,
            ecr: Default::default(),
        }
    }

    #[test]
    fn the_statement_that_is_missing_is_as_narrow_as_can_be() {
        let host = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn";
        let text = |action, path| statement(&registry(host, "cn-north-1"), action, path).to_string();
        assert!(
            text("ecr:PutImage", "team/app")
                .contains(r#""Resource":"arn:aws-cn:ecr:cn-north-1:123456789012:repository/team/app""#)
        );
        assert!(text("ecr:GetAuthorizationToken", "team/app").contains(r#""Resource":"*""#));
        let other = statement(&registry("127.0.0.1:5000", "eu-west-1"), "ecr:PutImage", "a");
        assert_eq!(other["Resource"], "arn:aws:ecr:eu-west-1:*:repository/a");
        let mut role = registry(host, "cn-north-1");
        role.ecr.assume_role = Some("arn:aws-cn:iam::1:role/r".into());
        assert_eq!(statement(&role, "sts:AssumeRole", "a")["Resource"], "arn:aws-cn:iam::1:role/r");
    }

    #[test]
    fn the_image_of_a_trial_is_one() {
        let made = manifest();
        assert_eq!(made.config_digest().as_deref(), Some(digest_of(b"{}").as_str()));
        assert_eq!(digest_of(&made.bytes), made.digest);
    }
}
