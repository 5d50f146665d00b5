//! `[[engines]]` of config.toml: several engines that share the builds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use slipway_core::limits::ENGINES_MAX;
use slipway_core::place::Wrong;
use slipway_hooks::{Engine, Reach};

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineTable {
    /// What it is called in logs, figures and records.
    name: String,
    /// Its address, as in `docker_host`.
    host: String,
    /// How many builds it has at once; absent is its part of `builds_max`.
    slots: Option<u64>,
    /// Folder with its certificates.
    certs: Option<PathBuf>,
    /// Private key for SSH.
    ssh_key: Option<PathBuf>,
    /// Known host keys for SSH.
    known_hosts: Option<PathBuf>,
}

/// What one alone is called.
const ALONE: &str = "engine";

/// Each engine's name, how it is reached, and how many builds it has at once.
pub(super) fn all(
    tables: &[EngineTable],
    docker_host: Option<&str>,
    builds_max: u64,
) -> Vec<(String, Reach, u64)> {
    if tables.is_empty() {
        let reach = Reach { host: docker_host.map(str::to_owned), ..Reach::default() };
        return vec![(ALONE.to_owned(), reach, builds_max)];
    }
    let part = builds_max.div_ceil(tables.len() as u64).max(1);
    let one = |table: &EngineTable| {
        let reach = Reach {
            host: Some(table.host.clone()),
            certs: table.certs.clone(),
            ssh_key: table.ssh_key.clone(),
            known_hosts: table.known_hosts.clone(),
        };
        (table.name.clone(), reach, table.slots.unwrap_or(part))
    };
    tables.iter().map(one).collect()
}

/// Relative paths count from the configuration's folder.
pub(super) fn settle(tables: &mut [EngineTable], folder: &Path) {
    for table in tables {
        for path in [&mut table.certs, &mut table.ssh_key, &mut table.known_hosts].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

/// Looks whether they can be had.
///
/// # Errors
/// The first that is wrong.
pub(super) fn check(tables: &[EngineTable], docker_host: Option<&str>) -> Result<(), Wrong> {
    if !tables.is_empty() && docker_host.is_some() {
        return Err(Wrong::at("docker_host", "docker_host and [[engines]] cannot both be given").itself());
    }
    if tables.len() > ENGINES_MAX {
        return Err(Wrong::at("engines", format!("there are more than {ENGINES_MAX} [[engines]]")));
    }
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !name.is_empty() && name.len() <= 63 && name.chars().all(plain)
    };
    let mut names = BTreeSet::new();
    for (table, number) in tables.iter().zip(0..) {
        let wrong = |key: &str, what: String| Err(Wrong::at("engines", what).item(number).key(key));
        let name = &table.name;
        if !is_name(name) {
            let told = format!("{name:?} is no name: letters, digits, dots, dashes and underscores");
            return wrong("name", told);
        }
        if !names.insert(name) {
            return wrong("name", format!("there are two engines with the name {name:?}"));
        }
        if table.host.is_empty() {
            return wrong("host", format!("{name} has no host"));
        }
        if let Err(why) = Engine::check_address(&table.host) {
            return wrong("host", why);
        }
        if !table.slots.is_none_or(|slots| (1..=64).contains(&slots)) {
            return wrong("slots", format!("slots of {name} must lie from 1 to 64"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> Vec<EngineTable> {
        #[derive(Deserialize)]
        struct File {
            engines: Vec<EngineTable>,
        }
        toml::from_str::<File>(text).expect("valid").engines
    }

    #[test]
    fn one_alone_has_all_places_and_several_share_them() {
        let alone = all(&[], Some("unix:///x"), 4);
        assert_eq!((alone.len(), alone[0].0.as_str(), alone[0].2), (1, "engine", 4));
        let two = "[[engines]]\nname = \"a\"\nhost = \"unix:///a\"\n[[engines]]\nname = \"b\"\nhost = \"ssh://u@b\"\nslots = 9\n\
                   ssh_key = \"key\"\n";
        let mut two = tables(two);
        settle(&mut two, Path::new("/etc/slipway"));
        assert_eq!(check(&two, None), Ok(()));
        let two = all(&two, None, 3);
        assert_eq!((two[0].2, two[1].2), (2, 9));
        assert_eq!(two[1].1.ssh_key, Some(PathBuf::from("/etc/slipway/key")));
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let one = "[[engines]]\nname = \"a\"\nhost = \"unix:///a\"\n";
        assert!(check(&tables(one), Some("unix:///x")).is_err());
        for (text, said) in [
            (format!("{one}{one}"), "two engines with the name"),
            (one.replace("\"a\"", "\"a b\""), "is no name"),
            (one.replace("unix:///a", ""), "has no host"),
            (one.replace("unix:///a", "a"), "does not begin with"),
            (one.replace("unix:///a", "tcp://"), "names no host"),
            (format!("{one}slots = 0\n"), "slots of a"),
        ] {
            let told = check(&tables(&text), None).expect_err("refused");
            assert!(told.what.contains(said), "{text}: {told:?}");
        }
    }
}
