//! Bringing an intent to its holder, over calls.

use std::{fmt, sync::Arc};

use super::{
    CallFailed, Caller, Coordinator,
    codec::{MessageError, Wire},
    request::Request,
};
use crate::{
    clock::Answer,
    forward::{Forward, ForwardError, Forwarder, Refused, Reply},
    lease::Reach,
};

/// Forwards over calls: to the holder itself if it can be reached, else by way of the coordinator, to which a holder
/// has a connection that it opened itself.
#[derive(Clone)]
pub struct RemoteForwarder {
    caller: Arc<dyn Caller>,
    coordinator: Option<Coordinator>,
}

impl RemoteForwarder {
    /// Makes a forwarder. A node that coordinates has no coordinator.
    #[must_use]
    pub fn new(caller: Arc<dyn Caller>, coordinator: Option<Coordinator>) -> Self {
        Self { caller, coordinator }
    }

    async fn send(&self, to: &Reach, forward: Forward) -> Result<Reply, ForwardError> {
        let request = Request::Forward(forward);
        let reply = match self.caller.call(to, request.method(), request.body()).await {
            Ok(reply) => reply,
            // It has too much to do, or cannot forward at all: nothing was done, so another way is open.
            Err(CallFailed::Unreachable | CallFailed::Refused(_)) => return Err(ForwardError::Unreachable),
            Err(CallFailed::Silent) => return Err(ForwardError::Silent),
        };
        let understood: Result<Reply, MessageError> = Reply::decode(&reply);
        understood.map_err(|_| ForwardError::Silent)
    }

    async fn bring(&self, to: &Reach, forward: Forward) -> Result<Reply, ForwardError> {
        let coordinator = self.coordinator.as_ref().and_then(|coordinator| coordinator());
        let other_way = coordinator.filter(|at| at.node != to.node && forward.hops > 0);
        let Some(coordinator) = other_way else { return self.send(to, forward).await };
        match self.send(to, forward.clone()).await {
            // The holder may know the coordinator alone. In both cases nothing was done.
            Err(ForwardError::Unreachable) | Ok(Reply::Refused(Refused::Forbidden(_))) => {
                self.send(&coordinator, forward).await
            }
            ended => ended,
        }
    }
}

impl Forwarder for RemoteForwarder {
    fn forward<'a>(&'a self, to: &'a Reach, forward: Forward) -> Answer<'a, Result<Reply, ForwardError>> {
        Box::pin(self.bring(to, forward))
    }
}

impl fmt::Debug for RemoteForwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteForwarder").finish_non_exhaustive()
    }
}
