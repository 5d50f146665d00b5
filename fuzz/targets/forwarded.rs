//! Fuzzes what reads `forwarded`; the entry is `fuzzing::run` of its crate.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_forge::fuzzing::run("forwarded", data));
