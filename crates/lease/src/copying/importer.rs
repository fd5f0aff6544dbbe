//! From a stream of events to parts, verified on the way.

use super::{CopyError, PART};
use crate::{
    event::{Event, Head, Incarnation},
    name::SpaceName,
    part::Part,
    rules::{Divergence, SpaceState},
    verify::Verifier,
};

/// Verifies a log from its first event on, and makes parts of what a store lacks. No IO: whoever has the stream
/// pushes, and gives the parts to the store.
#[derive(Debug)]
pub struct Importer {
    space: SpaceName,
    verifier: Verifier,
    /// What the store has.
    kept: Option<Head>,
    gathered: Vec<Event>,
    bytes: usize,
}

impl Importer {
    /// Begins with the log of that incarnation, for a store that has `kept` of the space.
    ///
    /// # Errors
    /// If the store has another log.
    pub fn new(
        space: SpaceName,
        incarnation: Incarnation,
        kept: Option<&SpaceState>,
    ) -> Result<Self, CopyError> {
        if let Some(kept) = kept.filter(|kept| kept.incarnation != incarnation) {
            let divergence = Divergence::OtherLife { seen: kept.incarnation, found: incarnation };
            return Err(CopyError::Diverged { space, divergence });
        }
        let verifier = Verifier::new(space.clone(), incarnation);
        Ok(Self { space, verifier, kept: kept.map(|kept| kept.head), gathered: Vec::new(), bytes: 0 })
    }

    /// Takes the next event; returns a part that is to be written, now and then.
    ///
    /// # Errors
    /// The first offender, or that the store has another log.
    pub fn push(&mut self, event: Event) -> Result<Option<Part>, CopyError> {
        let (is_whole, next) = (event.signature.is_some(), event.seq.plus(1));
        self.bytes = self.bytes.saturating_add(event.payload.bytes().len());
        self.gathered.push(event);
        let is_where_the_store_ends = self.kept.is_some_and(|kept| kept.next == next);
        let is_full = self.gathered.len() >= PART.count || self.bytes >= PART.bytes;
        // As soon as a batch is whole, but for a log without signatures, which would be gathered without end.
        if (is_whole && (is_full || is_where_the_store_ends)) || self.gathered.len() > 2 * PART.count {
            return self.flush();
        }
        Ok(None)
    }

    /// Ends the stream, which is to end there; returns the last part that is to be written.
    ///
    /// # Errors
    /// If it ends elsewhere, or the store has more.
    pub fn finish(mut self, expected: Head) -> Result<Option<Part>, CopyError> {
        let part = self.flush()?;
        let found = self.verifier.end()?;
        if found != expected {
            return Err(crate::Offence::OtherEnd { expected, found }.into());
        }
        match self.kept {
            Some(kept) if kept.next > found.next => {
                Err(self.diverged(Divergence::Shorter { seen: kept.next, found: found.next }))
            }
            _ => Ok(part),
        }
    }

    fn flush(&mut self) -> Result<Option<Part>, CopyError> {
        self.bytes = 0;
        let events = std::mem::take(&mut self.gathered);
        let count = events.len();
        let part = self.verifier.part(events)?;
        if part.events().len() < count {
            return Err(crate::Offence::Unsigned { seq: part.end().next }.into());
        }
        match self.kept {
            Some(kept) if part.end().next > kept.next && part.before() != kept => {
                let (seen, next, found) = (kept.hash, kept.next, part.before().hash);
                Err(self.diverged(Divergence::OtherHash { next, seen, found }))
            }
            Some(kept) if part.end().next == kept.next && part.end().hash != kept.hash => {
                let (seen, next, found) = (kept.hash, kept.next, part.end().hash);
                Err(self.diverged(Divergence::OtherHash { next, seen, found }))
            }
            Some(kept) if part.end().next <= kept.next => Ok(None),
            _ => Ok(Some(part)),
        }
    }

    fn diverged(&self, divergence: Divergence) -> CopyError {
        CopyError::Diverged { space: self.space.clone(), divergence }
    }
}
