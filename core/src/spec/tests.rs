//! What is read, what is refused, and where that is said to stand.

use super::*;
use crate::git::RefName;

fn error(text: &str) -> String {
    Spec::parse(text.as_bytes()).expect_err("must be refused").to_string()
}

#[test]
fn an_empty_file_is_the_defaults() {
    let spec = Spec::parse(b"").expect("valid");
    assert_eq!(spec.build.dockerfiles(), ["Dockerfile", "Containerfile"]);
    assert_eq!(spec.build.timeout_ms, 1_200_000);
    assert_eq!(spec.test.test(), Test::None);
    let tags: Vec<&str> = spec.push.tags.iter().map(|t| t.template.as_str()).collect();
    assert_eq!(tags, ["{sha}", "latest"]);
}

#[test]
fn the_contract_s_example_is_read() {
    let text = r#"
        [build]
        dockerfile = "docker/Dockerfile"
        args = { A = "b" }
        pull = "missing"
        timeout = "90s"
        on = { branches = ["main", "release/*"], tags = ["v*"], paths = ["**", "!docs/**"] }
        [test]
        shell = "./test.sh"
        memory = "512MiB"
        cpus = 1.5
        [push]
        tags = ["{sha}", "{branch}"]
        [deploy.prod]
        repo = "ManifestRepo"
        path = "deployment.yaml"
    "#;
    let spec = Spec::parse(text.as_bytes()).expect("valid");
    assert_eq!(spec.build.pull, Some(Pull::Missing));
    let main = RefName::branch("main").expect("valid");
    assert!(spec.build.on.matches_ref(&RefName::branch("release/2").expect("valid"), &main));
    assert!(!spec.build.on.matches_ref(&RefName::branch("x").expect("valid"), &main));
    assert!(spec.build.on.matches_ref(&RefName::tag("v1").expect("valid"), &main));
    assert!(spec.build.on.matches_path("src/main.rs"));
    assert!(!spec.build.on.matches_path("docs/a/b.md"));
    assert_eq!(spec.test.test(), Test::Run(vec!["/bin/sh".into(), "-ec".into(), "./test.sh".into()]));
    assert_eq!(spec.deploy["prod"].repo.as_str(), "ManifestRepo");
}

#[test]
fn mistakes_are_named_with_their_place_and_a_guess() {
    for (text, want) in [
        ("[biuld]\n", "slipway.toml:1:2: unknown key `biuld`; did you mean `build`?"),
        (
            "[build]\ndockerfil = \"x\"\n",
            "slipway.toml:2:1: unknown key `dockerfil`; did you mean `dockerfile`?",
        ),
        ("[test]\nrun = \"./test.sh\"\n", "slipway.toml:2:7: "),
        ("[test]\ntimeout = \"soon\"\n", "slipway.toml:2:11: \"soon\" is not a time"),
        ("[test]\nmemory = \"lots\"\n", "slipway.toml:2:10: \"lots\" is not a size"),
        ("[test]\nrun = [\"a\"]\nshell = \"b\"\n", "slipway.toml:3:1: [test] has more than one"),
        ("[build]\ncontext = \"../x\"\n", "slipway.toml:2:11: \"../x\" must be a path inside"),
        ("[deploy.prod]\npath = \"a\"\n", "slipway.toml:1:1: missing field `repo`"),
        (
            "[deploy.prod]\nrepo = \"m\"\nbranches = [\"main\"]\n",
            "slipway.toml:3:1: unknown key `branches`; which refs deploy is said by `on = { branches = […] }`",
        ),
        (
            "[push]\ntags = [{ tag = \"edge\", branches = [\"dev\"] }]\n",
            "slipway.toml:2:25: unknown key `branches`; which refs move it is said by `on = { branches = […] }`",
        ),
        ("[push]\nbranches = []\n", "slipway.toml:2:1: unknown key `branches`; which refs move"),
        (
            "[push]\ntags = [\"{sha}\", \"{brnch}\"]\n",
            "slipway.toml:2:18: unknown placeholder `{brnch}`; did you mean `{branch}`?",
        ),
        ("[push]\ntags = [7]\n", "slipway.toml:2:9: invalid type: integer `7`, expected a tag, or a table"),
        (
            "[build]\nargs = { BUILDKIT_SYNTAX = \"evil/frontend\" }\n",
            "slipway.toml:2:10: build.args cannot set BUILDKIT_SYNTAX",
        ),
        (
            "[build]\nargs = { BUILDKIT_CACHE_MOUNT_NS = \"other\" }\n",
            "slipway.toml:2:10: build.args cannot set BUILDKIT_CACHE_MOUNT_NS",
        ),
        ("[build]\nargs = { http_proxy = \"x\" }\n", "slipway.toml:2:10: build.args cannot set http_proxy"),
        ("[build]\npull = \"newer\"\n", "slipway.toml:2:8: unknown value `newer`"),
        ("a = \n", "slipway.toml:1:"),
    ] {
        let got = error(text);
        assert!(got.starts_with(want), "{text:?}: {got}");
    }
    assert!(Spec::parse(b"\xff").is_err());
}

#[test]
fn mistakes_about_what_builds_and_tests_are_given_are_named() {
    for (text, want) in [
        (
            "[build]\nargs = { V = \"{brnch}\" }\n",
            "slipway.toml:2:14: unknown placeholder `{brnch}`; did you mean `{branch}`?",
        ),
        ("[build]\nargs = { SLIPWAY_X = \"1\" }\n", "slipway.toml:2:10: SLIPWAY_X is set by the server"),
        (
            "[test]\nshell = \"x\"\nenv = { \"a-b\" = \"1\" }\n",
            "slipway.toml:3:9: \"a-b\" is no name of a variable",
        ),
        ("[test]\nshell = \"x\"\nenv = { CI = \"1\" }\n", "slipway.toml:3:9: CI is set by the server"),
        ("[test]\ntarget = \"t\"\nenv = { A = \"1\" }\n", "slipway.toml:3:1: test.env is for run and shell"),
        ("[test]\nsecrets = [\"A\"]\n", "slipway.toml:2:1: test.secrets is for run and shell"),
        (
            "[test]\nshell = \"x\"\nsecrets = [\"npm-token\"]\n",
            "slipway.toml:3:11: \"npm-token\" is no name of a variable",
        ),
        (
            "[test]\nshell = \"x\"\nsecrets = [{ name = \"A\", file = \"/a/../b\" }]\n",
            "slipway.toml:3:11: \"/a/../b\" is no absolute path of a file",
        ),
        (
            "[test]\nshell = \"x\"\nenv = { A = \"1\" }\nsecrets = [\"A\"]\n",
            "slipway.toml:4:12: the variable A of test.secrets is given twice",
        ),
        (
            "[test]\nshell = \"x\"\ncapabilities = [\"CHOWM\"]\n",
            "slipway.toml:3:16: \"CHOWM\" is no capability; did you mean CHOWN?",
        ),
        (
            "[test]\nshell = \"x\"\n[test.services.DB]\nimage = \"p\"\n",
            "slipway.toml:3:16: \"DB\" is no name of a service",
        ),
        ("[test]\nshell = \"x\"\n[test.services.db]\n", "slipway.toml:3:1: missing field `image`"),
    ] {
        let got = error(text);
        assert!(got.starts_with(want), "{text:?}: {got}");
    }
}

#[test]
fn what_is_wrong_within_a_table_is_shown_where_it_stands() {
    for (text, want) in [
        ("[build]\ndockerfile = \"/x\"", "2:14: \"/x\" must"),
        ("[build]\ncontext = \"a\"\n[[image]]\nname = \"x\"", "2:1: beside [[image]]"),
        ("[build.args]\nA = \"1\"\nNO_PROXY = \"x\"", "3:1: build.args cannot set NO_PROXY"),
        ("test = { run = [] }", "1:16: test.run is empty"),
        ("[test]\nshell = \"x\"\ncpus = 2000", "3:8: test.cpus must"),
        ("[test]\nshell = \"x\"\nmemory = \"1B\"", "3:10: test.memory must"),
        ("[test]\nreports = [\"/a\"]", "2:1: test.reports is for"),
        (
            "[test]\nshell = \"x\"\n[test.services.db]\nimage = \"a b\"",
            "4:9: \"a b\", the image of the service db",
        ),
        (
            "[test]\nshell = \"x\"\n[test.services.db]\nimage = \"a\"\nready = []",
            "5:9: ready of the service db is empty",
        ),
        (
            "[test]\nshell = \"x\"\n[test.services.db]\nimage = \"a\"\nenv = { \"A B\" = \"1\" }",
            "5:9: \"A B\" is no name",
        ),
        ("[push]\ntags = []", "2:8: push.tags must name"),
        ("[deploy.p]\nrepo = \"m\"\npath = \"../x\"", "3:8: \"../x\" must"),
        ("[deploy.p]\nrepo = \"m\"\nof = \"x\"", "3:1: [deploy.p] says of which"),
        ("[[image]]\nname = \"x\"\n[[image]]\nname = \"x\"", "4:8: two [[image]] are called"),
        ("[[image]]\nname = \"x\"\ncontext = \"..\"", "3:11: \"..\" must"),
        ("[[image]]\nname = \"x\"\nargs = { ALL_PROXY = \"x\" }", "3:10: build.args cannot set ALL_PROXY"),
        ("[[image]]\nname = \"x\"\n[image.test]\nrun = []", "4:7: test.run is empty"),
        ("[[image]]\nname = \"x\"\ntags = [\"{sha}\", \"{brnch}\"]", "3:18: unknown placeholder"),
        ("[[image]]\nname = \"x\"\nneeds = [\"y\"]", "3:10: needs names"),
        ("[[image]]\nname = \"x\"\nmatrix = { V = [\"a\", \"a\"] }", "3:16: V of the matrix wants"),
        ("[[image]]\nname = \"x\"\n[[image]]\nname = \"y\"\n[deploy.p]\nrepo = \"m\"\nof = \"z\"", "7:6: "),
    ] {
        let got = error(text);
        assert!(got.starts_with(&format!("slipway.toml:{want}")), "{text:?}: {got}");
    }
}

/// The keys that the reader knows there, as it tells them itself.
fn keys_read(text: &str) -> Vec<String> {
    let mut keys: Vec<String> = error(text).split('`').skip(3).step_by(2).map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn the_schema_has_the_keys_that_are_read_and_no_others() {
    let schema: serde_json::Value = serde_json::from_str(schema()).expect("json");
    for (text, place) in [
        ("zzzzzzzzzzzz = 1", ""),
        ("[on]\nzzzzzzzzzzzz = 1", "/properties/on"),
        ("[on]\ncron = [{ zzzzzzzzzzzz = 1 }]", "/$defs/schedule/oneOf/1"),
        ("[build]\nzzzzzzzzzzzz = 1", "/properties/build"),
        ("[build.params.A]\nzzzzzzzzzzzz = 1", "/properties/build/properties/params/additionalProperties"),
        ("[build.on]\nzzzzzzzzzzzz = 1", "/properties/build/properties/on"),
        ("[test]\nzzzzzzzzzzzz = 1", "/properties/test"),
        (
            "[test.services.db]\nimage = \"x\"\nzzzzzzzzzzzz = 1",
            "/properties/test/properties/services/additionalProperties",
        ),
        ("[test]\nsecrets = [{ zzzzzzzzzzzz = 1 }]", "/$defs/secrets/items/oneOf/1"),
        ("[[image]]\nname = \"x\"\nzzzzzzzzzzzz = 1", "/properties/image/items"),
        ("[push]\nzzzzzzzzzzzz = 1", "/properties/push"),
        ("[push]\ntags = [{ zzzzzzzzzzzz = 1 }]", "/properties/push/properties/tags/items/oneOf/1"),
        ("[push.on]\nzzzzzzzzzzzz = 1", "/$defs/moves"),
        ("[deploy.p]\nrepo = \"m\"\nzzzzzzzzzzzz = 1", "/properties/deploy/additionalProperties"),
    ] {
        let there = schema.pointer(place).unwrap_or_else(|| panic!("no {place}"));
        let mut keys: Vec<String> =
            there["properties"].as_object().expect("properties").keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, keys_read(text), "{place}");
        assert_eq!(there["additionalProperties"], false, "{place}");
    }
}
