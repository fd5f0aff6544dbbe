//! One form per payload, and every refusal with its place.

use proptest::prelude::*;

use super::*;
use crate::limits::PAYLOAD_DEPTH_MAX;

#[track_caller]
fn form(json: &str, expected: &str) {
    let payload = Payload::parse(json.as_bytes()).unwrap();
    assert_eq!(payload.as_str(), expected);
    assert_eq!(Payload::stored(expected.as_bytes()).unwrap(), Some(payload), "the form of a form is itself");
}

#[track_caller]
fn refused(json: &str, expected: &str) {
    assert_eq!(Payload::parse(json.as_bytes()).unwrap_err().to_string(), expected);
}

#[test]
fn keys_are_sorted_by_their_bytes_and_spaces_go() {
    form(" { \"b\" : 1 ,\n\t\"a\" : [ true , false , null , { } ] } ", r#"{"a":[true,false,null,{}],"b":1}"#);
    form(r#"{"é":1,"z":2,"Z":3,"":4,"z1":{"y":1,"x":2}}"#, r#"{"":4,"Z":3,"z":2,"z1":{"x":2,"y":1},"é":1}"#);
}

#[test]
fn strings_keep_their_characters_and_lose_their_spelling() {
    form(r#"{"a":"\u0041\/\u00e9\ud83d\ude00"}"#, r#"{"a":"A/é😀"}"#);
    form(r#"{"a":"\"\\\b\f\n\r\t\u0001\u007f"}"#, "{\"a\":\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\u{7f}\"}");
    form(r#"{"\u0061":1}"#, r#"{"a":1}"#);
}

#[test]
fn integers_of_64_bits_are_exact() {
    form(
        r#"{"a":[18446744073709551615,-9223372036854775808,0,-0,9007199254740993]}"#,
        r#"{"a":[18446744073709551615,-9223372036854775808,0,0,9007199254740993]}"#,
    );
    refused(
        r#"{"a":18446744073709551616}"#,
        "the integer 18446744073709551616 at byte 5 of the payload does not fit 64 bits; send it as a string",
    );
    refused(
        r#"{"a":-9223372036854775809}"#,
        "the integer -9223372036854775809 at byte 5 of the payload does not fit 64 bits; send it as a string",
    );
}

#[test]
fn other_numbers_are_shortest() {
    form(
        r#"{"a":[1.0,1e3,-2.50,0.1e0,1E+20,1e-7,0.000001,1.5e-7,-0.0,1e-400,0.1000000000000000055]}"#,
        r#"{"a":[1,1000,-2.5,0.1,1e20,1e-7,0.000001,1.5e-7,0,0,0.1]}"#,
    );
    form(
        r#"{"a":[9007199254740992.0,1.7976931348623157e308,5e-324]}"#,
        r#"{"a":[9.007199254740992e15,1.7976931348623157e308,5e-324]}"#,
    );
    refused(
        r#"{"a":1e309}"#,
        "the number 1e309 at byte 5 of the payload is out of range; send it as a string",
    );
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    refused(
        r#"{"x":{"a":1,"b":2,"\u0061":3}}"#,
        r#"key "a" stands twice in one object of the payload, at byte 18"#,
    );
    refused("[1]", "the payload is an array, it has to be an object");
    refused("7", "the payload is a number, it has to be an object");
    refused("", "the payload is not JSON: expected an object at byte 0");
    refused("{} x", "the payload is not JSON: expected the end at byte 3");
    for bad in [
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":[1,]}",
        "{\"a\":\"\n\"}",
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u00g0"}"#,
        "{\"a\":\"",
        "{\"a\":\"\\",
        "\u{feff}{}",
    ] {
        assert!(matches!(Payload::parse(bad.as_bytes()), Err(PayloadError::Malformed { .. })), "{bad}");
    }
    assert!(matches!(Payload::parse(b"{\"a\":\"\xff\"}"), Err(PayloadError::Malformed { at: 6, .. })));
    assert!(Payload::parse(b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn depth_and_size_have_limits() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    form(&nested(PAYLOAD_DEPTH_MAX), &nested(PAYLOAD_DEPTH_MAX));
    let too_deep = Payload::parse(nested(PAYLOAD_DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(too_deep, PayloadError::TooDeep { at: 5 * PAYLOAD_DEPTH_MAX, depth_max: PAYLOAD_DEPTH_MAX });
    assert!(Payload::parse("[".repeat(1 << 20).as_bytes()).is_err(), "no recursion without bound");

    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert_eq!(Payload::parse(sized(1 << 20).as_bytes()).unwrap().bytes().len(), 1 << 20);
    assert!(matches!(Payload::parse(sized((1 << 20) + 1).as_bytes()), Err(PayloadError::TooLarge { .. })));
    let grows = format!("{{\"a\":[{}1]}}", "1e15,".repeat(100_000));
    assert!(matches!(Payload::parse(grows.as_bytes()), Err(PayloadError::TooLarge { .. })), "as stored, too");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_have_one_form(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(payload) = Payload::parse(&bytes) {
            prop_assert_eq!(Payload::stored(payload.bytes()).unwrap(), Some(payload));
        }
    }

    #[test]
    fn any_json_text_is_refused_or_has_one_form(text in r#"\{("[ab]":([-0-9.eE]{1,7}|"[a-c\\u0-9]{0,6}"|\[\]|\{\}|null),?){0,3}\}"#) {
        if let Ok(payload) = Payload::parse(text.as_bytes()) {
            prop_assert_eq!(Payload::stored(payload.bytes()).unwrap(), Some(payload));
        }
    }

    #[test]
    fn every_double_comes_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
        let text = format!("{{\"a\":{number:e}}}");
        let payload = Payload::parse(text.as_bytes()).unwrap();
        let found: f64 = payload.as_str().trim_start_matches("{\"a\":").trim_end_matches('}').parse().unwrap();
        prop_assert_eq!(found, number);
    }
}
