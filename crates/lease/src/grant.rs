//! Grants, and the batches that only a grant can make: writing without a token does not compile.
//!
//! ```compile_fail
//! # fn example(space: gangline_lease::SpaceName, holder: bft_json_crdt::AuthorId) {
//! let epoch = gangline_lease::Epoch(7);
//! let incarnation = gangline_lease::Incarnation([0; 16]);
//! let forged = gangline_lease::Grant { space, incarnation, epoch, holder };
//! # }
//! ```

use bft_json_crdt::{AuthorId, Keypair};

use crate::{
    event::{BatchSignature, Epoch, Event, Head, Incarnation, Intent, signed_words},
    name::SpaceName,
    rules::Bid,
};

/// What allows its owner to append to a space: made by [`crate::AppendAuthority`] after the registry has granted an
/// epoch and the store has sealed it, and by nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    space: SpaceName,
    incarnation: Incarnation,
    epoch: Epoch,
    holder: AuthorId,
}

impl Grant {
    pub(crate) fn new(space: SpaceName, incarnation: Incarnation, epoch: Epoch, holder: AuthorId) -> Self {
        Self { space, incarnation, epoch, holder }
    }

    /// Returns the space.
    #[must_use]
    pub fn space(&self) -> &SpaceName {
        &self.space
    }

    /// Returns the life of the log that was sealed.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Returns the fencing token.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns who may append.
    #[must_use]
    pub fn holder(&self) -> AuthorId {
        self.holder
    }

    /// Makes a batch of intents with their authors, to be appended at `head`, signed by the holder.
    ///
    /// About 15 µs, and 1 µs for each intent. Without intents: `None`.
    pub(crate) fn batch(&self, head: Head, intents: &[(Intent, AuthorId)], key: &Keypair) -> Option<Batch> {
        debug_assert_eq!(key.author(), self.holder, "a grant is used by its holder");
        let mut end = head;
        let mut events = Vec::with_capacity(intents.len());
        for (intent, author) in intents {
            let Intent { id, kind, payload } = intent.clone();
            let mut event = Event {
                seq: end.next,
                epoch: self.epoch,
                id,
                author: *author,
                holder: self.holder,
                kind,
                payload,
                prev: end.hash,
                hash: end.hash,
                signature: None,
            };
            event.hash = event.compute_hash(&self.space);
            end = Head { next: end.next.plus(1), hash: event.hash };
            events.push(event);
        }
        events.last_mut()?.signature = Some(BatchSignature(key.sign(&signed_words(&end.hash))));
        Some(Batch { grant: self.clone(), head, end, events })
    }
}

/// Events that land together right after a certain head, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    grant: Grant,
    head: Head,
    end: Head,
    events: Vec<Event>,
}

impl Batch {
    /// Returns the grant that it is made under.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Returns the space that it is for.
    #[must_use]
    pub fn space(&self) -> &SpaceName {
        &self.grant.space
    }

    /// Returns what it lands on.
    #[must_use]
    pub fn bid(&self) -> Bid {
        Bid { incarnation: self.grant.incarnation, epoch: self.grant.epoch, head: self.head }
    }

    /// Returns where the log ends after it.
    #[must_use]
    pub fn end(&self) -> Head {
        self.end
    }

    /// Returns its events, at least one.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}
