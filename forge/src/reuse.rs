//! Builds that made what another would make: found by what went into them.

use slipway_core::Problem;
use slipway_core::build::{Build, Reused, TestVerdict};

use crate::forge::Forge;
use crate::limits::BUILDS_LOOKED_MAX;

/// Most of them that are asked about.
const CANDIDATES_MAX: usize = 5;

/// Builds of the same part with the same key whose image passed its test and was pushed to `image` (`HOST[:PORT]/PATH`), newest
/// first. Blocking.
///
/// # Errors
/// A [`Problem`] where the records cannot be read.
pub fn candidates(forge: &Forge, build: &Build, image: &str, key: &str) -> Result<Vec<Reused>, Problem> {
    let all = forge.store.builds(build.repo, None, BUILDS_LOOKED_MAX)?;
    let of = |other: Build| {
        let fits = other.number != build.number && other.part == build.part && other.promotes().is_none();
        let content = other.content.filter(|content| fits && content.key == key)?;
        let pushed = other.pushed.filter(|pushed| pushed.name == image)?;
        let tested = matches!(other.test, TestVerdict::Passed | TestVerdict::None);
        let bases = content.bases.filter(|_| tested)?;
        Some(Reused { of: other.number, image: pushed, test: other.test, bases })
    };
    Ok(all.into_iter().filter_map(of).take(CANDIDATES_MAX).collect())
}
