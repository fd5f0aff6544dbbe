//! What happens to a document that follows a database: edits, what the database did, who is here.

use serde_json::{Value, json};

use crate::cli::output::{Output, printable};
use crate::cli::reconcile::{count, line, list, number, text, versions};
use crate::failure::Failure;

/// The events of a document.
const EVENTS: [&str; 6] = ["changed", "db_changed", "saved", "reconcile_failed", "rows_skipped", "presence"];

/// Whether an event is a document's, and not the stream's own.
pub(super) fn is_event(name: &str) -> bool {
    EVENTS.contains(&name)
}

/// Prints an event: as lines, or as JSON with its name in `event`.
pub(super) fn print(event: &str, data: &Value, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        let mut whole = json!({ "event": event });
        if let (Some(whole), Some(data)) = (whole.as_object_mut(), data.as_object()) {
            whole.extend(data.clone());
        }
        return out.document(&whole);
    }
    lines(event, data).iter().try_for_each(|line| out.line(line))
}

fn lines(event: &str, data: &Value) -> Vec<String> {
    match event {
        "db_changed" => {
            let mut parts = vec![format!("{} followed", text(data, "source"))];
            match text(data, "root").as_str() {
                "gone" => parts.push("DELETED in the database".to_owned()),
                "back" => parts.push("in the database again".to_owned()),
                _ => {}
            }
            let is = |key: &str| data.get(key).and_then(Value::as_bool) == Some(true);
            if is("mapping_changed") {
                parts.push("another mapping".to_owned());
            }
            parts.extend(versions(data));
            if is("version_stood_still") {
                parts.push("which stood still".to_owned());
            }
            match text(data, "actor") {
                actor if actor.is_empty() => {}
                actor => parts.push(format!("by {actor}")),
            }
            parts.push(match number(data, "unsaved_left") {
                0 => "all saved".to_owned(),
                left => format!("{left} not saved"),
            });
            let mut lines = vec![parts.join(", ")];
            lines.extend(list(data, "changes").iter().map(line));
            lines
        }
        "reconcile_failed" => {
            let again = match data.get("retry_in").filter(|again| !again.is_null()) {
                Some(Value::Number(ms)) => format!("; again in {ms} ms"),
                Some(again) => format!("; again in {}", printable(again.as_str().unwrap_or_default())),
                None => String::new(),
            };
            vec![format!("not followed: {}{again}", text(data, "reason"))]
        }
        "rows_skipped" => match list(data, "rows") {
            [] => vec!["all rows are followed again".to_owned()],
            rows => {
                let rows = rows.iter().map(|row| printable(row.as_str().unwrap_or_default()));
                let lines = rows.map(|row| format!("  skipped  {row}"));
                std::iter::once("rows that cannot be followed:".to_owned()).chain(lines).collect()
            }
        },
        "presence" => vec![format!("{} here", list(data, "present").len())],
        "saved" => {
            let version = data.get("version").filter(|version| !version.is_null());
            let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
            let left = match number(data, "unsaved_left") {
                0 => String::new(),
                left => format!(", {left} not saved"),
            };
            vec![format!("saved{version}{left}")]
        }
        _ => vec![match text(data, "by").as_str() {
            "" => format!("changed, {}", count(list(data, "heads").len() as u64, "head")),
            "source" => "changed by the database".to_owned(),
            name => format!("changed by {name}"),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_what_the_database_did_and_what_is_left_to_save() {
        let data = json!({
            "source": "workflows", "from": 7, "to": 8, "actor": "deploy\u{1b}", "unsaved_left": 2,
            "changes": [{"row": "jobs.j1", "field": "body", "kind": "text", "outcome": "merged"}],
        });
        assert_eq!(
            lines("db_changed", &data),
            ["workflows followed, version 7 → 8, by deploy\\u{1b}, 2 not saved", "  jobs.j1.body  merged"]
        );
        let failed = json!({"reason": "sqlite:app.db is locked", "retry_in": 250});
        assert_eq!(
            lines("reconcile_failed", &failed),
            ["not followed: sqlite:app.db is locked; again in 250 ms"]
        );
        assert_eq!(lines("presence", &json!({"present": [{}, {}]})), ["2 here"]);
        assert_eq!(lines("changed", &json!({"heads": ["a"]})), ["changed, 1 head"]);
        let changed = |by: &str| lines("changed", &json!({"heads": ["a"], "by": by}));
        assert_eq!(
            (changed("swift-otter"), changed("source")),
            (vec!["changed by swift-otter".into()], vec!["changed by the database".into()])
        );
        assert_eq!(
            lines("saved", &json!({"version": 8, "unsaved_left": 1})),
            ["saved, version 8, 1 not saved"]
        );
    }
}
