//! Every bound of a change, in one place. Each is checked before anything of that size is allocated.

/// Longest canonical encoding of a change, in bytes.
pub const CHANGE_BYTES_MAX: usize = 4 << 20;
/// Most ops in one change.
pub const CHANGE_OPS_MAX: usize = 131_072;
/// Most causal dependencies that a change names besides its author's previous change.
pub const CHANGE_DEPS_MAX: usize = 64;
/// Most names (overwritten values, deleted elements, seen removals) in one op.
pub const OP_NAMES_MAX: usize = 4_096;
/// Most ranges of characters in one op.
pub const OP_RANGES_MAX: usize = 65_536;
/// Deepest nesting of a JSON value, and longest path of a target.
pub const VALUE_DEPTH_MAX: usize = 64;
/// Most values (itself and all inside) in the content of one op. A value takes 32 bytes in memory and may take
/// one on the wire: this bounds what a small frame can make a reader allocate.
pub const VALUE_COUNT_MAX: usize = 262_144;
/// Longest key of an object, a map or a path, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Most changes that wait in the causal queue of one document.
pub const CAUSAL_QUEUE_MAX: usize = 16_384;
/// Most bytes that wait in the causal queue of one document.
pub const CAUSAL_QUEUE_BYTES_MAX: usize = 64 << 20;
/// Most bytes of one author that wait in the causal queue of one document.
pub const CAUSAL_QUEUE_AUTHOR_BYTES_MAX: usize = 32 << 20;
/// Most patches that wait to be taken; with more, the whole document is to be read again.
pub const PATCHES_MAX: usize = 65_536;
/// Most bytes of patches that wait to be taken; with more, the whole document is to be read again.
pub const PATCHES_BYTES_MAX: usize = 16 << 20;
