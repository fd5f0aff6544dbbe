//! `gangline log …`: append-only logs from the command line, over a node's HTTP, or what a stopped node left.

mod append;
mod export;
mod follow;
mod import;
mod read;
mod source;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gangline_lease::{EventType, IntentId, SpaceName};
use http::Method;
use serde_json::Value;

use super::client::Client;
use super::item::plain;
use super::output::Output;
use crate::failure::Failure;
use crate::url::segment;

/// What can be done with logs.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Append an event; says where it stands when it is durable
    Append(AppendArgs),
    /// Print events
    Read(ReadArgs),
    /// List spaces
    Spaces,
    /// Write a log to a file; the space takes no appends here afterwards
    Export(ExportArgs),
    /// Take a log from a file, verified, and append to it here
    Import(ImportArgs),
    /// Go on from the longer one of the node's log and a copy, after they have diverged
    Recover(RecoverArgs),
    /// Replay a log and say which event is the first that breaks a rule, if any does
    Verify(VerifyArgs),
}

/// What `log append` takes.
#[derive(Debug, Args)]
pub(super) struct AppendArgs {
    /// The space, such as team/pages
    space: SpaceName,
    /// The type of the event, such as ALIAS_SET
    #[arg(value_name = "TYPE")]
    kind: EventType,
    /// What it says: a JSON object; `-` reads it from stdin
    #[arg(value_name = "JSON")]
    payload: String,
    /// Its id, unique in the space; asking again with it appends nothing twice [default: a new one]
    #[arg(long)]
    id: Option<IntentId>,
}

/// What `log read` takes.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// The space
    space: SpaceName,
    /// The first event
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: u64,
    /// At most so many [default: all]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Go on with what comes
    #[arg(long)]
    follow: bool,
}

/// What `log export` takes.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The space
    space: SpaceName,
    /// The file to write
    file: PathBuf,
    /// Leave the space open here; the file is a copy
    #[arg(long)]
    copy: bool,
    /// What those are told who append here afterwards, such as http://other:3001 [default: the file]
    #[arg(long, value_name = "PLACE", conflicts_with = "copy")]
    to: Option<String>,
}

/// What `log import` takes.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// A file that `log export` has written
    file: PathBuf,
    /// Leave it a copy, which takes no appends here
    #[arg(long)]
    copy: bool,
}

/// What `log recover` takes.
#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// The space
    space: SpaceName,
    /// A file that `log export --copy` has written, or that a recovery has set aside; or `coordinator`: then the log
    /// of the node's coordinator counts, and what the node has beside it is set aside
    #[arg(long, value_name = "COPY")]
    from: PathBuf,
}

/// What `log verify` takes.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The space
    space: SpaceName,
    /// Look at what a node keeps in this folder, also a stopped one, in place of asking a node
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    data_dir: Option<PathBuf>,
    /// Look at a git repository, in place of asking a node
    #[arg(long, value_name = "REPO")]
    git: Option<PathBuf>,
}

pub(super) async fn run(
    command: &LogCommand,
    client: impl FnOnce() -> Result<Client, Failure>,
    out: &Output,
) -> Result<(), Failure> {
    match command {
        LogCommand::Append(args) => append::run(&client()?, args, out).await,
        LogCommand::Read(args) if args.follow => follow::run(&client()?, args, out).await,
        LogCommand::Read(args) => read::run(&client()?, args, out).await,
        LogCommand::Spaces => spaces(&client()?, out).await,
        LogCommand::Export(args) => export::run(&client()?, args, out).await,
        LogCommand::Import(args) => import::import(&client()?, args, out).await,
        LogCommand::Recover(args) => import::recover(&client()?, args, out).await,
        LogCommand::Verify(args) => verify::run(client, args, out).await,
    }
}

/// The path of a space, or of what is below it.
pub(super) fn place(space: &SpaceName, below: &str) -> String {
    format!("/api/v1/spaces/{}{below}", segment(space.as_str()))
}

/// Spaces in one answer.
const PAGE: usize = 1_000;

async fn spaces(client: &Client, out: &Output) -> Result<(), Failure> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().and_then(|space| space.get("space")).and_then(Value::as_str);
        let after = after.map(|name| format!("&after={}", segment(name))).unwrap_or_default();
        let path = format!("/api/v1/spaces?limit={PAGE}{after}");
        let reply = client.send(Method::GET, &path, None).await?;
        let page = reply.body.as_array().cloned().unwrap_or_default();
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            break;
        }
    }
    if out.is_json() {
        return out.document(&all);
    }
    let cell = |space: &Value, key: &str| {
        space.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default()
    };
    let rows = all.iter().map(|space| {
        let note = match (cell(space, "diverged"), cell(space, "access").as_str()) {
            (how, _) if !how.is_empty() => format!("DIVERGED: {how}"),
            (_, "moved") => format!("moved to {}", cell(space, "moved_to")),
            (_, "open") => String::new(),
            (_, other) => other.to_owned(),
        };
        let fields = ["space", "next", "epoch", "holder_name"].map(|key| cell(space, key));
        fields.into_iter().chain([note]).collect()
    });
    out.rows(&["SPACE", "EVENTS", "EPOCH", "HOLDER", ""], rows.collect())
}
