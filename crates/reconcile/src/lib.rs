//! Documents that follow a database: rows become signed documents that people edit, and edits become rows again.
//!
//! The database is one more replica. A document keeps the heads at which it last equalled the rows (the *tracking
//! ref*); what the database changed since is authored there, by the source's own key, and so is concurrent to what
//! people did meanwhile: the document merges the three sides.
//!
//! This crate has no IO, no threads and no clock. Databases live in `gangline-store` behind the port [`RowSource`],
//! notes that a node keeps for itself behind [`NoteStore`].
//! Read [`mapping`] first: what an operator says. Then [`source`]: what a database owes.

#![allow(clippy::wildcard_enum_match_arm, reason = "of the kinds of JSON mostly a few are asked for")]

mod apply;
mod batch;
mod conflicts;
#[cfg(feature = "conformance")]
pub mod conformance;
mod diff;
pub mod door;
mod elsewhere;
pub mod follower;
mod layout;
pub mod limits;
pub mod mapping;
pub mod notes;
mod notice;
mod owned;
mod patch;
mod path;
mod plan;
mod reading;
mod rows;
mod save;
mod schema;
pub mod source;
mod text;
mod tracker;
mod unsaved;

pub use batch::{
    Dropped, ReconcileError, Reconciled, Source, reconcile, save_mark, tracking_ref, version_of,
};
pub use conflicts::{Conflict, ConflictKind, Take, conflicts, resolve, resolve_as};
pub use diff::{Edit, diff};
pub use door::{DoorEffect, DoorError, DoorInput, DoorSettings, Doors, Generation, Role, Visitor};
pub use elsewhere::{FollowOptions, is_announced};
pub use follower::{FollowEffect, FollowInput, FollowSettings, Follower, Standing};
pub use layout::{FieldLayout, Layout, ListLayout, Misfit};
pub use mapping::{BadDocumentName, DocumentName, Fields, ListTable, Mapping, Mode, Policy, RootTable};
pub use notes::{Note, NoteError, NoteKind, NoteStore};
pub use notice::{Notice, NoticeChange, Outcome, RootChange, notice};
pub use owned::followed_at;
pub use patch::{PatchError, edit, edits_of};
pub use path::{BadPath, Path};
pub use plan::{Plan, PlanEntry, plan};
pub use reading::{Reading, read};
pub use rows::{BadRow, Cell, Digested, Keep, Read, Row, Rows, RowsBuilder, RowsDigest, TooLarge, check_key};
pub use save::{SavePlan, SaveProblem, dangling, plan_save};
pub use schema::{Column, ColumnKind, FieldShape, MappingMistake, Schema, Shape, TableSchema, TableShape};
pub use source::{
    Continuity, OutboxPosition, OutboxRead, RowSource, SaveOutcome, SaveRequest, Scanned, SourceError, Write,
    WriteAction,
};
pub use text::{Splice, rebase, splices};
pub use tracker::Tracker;
pub use unsaved::{Unsaved, UnsavedKind, at, unsaved, view};
