//! Fuzzes what reads `credentials`; the entry is `fuzzing::run` of its crate.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_git_server::fuzzing::run("credentials", data));
