//! Documents that follow a database: rows become signed documents that people edit, and edits become rows again.
//!
//! The database is one more replica. A document keeps the heads at which it last equalled the rows (the *tracking
//! ref*); what the database changed since is authored there, by the source's own key, and so is concurrent to what
//! people did meanwhile: the document merges the three sides.
//!
//! This crate has no IO, no threads and no clock. Databases live in `gangline-store` behind the port [`RowSource`],
//! notes that a node keeps for itself behind [`NoteStore`].
//! Read [`mapping`] first: what an operator says. Then [`source`]: what a database owes.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod limits;
pub mod mapping;
pub mod notes;
mod rows;
mod schema;
pub mod source;

pub use mapping::{BadDocumentName, DocumentName, Fields, ListTable, Mapping, Mode, Policy, RootTable};
pub use notes::{Note, NoteError, NoteKind, NoteStore};
pub use rows::{BadRow, Row, Rows, RowsBuilder, RowsDigest, TooLarge, check_key};
pub use schema::{Column, ColumnKind, FieldShape, MappingMistake, Schema, Shape, TableSchema, TableShape};
pub use source::{
    Continuity, OutboxPosition, OutboxRead, RowSource, SaveOutcome, SaveRequest, SourceError, Write,
    WriteAction,
};
