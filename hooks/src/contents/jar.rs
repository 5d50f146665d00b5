//! What archives of Java say of what they are: Maven's properties, or else their manifest; and the archives in them. Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::found::{Package, Said};
use crate::limits::{FOUND_PACKAGES_MAX, JAR_ENTRIES_MAX, JAR_INNER_BYTES_MAX, LISTED_SMALL_BYTES_MAX};

/// What each entry of an archive's list begins with: so many are counted before the list is read into memory.
const ENTRY: &[u8] = b"PK\x01\x02";

/// Reads an archive, and those in it.
pub(super) fn read(bytes: Vec<u8>) -> Said {
    let mut left = JAR_INNER_BYTES_MAX;
    let mut said = Said::default();
    archive(bytes, true, &mut left, &mut said);
    said.packages.truncate(FOUND_PACKAGES_MAX);
    said
}

fn archive(bytes: Vec<u8>, outer: bool, left: &mut u64, said: &mut Said) {
    if entries(&bytes) > JAR_ENTRIES_MAX {
        said.unread = Some(format!("it has more than {JAR_ENTRIES_MAX} entries"));
        return;
    }
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else { return };
    let names: Vec<String> = archive.file_names().filter_map(Result::ok).map(Cow::into_owned).collect();
    let before = said.packages.len();
    for name in
        names.iter().filter(|name| name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties"))
    {
        let text = entry(&mut archive, name, LISTED_SMALL_BYTES_MAX, left);
        said.packages.extend(text.and_then(|text| maven(&String::from_utf8_lossy(&text))));
    }
    if said.packages.len() == before {
        let text = entry(&mut archive, "META-INF/MANIFEST.MF", LISTED_SMALL_BYTES_MAX, left);
        said.packages.extend(text.and_then(|text| manifest(&String::from_utf8_lossy(&text))));
    }
    let inner = |name: &&String| name.ends_with(".jar") || name.ends_with(".war");
    for name in names.iter().filter(inner).filter(|_| outer) {
        match entry(&mut archive, name, *left, left) {
            Some(bytes) => self::archive(bytes, false, left, said),
            None => said.unread = Some("the archives in it are too large".to_owned()),
        }
    }
}

fn entries(bytes: &[u8]) -> usize {
    bytes.windows(ENTRY.len()).filter(|window| *window == ENTRY).take(JAR_ENTRIES_MAX + 1).count()
}

/// An entry whole, if it has no more than `most` bytes, whatever it says itself.
fn entry(
    archive: &mut ZipArchive<Cursor<Vec<u8>>>,
    name: &str,
    most: u64,
    left: &mut u64,
) -> Option<Vec<u8>> {
    let most = most.min(*left);
    let file = archive.by_name(name).ok()?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).ok()?;
    let read = bytes.len() as u64;
    *left = left.saturating_sub(read);
    (read <= most).then_some(bytes)
}

/// `pom.properties`.
fn maven(text: &str) -> Option<Package> {
    let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let version = fields.get("version")?;
    Some(Package::new("maven", fields.get("artifactId")?, version)?.within(fields.get("groupId")?.trim()))
}

/// `MANIFEST.MF`, where somebody wrote there what it is.
fn manifest(text: &str) -> Option<Package> {
    // Long lines go on in the next, after a space.
    let text = text.replace("\r\n", "\n").replace("\n ", "");
    let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let bundle = fields.get("Bundle-SymbolicName").and_then(|name| name.split(';').next());
    let name = bundle.or(fields.get("Implementation-Title").copied())?;
    let version = fields.get("Bundle-Version").or(fields.get("Implementation-Version"))?;
    Package::new("maven", name, version)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn jar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default()).expect("an entry");
            writer.write_all(bytes).expect("written");
        }
        writer.finish().expect("an archive").into_inner()
    }

    fn names(said: &Said) -> Vec<String> {
        let of = |p: &Package| format!("{}/{}@{}", p.namespace.as_deref().unwrap_or(""), p.name, p.version);
        said.packages.iter().map(of).collect()
    }

    #[test]
    fn archives_and_those_in_them_say_what_they_are() {
        let pom: &[u8] = b"#made\nversion=1.2\ngroupId=org.ex\nartifactId=inner\n";
        let inner = jar(&[("META-INF/maven/org.ex/inner/pom.properties", pom)]);
        let plain: &[u8] =
            b"Manifest-Version: 1.0\r\nImplementation-Title: out\r\n er\r\nImplementation-Version: 3\r\n";
        let outer = jar(&[("META-INF/MANIFEST.MF", plain), ("BOOT-INF/lib/inner.jar", &inner)]);
        let said = read(outer.clone());
        assert_eq!(
            (names(&said), said.unread),
            (vec!["/outer@3".to_owned(), "org.ex/inner@1.2".to_owned()], None)
        );
        // One in one in one is not looked for.
        let third = jar(&[("a.jar", &outer)]);
        assert_eq!(names(&read(third)), ["/outer@3"]);
    }

    #[test]
    fn a_bomb_is_not_unpacked_and_nonsense_says_nothing() {
        let zeros = vec![0; usize::try_from(JAR_INNER_BYTES_MAX).expect("fits") + 1];
        let bomb = jar(&[("a.jar", &zeros), ("b.jar", b"x")]);
        assert!(bomb.len() < 1 << 20);
        let said = read(bomb);
        assert_eq!(
            (said.packages.len(), said.unread.as_deref()),
            (0, Some("the archives in it are too large"))
        );
        let many = ENTRY.repeat(JAR_ENTRIES_MAX + 1);
        assert!(read(many).unread.expect("told").contains("entries"));
        let whole = jar(&[("META-INF/MANIFEST.MF", b"Implementation-Title: a\nImplementation-Version: 1\n")]);
        for length in 0..whole.len() {
            assert!(read(whole[..length].to_vec()).packages.len() <= 1);
        }
    }
}
