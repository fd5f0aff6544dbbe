//! Fuzzes `fuzzing::wire_v2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gangline_tests::fuzzing::wire_v2(data);
});
