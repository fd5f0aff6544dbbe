//! The port to other nodes: an intent goes to the holder.

mod local;

use bft_json_crdt::AuthorId;

pub use self::local::LocalForwarder;
use crate::{
    access::Access,
    clock::Answer,
    event::{Epoch, Intent, Placed},
    lease::{Lease, Reach},
    name::SpaceName,
};

/// Hands intents to other nodes. The other side calls [`crate::AppendAuthority::handle`].
pub trait Forwarder: Send + Sync {
    /// Sends an intent to a node and waits for what it says.
    fn forward<'a>(&'a self, to: &'a Reach, forward: Forward) -> Answer<'a, Result<Reply, ForwardError>>;
}

/// An intent on its way to the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where it is to be appended.
    pub space: SpaceName,
    /// What is to be appended.
    pub intent: Intent,
    /// The node that submitted it.
    pub author: AuthorId,
    /// The holder's epoch, as far as the sender knows.
    pub epoch: Epoch,
    /// How often it may be handed on.
    pub hops: u8,
}

/// What a node says to a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has been appended.
    Done(Placed),
    /// It was in the log already.
    Known(Placed),
    /// This node does not hold the space, and did not hand the intent on. Go to that holder, if there is one.
    Redirect(Option<Lease>),
    /// Nobody will append it: see there.
    Refused(Refused),
    /// It may be in the log or not. Send it again, with the same id.
    Unknown,
}

/// Why an intent is refused for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The id was used for something else. Take another.
    #[error("the id was used for other content, at event {}", .0.seq)]
    IdReused(Placed),
    /// The holder has stopped serving the space; an operator has to look at it.
    #[error("the log has diverged at its holder: {0}")]
    Diverged(String),
    /// The space takes no appends.
    #[error("the space takes no appends: {0}")]
    Closed(Access),
    /// The holder has too much waiting. Come again later.
    #[error("the holder has too many appends waiting")]
    Busy,
    /// The sender may not append here.
    #[error("the holder does not take appends from here: {0}")]
    Forbidden(String),
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// Nothing was sent. Try again, or another way.
    #[error("the holder cannot be reached")]
    Unreachable,
    /// It was sent, and may be in the log. Try again with the same id.
    #[error("the holder did not answer")]
    Silent,
}
