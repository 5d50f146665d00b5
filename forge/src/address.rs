//! Addresses, image paths, folders and namespaces as people type them, checked before anything relies on them.

use slipway_core::{Problem, RepoName};

use crate::limits::ADDRESS_BYTES_MAX;
use crate::refusal::invalid;

/// `HOST[:PORT][/PREFIX]` as host and prefix.
pub(crate) fn read_address(raw: &str) -> Result<(String, String), Problem> {
    let bad = |why: &str| {
        let shown: String = raw.chars().take(80).collect();
        invalid(
            format!("{shown:?} is not a registry's address: {why}."),
            "Give HOST, HOST:PORT or HOST:PORT/PREFIX, such as registry.example.com/team; use insecure for plain HTTP.",
        )
    };
    let raw = raw.trim().trim_end_matches('/');
    if raw.contains("://") {
        return Err(bad("it has a scheme"));
    }
    if raw.len() > ADDRESS_BYTES_MAX {
        return Err(bad("it is too long"));
    }
    let (host, prefix) = raw.split_once('/').unwrap_or((raw, ""));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let named = !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let bracketed = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let address = bracketed.is_some_and(|n| n.parse::<std::net::Ipv6Addr>().is_ok());
    if !named && !address {
        return Err(bad("its host cannot be"));
    }
    if port.is_some_and(|p| {
        !p.bytes().all(|b| b.is_ascii_digit())
            || p.parse::<u16>().is_ok_and(|n| n == 0)
            || p.parse::<u16>().is_err()
    }) {
        return Err(bad("its port cannot be"));
    }
    if !prefix.is_empty() && !prefix.split('/').all(is_image_part) {
        return Err(bad("its prefix cannot be part of an image's name"));
    }
    Ok((host.to_owned(), prefix.to_owned()))
}

/// One component of an image's path: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (OCI distribution spec, "Pulling manifests").
pub(crate) fn is_image_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
    let joints = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && joints
        .filter(|j| !j.is_empty())
        .all(|j| matches!(j, "." | "_" | "__") || j.bytes().all(|b| b == b'-'))
}

/// A repository's name as an image path: lower case, and what no image may have becomes a dash.
pub(crate) fn default_image(name: &RepoName) -> String {
    let lower = name.as_str().to_ascii_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    if is_image_part(&lower) { lower } else { words.join("-") }
}

/// A folder below the repository's root; `.` is the root.
pub(crate) fn read_folder(raw: &str) -> Result<String, Problem> {
    let path = raw.trim_start_matches("./").trim_end_matches('/');
    let path = if path.is_empty() { "." } else { path };
    let fits = path == "." && !raw.starts_with('/')
        || (path.len() <= 4 * ADDRESS_BYTES_MAX
            && path.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git"))
            && !path.chars().any(char::is_control));
    if fits {
        return Ok(path.to_owned());
    }
    Err(invalid(
        format!("{:?} is not a folder of a repository.", raw.chars().take(80).collect::<String>()),
        "Give a path from the repository's root, such as deploy/prod, or . for all of it.",
    ))
}

pub(crate) fn is_dns_label(raw: &str) -> bool {
    let ends = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = raw.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| ends(b) || *b == b'-')
        && bytes.first().is_some_and(ends)
        && bytes.last().is_some_and(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_registries() {
        for (raw, host, prefix) in [
            ("127.0.0.1:5000", "127.0.0.1:5000", ""),
            ("registry.example.com/team/a/", "registry.example.com", "team/a"),
            ("[::1]:5000/x", "[::1]:5000", "x"),
            ("[::1]", "[::1]", ""),
        ] {
            let read = read_address(raw).map_err(|p| p.what);
            assert_eq!(read, Ok((host.to_owned(), prefix.to_owned())), "{raw}");
        }
        for bad in
            ["", "http://x", "x:0", "x:70000", "x:", "a b", "x/UPPER", "x//y", "u@x", "-x", "[::g]", "x?y"]
        {
            assert!(read_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn image_paths_follow_the_distribution_spec() {
        for good in ["app", "a.b", "a__b", "a---b", "0"] {
            assert!(is_image_part(good), "{good}");
        }
        for bad in ["", "A", ".a", "a.", "a..b", "a___b", "a.-b", "a b"] {
            assert!(!is_image_part(bad), "{bad}");
        }
        for (name, image) in [("AppCodeRepo", "appcoderepo"), ("a..b", "a-b"), ("x_", "x")] {
            assert_eq!(default_image(&RepoName::parse(name).expect("valid")), image);
        }
    }

    #[test]
    fn folders_cannot_leave_the_repository() {
        for (raw, path) in [(".", "."), ("./", "."), ("./a/b/", "a/b"), ("a", "a")] {
            assert_eq!(read_folder(raw).map_err(|p| p.what), Ok(path.to_owned()), "{raw}");
        }
        for bad in ["/", "/etc", "..", "a/../b", "a//b", "a\0b", ".git/x"] {
            assert!(read_folder(bad).is_err(), "{bad:?}");
        }
    }
}
