//! What following the database would do, before it is done.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{BaseCrdt, JsonValue};

use crate::batch::{ReconcileError, Reconciled, Source, tracking_ref};
use crate::diff::Edit;
use crate::layout::Layout;
use crate::mapping::Policy;
use crate::notice::Outcome;
use crate::path::Path;
use crate::reading::read;
use crate::rows::Rows;
use crate::tracker::Tracker;
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

/// Returns what [`reconcile`](crate::reconcile) would do, with what it would meet: it is done on a copy. The document is not
/// changed. O(document).
///
/// # Errors
/// As [`reconcile`](crate::reconcile).
pub fn plan(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    rows: &Rows,
    accepts_older: bool,
) -> Result<Plan, ReconcileError> {
    Tracker::default().plan(base, source, rows, accepts_older)
}

impl Tracker {
    /// As [`plan`].
    ///
    /// # Errors
    /// As [`plan`].
    pub fn plan(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        accepts_older: bool,
    ) -> Result<Plan, ReconcileError> {
        let author = source.keypair.author();
        let was = self.content_at(base, &tracking_ref(base, source.keypair), author)?;
        let mut trial = self.clone();
        let reconciled = trial.reconcile(base, source, rows, accepts_older)?;
        let Some(last) = reconciled.changes.last() else {
            return Ok(Plan { entries: Vec::new(), reconciled });
        };
        let layout = Layout::of(source.shape);
        let live = read(&layout, &was, &base.content());
        let mut copy = base.clone();
        let _ = copy.apply_changes(reconciled.changes.clone());
        let told = trial.notice(&copy, last).map(|told| told.changes).unwrap_or_default();
        let database = trial.content_at(&copy, &reconciled.heads, author)?;
        let outcomes: BTreeMap<&Path, Outcome> = told.iter().map(|it| (&it.path, it.outcome)).collect();
        let paths: BTreeSet<&Path> =
            outcomes.keys().copied().chain(reconciled.edits.iter().filter_map(Edit::path)).collect();
        let entry = |path: &Path| {
            let list = path.row().map(|(list, _)| list);
            let policy = path.field().and_then(|field| layout.field(list, field)).map(|field| field.policy);
            let [base, document, database] =
                [&was, &live, &database].map(|content| at(content, path).cloned());
            let outcome = match outcomes.get(path) {
                Some(outcome) if *outcome != Outcome::Applied => *outcome,
                _ if document == database => Outcome::Same,
                _ => Outcome::Applied,
            };
            PlanEntry { path: path.clone(), base, document, database, policy, outcome }
        };
        let entries = paths.into_iter().map(entry).collect();
        Ok(Plan { entries, reconciled })
    }
}
