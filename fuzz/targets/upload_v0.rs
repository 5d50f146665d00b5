//! Fuzzes what reads `upload_v0`; the entry is `fuzzing::run` of its crate.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_git_server::fuzzing::run("upload_v0", data));
