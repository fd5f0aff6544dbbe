//! `gangline status`: how a node is, health first.

use http::Method;
use serde_json::Value;

use super::client::Client;
use super::output::{Output, printable};
use crate::failure::{Exit, Failure};

pub(super) async fn run(client: &Client, out: &Output) -> Result<(), Failure> {
    let reply = client.send(Method::GET, "/api/v1/status", None).await?;
    let status = reply.body;
    let is_well = status.get("health").and_then(Value::as_str) == Some("ok");
    if out.is_json() {
        out.line(reply.text.trim_end())?;
    } else {
        for line in lines(&status) {
            out.line(&line)?;
        }
    }
    if is_well {
        return Ok(());
    }
    let failure =
        Failure::new(Exit::Unhealthy, "unhealthy", format!("the node at {} is not well", client.base()));
    Err(failure.hint(reasons(&status).join("\n")))
}

fn reasons(status: &Value) -> Vec<String> {
    list(status, "reasons").iter().map(|reason| text(reason, "message")).collect()
}

fn lines(status: &Value) -> Vec<String> {
    let mut lines = vec![
        format!("health  {}", text(status, "health")),
        format!("node    {} (ed25519:{})", text(status, "name"), text(status, "node_id")),
        format!("version {}", text(status, "version")),
    ];
    for reason in reasons(status) {
        lines.insert(1, format!("        {reason}"));
    }
    for document in list(status, "documents") {
        let heads = list(document, "heads").len();
        lines.push(format!(
            "board   {} items, {} ops, {heads} head{}, {} waiting for their past",
            number(document, "items"),
            number(document, "ops"),
            if heads == 1 { "" } else { "s" },
            number(document, "pending"),
        ));
    }
    let peers = list(status, "peers");
    if peers.is_empty() {
        lines.push("peers   none".to_owned());
    }
    for peer in peers {
        let reason = text(peer, "reason");
        let lacks = text(peer, "lacks");
        let reason = if lacks.is_empty() { reason } else { format!("lacks {lacks}") };
        let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
        lines.push(format!("peer    {} {}{reason}", text(peer, "url"), text(peer, "state")));
    }
    if let Some(log) = status.get("log") {
        let held = number(log, "spaces_held");
        lines.push(format!(
            "logs    {}, {held} space{} held",
            text(log, "backend"),
            if held == 1 { "" } else { "s" }
        ));
        for space in list(log, "diverged") {
            lines.push(format!("LOG     {} is not served: {}", text(space, "space"), text(space, "reason")));
        }
    }
    for source in list(status, "sources") {
        let (name, state) = (text(source, "name"), text(source, "state"));
        let head = if state == "following" { "source " } else { "SOURCE " };
        let state = match state.as_str() {
            "no_key" => "only followed",
            "needs_plan" => "waits for its plan to be accepted",
            "two_keys" => "followed under two keys",
            state => state,
        };
        let reason = text(source, "reason");
        let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
        lines.push(format!("{head} {name} ({}) {state}{reason}", text(source, "place")));
    }
    for proof in list(status, "equivocations") {
        lines.push(format!(
            "LIAR    {} signed two changes at {} ({})",
            text(proof, "author"),
            number(proof, "seq"),
            text(proof, "policy")
        ));
    }
    lines
}

fn text(value: &Value, key: &str) -> String {
    printable(value.get(key).and_then(Value::as_str).unwrap_or_default())
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
