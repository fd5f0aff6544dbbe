//! `gangline lease …`: who may append to a log, over a node's HTTP.

use std::time::Duration;

use clap::{Args, Subcommand};
use gangline_lease::SpaceName;
use http::Method;
use serde_json::{Value, json};

use super::client::{Client, Reply};
use super::log::place;
use super::output::{Output, printable};
use crate::clock;
use crate::failure::{Exit, Failure};

/// What can be done with leases.
#[derive(Debug, Subcommand)]
pub(super) enum LeaseCommand {
    /// Say who holds a space, and for how long
    Status(SpaceArgs),
    /// Make the node the holder, or keep it so
    Acquire(SpaceArgs),
    /// Let another node have the space
    Release(SpaceArgs),
    /// Print each change of the holder, one per line
    Watch(SpaceArgs),
}

/// Which space.
#[derive(Debug, Args)]
pub(super) struct SpaceArgs {
    /// The space, such as team/pages
    space: SpaceName,
}

/// How often a watched lease is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between looks at a node that is away, at most.
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) async fn run(command: &LeaseCommand, client: &Client, out: &Output) -> Result<(), Failure> {
    match command {
        LeaseCommand::Status(args) => {
            let reply = client.send(Method::GET, &path(args), None).await?;
            print(&reply, args, out)
        }
        LeaseCommand::Acquire(args) => {
            let reply = client.send(Method::POST, &path(args), None).await?;
            print(&reply, args, out)
        }
        LeaseCommand::Release(args) => {
            client.send(Method::DELETE, &path(args), None).await?;
            if out.is_json() {
                return out.document(&json!({ "released": args.space.as_str() }));
            }
            out.line(&format!("released {}", args.space))
        }
        LeaseCommand::Watch(args) => watch(client, args, out).await,
    }
}

fn path(args: &SpaceArgs) -> String {
    place(&args.space, "/lease")
}

fn print(reply: &Reply, args: &SpaceArgs, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let left = reply.body.get("expires_in_ms").and_then(Value::as_u64).unwrap_or_default();
    match who(&reply.body) {
        None => out.line(&format!("{}: nobody holds it", args.space)),
        Some(who) => out.line(&format!("{}: {who}, {}.{} s left", args.space, left / 1_000, left / 100 % 10)),
    }
}

/// The holder and its epoch, if there is one.
fn who(lease: &Value) -> Option<String> {
    let text = |key: &str| lease.get(key).and_then(Value::as_str).map(printable);
    let holder = text("holder")?;
    let epoch = lease.get("epoch").and_then(Value::as_u64).unwrap_or_default();
    let url = text("holder_url").map(|url| format!(" at {url}")).unwrap_or_default();
    Some(format!("{} (ed25519:{holder}){url}, epoch {epoch}", text("holder_name").unwrap_or_default()))
}

/// Looks again and again. A node that is away is waited for, once it was there.
async fn watch(client: &Client, args: &SpaceArgs, out: &Output) -> Result<(), Failure> {
    let path = path(args);
    let mut shown: Option<(Value, Value)> = None;
    let mut pause = LOOK_EVERY;
    loop {
        match client.send(Method::GET, &path, None).await {
            Ok(reply) => {
                pause = LOOK_EVERY;
                let field = |key: &str| reply.body.get(key).cloned().unwrap_or_default();
                let now = (field("holder"), field("epoch"));
                if shown.as_ref() != Some(&now) {
                    let text = match who(&reply.body) {
                        Some(who) => format!("{}  {who}", clock::utc(clock::now_ms())),
                        None => format!("{}  nobody", clock::utc(clock::now_ms())),
                    };
                    if out.is_json() {
                        out.line(reply.text.trim_end())?
                    } else {
                        out.line(&text)?
                    }
                    shown = Some(now);
                }
            }
            Err(failure)
                if shown.is_some()
                    && matches!(failure.exit, Exit::Unreachable | Exit::Timeout | Exit::Unhealthy) =>
            {
                pause = (pause * 2).min(PAUSE_MAX);
                tracing::debug!(event = "lease_watch_retry", "{failure}");
            }
            Err(failure) => return Err(failure),
        }
        clock::pause(pause).await;
    }
}
