//! `gangline reconcile status|pause|resume|install|uninstall`: databases that documents follow.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use http::Method;
use serde_json::{Value, json};

use super::InstallArgs;
use super::shown::{list, number, text};
use super::which::ended;
use crate::cli::client::Client;
use crate::cli::output::{Output, printable_lines};
use crate::failure::{Exit, Failure};
use crate::url::segment;

/// States of a source in which documents do not follow, or not as they should, until somebody does something.
const ILL: [&str; 4] = ["failing", "needs_plan", "no_key", "two_keys"];

pub(super) async fn status(client: &Client, name: Option<&str>, out: &Output) -> Result<(), Failure> {
    let reply = client.send(Method::GET, "/api/v1/reconcile", None).await?;
    let mut sources = reply.body.as_array().cloned().unwrap_or_default();
    if let Some(name) = name {
        sources.retain(|source| source.get("name").and_then(Value::as_str) == Some(name));
        if sources.is_empty() {
            let message = format!("the node has no source {name:?}");
            return Err(Failure::new(Exit::NotFound, "no_such_source", message)
                .hint("`gangline reconcile status` lists those that it has"));
        }
    }
    let is_ill = |source: &&Value| ILL.contains(&text(source, "state").as_str());
    let ill = sources.iter().filter(is_ill).count();
    if out.is_json() {
        out.document(&sources)?;
        return if ill == 0 { Ok(()) } else { Err(ended(Exit::Unhealthy)) };
    }
    if sources.is_empty() {
        eprintln!("the node follows no database: write [[reconcile]] in its settings");
    }
    let heading =
        ["SOURCE", "DATABASE", "MODE", "STATE", "FEED", "LAG", "PENDING", "FAILED", "MISSED", "DOCUMENTS"];
    out.rows(&heading, sources.iter().map(row).collect())?;
    for source in sources.iter().filter(|source| !text(source, "reason").is_empty()) {
        out.line(&format!("{}: {}", text(source, "name"), text(source, "reason")))?;
    }
    if ill == 0 {
        return Ok(());
    }
    let failure =
        Failure::new(Exit::Unhealthy, "not_following", "not every database is followed as it should be");
    let waits = sources.iter().any(|source| text(source, "state") == "needs_plan");
    Err(failure.hint(if waits {
        "what is wrong stands above; a database that was put back from a backup wants \
         `gangline reconcile plan` and then `run --accept-restored`"
    } else {
        "what is wrong stands above"
    }))
}

fn row(source: &Value) -> Vec<String> {
    let mut row: Vec<String> =
        ["name", "place", "mode", "state", "feed"].iter().map(|key| text(source, key)).collect();
    row.push(match source.get("lag_ms").and_then(Value::as_u64) {
        None => String::new(),
        Some(lag) if lag < 10_000 => format!("{lag} ms"),
        Some(lag) => format!("{} s", lag / 1_000),
    });
    row.extend(
        ["pending", "failed", "missed", "documents"].iter().map(|key| number(source, key).to_string()),
    );
    row
}

pub(super) async fn pause(client: &Client, name: &str, pauses: bool, out: &Output) -> Result<(), Failure> {
    let verb = if pauses { "pause" } else { "resume" };
    let path = format!("/api/v1/reconcile/{}/{verb}", segment(name));
    let reply = client.send(Method::POST, &path, Some(&json!({}))).await?;
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let name = text(&reply.body, "name");
    match reply.body.get("paused").and_then(Value::as_bool) {
        Some(true) => {
            out.line(&format!("{name} is paused; what the database does meanwhile is followed later"))
        }
        _ => out.line(&format!("{name} is followed")),
    }
}

/// In or out of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

impl Way {
    fn verb(self) -> &'static str {
        match self {
            Self::In => "install",
            Self::Out => "uninstall",
        }
    }

    /// What there is to be said when it is done.
    fn done(self) -> &'static str {
        match self {
            Self::In => "the outbox is installed",
            Self::Out => "the outbox is removed",
        }
    }

    /// What there is to be said where it is so already.
    fn was_done(self) -> &'static str {
        match self {
            Self::In => "the outbox is installed already",
            Self::Out => "no outbox is installed",
        }
    }

    /// Whether it is so, given whether an outbox is there.
    fn is_done(self, installed: bool) -> bool {
        installed == (self == Self::In)
    }
}

pub(super) async fn install(
    client: &Client,
    args: &InstallArgs,
    way: Way,
    out: &Output,
) -> Result<(), Failure> {
    let path = format!("/api/v1/reconcile/{}/{}", segment(&args.name), way.verb());
    let ask = async |dry: bool| client.send(Method::POST, &path, Some(&json!({ "dry_run": dry }))).await;
    let is_done = |body: &Value| way.is_done(body.get("installed").and_then(Value::as_bool) == Some(true));
    if out.is_json() {
        if !args.yes && !args.dry_run {
            return Err(unasked(way, &args.name));
        }
        return out.line(ask(args.dry_run).await?.text.trim_end());
    }
    let planned = ask(true).await?.body;
    if is_done(&planned) {
        return out.line(&format!("{}: {}", args.name, way.was_done()));
    }
    for statement in list(&planned, "sql").iter().filter_map(Value::as_str) {
        out.line(&format!("{};", printable_lines(statement.trim_end().trim_end_matches(';'))))?;
    }
    if args.dry_run {
        return Ok(());
    }
    if !args.yes {
        confirmed(way, &args.name)?;
    }
    let done = ask(false).await?.body;
    if !is_done(&done) {
        return Err(Failure::new(Exit::Failed, "not_done", "the node did not say that it is done"));
    }
    out.line(&format!("{}: {}", args.name, way.done()))
}

fn unasked(way: Way, name: &str) -> Failure {
    let verb = way.verb();
    Failure::new(
        Exit::Usage,
        "not_confirmed",
        format!("nobody was there to say yes: {verb} changes a database"),
    )
    .hint(format!("gangline reconcile {verb} {name} --yes; or --dry-run to see the SQL"))
}

/// Asks on stderr, so that stdout is the SQL alone.
fn confirmed(way: Way, name: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(unasked(way, name));
    }
    let mut answer = String::new();
    let mut stderr = anstream::stderr().lock();
    let _ = write!(stderr, "Execute this in the database of {name}? [y/N] ");
    let _ = stderr.flush();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "not_confirmed", "nothing was done"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_row() {
        let source = json!({
            "name": "w", "place": "sqlite:app.db", "mode": "merge", "state": "following", "reason": null, "feed": "scan",
            "lag_ms": 12, "pending": 1, "failed": 0, "missed": 2, "documents": 50, "public_key": "ed25519:aa",
        });
        assert_eq!(
            row(&source),
            ["w", "sqlite:app.db", "merge", "following", "scan", "12 ms", "1", "0", "2", "50"]
        );
        assert_eq!(row(&json!({"lag_ms": 61_000}))[5], "61 s");
        assert_eq!(row(&json!({"lag_ms": null}))[5], "");
    }

    #[test]
    fn nobody_to_ask_is_told_how_to_say_yes() {
        let failure = unasked(Way::In, "w");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("gangline reconcile install w --yes"), "{failure}");
        assert!(Way::Out.is_done(false) && Way::In.is_done(true) && !Way::Out.is_done(true));
    }
}
