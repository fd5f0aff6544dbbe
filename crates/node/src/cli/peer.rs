//! `gangline peer`: who a node is connected with, and whether they answer.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{Output, printable};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum PeerCommand {
    /// List peers: how they are connected, what each lacks and why
    List,
    /// Call a peer over its session and wait for the answer
    Ping(PingArgs),
}

#[derive(Debug, Args)]
pub(super) struct PingArgs {
    /// Its URL, key or name, as `gangline peer list` shows it
    peer: String,
}

pub(super) async fn run(command: &PeerCommand, client: &Client, out: &Output) -> Result<(), Failure> {
    match command {
        PeerCommand::List => list(client, out).await,
        PeerCommand::Ping(args) => ping(&args.peer, client, out).await,
    }
}

async fn list(client: &Client, out: &Output) -> Result<(), Failure> {
    let reply = client.send(Method::GET, "/api/v1/peers", None).await?;
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let peers = reply.body.as_array().map(Vec::as_slice).unwrap_or_default();
    if peers.is_empty() {
        eprintln!("no peers: connect one with --peer URL, or let others dial this node");
    }
    let rows = peers.iter().map(|peer| {
        let key = text(peer, "key");
        let who = match text(peer, "name") {
            name if name.is_empty() => key.get(..8).unwrap_or("-").to_owned(),
            name => name,
        };
        let version = peer.get("version").and_then(Value::as_u64);
        let version = version.map_or_else(|| "-".to_owned(), |version| format!("v{version}"));
        let lacks = match text(peer, "lacks") {
            lacks if lacks.is_empty() => "nothing".to_owned(),
            lacks => lacks,
        };
        vec![text(peer, "url"), who, text(peer, "direction"), version, text(peer, "state"), lacks]
    });
    out.rows(&["PEER", "WHO", "DIRECTION", "SYNC", "STATE", "LACKS"], rows.collect())
}

async fn ping(peer: &str, client: &Client, out: &Output) -> Result<(), Failure> {
    let reply = client.send(Method::POST, "/api/v1/peers/ping", Some(&json!({ "peer": peer }))).await?;
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let micros = reply.body.get("micros").and_then(Value::as_u64).unwrap_or_default();
    let (name, key) = (text(&reply.body, "name"), text(&reply.body, "key"));
    out.line(&format!("{name} (ed25519:{key}) answered in {}.{:03} ms", micros / 1_000, micros % 1_000))
}

fn text(value: &Value, key: &str) -> String {
    printable(value.get(key).and_then(Value::as_str).unwrap_or_default())
}
