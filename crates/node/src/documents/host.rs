//! Copies that are kept fresh: a document that a peer has something new of is opened until all of it has come.

use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::{AuthorId, DocumentId};
use gangline_reconcile::Role;
use gangline_transport::{DocumentHost, HeldDocument, Offer, Offered, PeerRights};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Documents;
use crate::clock;

/// Documents that are opened for peers at a time.
const OFFERS_MAX: usize = 64;
/// Most documents that a node keeps.
const DOCUMENTS_MAX: usize = 200_000;
/// A document that was opened for a peer is left when nothing has come for that long.
const QUIET: Duration = Duration::from_secs(2);

/// Opens documents that peers have.
pub(crate) struct Hosting {
    documents: Documents,
    room: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
}

impl Hosting {
    /// Needs a tokio runtime.
    pub(crate) fn new(documents: Documents) -> Self {
        let room = Arc::new(Semaphore::new(OFFERS_MAX));
        Self { documents, room, runtime: tokio::runtime::Handle::current() }
    }
}

impl DocumentHost for Hosting {
    fn offered(&self, _peer: AuthorId, rights: &PeerRights, offer: &Offer) -> Offered {
        let known = self.documents.inner.names.get(&offer.id);
        if offer.root.is_some() && known.as_ref().and_then(|known| known.root) == offer.root {
            return Offered::Declined;
        }
        if known.is_none() && (!rights.write || self.documents.inner.names.len() >= DOCUMENTS_MAX) {
            return Offered::Declined;
        }
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(place) => {
                self.runtime.spawn(visit(self.documents.clone(), offer.id, place));
                Offered::Taken
            }
            Err(_) => Offered::Later,
        }
    }

    fn stored(&self, bucket: u8) -> Vec<HeldDocument> {
        let roots = self.documents.inner.names.roots_of(bucket).into_iter();
        roots.map(|(id, root)| HeldDocument { id, root }).collect()
    }
}

/// Has a document open until nothing more comes.
async fn visit(documents: Documents, id: DocumentId, place: OwnedSemaphorePermit) {
    match documents.enter(id, Role::System).await {
        Ok(guest) => {
            let mut durable = guest.durable.clone();
            while let Ok(Ok(())) = tokio::time::timeout(QUIET, durable.changed()).await {}
        }
        Err(error) => {
            tracing::debug!(event = "offer_not_taken", document = %id, "{error}");
            clock::pause(QUIET).await;
        }
    }
    drop(place);
}
