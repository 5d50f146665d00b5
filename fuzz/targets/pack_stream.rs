//! Fuzzes what reads `pack_stream`; the entry is `fuzzing::run` of its crate.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_repository::fuzzing::run("pack_stream", data));
