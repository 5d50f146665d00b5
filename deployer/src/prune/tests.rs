//! What may be deleted, as a table.

use super::*;
use slipway_core::{ClusterName, RefName, RepoId};

fn binding(prune: bool) -> ClusterBinding {
    ClusterBinding {
        repo: RepoId(1),
        cluster: ClusterName::parse("prod").expect("name"),
        branch: RefName::parse("refs/heads/main").expect("ref"),
        path: ".".into(),
        namespace: "team".into(),
        prune,
        dry_run: slipway_core::target::DryRun::Off,
        allow_namespaces: Default::default(),
        cluster_scoped: true,
        kinds: Default::default(),
        pod_security: Default::default(),
        adopt: false,
        require_signed: false,
        allow_unsigned: Default::default(),
        rules: Default::default(),
    }
}

fn owner(server: &str) -> Owner {
    Owner::new(server, RepoId(1), "shop", &ClusterName::parse("prod").expect("name"))
}

fn entry(kind: &str, namespace: Option<&str>, uid: Option<&str>) -> InventoryEntry {
    InventoryEntry {
        group: String::new(),
        version: "v1".into(),
        kind: kind.into(),
        namespace: namespace.map(str::to_owned),
        name: "a".into(),
        uid: uid.map(str::to_owned),
    }
}

fn ours(entry: &InventoryEntry, server: &str) -> Value {
    let mut live = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "5"}});
    let owner = owner(server);
    owner.mark(&key_of(entry), live.as_object_mut().expect("object"));
    live
}

fn judge(entry: &InventoryEntry, live: Option<&Value>, prune: bool) -> Fate {
    fate(entry, live, &owner("s"), &binding(prune), &HashSet::from(["applied".to_owned()]))
}

fn said(fate: &Fate) -> &str {
    match fate {
        Fate::Released(why) | Fate::Kept(why) => why,
        _ => "",
    }
}

#[test]
fn only_our_very_object_is_deleted() {
    let e = entry("ConfigMap", Some("team"), Some("u"));
    let live = ours(&e, "s");
    let want = Fate::Delete { uid: "u".into(), version: "5".into() };
    assert_eq!(judge(&e, Some(&live), true), want);
    assert_eq!(
        judge(&entry("ConfigMap", Some("team"), None), Some(&live), true),
        want,
        "uid not yet told: marks decide"
    );
    assert_eq!(judge(&e, None, true), Fate::Gone);
    let other = entry("ConfigMap", Some("team"), Some("old"));
    assert!(matches!(judge(&other, Some(&live), true), Fate::Released(_)), "another uid");
    assert!(matches!(judge(&e, Some(&ours(&e, "t")), true), Fate::Released(_)), "another server");
    for mark in ["labels", "annotations"] {
        let mut unmarked = live.clone();
        unmarked["metadata"][mark] = json!({});
        assert!(matches!(judge(&e, Some(&unmarked), true), Fate::Released(_)), "without {mark}");
    }
}

#[test]
fn what_must_stay_stays_and_says_why() {
    let e = entry("ConfigMap", Some("team"), Some("u"));
    assert!(said(&judge(&e, Some(&ours(&e, "s")), false)).contains("prune is off"));
    for kind in ["Namespace", "PersistentVolume"] {
        let e = entry(kind, None, Some("u"));
        assert!(said(&judge(&e, Some(&ours(&e, "s")), true)).contains("never deleted"), "{kind}");
    }
    let e2 = entry("PersistentVolumeClaim", Some("team"), Some("u"));
    assert!(said(&judge(&e2, Some(&ours(&e2, "s")), true)).contains("never deleted"));
    let mut child = ours(&e, "s");
    child["metadata"]["ownerReferences"] = json!([{"kind": "Widget", "name": "w"}]);
    assert!(said(&judge(&e, Some(&child), true)).contains("Widget w"));
    let elsewhere = entry("ConfigMap", Some("other"), Some("u"));
    assert!(said(&judge(&elsewhere, Some(&ours(&elsewhere, "s")), true)).contains("no longer allows"));
    let mut applied = ours(&e, "s");
    applied["metadata"]["uid"] = json!("applied");
    let any = entry("ConfigMap", Some("team"), None);
    assert!(said(&judge(&any, Some(&applied), true)).contains("still applied"));
}

#[test]
fn every_spelling_of_an_opt_out_counts() {
    let e = entry("ConfigMap", Some("team"), Some("u"));
    for (key, value) in [
        ("slipway.dev/prune", "disabled"),
        ("slipway.dev/prune", "never"),
        ("slipway.dev/apply", "never"),
        ("argocd.argoproj.io/sync-options", "Validate=false, Prune=false"),
        ("argocd.argoproj.io/sync-options", "Delete=confirm"),
        ("kustomize.toolkit.fluxcd.io/prune", "Disabled"),
        ("helm.sh/resource-policy", "keep"),
        ("client.lifecycle.config.k8s.io/deletion", "detach"),
        ("cli-utils.sigs.k8s.io/on-remove", "keep"),
        ("kapp.k14s.io/delete-strategy", "orphan"),
    ] {
        let mut live = ours(&e, "s");
        live["metadata"]["annotations"][key] = json!(value);
        assert!(said(&judge(&e, Some(&live), true)).contains(key), "{key}: {value}");
    }
}

#[test]
fn large_prunes_need_a_word() {
    assert!(within_budget(5, 6) && !within_budget(6, 6) && within_budget(20, 100) && !within_budget(21, 100));
    let said = PruneConfirmation::from_message;
    assert_eq!(said("Drop the shop\n\nSlipway-Prune: 7\n"), PruneConfirmation::UpTo(7));
    assert_eq!(said("x\n\nslipway-prune: ALL"), PruneConfirmation::All);
    assert_eq!(said("x\n\nSlipway-Prune: many"), PruneConfirmation::None);
    assert_eq!(said("Slipway-Prune"), PruneConfirmation::None);
    assert!(PruneConfirmation::UpTo(7).covers(7) && !PruneConfirmation::UpTo(7).covers(8));
}
