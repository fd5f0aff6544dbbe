//! From what the database changed to signed changes: by the source's author, at chosen heads, the same bytes everywhere.

use std::ops::Range;

use bft_json_crdt::json_crdt::{EditError, JsonCrdt, SignError};
use bft_json_crdt::op::Rank;
use bft_json_crdt::{BaseCrdt, Change, Digest, JsonValue, Keypair};
use sha2::{Digest as _, Sha256};

use crate::apply::{Hand, apply};
use crate::diff::{Edit, diff};
use crate::layout::{BATCH, Layout, VERSION};
use crate::mapping::Mode;
use crate::path::Path;
use crate::rows::Rows;
use crate::schema::Shape;
use crate::text::{Splice, splices};

/// Edits of one change take about as many bytes at most; a row is never cut.
const PART_BYTES: usize = 1 << 20;
/// What an op takes besides its content: names, mostly.
const OP_BYTES: usize = 48;
/// Of a hash of 64 bits so many are left out: what remains is far more than a batch has ops, and far less than there are
/// numbers.
const NUMBERS_KEPT: u32 = 28;
/// Ops of one change.
const PART_OPS: usize = 16_384;

/// A source: its key, and what the database says of one root.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The source's key, the same on every node that has it.
    pub keypair: &'a Keypair,
    /// Tables and columns.
    pub shape: &'a Shape,
    /// The name of the document.
    pub document: &'a str,
}

/// What a document is to take over from the database.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// What changed in the database since the document last equalled it.
    pub edits: Vec<Edit>,
    /// The signed changes, in order; none where nothing changed.
    pub changes: Vec<Change>,
    /// The heads at which the document equals the rows, once the changes are applied.
    pub heads: Vec<Digest>,
    /// Edits of people that a mirror has dropped: what stood in the document before.
    pub dropped: Vec<Dropped>,
    /// How many ops the changes have.
    pub ops: usize,
    /// How many bytes they take, signatures included.
    pub bytes: usize,
}

/// Something that was in a document and not in the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// Where.
    pub path: Path,
    /// What stood there; none for what people had deleted.
    pub value: Option<JsonValue>,
}

/// Why a document cannot follow the rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// The rows are older than the document: of a restored backup, or read before somebody else's. Look at the plan, and
    /// accept it if the database is to be followed all the same.
    #[error("the database is at version {found}, and the document has followed version {known}")]
    Older {
        /// The version of the rows.
        found: i64,
        /// The version that the document has followed.
        known: i64,
    },
    /// The document does not take the edits.
    #[error("the document does not take what the database changed")]
    Edit(#[from] EditError),
    /// The changes cannot be signed.
    #[error("what the database changed cannot be signed")]
    Sign(#[from] SignError),
}

/// Returns the heads at which a document last equalled the rows of its source: what its author has signed there
/// last. None in a document that was never filled.
#[must_use]
pub fn tracking_ref(base: &BaseCrdt<JsonCrdt>, source: &Keypair) -> Vec<Digest> {
    base.last_of(&source.author())
}

/// Returns the version that a content has followed.
#[must_use]
pub fn version_of(content: &JsonValue) -> Option<i64> {
    if let Some(JsonValue::Integer(version)) = content.get(VERSION) {
        (*version).try_into().ok()
    } else {
        None
    }
}

/// Makes the changes by which a document follows rows. It is not changed; apply them to it as it is now.
///
/// In a merge they are authored at the tracking ref, so that any node that has the same rows makes the same bytes; in a
/// mirror at the heads of this replica. Where nothing changed in the database there is no change. O(document).
///
/// # Errors
/// [`ReconcileError`]; with `accepts_older` never [`ReconcileError::Older`].
pub fn reconcile(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    rows: &Rows,
    accepts_older: bool,
) -> Result<Reconciled, ReconcileError> {
    let layout = Layout::of(source.shape);
    let tracked = tracking_ref(base, source.keypair);
    let author = base.author_at(&tracked, source.keypair.author())?;
    let content = author.doc.view();
    if let (Some(known), Some(found)) = (newest(base, &tracked, &content), rows.version)
        && found < known
        && !accepts_older
    {
        return Err(ReconcileError::Older { found, known });
    }
    let edits = diff(source.shape, &layout, &content, rows);
    if edits.is_empty() {
        return Ok(Reconciled { heads: tracked, ..Reconciled::default() });
    }
    if layout.mode == Mode::Merge || tracked.is_empty() {
        let apart = numbers_apart(&tracked, &layout, rows);
        return author_edits(author, source, &layout, edits, (tracked.is_empty(), apart));
    }
    let live = base.doc.view();
    let heads = base.heads();
    let author = base.author_at(&heads, source.keypair.author())?;
    let to_do = diff(source.shape, &layout, &live, rows);
    let dropped = to_do.iter().filter_map(|edit| dropped_by(edit, &edits)).collect();
    if to_do.is_empty() {
        // People had done the same: the document says that it equals the rows.
        let changes = save_mark(base, source, &heads, rows.version)?;
        let heads = changes.iter().map(Change::digest).collect();
        let (ops, bytes) = sizes(&changes);
        return Ok(Reconciled { edits, changes, heads, dropped, ops, bytes });
    }
    let apart = numbers_apart(&heads, &layout, rows);
    let mut reconciled = author_edits(author, source, &layout, to_do, (false, apart))?;
    reconciled.dropped = dropped;
    reconciled.edits = edits;
    Ok(reconciled)
}

/// The newest version that a document has followed: of several batches on one base each has its own.
fn newest(base: &BaseCrdt<JsonCrdt>, tracked: &[Digest], content: &JsonValue) -> Option<i64> {
    if tracked.len() < 2 {
        return version_of(content);
    }
    let past = tracked.iter().filter_map(|head| base.at(&[*head]).ok());
    past.filter_map(|past| version_of(&past.doc.view())).max()
}

/// What a mirror's edit takes away from people: what it changes although the database did not, or although people had
/// changed it too.
fn dropped_by(edit: &Edit, by_database: &[Edit]) -> Option<Dropped> {
    let (path, was) = match edit {
        Edit::Write { path, old, .. } => (path, old.clone()),
        Edit::Remove { path, old } => (path, Some(old.clone())),
        Edit::Insert { path, .. } => (path, None),
        Edit::AddList(_) | Edit::DropList(_) | Edit::Own(..) => return None,
    };
    let same = by_database.iter().any(|theirs| match (edit, theirs) {
        (Edit::Write { .. }, Edit::Write { path: at, old, .. }) => at == path && *old == was,
        (Edit::Remove { .. }, Edit::Remove { path: at, old }) => at == path && Some(old) == was.as_ref(),
        (Edit::Insert { .. }, Edit::Insert { path: at, .. }) => at == path,
        _ => false,
    });
    (!same).then(|| Dropped { path: path.clone(), value: was })
}

/// Says that the database equals the document at some heads: after a save. The heads need not have the source's last
/// change: it is joined.
///
/// # Errors
/// [`ReconcileError::Sign`]
pub fn save_mark(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    heads: &[Digest],
    version: Option<i64>,
) -> Result<Vec<Change>, ReconcileError> {
    let mut heads: Vec<Digest> = heads.to_vec();
    heads.extend(tracking_ref(base, source.keypair));
    heads.sort_unstable();
    heads.dedup();
    let mut author = base.author_at(&heads, source.keypair.author())?;
    author.skip_op_numbers(apart(&heads, &[&version.unwrap_or_default().to_le_bytes()]));
    let version = version.filter(|version| version_of(&author.doc.view()) != Some(*version));
    let Some(version) = version else { return Ok(vec![author.save_mark(source.keypair)?]) };
    author.begin_as(Rank::Above);
    let edit = Edit::Own(VERSION, JsonValue::Integer(version.into()));
    apply(&author.doc, &edit, &Hand::Person)?;
    Ok(author.commit(source.keypair)?)
}

/// How many op numbers a batch leaves out. Two nodes that have read different rows author on the same base with one key;
/// each op is named by its number, so theirs must not have the same ones. Nodes that have read the same leave out the same.
fn numbers_apart(heads: &[Digest], layout: &Layout, rows: &Rows) -> u64 {
    apart(heads, &[layout.to_text().as_bytes(), &rows.digest().0])
}

fn apart(heads: &[Digest], content: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    heads.iter().for_each(|head| hasher.update(head.0));
    content.iter().for_each(|part| hasher.update(part));
    let hash: [u8; 32] = hasher.finalize().into();
    let number = hash.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    number >> NUMBERS_KEPT
}

/// Signs edits, in as many changes as their size needs.
fn author_edits(
    mut author: BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    layout: &Layout,
    edits: Vec<Edit>,
    (is_first, numbers_apart): (bool, u64),
) -> Result<Reconciled, ReconcileError> {
    author.skip_op_numbers(numbers_apart);
    let typed: Vec<Vec<Splice>> = edits.iter().map(splices_of).collect();
    let each: Vec<Size> = edits.iter().zip(&typed).map(|(edit, typed)| size_of(edit, typed)).collect();
    let parts = parts(&edits, &each);
    let count = parts.len();
    let mut changes = Vec::new();
    for (at, part) in parts.into_iter().enumerate() {
        author.begin();
        if is_first && at == 0 {
            author.declare_source(source.document).keep()?;
        }
        let set_rank = |rank: Rank| author.set_rank(rank);
        if count > 1 {
            let left = JsonValue::Integer((count - at - 1) as i128);
            let hand = Hand::Source { layout, set_rank: &set_rank, splices: &[] };
            apply(&author.doc, &Edit::Own(BATCH, left), &hand)?;
        }
        for (edit, splices) in edits.iter().zip(&typed).take(part.end).skip(part.start) {
            apply(&author.doc, edit, &Hand::Source { layout, set_rank: &set_rank, splices })?;
        }
        changes.extend(author.commit(source.keypair)?);
    }
    let (ops, bytes) = sizes(&changes);
    let heads = tracking_ref(&author, source.keypair);
    Ok(Reconciled { edits, changes, heads, dropped: Vec::new(), ops, bytes })
}

/// How many ops changes have, and how many bytes they take, signatures included.
fn sizes(changes: &[Change]) -> (usize, usize) {
    let ops = changes.iter().map(Change::op_count).sum();
    (ops, changes.iter().map(|change| change.bytes().len() + change.signature().len()).sum())
}

/// What an edit takes in a change, roughly.
#[derive(Clone, Copy, Default)]
struct Size {
    ops: usize,
    bytes: usize,
}

/// Cuts edits where a row ends, when enough of them have gathered.
fn parts(edits: &[Edit], sizes: &[Size]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut gathered = Size::default();
    let rows = edits.chunk_by(|a, b| row_of(a).is_some() && row_of(a) == row_of(b));
    let mut at = 0;
    for row in rows {
        let of_row = sizes.get(at..at + row.len()).unwrap_or_default();
        let size = of_row.iter().fold(Size::default(), |sum, size| Size {
            ops: sum.ops + size.ops,
            bytes: sum.bytes + size.bytes,
        });
        if at > start && (gathered.bytes + size.bytes > PART_BYTES || gathered.ops + size.ops > PART_OPS) {
            parts.push(start..at);
            (start, gathered) = (at, Size::default());
        }
        gathered = Size { ops: gathered.ops + size.ops, bytes: gathered.bytes + size.bytes };
        at += row.len();
    }
    parts.push(start..at);
    parts
}

fn row_of(edit: &Edit) -> Option<(&str, &str)> {
    match edit {
        Edit::Write { path, .. } | Edit::Insert { path, .. } | Edit::Remove { path, .. } => path.row(),
        Edit::AddList(_) | Edit::DropList(_) | Edit::Own(..) => None,
    }
}

/// What changes in a text that is merged by character.
fn splices_of(edit: &Edit) -> Vec<Splice> {
    match edit {
        Edit::Write { old: Some(JsonValue::String(old)), new: Some(JsonValue::Text(new)), .. } => {
            splices(old, new)
        }
        _ => Vec::new(),
    }
}

fn size_of(edit: &Edit, splices: &[Splice]) -> Size {
    let key = row_of(edit).map_or(0, |(_, key)| key.len());
    let content = match edit {
        Edit::Write { .. } if !splices.is_empty() => {
            let ops = splices.len() * 2;
            let typed: usize = splices.iter().map(|splice| splice.inserted.len()).sum();
            return Size { ops, bytes: ops * OP_BYTES + typed };
        }
        Edit::Write { new, .. } => new.as_ref().map_or(0, value_size),
        Edit::Insert { row, .. } => row.iter().map(|(name, value)| name.len() + value_size(value)).sum(),
        Edit::Own(_, value) => value_size(value),
        Edit::Remove { .. } | Edit::AddList(_) | Edit::DropList(_) => 0,
    };
    // Where a kind changes, what was there is removed first.
    let ops = if matches!(edit, Edit::Write { .. }) { 2 } else { 1 };
    Size { ops, bytes: OP_BYTES + key + content }
}

fn value_size(value: &JsonValue) -> usize {
    16 + value.as_str().map_or(0, str::len)
}
