//! Fuzzes what reads `authorization`; the entry is `fuzzing::run` of its crate.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_forge::fuzzing::run("authorization", data));
