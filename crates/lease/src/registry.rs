//! The port to whoever says who holds a space.
//!
//! A registry gives liveness: it keeps two nodes from fighting over a space. It may forget everything at any time;
//! then it grants an epoch that the store refuses to seal, and is asked again for one above.

use std::{sync::Arc, time::Duration};

use bft_json_crdt::AuthorId;

use crate::{
    clock::Answer,
    event::Epoch,
    lease::{Lease, Reach},
    name::SpaceName,
};

/// Grants leases. What is asked for and not answered may have happened.
pub trait LeaseRegistry: Send + Sync {
    /// Grants the space to a node, with an epoch above all that were granted and above `ask.above`.
    ///
    /// Whoever has the lease already gets it again at once, with a new epoch.
    fn acquire<'a>(&'a self, space: &'a SpaceName, ask: &'a Ask) -> Answer<'a, Result<Lease, AcquireError>>;

    /// Gives a lease a whole ttl from the time of the call on. The epoch stays.
    fn renew<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Answer<'a, Result<(), RenewError>>;

    /// Ends a lease, if the node has it under that epoch; otherwise nothing happens.
    fn release<'a>(
        &'a self,
        space: &'a SpaceName,
        node: AuthorId,
        epoch: Epoch,
    ) -> Answer<'a, Result<(), RegistryError>>;

    /// Returns the running lease of a space.
    fn lease<'a>(&'a self, space: &'a SpaceName) -> Answer<'a, Result<Option<Lease>, RegistryError>>;
}

/// What a node asks a registry for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who asks, and where it is reached as a holder.
    pub holder: Reach,
    /// For how long.
    pub ttl: Duration,
    /// An epoch that the store has sealed, if a lower one was granted before.
    pub above: Epoch,
}

/// Why a lease is not granted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Another node has it. Forward to it, or come again when it has run out.
    #[error("ed25519:{} holds the space for another {:?}", .0.holder.node, .0.left)]
    Held(Lease),
    /// See there; ask again later.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why a lease is not renewed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// It is another's, or another epoch's. Stop serving the space.
    #[error("the lease under epoch {epoch} is lost")]
    Lost {
        /// The epoch that was to be renewed.
        epoch: Epoch,
    },
    /// See there; the lease goes on until its end, ask again soon.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A registry that cannot be used. What was asked for may have happened; ask again later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the lease registry {place} is unavailable")]
pub struct RegistryError {
    /// Where it lives.
    pub place: String,
    /// What the backend said.
    #[source]
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}
