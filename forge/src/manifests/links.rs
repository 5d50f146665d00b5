//! Where a symbolic link of a commit leads, by its text alone. Pure.

/// The path that the link at `at` leads to; `None` if that is not in the commit.
pub(super) fn resolve(at: &str, target: &str) -> Option<String> {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = at.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn a_link_leads_within_the_commit_or_nowhere() {
        for (at, target, want) in [
            ("apps/a.yaml", "../base/b.yaml", Some("base/b.yaml")),
            ("a.yaml", "./x//y.yaml", Some("x/y.yaml")),
            ("apps/self", ".", Some("apps")),
            ("apps/root", "..", Some("")),
            ("apps/out", "../../etc", None),
            ("out", "..", None),
            ("abs", "/etc/passwd", None),
            ("empty", "", None),
        ] {
            assert_eq!(resolve(at, target).as_deref(), want, "{at} -> {target}");
        }
    }
}
