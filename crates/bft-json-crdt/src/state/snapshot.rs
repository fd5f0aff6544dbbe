//! Snapshots: a document's state as a node writes it for itself, and opens it again without replaying anything.
//!
//! Nobody else can verify a state; what peers get is history ([`crate::bundle`]). A snapshot has two parts, each
//! checksummed. The state is read when it is opened, but for texts, which are read when first touched. The history
//! is read only when somebody asks for old changes.
//!
//! ```text
//! state     17 bytes   "gangline snapshot"
//!           1 byte     version, 1
//!           sections   in this order, each: 4 bytes length, 4 bytes CRC-32, both little-endian, and the bytes
//!             head     what is drawn in `snapshot/head.rs`
//!             rows     columns: one number per change and column
//!             nodes    columns: what elements, entries and places were made
//!             values   columns: the values of registers, and counters
//!             lists    columns: the elements, their order, what was deleted and moved
//!             maps     columns: keys, entries, removals
//!             texts    one section for each text: columns
//! history   bundles, each: 4 bytes length, little-endian, and the bundle
//! ```
//!
//! Changes are numbered anew, without gaps, in their order.

mod head;
mod nodes;
mod rows;
mod text;

use std::sync::Arc;

use crate::bundle::{self, BundleError};
use crate::columns::{ColumnError, Columns, Deflater, Numbers};
use crate::encoding::{DecodeError, Reader};
use crate::keypair::AuthorId;
use crate::schema::{TypeIx, TypeTable};
use crate::state::State;
use crate::state::history::{ChangeIx, Made};
use crate::state::patches::Patches;

use text::Claimed;
pub(crate) use text::LazyText;

const MAGIC: &[u8; 17] = b"gangline snapshot";
const VERSION: u8 = 1;
/// Most nodes that edits may have made which were given up: they keep their numbers.
const GIVEN_UP_MAX: usize = 1 << 18;
/// Stands for an edit that was given up.
const NO_CHANGE: ChangeIx = ChangeIx::MAX;
/// What one section's columns may inflate to.
const INFLATED_BYTES_MAX: usize = 1 << 30;

/// A document as a node keeps it for itself: see [`crate::json_crdt::BaseCrdt::save`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What the document is: enough to show it, to edit it and to take in new changes.
    pub state: Vec<u8>,
    /// How it came to be: its changes, compressed.
    pub history: Vec<u8>,
}

/// Why a snapshot cannot be opened. The node's log of changes is the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It begins with something else.
    #[error("not a snapshot")]
    NotASnapshot,
    /// A later version wrote it.
    #[error("snapshot of version {0}, not {VERSION}")]
    Version(u8),
    /// A part was damaged.
    #[error("section {section} of the snapshot does not have its checksum")]
    Checksum {
        /// Which part.
        section: &'static str,
    },
    /// A part is intact and makes no sense.
    #[error("section {section} of the snapshot: {problem}")]
    Malformed {
        /// Which part.
        section: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The document's type is another than that which was saved. Open the history.
    #[error("the snapshot was made by another type of document")]
    OtherType,
    /// The history is damaged.
    #[error("the history of the snapshot cannot be read")]
    History(#[from] BundleError),
}

/// A section being read, for its name in errors.
struct Section<'a> {
    name: &'static str,
    bytes: &'a [u8],
}

impl Section<'_> {
    fn malformed(&self, problem: impl Into<String>) -> SnapshotError {
        SnapshotError::Malformed { section: self.name, problem: problem.into() }
    }

    fn column_error(&self, error: &ColumnError) -> SnapshotError {
        self.malformed(error.to_string())
    }

    fn decode_error(&self, error: &DecodeError) -> SnapshotError {
        self.malformed(error.to_string())
    }

    fn columns(&self) -> Result<Columns<'_>, SnapshotError> {
        Columns::read(self.bytes, INFLATED_BYTES_MAX).map_err(|error| self.column_error(&error))
    }
}

fn put_section(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_section<'a>(reader: &mut Reader<'a>, name: &'static str) -> Result<Section<'a>, SnapshotError> {
    let early = |_| SnapshotError::Malformed { section: name, problem: "ends early".to_owned() };
    let len = u32::from_le_bytes(reader.array("a length").map_err(early)?);
    let checksum = u32::from_le_bytes(reader.array("a checksum").map_err(early)?);
    let bytes = reader.take("a section", len as usize).map_err(early)?;
    if crc32fast::hash(bytes) == checksum {
        Ok(Section { name, bytes })
    } else {
        Err(SnapshotError::Checksum { section: name })
    }
}

/// Columns being written.
#[derive(Default)]
struct Table {
    columns: Vec<(u8, Numbers)>,
}

impl Table {
    fn push(&mut self, id: u8, n: impl Into<u64>) {
        let at = match self.columns.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => at,
            Err(at) => {
                self.columns.insert(at, (id, Numbers::default()));
                at
            }
        };
        if let Some((_, numbers)) = self.columns.get_mut(at) {
            numbers.push(n.into());
        }
    }

    fn put(&self, out: &mut Vec<u8>, deflater: &mut Deflater) {
        self.columns.iter().for_each(|(id, numbers)| numbers.put_column(out, *id, deflater));
    }
}

/// The new numbers of changes: those of edits that were given up are left out.
struct Renumbering {
    new: Vec<u32>,
}

impl Renumbering {
    fn of(state: &State) -> Self {
        let mut new = vec![NO_CHANGE; state.history.row_count() as usize];
        for (number, old) in (0..).zip(state.history.signed()) {
            if let Some(place) = new.get_mut(old as usize) {
                *place = number;
            }
        }
        Self { new }
    }

    fn change(&self, old: ChangeIx) -> u32 {
        self.new.get(old as usize).copied().unwrap_or(NO_CHANGE)
    }

    fn made(&self, table: &mut Table, id: u8, made: Made) {
        table.push(id, self.change(made.change));
        table.push(id + 1, made.place);
    }
}

impl State {
    /// Most op numbers that the changes of a snapshot can have claimed: each takes a byte in their encodings at
    /// least. So a damaged count cannot fill the memory.
    fn claimed_max(&self) -> usize {
        usize::try_from(self.history.cold().claims().1).unwrap_or(usize::MAX)
    }

    pub(crate) fn has_unsigned(&self) -> bool {
        self.is_open() || !self.unsigned.is_empty()
    }

    /// Leaves out what only the original can finish: edits that are not signed.
    pub(crate) fn settle_for_copy(&mut self) {
        self.roll_back();
        self.give_up_all();
        self.patches = self.patches.take().and_then(Patches::for_copy);
    }

    /// Compresses old changes and drops values that nothing shows any more.
    pub(crate) fn compact(&mut self) -> Result<(), SnapshotError> {
        if self.has_unsigned() {
            return Ok(());
        }
        self.history.freeze()?;
        self.kept.forget();
        let old = std::mem::take(&mut self.values);
        let mut values = Vec::new();
        self.nodes.for_each_write(|write| {
            let from = old.get(write.value as usize..).unwrap_or_default();
            let mut reader = Reader::new(from);
            let _ = reader.skip_value();
            let start = values.len() as u32;
            values.extend_from_slice(from.get(..from.len() - reader.rest().len()).unwrap_or_default());
            write.value = start;
        });
        self.values = values;
        Ok(())
    }

    /// Writes the document; no edit may wait for its signature.
    pub(crate) fn save(&mut self) -> Result<Snapshot, SnapshotError> {
        self.history.freeze()?;
        let numbers = Renumbering::of(self);
        let mut deflater = Deflater::new();
        let mut state = Vec::new();
        state.extend_from_slice(MAGIC);
        state.push(VERSION);
        put_section(&mut state, &self.save_head(&numbers));
        put_section(&mut state, &self.save_rows(&numbers, &mut deflater));
        put_section(&mut state, &self.save_nodes(&mut deflater));
        put_section(&mut state, &self.save_values(&numbers, &mut deflater));
        put_section(&mut state, &self.save_lists(&numbers, &mut deflater));
        put_section(&mut state, &self.save_maps(&numbers, &mut deflater));
        for text in self.nodes.texts() {
            put_section(&mut state, &text::save(text, &mut deflater));
        }
        let mut history = Vec::new();
        for bundle in self.history.cold().bundles() {
            history.extend_from_slice(&(bundle.len() as u32).to_le_bytes());
            history.extend_from_slice(bundle);
        }
        Ok(Snapshot { state, history })
    }

    /// Opens what [`Self::save`] wrote, to be edited by `author`.
    pub(crate) fn open(
        snapshot: &Snapshot,
        author: AuthorId,
        describe: impl FnOnce(&mut TypeTable) -> TypeIx,
    ) -> Result<Self, SnapshotError> {
        let mut types = TypeTable::default();
        let root = describe(&mut types);
        let mut reader = Reader::new(&snapshot.state);
        if reader.array("the magic").ok() != Some(*MAGIC) {
            return Err(SnapshotError::NotASnapshot);
        }
        match reader.byte("the version") {
            Ok(VERSION) => {}
            found => return Err(SnapshotError::Version(found.unwrap_or_default())),
        }
        let bundles = read_bundles(&snapshot.history)?;
        let mut state = Self::open_head(&take_section(&mut reader, "head")?, author, types, root, bundles)?;
        state.open_rows(&take_section(&mut reader, "rows")?)?;
        state.open_nodes(&take_section(&mut reader, "nodes")?)?;
        state.open_values(&take_section(&mut reader, "values")?)?;
        state.open_lists(&take_section(&mut reader, "lists")?)?;
        state.open_maps(&take_section(&mut reader, "maps")?)?;
        let changes = state.history.row_count();
        let claimed = Arc::new(Claimed::by(&state.history, state.claimed_max()));
        for at in 0..state.nodes.text_count() {
            let section = take_section(&mut reader, "texts")?;
            state.nodes.set_text(at, LazyText::frozen(section.bytes.into(), Arc::clone(&claimed)));
        }
        if !reader.rest().is_empty() {
            return Err(SnapshotError::Malformed {
                section: "texts",
                problem: "more than there are".to_owned(),
            });
        }
        debug_assert_eq!(changes, state.history.row_count(), "texts make no changes");
        Ok(state)
    }
}

/// Splits the history into its bundles and looks at their checksums.
fn read_bundles(history: &[u8]) -> Result<Vec<Arc<[u8]>>, SnapshotError> {
    let mut reader = Reader::new(history);
    let mut bundles = Vec::new();
    while !reader.rest().is_empty() {
        let early = |_| SnapshotError::Malformed { section: "history", problem: "ends early".to_owned() };
        let len = u32::from_le_bytes(reader.array("a length").map_err(early)?);
        let bytes = reader.take("a bundle", len as usize).map_err(early)?;
        bundle::check(bytes)?;
        bundles.push(Arc::from(bytes));
    }
    Ok(bundles)
}
