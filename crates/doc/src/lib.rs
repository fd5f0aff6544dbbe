//! A replica of a shared document: the document, its op log, and who is told when.
//!
//! A [`Replica`] takes local edits ([`Replica::edit`]) and other authors' changes ([`Replica::apply`]),
//! appends both to an [`OpLog`], and tells nobody before they are durable: every result comes with a
//! [`Ticket`], and everybody who passes changes on is a reader of the durable log
//! ([`Replica::entries`], [`Replica::subscribe`]).
//!
//! [`PipelineDoc`] is the board's document, [`board`] what people and agents do with it.
//!
//! This crate has no IO, no threads and no clock. Logs live in `gangline-store`, sockets in
//! `gangline-transport`; both meet it through the ports [`OpLog`] and [`SyncSource`].
//! Read [`op_log`] first, then [`replica`], then [`board`].
//!
//! ```
//! use bft_json_crdt::keypair::make_keypair;
//! use gangline_doc::{NewItem, PipelineDoc, Replica, ReplicaSettings, board};
//! # use gangline_doc::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};
//! # struct NoLog;
//! # impl OpLog for NoLog {
//! #     fn append(&self, _: Vec<Record>, done: Done) { done(Ok(())) }
//! #     fn read(&self, _: LogSeq, _: ReadLimit) -> Result<Vec<LogEntry>, OpLogError> { Ok(Vec::new()) }
//! #     fn len(&self) -> Result<u64, OpLogError> { Ok(0) }
//! # }
//! # let log = std::sync::Arc::new(NoLog);
//!
//! // In a node: let log = Arc::new(SqliteOpLog::open(&data_dir)?);
//! let replica = Replica::<PipelineDoc>::open(make_keypair(), log, ReplicaSettings::default())?;
//!
//! let (item, ticket) = replica.edit(0, |editor| board::add(editor, NewItem::new("story-1")))?;
//! ticket.on_done(Box::new(|durable| println!("acknowledge now: {durable:?}")));
//!
//! let (items, _) = replica.read(board::items);
//! assert_eq!(items, vec![item]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod board;
#[cfg(feature = "conformance")]
pub mod conformance;
mod entry;
mod field;
mod history;
mod item;
pub mod op_log;
mod pipeline;
mod progress;
pub mod replica;
mod sync_source;

pub use board::{BoardError, FieldConflict};
pub use entry::{Entry, OriginId};
pub use field::Field;
pub use history::Touch;
pub use item::{Item, NewItem, Patch};
pub use op_log::{Done, LogEntry, LogSeq, OpLog, OpLogError, ReadLimit, Record};
pub use pipeline::{PipelineDoc, PipelineItem};
pub use progress::{NotDurable, Subscription, Ticket};
pub use replica::{
    ApplyError, Authored, EditFailed, Editor, OpenError, Replica, ReplicaSettings, ReplicaStats,
};
pub use sync_source::SyncSource;
