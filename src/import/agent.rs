//! Commands that ran on the old server's machine, outside of the image: what kind they are, and what to do instead.

use super::found::{Found, Loose, quoted};
use super::shell::Command;

pub(super) const UNKNOWN: &str = "Nothing runs on the server's machine: put what the image needs into the Dockerfile, and what checks it into [test].";
pub(super) const ECS: &str =
    "Slipway deploys to Kubernetes; for ECS, let a webhook on `build` start the deployment.";
const TESTS: &str = "Put it in a stage of the Dockerfile and name that in [test] target, or in [test] run where the image has the tools.";
const CHECKS: &str = "Put it in a stage of the Dockerfile that [test] target names.";
const COMPILES: &str =
    "Put it in the Dockerfile, in a stage before the last where its tools are not to be shipped.";
const SETS_UP: &str = "no machine is set up; what the build needs stands in the Dockerfile";

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Test,
    Check,
    Compile,
    SetUp,
    /// Says or looks at something.
    Idle,
    Unknown,
}

const WORDS: [(Kind, &[&str]); 5] = [
    (
        Kind::Idle,
        &[
            "echo", "printf", "set", "ls", "pwd", "env", "printenv", "cat", "mkdir", "sleep", "true",
            "false", "exit", "rm", "cp", "mv", "chmod", "chown", "which", "whoami", "uname", "date", "id",
            "df", "free", "head", "tail", "grep", "wc", "touch", "source", ".", "trap", "cut", "tr", "jq",
            "cd", "popd", "pushd", "shopt", "alias", "hash", "return", "while", "until", "do", "done",
            "case", "esac", "fi", "then", "tee", "sort", "export", "unset", "find", "xargs", "awk", "base64",
            "unzip", "tar", "zip", "hostname", "stat", "basename", "dirname", "type", "tree", ":", "}", "{",
            "hub-tool",
        ],
    ),
    (
        Kind::SetUp,
        &[
            "apt-get",
            "apt",
            "yum",
            "dnf",
            "apk",
            "brew",
            "pip",
            "pip3",
            "curl",
            "wget",
            "nvm",
            "asdf",
            "sdk",
            "corepack",
            "update-alternatives",
            "ssh-keyscan",
            "ssh-agent",
            "ssh-add",
            "systemctl",
            "service",
            "npm ci",
            "npm install",
            "npm i",
            "yarn install",
            "pnpm install",
            "pnpm i",
            "composer install",
            "bundle install",
            "poetry install",
            "go mod",
            "npm config",
            "python -m pip",
            "python3 -m pip",
            "python -m venv",
            "python3 -m venv",
            "virtualenv",
            "gem",
            "rustup",
            "dotnet restore",
            "go install",
            "npm set",
            "yarn --frozen-lockfile",
            "uv sync",
            "uv pip",
        ],
    ),
    (
        Kind::Check,
        &[
            "hadolint",
            "trivy",
            "grype",
            "syft",
            "snyk",
            "sonar-scanner",
            "cosign",
            "dockle",
            "eslint",
            "flake8",
            "pylint",
            "ruff",
            "mypy",
            "black",
            "golangci-lint",
            "shellcheck",
            "npm run lint",
            "npm audit",
            "yarn lint",
            "yarn audit",
            "mvn sonar:sonar",
            "cargo clippy",
            "cargo fmt",
            "cargo deny",
            "go vet",
            "gosec",
            "bandit",
            "semgrep",
            "gitleaks",
            "npx eslint",
            "helm lint",
            "kubeval",
            "kubeconform",
            "pre-commit",
            "make lint",
            "dotnet format",
            "checkov",
            "tfsec",
        ],
    ),
    (
        Kind::Test,
        &[
            "pytest",
            "tox",
            "nox",
            "jest",
            "mocha",
            "phpunit",
            "rspec",
            "ctest",
            "behave",
            "cypress",
            "playwright",
            "newman",
            "npm test",
            "npm t",
            "npm run test",
            "yarn test",
            "pnpm test",
            "go test",
            "cargo test",
            "cargo nextest",
            "mvn test",
            "mvn verify",
            "mvnw test",
            "mvnw verify",
            "gradle test",
            "gradle check",
            "gradlew test",
            "gradlew check",
            "make test",
            "make check",
            "dotnet test",
            "python -m pytest",
            "python3 -m pytest",
            "python -m unittest",
            "python3 -m unittest",
            "python manage.py test",
            "bundle exec rspec",
            "vendor/bin/phpunit",
            "npx jest",
            "npx vitest",
            "composer test",
            "poetry run pytest",
            "php artisan test",
            "uv run pytest",
            "npm run ci",
            "goss",
            "dgoss",
            "container-structure-test",
            "bats",
            "k6",
            "robot",
            "mix test",
            "sbt test",
            "lein test",
            "rake test",
            "deno test",
            "bun test",
            "yarn run test",
        ],
    ),
    (
        Kind::Compile,
        &[
            "mvn",
            "mvnw",
            "gradle",
            "gradlew",
            "make",
            "go build",
            "cargo build",
            "npm run build",
            "yarn build",
            "pnpm build",
            "dotnet build",
            "dotnet publish",
            "tsc",
            "webpack",
            "ng",
            "ant",
            "sbt",
            "cmake",
            "gcc",
            "javac",
            "npm run",
            "yarn run",
            "pnpm run",
            "npx",
            "yarn",
            "python setup.py",
            "python -m build",
            "hugo",
            "bazel",
            "ninja",
            "msbuild",
            "bundle",
        ],
    ),
];

fn kind(text: &str) -> Kind {
    let skipped = ["if", "then", "else", "elif", "do", "!", "sudo", "time"];
    let words: Vec<&str> = text
        .split_whitespace()
        .skip_while(|word| skipped.contains(word) || word.contains('=') && !word.starts_with('-'))
        .filter(|word| !word.starts_with('-') || *word == "-m")
        .collect();
    let Some(first) = words.first() else { return Kind::Idle };
    let program = first.rsplit('/').next().unwrap_or(first);
    let line = std::iter::once(program).chain(words.iter().skip(1).copied()).collect::<Vec<_>>().join(" ");
    let goals = |kind: Kind| {
        matches!(kind, Kind::Test) && words.iter().skip(1).any(|w| ["test", "verify", "check"].contains(w))
    };
    // What fetches may also send.
    if ["curl", "wget"].contains(&program)
        && ["-X", "--request", "-d", "--data"].iter().any(|flag| text.contains(flag))
    {
        return Kind::Unknown;
    }
    if ["mvn", "mvnw", "gradle", "gradlew"].contains(&program) && goals(Kind::Test) {
        return Kind::Test;
    }
    for (kind, known) in WORDS {
        let is = |words: &&str| {
            line == **words || line.strip_prefix(*words).is_some_and(|rest| rest.starts_with([' ', ':']))
        };
        if known.iter().any(is) {
            return kind;
        }
    }
    if line.contains("test") { Kind::Test } else { Kind::Unknown }
}

/// Tells of commands that ran outside of the image. The first test among them, for a hint in slipway.toml.
pub(super) fn tell(found: &mut Found, loose: &[Loose]) -> Option<(usize, String)> {
    let mut first = None;
    for one in loose {
        let place = match &one.inside {
            Some(image) => format!(" (in {})", quoted(image)),
            None => " (on the agent)".to_owned(),
        };
        let text = quoted(&one.text);
        let what = format!("`{text}`{place}");
        match kind(&one.text) {
            Kind::Idle => {}
            Kind::SetUp => found.done(one.line, format!("`{text}`: {}", SETS_UP)),
            Kind::Test => {
                first.get_or_insert((one.line, text));
                found.note(one.line, what, TESTS);
            }
            Kind::Check => found.note(one.line, what, CHECKS),
            Kind::Compile => found.note(one.line, what, COMPILES),
            Kind::Unknown => found.note(one.line, what, UNKNOWN),
        }
    }
    first
}

/// A command that runs when all is over.
pub(super) fn after(found: &mut Found, command: &Command) {
    match kind(&command.text) {
        Kind::Idle => {}
        Kind::SetUp if command.text.contains("http") => {
            found.notified.push(command.line);
        }
        _ => {
            let what = format!("`{}`", quoted(&command.text));
            found.note(command.line, what, "Nothing runs after a build: let a webhook on `build` start it.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_for_what_they_are_for() {
        for (text, want) in [
            ("npm test", Kind::Test),
            ("npm run test:unit -- --ci", Kind::Test),
            ("./mvnw -B clean verify", Kind::Test),
            ("mvn -DskipTests package", Kind::Compile),
            ("npm ci", Kind::SetUp),
            ("npm run lint", Kind::Check),
            ("CI=true yarn test", Kind::Test),
            ("./scripts/test.sh", Kind::Test),
            ("echo done", Kind::Idle),
            ("terraform apply", Kind::Unknown),
            ("", Kind::Idle),
        ] {
            assert_eq!(kind(text), want, "{text}");
        }
    }
}
