//! Bytes to messages and back: the frames that Gangline nodes exchange.
//!
//! Two nodes talk over a WebSocket. Version 1 of what they say is JSON: a *text frame* carries a whole
//! document ([`SyncMessage`]), a *binary frame* carries one signed op ([`encode`], [`decode`]):
//!
//! ```text
//! text    {"type":"bulk","ops":["<SignedOp as JSON>", …]}     right after connecting, both ways
//!         {"type":"op","op":"<SignedOp as JSON>"}             older, still understood
//! binary  {"v":1,"op":{…}}                                    each op from then on
//! ```
//!
//! Version 2 ([`v2`]) is binary, and drawn there. Every payload of version 1 starts with `{`, every frame of
//! version 2 with a byte ≥ 0x80 ([`is_later_version`]), so both can travel on one socket.
//!
//! What arrives may be hostile. Sizes are checked before anything is parsed, nothing recurses over what a
//! peer nested, and every failure is a typed [`DecodeError`]. All bounds are in [`limits`].
//!
//! ```
//! use gangline_wire::{decode, DecodeError};
//!
//! assert!(matches!(decode(b"\xff"), Err(DecodeError::NotUtf8 { .. })));
//! assert!(matches!(decode(b"hello"), Err(DecodeError::NotJson { .. })));
//! assert_eq!(decode(br#"{"v":2,"op":{}}"#), Err(DecodeError::UnknownVersion { version: 2 }));
//! assert!(matches!(decode(br#"{"v":1,"op":{}}"#), Err(DecodeError::InvalidOp { .. })));
//! ```
//!
//! Read [`limits`] first, then [`v2`]; or `v1.rs` (one op) and `message.rs` (text frames). This crate knows no sockets
//! and nothing of what a document means.

mod error;
pub mod limits;
mod message;
mod text;
mod v1;
pub mod v2;

pub use error::DecodeError;
pub use message::{BulkWriter, SyncMessage};
pub use text::{BadOps, TextFrame, decode_text};
pub use v1::{decode, encode, is_later_version};
