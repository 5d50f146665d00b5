//! Stock git and this server, given the same repositories and the same bytes: what they answer has to mean the same.
//!
//! Everything random comes of a seed, which a failure names. `SLIPWAY_FUZZ_SEED=N` runs that seed alone,
//! `SLIPWAY_FUZZ_MINUTES=N` goes on with new ones for so long (CONTRIBUTING.md).
#![allow(missing_docs, clippy::unwrap_used)]

mod answer;
mod fetches;
mod history;
mod layout;
mod oracle;
mod pack;
mod pushes;
mod random;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs what the environment asks for, or these seeds.
fn run(usual: impl IntoIterator<Item = u64>, check: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = number("SLIPWAY_FUZZ_MINUTES");
    let Some(minutes) = minutes else {
        return match number("SLIPWAY_FUZZ_SEED") {
            Some(seed) => check(seed),
            None => usual.into_iter().for_each(check),
        };
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = number("SLIPWAY_FUZZ_SEED").unwrap_or(now.as_secs() * 1000);
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut seed = first;
    while Instant::now() < end {
        check(seed);
        seed += 1;
    }
    println!("seeds {first} to {}: nothing found", seed - 1);
}

#[test]
fn fetches_are_answered_as_git_answers_them() {
    run(1..=14, |seed| fetches::check(seed, 12));
}

#[test]
fn pushes_are_judged_as_git_judges_them() {
    run(1..=12, |seed| pushes::check(seed, 6));
}
