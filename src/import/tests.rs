//! The whole import over the kept files, cut everywhere, and over what nobody would write.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Far more than the slowest machine needs for one file.
const BOUND: Duration = Duration::from_secs(20);

const FORMATS: [Format; 4] = [Format::Jenkinsfile, Format::GitlabCi, Format::Woodpecker, Format::Buildspec];

fn kept() -> Vec<(PathBuf, Format, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    let format = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let ends = [
            (".jenkinsfile", Format::Jenkinsfile),
            (".gitlab-ci.yml", Format::GitlabCi),
            (".woodpecker.yml", Format::Woodpecker),
            (".drone.yml", Format::Woodpecker),
            (".buildspec.yml", Format::Buildspec),
        ];
        ends.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| format)
    };
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .expect("the kept files")
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let format = format(&path)?;
            let text = std::fs::read_to_string(&path).expect("a file");
            Some((path, format, text))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(all.len() >= 20, "{} files", all.len());
    all
}

/// Page and JSON, or the sentence why not. What is no slipway.toml is a fault of ours.
fn imported(format: Format, text: &str) -> Result<String, Problem> {
    let begun = Instant::now();
    let out = plan(format, text, &Wishes::default(), "FILE").and_then(|plan| as_text(plan, "app", "FILE"));
    assert!(begun.elapsed() < BOUND, "{:?} for {} bytes", begun.elapsed(), text.len());
    if let Err(problem) = &out {
        assert_ne!(problem.kind, ProblemKind::Broken, "{problem}\n{text}");
        assert!(!problem.what.is_empty() && problem.what.len() < 2_000, "{problem}");
    }
    out
}

#[test]
fn a_file_cut_anywhere_is_read_to_its_end() {
    for (path, format, text) in kept() {
        let begun = Instant::now();
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            drop(imported(format, &text[..at]));
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{}: {:?}", path.display(), begun.elapsed());
    }
}

#[test]
fn line_ends_and_marks_of_other_machines_change_nothing() {
    for (path, format, text) in kept() {
        let (plain, other) =
            (imported(format, &text), imported(format, &format!("\u{feff}{}", text.replace('\n', "\r\n"))));
        assert_eq!(plain, other, "{}", path.display());
    }
}

#[test]
fn what_nobody_would_write_ends_too() {
    let hostile = [
        "{".repeat(10_000),
        "[".repeat(10_000),
        "(".repeat(10_000),
        "a{".repeat(10_000),
        "stage('x') { steps { ".repeat(5_000),
        "if (a) {".repeat(10_000),
        "if (a) b else ".repeat(10_000),
        "x().".repeat(50_000),
        "a + ".repeat(50_000),
        "'a' + ".repeat(50_000),
        "sh '''".repeat(20_000),
        "\"${".repeat(50_000),
        "sh \"$(".repeat(50_000),
        format!("sh '{}'", "for a in 1 2 3 4 5 6 7 8; do ".repeat(2_000)),
        format!("sh '{}'", "if [ $a = b ]; then ".repeat(2_000)),
        format!("sh '{}'", "docker build -t a . && ".repeat(20_000)),
        format!("sh '{}'", "$a".repeat(200_000)),
        format!("sh '{}'", "${".repeat(200_000)),
        format!("sh 'docker build {} . '", "-t r.example/a:1 --build-arg A=1 ".repeat(20_000)),
        format!("sh 'docker build -t a .'\n{}", "sh 'docker run a true'\n".repeat(20_000)),
        format!(
            "sh 'docker build -t a .'\n{}",
            "stage('s') { sh 'sed -i s/a/b/ x.yaml; git push' }\n".repeat(5_000)
        ),
        format!("x: &x \"{}\"\ns: [{}]\n", "docker ps;".repeat(20_000), "*x, ".repeat(5_000)),
        format!(
            "a: {{script: [\"{}\"]}}\nb: {{script: [{}]}}\n",
            "ls;".repeat(30_000),
            "!reference [a, script], ".repeat(9_000)
        ),
        format!(
            ".a: {{variables: {{{}}}}}\n{}",
            "A: b, C: d, ".repeat(9_000),
            "j: {extends: .a}\n".repeat(9_000)
        ),
        (0..20_000).map(|n| format!("j{n}: {{extends: .a}}\n")).chain([".a: {b: c}\n".to_owned()]).collect(),
        format!("def f() {{ sh \"\"\"{}\"\"\" }}\n{}", "ls\n".repeat(100_000), "f()\n".repeat(50_000))
            .replace('"', "'"),
        (0..300).map(|n| format!("def v{n} = '{}'\n", "x".repeat(900))).collect::<String>()
            + &"stage('s') { }\n".repeat(30_000),
        "def f() { f(); f() }\nf()\n".to_owned(),
        "def a = '${a}${a}'\n".repeat(5_000),
        "/*".repeat(50_000),
        "- ".repeat(50_000),
        "a:\n  - b\n".repeat(10_000),
        "x".repeat(1 << 20),
        "\u{0}\u{1}\u{1b}[31m\u{202e}".repeat(1_000),
        "\r".repeat(50_000),
        "}".repeat(100_000),
    ];
    for text in hostile {
        for format in FORMATS {
            drop(imported(format, &text));
        }
    }
}

#[test]
fn a_script_in_every_format_is_read_alike() {
    let script = "docker build -t r.example/a:1 svc && docker push r.example/a:1";
    for (format, text) in [
        (Format::Jenkinsfile, format!("node {{ sh '{script}' }}")),
        (Format::GitlabCi, format!("job:\n  script: ['{script}']\n")),
        (Format::Woodpecker, format!("steps:\n  a:\n    image: docker\n    commands: ['{script}']\n")),
        (Format::Buildspec, format!("phases:\n  build:\n    commands: ['{script}']\n")),
    ] {
        let plan = plan(format, &text, &Wishes::default(), "FILE").expect("a plan");
        assert_eq!((plan.context.as_str(), plan.tags[0].tag.as_str()), ("svc", "1"), "{format:?}");
        let registry = plan.registry.expect("a registry");
        assert_eq!(
            (registry.url.as_str(), registry.image.as_deref()),
            ("r.example", Some("a")),
            "{format:?}"
        );
    }
}

#[test]
fn the_commands_are_ones_that_the_program_knows() {
    use clap::Parser;
    let mut known = 0;
    for (path, format, text) in kept() {
        let Ok(plan) = plan(format, &text, &Wishes::default(), "FILE") else { continue };
        let (server, _) = render::commands(&plan, "app");
        for command in &server {
            let words = command.split(' ');
            let read = crate::cli::Cli::try_parse_from(words);
            assert!(read.is_ok(), "{}: {command}: {:?}", path.display(), read.err());
            known += 1;
        }
    }
    assert!(known > 50, "{known}");
}

#[test]
fn passwords_in_the_file_are_not_repeated() {
    let text = "node {\n sh 'docker login -u me -p hunter2 r.example'\n sh 'curl -H token:x --token hunter2 https://a:hunter2@b'\n \
                sh 'docker build --build-arg API_TOKEN=hunter2 -t r.example/a:1 .'\n sh 'docker run -e DB_PASSWORD=hunter2 r.example/a:1 ./t'\n \
                docker.image('postgres').withRun('-e POSTGRES_PASSWORD=hunter2') { }\n sh 'deploy --password=hunter2'\n}";
    let said = imported(Format::Jenkinsfile, text).expect("a page");
    assert!(!said.contains("hunter2"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_read_ends_as_a_page_or_a_sentence(
        words in proptest::collection::vec(proptest::sample::select(&[
            "pipeline", "stage('a')", "sh", "'docker build -t a/b:$X .'", "docker.build('a')", "app", ".push('x')", "{", "}", "(", ")",
            "[", "]", "when", "branch 'x'", "environment", "A = 'b'", "\"${env.B}\"", "'''", "\n", ":", "- ", "  ", "script:", "steps:",
            "image:", "&a", "*a", "<<:", "|", "commands:", "phases:", "$(", "`", "\\", "if", "else", "for", "in", "=", "+", "?", "#", "//",
        ][..]), 0..80),
        format in 0..4_usize,
    ) {
        drop(imported(FORMATS[format], &words.join(" ")));
        drop(imported(FORMATS[format], &words.concat()));
    }
}
