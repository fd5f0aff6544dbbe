//! Every bound of this package, by name.

use std::time::Duration;

/// Longest name of a space, in bytes.
pub const SPACE_BYTES_MAX: usize = 128;
/// Longest name of a place that a log has moved to, in bytes.
pub const PLACE_BYTES_MAX: usize = 512;
/// Longest type of an event and longest id of an intent, in bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// Largest payload, in bytes, as it is given and as it is stored.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Objects and arrays within each other in a payload.
pub const PAYLOAD_DEPTH_MAX: usize = 64;
/// Events in one batch, hence the longest run of events under one signature.
pub const BATCH_EVENTS_MAX: usize = 100;
/// Bytes of payloads in one batch, so that it fits a call between nodes; one event is taken even if it alone has more.
pub const BATCH_BYTES_MAX: usize = 2 << 20;
/// Events that one read returns at most, whatever is asked for.
pub const READ_EVENTS_MAX: usize = 10_000;
/// Bytes of payloads that one read returns at most; one event is returned even if it alone has more.
pub const READ_BYTES_MAX: usize = 16 << 20;
/// Intents that may wait in one space's lane.
pub const LANE_INTENTS_MAX: usize = 4_096;
/// Bytes of payloads that may wait in one space's lane.
pub const LANE_BYTES_MAX: usize = 64 << 20;
/// Spaces of which one authority keeps what it has seen.
pub const SPACES_MAX: usize = 1 << 20;
/// How often a forward may be handed on.
pub const HOPS_MAX: u8 = 2;
/// How often an append is tried at least, however long the first tries took: the process may have been paused.
pub const TRIES_MIN: u32 = 4;
/// How often an append whose fate is unknown is asked for again at the store.
pub const RESOLVE_TRIES_MAX: u32 = 4;
/// Largest message between nodes, in bytes: what their calls carry.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Events in one message between nodes; whoever wants more asks again.
pub const REMOTE_EVENTS_MAX: usize = 4_096;
/// Bytes of payloads in one message between nodes; one event is sent even if it alone has more.
pub const REMOTE_BYTES_MAX: usize = 2 << 20;
/// States of spaces that are asked for at a time.
pub const STATES_MAX: usize = 4_096;
/// Names or states of spaces in one message between nodes.
pub const REMOTE_SPACES_MAX: usize = 4_096;
/// Longest URL that a node advertises, in bytes.
pub const URL_BYTES_MAX: usize = 1 << 10;
/// Longest text of an error in a message between nodes, in bytes; a longer one is cut.
pub const ERROR_BYTES_MAX: usize = 1 << 10;
/// What one node carries out at a time for one peer.
pub const SERVES_PEER_MAX: usize = 64;
/// What one node carries out at a time for all peers.
pub const SERVES_MAX: usize = 512;
/// How far above a log's epoch one seal by another node may be: nobody uses up all epochs.
pub const EPOCH_STEP_MAX: u64 = 1 << 20;
/// Shortest lease.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// Longest lease: a dead holder keeps a space for that long.
pub const TTL_MAX: Duration = Duration::from_secs(3_600);
