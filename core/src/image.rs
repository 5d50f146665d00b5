//! Names of images: what of them is the name, and what says which. Pure.

/// A name and its digest, or its tag (`latest` where none is said).
pub fn split(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
        return (name, digest);
    }
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}

/// A name as engines and clusters fill it up: `nginx` is `docker.io/library/nginx`.
pub fn whole_name(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// True if a name is `beginning`, or lies below it.
pub fn is_below(name: &str, beginning: &str) -> bool {
    let beginning = beginning.trim_end_matches('/');
    !beginning.is_empty()
        && name.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_no_port() {
        for (image, name, tag) in [
            ("docker.io/library/alpine:3.20", "docker.io/library/alpine", "3.20"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a", "latest"),
            ("127.0.0.1:5000/a:1", "127.0.0.1:5000/a", "1"),
            ("h/a:1@sha256:00", "h/a", "sha256:00"),
            ("h/a@sha256:00", "h/a", "sha256:00"),
        ] {
            assert_eq!(split(image), (name, tag), "{image}");
        }
    }

    #[test]
    fn names_are_filled_up_and_beginnings_end_at_slashes() {
        for (name, whole) in [
            ("nginx", "docker.io/library/nginx"),
            ("bitnami/redis", "docker.io/bitnami/redis"),
            ("localhost/a", "localhost/a"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a"),
            ("ghcr.io/a/b", "ghcr.io/a/b"),
        ] {
            assert_eq!(whole_name(name), whole);
        }
        assert!(is_below("r.io/team/app", "r.io/team") && is_below("r.io/team", "r.io/team/"));
        assert!(
            !is_below("r.io/team-b/app", "r.io/team") && !is_below("r.io/a", "") && !is_below("r.io/a", "/")
        );
    }
}
