//! Why a replica does not do what it was asked to, one type per kind of call.

use std::sync::Arc;

use bft_json_crdt::json_crdt::{LoadError, SignError};

use crate::op_log::{LogSeq, OpLogError};

/// Why a replica could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The log cannot be read; what to do is in the error.
    #[error(transparent)]
    Log(#[from] OpLogError),
    /// The log skips positions: it is damaged. Restore a backup, or start with an empty log and a new key.
    #[error("the op log is damaged: entry {expected} is missing, the next one is {found}")]
    Gap {
        /// The position that should come.
        expected: LogSeq,
        /// The position that came.
        found: LogSeq,
    },
    /// The log holds what this document cannot have taken in: another document's, or in another order.
    #[error("the op log does not fit the document, before entry {before}")]
    Load {
        /// The first position that was not looked at.
        before: LogSeq,
        /// What the engine said.
        #[source]
        source: LoadError,
    },
}

/// Why a delivery could not be taken in at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The replica has stopped for good. Tell the operator; close the session.
    #[error("the replica has stopped: {reason}")]
    Failed {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The disk does not keep up. Close the session, or deliver the same again later.
    #[error("{in_flight_bytes} bytes wait for the disk, too much for more")]
    Busy {
        /// Encoded bytes of the changes that wait.
        in_flight_bytes: usize,
    },
}

/// Why a local edit was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditFailed<E> {
    /// The edit itself said so; nothing of it stays.
    #[error(transparent)]
    Refused(E),
    /// An op of it cannot be signed, being too large; those before it stay and are on their way to the log.
    #[error("the edit cannot be signed")]
    Unsignable(#[source] SignError),
    /// The replica has stopped for good. Tell the operator.
    #[error("the replica has stopped: {reason}")]
    Failed {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The disk does not keep up. Nothing was changed; try again later.
    #[error("{in_flight_bytes} bytes wait for the disk, too much for more")]
    Busy {
        /// Encoded bytes of the changes that wait.
        in_flight_bytes: usize,
    },
}
