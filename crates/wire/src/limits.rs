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
