//! What a node shows of its spaces.

use super::AppendAuthority;
use crate::name::SpaceName;

impl AppendAuthority {
    /// Returns the spaces in which this node may start an append, in their order. O(spaces that it has used).
    #[must_use]
    pub fn held(&self) -> Vec<SpaceName> {
        let now = self.now();
        let spaces = self.spaces();
        let held = spaces.iter().filter(|(_, space)| space.running(now).is_some());
        held.map(|(name, _)| name.clone()).collect()
    }

    /// Returns of how many spaces this node keeps all, and of how many only what it has seen, since nobody uses them.
    #[must_use]
    pub fn used_and_at_rest(&self) -> (usize, usize) {
        self.spaces().count()
    }
}
