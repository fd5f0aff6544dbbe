//! Every bound of the wire, in one place. Bounds of a change itself are the engine's.

/// Largest frame, and largest message of several fragments, that a node accepts, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Largest text frame that a node sends, in bytes. What does not fit follows as binary frames.
pub const BULK_BYTES_MAX: usize = 8 << 20;

/// Deepest nesting of JSON inside one op, its own structure included.
///
/// The engine refuses values deeper than 64; this one keeps the parser from ever looking deeper.
pub const JSON_DEPTH_MAX: usize = 127;

/// Longest reason that a [`DecodeError`](crate::DecodeError) carries, in bytes. Longer ones are cut.
pub const REASON_BYTES_MAX: usize = 240;

/// Most bad ops of one text frame whose reasons are kept. All of them are counted.
pub const BAD_OPS_KEPT_MAX: usize = 8;

/// Most bad ops of one text frame that are looked into. With more, the rest of the frame is skipped: its sender
/// speaks another language, or wants to keep this node busy.
pub const BAD_OPS_MAX: u64 = 1_000;

/// Most documents in a hello, and most that a side may serve at a time.
pub const DOCUMENTS_MAX: usize = 4_096;

/// How many documents a side may open on one connection: each takes a number, and none is used again.
pub const DOCUMENT_NUMBERS_MAX: u32 = 1 << 28;

/// Most documents in one page of a catalog.
pub const PAGE_DOCUMENTS_MAX: usize = 1_024;

/// Most authors in a version vector, and in a list of authors. Of those left out a peer gives all it has.
pub const VECTOR_AUTHORS_MAX: usize = 65_536;

/// Most tips of one author in a version vector: an author that forked more often lied that often.
pub const VECTOR_TIPS_MAX: usize = 64;

/// Most changes in one frame of version 2.
pub const FRAME_CHANGES_MAX: usize = 65_536;

/// Most bytes that the changes of one frame of version 2 take in their canonical encoding, however well they are
/// compressed.
pub const FRAME_CHANGE_BYTES_MAX: usize = 32 << 20;

/// Most digests in one ask.
pub const ASK_DIGESTS_MAX: usize = 256;

/// Longest presence, in bytes.
pub const PRESENCE_BYTES_MAX: usize = 1 << 10;

/// Longest request or reply of a call, in bytes.
pub const CALL_BYTES_MAX: usize = 4 << 20;

/// Most grants and revocations in one frame.
pub const RECORDS_MAX: usize = 4_096;

/// Longest grant or revocation, in bytes.
pub const RECORD_BYTES_MAX: usize = 1 << 10;
