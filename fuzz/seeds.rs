//! The seeds of the fuzz targets, taken by the functions that the targets call: part of each crate's own tests.

use std::path::Path;

use super::Target;

/// Gives each target its seeds, and nothing.
///
/// # Panics
/// If a target does, or has no seeds.
pub(super) fn are_taken(targets: &[(&str, Target)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (name, target) in targets {
        let seeds = std::fs::read_dir(folder.join(name)).unwrap_or_else(|e| panic!("seeds of {name}: {e}"));
        let mut count = 0;
        for seed in seeds {
            target(&std::fs::read(seed.expect("listed").path()).expect("readable"));
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
        target(b"");
    }
}
