//! Requests with replies, in both directions.

use std::collections::BTreeSet;

use bytes::Bytes;
use gangline_wire::limits::CALL_BYTES_MAX;
use gangline_wire::v2::Frame;

use super::{Link, LinkEffect};

/// Calls of one side that may be under way at a time.
const CALLS_MAX: usize = 64;

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Of this side.
    waiting: BTreeSet<u64>,
    /// Of the other side.
    serving: BTreeSet<u64>,
}

impl Link {
    /// This side wants something.
    pub(super) fn call(&mut self, id: u64, method: u32, body: Bytes) {
        let refusal = if self.greeting.peer.is_none() {
            Some("the peer has not proved its key yet".to_owned())
        } else if self.calls.waiting.len() >= CALLS_MAX {
            Some(format!("{CALLS_MAX} calls to this peer are under way"))
        } else if body.len() > CALL_BYTES_MAX {
            Some(format!("the request has {} bytes, the limit is {CALL_BYTES_MAX}", body.len()))
        } else if self.calls.waiting.contains(&id) {
            Some(format!("call {id} is under way already"))
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.effects.push_back(LinkEffect::Replied { id, result: Err(reason) });
            return;
        }
        self.calls.waiting.insert(id);
        self.say(&Frame::Call { id, method, body });
    }

    /// The other side wants something.
    pub(super) fn called(&mut self, id: u64, method: u32, body: Bytes) {
        if self.calls.serving.len() >= CALLS_MAX || !self.calls.serving.insert(id) {
            let body = Bytes::from_static(b"too many calls are under way");
            self.say(&Frame::Reply { id, is_done: false, body });
            return;
        }
        self.effects.push_back(LinkEffect::Serve { id, method, body });
    }

    /// What the other side wanted was done, or was not.
    pub(super) fn served(&mut self, id: u64, result: Result<Bytes, String>) {
        if !self.calls.serving.remove(&id) {
            return;
        }
        let result = result.and_then(|body| match body.len() <= CALL_BYTES_MAX {
            true => Ok(body),
            false => Err(format!("the reply has {} bytes, the limit is {CALL_BYTES_MAX}", body.len())),
        });
        let (is_done, body) = match result {
            Ok(body) => (true, body),
            Err(reason) => (false, reason.into()),
        };
        self.say(&Frame::Reply { id, is_done, body });
    }

    /// The other side answered.
    pub(super) fn replied(&mut self, id: u64, is_done: bool, body: Bytes) {
        if !self.calls.waiting.remove(&id) {
            return self.broken("a reply to no call");
        }
        let result = if is_done { Ok(body) } else { Err(String::from_utf8_lossy(&body).into_owned()) };
        self.effects.push_back(LinkEffect::Replied { id, result });
    }
}
