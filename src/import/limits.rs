//! Every bound of what is read from an old pipeline. What lies beyond is left out and told.

/// Largest file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of scripts that are read, each as often as it is used.
pub(super) const SCRIPT_BYTES_MAX: usize = 8 << 20;
/// Most nodes of jobs with all that they extend.
pub(super) const EXTENDED_NODES_MAX: usize = 500_000;
/// Most commands of one script.
pub(super) const COMMANDS_MAX: usize = 5_000;
/// Most characters that are kept of a command within a command.
pub(super) const SUBSTITUTION_CHARS_MAX: usize = 200;
/// How deep blocks, brackets, scripts and functions may lie in each other.
pub(super) const DEPTH_MAX: usize = 40;
/// How deep Groovy's values and blocks may lie in each other: a stage's steps have some ten of them.
pub(super) const GROOVY_DEPTH_MAX: usize = 100;
/// Most calls on what a call gave: `a().b().c()`.
pub(super) const CHAIN_MAX: usize = 40;
/// Most variables that are known at one place.
pub(super) const VARIABLES_MAX: usize = 300;
/// Longest `NAME…}` of a variable, in bytes.
pub(super) const VARIABLE_BYTES_MAX: usize = 256;
/// Longest value of a variable, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 1_000;
/// Longest text that variables are put into, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most tokens of a Jenkinsfile.
pub(super) const TOKENS_MAX: usize = 300_000;
/// Most nodes of a YAML file, long texts counted as several, those behind aliases where they are used.
pub(super) const NODES_MAX: usize = 50_000;
/// Most steps that are looked at: commands, calls and settings.
pub(super) const STEPS_MAX: usize = 20_000;
/// Most of a kind that is found: image builds, pushes, tests, targets, secrets.
pub(super) const FOUND_MAX: usize = 64;
/// Most commands that may be tests.
pub(super) const LOOSE_MAX: usize = 1_000;
/// Most remarks.
pub(super) const NOTES_MAX: usize = 300;
/// Most characters of the old file in one remark.
pub(super) const QUOTED_CHARS_MAX: usize = 70;
/// Most lines that a remark names.
pub(super) const LINES_NAMED_MAX: usize = 12;
