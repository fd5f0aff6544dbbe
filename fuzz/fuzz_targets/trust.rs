//! Fuzzes `fuzzing::trust`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gangline_tests::fuzzing::trust(data);
});
