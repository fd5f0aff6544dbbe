//! Rows that say what the document shows already: another node has saved it, and its word has not come yet or never will.
//!
//! To sign what it wrote as the database's own edit would say it twice: a text that people have typed and another node has
//! saved would stand there two times, and be saved so by the next one.

use bft_json_crdt::json_crdt::JsonCrdt;
use bft_json_crdt::{BaseCrdt, Change};
use gangline_reconcile::{
    Layout, Mode, Reading, ReconcileError, Reconciled, Rows, Source, conflicts, diff, plan_save, save_mark,
    tracking_ref,
};

/// As `gangline_reconcile::reconcile`; where the rows equal all that the document shows, that is what is signed.
///
/// # Errors
/// As there.
pub(super) fn reconcile(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    root: &str,
    rows: &Rows,
    accepts_older: bool,
) -> Result<Reconciled, ReconcileError> {
    let reconciled = gangline_reconcile::reconcile(base, source, rows, accepts_older)?;
    let heads = base.heads();
    let is_unsaved = heads != tracking_ref(base, source.keypair);
    let may_be = !reconciled.changes.is_empty() && is_unsaved && source.shape.mapping.mode == Mode::Merge;
    if !may_be || !shows(base, source, root, rows) {
        return Ok(reconciled);
    }
    let changes = save_mark(base, source, &heads, rows.version)?;
    Ok(Reconciled {
        heads: changes.last().map(Change::digest).into_iter().collect(),
        ops: changes.iter().map(Change::op_count).sum(),
        bytes: changes.iter().map(|change| change.bytes().len() + change.signature().len()).sum(),
        changes,
        ..Reconciled::default()
    })
}

/// Whether the document shows these rows, and a save would write nothing.
fn shows(base: &BaseCrdt<JsonCrdt>, source: Source<'_>, root: &str, rows: &Rows) -> bool {
    let reading = Reading::of(base);
    let differs = || !diff(source.shape, &Layout::of(source.shape), &reading.content, rows).is_empty();
    if !rows.bad.is_empty() || differs() {
        return false;
    }
    let left = plan_save(source.shape, root, rows, &reading, &conflicts(base));
    left.writes.is_empty() && left.problems.is_empty()
}
