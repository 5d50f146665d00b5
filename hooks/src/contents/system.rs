//! What package managers write down of what is installed: Debian's, Alpine's, Python's. Pure.
//!
//! All are fields in lines, `NAME: value`, in groups that an empty line ends; Alpine's names are one letter.

use std::collections::HashMap;

use super::found::{Package, System};
use crate::limits::FOUND_PACKAGES_MAX;

/// The groups of fields, without lines that go on with the one before.
fn groups(text: &str) -> impl Iterator<Item = HashMap<&str, &str>> {
    text.split("\n\n").take(FOUND_PACKAGES_MAX).map(|group| {
        let mut fields = HashMap::new();
        for line in group.lines().filter(|line| !line.starts_with([' ', '\t'])) {
            if let Some((name, value)) = line.split_once(':') {
                fields.entry(name).or_insert(value.trim());
            }
        }
        fields
    })
}

/// `/var/lib/dpkg/status`, and the same by packages as images without dpkg have it.
pub(super) fn dpkg(text: &str) -> Vec<Package> {
    let one = |fields: HashMap<&str, &str>| {
        // Removed packages whose settings are kept are there, too.
        if fields.get("Status").is_some_and(|status| !status.ends_with(" installed")) {
            return None;
        }
        let made = Package::new("deb", fields.get("Package")?, fields.get("Version")?)?;
        Some(Package { arch: fields.get("Architecture").map(|&arch| arch.to_owned()), ..made })
    };
    groups(text).filter_map(one).collect()
}

/// `/lib/apk/db/installed`.
pub(super) fn apk(text: &str) -> Vec<Package> {
    let one = |fields: HashMap<&str, &str>| {
        let made = Package::new("apk", fields.get("P")?, fields.get("V")?)?;
        Some(Package { arch: fields.get("A").map(|&arch| arch.to_owned()), ..made })
    };
    groups(text).filter_map(one).collect()
}

/// `METADATA` and `PKG-INFO` of an installed distribution: the first group alone is fields.
pub(super) fn python(text: &str) -> Option<Package> {
    let text = text.replace("\r\n", "\n");
    let fields = groups(&text).next()?;
    // Names that differ in case and separators are one (PEP 503).
    let name = fields.get("Name")?.to_ascii_lowercase().replace(['_', '.'], "-");
    Package::new("pypi", &name, fields.get("Version")?)
}

/// `/etc/os-release`.
pub(super) fn release(text: &str) -> Option<System> {
    let mut fields = HashMap::new();
    for line in text.lines() {
        if let Some((name, value)) = line.split_once('=') {
            fields.entry(name.trim()).or_insert(value.trim().trim_matches(['"', '\'']));
        }
    }
    let of = |name: &str| fields.get(name).copied().unwrap_or_default();
    // The same rule as for packages.
    let made = Package::new("generic", of("ID"), of("VERSION_ID"))?;
    let title = Package::new("generic", of("PRETTY_NAME"), "").map(|p| p.name).unwrap_or_default();
    Some(System { id: made.name, version: made.version, title })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[Package]) -> Vec<String> {
        all.iter().map(|p| format!("{}@{} {}", p.name, p.version, p.arch.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn what_is_installed_is_listed_and_what_was_removed_is_not() {
        let status = "Package: base-files\nStatus: install ok installed\nVersion: 12.4\nArchitecture: amd64\nDescription: Debian\n base\n  Version: 9\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: tzdata\nVersion: 2026a-1\n";
        assert_eq!(names(&dpkg(status)), ["base-files@12.4 amd64", "tzdata@2026a-1 -"]);
        let installed =
            "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\nR:ld-musl\n\nP:busybox\nV:1.36-r1\nA:x86_64\n";
        assert_eq!(names(&apk(installed)), ["musl@1.2.5-r0 x86_64", "busybox@1.36-r1 x86_64"]);
        assert!(dpkg("nonsense").is_empty() && apk("\n\n\n:\n").is_empty());
        let many = "P:a\nV:1\n\n".repeat(FOUND_PACKAGES_MAX + 10);
        assert_eq!(apk(&many).len(), FOUND_PACKAGES_MAX);
    }

    #[test]
    fn distributions_and_systems_are_named() {
        let text =
            "Metadata-Version: 2.1\r\nName: Typing_Extensions\r\nVersion: 4.9.0\r\n\r\nName: other\r\n";
        assert_eq!(names(python(text).as_slice()), ["typing-extensions@4.9.0 -"]);
        assert!(python("").is_none() && python("Name: x\n").is_none());
        let system =
            release("PRETTY_NAME=\"Alpine Linux v3.20\"\nID=alpine\nVERSION_ID='3.20.1'\n").expect("one");
        assert_eq!(
            (&*system.id, &*system.version, &*system.title),
            ("alpine", "3.20.1", "Alpine Linux v3.20")
        );
        assert!(release("# nothing").is_none());
    }
}
