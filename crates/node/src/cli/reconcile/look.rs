//! `gangline reconcile verify|history|explain`

use http::Method;
use serde_json::Value;

use super::shown::{beside, count, list, number, problems, short, text, there, versions};
use super::which::{WhichArgs, each, ended};
use super::{ExplainArgs, HistoryArgs, place};
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::url::segment;

/// Places of a change that are named; the others are counted.
const NAMED: usize = 3;

pub(super) async fn verify(client: &Client, args: &WhichArgs, out: &Output) -> Result<(), Failure> {
    let which = args.ids(client).await?;
    let (mut equal, mut differ) = (0, 0);
    each(&which.ids, "verifying", async |id| {
        let reply = client.send(Method::GET, &place(id, "/verify"), None).await?;
        let found = &reply.body;
        let is_equal = found.get("ok").and_then(Value::as_bool) == Some(true);
        *(if is_equal { &mut equal } else { &mut differ }) += 1;
        if out.is_json() {
            return out.line(reply.text.trim_end());
        }
        if is_equal {
            return Ok(());
        }
        out.line(&format!("{}: differs from the rows that it follows", text(found, "id")))?;
        let differences = list(found, "differences").iter().map(|difference| {
            let path = text(difference, "path");
            let mut row = vec![path.clone()];
            row.extend(beside(&["document", "database"].map(|key| there(difference, &path, key))));
            row
        });
        let differences: Vec<_> = differences.collect();
        if !differences.is_empty() {
            out.rows(&["PLACE", "DOCUMENT", "DATABASE"], differences)?;
        }
        problems(found).iter().try_for_each(|problem| out.line(&format!("  skipped  {problem}")))
    })
    .await?;
    if !out.is_json() {
        let verb = if equal == 1 { "equals its rows" } else { "equal their rows" };
        out.line(&format!("{} {verb}", count(equal, "document")))?;
        which.left_out().map_or(Ok(()), |told| out.line(&told))?;
    }
    if differ == 0 {
        return Ok(());
    }
    if out.is_json() {
        return Err(ended(Exit::Unhealthy));
    }
    let message = format!(
        "{} from the rows that they follow",
        match differ {
            1 => "1 document differs".to_owned(),
            differ => format!("{differ} documents differ"),
        }
    );
    Err(Failure::new(Exit::Unhealthy, "differs", message).hint(
        "somebody may be writing the database at this moment: look again; `gangline reconcile run` follows it now; \
         rows that are skipped have to be mended in the database",
    ))
}

pub(super) async fn history(client: &Client, args: &HistoryArgs, out: &Output) -> Result<(), Failure> {
    let path = place(&args.id, &format!("/history?limit={}", args.limit));
    let reply = client.send(Method::GET, &path, None).await?;
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let entries = reply.body.as_array().map(Vec::as_slice).unwrap_or_default();
    out.rows(&["WHEN", "WHO", "WHAT", "DATABASE"], entries.iter().map(entry).collect())
}

fn entry(entry: &Value) -> Vec<String> {
    let audit = entry.get("audit").filter(|audit| !audit.is_null());
    let who = match (text(entry, "by").as_str(), audit.map(|audit| text(audit, "actor")).as_deref()) {
        ("source", None | Some("")) => "the database".to_owned(),
        ("source", Some(actor)) => format!("the database, by {actor}"),
        (name, _) => name.to_owned(),
    };
    let changes = list(entry, "changes");
    let mut what: Vec<String> = changes.iter().take(NAMED).map(|change| text(change, "path")).collect();
    match changes.len().saturating_sub(NAMED) {
        0 => {}
        more => what.push(format!("and {more} more")),
    }
    let batch = audit.map(|audit| {
        let mut parts: Vec<String> = versions(audit).into_iter().collect();
        parts.push(count(number(audit, "ops"), "op"));
        parts.push(count(number(audit, "bytes"), "byte"));
        if audit.get("version_stood_still").and_then(Value::as_bool) == Some(true) {
            parts.push("the version stood still".to_owned());
        }
        parts.join(", ")
    });
    let when = entry.get("received_at_ms").and_then(Value::as_u64).map(clock::utc).unwrap_or_default();
    vec![when, who, what.join(", "), batch.unwrap_or_default()]
}

pub(super) async fn explain(client: &Client, args: &ExplainArgs, out: &Output) -> Result<(), Failure> {
    let path = place(&args.id, &format!("/explain?path={}", segment(&args.path)));
    let reply = client.send(Method::GET, &path, None).await?;
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let told = &reply.body;
    for line in sentences(told) {
        out.line(&line)?;
    }
    let writes = list(told, "writes");
    if writes.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.rows(&["WRITTEN", "BY", "RANK", "LAMPORT", ""], writes.iter().map(write).collect())
}

fn sentences(told: &Value) -> Vec<String> {
    let value = |key: &str| short(told.get(key));
    let mut lines = vec![text(told, "why")];
    lines.push(format!("shown     {}", value("shown")));
    lines.push(format!("base      {}", value("base")));
    lines.push(format!("document  {}", value("document")));
    lines.push(format!("database  {}", value("database")));
    let rule = match (text(told, "policy"), text(told, "rule")) {
        (policy, rule) if rule.is_empty() || rule == policy => policy,
        (policy, rule) => format!("{policy}: {rule}"),
    };
    lines.push(format!("rule      {rule}"));
    for (key, what) in [("unsaved", "not saved"), ("conflict", "in conflict")] {
        if told.get(key).and_then(Value::as_bool) == Some(true) {
            lines.push(format!("state     {what}"));
        }
    }
    lines
}

fn write(write: &Value) -> Vec<String> {
    let is_shown = write.get("shown").and_then(Value::as_bool) == Some(true);
    let by = match text(write, "by").as_str() {
        "source" => "the database".to_owned(),
        name => name.to_owned(),
    };
    let plain = |key: &str| write.get(key).filter(|value| !value.is_null()).map(|value| short(Some(value)));
    vec![
        short(write.get("value")),
        by,
        plain("rank").unwrap_or_default(),
        plain("lamport").unwrap_or_default(),
        if is_shown { "shown" } else { "" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn history_tells_people_from_the_database() {
        let by = |name: &str, audit: Value| {
            entry(&json!({
                "digest": "aa", "author": "bb", "by": name, "seq": 3, "lamport": 9, "received_at_ms": 0,
                "changes": [{"path": "a", "kind": "set"}, {"path": "b", "kind": "set"}, {"path": "c", "kind": "set"}, {"path": "d", "kind": "set"}],
                "audit": audit,
            }))
            .join("|")
        };
        assert_eq!(by("swift-otter", json!(null)), "1970-01-01 00:00:00Z|swift-otter|a, b, c, and 1 more|");
        let audit = json!({"actor": "deploy", "from": 7, "to": 8, "ops": 1, "bytes": 300});
        assert_eq!(
            by("source", audit),
            "1970-01-01 00:00:00Z|the database, by deploy|a, b, c, and 1 more|version 7 → 8, 1 op, 300 bytes"
        );
        assert!(by("source", json!({"actor": null, "ops": 2})).contains("|the database|"));
    }

    #[test]
    fn an_explanation_leads_with_its_sentence() {
        let told = json!({
            "path": "name", "shown": "a", "base": "b", "document": "c", "policy": "db_wins", "rule": "db_wins",
            "writes": [{"value": "a", "author": "x", "by": "source", "rank": 2, "digest": "d", "lamport": 4, "shown": true}],
            "unsaved": false, "conflict": true, "why": "the database wins over what bob wrote",
        });
        assert_eq!(
            sentences(&told),
            [
                "the database wins over what bob wrote",
                "shown     a",
                "base      b",
                "document  c",
                "database  –",
                "rule      db_wins",
                "state     in conflict",
            ]
        );
        assert_eq!(write(&told["writes"][0]), ["a", "the database", "2", "4", "shown"]);
    }
}
