//! The check of what nodes say to each other about logs, and of payloads.

use gangline_lease::Payload;
use gangline_lease::remote::{METHODS, recode_reply, recode_request};

/// In the first byte of an input: a payload follows, or a reply. The lower half says to which call.
const PAYLOAD: u8 = 0x40;
const REPLY: u8 = 0x80;

/// A request or a reply, behind a byte that says which; or a payload as a client sends it.
pub fn log_message(data: &[u8]) -> bool {
    let Some((kind, body)) = data.split_first() else { return false };
    if kind & PAYLOAD != 0 {
        return is_payload(body);
    }
    let method = METHODS.start() + u32::from(kind & 0x0f);
    let again = if kind & REPLY == 0 { recode_request(method, body) } else { recode_reply(method, body) };
    if let Some(again) = &again {
        assert_eq!(again, body, "a message has one spelling");
    }
    again.is_some()
}

fn is_payload(json: &[u8]) -> bool {
    let Ok(form) = Payload::parse(json) else { return false };
    assert_eq!(Payload::parse(form.bytes()).as_ref(), Ok(&form), "the form of a form is itself");
    assert_eq!(Payload::stored(form.bytes()), Ok(Some(form.clone())));
    let read = |json: &[u8]| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json);
    let (there, here) = (read(json).expect("JSON for others too"), read(form.bytes()).expect("JSON"));
    assert!(there.keys().eq(here.keys()), "it says the same");
    true
}

/// Makes an input of a request.
#[must_use]
pub fn request(method: u32, body: &[u8]) -> Vec<u8> {
    input(nth(method), body)
}

/// Makes an input of a reply to a call.
#[must_use]
pub fn reply(method: u32, body: &[u8]) -> Vec<u8> {
    input(REPLY | nth(method), body)
}

/// Makes an input of a payload.
#[must_use]
pub fn payload(json: &str) -> Vec<u8> {
    input(PAYLOAD, json.as_bytes())
}

fn nth(method: u32) -> u8 {
    u8::try_from(method.saturating_sub(*METHODS.start())).unwrap_or(u8::MAX) & 0x0f
}

fn input(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], body].concat()
}
