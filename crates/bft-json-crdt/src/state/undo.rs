//! Taking back edits that were never signed.

use std::sync::Arc;

use crate::op::OpKind;
use crate::state::State;
use crate::state::history::{ChangeIx, Made, Status};
use crate::state::integrate::{Undo, has_seen, move_order};
use crate::state::list::Move;
use crate::state::local::Unsigned;

impl State {
    /// Takes back an edit that was not signed, and the later ones that build on it.
    pub(crate) fn give_up(&mut self, change: ChangeIx) {
        let Some(at) = self.unsigned.iter().position(|edit| edit.change == change) else { return };
        let later = self.unsigned.iter().skip(at + 1);
        let builds_on: Vec<ChangeIx> =
            later.filter(|edit| self.stands_on(edit).contains(&change)).map(Unsigned::change).collect();
        for later in builds_on.into_iter().rev() {
            self.give_up(later);
        }
        let mut edit = self.unsigned.remove(at);
        if let (true, Some(open)) = (edit.is_open, &mut self.open) {
            open.is_overtaken = true;
        }
        for later in self.unsigned.iter_mut().skip(at) {
            later.inherit(&mut edit.undo);
        }
        self.undo_all(change, edit.undo);
        let row = self.history.row_mut(change);
        row.status = Status::Undone;
        let (branch, from, to) = (row.branch, row.first_counter, row.first_counter + u64::from(row.span));
        self.history.branch_mut(branch).nodes.forget(from, to);
        self.patch_whole();
    }

    /// Takes back all edits that are not signed: the author's chain went on without them.
    pub(crate) fn give_up_all(&mut self) {
        while let Some(edit) = self.unsigned.last() {
            self.give_up(edit.change);
        }
    }

    pub(super) fn undo_all(&mut self, change: ChangeIx, steps: Vec<Undo>) {
        for step in steps.into_iter().rev() {
            self.undo(change, step);
        }
    }

    fn undo(&mut self, change: ChangeIx, step: Undo) {
        match step {
            Undo::Write { node, write } => {
                self.nodes.remove_writes(node, &[write.made]);
            }
            Undo::Overwritten { node, writes } => {
                writes.into_iter().for_each(|write| self.nodes.add_write(node, write));
            }
            Undo::Element { list, element } => {
                let node = self.nodes.list(list).element(element).node;
                self.nodes.list_mut(list).take_out(element);
                self.ids.forget(node);
            }
            Undo::Place { list, place, before } => {
                let history = &self.history;
                let is_seen = |earlier: &Move, newer: &[Move]| {
                    newer.iter().any(|later| has_seen(history, later.made.change, earlier.made.change))
                };
                let order = |a: &Move, b: &Move| move_order(history, a, b);
                self.nodes.list_mut(list).take_back_move(place, &before, is_seen, order);
            }
            Undo::Addition { node, delta } => self.nodes.add(node, -i128::from(delta)),
            Undo::Deletion { list, element } => self.nodes.list_mut(list).undelete(element, change),
            Undo::Typed { text, first, count } => self.nodes.text_mut(text).take_out(first, count),
            Undo::Hidden { text, stretches } => {
                for (first, count) in stretches.into_iter().rev() {
                    self.nodes.text_mut(text).show(first, count);
                }
            }
            Undo::Source => {
                self.sources.retain(|declared| *declared != change);
                self.declare_again();
            }
            Undo::Put { map, entry, made, dropped } => {
                let map = self.nodes.map_mut(map);
                if let Some(entry) = map.entry_mut(entry) {
                    entry.puts.retain(|(put, _)| *put != made);
                    let history = &self.history;
                    let is_there = |put: &Made| history.row(put.change).status != Status::Undone;
                    entry.puts.extend(dropped.into_iter().filter(|(put, _)| is_there(put)));
                    // The entry goes by the name of another put, if one is left.
                    let (node, left) = (entry.node, entry.puts.first().map(|(put, _)| *put));
                    let key = Arc::clone(&entry.key);
                    map.relist(history, &key);
                    let node = self.nodes.node_mut(node);
                    if node.made == Some(made) && left.is_some() {
                        node.made = left;
                    }
                }
            }
            Undo::Touch { map, entry } => {
                let map = self.nodes.map_mut(map);
                if let Some(state) = map.entry_mut(entry) {
                    state.touches.retain(|touch| touch.change != change);
                    map.note_touches(&self.history, entry);
                }
            }
            Undo::Removal { map, key, dropped, removals_before, made } => {
                self.undo_removal(made, map, &key, dropped, removals_before);
            }
        }
    }

    /// An unsigned edit that declares the source as well, which said nothing new then, does so now.
    fn declare_again(&mut self) {
        if !self.sources.is_empty() {
            return;
        }
        let declares = |edit: &&mut Unsigned| {
            edit.ops.iter().any(|local| matches!(local.op.kind, OpKind::Source { .. }))
        };
        if let Some(edit) = self.unsigned.iter_mut().find(declares) {
            self.sources.push(edit.change);
            edit.undo.push(Undo::Source);
        }
    }
}

impl Unsigned {
    /// An edit before this one is given up. What it hid or took the place of, and this one does now, comes back
    /// with this one; moved out of the steps of the other.
    fn inherit(&mut self, earlier: &mut [Undo]) {
        for step in earlier.iter_mut().rev() {
            for own in &mut self.undo {
                own.inherit(step);
            }
        }
    }
}

impl Undo {
    fn inherit(&mut self, earlier: &mut Self) {
        match (self, earlier) {
            (
                Self::Put { map, entry, dropped, .. },
                Self::Put { map: map_before, entry: entry_before, made, dropped: before },
            ) if (*map, *entry) == (*map_before, *entry_before) => {
                if let Some(at) = dropped.iter().position(|(put, _)| put == made) {
                    dropped.swap_remove(at);
                    dropped.append(before);
                }
            }
            (Self::Place { list, before, .. }, Self::Place { list: list_before, place, before: earlier })
                if list == list_before =>
            {
                if let Some(at) = before.iter().position(|other| other.place == *place) {
                    before.swap_remove(at);
                    let more = earlier.iter().filter(|other| !before.contains(other));
                    let more: Vec<_> = more.copied().collect();
                    before.extend(more);
                }
            }
            (
                Self::Removal { map, key, dropped, removals_before, .. },
                Self::Removal {
                    made,
                    map: map_before,
                    key: key_before,
                    dropped: hidden,
                    removals_before: before,
                },
            ) if (*map, &*key) == (*map_before, &*key_before) => {
                if let Some(at) = removals_before.iter().position(|removal| removal == made) {
                    removals_before.swap_remove(at);
                    removals_before.extend(before.iter().copied());
                }
                dropped.extend(hidden.iter().cloned());
            }
            _ => {}
        }
    }
}
