//! `slipway import` as people call it: kept files of every format with what is printed for them, statuses, and the example of
//! docs/migration.md. `SLIPWAY_WRITE_EXPECTED=1` writes what is printed now beside the kept files; look at the difference.

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::{program, text};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import")
}

/// The verb for a kept file, by its name's end.
fn format(name: &str) -> Option<&'static str> {
    const ENDS: [(&str, &str); 5] = [
        (".jenkinsfile", "jenkinsfile"),
        (".gitlab-ci.yml", "gitlab-ci"),
        (".woodpecker.yml", "woodpecker"),
        (".drone.yml", "woodpecker"),
        (".buildspec.yml", "buildspec"),
    ];
    ENDS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| *format)
}

/// The kept files of a format.
fn kept() -> Vec<(String, &'static str)> {
    let names = fs::read_dir(fixtures()).expect("the kept files");
    let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut all: Vec<_> =
        names.filter_map(|name| format(&name).map(|format| (name.clone(), format))).collect();
    all.sort();
    assert!(all.len() >= 20, "{} files", all.len());
    all
}

fn import(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).arg("import").args(args).current_dir(folder).output().expect("slipway")
}

#[test]
fn kept_files_come_to_what_stands_beside_them() {
    let write = std::env::var_os("SLIPWAY_WRITE_EXPECTED").is_some();
    for (name, format) in kept() {
        let out = import(&fixtures(), &[format, &name, "--repo", "app"]);
        let status = out.status.code().expect("a status");
        let printed = match status {
            0 => text(&out.stdout),
            _ => format!("exit status {status}\n{}", text(&out.stderr)),
        };
        let beside = fixtures().join(format!("{name}.expected"));
        if write {
            fs::write(&beside, &printed).expect("written");
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(printed, expected, "{name}: SLIPWAY_WRITE_EXPECTED=1 writes it anew");
        assert!(status == 0 || out.stdout.is_empty(), "{name}: nothing is printed beside a refusal");
    }
}

#[test]
fn the_plan_is_json_on_demand() {
    for (name, format) in kept() {
        let out = import(&fixtures(), &[format, &name, "--repo", "app", "--json"]);
        if out.status.success() {
            let all: serde_json::Value = serde_json::from_slice(&out.stdout).expect("json");
            assert_eq!(all["repo"], "app", "{name}");
            assert!(all["plan"]["line"].as_u64().expect("a line") > 0, "{name}");
            assert!(all["slipway_toml"].as_str().expect("toml").starts_with("[build]"), "{name}");
            assert!(
                all["commands"]["server"][0].as_str().expect("a command").starts_with("slipway repo"),
                "{name}"
            );
        }
    }
}

#[test]
fn a_file_that_is_none_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("binary"), b"\x7fELF\0\0").expect("written");
    fs::write(folder.path().join("large"), "a\n".repeat(600_000)).expect("written");
    fs::write(folder.path().join("broken.yml"), "a: [b\n").expect("written");
    fs::write(folder.path().join("empty"), "").expect("written");
    for (args, status, said) in [
        (&["jenkinsfile", "gone"][..], 1, "gone cannot be read: No such file"),
        (&["jenkinsfile", "binary"], 1, "binary is no text. Name the file of a pipeline."),
        (&["jenkinsfile", "large"], 1, "large is larger than 1 MiB."),
        (&["gitlab-ci", "broken.yml"], 1, "broken.yml is no YAML: line "),
        (&["jenkinsfile", "empty"], 1, "Nothing that builds an image was found in empty."),
        (&["buildspec", "empty"], 1, "Nothing that builds an image was found in empty."),
        (&["jenkinsfile"], 2, "<FILE>"),
        (&["travis", "empty"], 2, "travis"),
        (&["jenkinsfile", "empty", "--repo", "a/b"], 2, "is not a letter, a digit"),
    ] {
        let out = import(folder.path(), args);
        assert_eq!(out.status.code(), Some(status), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(said), "{args:?}: {}", text(&out.stderr));
    }
}

#[test]
fn wishes_name_the_repository_the_image_and_the_manifests() {
    let folder = tempfile::Builder::new().prefix("cart").tempdir().expect("a folder");
    let name = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
    let scripted = fs::read_to_string(fixtures().join("scripted-ecr.jenkinsfile")).expect("a file");
    fs::write(folder.path().join("Jenkinsfile"), scripted).expect("written");
    let said = text(&import(folder.path(), &["jenkinsfile", "Jenkinsfile"]).stdout);
    assert!(said.contains(&format!("#   slipway repo create {name}\n")), "{said}");
    assert!(said.contains("\n# [deploy.prod]"), "{said}");
    let said =
        text(&import(folder.path(), &["jenkinsfile", "Jenkinsfile", "--manifests", "Manifests"]).stdout);
    assert!(said.contains("\n[deploy.prod]") && said.contains("\nrepo = \"Manifests\"\n"), "{said}");

    let several = ["jenkinsfile", "parallel-matrix.jenkinsfile", "--image"];
    let one = import(&fixtures(), &[&several[..], &["worker"]].concat());
    assert!(text(&one.stdout).contains("\ncontext = \"services/worker\"\n"), "{}", text(&one.stderr));
    let none = import(&fixtures(), &[&several[..], &["gone"]].concat());
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("There are shop/api (line 16)"), "{}", text(&none.stderr));
}

#[test]
fn standard_input_is_a_file() {
    let mut child = Command::new(program())
        .args(["import", "buildspec", "-", "--repo", "app"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("slipway");
    let script = "phases: {build: {commands: [docker build -t r.example/a:1 ., docker push r.example/a:1]}}";
    child.stdin.take().expect("input").write_all(script.as_bytes()).expect("written");
    let out = child.wait_with_output().expect("slipway");
    assert!(text(&out.stdout).contains("tags = [\"1\"]"), "{}", text(&out.stdout));
}

/// The text of the first block of that language.
fn block<'t>(page: &'t str, language: &str) -> &'t str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_example_of_the_page_about_migration_is_what_is_printed() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migration.md");
    let page = fs::read_to_string(page).expect("docs/migration.md");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("Jenkinsfile"), block(&page, "groovy")).expect("written");
    let out = import(folder.path(), &["jenkinsfile", "Jenkinsfile", "--repo", "cart"]);
    assert_eq!(text(&out.stdout), block(&page, "toml"), "{}", text(&out.stderr));

    fs::write(folder.path().join("slipway.toml"), &out.stdout).expect("written");
    fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").expect("written");
    let check = Command::new(program()).arg("check").current_dir(folder.path()).output().expect("slipway");
    assert!(check.status.success(), "{}", text(&check.stderr));
}
