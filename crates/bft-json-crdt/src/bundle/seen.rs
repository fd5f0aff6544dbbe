//! What writer and reader of a bundle both know at a change: the changes before it. Bounded but for a few bytes
//! for each author and outside change, which take 32 in the bundle.

use std::collections::HashMap;

use super::WINDOW_CHANGES;
use crate::change::{Change, Digest};
use crate::keypair::AuthorId;
use crate::op::Name;

/// Nodes whose last set is remembered.
const EXPECTED_MAX: usize = 1 << 20;
/// How far into a change's author table an expected name is looked for.
const TABLE_SEARCHED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) authors: Vec<SeenAuthor>,
    /// Digests of changes that are referred to and are not inside.
    pub(super) outside: Vec<Digest>,
    pub(super) window: Window,
    pub(super) expected: Expected,
}

/// What is known of an author, and of the author's last change.
#[derive(Debug)]
pub(super) struct SeenAuthor {
    pub(super) id: AuthorId,
    /// Digest and lamport.
    pub(super) last: Option<(Digest, u64)>,
    pub(super) seq: u64,
    /// The op number behind the last change.
    pub(super) next_number: u64,
}

impl SeenAuthor {
    pub(super) fn new(id: AuthorId) -> Self {
        Self { id, last: None, seq: 0, next_number: 1 }
    }
}

impl Seen {
    /// Takes note of a change by the author of that number.
    pub(super) fn note(&mut self, change: &Change, author: usize) {
        let last = (change.digest(), change.lamport());
        if let Some(author) = self.authors.get_mut(author) {
            author.last = Some(last);
            author.seq = change.seq();
            author.next_number = change.header().first_counter.wrapping_add(change.span());
        }
        self.window.push(last);
    }
}

/// Digest and lamport of the last changes.
#[derive(Debug, Default)]
pub(super) struct Window {
    ring: Vec<(Digest, u64)>,
    count: u64,
}

impl Window {
    /// How many changes there have been.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The change `distance` places back, from 1.
    pub(super) fn back(&self, distance: u64) -> Option<(Digest, u64)> {
        let is_inside = distance > 0 && distance <= self.ring.len() as u64;
        let place = self.count.checked_sub(distance).filter(|_| is_inside)?;
        self.ring.get(place as usize % WINDOW_CHANGES).copied()
    }

    fn push(&mut self, change: (Digest, u64)) {
        match self.ring.get_mut(self.count as usize % WINDOW_CHANGES) {
            Some(place) => *place = change,
            None => self.ring.push(change),
        }
        self.count += 1;
    }
}

/// Who is who in one change: its author's number, and those in its author table.
#[derive(Debug, Default)]
pub(super) struct Cast {
    pub(super) author: u32,
    pub(super) table: Vec<u32>,
}

impl Cast {
    /// The author's number and the op number that a name in the change means, as one number.
    fn packed(&self, name: Name) -> Option<u64> {
        let author = match name.author {
            0 => Some(self.author),
            n => self.table.get(n as usize - 1).copied(),
        };
        let author = author.filter(|author| *author < 1 << 24)?;
        (name.counter < 1 << 40).then(|| u64::from(author) << 40 | name.counter)
    }

    fn unpacked(&self, packed: u64) -> Option<Name> {
        let author = (packed >> 40) as u32;
        let author = if author == self.author {
            0
        } else {
            self.table.iter().take(TABLE_SEARCHED).position(|known| *known == author)? as u32 + 1
        };
        Some(Name { author, counter: packed & ((1 << 40) - 1) })
    }
}

/// The last sets of nodes.
#[derive(Debug, Default)]
pub(super) struct Expected {
    last: HashMap<u64, u64>,
}

impl Expected {
    /// What a set of `node` is expected to overwrite, as a name in that change; takes note of the set itself,
    /// which is `set`.
    pub(super) fn exchange(&mut self, cast: &Cast, node: Name, set: u64) -> Option<Name> {
        let node = cast.packed(node)?;
        let set = cast.packed(Name { author: 0, counter: set })?;
        if self.last.len() == EXPECTED_MAX && !self.last.contains_key(&node) {
            self.last.clear();
        }
        let before = self.last.insert(node, set).unwrap_or(node);
        cast.unpacked(before)
    }
}
