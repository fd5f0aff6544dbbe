//! What differs between two replicas of one document, as patches from the one's view to the other's.
//!
//! Elements, entries and characters are matched by what made them, not by what they show: an element that moved
//! is moved, one that was replaced by an equal one is replaced.

use std::collections::{HashMap, HashSet};

use crate::change::Digest;
use crate::schema::TypeDef;
use crate::state::State;
use crate::state::history::{History, Made};
use crate::state::nodes::{NodeIx, ROOT_NODE};
use crate::state::patches::{Patch, PatchAction, PatchStep};
use crate::state::text::{CharIx, Text};

/// What made an element or an entry, said so that another replica understands it.
type Identity = (Digest, u32);

/// Two states being compared, and the way to where that has come.
pub(crate) struct Comparison<'a> {
    old: &'a State,
    new: &'a State,
    path: Vec<PatchStep>,
    patches: Vec<Patch>,
}

impl<'a> Comparison<'a> {
    /// Returns the patches that lead from one view to the other. O(both documents).
    pub(crate) fn of(old: &'a State, new: &'a State) -> Vec<Patch> {
        let mut comparison = Self { old, new, path: Vec::new(), patches: Vec::new() };
        comparison.node(ROOT_NODE, ROOT_NODE);
        comparison.patches
    }

    fn push(&mut self, step: Option<PatchStep>, action: PatchAction) {
        let path = self.path.iter().cloned().chain(step).collect();
        self.patches.push(Patch { path, action });
    }

    fn inside(&mut self, step: PatchStep, old: NodeIx, new: NodeIx) {
        self.path.push(step);
        self.node(old, new);
        self.path.pop();
    }

    fn node(&mut self, old: NodeIx, new: NodeIx) {
        let (old_node, new_node) = (self.old.nodes.node(old), self.new.nodes.node(new));
        match (self.old.types.def(old_node.ty), self.new.types.def(new_node.ty)) {
            (TypeDef::Struct { fields, .. }, TypeDef::Struct { .. }) => {
                let (first_old, first_new) = (old_node.payload, new_node.payload);
                for (slot, (name, _)) in (0..).zip(fields) {
                    self.inside(PatchStep::Key((*name).to_owned()), first_old + slot, first_new + slot);
                }
            }
            (TypeDef::List(_), TypeDef::List(_)) => self.lists(old, new),
            (TypeDef::Map(_), TypeDef::Map(_)) => self.maps(old, new),
            (TypeDef::Text, TypeDef::Text) => self.texts(old, new),
            _ => {
                let value = self.new.view(new);
                if self.old.view(old) != value {
                    self.push(None, PatchAction::Set(value));
                }
            }
        }
    }

    fn maps(&mut self, old: NodeIx, new: NodeIx) {
        for key in self.old.keys(old) {
            if self.new.live_entry(new, &key).is_none() {
                self.push(Some(PatchStep::Key(key)), PatchAction::Remove);
            }
        }
        for key in self.new.keys(new) {
            let Some(entry) = self.new.live_entry(new, &key) else { continue };
            let before = self.old.live_entry(old, &key);
            match before.filter(|before| entry_identity(self.old, *before) == entry_identity(self.new, entry))
            {
                Some(before) => self.inside(PatchStep::Key(key), before, entry),
                None => {
                    let value = self.new.view(entry);
                    self.push(Some(PatchStep::Key(key)), PatchAction::Set(value));
                }
            }
        }
    }

    fn lists(&mut self, old: NodeIx, new: NodeIx) {
        let elements = |state: &State, list: NodeIx| -> Vec<(Identity, NodeIx)> {
            let list = state.nodes.list(list);
            let identify = |element| {
                let element = list.element(element);
                (identity(&state.history, element.made), element.node)
            };
            list.iter().map(identify).collect()
        };
        let (mut before, after) = (elements(self.old, old), elements(self.new, new));
        let stays: HashSet<Identity> = after.iter().map(|(identity, _)| *identity).collect();
        for index in (0..before.len()).rev() {
            if before.get(index).is_some_and(|(identity, _)| !stays.contains(identity)) {
                before.remove(index);
                self.push(Some(PatchStep::Index(index)), PatchAction::Delete);
            }
        }
        let known: HashMap<Identity, NodeIx> = before.iter().copied().collect();
        let mut common = Vec::new();
        for (index, (identity, node)) in after.into_iter().enumerate() {
            if before.get(index).is_some_and(|(other, _)| *other == identity) {
                common.extend(known.get(&identity).map(|old| (index, *old, node)));
                continue;
            }
            if let Some(old) = known.get(&identity) {
                common.push((index, *old, node));
                let from = before.iter().skip(index).position(|(other, _)| *other == identity);
                if let Some(from) = from.map(|from| from + index) {
                    let moved = before.remove(from);
                    before.insert(index, moved);
                    self.push(Some(PatchStep::Index(from)), PatchAction::Move { to: index });
                }
            } else {
                before.insert(index, (identity, node));
                let value = self.new.view(node);
                self.push(Some(PatchStep::Index(index)), PatchAction::Insert(value));
            }
        }
        for (index, old, new) in common {
            self.inside(PatchStep::Index(index), old, new);
        }
    }

    fn texts(&mut self, old: NodeIx, new: NodeIx) {
        let (before, after) = (characters(self.old, old), characters(self.new, new));
        let stays: HashSet<Identity> = after.iter().copied().collect();
        let known: HashSet<Identity> = before.iter().copied().collect();
        let inserted: Vec<char> = self.new.nodes.text(new).content().chars().collect();
        // Characters never change their order, so both are read once, side by side.
        let (mut at_old, mut at_new) = (0, 0);
        while at_old < before.len() || at_new < after.len() {
            let removed = before.iter().skip(at_old).take_while(|it| !stays.contains(it)).count();
            let added = after.iter().skip(at_new).take_while(|it| !known.contains(it)).count();
            if removed + added > 0 {
                let inserted = inserted.iter().skip(at_new).take(added).collect();
                self.push(None, PatchAction::Splice { position: at_new, removed, inserted });
            }
            at_old += removed + 1;
            at_new += added + 1;
        }
    }
}

fn identity(history: &History, made: Made) -> Identity {
    (history.digest(made.change), made.place)
}

/// A map's entry is named by its kind and the removals that it began after.
fn entry_identity(state: &State, entry: NodeIx) -> (&'static str, Vec<Identity>) {
    let node = state.nodes.node(entry);
    let known = state.nodes.map(node.parent).entry(node.slot);
    let removals = known.map(|known| known.removals_seen());
    let removals = removals.unwrap_or_default().iter();
    let mut removals: Vec<Identity> = removals.map(|made| identity(&state.history, *made)).collect();
    removals.sort_unstable();
    (state.kind_name(entry), removals)
}

/// What made each visible character, in the order of the text.
fn characters(state: &State, node: NodeIx) -> Vec<Identity> {
    let text: &Text = state.nodes.text(node);
    let shown = text.stretches().filter(|(_, _, is_visible)| *is_visible);
    let each = shown.flat_map(|(first, count, _)| first..first + count);
    let made = |character: CharIx| state.made_character(node, character);
    each.map(|character| {
        made(character).map_or((Digest([0; 32]), character), |m| identity(&state.history, m))
    })
    .collect()
}
