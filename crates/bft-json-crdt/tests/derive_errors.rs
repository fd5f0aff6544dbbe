//! What the derive says when a type cannot be part of a document.

#[test]
fn mistakes_are_named_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
