//! Which files of a layer tell of packages, and what each of them says. Pure: a name and bytes in, packages out.

use std::io::{self, Read};

use super::{binary, jar, system};
use crate::limits::{FOUND_NAME_CHARS_MAX, LISTED_FILE_BYTES_MAX, LISTED_SMALL_BYTES_MAX};

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    /// Which kind, as package URLs name it: `deb`, `apk`, `pypi`, …
    pub(super) kind: &'static str,
    /// What its name belongs to, where the kind has such a thing.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) version: String,
    /// For which processor.
    pub(super) arch: Option<String>,
}

impl Package {
    /// Nothing without a name, and nothing with one that nobody would give.
    pub(super) fn new(kind: &'static str, name: &str, version: &str) -> Option<Self> {
        let (name, version) = (name.trim(), version.trim());
        let fits =
            |text: &str| text.chars().count() <= FOUND_NAME_CHARS_MAX && !text.chars().any(char::is_control);
        (!name.is_empty() && fits(name) && fits(version)).then(|| Self {
            kind,
            namespace: None,
            name: name.to_owned(),
            version: version.to_owned(),
            arch: None,
        })
    }

    pub(super) fn within(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()).filter(|n| !n.is_empty()), ..self }
    }
}

/// The distribution, by its os-release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct System {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) title: String,
}

/// What one file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) packages: Vec<Package>,
    pub(super) system: Option<System>,
    /// Why it was not read, where it should have been: a clause.
    pub(super) unread: Option<String>,
}

impl Said {
    fn unread(why: impl Into<String>) -> Self {
        Self { unread: Some(why.into()), ..Self::default() }
    }

    pub(super) fn of(packages: Vec<Package>) -> Self {
        Self { packages, ..Self::default() }
    }
}

/// What a file is to be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Dpkg,
    Apk,
    Rpm,
    System,
    Python,
    Node,
    Jar,
    Program,
}

/// What the file of that path (without a slash before it) is read as, if it is; `runs` where it may be executed.
pub(super) fn look(path: &str, runs: bool, size: u64) -> Option<Look> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match (folder, name) {
        ("var/lib/dpkg", "status") => Some(Look::Dpkg),
        ("var/lib/dpkg/status.d", name) if !name.ends_with(".md5sums") => Some(Look::Dpkg),
        ("lib/apk/db" | "usr/lib/apk/db", "installed") => Some(Look::Apk),
        ("var/lib/rpm" | "usr/lib/sysimage/rpm", "Packages" | "Packages.db" | "rpmdb.sqlite") => {
            Some(Look::Rpm)
        }
        ("etc" | "usr/lib", "os-release") => Some(Look::System),
        (folder, "METADATA") if folder.ends_with(".dist-info") => Some(Look::Python),
        (folder, "PKG-INFO") if folder.ends_with(".egg-info") => Some(Look::Python),
        (_, name) if name.ends_with(".egg-info") => Some(Look::Python),
        (folder, "package.json") if is_module(folder) => Some(Look::Node),
        (_, name) if [".jar", ".war", ".ear"].iter().any(|end| name.ends_with(end)) => Some(Look::Jar),
        _ => (runs && size >= binary::BYTES_MIN).then_some(Look::Program),
    }
}

/// True for `…/node_modules/NAME` and `…/node_modules/@SCOPE/NAME`.
fn is_module(folder: &str) -> bool {
    let mut parts = folder.rsplit('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some("node_modules"), _) => !name.starts_with('@'),
        (Some(_), Some(scope), Some("node_modules")) => scope.starts_with('@'),
        _ => false,
    }
}

/// Reads a file. `size` is what the layer says that it has.
///
/// # Errors
/// Of the layer.
pub(super) fn read(look: Look, size: u64, file: &mut impl Read) -> io::Result<Said> {
    let most = match look {
        Look::Rpm => return Ok(Said::unread("it is a database of RPM, which is not read")),
        Look::Program => return binary::read(size, file),
        Look::Dpkg | Look::Apk | Look::Jar => LISTED_FILE_BYTES_MAX,
        Look::System | Look::Python | Look::Node => LISTED_SMALL_BYTES_MAX,
    };
    if size > most {
        return Ok(Said::unread(format!("it has more than {most} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    if look == Look::Jar {
        return Ok(jar::read(bytes));
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(match look {
        Look::Dpkg => Said::of(system::dpkg(&text)),
        Look::Apk => Said::of(system::apk(&text)),
        Look::System => Said { system: system::release(&text), ..Said::default() },
        Look::Python => Said::of(system::python(&text).into_iter().collect()),
        _ => Said::of(node(&text).into_iter().collect()),
    })
}

/// `package.json` of an installed module.
fn node(text: &str) -> Option<Package> {
    #[derive(serde::Deserialize)]
    struct Module {
        name: String,
        version: String,
    }
    let Module { name, version } = serde_json::from_str(text).ok()?;
    match name.split_once('/') {
        Some((scope, rest)) if scope.starts_with('@') => {
            Some(Package::new("npm", rest, &version)?.within(scope))
        }
        Some(_) => None,
        None => Package::new("npm", &name, &version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_places() {
        for (path, want) in [
            ("var/lib/dpkg/status", Some(Look::Dpkg)),
            ("var/lib/dpkg/status.d/base", Some(Look::Dpkg)),
            ("var/lib/dpkg/status.d/base.md5sums", None),
            ("app/var/lib/dpkg/status", None),
            ("lib/apk/db/installed", Some(Look::Apk)),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", Some(Look::Rpm)),
            ("usr/lib/python3/dist-packages/x-1.dist-info/METADATA", Some(Look::Python)),
            ("app/METADATA", None),
            ("app/node_modules/left-pad/package.json", Some(Look::Node)),
            ("app/node_modules/@a/b/package.json", Some(Look::Node)),
            ("app/node_modules/a/lib/package.json", None),
            ("app/package.json", None),
            ("opt/app.jar", Some(Look::Jar)),
        ] {
            assert_eq!(look(path, false, 1 << 20), want, "{path}");
        }
        assert_eq!(look("usr/bin/app", true, 1 << 20), Some(Look::Program));
        assert_eq!(look("usr/bin/app", true, 10), None);
    }

    #[test]
    fn what_a_module_says_is_a_package_or_nothing() {
        let of = |text: &str| node(text).map(|p| (p.namespace.unwrap_or_default(), p.name, p.version));
        let is = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(of(r#"{"name":"left-pad","version":"1.3.0","x":[1]}"#), is("", "left-pad", "1.3.0"));
        assert_eq!(of(r#"{"name":"@a/b","version":"2"}"#), is("@a", "b", "2"));
        let long = format!(r#"{{"name":"{}","version":"1"}}"#, "x".repeat(10_000));
        for nonsense in
            ["", "[", "{}", r#"{"name":1,"version":"1"}"#, &long, r#"{"name":"a\u0007","version":"1"}"#]
        {
            assert_eq!(of(nonsense), None, "{nonsense:.40}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(of(&deep), None);
    }
}
