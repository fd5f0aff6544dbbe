//! Documents and what happens to them as JSON.

use bft_json_crdt::json_crdt::JsonValue;
use bft_json_crdt::{AuthorId, Digest};
use gangline_reconcile::{
    Conflict, FieldLayout, Layout, Notice, Path, PlanEntry, RootChange, Unsaved, dangling, view,
};
use serde_json::{Value, json};

use super::exact;
use crate::documents::Found;
use crate::documents::live::LiveDocument;
use crate::documents::views::Shown;
use crate::identity::node_name;

/// Adds values to an object. One that is missing is left out, since null is a value.
pub(super) fn with(mut object: Value, values: &[(&str, Option<&JsonValue>)]) -> Value {
    if let Value::Object(members) = &mut object {
        for (name, value) in values {
            members.extend(value.map(|value| ((*name).to_owned(), exact::told(value.clone()))));
        }
    }
    object
}

pub(super) fn heads(heads: &[Digest]) -> Vec<String> {
    heads.iter().map(Digest::to_string).collect()
}

/// Who an author is: the source, or a node by its name.
pub(super) fn by(author: &AuthorId, source: Option<AuthorId>) -> String {
    if Some(*author) == source { "source".to_owned() } else { node_name(author) }
}

/// `GET /api/v1/documents/{id}`
pub(super) fn document(live: &LiveDocument, found: &Found, shown: &Shown) -> Value {
    let mut problems: Vec<Value> = dangling(&shown.layout, &shown.content)
        .iter()
        .map(|path| json!({"path": path.to_string(), "what": "names a row that is not there"}))
        .collect();
    // Where the database does not answer at all, nothing has been tried with this document.
    let trouble = live.trouble().map(|trouble| trouble.reason);
    let trouble = trouble.or_else(|| live.source().and_then(|source| source.failure()));
    problems.extend(trouble.map(|reason| json!({"path": null, "what": reason})));
    problems.extend(live.skipped().iter().map(|what| json!({"path": null, "what": what})));
    json!({
        "id": shown.name.as_deref().unwrap_or(&found.name),
        "source": live.source().map(|source| &source.name).or(shown.layout.source.as_ref()),
        "reconciled_here": live.source().is_some(),
        "version": shown.version,
        "heads": heads(&shown.heads),
        "view": exact::told(view(&shown.content)),
        "unsaved": shown.unsaved.iter().map(unsaved).collect::<Vec<_>>(),
        "conflicts": shown.conflicts.iter().map(|open| conflict(open, shown)).collect::<Vec<_>>(),
        "deleted": shown.is_deleted(),
        "problems": problems,
        "present": live.present.clients(),
        "mode": shown.layout.mode,
        "fields": fields(&shown.layout),
    })
}

/// Of each field what its values are and who prevails: `name`, or `jobs.body` for all rows of a list.
fn fields(layout: &Layout) -> serde_json::Map<String, Value> {
    let told = |field: &FieldLayout| json!({"kind": field.kind, "policy": field.policy});
    let of_root =
        layout.fields.iter().map(|(name, field)| (Path::Field(name.clone()).to_string(), told(field)));
    let of_lists = layout.lists.iter().flat_map(|(list, rows)| {
        // A row of a list and a field of all its rows are spelt alike.
        rows.fields
            .iter()
            .map(move |(name, field)| (Path::Row(list.clone(), name.clone()).to_string(), told(field)))
    });
    of_root.chain(of_lists).collect()
}

fn unsaved(unsaved: &Unsaved) -> Value {
    let shown = json!({"path": unsaved.path.to_string(), "kind": unsaved.kind.name()});
    with(shown, &[("base", unsaved.base.as_ref()), ("document", unsaved.document.as_ref())])
}

pub(super) fn conflict(open: &Conflict, shown: &Shown) -> Value {
    let shown_author = shown.author;
    let list = open.path.row().map(|(list, _)| list);
    let policy =
        open.path.field().and_then(|field| shown.layout.field(list, field)).map(|field| field.policy);
    let shown = json!({
        "path": open.path.to_string(),
        "kind": open.kind.name(),
        "shown": if open.shows_theirs { "theirs" } else { "mine" },
        "policy": policy,
        "by": by(&open.author, shown_author),
    });
    with(shown, &[("theirs", open.theirs.as_ref()), ("mine", open.mine.as_ref())])
}

/// One row or field of a plan.
pub(super) fn plan_entry(entry: &PlanEntry) -> Value {
    let shown = json!({
        "path": entry.path.to_string(),
        "rule": entry.policy.map_or_else(|| "row".to_owned(), |policy| policy.to_string()),
        "outcome": entry.outcome.name(),
    });
    let (base, document) = (entry.base.as_ref(), entry.document.as_ref());
    with(shown, &[("base", base), ("document", document), ("database", entry.database.as_ref())])
}

/// What following changed, as a notice has it.
pub(super) fn notice(notice: &Notice, source: &str, actor: Option<&str>) -> Value {
    json!({
        "source": source,
        "from": notice.from,
        "to": notice.to,
        "actor": actor,
        "changes": changes(notice),
        "root": notice.root.map(RootChange::name),
        "mapping_changed": notice.is_remapped,
        "version_stood_still": notice.version_stood_still,
        "unsaved_left": notice.unsaved_left,
        "change": notice.digest.to_string(),
    })
}

pub(super) fn changes(notice: &Notice) -> Vec<Value> {
    let changes = notice.changes.iter().map(|change| {
        let row = change.path.row().map(|(list, key)| Path::Row(list.to_owned(), key.to_owned()).to_string());
        let shown = json!({
            "path": change.path.to_string(),
            "row": row,
            "field": change.path.field(),
            "kind": change.kind.name(),
            "outcome": change.outcome.name(),
        });
        with(shown, &[("before", change.before.as_ref())])
    });
    changes.collect()
}
