//! The entries of maps: puts, removals, and which of them prevails.
//!
//! An entry is named by its key, its kind and the removals that its first put had seen. It lives as long as
//! something touched it that no removal has seen or outranks.

use crate::encoding::Reader;
use crate::op::{Rank, Target};
use crate::schema::TypeIx;
use crate::state::State;
use crate::state::history::{History, Made, Status};
use crate::state::integrate::{Undo, Work, has_seen};
use crate::state::map::{EntryIx, KeyState, Touch};
use crate::state::nodes::NodeIx;

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
                let entry = self.nodes.map(map).entries().len() as EntryIx;
                let node = self.nodes.make(&self.types, ty, map, entry);
                self.nodes.map_mut(map).add(key, node, Some(removals))
            }
        };
        let history = &self.history;
        let Some(state) = self.nodes.map_mut(map).entry_mut(entry) else { return };
        // What this put has seen and is not outranked by can never again be the last.
        let mut dropped = Vec::new();
        state.puts.retain(|(put, rank)| {
            let stays = *rank > work.rank || !has_seen(history, made.change, put.change);
            if !stays {
                dropped.push((*put, *rank));
            }
            stays
        });
        state.puts.push((made, work.rank));
        let node = state.node;
        work.note(|| Undo::Put { map, entry, made, dropped });
        self.touch(work, map, entry);
        self.nodes.map_mut(map).note_put(&self.history, entry);
        for register in self.own_registers(node) {
            self.overwrite(work, register, overwrites);
        }
        self.materialize(work, node, reader, place);
    }

    /// The entry that a put of some kind, having seen some removals, is part of.
    pub(crate) fn find_entry(&self, map: NodeIx, key: &str, removals: &[Made], ty: TypeIx) -> Option<u32> {
        let mut entries = self.nodes.map(map).entries_of(key);
        let found =
            entries.find(|(_, entry)| entry.is_after(removals) && self.nodes.node(entry.node).ty == ty);
        found.map(|(entry, _)| entry)
    }

    pub(crate) fn remove_entry(&mut self, work: &mut Work<'_>, map: NodeIx, key: &str) {
        let removal = work.made();
        let history = &self.history;
        let map_state = self.nodes.map_mut(map);
        // Where there is nothing to remove, a put that has seen this removal begins a new entry all the same.
        let removals = map_state.key_or_new(key).removals_mut();
        let saw = |earlier| has_seen(history, work.change, earlier);
        let removals_before = removals.last.clone();
        removals.last.retain(|other| !saw(other.change));
        removals.last.push(removal);
        match work.rank {
            Rank::Below => {}
            Rank::Edit => removals.edit.push(removal),
            Rank::Above => removals.above.push(removal),
        }
        let mut dropped = Vec::new();
        for entry in map_state.live_of(key).to_vec() {
            let Some(state) = map_state.entry_mut(entry) else { continue };
            let mut gone = Vec::new();
            state.touches.retain(|touch| {
                let is_seen = saw(touch.change);
                let is_outranked = touch.is_outranked || touch.rank < work.rank;
                if is_seen || is_outranked != touch.is_outranked {
                    gone.push(*touch);
                }
                touch.is_outranked = is_outranked;
                !is_seen
            });
            dropped.push((entry, gone));
        }
        map_state.relist(history, key);
        work.note(|| Undo::Removal { made: removal, map, key: key.to_owned(), dropped, removals_before });
    }

    /// Whether a removal that outranks an edit of this rank applies to an entry: any but those that the entry
    /// began after.
    pub(crate) fn is_outranked(&self, map: NodeIx, entry: u32, rank: Rank) -> bool {
        let map = self.nodes.map(map);
        let Some(entry) = map.entry(entry) else { return false };
        let Some(removals) = map.key(&entry.key).map(KeyState::removals) else { return false };
        let edits = if rank == Rank::Below { &removals.edit[..] } else { &[] };
        let above = if rank < Rank::Above { &removals.above[..] } else { &[] };
        let is_before_entry = |removal: &Made| {
            entry
                .removals_seen()
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
        let Some(state) = map.key_mut(key) else { return false };
        let mut any = false;
        state
            .removals_mut()
            .last
            .retain(|other| other.change == made.change || !history.is_in_past(other.change, made.change));
        for entry in map.live_of(key).to_vec() {
            let Some(state) = map.entry_mut(entry) else { continue };
            let before = state.touches.len();
            state.touches.retain(|touch| !is_before(history, *touch, made));
            any |= state.touches.len() != before;
        }
        map.relist(history, key);
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
        let Some(removals) = map_state.key_mut(key).map(KeyState::removals_mut) else { return };
        for list in removals.lists_mut() {
            list.retain(|other| *other != removal);
        }
        let newer = removals.last.clone();
        let covered = |earlier| newer.iter().any(|later| has_seen(history, later.change, earlier));
        removals.last.extend(removals_before.into_iter().filter(|removal| !covered(removal.change)));
        removals.last.sort_unstable();
        removals.last.dedup();
        for (entry, touches) in dropped {
            for touch in touches {
                let is_there = self.history.row(touch.change).status != Status::Undone;
                if is_there
                    && !newer.iter().any(|later| has_seen(&self.history, later.change, touch.change))
                    && let is_outranked = self.is_outranked(map, entry, touch.rank)
                    && let Some(state) = self.nodes.map_mut(map).entry_mut(entry)
                {
                    state.touches.retain(|other| (other.change, other.rank) != (touch.change, touch.rank));
                    state.touches.push(Touch { is_outranked, ..touch });
                    self.nodes.map_mut(map).note_touches(&self.history, entry);
                }
            }
        }
    }
}

/// Whether a touch lies in the past of a removal, in the same change only if it came earlier there.
fn is_before(history: &History, touch: Touch, removal: Made) -> bool {
    touch.change != removal.change && history.is_in_past(touch.change, removal.change)
}
