//! One signed op as a binary frame: `{"v":1,"op":{…}}`.
//!
//! The envelope is parsed apart from the op, so that a frame of another version is named as such whatever it
//! carries. Frames as this node writes them take a shorter way with the same verdict.

use bft_json_crdt::SignedOp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::DecodeError;
use crate::limits::FRAME_BYTES_MAX;

/// What stands before the op in a frame as [`encode`] writes it.
const PREFIX: &str = r#"{"v":1,"op":"#;
/// What stands behind the op.
const SUFFIX: &str = "}";

/// Returns the binary frame that carries `op`.
///
/// Empty for an op that got no signature when it was made: it has nothing to send. Longer than
/// [`FRAME_BYTES_MAX`] for an op whose text needs very many escapes: no peer would accept it. A sender leaves
/// out both.
#[must_use]
pub fn encode(op: &SignedOp) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1_024);
    frame.extend_from_slice(PREFIX.as_bytes());
    match serde_json::to_writer(&mut frame, op) {
        Ok(()) => frame.extend_from_slice(SUFFIX.as_bytes()),
        Err(_) => frame.clear(),
    }
    frame
}

/// Reads the op of a binary frame. Its signature is not checked here.
///
/// # Errors
///
/// Says which step failed: size, UTF-8, JSON, the envelope, its version, or the op.
pub fn decode(frame: &[u8]) -> Result<SignedOp, DecodeError> {
    let text = text_of(frame)?;
    if let Some(json) = op_json(text)
        && let Ok(op) = serde_json::from_str(json)
    {
        return Ok(op);
    }
    let envelope = Envelope::parse(text)?;
    match envelope.version()? {
        1 => op_from_json(envelope.op()?),
        version => Err(DecodeError::UnknownVersion { version }),
    }
}

/// Tells whether `frame` belongs to a later, binary version: version 1 is text, which starts below 0x80.
#[must_use]
pub fn is_later_version(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| *byte >= 0x80)
}

/// The op's JSON inside a frame written by [`encode`].
pub(crate) fn op_json(frame: &str) -> Option<&str> {
    frame.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)
}

/// Checks size and UTF-8, in this order.
pub(crate) fn text_of(frame: &[u8]) -> Result<&str, DecodeError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(DecodeError::OverLimit { what: "frame bytes", size: frame.len(), max: FRAME_BYTES_MAX });
    }
    str::from_utf8(frame).map_err(|error| DecodeError::NotUtf8 { at: error.valid_up_to() })
}

pub(crate) fn op_from_json(json: &str) -> Result<SignedOp, DecodeError> {
    serde_json::from_str(json).map_err(|error| DecodeError::invalid_op(json, &error))
}

/// Checks that `text` is JSON at all, and an object. Skips over values without recursion.
pub(crate) fn check_object(text: &str) -> Result<(), DecodeError> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| DecodeError::not_json(&error))?;
    match value.get().starts_with('{') {
        true => Ok(()),
        false => Err(DecodeError::not_a_frame("the JSON is not an object")),
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    v: Option<&'a RawValue>,
    #[serde(borrow)]
    op: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn parse(text: &'a str) -> Result<Self, DecodeError> {
        check_object(text)?;
        serde_json::from_str(text).map_err(DecodeError::not_a_frame)
    }

    fn version(&self) -> Result<u64, DecodeError> {
        let version = self.v.ok_or_else(|| DecodeError::not_a_frame("no version `v`"))?;
        serde_json::from_str(version.get())
            .map_err(|_| DecodeError::not_a_frame("the version `v` is not a whole number"))
    }

    fn op(&self) -> Result<&'a str, DecodeError> {
        self.op.map(RawValue::get).ok_or_else(|| DecodeError::not_a_frame("no `op`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(frame: &[u8], expect: &str) {
        let error = decode(frame).expect_err("the frame is bad");
        let said = error.to_string();
        assert!(said.starts_with(expect), "expected {expect:?}, got {said:?}");
    }

    #[test]
    fn each_failure_has_its_own_name() {
        check(b"", "not JSON");
        check(b"\xff\xfe", "not UTF-8 from byte 0 on");
        check(b"{\"v\":1,\"op\":\"\xff\"}", "not UTF-8 from byte 13 on");
        check(b"hello", "not JSON");
        check(br#"{"v":1,"op":{}"#, "not JSON");
        check(br#"{"v":1,"op":{}}}"#, "not JSON");
        check(b"[]", "not a frame: the JSON is not an object");
        check(br#"[1,{"a":2}]"#, "not a frame: the JSON is not an object");
        check(b"null", "not a frame");
        check(b"{}", "not a frame: no version `v`");
        check(br#"{"v":null}"#, "not a frame: no version `v`");
        check(br#"{"v":"1","op":{}}"#, "not a frame: the version `v` is not a whole number");
        check(br#"{"v":-1,"op":{}}"#, "not a frame: the version `v` is not a whole number");
        check(br#"{"v":1}"#, "not a frame: no `op`");
        check(br#"{"v":1,"v":1,"op":{}}"#, "not a frame: duplicate field `v`");
        check(br#"{"v":2,"op":"anything"}"#, "unknown version 2");
        check(br#"{"v":0}"#, "unknown version 0");
        check(br#"{"op":[],"v":18446744073709551615}"#, "unknown version 18446744073709551615");
        check(br#"{"v":1,"op":{}}"#, "invalid op");
        check(br#"{"v":1,"op":7}"#, "invalid op");
        check(&vec![b' '; FRAME_BYTES_MAX + 1], "frame bytes over the limit: 16777217 > 16777216");
    }

    #[test]
    fn nesting_is_refused_wherever_it_stands() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        check(format!(r#"{{"v":1,"op":{deep}}}"#).as_bytes(), "nesting over the limit: 200000");
        check(format!(r#"{{"v":1,"op":{{"content":{deep}}}}}"#).as_bytes(), "");
        check(format!(r#"{{"v":{deep},"op":1}}"#).as_bytes(), "not a frame");
        check(format!(r#"{{"v":2,"more":{deep}}}"#).as_bytes(), "unknown version 2");
        check(deep.as_bytes(), "not a frame");
        check("[".repeat(200_000).as_bytes(), "not JSON");
        check(r#"{"v":"#.repeat(200_000).as_bytes(), "not JSON");
    }

    #[test]
    fn later_versions_are_told_by_their_first_byte() {
        assert!(is_later_version(&[0x80]) && is_later_version(&[0xff, 0]));
        assert!(!is_later_version(b"{") && !is_later_version(b""));
    }
}
