//! Fuzzes `fuzzing::signed_op`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gangline_tests::fuzzing::signed_op(data);
});
