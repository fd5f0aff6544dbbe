//! What following the database would do, before it is done.

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{BaseCrdt, JsonValue};

use crate::batch::{ReconcileError, Reconciled, Source, reconcile, tracking_ref};
use crate::diff::Edit;
use crate::layout::Layout;
use crate::mapping::{Mode, Policy};
use crate::notice::Outcome;
use crate::path::Path;
use crate::rows::Rows;
use crate::unsaved::at;

/// What following the rows would do to a document.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What changed in the database, and what it would meet. Ascending by path.
    pub entries: Vec<PlanEntry>,
    /// The changes that would be made.
    pub reconciled: Reconciled,
}

/// One row or field.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanEntry {
    /// Where.
    pub path: Path,
    /// What both sides last agreed upon; none for what is new.
    pub base: Option<JsonValue>,
    /// What the document has; none where it has nothing.
    pub document: Option<JsonValue>,
    /// What the database has; none where it has nothing.
    pub database: Option<JsonValue>,
    /// Who prevails; none for rows as a whole.
    pub policy: Option<Policy>,
    /// What would become of it.
    pub outcome: Outcome,
}

impl Plan {
    /// Returns how many of the entries would be conflicts.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.entries.iter().filter(|entry| entry.outcome.is_conflict()).count()
    }
}

/// Returns what [`reconcile`] would do, with what it would meet. The document is not changed. O(document).
///
/// # Errors
/// As [`reconcile`].
pub fn plan(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    rows: &Rows,
    accepts_older: bool,
) -> Result<Plan, ReconcileError> {
    let reconciled = reconcile(base, source, rows, accepts_older)?;
    let layout = Layout::of(source.shape);
    let live = base.doc.view();
    let tracked = tracking_ref(base, source.keypair);
    let was = base.at(&tracked).map_err(bft_json_crdt::json_crdt::SignError::from)?.doc.view();
    let mut entries: Vec<PlanEntry> =
        reconciled.edits.iter().filter_map(|edit| entry(&layout, edit, &was, &live)).collect();
    for dropped in &reconciled.dropped {
        let has_entry = entries.iter_mut().find(|entry| entry.path == dropped.path);
        match has_entry {
            Some(entry) => entry.outcome = Outcome::Dropped,
            None => {
                let database = at(&was, &dropped.path).cloned();
                let list = dropped.path.row().map(|(list, _)| list);
                let field = dropped.path.field().and_then(|field| layout.field(list, field));
                entries.push(PlanEntry {
                    path: dropped.path.clone(),
                    base: database.clone(),
                    document: dropped.value.clone(),
                    database,
                    policy: field.map(|field| field.policy),
                    outcome: Outcome::Dropped,
                });
            }
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Plan { entries, reconciled })
}

fn entry(layout: &Layout, edit: &Edit, was: &JsonValue, live: &JsonValue) -> Option<PlanEntry> {
    let merges = layout.mode == Mode::Merge;
    let (path, database) = match edit {
        Edit::Write { path, new, .. } => (path, new.clone()),
        Edit::Insert { path, row } => (path, Some(JsonValue::Object(row.clone()))),
        Edit::Remove { path, .. } => (path, None),
        Edit::AddList(_) | Edit::DropList(_) | Edit::Own(..) => return None,
    };
    let database = database.map(|value| serde_json::Value::from(value).into());
    let (base, document) = (at(was, path).cloned(), at(live, path).cloned());
    let list = path.row().map(|(list, _)| list);
    let policy = path.field().and_then(|field| layout.field(list, field)).map(|field| field.policy);
    let is_edited = base != document;
    let outcome = match edit {
        _ if document == database => Outcome::Same,
        _ if !is_edited || !merges => Outcome::Applied,
        Edit::Remove { .. } => Outcome::Deleted,
        Edit::Insert { .. } => Outcome::Merged,
        // The row is gone in the document, and what the database does to it brings it back, or gives way.
        Edit::Write { .. } if document.is_none() && path.row().is_some() => Outcome::Revived,
        _ => match (policy, &document, &database) {
            (Some(Policy::TextMerge), Some(JsonValue::String(_)), Some(JsonValue::String(_))) => {
                Outcome::Merged
            }
            (Some(Policy::DocWins | Policy::DocOwned), ..) => Outcome::GivesWay,
            (Some(Policy::KeepBoth), ..) => Outcome::Both,
            _ => Outcome::Prevails,
        },
    };
    Some(PlanEntry { path: path.clone(), base, document, database, policy, outcome })
}
