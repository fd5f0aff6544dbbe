//! `gangline reconcile run`: follows the database now.

use http::Method;
use serde_json::{Map, Value};

use super::shown::{count, list, outcome, problems, text};
use super::which::each;
use super::{RunArgs, place, plan};
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::failure::Failure;

pub(super) async fn run(client: &Client, args: &RunArgs, out: &Output) -> Result<(), Failure> {
    let which = args.which.ids(client).await?;
    let body = body(args);
    let mut quiet = 0;
    let result = each(&which.ids, "reconciling", async |id| {
        let reply = client.send(Method::POST, &place(id, "/reconcile"), Some(&body)).await?;
        if out.is_json() {
            return out.line(reply.text.trim_end());
        }
        let done = &reply.body;
        let changes = list(done, "changes");
        if changes.is_empty() && problems(done).is_empty() && which.ids.len() > 1 {
            quiet += 1;
            return Ok(());
        }
        out.line(&plan::head(done))?;
        changes.iter().try_for_each(|change| out.line(&line(change)))?;
        problems(done).iter().try_for_each(|problem| out.line(&format!("  skipped  {problem}")))
    })
    .await;
    if !out.is_json() && which.ids.len() != 1 {
        out.line(&format!("{} with nothing to do", count(quiet, "document")))?;
        which.left_out().map_or(Ok(()), |told| out.line(&told))?;
    }
    result
}

fn body(args: &RunArgs) -> Value {
    let mut body = Map::new();
    if let Some(actor) = &args.actor {
        body.insert("actor".into(), actor.clone().into());
    }
    if args.accept_restored {
        body.insert("accept_restored".into(), true.into());
    }
    Value::Object(body)
}

/// What the database changed, and what became of it. A path, or a row and a field.
pub(in crate::cli) fn line(change: &Value) -> String {
    let path = match (text(change, "path"), text(change, "row"), text(change, "field")) {
        (path, ..) if !path.is_empty() => path,
        (_, row, field) if row.is_empty() || field.is_empty() => format!("{row}{field}"),
        (_, row, field) => format!("{row}.{field}"),
    };
    let (kind, became) = (text(change, "kind"), text(change, "outcome"));
    let what = match (&*kind, &*became) {
        // A mirror has let go of what people did.
        ("insert", "dropped") => return format!("  {path}  row is back: its deletion was dropped"),
        ("delete", "dropped") => return format!("  {path}  row dropped: only the document had it"),
        ("insert", _) => "  new row",
        ("delete", _) => "  row deleted",
        _ => "",
    };
    format!("  {path}{what}  {}", outcome(&became))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_done_is_a_line_for_each_change() {
        let shown = |change: Value| line(&change);
        assert_eq!(
            shown(json!({"path": "jobs.j1", "kind": "insert", "outcome": "dropped"})),
            "  jobs.j1  row is back: its deletion was dropped"
        );
        assert_eq!(
            shown(json!({"path": "jobs.j1.body", "kind": "text", "outcome": "merged"})),
            "  jobs.j1.body  merged"
        );
        assert_eq!(
            shown(json!({"row": "jobs.j1", "field": "body", "kind": "set", "outcome": "prevails"})),
            "  jobs.j1.body  CONFLICT: the database's shows"
        );
        assert_eq!(
            shown(json!({"row": "jobs.j1", "field": null, "kind": "insert", "outcome": "applied"})),
            "  jobs.j1  new row  applied"
        );
        assert_eq!(
            shown(json!({"row": null, "field": "name", "kind": "set", "outcome": "applied"})),
            "  name  applied"
        );
    }
}
