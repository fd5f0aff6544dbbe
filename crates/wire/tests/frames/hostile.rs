//! Frames made to hurt: none panics, none spoils what is good beside it.

use gangline_wire::limits::FRAME_BYTES_MAX;
use gangline_wire::{DecodeError, decode, decode_text, encode};
use serde_json::json;

use super::Author;

#[test]
fn bad_ops_do_not_spoil_good_ones() {
    let mut alice = Author::new(1);
    let good: Vec<_> = (0..3).map(|n| alice.insert(n)).collect();
    let text = |n: usize| serde_json::to_string(&good[n]).expect("an op is JSON");
    let mut altered: serde_json::Value = serde_json::from_str(&text(1)).expect("JSON");
    altered["seq"] = json!(77);
    let deep = "[".repeat(200_000);
    let frame = json!({"type": "bulk", "ops": [
        text(0), 7, "garbage", text(1), altered.to_string(), deep, null, {"op": text(2)}, text(2),
    ]});
    let frame = decode_text(frame.to_string().as_bytes()).expect("the frame is good");
    assert_eq!(frame.ops, good);
    let places: Vec<usize> = frame.bad.first.iter().map(|(place, _)| *place).collect();
    assert_eq!((frame.bad.count, places), (6, vec![1, 2, 4, 5, 6, 7]));
    assert!(matches!(frame.bad.first[3].1, DecodeError::OverLimit { what: "nesting", size: 200_000, .. }));
}

/// Whatever stands where an op's fields should stand, at any depth.
#[test]
fn nesting_inside_an_op_is_refused() {
    let op: serde_json::Value =
        serde_json::from_slice(&encode(&Author::new(1).insert("x"))).expect("a frame is JSON");
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    for field in op["op"].as_object().expect("an op is an object").keys() {
        let mut hollow = op.clone();
        hollow["op"][field] = json!("HERE");
        let frame = hollow.to_string().replace("\"HERE\"", &deep);
        let error = decode(frame.as_bytes()).expect_err("the op is bad");
        assert!(matches!(error, DecodeError::OverLimit { what: "nesting", .. }), "{field}: {error}");
    }
}

#[test]
fn missing_and_strange_fields_are_refused() {
    let frame: serde_json::Value =
        serde_json::from_slice(&encode(&Author::new(1).insert("x"))).expect("a frame is JSON");
    let fields: Vec<String> = frame["op"].as_object().expect("an op is an object").keys().cloned().collect();
    for field in fields {
        let mut without = frame.clone();
        without["op"].as_object_mut().expect("an op is an object").remove(&field);
        // A first change has no previous one, which may be said by saying nothing.
        let is_same = decode(without.to_string().as_bytes()).is_ok();
        assert_eq!(is_same, field == "prev", "without {field}");
        for strange in [json!(null), json!(-1), json!(1e300), json!("\u{0}"), json!([[]]), json!({"a": {}})] {
            let mut other = frame.clone();
            other["op"][&field] = strange;
            assert!(other == frame || decode(other.to_string().as_bytes()).is_err(), "{field}: {other}");
        }
    }
    let mut more = frame.clone();
    more["op"]["more"] = json!(1);
    assert!(decode(more.to_string().as_bytes()).is_err());
}

#[test]
fn huge_frames_are_refused_by_their_size_alone() {
    let huge = vec![b'['; FRAME_BYTES_MAX + 1];
    let expect = DecodeError::OverLimit { what: "frame bytes", size: huge.len(), max: FRAME_BYTES_MAX };
    assert_eq!(decode(&huge), Err(expect.clone()));
    assert_eq!(decode_text(&huge).expect_err("too large"), expect);
}

/// Large frames, filled with what costs most.
#[test]
fn frames_of_nonsense_are_refused_at_the_cost_of_reading_them() {
    for (head, unit, tail) in [
        (r#"{"v":1,"op":["#, "0,", "0]}"),
        (r#"{"v":1,"op":"#, "[", ""),
        (r#"{"v":1,"op":{"document":""#, "\\u0000", "\"}}"),
        (r#"{"type":"bulk","ops":["#, "0,", "0]}"),
        (r#"{"type":"bulk","ops":["#, "\"\",", "\"\"]}"),
        (r#"{"type":"bulk","ops":[""#, "[", "\"]}"),
    ] {
        let frame = head.to_owned() + &unit.repeat((2 << 20) / unit.len()) + tail;
        assert!(decode(frame.as_bytes()).is_err());
        if let Ok(frame) = decode_text(frame.as_bytes()) {
            assert!(frame.ops.is_empty() && frame.bad.count > 0);
        }
    }
}

#[test]
fn a_bulk_of_nonsense_is_given_up_but_counted() {
    let good = serde_json::to_string(&Author::new(1).insert(1)).expect("an op is JSON");
    let bad = vec!["\"{}\""; 5_000].join(",");
    let frame = format!(r#"{{"type":"bulk","ops":[{},{bad},{}]}}"#, json!(good), json!(good));
    let frame = decode_text(frame.as_bytes()).expect("the frame is good");
    assert_eq!((frame.ops.len(), frame.bad.count), (1, 5_001));
}
