//! Backends behind Gangline's ports: where a replica's op log lives.
//!
//! | backend | survives | for |
//! |---|---|---|
//! | [`MemoryOpLog`] | nothing | tests, demos |
//! | [`SqliteOpLog`] | everything that was answered: crashes, power cuts, full disks | nodes |
//!
//! Both pass the conformance suite of `gangline-doc`. [`DirLock`] keeps a second process out of a data
//! directory. With the feature `fault`, `FaultyOpLog` breaks any of them in named ways.
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
mod memory;
pub mod sqlite;

pub use dir_lock::{DirLock, DirLockError};
pub use memory::MemoryOpLog;
pub use sqlite::{OpenError, SqliteOpLog, SqliteSettings, SqliteStats};
