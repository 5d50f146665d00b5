//! The rooms of ARCHITECTURE.md: who may depend on whom, checked against what cargo says.

use std::collections::BTreeMap;
use std::process::Command;

/// Room, the rooms it may know, the outside crates that only it may use.
const ROOMS: [(&str, &[&str], &[&str]); 8] = [
    ("slipway-core", &[], &[]),
    ("slipway-store", &["slipway-core"], &["sled"]),
    ("slipway-repository", &["slipway-core"], &["gix"]),
    ("slipway-forge", &["slipway-core", "slipway-store", "slipway-repository"], &[]),
    ("slipway-git-server", &["slipway-core", "slipway-forge", "slipway-repository"], &["russh"]),
    (
        "slipway-hooks",
        &["slipway-core", "slipway-store", "slipway-repository"],
        &["bollard", "aws-sdk-ecr", "aws-config"],
    ),
    ("slipway-deployer", &["slipway-core", "slipway-store", "slipway-repository"], &["kube"]),
    ("slipway-web", &["slipway-core", "slipway-forge", "slipway-repository"], &[]),
];

/// Direct dependencies of every package of the workspace, those of tests aside.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).expect("metadata");
    let packages = all["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let of = package["dependencies"].as_array().expect("dependencies");
            let direct = of.iter().filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str());
            (package["name"].as_str().expect("name").to_owned(), direct.map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let all = dependencies();
    for (room, may_know, _) in ROOMS {
        for known in all[room].iter().filter(|d| d.starts_with("slipway")) {
            assert!(may_know.contains(&known.as_str()), "{room} must not know {known}");
        }
    }
}

#[test]
fn each_named_part_has_one_user() {
    let all = dependencies();
    for (room, _, own) in ROOMS {
        for part in own {
            for (package, known) in &all {
                assert!(package == room || !known.iter().any(|k| k == part), "{package} must not use {part}");
            }
        }
    }
    for pure in ["tokio", "gix", "sled", "axum", "http", "hyper"] {
        assert!(!all["slipway-core"].iter().any(|k| k == pure), "core must not use {pure}");
    }
}
