//! The entries of maps: puts, removals, and which of them prevails.
//!
//! An entry is named by its key, its kind and the removals that its first put had seen. It lives as long as
//! something touched it that no removal has seen or outranks.

use crate::encoding::Reader;
use crate::op::{Rank, Target};
use crate::schema::TypeIx;
use crate::state::State;
use crate::state::history::{History, Made};
use crate::state::integrate::{Undo, Work, has_seen};
use crate::state::nodes::{Entry, NodeIx, Touch};

impl State {
    #[expect(clippy::too_many_arguments, reason = "one step of a recursion")]
    pub(crate) fn put_entry(
        &mut self,
        work: &mut Work<'_>,
        map: NodeIx,
        key: &str,
        (removals, overwrites): (&[Made], &[Made]),
        ty: TypeIx,
        reader: &mut Reader<'_>,
        place: &mut u32,
    ) {
        let made = Made { change: work.change, place: *place };
        let ty = self.types.concrete(ty, reader.rest().first().copied());
        let entry = match self.find_entry(map, key, removals, ty) {
            Some(entry) => entry,
            None => {
                let entry = self.nodes.map(map).entries.len() as u32;
                let node = self.nodes.make(&self.types, ty, map, entry);
                let map = self.nodes.map_mut(map);
                map.keys.entry(key.to_owned()).or_default().entries.push(entry);
                let new =
                    Entry { node, removals_seen: removals.to_vec(), puts: Vec::new(), touches: Vec::new() };
                map.entries.push((key.to_owned(), new));
                entry
            }
        };
        let Some((_, state)) = self.nodes.map_mut(map).entries.get_mut(entry as usize) else { return };
        state.puts.push((made, work.rank));
        let node = state.node;
        work.note(|| Undo::Put { map, entry, made });
        self.touch(work, map, entry);
        for register in self.own_registers(node) {
            self.overwrite(work, register, overwrites);
        }
        self.materialize(work, node, reader, place);
    }

    /// The entry that a put of some kind, having seen some removals, is part of.
    pub(crate) fn find_entry(&self, map: NodeIx, key: &str, removals: &[Made], ty: TypeIx) -> Option<u32> {
        let known = self.nodes.map(map);
        let mut entries = known.keys.get(key)?.entries.iter().copied();
        entries.find(|entry| {
            let entry = known.entries.get(*entry as usize);
            entry.is_some_and(|(_, entry)| {
                entry.removals_seen == removals && self.nodes.node(entry.node).ty == ty
            })
        })
    }

    pub(crate) fn remove_entry(&mut self, work: &mut Work<'_>, map: NodeIx, key: &str) {
        let removal = work.made();
        let history = &self.history;
        let map_state = self.nodes.map_mut(map);
        // Where there is nothing to remove, a put that has seen this removal begins a new entry all the same.
        let state = map_state.keys.entry(key.to_owned()).or_default();
        let saw = |earlier| has_seen(history, work.change, earlier);
        let removals_before = state.removals.clone();
        state.removals.retain(|other| !saw(other.change));
        state.removals.push(removal);
        match work.rank {
            Rank::Below => {}
            Rank::Edit => state.removals_edit.push(removal),
            Rank::Above => state.removals_above.push(removal),
        }
        let mut dropped = Vec::new();
        for entry in &state.entries {
            if let Some((_, entry_state)) = map_state.entries.get_mut(*entry as usize) {
                let (gone, stay): (Vec<Touch>, Vec<Touch>) = entry_state
                    .touches
                    .iter()
                    .copied()
                    .partition(|touch| saw(touch.change) || touch.rank < work.rank);
                entry_state.touches = stay;
                dropped.push((*entry, gone));
            }
        }
        work.note(|| Undo::Removal { made: removal, map, key: key.to_owned(), dropped, removals_before });
    }

    /// Whether a removal that outranks an edit of this rank applies to an entry: any but those that the entry
    /// began after.
    pub(crate) fn is_outranked(&self, map: NodeIx, entry: u32, rank: Rank) -> bool {
        let map = self.nodes.map(map);
        let Some((key, entry)) = map.entries.get(entry as usize) else { return false };
        let Some(state) = map.keys.get(key) else { return false };
        let edits = if rank == Rank::Below { &state.removals_edit[..] } else { &[] };
        let above = if rank < Rank::Above { &state.removals_above[..] } else { &[] };
        let is_before_entry = |removal: &Made| {
            entry
                .removals_seen
                .iter()
                .any(|seen| seen == removal || has_seen(&self.history, seen.change, removal.change))
        };
        edits.iter().chain(above).any(|removal| !is_before_entry(removal))
    }

    /// Takes back out what a removal covers, once signing has fixed what it had seen. Returns whether that was
    /// anything.
    pub(crate) fn settle_removal(&mut self, made: Made, target: &Target<Made>, key: &str) -> bool {
        let Ok(map) = self.find_target(target) else { return false };
        if self.expect_kind(map, "a map").is_err() {
            return false;
        }
        let history = &self.history;
        let map = self.nodes.map_mut(map);
        let Some(state) = map.keys.get_mut(key) else { return false };
        let mut any = false;
        state
            .removals
            .retain(|other| other.change == made.change || !history.is_in_past(other.change, made.change));
        for entry in &state.entries {
            if let Some((_, entry)) = map.entries.get_mut(*entry as usize) {
                let before = entry.touches.len();
                entry.touches.retain(|touch| !is_before(history, *touch, made));
                any |= entry.touches.len() != before;
            }
        }
        any
    }

    /// Takes back a removal that was never signed.
    pub(crate) fn undo_removal(
        &mut self,
        removal: Made,
        map: NodeIx,
        key: &str,
        dropped: Vec<(u32, Vec<Touch>)>,
        removals_before: Vec<Made>,
    ) {
        let history = &self.history;
        let map_state = self.nodes.map_mut(map);
        let Some(state) = map_state.keys.get_mut(key) else { return };
        for removals in [&mut state.removals, &mut state.removals_edit, &mut state.removals_above] {
            removals.retain(|other| *other != removal);
        }
        let newer = state.removals.clone();
        let covered = |earlier| newer.iter().any(|later| has_seen(history, later.change, earlier));
        state.removals.extend(removals_before.into_iter().filter(|removal| !covered(removal.change)));
        state.removals.sort_unstable();
        state.removals.dedup();
        for (entry, touches) in dropped {
            for touch in touches {
                if !newer.iter().any(|later| has_seen(&self.history, later.change, touch.change))
                    && !self.is_outranked(map, entry, touch.rank)
                    && let Some((_, entry)) = self.nodes.map_mut(map).entries.get_mut(entry as usize)
                {
                    entry.touches.push(touch);
                }
            }
        }
    }
}

/// Whether a touch lies in the past of a removal, in the same change only if it came earlier there.
fn is_before(history: &History, touch: Touch, removal: Made) -> bool {
    touch.change != removal.change && history.is_in_past(touch.change, removal.change)
}
