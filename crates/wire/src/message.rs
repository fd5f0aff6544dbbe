//! The text frames of version 1, and how a bulk is built from frames that are encoded already.

use serde::{Deserialize, Serialize};

use crate::v1::op_json;

/// A text frame. Each op in it is a string that holds a signed op as JSON.
///
/// Good for building and printing. What comes from a peer goes through [`decode_text`](crate::decode_text),
/// which bounds what it allocates and judges each op by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SyncMessage {
    /// All ops that the sender has; also sent when there are none.
    Bulk {
        /// The ops in the sender's log order.
        ops: Vec<String>,
    },
    /// One op.
    Op {
        /// The op.
        op: String,
    },
}

const HEAD: &str = r#"{"type":"bulk","ops":["#;
const TAIL: &str = "]}";

/// Builds the text of a [`SyncMessage::Bulk`] op by op, up to a size.
///
/// ```
/// let mut bulk = gangline_wire::BulkWriter::new(1_000);
/// assert!(bulk.push(br#"{"v":1,"op":{"a":"b"}}"#));
/// assert_eq!(bulk.finish(), r#"{"type":"bulk","ops":["{\"a\":\"b\"}"]}"#);
/// ```
#[derive(Debug)]
pub struct BulkWriter {
    text: String,
    count: usize,
    bytes_max: usize,
}

impl BulkWriter {
    /// Starts an empty bulk that will not exceed `bytes_max` bytes once it has an op.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { text: HEAD.to_owned(), count: 0, bytes_max }
    }

    /// Adds the op of `frame`, which [`encode`](crate::encode) wrote. Returns false, and changes nothing, if
    /// it does not fit or is no such frame.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Some(json) = str::from_utf8(frame).ok().and_then(op_json) else { return false };
        let before = self.text.len();
        if self.count > 0 {
            self.text.push(',');
        }
        push_quoted(&mut self.text, json);
        let fits = self.text.len() + TAIL.len() <= self.bytes_max;
        match fits {
            true => self.count += 1,
            false => self.text.truncate(before),
        }
        fits
    }

    /// Returns the number of ops in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the bytes it takes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + TAIL.len()
    }

    /// Returns the text frame.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push_str(TAIL);
        self.text
    }
}

/// Appends `json`, which is valid JSON without raw control characters, as a JSON string.
fn push_quoted(text: &mut String, json: &str) {
    text.reserve(json.len() + json.len() / 8 + 2);
    text.push('"');
    let mut rest = json;
    while let Some(at) = rest.find(['"', '\\']) {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        text.push('\\');
        let (one, after) = special.split_at(1);
        text.push_str(one);
        rest = after;
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(json: &str) -> Vec<u8> {
        format!(r#"{{"v":1,"op":{json}}}"#).into_bytes()
    }

    #[test]
    fn a_bulk_reads_as_the_message_that_it_spells() {
        let ops = [r#"{"a":"quote \" back \\ line \n é"}"#, "{}", r#"{"b":[1,2]}"#];
        let mut bulk = BulkWriter::new(10_000);
        for op in ops {
            assert!(bulk.push(&frame(op)));
        }
        let message = SyncMessage::Bulk { ops: ops.map(str::to_owned).to_vec() };
        let bytes = bulk.bytes();
        let text = bulk.finish();
        assert_eq!(text, serde_json::to_string(&message).unwrap());
        assert_eq!(text.len(), bytes);
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let mut bulk = BulkWriter::new(40);
        assert!(bulk.push(&frame("{\"a\":1}")));
        assert!(!bulk.push(&frame("{\"a\":2}")));
        assert!(!bulk.push(b"not a frame"));
        assert_eq!(bulk.count(), 1);
        assert_eq!(bulk.finish(), r#"{"type":"bulk","ops":["{\"a\":1}"]}"#);
        assert_eq!(BulkWriter::new(0).finish(), r#"{"type":"bulk","ops":[]}"#);
    }
}
