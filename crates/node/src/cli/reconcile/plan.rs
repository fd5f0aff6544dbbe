//! `gangline reconcile plan`: what following the database would change, before it is done.

use http::Method;
use serde_json::Value;

use super::place;
use super::shown::{beside, count, list, number, outcome, problems, text, there, versions};
use super::which::{WhichArgs, each, ended};
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::failure::{Exit, Failure};

/// What plans found together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    Changes,
    Conflicts,
}

pub(super) async fn run(client: &Client, args: &WhichArgs, out: &Output) -> Result<(), Failure> {
    let which = args.ids(client).await?;
    let (mut found, mut quiet) = (Found::Nothing, 0);
    each(&which.ids, "planning", async |id| {
        let reply = client.send(Method::GET, &place(id, "/plan"), None).await?;
        let plan = &reply.body;
        found = found.max(kind(plan));
        if out.is_json() {
            return out.line(reply.text.trim_end());
        }
        if kind(plan) == Found::Nothing && problems(plan).is_empty() && which.ids.len() > 1 {
            quiet += 1;
            return Ok(());
        }
        out.line(&head(plan))?;
        let changes = list(plan, "changes");
        if !changes.is_empty() {
            out.rows(
                &["PLACE", "BASE", "DOCUMENT", "DATABASE", "RULE", "OUTCOME"],
                changes.iter().map(row).collect(),
            )?;
        }
        problems(plan).iter().try_for_each(|problem| out.line(&format!("skipped  {problem}")))?;
        acceptance(plan).map_or(Ok(()), |told| out.line(&told))
    })
    .await?;
    if !out.is_json() && which.ids.len() != 1 {
        out.line(&format!("{} with nothing to do", count(quiet, "document")))?;
        which.left_out().map_or(Ok(()), |told| out.line(&told))?;
    }
    match found {
        Found::Nothing => Ok(()),
        Found::Changes => Err(ended(Exit::Changes)),
        Found::Conflicts => Err(ended(Exit::Conflict)),
    }
}

fn kind(plan: &Value) -> Found {
    match (number(plan, "conflicts"), number(plan, "ops"), list(plan, "changes").is_empty()) {
        (1.., ..) => Found::Conflicts,
        (0, 0, true) => Found::Nothing,
        (0, ..) => Found::Changes,
    }
}

/// One line for a plan or for what was done.
pub(super) fn head(plan: &Value) -> String {
    let changes = list(plan, "changes").len() as u64;
    let mut parts: Vec<String> = versions(plan).into_iter().collect();
    if changes == 0 && number(plan, "ops") == 0 {
        parts.push("nothing to do".to_owned());
    } else {
        parts.push(count(changes, "change"));
        parts.push(format!("{}, {}", count(number(plan, "ops"), "op"), count(number(plan, "bytes"), "byte")));
    }
    match number(plan, "conflicts") {
        0 => {}
        conflicts => parts.push(count(conflicts, "conflict")),
    }
    format!("{}: {}", text(plan, "id"), parts.join(", "))
}

/// What somebody has to accept before this is done.
fn acceptance(plan: &Value) -> Option<String> {
    let what = match text(plan, "needs_acceptance").as_str() {
        "" => return None,
        "older_version" => "the database has an older version than the document has followed",
        _ => "the database was put back from a backup",
    };
    Some(format!("waits    {what}: gangline reconcile run {} --accept-restored does this", text(plan, "id")))
}

fn row(change: &Value) -> Vec<String> {
    let path = text(change, "path");
    let mut row = vec![path.clone()];
    row.extend(beside(&["base", "document", "database"].map(|key| there(change, &path, key))));
    row.push(text(change, "rule"));
    row.push(outcome(&text(change, "outcome")).to_owned());
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_has_a_line_and_a_row_for_each_change() {
        let plan = json!({
            "id": "workflow:42", "source": "w", "mode": "merge", "from": 7, "to": 8, "base": ["aa"],
            "changes": [
                {"path": "name", "base": "Daily", "document": "Nightly", "database": "Hourly", "rule": "db_wins", "outcome": "prevails"},
                {"path": "jobs.j2", "base": null, "document": null, "database": {"name": "new"}, "rule": "row", "outcome": "applied"},
                {"path": "concurrency", "base": 1, "document": 1, "database": null, "rule": "db_wins", "outcome": "applied"},
            ],
            "ops": 4, "bytes": 312, "conflicts": 1, "problems": [],
        });
        assert_eq!(head(&plan), "workflow:42: version 7 → 8, 3 changes, 4 ops, 312 bytes, 1 conflict");
        let rows: Vec<String> = list(&plan, "changes").iter().map(|change| row(change).join("|")).collect();
        assert_eq!(
            rows,
            [
                "name|Daily|Nightly|Hourly|db_wins|CONFLICT: the database's shows",
                "jobs.j2|–|–|{\"name\":\"new\"}|row|applied",
                "concurrency|1|1|null|db_wins|applied",
            ]
        );
    }

    #[test]
    fn a_plan_says_that_it_has_to_be_accepted() {
        assert_eq!(acceptance(&json!({"id": "w:1", "needs_acceptance": null})), None);
        let told = |why: &str| acceptance(&json!({"id": "w:1", "needs_acceptance": why})).unwrap();
        assert_eq!(
            told("restored"),
            "waits    the database was put back from a backup: gangline reconcile run w:1 --accept-restored does this"
        );
        assert!(told("older_version").contains("an older version"));
    }

    #[test]
    fn conflicts_outweigh_changes_and_changes_nothing() {
        let plan = |ops: u64, conflicts: u64| json!({"ops": ops, "conflicts": conflicts, "changes": []});
        assert_eq!(kind(&plan(0, 0)), Found::Nothing);
        assert_eq!(kind(&plan(1, 0)), Found::Changes);
        assert_eq!(kind(&plan(1, 1)), Found::Conflicts);
        assert_eq!(kind(&plan(0, 1)), Found::Conflicts);
        assert_eq!(
            head(&json!({"id": "w:1", "from": 3, "to": 3, "changes": []})),
            "w:1: version 3, nothing to do"
        );
    }
}
