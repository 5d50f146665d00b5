//! Fuzzes what reads `sparse`; the entry is `fuzzing::run` of its crate.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_repository::fuzzing::run("sparse", data));
