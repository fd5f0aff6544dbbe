//! What other nodes call this one for, by method: logs, and documents that follow databases.

use bft_json_crdt::AuthorId;
use bytes::Bytes;
use gangline_transport::logs::LogCalls;
use gangline_transport::{CallFuture, CallHandler};

use crate::api::DocumentDesk;

/// Hands each call to whom it is for.
pub(crate) struct Calls {
    pub(crate) logs: LogCalls,
    pub(crate) documents: DocumentDesk,
}

impl CallHandler for Calls {
    fn serve(&self, peer: AuthorId, method: u32, body: Bytes) -> CallFuture {
        match method == DocumentDesk::METHOD {
            true => self.documents.serve(peer, body),
            false => self.logs.serve(peer, method, body),
        }
    }
}
