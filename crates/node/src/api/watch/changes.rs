//! Changes of the log as events: who did what to which item, and how the item is now.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bft_json_crdt::OpId;
use bft_json_crdt::json_crdt::{BaseCrdt, Edit, EditKind, JsonValue, PathSegment};
use bytes::Bytes;
use gangline_doc::board::{self, FieldConflict};
use gangline_doc::{Entry as LogEntry, Item, LogSeq, PipelineDoc, ReadLimit, Replica};
use serde::Serialize;
use serde_json::Value;

use super::event;
use crate::api::board::{blocking, durable};
use crate::api::problem::Problem;
use crate::api::{App, conflicts, items};

/// How an item is at present, and what it keeps besides.
type Present = BTreeMap<String, (Option<Item>, Vec<FieldConflict>)>;

/// One change and what it did. A change of the board holds one op, so one edit, or none that has an effect.
struct Told {
    entry: Arc<LogEntry>,
    edit: Option<Edit>,
    story_id: Option<String>,
}

/// The last batch near the end of the log. Watchers that are up to date all want the same one.
#[derive(Debug, Default)]
pub(crate) struct Latest(tokio::sync::Mutex<Option<(LogSeq, Bytes, LogSeq)>>);

/// As [`read`], made once for all watchers that stand at `from`.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_near(app: &App, from: LogSeq, limit: ReadLimit) -> Result<(Bytes, LogSeq), Problem> {
    let mut latest = app.latest.0.lock().await;
    if let Some((at, text, next)) = &*latest
        && *at == from
    {
        return Ok((text.clone(), *next));
    }
    let (text, next) = read(app, from, limit).await?;
    let text = Bytes::from(text);
    *latest = Some((from, text.clone(), next));
    Ok((text, next))
}

/// Reads the log from `from` and returns it as events, and where to go on.
///
/// # Errors
/// When the log cannot be read, or what the items show never becomes durable.
pub(super) async fn read(app: &App, from: LogSeq, limit: ReadLimit) -> Result<(String, LogSeq), Problem> {
    let replica = app.replica.clone();
    let work = blocking(move || {
        let entries = replica.entries(from, limit)?;
        let told = tell(&replica, entries)?;
        let ids: BTreeSet<String> = told.iter().filter_map(|told| told.story_id.clone()).collect();
        let (present, ticket) = replica.read(|base| present(base, ids));
        Ok::<_, gangline_doc::OpLogError>((told, present, ticket))
    });
    let (told, present, ticket) = work.await?.map_err(|error| Problem::store_failed(&error.to_string()))?;
    // The items may show more than the log has so far.
    durable(ticket).await?;
    let next = told.last().map_or(from, |told| told.entry.seq().plus(1));
    let mut text = String::new();
    for told in &told {
        let data = serde_json::to_string(&data(app, told, &present))
            .map_err(|error| Problem::internal(error.to_string()))?;
        text.push_str(&event("change", &told.entry.seq().to_string(), &data));
    }
    Ok((text, next))
}

fn tell(
    replica: &Replica<PipelineDoc>,
    entries: Vec<Arc<LogEntry>>,
) -> Result<Vec<Told>, gangline_doc::OpLogError> {
    let (mut told, _) = replica.read(|base| {
        let tell = |entry: Arc<LogEntry>| {
            let edit = base.effects(entry.change()).into_iter().next();
            let story_id = edit.as_ref().and_then(|edit| story_of(base, edit));
            Told { entry, edit, story_id }
        };
        entries.into_iter().map(tell).collect::<Vec<_>>()
    });
    // Elements that are gone no longer say whose they were; the log does.
    let mut known: BTreeMap<OpId, Option<String>> = BTreeMap::new();
    for told in &mut told {
        let Some(element) = told.edit.as_ref().and_then(|edit| edit.element) else { continue };
        if told.story_id.is_some() {
            continue;
        }
        told.story_id = match known.entry(element) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => unknown.insert(story_of_removed(replica, element)?).clone(),
        };
    }
    Ok(told)
}

/// The story of an edit's element, if that is there.
fn story_of(base: &BaseCrdt<PipelineDoc>, edit: &Edit) -> Option<String> {
    let item = base.doc.items.get(base.doc.items.index_of(edit.element?)?)?;
    match item.story_id.view() {
        JsonValue::String(id) => Some(id),
        JsonValue::Null
        | JsonValue::Bool(_)
        | JsonValue::Integer(_)
        | JsonValue::Number(_)
        | JsonValue::Text(_)
        | JsonValue::Array(_)
        | JsonValue::Object(_) => None,
    }
}

fn story_of_removed(
    replica: &Replica<PipelineDoc>,
    element: OpId,
) -> Result<Option<String>, gangline_doc::OpLogError> {
    let touches = replica.history(&[element])?;
    let mut edits = touches.iter().flat_map(|touch| &touch.edits);
    Ok(edits.find(|edit| edit.kind == EditKind::Insert).and_then(|edit| {
        let value = Value::from(edit.value.clone()?);
        value.get("story_id").and_then(Value::as_str).map(str::to_owned)
    }))
}

fn present(base: &BaseCrdt<PipelineDoc>, ids: BTreeSet<String>) -> Present {
    // A lookup goes through the board; so does the whole list, once.
    let mut all: BTreeMap<String, Item> = match ids.len() {
        0..4 => BTreeMap::new(),
        _ => board::items(base).into_iter().map(|item| (item.story_id.clone(), item)).collect(),
    };
    let mut disputed = match ids.len() {
        0..4 => None,
        _ => Some(conflicts::all(base)),
    };
    ids.into_iter()
        .map(|id| match &mut disputed {
            Some(disputed) => {
                let there = (all.remove(&id), disputed.remove(&id).unwrap_or_default());
                (id, there)
            }
            None => {
                let there = (board::find(base, &id), board::conflicts(base, &id).unwrap_or_default());
                (id, there)
            }
        })
        .collect()
}

/// A change as it is sent.
#[derive(Serialize)]
struct ChangeEvent<'a> {
    seq: u64,
    received_at_ms: u64,
    author: String,
    author_name: String,
    digest: String,
    story_id: Option<&'a str>,
    action: &'static str,
    field: Option<&'a str>,
    value: Option<JsonValue>,
    item: Option<&'a Item>,
    conflicts: Value,
}

fn data<'a>(app: &App, told: &'a Told, present: &'a Present) -> ChangeEvent<'a> {
    let change = told.entry.change();
    let edit = told.edit.as_ref();
    let there = told.story_id.as_ref().and_then(|id| present.get(id));
    let found = there.map(|(_, found)| found.as_slice()).unwrap_or_default();
    ChangeEvent {
        seq: told.entry.seq().0,
        received_at_ms: told.entry.received_at_ms(),
        author: change.author().to_string(),
        author_name: app.author_name(&change.author()),
        digest: change.digest().to_string(),
        story_id: told.story_id.as_deref(),
        action: match edit.map(|edit| edit.kind) {
            Some(EditKind::Insert) => "add",
            Some(EditKind::Set) => "set",
            Some(EditKind::Delete) => "remove",
            // Nothing that this version of the board can show.
            Some(_) | None => "other",
        },
        field: edit.filter(|edit| edit.kind == EditKind::Set).and_then(|edit| match edit.path.last() {
            Some(PathSegment::Field(field)) => Some(field.as_str()),
            Some(PathSegment::Element(_) | PathSegment::Key(_)) | None => None,
        }),
        value: edit.and_then(|edit| edit.value.clone()).map(items::shown),
        item: there.and_then(|(item, _)| item.as_ref()),
        conflicts: conflicts::shown(found, &|author| app.author_name(author)),
    }
}
