//! Grants, and the batches that only a grant can make: writing without a token does not compile.
//!
//! ```compile_fail
//! # fn example(space: gangline_lease::SpaceName, holder: bft_json_crdt::AuthorId) {
//! let epoch = gangline_lease::Epoch(7);
//! let incarnation = gangline_lease::Incarnation([0; 16]);
//! let forged = gangline_lease::Grant { space, incarnation, epoch, holder };
//! # }
//! ```

use std::{collections::BTreeSet, sync::Arc};

use bft_json_crdt::{AuthorId, Keypair};

use crate::{
    event::{BatchSignature, Epoch, Event, Head, Incarnation, Intent, Placed, signed_words},
    limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX},
    name::{IntentId, SpaceName},
    remote::Draft,
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
        let mut chain = self.chain(head, intents);
        let signature = key.sign(&signed_words(&chain.end.hash));
        chain.events.last_mut()?.signature = Some(BatchSignature(signature));
        Some(Batch { inner: Arc::new(Inner { grant: self.clone(), head, chain }) })
    }

    /// Puts intents into a chain behind `head`, and returns where it ends.
    fn chain(&self, head: Head, intents: &[(Intent, AuthorId)]) -> Chain {
        let mut end = head;
        let (mut events, mut placed) = (Vec::with_capacity(intents.len()), Vec::with_capacity(intents.len()));
        for (intent, author) in intents {
            let content = intent.content();
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
            placed.push(Placed { seq: event.seq, epoch: event.epoch, hash: event.hash, content });
            events.push(event);
        }
        Chain { events, placed, end }
    }
}

/// Why a batch of another node's is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchRefused {
    /// It appends nothing.
    #[error("the batch is empty")]
    Empty,
    /// Split it.
    #[error(
        "the batch has {events} events with {bytes} bytes of payloads, it takes {events_max} with {bytes_max}"
    )]
    TooLarge {
        /// Events in it.
        events: usize,
        /// At most.
        events_max: usize,
        /// Bytes of their payloads.
        bytes: usize,
        /// At most, if there are several.
        bytes_max: usize,
    },
    /// An id stands twice in it.
    #[error("intent {0} stands twice in the batch")]
    IntentTwice(IntentId),
    /// Its epoch was never granted.
    #[error("a batch needs an epoch")]
    NoEpoch,
    /// Whoever sent it is not its holder, or it was altered, or is for another place.
    #[error("the batch is not signed by ed25519:{holder}, who sends it")]
    Forged {
        /// Who has sent it.
        holder: AuthorId,
    },
}

/// Events that land together right after a certain head, or not at all. Clones are handles on the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    grant: Grant,
    head: Head,
    chain: Chain,
}

/// Events with their places, and where the log ends after them.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    events: Vec<Event>,
    placed: Vec<Placed>,
    end: Head,
}

impl Batch {
    /// Makes a batch anew that another node, which has proved its key, wants to have appended as the holder. Its
    /// events are computed here, so that nothing in them is taken on trust; that the holder meant exactly these, in
    /// this place, says its signature. Whether it may is for the store to say, as with any batch.
    ///
    /// About 50 µs, and 1 µs for each intent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn receive(draft: Draft, holder: AuthorId) -> Result<Self, BatchRefused> {
        let Draft { space, incarnation, epoch, head, intents, signature } = draft;
        let (events, bytes) = (intents.len(), intents.iter().map(|(it, _)| it.payload.bytes().len()).sum());
        let (events_max, bytes_max) = (BATCH_EVENTS_MAX, BATCH_BYTES_MAX);
        if events > events_max || (bytes > bytes_max && events > 1) {
            return Err(BatchRefused::TooLarge { events, events_max, bytes, bytes_max });
        }
        if epoch == Epoch::NONE {
            return Err(BatchRefused::NoEpoch);
        }
        let mut ids = BTreeSet::new();
        if let Some((twice, _)) = intents.iter().find(|(intent, _)| !ids.insert(&intent.id)) {
            return Err(BatchRefused::IntentTwice(twice.id.clone()));
        }
        let grant = Grant::new(space, incarnation, epoch, holder);
        let mut chain = grant.chain(head, &intents);
        let last = chain.events.last_mut().ok_or(BatchRefused::Empty)?;
        if !holder.verify(&signed_words(&chain.end.hash), &signature.0) {
            return Err(BatchRefused::Forged { holder });
        }
        last.signature = Some(signature);
        Ok(Self { inner: Arc::new(Inner { grant, head, chain }) })
    }

    /// Returns the grant that it is made under.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.inner.grant
    }

    /// Returns the space that it is for.
    #[must_use]
    pub fn space(&self) -> &SpaceName {
        &self.inner.grant.space
    }

    /// Returns what it lands on.
    #[must_use]
    pub fn bid(&self) -> Bid {
        let Inner { grant, head, .. } = &*self.inner;
        Bid { incarnation: grant.incarnation, epoch: grant.epoch, head: *head }
    }

    /// Returns where the log ends after it.
    #[must_use]
    pub fn end(&self) -> Head {
        self.inner.chain.end
    }

    /// Returns its events, at least one.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.inner.chain.events
    }

    /// Returns what is kept of the intent of each event, in their order.
    #[must_use]
    pub fn placed(&self) -> &[Placed] {
        &self.inner.chain.placed
    }
}
