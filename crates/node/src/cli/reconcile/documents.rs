//! `gangline reconcile list|show|set`

use std::io::Read as _;

use http::Method;
use serde_json::{Map, Value, json};

use super::shown::{beside, count, list as items, number, parts, path, problems, short, text, there};
use super::{SetArgs, place, which};
use crate::cli::client::{Client, Reply};
use crate::cli::output::{Output, printable};
use crate::failure::{Exit, Failure};

pub(super) async fn list(client: &Client, source: Option<&str>, out: &Output) -> Result<(), Failure> {
    let documents = which::all(client, source).await?;
    if out.is_json() {
        return out.document(&documents);
    }
    if documents.is_empty() {
        eprintln!("no documents: `gangline reconcile status` says which databases the node follows");
    }
    let heading = ["DOCUMENT", "SOURCE", "VERSION", "STATE", "UNSAVED", "CONFLICTS", ""];
    out.rows(&heading, documents.iter().map(row).collect())
}

fn row(document: &Value) -> Vec<String> {
    let some = |key: &str| match number(document, key) {
        0 => String::new(),
        number => number.to_string(),
    };
    vec![
        text(document, "id"),
        text(document, "source"),
        document
            .get("version")
            .filter(|version| !version.is_null())
            .map(|version| short(Some(version)))
            .unwrap_or_default(),
        text(document, "state"),
        some("unsaved"),
        some("conflicts"),
        text(document, "problem"),
    ]
}

pub(super) async fn show(client: &Client, id: &str, out: &Output) -> Result<(), Failure> {
    let reply = client.send(Method::GET, &place(id, ""), None).await?;
    let document = &reply.body;
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    out.line(&head(document))?;
    out.rows(&["PLACE", "VALUE", ""], fields(document))?;
    print_trouble(document, out)
}

/// Prints how a document is after something was done to it.
pub(super) fn print(reply: &Reply, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    out.line(&head(&reply.body))?;
    print_trouble(&reply.body, out)
}

fn print_trouble(document: &Value, out: &Output) -> Result<(), Failure> {
    let conflicts = items(document, "conflicts");
    if !conflicts.is_empty() {
        out.line("")?;
        out.rows(&["CONFLICT", "THEIRS", "MINE", "SHOWN"], conflicts.iter().map(sides).collect())?;
    }
    problems(document).iter().try_for_each(|problem| out.line(&format!("problem  {problem}")))
}

/// Where two sides met, and both of them.
pub(super) fn sides(conflict: &Value) -> Vec<String> {
    let path = text(conflict, "path");
    let mut row = vec![path.clone()];
    row.extend(beside(&[there(conflict, &path, "theirs"), there(conflict, &path, "mine")]));
    row.push(match text(conflict, "kind").as_str() {
        "deleted" => "deleted in the database".to_owned(),
        "revived" => "deleted in the document".to_owned(),
        _ => text(conflict, "shown"),
    });
    row
}

fn head(document: &Value) -> String {
    let mut parts = vec![text(document, "source")];
    if let Some(version) = document.get("version").filter(|version| !version.is_null()) {
        parts.push(format!("version {version}"));
    }
    if document.get("deleted").and_then(Value::as_bool) == Some(true) {
        parts.push("DELETED in the database".to_owned());
    }
    parts.push(match items(document, "unsaved").len() {
        0 => "all saved".to_owned(),
        unsaved => format!("{unsaved} not saved"),
    });
    match items(document, "conflicts").len() as u64 {
        0 => {}
        conflicts => parts.push(count(conflicts, "conflict")),
    }
    match items(document, "present").len() {
        0 => {}
        present => parts.push(format!("{present} here")),
    }
    format!("{}: {}", text(document, "id"), parts.join(", "))
}

/// Root fields and those of rows, one to a line, with a mark on what is not saved.
fn fields(document: &Value) -> Vec<Vec<String>> {
    let unsaved: Vec<String> = items(document, "unsaved").iter().map(|edit| text(edit, "path")).collect();
    let row = |place: String, value: &Value| {
        // A draft row is unsaved as a whole.
        let whole = place.rsplit_once('.').map(|(row, _)| row.to_owned());
        let is_unsaved = unsaved.contains(&printable(&place))
            || whole.is_some_and(|row| unsaved.contains(&printable(&row)));
        vec![place, short(Some(value)), if is_unsaved { "not saved" } else { "" }.to_owned()]
    };
    let empty = Map::new();
    let view = document.get("view").and_then(Value::as_object).unwrap_or(&empty);
    let mut rows = Vec::new();
    for (name, value) in view.iter().filter(|(_, value)| !value.is_object()) {
        rows.push(row(path(&[name]), value));
    }
    for (list, content) in view.iter() {
        let Some(content) = content.as_object() else { continue };
        for (key, fields) in content {
            match fields.as_object().filter(|fields| !fields.is_empty()) {
                Some(fields) => {
                    rows.extend(fields.iter().map(|(name, value)| row(path(&[list, key, name]), value)));
                }
                None => rows.push(row(path(&[list, key]), fields)),
            }
        }
    }
    // Rows that people have deleted and not saved.
    for edit in items(document, "unsaved").iter().filter(|edit| text(edit, "kind") == "delete") {
        rows.push(vec![text(edit, "path"), "–".to_owned(), "not saved".to_owned()]);
    }
    rows
}

pub(super) async fn set(client: &Client, args: &SetArgs, out: &Output) -> Result<(), Failure> {
    let value = match args.value.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).map_err(|error| {
                Failure::new(Exit::Failed, "stdin_unreadable", format!("cannot read stdin: {error}"))
            })?;
            Value::String(text)
        }
        text => value_of(text),
    };
    let patch = patch(&args.path, value)?;
    let reply = client.send(Method::PATCH, &place(&args.id, ""), Some(&patch)).await?;
    print(&reply, out)
}

/// A value as people write it: JSON, or else a text.
pub(super) fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A merge patch that sets one place.
fn patch(path: &str, value: Value) -> Result<Value, Failure> {
    let parts = parts(path).ok_or_else(|| {
        Failure::new(Exit::Usage, "bad_path", format!("{path:?} is no place of a document")).hint(
            "write a field (name), a row (jobs.j1) or a row's field (jobs.j1.body); a dot in a key is ~1",
        )
    })?;
    Ok(parts.into_iter().rev().fold(value, |inner, part| json!({ part: inner })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({
            "id": "workflow:42", "source": "workflows", "version": 7, "heads": ["aa"], "deleted": false,
            "view": {
                "name": "Nightly", "concurrency": null,
                "jobs": {"j.1": {"name": "fetch\nall", "body": "x".repeat(30)}, "j2": {"name": ""}},
                "edges": {},
            },
            "unsaved": [
                {"path": "name", "kind": "set", "base": "Daily", "document": "Nightly"},
                {"path": "jobs.j2", "kind": "insert"},
                {"path": "jobs.j3", "kind": "delete", "base": {"name": "old"}},
            ],
            "conflicts": [
                {"path": "name", "theirs": "Hourly", "mine": "Nightly", "policy": "db_wins", "shown": "theirs", "kind": "field"},
                {"path": "jobs.j9", "theirs": null, "mine": {"name": "x"}, "policy": null, "shown": "theirs", "kind": "deleted"},
            ],
            "problems": [{"path": "jobs.j8", "what": "body is no text"}],
            "present": [{"client": "a", "since": 1}], "mode": "merge",
        })
    }

    #[test]
    fn a_document_is_shown_field_by_field_with_marks_on_what_is_not_saved() {
        assert_eq!(head(&document()), "workflow:42: workflows, version 7, 3 not saved, 2 conflicts, 1 here");
        let rows = fields(&document());
        let rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
        assert_eq!(
            rows,
            [
                "concurrency|null|".to_owned(),
                "name|Nightly|not saved".to_owned(),
                format!("jobs.j~11.body|{}|", "x".repeat(30)),
                "jobs.j~11.name|fetch\\nall|".to_owned(),
                "jobs.j2.name|\"\"|not saved".to_owned(),
                "jobs.j3|–|not saved".to_owned(),
            ]
        );
        assert_eq!(problems(&document()), ["jobs.j8: body is no text"]);
        let conflicts: Vec<Vec<String>> = items(&document(), "conflicts").iter().map(sides).collect();
        assert_eq!(conflicts[0], ["name", "Hourly", "Nightly", "theirs"]);
        assert_eq!(conflicts[1], ["jobs.j9", "–", "{\"name\":\"x\"}", "deleted in the database"]);
    }

    #[test]
    fn a_list_shows_what_needs_attention() {
        let shown = row(&json!({
            "id": "workflow:1\u{1b}", "source": "w", "version": null, "state": "unborn", "heads": [],
            "unsaved": 0, "conflicts": 2, "problem": "jobs.j1: …",
        }));
        assert_eq!(shown, ["workflow:1\\u{1b}", "w", "", "unborn", "", "2", "jobs.j1: …"]);
    }

    #[test]
    fn a_place_becomes_a_merge_patch() {
        assert_eq!(patch("name", json!("x")).unwrap(), json!({"name": "x"}));
        assert_eq!(patch("jobs.j~11.body", json!(null)).unwrap(), json!({"jobs": {"j.1": {"body": null}}}));
        assert_eq!(patch("a.b.c.d", json!(1)).unwrap_err().exit, Exit::Usage);
    }
}
