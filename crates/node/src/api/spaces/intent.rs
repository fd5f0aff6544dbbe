//! The body of an append. Its payload is judged byte for byte, so nothing of it is lost on the way.

use std::fmt;

use data_encoding::HEXLOWER;
use gangline_lease::limits::PAYLOAD_BYTES_MAX;
use gangline_lease::{EventType, Intent, IntentId, NameError, Payload, PayloadError};
use http::{HeaderMap, StatusCode};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::api::problem::Problem;
use crate::config::nearest;
use crate::logs::new_id;

/// What a body may have beside its payload.
pub(super) const ENVELOPE_BYTES_MAX: usize = 4 << 10;

const FIELDS: [&str; 3] = ["type", "payload", "id"];

/// Reads an append. Returns whether its sender named the id, so that it may be a repetition.
///
/// # Errors
/// 400 for what is no JSON, 413 for a payload that is too large, 422 with the field that is wrong.
pub(super) fn read(body: &[u8], headers: &HeaderMap, now_ms: u64) -> Result<Intent, Problem> {
    let bad_json = |detail: String| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_json", detail, "send one JSON object as UTF-8")
    };
    if body.is_empty() {
        return Err(bad_json("the body is empty".into()));
    }
    let broken = |error: serde_json::Error| bad_json(format!("the body is not JSON: {error}"));
    let whole: &RawValue = serde_json::from_slice(body).map_err(broken)?;
    if !whole.get().starts_with('{') {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not_an_object",
            "the body must be a JSON object",
            r#"send an object such as {"type": "ALIAS_SET", "payload": {"alias": "2"}}"#,
        ));
    }
    let Members(members) = serde_json::from_str(whole.get()).map_err(broken)?;
    let (mut kind, mut payload, mut id) = (None, None, None);
    for (name, value) in members {
        let place = match name.as_str() {
            "type" => &mut kind,
            "payload" => &mut payload,
            "id" => &mut id,
            other => {
                let hint = match nearest(other, &FIELDS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the fields are {}", FIELDS.join(", ")),
                };
                let detail = format!("unknown field {other}");
                return Err(Problem::field("unknown_field", other, detail, hint));
            }
        };
        if place.replace(value).is_some() {
            return Err(bad_json(format!("the body is not JSON: `{name}` is there twice")));
        }
    }
    let missing = |field: &str| {
        Problem::field("missing_field", field, format!("{field} is missing"), "give it a value")
    };
    let kind = EventType::new(&text("type", kind.ok_or_else(|| missing("type"))?)?)
        .map_err(|error| bad_name("type", &error))?;
    let payload = payload.ok_or_else(|| missing("payload"))?;
    let payload = Payload::parse(payload.get().as_bytes()).map_err(|error| refused(&error))?;
    let id = match id {
        Some(id) => Some(IntentId::new(&text("id", id)?).map_err(|error| bad_name("id", &error))?),
        None => of_key(headers),
    };
    let id = id.unwrap_or_else(|| new_id(now_ms));
    Ok(Intent { id, kind, payload })
}

/// A request that is repeated with its Idempotency-Key is the same intent, also after this node has forgotten it.
fn of_key(headers: &HeaderMap) -> Option<IntentId> {
    let key = headers.get("idempotency-key")?;
    let hash = Sha256::new().chain_update(b"gangline idempotency key 1\n").chain_update(key.as_bytes());
    let hex = HEXLOWER.encode(&hash.finalize());
    IntentId::new(&format!("key-{}", hex.get(..40)?)).ok()
}

fn text(field: &str, value: &RawValue) -> Result<String, Problem> {
    serde_json::from_str(value.get()).map_err(|_| {
        Problem::field("wrong_type", field, format!("{field} must be a string"), "write a string")
    })
}

fn bad_name(field: &str, error: &NameError) -> Problem {
    Problem::field("bad_name", field, error.to_string(), "write 1 to 64 of A-Z a-z 0-9 . _ -")
}

fn refused(error: &PayloadError) -> Problem {
    let says = error.to_string();
    match error {
        PayloadError::TooLarge { .. } => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload_too_large",
            says,
            format!("a payload has at most {PAYLOAD_BYTES_MAX} bytes: split it, or log where it is kept"),
        )
        .with("field", "payload"),
        PayloadError::NotAnObject { .. } => {
            Problem::field("wrong_type", "payload", says, "write a JSON object")
        }
        PayloadError::Malformed { .. } => {
            Problem::new(StatusCode::BAD_REQUEST, "bad_json", says, "send one JSON object as UTF-8")
        }
        PayloadError::TooDeep { .. }
        | PayloadError::DuplicateKey { .. }
        | PayloadError::IntegerTooLarge { .. }
        | PayloadError::NumberOutOfRange { .. }
        | _ => Problem::field("payload_refused", "payload", says, "correct the place that is named"),
    }
}

/// The members of an object, in their order, their values as they came.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> (u16, &'static str) {
        let problem = read(body.as_bytes(), &HeaderMap::new(), 0).unwrap_err();
        (problem.status().as_u16(), problem.code())
    }

    #[test]
    fn payloads_are_judged_by_their_own_bytes() {
        let body = r#" {"payload": {"b": 18446744073709551615, "a": 1.0}, "type": "T", "id": "x"} "#;
        let intent = read(body.as_bytes(), &HeaderMap::new(), 0).unwrap();
        assert_eq!(intent.payload.as_str(), r#"{"a":1,"b":18446744073709551615}"#);
        assert_eq!((intent.id.as_str(), intent.kind.as_str()), ("x", "T"));
        let deep = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        let with = |payload: &str| format!(r#"{{"type":"T","payload":{payload}}}"#);
        assert!(read(with(&deep(64)).as_bytes(), &HeaderMap::new(), 0).is_ok());
        for (body, status, refusal) in [
            (with(&deep(65)), 422, "payload_refused"),
            (with(&deep(100_000)), 422, "payload_refused"),
            (with(r#"{"a":1,"a":1}"#), 422, "payload_refused"),
            (with(r#"{"a":18446744073709551616}"#), 422, "payload_refused"),
            (with(r#"{"a":1e999}"#), 422, "payload_refused"),
            (with("[]"), 422, "wrong_type"),
            (with("null"), 422, "wrong_type"),
            (with(&format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20))), 413, "payload_too_large"),
        ] {
            assert_eq!(code(&body), (status, refusal), "{body:.80}");
        }
    }

    #[test]
    fn bodies_are_refused_with_their_field() {
        for (body, status, refusal) in [
            ("", 400, "bad_json"),
            ("{", 400, "bad_json"),
            (r#"{"type":"T","type":"T","payload":{}}"#, 400, "bad_json"),
            (r#"{"type":"T","payload":{}} x"#, 400, "bad_json"),
            ("[]", 422, "not_an_object"),
            ("{}", 422, "missing_field"),
            (r#"{"type":"T"}"#, 422, "missing_field"),
            (r#"{"type":1,"payload":{}}"#, 422, "wrong_type"),
            (r#"{"type":"a b","payload":{}}"#, 422, "bad_name"),
            (r#"{"type":"T","payload":{},"id":""}"#, 422, "bad_name"),
            (r#"{"type":"T","payload":{},"id":null}"#, 422, "wrong_type"),
            (r#"{"type":"T","playload":{}}"#, 422, "unknown_field"),
        ] {
            assert_eq!(code(body), (status, refusal), "{body}");
        }
        assert!(read(&[b'{', 0xff], &HeaderMap::new(), 0).is_err());
    }

    #[test]
    fn ids_come_from_the_body_the_key_or_the_node() {
        let body = br#"{"type":"T","payload":{}}"#;
        let made = read(body, &HeaderMap::new(), 7).unwrap();
        assert_eq!(made.id.as_str().len(), 36);
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", "k".parse().unwrap());
        let first = read(body, &headers, 7).unwrap();
        assert!(first.id.as_str().starts_with("key-"));
        assert_eq!(read(body, &headers, 8).unwrap(), first);
    }
}
