//! The list of an image's contents as a document: CycloneDX 1.5 in JSON (<https://cyclonedx.org/docs/1.5/json/>). Pure.
//!
//! The same image gives the same bytes: there is no time and no number of the document's own in it.

use std::str::FromStr;

use packageurl::PackageUrl;
use serde_json::{Value, json};
use slipway_core::Digest;
use slipway_core::build::{Contents, PushedImage};

use super::found::{Package, System};
use super::merge::Merged;
use crate::limits::FOUND_PLACES_MAX;

/// The property that says what was not read.
const NOT_READ: &str = "slipway:not-read";

/// The document.
pub(super) fn document(image: &PushedImage, merged: Merged) -> Value {
    let system = merged.system();
    let mut components: Vec<Value> = system.map(of_system).into_iter().collect();
    components
        .extend(merged.packages().into_iter().map(|(package, paths)| component(package, &paths, system)));
    let not_read: Vec<Value> =
        merged.notes().iter().map(|note| json!({"name": NOT_READ, "value": note})).collect();
    let (name, digest) = (&image.name, &image.digest);
    let mut metadata = json!({
        "component": {"type": "container", "bom-ref": format!("{name}@{digest}"), "name": name, "version": digest.as_str()},
        "tools": {"components": [{"type": "application", "name": "slipway"}]},
    });
    if !not_read.is_empty() {
        metadata["properties"] = Value::Array(not_read);
    }
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": metadata,
        "components": components,
    })
}

/// What a document comes to.
pub(super) fn summed(document: &Value) -> Contents {
    let components = document["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let packages = components.iter().filter(|one| one["type"] == "library").count() as u64;
    let properties = document["metadata"]["properties"].as_array().map(Vec::as_slice).unwrap_or_default();
    Contents { packages, partial: properties.iter().any(|one| one["name"] == NOT_READ) }
}

fn of_system(system: &System) -> Value {
    let mut told = json!({
        "type": "operating-system", "bom-ref": format!("os:{}@{}", system.id, system.version),
        "name": system.id, "version": system.version,
    });
    if !system.title.is_empty() {
        told["description"] = json!(system.title);
    }
    told
}

fn component(package: &Package, paths: &[&str], system: Option<&System>) -> Value {
    let url = url(package, system);
    let name = match (&package.namespace, package.kind) {
        (Some(namespace), "npm" | "golang") => format!("{namespace}/{}", package.name),
        _ => package.name.clone(),
    };
    // What cannot be written as an address still has a name of its own.
    let fallback = || format!("{}:{name}@{}", package.kind, package.version);
    let mut told = json!({
        "type": "library",
        "bom-ref": url.clone().unwrap_or_else(fallback),
        "name": name,
        "version": package.version,
        "evidence": {
            "occurrences": paths.iter().take(FOUND_PLACES_MAX).map(|path| json!({"location": path})).collect::<Vec<_>>(),
        },
    });
    if let (Some(namespace), "maven") = (&package.namespace, package.kind) {
        told["group"] = json!(namespace);
    }
    if let Some(url) = url {
        told["purl"] = json!(url);
    }
    told
}

/// The package's address, as other tools look it up in lists of what is known to be wrong.
fn url(package: &Package, system: Option<&System>) -> Option<String> {
    let mut url = PackageUrl::new(package.kind, package.name.as_str()).ok()?;
    let of_system = matches!(package.kind, "deb" | "apk");
    let default = if package.kind == "deb" { "debian" } else { "alpine" };
    let namespace = match of_system {
        true => Some(system.map_or(default, |system| &system.id)),
        false => package.namespace.as_deref(),
    };
    if let Some(namespace) = namespace {
        url.with_namespace(namespace).ok()?;
    }
    if !package.version.is_empty() {
        url.with_version(package.version.as_str()).ok()?;
    }
    if let Some(arch) = &package.arch {
        url.add_qualifier("arch", arch.as_str()).ok()?;
    }
    if let (true, Some(system)) = (of_system && system.is_some_and(|s| !s.version.is_empty()), system) {
        url.add_qualifier("distro", format!("{}-{}", system.id, system.version)).ok()?;
    }
    let text = url.to_string();
    PackageUrl::from_str(&text).ok().map(|_| text)
}

/// The layers of an image's manifest, the lowest first.
pub(super) fn layers(manifest: &[u8]) -> Vec<Digest> {
    let read = serde_json::from_slice::<Value>(manifest).unwrap_or_default();
    let all = read["layers"].as_array().into_iter().flatten();
    all.filter_map(|one| Digest::parse(one["digest"].as_str()?).ok()).collect()
}

/// Which of the images of a list is read: the first that is one for a platform. `None` where the manifest is no list.
pub(super) fn one_of_index(manifest: &[u8]) -> Option<Digest> {
    let read = serde_json::from_slice::<Value>(manifest).ok()?;
    let all = read["manifests"].as_array()?;
    let is_image = |one: &&Value| one["platform"]["os"].as_str().is_none_or(|os| os != "unknown");
    Digest::parse(all.iter().find(is_image)?["digest"].as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::layer::tests::{archive, layer};
    use super::*;

    #[test]
    fn packages_have_the_addresses_by_which_others_know_them() {
        let mut merged = Merged::default();
        merged.lay(
            &Digest::none(),
            &layer(&archive(&[
                ("etc/os-release", 0o644, b"ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian 12\"\n"),
                (
                    "var/lib/dpkg/status",
                    0o644,
                    b"Package: libc6\nVersion: 2.36-9+deb12u1\nArchitecture: amd64\n",
                ),
                ("app/node_modules/@a/b/package.json", 0o644, br#"{"name":"@a/b","version":"1.0.0"}"#),
                ("app/x.dist-info/METADATA", 0o644, b"Name: X_y\nVersion: 2\n"),
                ("var/lib/rpm/rpmdb.sqlite", 0o644, b"SQLite"),
            ])),
        );
        let image = PushedImage { name: "r/app".into(), tags: Vec::new(), digest: Digest::none() };
        let told = document(&image, merged);
        let urls: Vec<&str> = told["components"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|c| c["purl"].as_str())
            .collect();
        assert_eq!(
            urls,
            [
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12",
                "pkg:npm/%40a/b@1.0.0",
                "pkg:pypi/x-y@2",
            ]
        );
        assert_eq!(summed(&told), Contents { packages: 3, partial: true });
        let said = told["metadata"]["properties"][0]["value"].as_str().expect("a word");
        assert!(said.contains("var/lib/rpm/rpmdb.sqlite was not read: it is a database of RPM"), "{said}");
        assert_eq!(told["components"][0]["type"], "operating-system");
    }

    #[test]
    fn a_list_of_platforms_leads_to_an_image() {
        let digest = |c: &str| format!("sha256:{}", c.repeat(64));
        let list = json!({"manifests": [
            {"digest": digest("a"), "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": digest("b"), "platform": {"os": "linux", "architecture": "amd64"}},
        ]});
        assert_eq!(one_of_index(list.to_string().as_bytes()).map(String::from), Some(digest("b")));
        let image = json!({"layers": [{"digest": digest("c")}, {"digest": "nonsense"}]});
        assert_eq!(one_of_index(image.to_string().as_bytes()), None);
        assert_eq!(layers(image.to_string().as_bytes()).len(), 1);
    }
}
