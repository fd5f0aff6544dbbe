//! Which spaces a node knows: those that are in use, and of the others what must not be forgotten.

use std::{collections::BTreeMap, sync::Arc};

use super::space::Space;
use crate::{event::Epoch, limits::SPACES_MAX, name::SpaceName, rules::Seen};

/// All of them. A space that is at rest takes some hundred bytes.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    used: BTreeMap<SpaceName, Arc<Space>>,
    at_rest: BTreeMap<SpaceName, Rest>,
}

/// What is kept of a space that nobody uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) seen: Option<Seen>,
    pub(super) epoch: Epoch,
}

impl Spaces {
    /// Returns a space that is in use.
    pub(super) fn get(&self, name: &SpaceName) -> Option<&Arc<Space>> {
        self.used.get(name)
    }

    /// Returns those that are in use, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SpaceName, &Arc<Space>)> {
        self.used.iter()
    }

    /// Has a space used; none if there are too many.
    pub(super) fn open(&mut self, name: &SpaceName) -> Option<Arc<Space>> {
        if let Some(space) = self.used.get(name) {
            return Some(Arc::clone(space));
        }
        let rest = self.at_rest.remove(name);
        if rest.is_none() && self.used.len() + self.at_rest.len() >= SPACES_MAX {
            return None;
        }
        let space = Arc::new(Space::new(name.clone()));
        if let Some(rest) = rest {
            space.wake_up(rest);
        }
        self.used.insert(name.clone(), Arc::clone(&space));
        Some(space)
    }

    /// Puts a space to rest, unless somebody has it besides the caller, or it has to stay as it is.
    pub(super) fn rest(&mut self, space: &Arc<Space>) {
        // The caller's, and the one in the map.
        if Arc::strong_count(space) > 2 {
            return;
        }
        if let Some(rest) = space.rest() {
            self.used.remove(&space.name);
            self.at_rest.insert(space.name.clone(), rest);
        }
    }

    /// Forgets what was seen of a space that is at rest.
    pub(super) fn forget(&mut self, name: &SpaceName) {
        self.at_rest.remove(name);
    }

    /// Returns how many are in use, and how many at rest.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.used.len(), self.at_rest.len())
    }
}
