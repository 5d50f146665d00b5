//! Amazon ECR: pushes, logins that end, repositories made from a template, and what a trial tells.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipway_core::run::FailureClass;
use slipway_core::target::{EcrSettings, RegistryKind, Severity};
use slipway_core::trial::{Outcome, Report, Trial};
use slipway_hooks::{Engine, HookError, Hooks, Marks, RegistryTarget};
use tokio_util::sync::CancellationToken;

use crate::fake_ecr::{Fake, manifest};
use crate::lab::{self, LockedRegistry};
use crate::world::{World, target};

fn never() -> CancellationToken {
    CancellationToken::new()
}

fn account(host: &str) -> RegistryTarget {
    let mut target = target(host, "team/app", Some(("AKIAEXAMPLE", "secret-access-key")));
    target.registry.kind = RegistryKind::Ecr;
    target.registry.region = Some("eu-central-1".into());
    target
}

fn settings(value: Value) -> EcrSettings {
    serde_json::from_value(value).expect("settings")
}

fn hooks(fake: &Fake, marks: Marks) -> Hooks {
    Hooks::with_aws_endpoint(
        Engine::connect(Some(&lab::engine())).expect("an address"),
        marks,
        fake.url.clone(),
    )
}

/// Hooks that need no engine.
fn alone(fake: &Fake) -> Hooks {
    let marks = Marks::new("alone", &slipway_core::Secret::new("the secret"));
    Hooks::with_aws_endpoint(
        Engine::connect(Some("unix:///nowhere")).expect("an address"),
        marks,
        fake.url.clone(),
    )
}

async fn built(fake: &Fake, marker: &str) -> (World, String) {
    let dockerfile = format!("FROM alpine:3.20\nRUN echo {marker}\n");
    let world = World::with(&[("Dockerfile", &dockerfile)], |marks| hooks(fake, marks)).await;
    let image = world.built().await;
    (world, image)
}

async fn tried(hooks: &Hooks, target: &RegistryTarget, write: bool) -> Report {
    let trial = Trial { image: Some(target.image.clone()), write };
    hooks.test_registry(&target.registry, target.password.as_ref(), &trial).await.expect("a report")
}

#[tokio::test]
async fn a_repository_is_made_the_image_pushed_and_its_tags_moved() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let (world, image) = built(&fake, "ecr").await;
    let target = account(&fake.host);
    let pushed =
        world.hooks.push_image(&world.job, &image, &target, &world.tags(), &never()).await.expect("pushed");
    for tag in &pushed.tags {
        assert_eq!(
            manifest(&registry.host, "team/app", tag).expect("there").1,
            pushed.digest.as_str(),
            "{tag}"
        );
    }
    let counts = ["GetAuthorizationToken", "CreateRepository", "PutImage"].map(|a| fake.state().count(a));
    assert_eq!(counts, [1, 1, 1], "the login is kept");
    let again =
        world.hooks.push_image(&world.job, &image, &target, &world.tags(), &never()).await.expect("again");
    assert_eq!(again, pushed);
    assert!(!world.log().await.contains("secret-access-key") && !world.log().await.contains("login-0"));
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_login_that_ended_is_replaced_before_the_engine_tries_it() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let (world, image) = built(&fake, "ecr-ended").await;
    let target = account(&fake.host);
    let push = async |tag: &str| {
        let begun = Instant::now();
        let tags = [tag.to_owned()];
        world.hooks.push_image(&world.job, &image, &target, &tags, &never()).await.expect("pushed");
        begun.elapsed()
    };
    push("one").await;
    fake.state().lives = vec![0];
    fake.state().hides = true;
    let took = push("two").await;
    assert_eq!(fake.state().count("GetAuthorizationToken"), 2);
    assert!(took < Duration::from_secs(20), "{took:?}: the engine's own repetitions take 50 s");
    let log = world.log().await;
    assert!(log.contains("did not take its login any more") && !log.contains("tries it again"), "{log}");
    push("three").await;
    assert_eq!(fake.state().count("GetAuthorizationToken"), 2, "the new one is kept");
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn a_login_that_ends_during_the_push_is_replaced_at_the_first_refusal() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let (world, image) = built(&fake, "ecr-ends").await;
    for (at, (refusal, hides)) in [(401, false), (403, false), (403, true)].into_iter().enumerate() {
        let mut target = account(&fake.host);
        target.image = format!("team/ends-{at}");
        // Enough to be taken at first, and not for all of the layers.
        let logins = fake.state().count("GetAuthorizationToken");
        {
            let mut state = fake.state();
            (state.refusal, state.hides) = (refusal, hides);
            state.lives = vec![usize::MAX; logins.saturating_sub(1)];
            state.lives.push(3);
            // Before the first push nobody has a login.
            if logins == 0 {
                state.lives = vec![3];
            }
        }
        let begun = Instant::now();
        let tags = ["one".to_owned()];
        let pushed = world.hooks.push_image(&world.job, &image, &target, &tags, &never()).await;
        let (took, log) = (begun.elapsed(), world.log().await);
        pushed.unwrap_or_else(|e| panic!("{refusal}: {e:?}\n{log}"));
        assert!(took < Duration::from_secs(25), "{refusal}: {took:?}\n{log}");
        assert_eq!(
            log.contains("tries it again"),
            hides,
            "the engine repeats what it takes for a mishap\n{log}"
        );
        assert_eq!(fake.state().count("GetAuthorizationToken"), logins.max(1) + 1, "{refusal}\n{log}");
    }
    // One that is never taken is the registry's word, not a loop.
    fake.state().lives = vec![0; 50];
    fake.state().hides = false;
    let mut target = account(&fake.host);
    target.image = "team/never".into();
    let (begun, before) = (Instant::now(), fake.state().count("GetAuthorizationToken"));
    let e = world.hooks.push_image(&world.job, &image, &target, &["x".to_owned()], &never()).await;
    assert_eq!(e.expect_err("refused").class(), FailureClass::Policy);
    assert!(fake.state().count("GetAuthorizationToken") <= before + 2);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    world.hooks.finish(&world.job).await.expect("cleaned");
}

#[tokio::test]
async fn what_aws_does_not_allow_is_named() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let (world, image) = built(&fake, "ecr-denied").await;
    let target = account(&fake.host);
    let push =
        || async { world.hooks.push_image(&world.job, &image, &target, &world.tags(), &never()).await };
    for (denied, action) in [
        ("GetAuthorizationToken", "ecr:GetAuthorizationToken"),
        ("CreateRepository", "ecr:CreateRepository"),
        ("PutImage", "ecr:PutImage"),
    ] {
        fake.state().denied = vec![denied];
        let e = push().await.expect_err("denied");
        assert_eq!(e.class(), FailureClass::Policy, "{e:?}");
        let problem = slipway_core::Problem::from(e);
        assert!(problem.cure.contains(action), "{problem}");
    }
    fake.state().denied.clear();
    fake.state().immutable = true;
    push().await.expect("latest is new");
    world.hooks.finish(&world.job).await.expect("cleaned");

    let keyless = account(&fake.host);
    assert!(matches!(
        world.hooks.test_registry(&keyless.registry, None, &Trial::default()).await,
        Err(HookError::RegistrySettings { .. })
    ));
}

#[tokio::test]
async fn a_missing_repository_is_made_from_the_template() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let hooks = alone(&fake);
    let mut target = account(&fake.host);
    target.registry.ecr = settings(json!({"repositories": {
        "immutable_tags": true, "except": ["latest", "v*-rc"], "scan_on_push": true,
        "lifecycle": "{\"rules\":[]}", "encryption": "kms:alias/ecr", "tags": {"team": "a"},
    }}));
    assert!(tried(&hooks, &target, true).await.ok());
    let sent = fake.state().sent("CreateRepository");
    assert_eq!(
        sent,
        json!({
            "repositoryName": "team/app",
            "tags": [{"Key": "team", "Value": "a"}],
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [
                {"filterType": "WILDCARD", "filter": "latest"}, {"filterType": "WILDCARD", "filter": "v*-rc"},
            ],
            "imageScanningConfiguration": {"scanOnPush": true},
            "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/ecr"},
        })
    );
    assert_eq!(fake.state().sent("PutLifecyclePolicy")["lifecyclePolicyText"], "{\"rules\":[]}");
    // One that is there stays as it is.
    assert!(tried(&hooks, &target, true).await.ok());
    let counts = ["CreateRepository", "PutLifecyclePolicy"].map(|action| fake.state().count(action));
    assert_eq!(counts, [1, 1]);

    target.image = "team/plain".into();
    target.registry.ecr = settings(json!({"repositories": {"immutable_tags": true, "encryption": "aes256"}}));
    assert!(tried(&hooks, &target, true).await.ok());
    let sent = fake.state().sent("CreateRepository");
    assert_eq!(sent["imageTagMutability"], "IMMUTABLE");
    assert_eq!(sent["encryptionConfiguration"], json!({"encryptionType": "AES256"}));

    target.image = "team/none".into();
    target.registry.ecr = settings(json!({"repositories": {"no_create": true}}));
    let report = tried(&hooks, &target, true).await;
    let failed = report.judged().expect_err("there is none");
    assert!(failed.what.contains("--no-create") && failed.cure.contains("create-repository"), "{failed}");
    assert_eq!(fake.state().count("CreateRepository"), 2);
}

/// The calls of a trial by what came of them.
fn of(report: &Report, outcome: Outcome) -> Vec<&str> {
    report.steps.iter().filter(|s| s.outcome == outcome).map(|s| s.call.as_str()).collect()
}

#[tokio::test]
async fn a_trial_names_each_missing_permission() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let hooks = alone(&fake);
    let mut target = account(&fake.host);
    target.registry.ecr = settings(json!({"scan_gate": "high"}));
    let report = tried(&hooks, &target, true).await;
    assert_eq!(of(&report, Outcome::Failed), Vec::<&str>::new(), "{report:#?}");
    let all = [
        "credentials",
        "sts:GetCallerIdentity",
        "ecr:GetAuthorizationToken",
        "login",
        "ecr:DescribeRepositories",
        "ecr:CreateRepository",
        "ecr:BatchGetImage",
        "ecr:BatchCheckLayerAvailability",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
        "ecr:CompleteLayerUpload",
        "ecr:PutImage",
        "ecr:BatchDeleteImage",
        "ecr:DescribeImageScanFindings",
    ];
    assert_eq!(of(&report, Outcome::Ok), all);
    // Each denied in turn is named with its statement, and is the only failure.
    for call in all.iter().filter(|call| call.starts_with("ecr:")) {
        let action = call.trim_start_matches("ecr:");
        fake.state().denied = match *call {
            "ecr:GetAuthorizationToken" => vec!["GetAuthorizationToken"],
            _ => all.iter().filter_map(|a| a.strip_prefix("ecr:")).filter(|a| *a == action).collect(),
        };
        target.image = format!("team/{}", action.to_lowercase());
        if *call == "ecr:DescribeRepositories" {
            // Who may not look is helped by one that is there.
            fake.state().repositories.push(target.image.clone());
        }
        let report = tried(&hooks, &target, true).await;
        let step = report.steps.iter().find(|s| s.call == *call).expect("it is told of");
        assert_eq!(step.policy.as_ref().expect("a statement")["Action"], *call, "{report:#?}");
        let survives = ["ecr:DescribeRepositories", "ecr:BatchDeleteImage"].contains(call);
        let failed = if survives { vec![] } else { vec![*call] };
        assert_eq!(of(&report, Outcome::Failed), failed, "{call}: {report:#?}");
        assert_eq!(report.ok(), survives);
    }
}

#[tokio::test]
async fn a_trial_writes_only_where_it_is_told_to() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let hooks = alone(&fake);
    let target = account(&fake.host);
    assert!(tried(&hooks, &target, false).await.ok());
    let plain = hooks.test_registry(&target.registry, target.password.as_ref(), &Trial::default()).await;
    let plain = plain.expect("a report");
    assert_eq!(plain.judged().expect("good"), format!("{} takes it, over http.", fake.host));
    for action in ["CreateRepository", "InitiateLayerUpload", "PutImage", "BatchDeleteImage"] {
        assert_eq!(fake.state().count(action), 0, "{action}");
    }
    // A registry that this server does not reach may be reached by the engine.
    let report = tried(&hooks, &account("127.0.0.1:1"), false).await;
    assert!(report.ok() && of(&report, Outcome::Skipped).contains(&"login"), "{report:#?}");
    // Keys that AWS does not know end it, and nothing else is blamed.
    fake.state().denied = vec!["GetCallerIdentity"];
    let report = tried(&hooks, &target, false).await;
    assert_eq!(of(&report, Outcome::Failed), ["sts:GetCallerIdentity"]);
}

#[tokio::test]
async fn who_we_are_is_not_waited_for_where_sts_cannot_be_reached() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    fake.state().silent = true;
    let (begun, report) = (Instant::now(), tried(&alone(&fake), &account(&fake.host), false).await);
    assert!(report.ok() && of(&report, Outcome::Skipped)[0] == "sts:GetCallerIdentity", "{report:#?}");
    // The doctor waits for 15 s.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    let hooks = alone(&fake);
    let mut target = account(&fake.host);
    let role = "arn:aws:iam::123456789012:role/slipway";
    target.registry.ecr = settings(json!({"assume_role": role, "external_id": "x-1"}));
    let report = tried(&hooks, &target, false).await;
    assert!(report.ok(), "{report:#?}");
    let sent = fake.state().sent("AssumeRole");
    assert_eq!(sent, json!({"role": role, "id": "x-1"}));
    let by = |action: &str| {
        let state = fake.state();
        state.calls.iter().rfind(|(a, _, _)| a == action).map(|(_, _, key)| key.clone()).unwrap_or_default()
    };
    assert_eq!(
        (by("AssumeRole").as_str(), by("GetAuthorizationToken").as_str()),
        ("AKIAEXAMPLE", "AKIAROLE")
    );

    fake.state().denied = vec!["AssumeRole"];
    let report = tried(&alone(&fake), &target, true).await;
    assert_eq!(of(&report, Outcome::Failed), ["sts:AssumeRole"], "{report:#?}");
    assert!(report.what().contains("AccessDenied"), "{}", report.what());
    let made = report.steps[0].policy.as_ref().expect("a statement");
    assert_eq!((made["Action"].as_str(), made["Resource"].as_str()), (Some("sts:AssumeRole"), Some(role)));
}

fn scan(status: &str, counts: Value) -> Value {
    json!({
        "imageScanStatus": {"status": status, "description": "words"},
        "imageScanFindings": {"findingSeverityCounts": counts, "findings": [
            {"name": "CVE-2026-1", "severity": "CRITICAL"}, {"name": "CVE-2026-2", "severity": "LOW"},
        ], "enhancedFindings": [
            {"severity": "CRITICAL", "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-2026-3"}},
        ]},
    })
}

#[tokio::test]
async fn findings_keep_the_manifests_from_being_written() {
    let registry = LockedRegistry::start();
    let fake = Fake::start(&registry.host).await;
    fake.state().repositories.push("team/app".into());
    let world = World::with(&[("Dockerfile", "FROM scratch\n")], |_| alone(&fake)).await;
    let mut target = account(&fake.host);
    let pushed = slipway_core::build::PushedImage {
        name: format!("{}/team/app", fake.host),
        tags: vec!["x".into()],
        digest: slipway_core::Digest::parse(&format!("sha256:{}", "a".repeat(64))).expect("a digest"),
    };
    let check =
        async |target: &RegistryTarget| world.hooks.check_scan(&world.job, target, &pushed, &never()).await;
    check(&target).await.expect("without a gate nobody is asked");
    assert_eq!(fake.state().count("DescribeImageScanFindings"), 0);

    target.registry.ecr.scan_gate = Some(Severity::High);
    fake.state().scans =
        vec![scan("IN_PROGRESS", json!({})), scan("COMPLETE", json!({"MEDIUM": 3, "LOW": 9}))];
    check(&target).await.expect("nothing high");
    assert_eq!(fake.state().count("DescribeImageScanFindings"), 2, "a scan that runs is waited for");
    fake.state().scans = vec![scan("ACTIVE", json!({"CRITICAL": 2, "MEDIUM": 3}))];
    let e = check(&target).await.expect_err("critical ones");
    assert_eq!(e.class(), FailureClass::User);
    let problem = slipway_core::Problem::from(e);
    assert!(problem.what.contains("2 critical (CVE-2026-1, CVE-2026-3, …)"), "{problem}");
    fake.state().scans = vec![scan("UNSUPPORTED_IMAGE", json!({}))];
    let e = check(&target).await.expect_err("never");
    assert!(e.class() == FailureClass::Infra && e.to_string().contains("UNSUPPORTED_IMAGE"), "{e}");

    // What nobody scans by itself is scanned because of us, once.
    fake.state().scans.clear();
    let stop = CancellationToken::new();
    let (hooks, job) = (&world.hooks, &world.job);
    let (waits, ()) = tokio::join!(hooks.check_scan(job, &target, &pushed, &stop), async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        stop.cancel();
    });
    assert!(waits.expect_err("stopped").is_stopped());
    assert_eq!(fake.state().count("StartImageScan"), 1);
}
