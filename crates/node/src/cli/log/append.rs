//! `gangline log append`: asks again with the same id until it knows.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use gangline_lease::limits::PAYLOAD_BYTES_MAX;
use gangline_lease::{IntentId, Payload};
use http::Method;
use serde_json::{Value, json};

use super::{AppendArgs, place};
use crate::cli::client::Client;
use crate::cli::item::plain;
use crate::cli::output::{Output, printable};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::logs::new_id;

/// Between attempts: first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub(super) async fn run(client: &Client, args: &AppendArgs, out: &Output) -> Result<(), Failure> {
    let text = match args.payload.as_str() {
        "-" => stdin()?,
        json => json.to_owned(),
    };
    // In its one form already here: what is wrong with it needs no node to be told.
    let payload = Payload::parse(text.as_bytes()).map_err(|error| {
        Failure::new(Exit::Usage, "bad_payload", error.to_string())
            .hint("give a JSON object, for example '{\"alias\": \"2\"}'")
    })?;
    let id = args.id.clone().unwrap_or_else(|| new_id(clock::now_ms()));
    let body = format!(r#"{{"type":"{}","id":"{id}","payload":{}}}"#, args.kind, payload.as_str());
    let path = place(&args.space, "/events");
    let answer = until_known(client, &path, body.into(), &id).await?;
    if out.is_json() {
        return out.line(String::from_utf8_lossy(&answer).trim_end());
    }
    let placed: Value = serde_json::from_slice(&answer).unwrap_or_default();
    for name in ["seq", "epoch", "id", "hash"] {
        let value = placed.get(name).map(plain).unwrap_or_default();
        out.line(&format!("{name:<8}{}", printable(&value)))?;
    }
    Ok(())
}

/// Asks until the node knows whether it was appended, or the time is over.
async fn until_known(client: &Client, path: &str, body: Bytes, id: &IntentId) -> Result<Bytes, Failure> {
    let once = client.patient(client.timeout() / 2);
    let mut is_open = false;
    let asking = async {
        let mut pause = PAUSE_MIN;
        loop {
            match once.send_bytes(Method::POST, path, Some(body.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if may_have_landed(&failure) => is_open = true,
                // The node may be on its way back.
                Err(failure) if is_open && failure.exit == Exit::Unreachable => {}
                Err(failure) => return Err(failure),
            }
            clock::pause(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    let answered = tokio::time::timeout(client.timeout(), asking).await;
    answered.unwrap_or_else(|_| {
        let waited = client.timeout().as_secs_f32();
        let message = format!("whether the event was appended is not known after {waited} s");
        let mut failure = Failure::new(Exit::Timeout, "unknown", message)
            .hint(format!("ask again with --id {id}: that appends nothing twice"));
        failure.details = Some(json!({ "id": id.as_str() }));
        Err(failure)
    })
}

/// Whether a failure leaves open what became of the event.
fn may_have_landed(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "unknown" | "timeout" | "connection_lost")
}

fn stdin() -> Result<String, Failure> {
    let unreadable = |message: String| Failure::new(Exit::Usage, "bad_payload", message);
    let mut bytes = Vec::new();
    // One more than fits says that it does not.
    let limit = PAYLOAD_BYTES_MAX as u64 + 1;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(format!("cannot read stdin: {error}")))?;
    String::from_utf8(bytes).map_err(|_| unreadable("what came on stdin is not UTF-8".into()))
}
