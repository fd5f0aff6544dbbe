//! Fuzzes `fuzzing::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gangline_tests::fuzzing::snapshot(data);
});
