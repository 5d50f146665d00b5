//! Where events lie, and what comes of them: builds, deploys, webhooks and their deliveries.

use slipway_core::{
    BuildNumber, ClusterName, DeliveryNumber, DeployNumber, EventId, Oid, RepoId, SecretName, WebhookNumber,
};

use super::Key;

pub(crate) fn event(id: EventId) -> Key {
    Key::new(b'e').number(id.0)
}
pub(crate) fn events_of(repo: RepoId) -> Key {
    Key::new(b'E').number(repo.0)
}
pub(crate) fn event_of(repo: RepoId, id: EventId) -> Key {
    events_of(repo).number(id.0)
}
pub(crate) fn intended_events() -> Key {
    Key::new(b'i')
}
pub(crate) fn intended_event(id: EventId) -> Key {
    intended_events().number(id.0)
}
pub(crate) fn builds(repo: RepoId) -> Key {
    Key::new(b'm').number(repo.0)
}
pub(crate) fn build(repo: RepoId, number: BuildNumber) -> Key {
    builds(repo).number(number.0)
}
pub(crate) fn unfinished_builds() -> Key {
    Key::new(b'M')
}
pub(crate) fn unfinished_builds_of(repo: RepoId) -> Key {
    unfinished_builds().number(repo.0)
}
pub(crate) fn unfinished_build(repo: RepoId, number: BuildNumber) -> Key {
    unfinished_builds_of(repo).number(number.0)
}
pub(crate) fn builds_of(event: EventId) -> Key {
    Key::new(b'w').number(event.0)
}
pub(crate) fn build_of(event: EventId, repo: RepoId, number: BuildNumber) -> Key {
    builds_of(event).number(repo.0).number(number.0)
}
/// Up to which number builds have a mark under their commit.
pub(crate) fn builds_by_commit(repo: RepoId) -> Key {
    Key::new(b'V').number(repo.0)
}
pub(crate) fn builds_of_commit(repo: RepoId, commit: &Oid) -> Key {
    builds_by_commit(repo).name(&commit.to_string())
}
/// The same of deploys.
pub(crate) fn deploys_by_commit(repo: RepoId) -> Key {
    Key::new(b'W').number(repo.0)
}
pub(crate) fn deploys_of_commit(repo: RepoId, commit: &Oid) -> Key {
    deploys_by_commit(repo).name(&commit.to_string())
}
/// What starts builds by itself.
pub(crate) fn all_schedules() -> Key {
    Key::new(b'Z')
}
pub(crate) fn schedules(repo: RepoId) -> Key {
    all_schedules().number(repo.0)
}
pub(crate) fn statuses(repo: RepoId) -> Key {
    Key::new(b'I').number(repo.0)
}
pub(crate) fn statuses_of(repo: RepoId, commit: &Oid) -> Key {
    statuses(repo).name(&commit.to_string())
}
pub(crate) fn status(repo: RepoId, commit: &Oid, context: &str) -> Key {
    statuses_of(repo, commit).last(context)
}
pub(crate) fn deploys(repo: RepoId) -> Key {
    Key::new(b'd').number(repo.0)
}
pub(crate) fn deploy(repo: RepoId, number: DeployNumber) -> Key {
    deploys(repo).number(number.0)
}
pub(crate) fn unfinished_deploys() -> Key {
    Key::new(b'D')
}
pub(crate) fn unfinished_deploy(repo: RepoId, number: DeployNumber) -> Key {
    unfinished_deploys().number(repo.0).number(number.0)
}
pub(crate) fn deploys_of(event: EventId) -> Key {
    Key::new(b'x').number(event.0)
}
pub(crate) fn deploy_of(event: EventId, repo: RepoId, number: DeployNumber) -> Key {
    deploys_of(event).number(repo.0).number(number.0)
}
pub(crate) fn webhooks(repo: RepoId) -> Key {
    Key::new(b'h').number(repo.0)
}
pub(crate) fn webhook(repo: RepoId, number: WebhookNumber) -> Key {
    webhooks(repo).number(number.0)
}
pub(crate) fn webhook_secret(repo: RepoId, number: WebhookNumber) -> Key {
    Key::new(b'H').number(repo.0).number(number.0)
}
pub(crate) fn secrets(repo: RepoId) -> Key {
    Key::new(b'Q').number(repo.0)
}
pub(crate) fn secret(repo: RepoId, name: &SecretName) -> Key {
    secrets(repo).last(name.as_str())
}
pub(crate) fn secret_value(repo: RepoId, name: &SecretName) -> Key {
    Key::new(b'R').number(repo.0).last(name.as_str())
}
pub(crate) fn deliveries(repo: RepoId) -> Key {
    Key::new(b'o').number(repo.0)
}
pub(crate) fn delivery(repo: RepoId, number: DeliveryNumber) -> Key {
    deliveries(repo).number(number.0)
}
pub(crate) fn unfinished_deliveries() -> Key {
    Key::new(b'O')
}
pub(crate) fn unfinished_deliveries_of(repo: RepoId) -> Key {
    unfinished_deliveries().number(repo.0)
}
pub(crate) fn deliveries_of_event(event: EventId) -> Key {
    Key::new(b'p').number(event.0)
}
pub(crate) fn inventories(repo: RepoId) -> Key {
    Key::new(b'v').number(repo.0)
}
pub(crate) fn inventory(repo: RepoId, cluster: &ClusterName) -> Key {
    inventories(repo).last(cluster.as_str())
}
/// Where the names of a repository point that others follow.
pub(crate) fn pointers(repo: RepoId) -> Key {
    Key::new(b'j').number(repo.0)
}
pub(crate) fn pointer(repo: RepoId, name: &str) -> Key {
    pointers(repo).last(name)
}
