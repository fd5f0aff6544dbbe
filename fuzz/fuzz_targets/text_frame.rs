//! Fuzzes `fuzzing::text_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gangline_tests::fuzzing::text_frame(data);
});
