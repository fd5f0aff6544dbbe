//! Backends behind Gangline's ports: where a replica's op log lives, and logs with their leases.
//!
//! | backend | survives | for |
//! |---|---|---|
//! | [`MemoryOpLog`] | nothing | tests, demos |
//! | [`SqliteOpLog`] | everything that was answered: crashes, power cuts, full disks | nodes |
//! | [`MemoryEventStore`], [`MemoryLeaseRegistry`] | nothing | tests, demos |
//! | [`SqliteLog`] | everything that was answered; processes of one machine may share it | nodes |
//! | [`GitLog`] | the same; people read it with `git log` and copy it with `git clone` | nodes |
//! | [`SqliteSource`] | it is the user's own database, which documents follow | nodes |
//!
//! Op logs pass the conformance suite of `gangline-doc`, event stores and registries that of `gangline-lease`, row
//! sources that of `gangline-reconcile`.
//! [`DirLock`] keeps a second process out of a data directory. With the feature `fault`, `FaultyOpLog` breaks any of them in named ways.
//!
//! ```
//! use std::sync::Arc;
//! use gangline_doc::OpLog as _;
//! use gangline_store::SqliteOpLog;
//!
//! # let dir = tempfile::tempdir()?;
//! let log = Arc::new(SqliteOpLog::open(dir.path())?);
//! assert!(log.is_empty()?);
//!
//! let second = SqliteOpLog::open(dir.path()).unwrap_err();
//! assert!(second.to_string().contains("is in use"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dir_lock;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
pub mod git_log;
mod memory;
mod memory_log;
pub mod sqlite;
mod sqlite_commit;
pub mod sqlite_log;
mod sqlite_notes;
pub mod sqlite_source;
mod worker;

pub use dir_lock::{DirLock, DirLockError};
pub use git_log::{GitLog, OpenGitLogError};
pub use memory::MemoryOpLog;
pub use memory_log::{MemoryEventStore, MemoryLeaseRegistry};
pub use sqlite::{OpenError, SqliteOpLog, SqliteSettings, SqliteStats};
pub use sqlite_log::{BootClock, BootClockError, OpenLogError, SqliteLog};
pub use sqlite_notes::SqliteNotes;
pub use sqlite_source::SqliteSource;
