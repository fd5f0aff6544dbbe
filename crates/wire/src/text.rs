//! Decodes a text frame that a peer sent, op by op, in one pass.
//!
//! Ops are parsed as the frame is read, so what is held at any time is the frame, the good ops and a few
//! reasons. One bad op does not spoil the others; text that is not JSON to its end spoils all.

use std::borrow::Cow;
use std::fmt;

use bft_json_crdt::SignedOp;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::DecodeError;
use crate::limits::{BAD_OPS_KEPT_MAX, BAD_OPS_MAX};
use crate::v1::{check_object, op_from_json, text_of};

/// The ops of a text frame, and what was wrong with the others.
#[derive(Debug, Default)]
pub struct TextFrame {
    /// The good ops, in the order of the frame. Signatures are not checked here.
    pub ops: Vec<SignedOp>,
    /// What was skipped.
    pub bad: BadOps,
}

/// Ops of one text frame that could not be decoded.
#[derive(Debug, Default)]
pub struct BadOps {
    /// How many, those included that were skipped because there were too many ([`BAD_OPS_MAX`]).
    pub count: u64,
    /// Place in the frame and reason of the first few ([`BAD_OPS_KEPT_MAX`]).
    pub first: Vec<(usize, DecodeError)>,
}

/// Decodes a text frame: a bulk, or one op.
///
/// # Errors
///
/// When the frame itself is bad. Bad ops in a good bulk are in [`TextFrame::bad`].
pub fn decode_text(frame: &[u8]) -> Result<TextFrame, DecodeError> {
    let text = text_of(frame)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = reader.deserialize_map(MessageVisitor).and_then(|message| reader.end().map(|()| message));
    match parsed {
        Ok(message) => message.into_frame(),
        // The slow way: find out whether the JSON is broken or merely says something else.
        Err(error) => Err(check_object(text).err().unwrap_or_else(|| DecodeError::not_a_frame(error))),
    }
}

#[derive(Default)]
struct Message {
    kind: Option<String>,
    ops: Option<TextFrame>,
    op: Option<Result<SignedOp, DecodeError>>,
}

impl Message {
    fn into_frame(self) -> Result<TextFrame, DecodeError> {
        match self.kind.as_deref() {
            Some("bulk") => self.ops.ok_or_else(|| DecodeError::not_a_frame("a bulk without `ops`")),
            Some("op") => {
                let op = self.op.ok_or_else(|| DecodeError::not_a_frame("an op message without `op`"))??;
                Ok(TextFrame { ops: vec![op], bad: BadOps::default() })
            }
            Some(other) => Err(DecodeError::not_a_frame(format_args!("unknown type {other:?}"))),
            None => Err(DecodeError::not_a_frame("no `type`")),
        }
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let mut message = Message::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "type" => once("type", &mut message.kind, map.next_value()?)?,
                "ops" => once("ops", &mut message.ops, map.next_value_seed(OpsSeed)?)?,
                "op" => {
                    let element = map.next_value_seed(OpSeed)?;
                    once("op", &mut message.op, element)?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(message)
    }
}

fn once<T, E: Error>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), E> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

struct OpsSeed;

impl<'de> DeserializeSeed<'de> for OpsSeed {
    type Value = TextFrame;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TextFrame, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OpsSeed {
    type Value = TextFrame;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of ops")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TextFrame, A::Error> {
        let mut frame = TextFrame::default();
        let mut index = 0;
        while frame.bad.count < BAD_OPS_MAX
            && let Some(op) = seq.next_element_seed(OpSeed)?
        {
            match op {
                Ok(op) => frame.ops.push(op),
                Err(reason) => {
                    frame.bad.count += 1;
                    if frame.bad.first.len() < BAD_OPS_KEPT_MAX {
                        frame.bad.first.push((index, reason));
                    }
                }
            }
            index += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            frame.bad.count += 1;
        }
        Ok(frame)
    }
}

/// One op: a string that holds its JSON. Anything else is a bad op, not a bad frame.
struct OpSeed;

impl<'de> DeserializeSeed<'de> for OpSeed {
    type Value = Result<SignedOp, DecodeError>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn not_a_string<E>() -> Result<Result<SignedOp, DecodeError>, E> {
    Ok(Err(DecodeError::InvalidOp { reason: "the op is not a string".to_owned() }))
}

impl<'de> Visitor<'de> for OpSeed {
    type Value = Result<SignedOp, DecodeError>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string that holds an op")
    }

    fn visit_str<E>(self, json: &str) -> Result<Self::Value, E> {
        Ok(op_from_json(json))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        not_a_string()
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        not_a_string()
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        not_a_string()
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        not_a_string()
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        not_a_string()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        not_a_string()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        not_a_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(frame: &str, expect: &str) {
        let said = decode_text(frame.as_bytes()).expect_err("the frame is bad").to_string();
        assert!(said.starts_with(expect), "expected {expect:?}, got {said:?}");
    }

    #[test]
    fn each_failure_has_its_own_name() {
        check("", "not JSON");
        check("garbage", "not JSON");
        check("[]", "not a frame: the JSON is not an object");
        check("{}", "not a frame: no `type`");
        check(r#"{"type":7}"#, "not a frame");
        check(r#"{"type":"hello"}"#, r#"not a frame: unknown type "hello""#);
        check(r#"{"type":"bulk"}"#, "not a frame: a bulk without `ops`");
        check(r#"{"type":"bulk","ops":{}}"#, "not a frame");
        check(r#"{"type":"bulk","ops":[],"ops":[]}"#, "not a frame: duplicate field");
        check(r#"{"type":"bulk","ops":[]"#, "not JSON");
        check(r#"{"type":"bulk","ops":[]} x"#, "not JSON");
        check(r#"{"type":"op"}"#, "not a frame: an op message without `op`");
        check(r#"{"type":"op","op":{}}"#, "invalid op: the op is not a string");
        check(r#"{"type":"op","op":"{}"}"#, "invalid op");
        check(&("[".repeat(200_000) + "]"), "not JSON");
        check(&r#"{"type":"#.repeat(200_000), "not JSON");
    }

    #[test]
    fn bad_ops_are_counted_and_the_first_are_named() {
        let deep = format!(r#""{}""#, "[".repeat(200_000));
        let nested = "[".repeat(200_000) + &"]".repeat(200_000);
        let more = vec!["null"; 100].join(",");
        let frame = format!(
            r#"{{"x":{nested},"ops":[1,-1,1.5,true,[[[]]],{{"a":{{}}}},"","{{}}",{deep},{nested},{more}],"type":"bulk"}}"#
        );
        let frame = decode_text(frame.as_bytes()).expect("a bulk of bad ops is a frame");
        assert!(frame.ops.is_empty());
        assert_eq!(frame.bad.count, 110);
        assert_eq!(frame.bad.first.len(), BAD_OPS_KEPT_MAX);
        let empty = decode_text(br#"{"type":"bulk","ops":[]}"#).expect("an empty bulk is a frame");
        assert!(empty.ops.is_empty() && empty.bad.count == 0);
    }
}
