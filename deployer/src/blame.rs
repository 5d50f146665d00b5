//! Whose fault a failed call is, where that is not plain: the cluster's, which is waited for, or that of what was asked for,
//! which is final and told by name.
//!
//! An API server answers some mistakes as if it were broken (500 for a Secret that is not base64, a connection cut in the
//! midst of an object that it chokes on, 503 for a group whose own server is away). So a failure about one object is asked
//! about once more, after the server has shown that it is well otherwise.

use std::time::Duration;

use tokio::time::timeout;

use crate::cluster::Connection;
use crate::error::Trouble;
use crate::limits::WELL_MS_MAX;
use crate::wire::{Answer, Call, CallError};

/// What a failure that looks like the cluster's may be the fault of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The cluster's alone.
    #[default]
    None,
    /// Of what was asked for, as well.
    Any,
    /// A write that was tried before without effect: the object passed, so all but plain errors are the cluster's.
    Written,
}

impl Doubt {
    /// True where the failure of such a call may be of its own making.
    fn is_raised_by(self, call: &Call, error: &CallError) -> bool {
        if error.is_webhook() || error.is_schema() {
            return false;
        }
        match (self, error) {
            (Self::None, _) | (_, CallError::Nonsense { .. } | CallError::Own(_)) => false,
            (Self::Any, CallError::Down(_)) => true,
            // The core group is the server itself; any other may be served by a server of its own.
            (Self::Any, CallError::Api(r)) if r.code == 503 => call.path.starts_with("/apis/"),
            (Self::Any, CallError::Api(r)) => matches!(r.code, 500 | 504) && !is_storage(&r.message),
            (Self::Written, CallError::Api(r)) => r.code == 500 && !is_storage(&r.message),
            (Self::Written, CallError::Down(_)) => false,
        }
    }
}

/// The server's own storage speaks: full, without a leader, late.
fn is_storage(message: &str) -> bool {
    ["etcdserver", "rpc error", "context deadline", "leader"].iter().any(|w| message.contains(w))
}

impl Connection {
    /// Asks once more after a failure that may be the call's own; [`CallError::Own`] where it is.
    pub(crate) async fn judged(&self, call: &Call, error: CallError) -> CallResult {
        if !call.doubt.is_raised_by(call, &error) || !self.is_well().await {
            return Err(error);
        }
        match self.wire.once(call).await {
            Err(again) if call.doubt.is_raised_by(call, &again) => Err(CallError::Own(Box::new(again))),
            other => other,
        }
    }

    /// Whether the API server answers and says that it is ready, its storage included.
    async fn is_well(&self) -> bool {
        let answers = async |path: &str| self.wire.once(&Call::get(path)).await;
        let ask = async {
            match answers("/readyz").await {
                // Not everywhere may everybody ask that.
                Err(e) if matches!(e.code(), 403 | 404) => {
                    !matches!(answers("/version").await, Err(e) if e.is_infra())
                }
                ready => ready.is_ok(),
            }
        };
        timeout(Duration::from_millis(WELL_MS_MAX), ask).await.unwrap_or(false)
    }

    /// An error of a call that is about no object of the deploy.
    pub(crate) fn trouble_of(&self, error: &CallError) -> Trouble {
        match error {
            CallError::Own(_) => Trouble::Refused(error.to_string()),
            _ => Trouble::Cluster(self.infra(error)),
        }
    }
}

/// What comes of a call.
pub(crate) type CallResult = Result<Answer, CallError>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Refusal;

    #[test]
    fn only_what_one_object_may_cause_is_in_doubt() {
        let api = |code, message: &str| {
            CallError::Api(Box::new(Refusal { code, message: message.into(), ..Refusal::default() }))
        };
        let core = Call::read("/api/v1/x");
        let group = Call::read("/apis/metrics.k8s.io/v1beta1");
        for (doubt, call, error, want) in [
            (Doubt::Any, &core, api(500, "illegal base64 data"), true),
            (Doubt::Any, &core, api(503, "starting"), false),
            (Doubt::Any, &group, api(503, "service unavailable"), true),
            (Doubt::Any, &core, api(429, "busy"), false),
            (Doubt::Any, &core, api(401, "who?"), false),
            (Doubt::Any, &core, api(500, "etcdserver: no space"), false),
            (Doubt::Any, &core, api(500, "failed calling webhook \"x\""), false),
            (Doubt::Any, &core, CallError::Down("connection closed".into()), true),
            (Doubt::Written, &core, CallError::Down("connection closed".into()), false),
            (Doubt::Written, &core, api(500, "conversion failed"), true),
            (Doubt::None, &core, api(500, "x"), false),
        ] {
            assert_eq!(doubt.is_raised_by(call, &error), want, "{doubt:?} {error}");
        }
    }
}
