//! Parts of logs that were verified: what copies and imports are made of.

use crate::{
    event::{Epoch, Event, Head, Incarnation},
    name::SpaceName,
    rules::SpaceState,
};

/// Events of one log, in order, each batch whole, that follow a certain head. Made by [`crate::Verifier`] alone, so
/// nothing is copied that was not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub(crate) space: SpaceName,
    pub(crate) incarnation: Incarnation,
    pub(crate) before: Head,
    pub(crate) end: Head,
    pub(crate) epoch: Epoch,
    pub(crate) events: Vec<Event>,
    pub(crate) replaces: Option<SpaceState>,
}

impl Part {
    /// Returns the space.
    #[must_use]
    pub fn space(&self) -> &SpaceName {
        &self.space
    }

    /// Returns the life of the log.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Returns what it follows.
    #[must_use]
    pub fn before(&self) -> Head {
        self.before
    }

    /// Returns where the log ends after it.
    #[must_use]
    pub fn end(&self) -> Head {
        self.end
    }

    /// Returns the epoch of the log's last event.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns its events; none in what begins an empty log.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Returns the state of the log that this one takes the place of, if it does.
    #[must_use]
    pub fn replaces(&self) -> Option<&SpaceState> {
        self.replaces.as_ref()
    }

    /// Has the part take the place of the log that is there, if that is in exactly this state. Whoever asks for that
    /// has kept the log elsewhere; only the beginning of a log can take another's place.
    #[must_use]
    pub fn instead_of(self, replaces: SpaceState) -> Self {
        Self { replaces: Some(replaces), ..self }
    }
}
