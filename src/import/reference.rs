//! Names of images as pipelines write them: registry, path and tag.

use serde::Serialize;

/// `HOST/PATH:TAG`, variables still in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) tag: Option<String>,
}

/// Words in the names of variables that hold a registry's host.
const HOSTS: [&str; 5] = ["REGISTRY", "ECR", "REPO_URL", "HOST", "ACCOUNT"];
/// Words in the names of variables that hold a host and a path.
const WHOLE: [&str; 4] = ["REGISTRY_IMAGE", "REPOSITORY_URI", "REPO_URI", "IMAGE_URI"];

impl Reference {
    pub(super) fn read(text: &str) -> Self {
        let text = text.trim().trim_start_matches("https://").trim_start_matches("http://");
        let (name, _) = text.split_once('@').unwrap_or((text, ""));
        let (name, tag) = match colon_of_tag(name) {
            Some(at) => (&name[..at], Some(name[at + 1..].to_owned())),
            None => (name, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (Some(first.to_owned()), rest.to_owned()),
            _ => (None, name.to_owned()),
        };
        Self { host, path, tag }
    }

    /// Host and path, without the tag.
    pub(super) fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("{host}/{}", self.path),
            None => self.path.clone(),
        }
    }

    /// The tag; `latest` where none is written.
    pub(super) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
}

/// The colon before the tag: the last one outside of braces and after the last slash.
fn colon_of_tag(name: &str) -> Option<usize> {
    let (mut depth, mut colon) = (0_usize, None);
    for (at, c) in name.char_indices() {
        match c {
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            '/' if depth == 0 => colon = None,
            ':' if depth == 0 => colon = Some(at),
            _ => {}
        }
    }
    colon
}

fn is_host(first: &str) -> bool {
    let variable = first.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    match variable {
        Some(name) => {
            let upper = name.to_ascii_uppercase();
            HOSTS.iter().any(|word| upper.contains(word))
        }
        None => first.contains(['.', ':']) || first == "localhost",
    }
}

/// A registry, as `slipway registry add` wants to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Registry {
    /// What to call it.
    pub(super) name: String,
    /// Where it is; words in capitals are to be filled in.
    pub(super) url: String,
    pub(super) kind: &'static str,
    pub(super) region: Option<String>,
    /// The image's path in it; nothing where the file does not say.
    pub(super) image: Option<String>,
}

impl Registry {
    /// The registry that an image went to, and `region` where something else said it.
    pub(super) fn of(reference: &Reference, region: Option<&str>) -> Self {
        let host = reference.host.as_deref().unwrap_or_default();
        let (mut url, mut path) = (capitals(host), reference.path.clone());
        let upper = path.to_ascii_uppercase();
        if host.is_empty() && path.starts_with("${") && WHOLE.iter().any(|word| upper.contains(word)) {
            url = whole(&upper).into();
            path = String::new();
        }
        let ecr = url.contains(".dkr.ecr.")
            || url.contains("ECR")
            || region.is_some() && !url.contains('.') && !url.is_empty();
        if ecr && !url.contains(".dkr.ecr.") {
            url = "ACCOUNT.dkr.ecr.REGION.amazonaws.com".into();
        }
        if let Some(region) = region {
            url = url.replace("REGION", region);
        }
        let image = (!path.is_empty() && !path.contains('$')).then(|| path.to_lowercase());
        if ecr {
            let region = url.split(".dkr.ecr.").nth(1).and_then(|rest| rest.split('.').next());
            let region = region.map(str::to_owned);
            return Self { name: "ecr".into(), url, kind: "ecr", region, image };
        }
        let (name, url) = match url.as_str() {
            "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => ("hub", "docker.io".to_owned()),
            "HOST" => ("registry", url),
            url if url.starts_with("registry.gitlab") => ("gitlab", url.to_owned()),
            "ghcr.io" => ("ghcr", url),
            _ => ("registry", url),
        };
        Self { name: name.into(), url, kind: "generic", region: None, image }
    }
}

fn whole(upper: &str) -> &'static str {
    if upper.contains("CI_REGISTRY_IMAGE") { "HOST" } else { "ACCOUNT.dkr.ecr.REGION.amazonaws.com" }
}

/// A host with words to fill in for what is not known of it.
fn capitals(host: &str) -> String {
    let (mut out, mut rest) = (String::new(), host);
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('}').map_or(rest.len(), |end| at + end + 1);
        let name = rest[at..end].to_ascii_uppercase();
        out.push_str(match name.as_str() {
            n if n.contains("REGION") => "REGION",
            n if n.contains("ECR") => "ECR",
            n if n.contains("ACCOUNT") || rest[end..].starts_with(".dkr.ecr.") => "ACCOUNT",
            _ => "HOST",
        });
        rest = &rest[end..];
    }
    out.push_str(rest);
    if let Some(at) = out.find(".dkr.ecr.").filter(|_| out.starts_with("$(")) {
        out.replace_range(..at, "ACCOUNT");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, String, Option<String>) {
        let read = Reference::read(text);
        (read.host, read.path, read.tag)
    }

    #[test]
    fn references_are_taken_apart() {
        for (text, host, path, tag) in [
            ("app", None, "app", None),
            ("org/app:1", None, "org/app", Some("1")),
            ("localhost:5000/a/b", Some("localhost:5000"), "a/b", None),
            ("r.example:5000/a:${X:-y}", Some("r.example:5000"), "a", Some("${X:-y}")),
            ("${ECR_REGISTRY}/app:${BUILD_NUMBER}", Some("${ECR_REGISTRY}"), "app", Some("${BUILD_NUMBER}")),
            ("${CI_REGISTRY_IMAGE}:x", None, "${CI_REGISTRY_IMAGE}", Some("x")),
            ("a@sha256:00", None, "a", None),
            ("", None, "", None),
        ] {
            assert_eq!(
                parts(text),
                (host.map(str::to_owned), path.to_owned(), tag.map(str::to_owned)),
                "{text}"
            );
        }
    }

    #[test]
    fn registries_are_known_by_their_hosts() {
        let of = |text: &str, region| Registry::of(&Reference::read(text), region);
        let ecr = of("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1", None);
        assert_eq!((ecr.name.as_str(), ecr.region.as_deref()), ("ecr", Some("eu-west-1")));
        assert_eq!(ecr.image.as_deref(), Some("team/app"));
        let open = of("${AWS_ACCOUNT_ID}.dkr.ecr.${AWS_REGION}.amazonaws.com/app", Some("us-east-1"));
        assert_eq!(open.url, "ACCOUNT.dkr.ecr.us-east-1.amazonaws.com");
        assert_eq!(of("org/app", None).url, "docker.io");
        assert_eq!(of("${CI_REGISTRY_IMAGE}", None).url, "HOST");
        assert_eq!(
            of("${REPOSITORY_URI}", Some("eu-north-1")).url,
            "ACCOUNT.dkr.ecr.eu-north-1.amazonaws.com"
        );
    }
}
