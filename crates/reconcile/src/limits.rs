//! Every bound of what is read from a database, in one place.

/// Most rows of one root, in all lists together.
pub const ROOT_ROWS_MAX: usize = 100_000;
/// Most bytes of one root: keys and texts as they are, other values as 8 each.
pub const ROOT_BYTES_MAX: usize = 64 << 20;
/// Most bytes of one row, counted alike: it has to fit into one change of 4 MiB, together with what names its values.
pub const ROW_BYTES_MAX: usize = 3 << 20;
/// Longest key of a row, in bytes: keys are names in a document.
pub const KEY_BYTES_MAX: usize = bft_json_crdt::limits::KEY_BYTES_MAX;
/// Entries that an outbox keeps when it is pruned.
pub const OUTBOX_ENTRIES_KEPT: u32 = 100_000;
/// How long an outbox keeps an entry, in seconds: 7 days.
pub const OUTBOX_AGE_MAX_S: u32 = 7 * 24 * 60 * 60;
/// Most bytes that a document notes of what its rows have in fields that it owns: fields beyond do not count as unsaved.
pub const OWNED_BYTES_MAX: usize = 256 << 10;
