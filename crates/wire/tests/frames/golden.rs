//! The bytes of frames, kept in `tests/golden`: a change of theirs breaks every node that is out there.
//! `UPDATE_GOLDEN=1 cargo test -p gangline-wire` writes them anew.

use std::path::PathBuf;

use bft_json_crdt::json_crdt::{JsonValue, OpState, SignedOp};
use gangline_wire::{BulkWriter, SyncMessage, decode, decode_text, encode};
use serde_json::json;

use super::Author;

fn history() -> Vec<(&'static str, SignedOp)> {
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let insert = alice.insert(json!({
        "text": "é \"quoted\" \\ \n \u{1} \u{1f415}",
        "integers": [i64::MIN, -1, 0, u64::MAX],
        "floats": [0.1, -0.0, 1e300, 5e-324],
        "others": [null, true, false, [], {}],
    }));
    assert_eq!(bob.base.apply(insert.clone()), OpState::Ok);
    let set = bob.set(0, JsonValue::from("2_current"));
    let delete = bob.delete(0);
    vec![("insert", insert), ("set", set), ("delete", delete)]
}

#[track_caller]
fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).expect("the golden file is writable");
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&golden), "{name} has changed");
    golden
}

#[test]
fn binary_frames_keep_their_bytes() {
    for (name, op) in history() {
        let golden = check(&format!("{name}.json"), &encode(&op));
        let decoded = decode(&golden).expect("a golden frame is good");
        assert_eq!(decoded, op);
        assert_eq!(decoded.change().bytes(), op.change().bytes());
        assert!(decoded.change().verify());
    }
}

#[test]
fn text_frames_keep_their_bytes() {
    let history = history();
    let mut bulk = BulkWriter::new(usize::MAX);
    for (_, op) in &history {
        assert!(bulk.push(&encode(op)));
    }
    let golden = check("bulk.json", bulk.finish().as_bytes());
    let frame = decode_text(&golden).expect("a golden frame is good");
    assert_eq!(frame.bad.count, 0);
    assert_eq!(frame.ops, history.iter().map(|(_, op)| op.clone()).collect::<Vec<_>>());

    let op = serde_json::to_string(&history[0].1).expect("an op is JSON");
    let message = serde_json::to_string(&SyncMessage::Op { op }).expect("a message is JSON");
    let golden = check("op.json", message.as_bytes());
    assert_eq!(decode_text(&golden).expect("a golden frame is good").ops, [history[0].1.clone()]);

    let golden = check("empty.json", BulkWriter::new(0).finish().as_bytes());
    assert!(decode_text(&golden).expect("a golden frame is good").ops.is_empty());
}

/// A frame that says the same in other words is good too: peers may be written in any language.
#[test]
fn white_space_and_order_do_not_matter() {
    let (_, op) = history().remove(0);
    let frame: serde_json::Value = serde_json::from_slice(&encode(&op)).expect("a frame is JSON");
    let pretty = format!(" \n{}\n", serde_json::to_string_pretty(&frame).expect("JSON"));
    assert_eq!(decode(pretty.as_bytes()).as_ref(), Ok(&op));
    let swapped = format!(r#"{{"op":{},"more":[[[]]],"v":1}}"#, frame["op"]);
    assert_eq!(decode(swapped.as_bytes()).as_ref(), Ok(&op));
    let text = format!(r#"{{"ops":[{}],"type":"bulk","more":{{}}}}"#, json!(frame["op"].to_string()));
    assert_eq!(decode_text(text.as_bytes()).expect("good").ops, [op]);
}

#[test]
fn an_op_that_was_never_signed_has_no_frame() {
    let alice = Author::new(1);
    let refused = alice.base.doc.notes.delete([7; 32]).sign(&alice.keypair);
    assert!(encode(&refused).is_empty());
}
