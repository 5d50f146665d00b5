//! What a push leaves behind: durable before the refs move, settled after.

use serde::{Deserialize, Serialize};

use crate::deploy::DeployCause;
use crate::git::{Oid, RefName, RefUpdate};
use crate::id::{BuildNumber, DeployNumber, EventId, RepoId, UnixMillis};
use crate::name::ClusterName;
use crate::problem::Problem;
use crate::run::Lease;

/// How the push came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// Somebody pushed over SSH or HTTP.
    Push,
    /// Somebody committed on the pages or by the API.
    Edit,
    /// A build wrote its digest into a manifest repository.
    Bump {
        /// The application's repository.
        source: RepoId,
        /// Its build.
        build: BuildNumber,
        /// Which of the build's `[deploy.*]` targets.
        target: String,
    },
    /// Somebody asked for an earlier deploy's state again.
    Rollback {
        /// Which deploy's. Records from before this was kept have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<DeployNumber>,
    },
}

/// How far the event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// Written; the refs may or may not have moved. Only seen while a push runs, and at start-up.
    Intended,
    /// The refs have moved and the work it owes is recorded.
    Accepted,
    /// No ref moved.
    Abandoned,
}

/// What one ref update owes, decided before the refs move and recorded with the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The ref that must have moved for this to be due.
    pub ref_name: RefName,
    /// Where it moved to.
    pub commit: Oid,
    /// The commit's subject line.
    pub title: String,
    /// What is due.
    pub work: Work,
}

/// A kind of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Build, test and push the image.
    Build {
        /// What is wrong with the commit's slipway.toml: the build is recorded as failed with it.
        broken: Option<Problem>,
        /// Which of the commit's images; `None` where there is the one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<String>,
        /// The parts that it needs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        needs: Vec<String>,
    },
    /// Reconcile the cluster.
    Deploy {
        /// Which cluster.
        cluster: ClusterName,
        /// Why.
        cause: DeployCause,
    },
}

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signed {
    /// Right, and by a key of the account that pushed.
    ByAccount,
    /// Right, by a key that is not the account's.
    ByOther,
    /// Of a kind that is not checked.
    Unchecked,
}

/// What is kept of the certificate of a signed push (`git push --signed`). One whose nonce, signature or push options are
/// wrong is refused, and leaves no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushCertificate {
    /// What its signature is worth.
    pub signed: Signed,
    /// The fingerprint of the key (`SHA256:…`); `None` where it was not looked at.
    pub key: Option<String>,
    /// Who says to have signed: a name, an address and a time, as in a commit.
    pub signer: String,
}

/// One push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id, given by the store.
    pub id: EventId,
    /// Where.
    pub repo: RepoId,
    /// Who, for people ([`crate::access::Actor::label`]).
    pub actor: String,
    /// How it came about.
    pub cause: Cause,
    /// When.
    pub at: UnixMillis,
    /// The updates: all that were intended; once accepted, those that happened.
    pub updates: Vec<RefUpdate>,
    /// The push options, in order.
    pub options: Vec<String>,
    /// What the updates owe; due for those that happened.
    pub owed: Vec<Owed>,
    /// How far it has come.
    pub state: EventState,
    /// Of a signed push. Records from before this was kept have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PushCertificate>,
    /// Whose it is while it is *intended*: of several nodes over the same records this one alone settles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

impl Event {
    /// True if `node` may settle it: its own, or one whose lease has ended.
    pub fn is_open_to(&self, node: &str, now: UnixMillis) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.owner == node || lease.until <= now)
    }

    /// True if the pusher gave that option (`git push -o NAME`).
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|o| o == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_from_before_certificates_and_leases_were_kept_is_read() {
        let old = r#"{"id":1,"repo":2,"actor":"ann","cause":{"kind":"push"},"at":3,"updates":[],"options":[],
            "owed":[],"state":"accepted"}"#;
        let event: Event = serde_json::from_str(old).expect("read");
        assert_eq!(event.certificate, None);
        assert!(event.is_open_to("any node", UnixMillis(0)));
        let rollback: Cause = serde_json::from_str(r#"{"kind":"rollback"}"#).expect("read");
        assert_eq!(rollback, Cause::Rollback { to: None });
        // And one without is written so that an earlier Slipway reads it.
        let written = serde_json::to_string(&event).expect("written");
        assert!(!written.contains("certificate") && !written.contains("lease"), "{written}");
    }
}
