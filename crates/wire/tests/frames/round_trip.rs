//! What was encoded decodes to the same bytes and signature; what was changed on the way does not.

use bft_json_crdt::json_crdt::JsonValue;
use gangline_wire::{BulkWriter, decode, decode_text, encode};
use proptest::prelude::*;

use super::Author;

fn json() -> impl Strategy<Value = JsonValue> {
    let leaf = prop_oneof![
        Just(JsonValue::Null),
        any::<bool>().prop_map(JsonValue::from),
        any::<i64>().prop_map(JsonValue::from),
        any::<u64>().prop_map(JsonValue::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(JsonValue::from),
        any::<String>().prop_map(JsonValue::from),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(JsonValue::Array),
            prop::collection::btree_map(".{0,12}", inner, 0..8).prop_map(JsonValue::Object),
        ]
    })
}

/// Applies one flip of a byte and states what may come of it: an error, or the same op under a signature that
/// does not hold, or, where text has two spellings of one thing, the same op.
fn survives(frame: &[u8], at: usize, mask: u8) {
    let op = decode(frame).expect("the frame is good");
    let mut flipped = frame.to_vec();
    flipped[at] ^= mask;
    let Ok(other) = decode(&flipped) else { return };
    assert_eq!(other.digest(), op.digest(), "another op came of a flip at {at} by {mask:#x}");
    assert_eq!(other.change().bytes(), op.change().bytes());
    assert!(other.change().signature() == op.change().signature() || !other.change().verify());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn ops_survive_the_wire(values in prop::collection::vec(json(), 1..6)) {
        let mut alice = Author::new(3);
        let mut bulk = BulkWriter::new(usize::MAX);
        let mut ops = Vec::new();
        for value in values {
            let op = alice.insert(value);
            let frame = encode(&op);
            let decoded = decode(&frame).expect("the frame is good");
            prop_assert_eq!(decoded.change().bytes(), op.change().bytes());
            prop_assert_eq!(decoded.change().signature(), op.change().signature());
            prop_assert!(decoded.change().verify());
            prop_assert!(bulk.push(&frame));
            ops.push(op);
        }
        let text = decode_text(bulk.finish().as_bytes()).expect("the bulk is good");
        prop_assert_eq!(text.bad.count, 0);
        prop_assert_eq!(text.ops, ops);
    }

    #[test]
    fn no_flip_makes_another_op(value in json(), at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let frame = encode(&Author::new(4).insert(value));
        survives(&frame, at.index(frame.len()), mask);
    }

    #[test]
    fn any_bytes_decode_to_something_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let _ = decode_text(&bytes);
    }

    #[test]
    fn any_json_decodes_to_something_or_an_error(value in json(), version in 0_u64..3) {
        let value = value.to_string();
        let _ = decode(value.as_bytes());
        let _ = decode_text(value.as_bytes());
        let _ = decode(format!(r#"{{"v":{version},"op":{value}}}"#).as_bytes());
        let _ = decode_text(format!(r#"{{"type":"bulk","ops":{value}}}"#).as_bytes());
        let _ = decode_text(format!(r#"{{"type":"bulk","ops":[{value}]}}"#).as_bytes());
    }
}

#[test]
fn no_flip_of_any_bit_of_one_frame_makes_another_op() {
    let frame = encode(&Author::new(5).insert("hello, world"));
    for at in 0..frame.len() {
        for bit in 0..8 {
            survives(&frame, at, 1 << bit);
        }
    }
}
