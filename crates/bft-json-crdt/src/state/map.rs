//! Maps: the entries of each key, and the removals that decide which of them show.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::op::Rank;
use crate::state::few::{Few, Many};
use crate::state::history::{ChangeIx, History, Made};
use crate::state::nodes::NodeIx;

/// An entry's number in its map's table.
pub(crate) type EntryIx = u32;

/// An entry of a map: all puts of one key that had seen the same removals, of content of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Arc<str>,
    pub(crate) node: NodeIx,
    /// Together with the key and the kind what puts know it by. None of one that was opened from a snapshot and that
    /// no signed put can be part of: its puts had seen a removal that was given up.
    removals_seen: Option<Box<[Made]>>,
    /// Puts that no later one of at least their rank had seen.
    pub(crate) puts: SmallVec<[(Made, Rank); 1]>,
    /// Puts and edits inside that no known removal had seen; without one that none outranks the entry is gone.
    pub(crate) touches: SmallVec<[Touch; 2]>,
    /// Its key lists it as live.
    is_listed: bool,
}

/// A put of an entry, or an edit inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) change: ChangeIx,
    pub(crate) rank: Rank,
    /// A removal outranks it: it does not keep the entry, and is kept to be told of.
    pub(crate) is_outranked: bool,
}

/// What a map knows of one key.
#[derive(Clone, Debug)]
pub(crate) struct KeyState {
    /// All entries ever, in the order in which they were made here.
    entries: Few,
    /// Those that are not gone, the one that shows first.
    live: Few,
    removals: Option<Box<Removals>>,
}

/// The removals of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removals {
    /// Those that no other known removal had seen.
    pub(crate) last: Vec<Made>,
    /// All removals that outrank something: by their rank.
    pub(crate) edit: Vec<Made>,
    pub(crate) above: Vec<Made>,
}

/// No removals.
static NEVER_REMOVED: Removals = Removals { last: Vec::new(), edit: Vec::new(), above: Vec::new() };

impl KeyState {
    fn new() -> Self {
        Self { entries: Few::new(), live: Few::new(), removals: None }
    }

    pub(crate) fn removals(&self) -> &Removals {
        self.removals.as_deref().unwrap_or(&NEVER_REMOVED)
    }

    pub(crate) fn removals_mut(&mut self) -> &mut Removals {
        self.removals.get_or_insert_default()
    }
}

impl Removals {
    /// All lists: the last ones, those with the rank of an edit, those above.
    pub(crate) fn lists(&self) -> [&[Made]; 3] {
        [&self.last, &self.edit, &self.above]
    }

    pub(crate) fn lists_mut(&mut self) -> [&mut Vec<Made>; 3] {
        [&mut self.last, &mut self.edit, &mut self.above]
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    keys: HashMap<Arc<str>, KeyState>,
    entries: Vec<Entry>,
    /// The entries of keys that have several.
    many: Many,
}

impl Map {
    pub(crate) fn entry(&self, entry: EntryIx) -> Option<&Entry> {
        self.entries.get(entry as usize)
    }

    /// An entry to be changed; [`Self::note_touches`] must hear of changed touches, [`Self::note_put`] of a new
    /// put, and [`Self::relist`] of one that was taken back.
    pub(crate) fn entry_mut(&mut self, entry: EntryIx) -> Option<&mut Entry> {
        self.entries.get_mut(entry as usize)
    }

    /// All entries ever, by number.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn key(&self, key: &str) -> Option<&KeyState> {
        self.keys.get(key)
    }

    pub(crate) fn key_mut(&mut self, key: &str) -> Option<&mut KeyState> {
        self.keys.get_mut(key)
    }

    pub(crate) fn key_or_new(&mut self, key: &str) -> &mut KeyState {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), KeyState::new());
        }
        self.keys.entry(key.into()).or_insert_with(KeyState::new)
    }

    /// All keys that were ever named, ascending. O(n log n).
    #[expect(clippy::disallowed_methods, reason = "sorted")]
    pub(crate) fn keys(&self) -> Vec<(&str, &KeyState)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(key, state)| (&**key, state)).collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        keys
    }

    /// The keys that have been removed once, or that several entries compete for; in no order.
    #[expect(clippy::disallowed_methods, reason = "whoever asks sorts them")]
    pub(crate) fn contested(&self) -> impl Iterator<Item = &str> {
        let contested = self
            .keys
            .iter()
            .filter(|(_, state)| state.removals.is_some() || state.live.as_slice(&self.many).len() > 1);
        contested.map(|(key, _)| &**key)
    }

    /// The entries of a key, the newest first.
    pub(crate) fn entries_of(&self, key: &str) -> impl Iterator<Item = (EntryIx, &Entry)> {
        let all = self.keys.get(key).map(|state| state.entries.as_slice(&self.many)).unwrap_or_default();
        all.iter().rev().filter_map(|entry| Some((*entry, self.entry(*entry)?)))
    }

    /// The entries of a key that are not gone, the one that it shows first.
    pub(crate) fn live<'a>(&'a self, key: &'a KeyState) -> &'a [EntryIx] {
        key.live.as_slice(&self.many)
    }

    /// As [`Self::live`], of a key by its name.
    pub(crate) fn live_of(&self, key: &str) -> &[EntryIx] {
        self.keys.get(key).map(|state| self.live(state)).unwrap_or_default()
    }

    /// Adds an entry without a put, whose number is the next one.
    pub(crate) fn add(&mut self, key: &str, node: NodeIx, removals_seen: Option<&[Made]>) -> EntryIx {
        let entry = self.entries.len() as EntryIx;
        let key = match self.keys.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => key.into(),
        };
        let state = self.keys.entry(Arc::clone(&key)).or_insert_with(KeyState::new);
        state.entries.push(entry, &mut self.many);
        self.entries.push(Entry {
            key,
            node,
            removals_seen: removals_seen.map(Box::from),
            puts: SmallVec::new(),
            touches: SmallVec::new(),
            is_listed: false,
        });
        entry
    }

    /// Brings the list of live entries up to date with an entry's touches. O(1), or O(live entries of the key) where
    /// it comes back as the one that shows, or goes.
    pub(crate) fn note_touches(&mut self, history: &History, entry: EntryIx) {
        let Some(at) = self.entries.get_mut(entry as usize) else { return };
        match (at.is_live(), at.is_listed) {
            (false, true) => {
                let key = Arc::clone(&at.key);
                self.relist(history, &key);
            }
            (true, false) => {
                at.is_listed = true;
                if let Some(state) = self.keys.get_mut(&at.key) {
                    state.live.push(entry, &mut self.many);
                }
                self.note_put(history, entry);
            }
            (false, false) | (true, true) => {}
        }
    }

    /// Shows an entry that got a put, if it comes last in the register's order now.
    pub(crate) fn note_put(&mut self, history: &History, entry: EntryIx) {
        let Some(at) = self.entries.get(entry as usize) else { return };
        let Some(state) = self.keys.get_mut(&at.key) else { return };
        let first = state.live.as_slice(&self.many).first();
        let shown =
            first.filter(|first| **first != entry).and_then(|first| self.entries.get(*first as usize));
        if at.is_listed && shown.is_some_and(|shown| at.compare(history, shown).is_gt()) {
            state.live.bring_first(entry, &mut self.many);
        }
    }

    /// Brings the list of a key's live entries up to date with what changed in them. O(these).
    pub(crate) fn relist(&mut self, history: &History, key: &str) {
        let Some(state) = self.keys.get_mut(key) else { return };
        let entries = &mut self.entries;
        state.live.retain(
            |entry| {
                entries.get_mut(entry as usize).is_some_and(|entry| {
                    entry.is_listed = entry.is_live();
                    entry.is_listed
                })
            },
            &mut self.many,
        );
        let live = state.live.as_slice(&self.many).iter();
        let live = live.filter_map(|entry| Some((*entry, self.entries.get(*entry as usize)?)));
        if let Some((shown, _)) = live.max_by(|(_, a), (_, b)| a.compare(history, b)) {
            state.live.bring_first(shown, &mut self.many);
        }
    }

    /// Heap bytes held, roughly.
    #[expect(clippy::disallowed_methods, reason = "sums")]
    pub(crate) fn heap_bytes(&self) -> usize {
        /// What a reference-counted string takes up besides its bytes.
        const COUNTS: usize = 16;
        let spilled = |entry: &Entry| {
            let puts =
                if entry.puts.spilled() { entry.puts.capacity() * size_of::<(Made, Rank)>() } else { 0 };
            let touches =
                if entry.touches.spilled() { entry.touches.capacity() * size_of::<Touch>() } else { 0 };
            puts + touches
        };
        let removed = self.keys.values().filter_map(|state| state.removals.as_deref());
        let removed = removed.map(|removals| {
            size_of::<Removals>() + removals.lists().iter().map(|list| size_of_val(*list)).sum::<usize>()
        });
        // A hash map keeps an eighth of its places free, and a byte for each.
        self.keys.capacity() * 8 / 7 * (size_of::<(Arc<str>, KeyState)>() + 1)
            + self.keys.keys().map(|key| key.len() + COUNTS).sum::<usize>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.many.heap_bytes()
            + self.entries.iter().map(spilled).sum::<usize>()
            + removed.sum::<usize>()
    }
}

impl Entry {
    /// The removals that its puts had seen.
    pub(crate) fn removals_seen(&self) -> &[Made] {
        self.removals_seen.as_deref().unwrap_or_default()
    }

    /// Whether puts that had seen these removals are part of it, if they are of its kind.
    pub(crate) fn is_after(&self, removals: &[Made]) -> bool {
        self.removals_seen.as_deref() == Some(removals)
    }

    /// Its put that comes last in the register's order.
    pub(crate) fn last_put(&self, history: &History) -> Option<(Made, Rank)> {
        self.puts.iter().copied().max_by(|a, b| compare_puts(history, *a, *b))
    }

    /// The register's order, by the last put of each.
    pub(crate) fn compare(&self, history: &History, other: &Self) -> Ordering {
        match (self.last_put(history), other.last_put(history)) {
            (Some(put), Some(other)) => compare_puts(history, put, other),
            (put, other) => put.is_some().cmp(&other.is_some()),
        }
    }

    /// Whether anything keeps it.
    pub(crate) fn is_live(&self) -> bool {
        self.touches.iter().any(|touch| !touch.is_outranked)
    }

    /// Whether it was given up before the snapshot that it comes from.
    pub(crate) fn is_nameless(&self) -> bool {
        self.removals_seen.is_none()
    }

    /// Notes that a change put or edited the entry; of changes that one branch made at one rank, the last
    /// suffices.
    pub(crate) fn touch(&mut self, touch: Touch, same_branch: impl Fn(ChangeIx) -> bool) {
        self.touches.retain(|other| {
            (other.rank, other.is_outranked) != (touch.rank, touch.is_outranked)
                || other.change != touch.change && !same_branch(other.change)
        });
        self.touches.push(touch);
    }
}

fn compare_puts(history: &History, a: (Made, Rank), b: (Made, Rank)) -> Ordering {
    a.1.cmp(&b.1).then_with(|| history.order(a.0, b.0))
}
