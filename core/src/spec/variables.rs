//! What `[test]` gives to the environment: names of variables, and secrets of the repository.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::name::SecretName;

/// How variables begin that the server sets.
pub const OURS: &str = "SLIPWAY_";

/// Longest path of a file that a secret is given in, in bytes.
const PATH_BYTES_MAX: usize = 255;

/// One of `[test] secrets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSecret {
    /// Which secret of the repository.
    pub name: SecretName,
    /// Where the test finds it.
    pub place: SecretPlace,
}

/// Where a test finds a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretPlace {
    /// In a variable of its environment.
    Variable(String),
    /// In a file, by its absolute path.
    File(String),
}

impl SecretPlace {
    /// The variable's name, if it is one.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            Self::File(_) => None,
        }
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "the file {path}"),
        }
    }
}

/// Refuses what is no name of a variable (POSIX, "Environment Variables"), and the server's own.
pub(super) fn check_variable(name: &str) -> Result<(), String> {
    let shown: String = name.chars().take(40).collect();
    if !is_variable(name) {
        return Err(format!(
            "{shown:?} is no name of a variable; it has letters, digits and _, and no digit first"
        ));
    }
    if name.starts_with(OURS) || name == "CI" {
        return Err(format!("{shown} is set by the server"));
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check_path(path: &str) -> Result<(), String> {
    let whole = path.starts_with('/') && !path.ends_with('/') && path.len() <= PATH_BYTES_MAX;
    let odd = path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) || path.contains('\0');
    if whole && !odd { Ok(()) } else { Err(format!("{path:?} is no absolute path of a file")) }
}

/// The table form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: SecretName,
    #[serde(default)]
    env: Option<String>,
    #[serde(default)]
    file: Option<String>,
}

impl Table {
    fn secret(self) -> Result<TestSecret, String> {
        let Self { name, env, file } = self;
        let place = match (env, file) {
            (Some(_), Some(_)) => return Err(format!("the secret {name} has both env and file")),
            (None, Some(path)) => {
                check_path(&path)?;
                SecretPlace::File(path)
            }
            (env, None) => {
                let variable = env.unwrap_or_else(|| name.to_string());
                check_variable(&variable).map_err(|why| {
                    format!("{why}: say where the test finds it, {{ name = \"{name}\", env = \"…\" }}")
                })?;
                SecretPlace::Variable(variable)
            }
        };
        Ok(TestSecret { name, place })
    }
}

impl<'de> Deserialize<'de> for TestSecret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = Table;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret's name, or a table of one and where it is found")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Table, E> {
                let name = SecretName::parse(text).map_err(E::custom)?;
                Ok(Table { name, env: None, file: None })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Table, A::Error> {
                Table::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        from.deserialize_any(Either)?.secret().map_err(de::Error::custom)
    }
}
