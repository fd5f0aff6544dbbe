//! From what the database changed to signed changes: by the source's author, at chosen heads, the same bytes everywhere.

use std::ops::Range;

use bft_json_crdt::json_crdt::{EditError, JsonCrdt, SignError};
use bft_json_crdt::op::Rank;
use bft_json_crdt::{BaseCrdt, Change, Digest, JsonValue, Keypair};
use sha2::{Digest as _, Sha256};

use crate::apply::{Hand, apply};
use crate::diff::{Edit, diff};
use crate::layout::{BATCH, Layout, OWNED, VERSION};
use crate::mapping::Mode;
use crate::path::Path;
use crate::rows::Rows;
use crate::schema::Shape;
use crate::text::{Splice, line_splices, splices};
use crate::tracker::Tracker;

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
/// mirror at the heads of this replica. Where nothing changed in the database there is no change. O(document); with a
/// [`Tracker`] O(rows).
///
/// # Errors
/// [`ReconcileError`]; with `accepts_older` never [`ReconcileError::Older`].
pub fn reconcile(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    rows: &Rows,
    accepts_older: bool,
) -> Result<Reconciled, ReconcileError> {
    Tracker::default().reconcile(base, source, rows, accepts_older)
}

/// What the database has changed since a document last equalled its rows.
pub(crate) struct News {
    pub(crate) layout: Layout,
    pub(crate) tracked: Vec<Digest>,
    pub(crate) edits: Vec<Edit>,
    /// The rows are older than what the document has followed, and are accepted all the same.
    pub(crate) is_older: bool,
}

impl Tracker {
    /// As [`reconcile`], the same bytes. O(rows), and O(what has changed since).
    ///
    /// # Errors
    /// As [`reconcile`].
    pub fn reconcile(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        accepts_older: bool,
    ) -> Result<Reconciled, ReconcileError> {
        let news = self.news(base, source, rows, accepts_older)?;
        self.sign(base, source, rows, news)
    }

    /// What the database has changed since the tracking ref.
    pub(crate) fn news(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        accepts_older: bool,
    ) -> Result<News, ReconcileError> {
        let layout = Layout::of(source.shape);
        let tracked = tracking_ref(base, source.keypair);
        let older = self.version(base).zip(rows.version).filter(|(known, found)| found < known);
        if let Some((known, found)) = older.filter(|_| !accepts_older) {
            return Err(ReconcileError::Older { found, known });
        }
        let content = self.content_at(base, &tracked, source.keypair.author())?;
        let edits = diff(source.shape, &layout, &content, rows);
        Ok(News { layout, tracked, edits, is_older: older.is_some() })
    }

    /// Signs what the database has changed.
    pub(crate) fn sign(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        rows: &Rows,
        News { layout, tracked, edits, .. }: News,
    ) -> Result<Reconciled, ReconcileError> {
        if edits.is_empty() {
            return Ok(Reconciled { heads: tracked, ..Reconciled::default() });
        }
        if layout.mode == Mode::Merge || tracked.is_empty() {
            return self.author(base, source, (&layout, &tracked), edits);
        }
        let heads = base.heads();
        let live = self.content_at(base, &heads, source.keypair.author())?;
        let to_do = diff(source.shape, &layout, &live, rows);
        drop(live);
        let dropped = to_do.iter().filter_map(|edit| dropped_by(edit, &edits)).collect();
        if to_do.is_empty() {
            // People had done the same: the document says that it equals the rows.
            let changes = self.mark(base, source, &heads, (rows.version, false))?;
            let heads = changes.iter().map(Change::digest).collect();
            let (ops, bytes) = sizes(&changes);
            return Ok(Reconciled { edits, changes, heads, dropped, ops, bytes });
        }
        let reconciled = self.author(base, source, (&layout, &heads), to_do)?;
        Ok(Reconciled { dropped, edits, ..reconciled })
    }

    /// Signs edits at some heads, in as many changes as their size needs.
    pub(crate) fn author(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        (layout, heads): (&Layout, &[Digest]),
        edits: Vec<Edit>,
    ) -> Result<Reconciled, ReconcileError> {
        let past = self.past(base, heads, source.keypair.author())?;
        let before = past.content();
        let authored = author_edits(past, source, layout, edits, heads);
        match &authored {
            Ok(authored) => self.was(heads.to_vec(), before, &authored.edits, &authored.changes),
            // What it has claimed and not signed must not show in what it signs next.
            Err(_) => self.forget(),
        }
        authored
    }

    /// As [`save_mark`], the same bytes. O(what has changed since).
    ///
    /// # Errors
    /// As [`save_mark`].
    pub fn save_mark(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        heads: &[Digest],
        version: Option<i64>,
    ) -> Result<Vec<Change>, ReconcileError> {
        self.mark(base, source, heads, (version, true))
    }

    /// Says that the database equals the document at some heads, also in what the document owns where that was saved.
    fn mark(
        &mut self,
        base: &BaseCrdt<JsonCrdt>,
        source: Source<'_>,
        heads: &[Digest],
        (version, is_saved): (Option<i64>, bool),
    ) -> Result<Vec<Change>, ReconcileError> {
        let mut heads: Vec<Digest> = heads.to_vec();
        heads.extend(tracking_ref(base, source.keypair));
        heads.sort_unstable();
        heads.dedup();
        let past = self.past(base, &heads, source.keypair.author())?;
        let before = past.content();
        past.skip_op_numbers(apart(&heads, version.unwrap_or_default().to_le_bytes().as_slice()));
        let version = version.filter(|version| version_of(&before) != Some(*version));
        let is_noted = before.get(OWNED).is_some_and(|noted| *noted != JsonValue::Null);
        let marked = mark(past, source.keypair, version, is_saved && is_noted);
        match &marked {
            Ok(mark) => self.was(heads, before, &[], mark),
            Err(_) => self.forget(),
        }
        marked
    }
}

fn mark(
    author: &mut BaseCrdt<JsonCrdt>,
    keypair: &Keypair,
    version: Option<i64>,
    clears_owned: bool,
) -> Result<Vec<Change>, ReconcileError> {
    if version.is_none() && !clears_owned {
        return Ok(vec![author.save_mark(keypair)?]);
    }
    author.begin_as(Rank::Above);
    let version = version.map(|version| Edit::Own(VERSION, JsonValue::Integer(version.into())));
    let cleared = clears_owned.then_some(Edit::Own(OWNED, JsonValue::Null));
    for edit in version.into_iter().chain(cleared) {
        apply(&author.doc, &edit, &Hand::Person)?;
    }
    Ok(author.commit(keypair)?)
}

/// The version that a document had followed with a change of its source.
pub(crate) fn tracked_version(base: &BaseCrdt<JsonCrdt>, change: Digest) -> Option<i64> {
    let version = base.with_past(&[change], |past| past.doc.at(VERSION).map(|version| version.view()));
    if let Ok(Some(JsonValue::Integer(version))) = version { version.try_into().ok() } else { None }
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
/// change: it is joined. O(document); with a [`Tracker`] O(what has changed since).
///
/// # Errors
/// [`ReconcileError::Sign`]
pub fn save_mark(
    base: &BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    heads: &[Digest],
    version: Option<i64>,
) -> Result<Vec<Change>, ReconcileError> {
    Tracker::default().save_mark(base, source, heads, version)
}

/// How many op numbers a batch leaves out. Two nodes that have read different rows author on the same base with one key;
/// each op is named by its number, so theirs must not have the same ones. Nodes that have read the same leave out the same.
fn numbers_apart(heads: &[Digest], edits: &[Edit]) -> u64 {
    let mut content = Vec::new();
    edits.iter().for_each(|edit| write_down(edit, &mut content));
    apart(heads, &content)
}

/// An edit as bytes, the same on every node, and others for another edit.
fn write_down(edit: &Edit, content: &mut Vec<u8>) {
    let mut add = |part: &str| {
        content.extend((part.len() as u64).to_le_bytes());
        content.extend(part.as_bytes());
    };
    match edit {
        Edit::Own(name, value) => ["own", name, &value.to_string()].map(&mut add),
        Edit::AddList(name) => ["add", name, ""].map(&mut add),
        Edit::DropList(name) => ["drop", name, ""].map(&mut add),
        Edit::Insert { path, row } => {
            ["insert", &path.to_string(), &JsonValue::Object(row.clone()).to_string()].map(&mut add)
        }
        Edit::Remove { path, .. } => ["remove", &path.to_string(), ""].map(&mut add),
        Edit::Write { path, new, .. } => {
            let new = new.as_ref().map(JsonValue::to_string).unwrap_or_default();
            ["write", &path.to_string(), &new].map(&mut add)
        }
    };
}

fn apart(heads: &[Digest], content: &[u8]) -> u64 {
    let mut hasher = Sha256::new();
    heads.iter().for_each(|head| hasher.update(head.0));
    hasher.update(content);
    let hash: [u8; 32] = hasher.finalize().into();
    let number = hash.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    number >> NUMBERS_KEPT
}

/// Signs edits, in as many changes as their size needs.
fn author_edits(
    author: &mut BaseCrdt<JsonCrdt>,
    source: Source<'_>,
    layout: &Layout,
    edits: Vec<Edit>,
    heads: &[Digest],
) -> Result<Reconciled, ReconcileError> {
    author.skip_op_numbers(numbers_apart(heads, &edits));
    let is_first = heads.is_empty();
    // Where it brings together what was made apart, another node may be doing so beside it in a way of its own: of a line that
    // both kept in part nothing whole would be left.
    let splices = if author.heads().len() > 1 { line_splices } else { splices };
    let typed: Vec<Vec<Splice>> = edits.iter().map(|edit| splices_of(edit, splices)).collect();
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
    let heads = tracking_ref(author, source.keypair);
    Ok(Reconciled { edits, changes, heads, dropped: Vec::new(), ops, bytes })
}

/// How many ops changes have, and how many bytes they take, signatures included.
pub(crate) fn sizes(changes: &[Change]) -> (usize, usize) {
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
    edit.path()?.row()
}

/// What changes in a text that is merged by character.
fn splices_of(edit: &Edit, splices: fn(&str, &str) -> Vec<Splice>) -> Vec<Splice> {
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
