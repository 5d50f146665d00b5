//! Registries, clusters, bindings and inventories.

use slipway_core::{ProblemKind, RepoId, Secret};
use slipway_store::Store;

use super::{make_repo, refused};
use crate::samples::*;

pub(crate) fn secrets_come_back_as_they_were(store: &Store) {
    let name = registry_name("hub");
    assert_eq!(store.registry_password(&name).unwrap(), None);
    store.put_registry(&registry("hub"), Some(&Secret::new("pässword"))).unwrap();
    assert_eq!(store.registry(&name).unwrap(), Some(registry("hub")));
    assert_eq!(store.registry_password(&name).unwrap().unwrap().expose(), "pässword");
    store.put_registry(&registry("hub"), None).unwrap();
    assert_eq!(store.registry_password(&name).unwrap(), None, "put replaces the whole record");
    assert_eq!(store.registries().unwrap(), [registry("hub")]);

    let long = "kubeconfig ".repeat(50_000);
    store.put_cluster(&cluster("prod"), &Secret::new(long.as_str())).unwrap();
    assert_eq!(store.kubeconfig(&cluster_name("prod")).unwrap().unwrap().expose(), long);
    store.put_cluster(&cluster("prod"), &Secret::new("")).unwrap();
    assert_eq!(store.kubeconfig(&cluster_name("prod")).unwrap().unwrap().expose(), "");
    assert_eq!(store.clusters().unwrap(), [cluster("prod")]);
    assert_eq!(store.cluster(&cluster_name("prod")).unwrap(), Some(cluster("prod")));
    store.remove_cluster(&cluster_name("prod")).unwrap();
    assert_eq!(store.kubeconfig(&cluster_name("prod")).unwrap(), None);
    let huge = Secret::new("x".repeat((1 << 20) + 1));
    refused(store.put_cluster(&cluster("prod"), &huge), ProblemKind::TooLarge, "1048577 bytes");
}

pub(crate) fn a_target_in_use_cannot_go(store: &Store) {
    let repo = make_repo(store, "app");
    for name in ["hub", "hub2"] {
        store.put_registry(&registry(name), None).unwrap();
    }
    store.put_cluster(&cluster("prod"), &Secret::new("k")).unwrap();
    store.bind_registry(&registry_binding(repo, "hub")).unwrap();
    store.bind_cluster(&cluster_binding(repo, "prod")).unwrap();
    refused(
        store.remove_registry(&registry_name("hub")),
        ProblemKind::Conflict,
        "registry hub is in use by app",
    );
    refused(
        store.remove_cluster(&cluster_name("prod")),
        ProblemKind::Conflict,
        "cluster prod is in use by app",
    );
    store.bind_registry(&registry_binding(repo, "hub2")).unwrap();
    store.remove_registry(&registry_name("hub")).unwrap();
    refused(store.remove_registry(&registry_name("hub")), ProblemKind::NotFound, "hub");
    store.unbind_cluster(repo).unwrap();
    store.remove_cluster(&cluster_name("prod")).unwrap();
    refused(store.remove_registry(&registry_name("hub2")), ProblemKind::Conflict, "app");
    store.unbind_registry(repo).unwrap();
    store.unbind_registry(repo).unwrap();
    store.remove_registry(&registry_name("hub2")).unwrap();
}

pub(crate) fn bindings_need_both_ends(store: &Store) {
    let repo = make_repo(store, "app");
    refused(store.bind_registry(&registry_binding(repo, "hub")), ProblemKind::NotFound, "hub");
    refused(store.bind_cluster(&cluster_binding(repo, "prod")), ProblemKind::NotFound, "prod");
    store.put_registry(&registry("hub"), None).unwrap();
    refused(store.bind_registry(&registry_binding(RepoId(9), "hub")), ProblemKind::NotFound, "9");
    store.bind_registry(&registry_binding(repo, "hub")).unwrap();
    store.put_cluster(&cluster("prod"), &Secret::new("k")).unwrap();
    store.bind_cluster(&cluster_binding(repo, "prod")).unwrap();
    let bound = store.bindings(repo).unwrap();
    assert_eq!(bound.registry, Some(registry_binding(repo, "hub")));
    assert_eq!(bound.cluster, Some(cluster_binding(repo, "prod")));
}

pub(crate) fn an_inventory_is_replaced_whole(store: &Store) {
    let repo = make_repo(store, "app");
    let (prod, test) = (cluster_name("prod"), cluster_name("test"));
    assert_eq!(store.inventory(repo, &prod).unwrap(), []);
    refused(store.put_inventory(RepoId(9), &prod, &[entry(1)]), ProblemKind::NotFound, "9");
    for count in [1, 3000, 2, 400, 0, 5] {
        let entries: Vec<_> = (0..count).map(entry).collect();
        store.put_inventory(repo, &prod, &entries).unwrap();
        assert_eq!(store.inventory(repo, &prod).unwrap(), entries);
        assert_eq!(store.inventory(repo, &test).unwrap(), []);
    }
}
