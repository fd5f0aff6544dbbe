//! Fuzzes `fuzzing::log_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gangline_tests::fuzzing::log_message(data);
});
