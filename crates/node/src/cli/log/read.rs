//! `gangline log read`: events, one per line.

use gangline_lease::SpaceName;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ReadArgs, place};
use crate::cli::client::Client;
use crate::cli::output::{Output, printable};
use crate::failure::{Exit, Failure};

/// Events in one answer.
const PAGE: u64 = 256;

pub(super) async fn run(client: &Client, args: &ReadArgs, out: &Output) -> Result<(), Failure> {
    let mut next = args.from;
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let count = left.min(PAGE);
        let events = page(client, &args.space, next, count).await?;
        for event in &events {
            print(event.get(), out)?;
        }
        let got = events.len() as u64;
        if got < count {
            break;
        }
        (next, left) = (next.saturating_add(got), left.saturating_sub(got));
    }
    Ok(())
}

async fn page(
    client: &Client,
    space: &SpaceName,
    from: u64,
    limit: u64,
) -> Result<Vec<Box<RawValue>>, Failure> {
    let path = place(space, &format!("/events?from={from}&limit={limit}"));
    let bytes = client.send_bytes(Method::GET, &path, None).await?;
    serde_json::from_slice(&bytes).map_err(|_| not_events(client))
}

/// What answers there does not send events.
pub(super) fn not_events(client: &Client) -> Failure {
    let message = format!("what {} sends are no events of a log", client.base());
    Failure::new(Exit::Failed, "not_a_node", message).hint("check the URL given with --node or GANGLINE_NODE")
}

/// Prints an event as it came, or as a line for people.
pub(super) fn print(event: &str, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.line(event);
    }
    out.line(&line(event))
}

#[derive(Deserialize)]
struct Line<'a> {
    seq: u64,
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn line(event: &str) -> String {
    match serde_json::from_str::<Line<'_>>(event) {
        Ok(Line { seq, kind, payload }) => {
            format!("{seq:>6}  {}  {}", printable(kind), printable(payload.get()))
        }
        Err(_) => printable(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = r#"{"seq":7,"epoch":1,"type":"ALIAS_SET","payload":{"a":"\u001b[2J"}}"#;
        assert_eq!(line(event), r#"     7  ALIAS_SET  {"a":"\u001b[2J"}"#);
    }
}
