//! The bounds of one session. Times are milliseconds.

use gangline_wire::limits::BULK_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// Bounds of a session with a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// Largest first text frame, in bytes; the rest of the document follows as binary frames.
    pub bulk_bytes_max: usize,
    /// Most entries that are read from the log, and then sent, at a time.
    pub send_ops_max: usize,
    /// Most bytes of changes that are read from the log, and then sent, at a time.
    pub send_bytes_max: usize,
    /// Most changes in one frame of what a peer lacks when the two meet.
    pub give_ops_max: usize,
    /// Most bytes of changes in one frame of what a peer lacks when the two meet, before compression.
    pub give_bytes_max: usize,
    /// Most frames that are taken from the socket and applied as one batch.
    pub batch_frames_max: usize,
    /// Most bytes of frames that are taken from the socket and applied as one batch; one frame always is.
    pub batch_bytes_max: usize,
    /// How far a peer may fall behind the ops accepted since it connected, once its socket is blocked.
    pub lag_ops_max: u64,
    /// How long one batch may be on its way before the socket counts as blocked.
    pub blocked_ms: u64,
    /// How long a socket may take not one byte of what is to be sent.
    pub progress_ms: u64,
    /// A ping goes out when nothing was heard, or nothing sent, for this long.
    pub ping_ms: u64,
    /// A peer of which nothing was heard for this long is gone.
    pub idle_ms: u64,
    /// How long an op may wait for its dependencies before the session is closed, for a fresh bulk to bring
    /// them.
    pub pending_ms: u64,
    /// A peer that sends this many bad frames within `bad_frames_window_ms` is disconnected.
    pub bad_frames_max: usize,
    /// See `bad_frames_max`.
    pub bad_frames_window_ms: u64,
    /// How long a peer that speaks version 2 may take to say who it is.
    pub hello_ms: u64,
    /// When a batch is tried again for which the disk had no room.
    pub busy_ms: u64,
    /// How long a session that is being stopped may go on sending what is durable.
    pub drain_ms: u64,
    /// How often a peer that does not serve a document is told that it has grown, at most.
    pub news_ms: u64,
    /// Most documents that a peer is still to be told of by name. With more it is shown the catalog.
    pub news_max: usize,
    /// Most documents of a peer that wait for this node's host. Those that do not fit are looked for in the catalog; at
    /// least a page of one has to fit.
    pub offers_max: usize,
    /// When a host that had no room is asked again.
    pub offer_again_ms: u64,
    /// How often the catalogs are compared on one connection, at most.
    pub catalog_ms: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            bulk_bytes_max: BULK_BYTES_MAX,
            send_ops_max: 512,
            send_bytes_max: 256 << 10,
            give_ops_max: 8_192,
            give_bytes_max: 2 << 20,
            batch_frames_max: 1_024,
            batch_bytes_max: 1 << 20,
            lag_ops_max: 10_000,
            blocked_ms: 5_000,
            progress_ms: 60_000,
            ping_ms: 20_000,
            idle_ms: 60_000,
            pending_ms: 30_000,
            bad_frames_max: 1_000,
            bad_frames_window_ms: 60_000,
            hello_ms: 10_000,
            busy_ms: 50,
            drain_ms: 3_000,
            news_ms: 1_000,
            news_max: 1_024,
            offers_max: 4_096,
            offer_again_ms: 500,
            catalog_ms: 10_000,
        }
    }
}
