//! What names stand for at a place of an old pipeline: literals that it sets, and facts that its server gives.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::condition::Condition;
use super::cursor::is_name;
use super::limits::{FOUND_MAX, TEXT_BYTES_MAX, VALUE_BYTES_MAX, VARIABLE_BYTES_MAX, VARIABLES_MAX};

/// A place of an old pipeline.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    values: BTreeMap<String, String>,
    /// What was assigned in whatever block, and holds in all that come after.
    assigned: Rc<RefCell<BTreeMap<String, String>>>,
    /// The working folder, from the repository's root.
    pub(super) folder: String,
    /// When it runs.
    pub(super) when: Condition,
    /// The stage or job.
    pub(super) stage: String,
    /// The image that commands run in; nothing is the agent's machine.
    pub(super) inside: Option<String>,
    /// What the steps of this place alone have in their environment.
    pub(super) env: BTreeMap<String, String>,
    /// Host of the registry that images without one go to.
    pub(super) registry: Option<String>,
    /// The repository that was cloned beside the application's own.
    pub(super) checkout: Option<CloneOf>,
    /// Tells stages and jobs apart.
    pub(super) group: usize,
    /// The kind of `post` it is in.
    pub(super) after: Option<String>,
}

/// A repository that a pipeline clones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CloneOf {
    pub(super) repo: String,
    pub(super) branch: Option<String>,
    /// The folder it lies in.
    pub(super) folder: String,
}

impl Scope {
    /// The scope of a stage or job within this one.
    pub(super) fn stage(&self, name: &str, group: usize) -> Self {
        let mut inner = self.clone();
        inner.stage = name.to_owned();
        inner.group = group;
        inner
    }

    /// A place in that folder where nothing is known.
    pub(super) fn in_folder(folder: &str) -> Self {
        Self { folder: folder.to_owned(), ..Self::default() }
    }

    /// From here on the name stands for that.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let value = self.expand(value);
        if value.len() > VALUE_BYTES_MAX || name.is_empty() {
            return;
        }
        if self.values.len() < VARIABLES_MAX || self.values.contains_key(name) {
            self.values.insert(name.to_owned(), value);
        }
    }

    /// From here on, also behind the block that this stands in, the name stands for that.
    pub(super) fn assign(&mut self, name: &str, value: &str) {
        self.set(name, value);
        if let Some(value) = self.values.get(name) {
            let mut assigned = self.assigned.borrow_mut();
            if assigned.len() < VARIABLES_MAX || assigned.contains_key(name) {
                assigned.insert(name.to_owned(), value.clone());
            }
        }
    }

    /// Steps have that in their environment from here on.
    pub(super) fn give(&mut self, name: &str, value: &str) {
        if self.env.len() < FOUND_MAX {
            self.env.insert(name.to_owned(), self.expand(value));
        }
    }

    /// From here on the name stands for nothing that is known.
    pub(super) fn forget(&mut self, name: &str) {
        self.values.remove(name);
        self.assigned.borrow_mut().remove(name);
    }

    /// The text with literals for the variables that have them; all others as `${NAME}`.
    pub(super) fn expand(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            if out.len() > TEXT_BYTES_MAX {
                return out;
            }
            rest = &rest[at..];
            match Variable::read(rest) {
                Some((variable, after)) => {
                    out.push_str(&self.of(&variable));
                    rest = after;
                }
                None => {
                    out.push('$');
                    rest = &rest[1..];
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// A path from the root of the repository that it lies in.
    pub(super) fn inside(&self, path: &str) -> Option<String> {
        let inside = inside(&self.folder, path)?;
        let Some(clone) = &self.checkout else { return Some(inside) };
        match inside.strip_prefix(&clone.folder) {
            Some("") => Some(".".into()),
            Some(rest) if rest.starts_with('/') => Some(rest[1..].to_owned()),
            _ => Some(inside),
        }
    }

    fn of(&self, variable: &Variable<'_>) -> String {
        let assigned = self.assigned.borrow();
        let value = self.values.get(variable.name).or_else(|| assigned.get(variable.name));
        match (value, variable.rest.trim_start_matches(':').strip_prefix('+')) {
            // `${NAME:+other}`: the other where there is one.
            (Some(_), Some(other)) => other.to_owned(),
            (None, Some(other)) if fact(variable.name).is_some() => other.to_owned(),
            (Some(value), None) => variable.of_value(value),
            _ => match (fact(variable.name), variable.default()) {
                (None, Some(default)) => default.to_owned(),
                (_, _) => variable.written(),
            },
        }
    }
}

/// `$NAME` or `${NAME}` with what follows the name in braces.
struct Variable<'t> {
    name: &'t str,
    rest: &'t str,
}

impl<'t> Variable<'t> {
    /// The variable at the beginning of `text`, and what follows.
    fn read(text: &'t str) -> Option<(Self, &'t str)> {
        let body = text.strip_prefix('$')?;
        let Some(inner) = body.strip_prefix('{') else {
            let end = body.find(|c| !is_name(c)).unwrap_or(body.len());
            let starts = body.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            return starts.then(|| (Self { name: &body[..end], rest: "" }, &body[end..]));
        };
        // A brace far away belongs to something else; and looking for it again and again takes time.
        let close = inner.bytes().take(VARIABLE_BYTES_MAX).position(|byte| byte == b'}')?;
        let name_end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
        let (name, rest) = inner[..close].split_at(name_end.min(close));
        (!name.is_empty()).then(|| (Self { name, rest }, &inner[close + 1..]))
    }

    fn written(&self) -> String {
        format!("${{{}{}}}", self.name, self.rest)
    }

    /// How many characters it is cut to.
    fn length(&self) -> Option<usize> {
        let length = self.rest.strip_prefix(":0:").or_else(|| self.rest.strip_prefix("::"))?;
        length.parse().ok()
    }

    /// What it is where it is not set.
    fn default(&self) -> Option<&'t str> {
        [":-", ":=", "-", "="].iter().find_map(|sign| self.rest.strip_prefix(sign))
    }

    fn of_value(&self, value: &str) -> String {
        let alone = Variable::read(value).filter(|(inner, after)| after.is_empty() && inner.rest.is_empty());
        match (self.length(), alone) {
            (Some(_), Some((inner, _))) => format!("${{{}{}}}", inner.name, self.rest),
            (Some(length), None) if !value.contains('$') => value.chars().take(length).collect(),
            (Some(_), None) => value.to_owned(),
            // Prefixes taken off and the like say something of the fact, where the value is one.
            (None, Some((inner, _))) if self.default().is_none() && !self.rest.is_empty() => {
                format!("${{{}{}}}", inner.name, self.rest)
            }
            (None, _) => value.to_owned(),
        }
    }
}

/// The placeholder of slipway.toml for a variable that CI servers set.
fn fact(name: &str) -> Option<&'static str> {
    Some(match name {
        "GIT_COMMIT"
        | "CI_COMMIT_SHA"
        | "CODEBUILD_RESOLVED_SOURCE_VERSION"
        | "CODEBUILD_SOURCE_VERSION"
        | "DRONE_COMMIT"
        | "DRONE_COMMIT_SHA"
        | "CI_BUILD_REF"
        | "GIT_SHA" => "{sha}",
        "CI_COMMIT_SHORT_SHA" | "GIT_COMMIT_SHORT" => "{short}",
        "BUILD_NUMBER"
        | "BUILD_ID"
        | "CI_PIPELINE_IID"
        | "CI_PIPELINE_ID"
        | "CI_PIPELINE_NUMBER"
        | "CI_BUILD_NUMBER"
        | "CI_JOB_ID"
        | "DRONE_BUILD_NUMBER"
        | "CODEBUILD_BUILD_NUMBER" => "{number}",
        "BRANCH_NAME"
        | "GIT_BRANCH"
        | "GIT_LOCAL_BRANCH"
        | "CI_COMMIT_REF_SLUG"
        | "CI_COMMIT_REF_NAME"
        | "CI_COMMIT_BRANCH"
        | "CI_BUILD_REF_SLUG"
        | "CI_BUILD_REF_NAME"
        | "DRONE_BRANCH"
        | "DRONE_COMMIT_BRANCH" => "{branch}",
        "CI_COMMIT_TAG" | "TAG_NAME" | "GIT_TAG" | "DRONE_TAG" | "CI_BUILD_TAG" => "{tag}",
        "DRONE_SEMVER" => "{semver}",
        "DATE" | "BUILD_DATE" => "{date}",
        _ => return None,
    })
}

/// A text in which what only slipway.toml's placeholders can say is said by them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// The variables that nothing stands for.
    pub(super) unknown: Vec<String>,
}

/// Puts placeholders where facts are.
pub(super) fn filled(text: &str) -> Filled {
    let mut filled = Filled { text: String::new(), unknown: Vec::new() };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.text.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some((variable, after)) = Variable::read(rest) else {
            let end = rest.find(')').map_or(rest.len(), |end| end + 1);
            filled.unknown.push(rest[..end].to_owned());
            rest = &rest[end..];
            continue;
        };
        match fact(variable.name) {
            Some("{sha}") if variable.length().is_some() => filled.text.push_str("{short}"),
            Some("{tag}") if variable.rest.starts_with('#') => filled.text.push_str("{semver}"),
            Some(placeholder) => filled.text.push_str(placeholder),
            None => {
                filled.unknown.push(variable.name.to_owned());
                filled.text.push_str(&variable.written());
            }
        }
        rest = after;
    }
    filled.text.push_str(rest);
    filled
}

/// The names of the variables in a text.
pub(super) fn names(text: &str) -> Vec<&str> {
    let (mut names, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('$') {
        rest = &rest[at..];
        match Variable::read(rest) {
            Some((variable, after)) => {
                names.push(variable.name);
                rest = after;
            }
            None => rest = &rest[1..],
        }
    }
    names
}

/// Variables that name the root of the work tree.
const ROOTS: [&str; 8] = [
    "WORKSPACE",
    "CI_PROJECT_DIR",
    "CI_WORKSPACE",
    "CODEBUILD_SRC_DIR",
    "DRONE_WORKSPACE",
    "DRONE_WORKSPACE_BASE",
    "GITHUB_WORKSPACE",
    "CI_WORKSPACE_BASE",
];

/// A path from the repository's root: `path` seen from `folder`. `None` where it leads out, or is not known.
pub(super) fn inside(folder: &str, path: &str) -> Option<String> {
    let path = path.trim().trim_start_matches("dir://");
    let from_root = ROOTS.iter().find_map(|root| path.strip_prefix(&format!("${{{root}}}")));
    let here = path.strip_prefix("${PWD}").map(|rest| rest.trim_start_matches('/'));
    let whole = match (from_root, here) {
        (Some(rest), _) => rest.trim_start_matches('/').to_owned(),
        (None, Some(rest)) => format!("{folder}/{rest}"),
        (None, None) if path.starts_with('/') => path.strip_prefix("/workspace")?.to_owned(),
        (None, None) => format!("{folder}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part if part.contains(['$', '\\', '*', '\0']) => return None,
            part => parts.push(part),
        }
    }
    Some(if parts.is_empty() { ".".into() } else { parts.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_put_in_and_facts_stay() {
        let mut scope = Scope::default();
        scope.set("HOST", "registry.example");
        scope.set("IMAGE", "$HOST/app");
        scope.set("TAG", "${GIT_COMMIT}");
        scope.set("LONG", "abcdefgh");
        for (text, want) in [
            ("${IMAGE}:$TAG", "registry.example/app:${GIT_COMMIT}"),
            ("${TAG:0:8}-${LONG:0:3}", "${GIT_COMMIT:0:8}-abc"),
            ("${NONE:-x} ${NONE} $$ $1 ${", "x ${NONE} $$ $1 ${"),
            ("${BUILD_NUMBER:-7}", "${BUILD_NUMBER:-7}"),
            ("a${CI_COMMIT_TAG:+:$CI_COMMIT_TAG}${X:+y}", "a:$CI_COMMIT_TAG${X:+y}"),
        ] {
            assert_eq!(scope.expand(text), want, "{text}");
        }
    }

    #[test]
    fn facts_become_placeholders() {
        for (text, want, unknown) in [
            ("${GIT_COMMIT}", "{sha}", ""),
            ("${CI_COMMIT_SHA:0:8}", "{short}", ""),
            ("v${BUILD_NUMBER}-${CI_COMMIT_REF_SLUG}", "v{number}-{branch}", ""),
            ("${CI_COMMIT_TAG#v}", "{semver}", ""),
            ("${VERSION}", "${VERSION}", "VERSION"),
            ("1.$(cat x)", "1.", "$(cat x)"),
            ("latest", "latest", ""),
        ] {
            let got = filled(text);
            assert_eq!((got.text.as_str(), got.unknown.join(",").as_str()), (want, unknown), "{text}");
        }
    }

    #[test]
    fn paths_are_those_from_the_root() {
        for (folder, path, want) in [
            ("", ".", Some(".")),
            ("svc", "./", Some("svc")),
            ("svc", "..", Some(".")),
            ("svc", "../..", None),
            ("", "${CI_PROJECT_DIR}/docker/Dockerfile", Some("docker/Dockerfile")),
            ("a", "${PWD}/b", Some("a/b")),
            ("", "/etc", None),
            ("", "${X}/b", None),
        ] {
            assert_eq!(inside(folder, path).as_deref(), want, "{folder} {path}");
        }
    }

    #[test]
    fn what_grows_without_end_is_cut() {
        let mut scope = Scope::default();
        scope.set("a", &"x".repeat(4_000));
        for _ in 0..20 {
            scope.set("a", "$a$a");
        }
        assert!(scope.expand(&"$a".repeat(300_000)).len() < TEXT_BYTES_MAX + 1_000_000);
        for n in 0..1_000 {
            scope.set(&format!("v{n}"), "x");
        }
        assert!(scope.values.len() <= VARIABLES_MAX);
    }
}
