//! After two histories of a space have been seen: going on from the longer one, keeping the other.

use super::{CopyError, Relation, copy, relate};
use crate::{
    access::Access,
    authority::{AppendAuthority, LeaseError},
    clock::Answer,
    event::Seq,
    event_store::{EventStore, StoreError},
    name::SpaceName,
    rules::SpaceState,
};

/// Where a branch is kept that is not gone on from.
pub trait Shelf: Send + Sync {
    /// Keeps a space's log durably and returns the name that it is found by.
    fn keep<'a>(
        &'a self,
        space: &'a SpaceName,
        log: &'a dyn EventStore,
    ) -> Answer<'a, Result<String, StoreError>>;
}

/// How a space was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What the copy was to the store's log.
    pub relation: Relation,
    /// Where the log goes on from, under a new epoch.
    pub state: SpaceState,
    /// The name of the branch that was set aside, if there was any.
    pub kept: Option<String>,
}

/// Why a space is not recovered. It can be tried again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// See there.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// See there.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The branch that was to be set aside could not be kept; nothing was replaced.
    #[error("the shorter branch could not be kept")]
    Shelf(#[source] StoreError),
}

/// Goes on from the longer one of the store's log and a verified copy of it, under a new epoch; where they differ,
/// the shorter one is set aside by name. Between two of the same length the store's stays.
///
/// `store` is the one that the authority appends to.
///
/// # Errors
/// See [`RecoverError`]. What was set aside stays there.
pub async fn recover(
    authority: &AppendAuthority,
    store: &dyn EventStore,
    from: &dyn EventStore,
    space: &SpaceName,
    shelf: &dyn Shelf,
) -> Result<Recovered, RecoverError> {
    let relation = relate(store, from, space).await?;
    let theirs = from.state(space).await.map_err(CopyError::from)?;
    let is_longer = |ours: &SpaceState| theirs.is_some_and(|theirs| theirs.head.next > ours.head.next);
    let ours = store.state(space).await.map_err(CopyError::from)?;
    let mut kept = None;
    let mut quiet = |_: Seq, _: Seq| {};
    match (relation, ours) {
        (Relation::Same | Relation::OursGoesOn, _) => {}
        (Relation::TheirsGoesOn, None) => {
            copy(from, store, space, None, &mut quiet).await?;
        }
        (Relation::TheirsGoesOn, Some(_)) => {
            authority.set_access(space, Access::Copy).await?;
            copy(from, store, space, None, &mut quiet).await?;
        }
        (Relation::Forked { .. }, Some(ours)) if is_longer(&ours) => {
            // Closed first: what is kept is all that there will be of it.
            let closed = authority.set_access(space, Access::Copy).await?;
            kept = Some(shelf.keep(space, store).await.map_err(RecoverError::Shelf)?);
            copy(from, store, space, Some(closed), &mut quiet).await?;
        }
        (Relation::Forked { .. }, _) => {
            kept = Some(shelf.keep(space, from).await.map_err(RecoverError::Shelf)?);
        }
    }
    authority.forget(space);
    let state = authority.set_access(space, Access::Open).await?;
    Ok(Recovered { relation, state, kept })
}
