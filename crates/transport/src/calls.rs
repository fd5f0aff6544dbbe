//! What nodes want of each other: the port behind the calls of version 2.

use std::future::Future;
use std::pin::Pin;

use bft_json_crdt::AuthorId;
use bytes::Bytes;

/// What a call brings: the reply, or a sentence that says why there is none.
pub type CallResult = Result<Bytes, String>;

/// A reply to come.
pub type CallFuture = Pin<Box<dyn Future<Output = CallResult> + Send>>;

/// Method 0, which every node answers itself, with the request.
pub const PING: u32 = 0;

/// Carries out what peers want.
pub trait CallHandler: Send + Sync {
    /// Carries out a call of a peer that has proved its key. Called outside of all locks; must not block.
    fn serve(&self, peer: AuthorId, method: u32, body: Bytes) -> CallFuture;
}

/// Knows no method.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCalls;

impl CallHandler for NoCalls {
    fn serve(&self, _peer: AuthorId, method: u32, _body: Bytes) -> CallFuture {
        Box::pin(std::future::ready(Err(format!("this node has no method {method}"))))
    }
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No peer with the key is connected by version 2. See who is: `gangline peer list`.
    #[error("no peer with the key ed25519:{0} is connected")]
    NotConnected(AuthorId),
    /// The connection ended, or was too busy to take the call.
    #[error("the connection to the peer ended before it answered")]
    Lost,
    /// No answer in time.
    #[error("no answer within {0} ms")]
    Timeout(u64),
    /// The peer says no.
    #[error("the peer refused: {0}")]
    Refused(String),
}
