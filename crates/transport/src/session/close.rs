//! Why a session ended: one list for logs, `status`, metrics and the dialer.

use bft_json_crdt::Digest;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This node stops.
    #[error("this node stops")]
    Stopping,
    /// The peer said goodbye.
    #[error("closed by the peer ({code}{}{reason})", if .reason.is_empty() { "" } else { ": " })]
    ByPeer {
        /// WebSocket close code.
        code: u16,
        /// What the peer gave as reason, cut.
        reason: String,
    },
    /// The connection broke, or what came was no WebSocket.
    #[error("connection lost: {error}")]
    Lost {
        /// What the socket says.
        error: String,
    },
    /// A frame larger than what a node accepts was announced. It was not read.
    #[error("a frame of {bytes} bytes is over the limit of {max}")]
    FrameTooLarge {
        /// Announced size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Too many frames in too short a time could not be understood or were refused. Wait long before dialling
    /// again.
    #[error("{count} bad frames within {window_ms} ms")]
    TooManyBadFrames {
        /// How many.
        count: usize,
        /// Within which time.
        window_ms: u64,
    },
    /// The socket is blocked and the peer has fallen too far behind. A reconnect brings a fresh bulk.
    #[error("the peer is {ops} ops behind and its socket is blocked")]
    Lagging {
        /// How many accepted ops it has not been sent.
        ops: u64,
    },
    /// The socket has not taken one byte for too long.
    #[error("the peer took nothing for {ms} ms")]
    NoProgress {
        /// For how long.
        ms: u64,
    },
    /// Nothing was heard of the peer for too long.
    #[error("nothing heard of the peer for {ms} ms")]
    Idle {
        /// For how long.
        ms: u64,
    },
    /// An op of this session waited too long for an op that it stands on. A reconnect brings a fresh bulk.
    #[error("change {digest} waited {ms} ms for its dependencies")]
    DependencyTimeout {
        /// The op.
        digest: Digest,
        /// For how long.
        ms: u64,
    },
    /// A full causal queue evicted an op of this session. A reconnect brings a fresh bulk.
    #[error("a change of this session was evicted from the causal queue")]
    Evicted,
    /// The peer's key may not connect here, or is not that of its proof.
    #[error("refused: {reason}")]
    Refused {
        /// What the peer was told.
        reason: String,
    },
    /// The peer refused this node.
    #[error("the peer refused: {reason}")]
    RefusedByPeer {
        /// What it says.
        reason: String,
    },
    /// The peer sent a frame at the wrong time, or one that answers nothing.
    #[error("the peer broke the protocol: {what}")]
    Protocol {
        /// What it did.
        what: &'static str,
    },
    /// What the peer said it gave did not come, although it was asked for once more.
    #[error("{changes} changes that the peer says it gave did not come")]
    Incomplete {
        /// How many of its tips are missing.
        changes: usize,
    },
    /// The peer did not say who it is in time.
    #[error("no hello and proof within {ms} ms")]
    NoHello {
        /// The time.
        ms: u64,
    },
    /// This node can no longer store ops.
    #[error("this node's op log failed: {error}")]
    StoreFailed {
        /// What the store says.
        error: String,
    },
}

impl CloseReason {
    /// Returns a stable name for metrics and `status`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::ByPeer { .. } => "by_peer",
            Self::Lost { .. } => "lost",
            Self::FrameTooLarge { .. } => "frame_too_large",
            Self::TooManyBadFrames { .. } => "too_many_bad_frames",
            Self::Lagging { .. } => "lagging",
            Self::NoProgress { .. } => "no_progress",
            Self::Idle { .. } => "idle",
            Self::DependencyTimeout { .. } => "dependency_timeout",
            Self::Evicted => "evicted",
            Self::Refused { .. } => "refused",
            Self::RefusedByPeer { .. } => "refused_by_peer",
            Self::Protocol { .. } => "protocol",
            Self::Incomplete { .. } => "incomplete",
            Self::NoHello { .. } => "no_hello",
            Self::StoreFailed { .. } => "store_failed",
        }
    }

    /// Returns the WebSocket close code that tells the peer.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::ByPeer { .. } | Self::RefusedByPeer { .. } => 1000,
            Self::Stopping => 1001,
            Self::Lost { .. } => 1002,
            Self::TooManyBadFrames { .. } | Self::Refused { .. } | Self::Protocol { .. } => 1008,
            Self::FrameTooLarge { .. } => 1009,
            Self::StoreFailed { .. } => 1011,
            // "Try again later": a new session starts with a fresh bulk.
            Self::Lagging { .. }
            | Self::NoProgress { .. }
            | Self::Idle { .. }
            | Self::DependencyTimeout { .. }
            | Self::Incomplete { .. }
            | Self::NoHello { .. }
            | Self::Evicted => 1013,
        }
    }

    /// Tells whether the session ended as sessions should.
    #[must_use]
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::Stopping | Self::ByPeer { .. })
    }
}
