//! `[build] platforms`: for which machines an image is built.

use serde::Deserialize;

use crate::place::Wrong;

/// A platform as Docker names it: `linux/arm64`, or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Platform {
    /// Operating system, such as `linux`.
    pub os: String,
    /// Processor, such as `arm64`.
    pub architecture: String,
    /// Its variant, such as `v7`; empty is the usual one.
    pub variant: String,
}

impl TryFrom<String> for Platform {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |word: &&str| {
            (1..=32).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] if is_word(&variant) => (os, architecture, variant),
            _ => return Err(format!("{text:?} is no platform such as linux/amd64 or linux/arm/v7")),
        };
        if ![os, architecture].iter().all(is_word) {
            return Err(format!("{text:?} is no platform such as linux/amd64 or linux/arm/v7"));
        }
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.into() })
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// What is wrong with a list of them, if anything is.
pub(super) fn check(platforms: &[Platform]) -> Result<(), Wrong> {
    if platforms.len() > 1 {
        let why = "build.platforms has more than one: an engine makes an image for one at a time, which is no index of several; \
                   name one, or have an [[image]] for each";
        return Err(Wrong::at("build.platforms", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::spec::Spec;

    #[test]
    fn a_platform_is_named_as_docker_names_it() {
        for good in ["linux/amd64", "linux/arm/v7"] {
            let spec = Spec::parse(format!("[build]\nplatforms = [{good:?}]\n").as_bytes()).expect("valid");
            assert_eq!(spec.build.platforms[0].to_string(), good);
        }
        for wrong in ["", "linux", "linux/", "Linux/amd64", "linux/arm/v7/x", "linux/arm/", "a b/c"] {
            let told = Spec::parse(format!("[build]\nplatforms = [{wrong:?}]\n").as_bytes());
            assert_eq!(told.err().map(|e| e.line), Some(2), "{wrong}");
        }
        let two = Spec::parse(b"[build]\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n").expect_err("two");
        assert!((two.line, two.message.contains("more than one")) == (2, true), "{two:?}");
    }
}
