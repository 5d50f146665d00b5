//! Image names that are not to be used, in all ways of writing them. Pure.

use crate::dockerfile::ANYTHING;

/// Names, each with what may stand in its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<Vec<char>>);

impl Names {
    /// `HOST[:PORT]/PATH` each; with a slash at its end all below it.
    pub(crate) fn new(images: &[String]) -> Self {
        let written = images.iter().flat_map(|image| {
            let (host, path) = image.split_once('/').unwrap_or(("docker.io", image));
            hosts(&host.to_ascii_lowercase()).into_iter().flat_map(move |host| {
                let name = if host.is_empty() { path.to_owned() } else { format!("{host}/{path}") };
                let ends = match name.ends_with('/') {
                    true => vec![ANYTHING.to_string()],
                    // By itself, with a tag, with a digest.
                    false => vec![String::new(), format!(":{ANYTHING}"), format!("@{ANYTHING}")],
                };
                ends.into_iter().map(move |end| format!("{name}{end}").chars().collect())
            })
        });
        Self(written.collect())
    }

    /// True if the text is one of them, or may be where it holds [`ANYTHING`].
    pub(crate) fn has(&self, image: &str) -> bool {
        let image = image.strip_prefix("docker-image://").unwrap_or(image);
        let lower: Vec<char> = match image.split_once('/') {
            Some((host, path)) => {
                host.to_ascii_lowercase().chars().chain(['/']).chain(path.chars()).collect()
            }
            None => image.chars().collect(),
        };
        self.0.iter().any(|name| meet(&lower, name))
    }
}

/// The ways to write a host: this machine has many names, Docker's own registry may be left out.
fn hosts(host: &str) -> Vec<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, format!(":{port}")),
        _ => (host, String::new()),
    };
    if name == "localhost" || name == "[::1]" || name.starts_with("127.") {
        return [
            "localhost".to_owned(),
            "[::1]".to_owned(),
            format!("127.{ANYTHING}"),
            format!("localhost.{ANYTHING}"),
        ]
        .map(|name| format!("{name}{port}"))
        .to_vec();
    }
    if matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        return ["", "docker.io", "index.docker.io", "registry-1.docker.io"].map(str::to_owned).to_vec();
    }
    vec![host.to_owned()]
}

/// True if there is a text that both stand for; [`ANYTHING`] in either stands for any.
fn meet(one: &[char], other: &[char]) -> bool {
    // Row by row: which beginnings of `other` the beginning of `one` can meet.
    let mut row = vec![false; other.len() + 1];
    row[0] = true;
    for (j, c) in other.iter().enumerate() {
        row[j + 1] = row[j] && *c == ANYTHING;
    }
    for a in one {
        let mut next = vec![false; other.len() + 1];
        next[0] = row[0] && *a == ANYTHING;
        for (j, b) in other.iter().enumerate() {
            next[j + 1] = match (*a == ANYTHING, *b == ANYTHING) {
                (false, false) => row[j] && a == b,
                _ => row[j] || row[j + 1] && (*a == ANYTHING || *b == ANYTHING) || next[j],
            };
        }
        row = next;
    }
    row.last().copied().unwrap_or(false)
}
