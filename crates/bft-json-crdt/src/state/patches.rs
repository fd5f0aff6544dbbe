//! What changed, as paths and values: for programs that mirror a document and must not read it whole again.
//!
//! Patches are made as ops are carried out, and say what the op did to the view. An op inside what a deletion
//! or a removal hides makes none; one that brings a map's entry back makes one that sets the entry whole.

use std::sync::Arc;

use crate::limits::{PATCHES_BYTES_MAX, PATCHES_MAX};
use crate::op::{Op, OpKind, Slice};
use crate::schema::TypeDef;
use crate::state::State;
use crate::state::history::Made;
use crate::state::list::ElementIx;
use crate::state::nodes::{NodeIx, ROOT_NODE};
use crate::state::text::CharIx;
use crate::value::JsonValue;

/// One step from the document's root to what a patch changes, in the view as it is when the patch applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchStep {
    /// A field of a struct or an entry of a map.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// What a patch does at its path.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PatchAction {
    /// The value there, or the whole document at the empty path, is this.
    Set(JsonValue),
    /// The map's entry is gone.
    Remove,
    /// A list has this element at the index that the path ends with; later ones moved up.
    Insert(JsonValue),
    /// The list's element at the index that the path ends with is gone; later ones moved down.
    Delete,
    /// The list's element at the index that the path ends with stands at this index once it was taken out.
    Move {
        /// The index in the list without the element.
        to: usize,
    },
    /// A text has other characters at a position, counted in Unicode scalar values.
    Splice {
        /// Where.
        position: usize,
        /// How many characters are gone there.
        removed: usize,
        /// What stands there in their place.
        inserted: String,
    },
}

/// One change of a document's view. Patches apply one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Where, from the root.
    pub path: Vec<PatchStep>,
    /// What happened there.
    pub action: PatchAction,
}

impl Patch {
    /// The bytes that it takes up, roughly.
    fn bytes(&self) -> usize {
        let steps = self.path.iter().map(|step| match step {
            PatchStep::Key(key) => size_of::<PatchStep>() + key.len(),
            PatchStep::Index(_) => size_of::<PatchStep>(),
        });
        let action = match &self.action {
            PatchAction::Set(value) | PatchAction::Insert(value) => bytes_of(value),
            PatchAction::Splice { inserted, .. } => inserted.len(),
            PatchAction::Remove | PatchAction::Delete | PatchAction::Move { .. } => 0,
        };
        size_of::<Pending>() + steps.sum::<usize>() + action
    }

    /// Carries out the patch on a view that had all patches before it. Returns whether it fit.
    pub fn apply(&self, view: &mut JsonValue) -> bool {
        match (self.path.split_last(), &self.action) {
            (None, PatchAction::Set(value)) => {
                *view = value.clone();
                true
            }
            (_, PatchAction::Splice { position, removed, inserted }) => {
                let Some(JsonValue::String(text)) = find(view, &self.path) else { return false };
                let at = |count: usize| text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
                text.replace_range(at(*position)..at(position + removed), inserted);
                true
            }
            (None, _) => false,
            (Some((last, above)), action) => {
                let Some(parent) = find(view, above) else { return false };
                match (parent, last, action) {
                    (JsonValue::Object(members), PatchStep::Key(key), PatchAction::Set(value)) => {
                        members.insert(key.clone(), value.clone());
                        true
                    }
                    (JsonValue::Object(members), PatchStep::Key(key), PatchAction::Remove) => {
                        members.remove(key).is_some()
                    }
                    (JsonValue::Array(items), PatchStep::Index(index), action) => {
                        apply_to_items(items, *index, action)
                    }
                    (_, PatchStep::Key(_) | PatchStep::Index(_), _) => false,
                }
            }
        }
    }
}

/// The bytes that a value takes up, roughly.
fn bytes_of(value: &JsonValue) -> usize {
    let inside = match value {
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::Integer(_) | JsonValue::Number(_) => 0,
        JsonValue::String(text) | JsonValue::Text(text) => text.len(),
        JsonValue::Array(items) => items.iter().map(bytes_of).sum(),
        JsonValue::Object(members) => {
            members.iter().map(|(key, value)| size_of::<String>() + key.len() + bytes_of(value)).sum()
        }
    };
    size_of::<JsonValue>() + inside
}

fn apply_to_items(items: &mut Vec<JsonValue>, index: usize, action: &PatchAction) -> bool {
    let len = items.len();
    match action {
        PatchAction::Set(value) => items.get_mut(index).map(|item| *item = value.clone()).is_some(),
        PatchAction::Insert(value) if index <= len => {
            items.insert(index, value.clone());
            true
        }
        PatchAction::Delete if index < len => {
            items.remove(index);
            true
        }
        PatchAction::Move { to } if index < len && *to < len => {
            let item = items.remove(index);
            items.insert(*to, item);
            true
        }
        PatchAction::Insert(_)
        | PatchAction::Delete
        | PatchAction::Move { .. }
        | PatchAction::Remove
        | PatchAction::Splice { .. } => false,
    }
}

fn find<'a>(mut value: &'a mut JsonValue, path: &[PatchStep]) -> Option<&'a mut JsonValue> {
    for step in path {
        value = match (value, step) {
            (JsonValue::Object(members), PatchStep::Key(key)) => members.get_mut(key)?,
            (JsonValue::Array(items), PatchStep::Index(index)) => items.get_mut(*index)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Most patches that wait for a content that is kept; with more it is made anew.
const PATCHES_OF_CONTENT_MAX: usize = 1_024;
/// The work in bytes that a content which is kept always takes; with more, as much as it is to make it anew.
const WORK_OF_CONTENT: usize = 1 << 20;

/// What changed in the view, for those who follow it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patches {
    /// Those that nobody has been given.
    pending: Vec<Pending>,
    /// The bytes that they take up.
    bytes: usize,
    /// The bytes that are written or moved where they are applied to the content.
    work: usize,
    /// For the program that takes patches: those since it was last given some.
    watched: Option<Watched>,
    /// The view before what is pending, as long as it is kept.
    content: Option<Content>,
}

#[derive(Clone, Debug)]
struct Pending {
    patch: Patch,
    bytes: usize,
    work: usize,
}

#[derive(Clone, Debug)]
struct Content {
    view: Arc<JsonValue>,
    /// Its bytes, if anybody asked since it was last brought up to date.
    bytes: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    list: Vec<Patch>,
    bytes: usize,
    /// So much changed, or in such a way, that the whole document is to be read again.
    is_whole: bool,
}

impl Watched {
    fn whole() -> Self {
        Self { is_whole: true, ..Self::default() }
    }
}

impl Patches {
    /// Notes that the view changed in a way that patches do not follow.
    fn give_up(&mut self) {
        self.content = None;
        if let Some(watched) = &mut self.watched {
            *watched = Watched::whole();
        }
        self.drop_after(0);
    }

    /// Whether anybody follows the view.
    fn are_made(&self) -> bool {
        self.content.is_some() || self.watched.as_ref().is_some_and(|watched| !watched.is_whole)
    }

    /// Adds a patch. `moved` are the bytes beside it that move where it is applied.
    fn add(&mut self, patch: Patch, moved: usize) {
        let bytes = patch.bytes();
        let work = bytes.saturating_add(moved);
        self.bytes = self.bytes.saturating_add(bytes);
        self.work = self.work.saturating_add(work);
        self.pending.push(Pending { patch, bytes, work });
        // A content is then read again faster than patched.
        let (len, work) = (self.pending.len(), self.work);
        let is_much = |content: &mut Content| {
            let bytes = content.bytes;
            len > PATCHES_OF_CONTENT_MAX
                || work > WORK_OF_CONTENT
                    && work > *content.bytes.insert(bytes.unwrap_or_else(|| bytes_of(&content.view)))
        };
        if self.content.as_mut().is_some_and(is_much) {
            self.content = None;
        }
        let bytes = self.bytes;
        let is_much = |watched: &Watched| {
            watched.list.len() + len > PATCHES_MAX || watched.bytes.saturating_add(bytes) > PATCHES_BYTES_MAX
        };
        if let Some(watched) = self.watched.as_mut().filter(|watched| is_much(watched)) {
            *watched = Watched::whole();
        }
        if !self.are_made() {
            self.drop_after(0);
        }
    }

    fn drop_after(&mut self, mark: usize) {
        for dropped in self.pending.drain(mark.min(self.pending.len())..) {
            self.bytes -= dropped.bytes;
            self.work -= dropped.work;
        }
    }

    /// What a copy of the document begins with, which nobody watches.
    pub(crate) fn for_copy(mut self) -> Option<Self> {
        self.watched = None;
        self.settle();
        self.content.is_some().then_some(self)
    }

    /// Gives to all what is pending.
    fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let is_kept = self.content.as_mut().is_none_or(|content| {
            content.bytes = None;
            let view = Arc::make_mut(&mut content.view);
            self.pending.iter().all(|pending| pending.patch.apply(view))
        });
        if !is_kept {
            self.content = None;
        }
        let pending = std::mem::take(&mut self.pending);
        if let Some(watched) = self.watched.as_mut().filter(|watched| !watched.is_whole) {
            watched.list.extend(pending.into_iter().map(|pending| pending.patch));
            watched.bytes += self.bytes;
        }
        (self.bytes, self.work) = (0, 0);
    }
}

/// What an op's maps showed before it was carried out, the outermost first.
struct Before {
    shown: Vec<(NodeIx, String, Option<NodeIx>)>,
    /// It deletes in several lists, as no edit made here does.
    is_scattered: bool,
    mark: usize,
}

impl State {
    /// Begins to make patches.
    pub(crate) fn watch(&mut self) {
        let patches = self.patches.get_or_insert_default();
        patches.settle();
        patches.watched.get_or_insert_default();
    }

    /// The patches since the last call; none unless watched.
    pub(crate) fn take_patches(&mut self) -> Vec<Patch> {
        let Some(patches) = &mut self.patches else { return Vec::new() };
        patches.settle();
        let Some(watched) = &mut patches.watched else { return Vec::new() };
        let taken = std::mem::take(watched);
        if taken.is_whole {
            vec![Patch { path: Vec::new(), action: PatchAction::Set(self.view(ROOT_NODE)) }]
        } else {
            taken.list
        }
    }

    /// The view of the whole document, which is kept and follows what changes from now on.
    pub(crate) fn content(&mut self) -> Arc<JsonValue> {
        let patches = self.patches.get_or_insert_default();
        patches.settle();
        if let Some(content) = &patches.content {
            return Arc::clone(&content.view);
        }
        let view = Arc::new(self.view(ROOT_NODE));
        let content = Content { view: Arc::clone(&view), bytes: None };
        self.patches.get_or_insert_default().content = Some(content);
        view
    }

    /// Notes that the view changed in a way that patches do not follow.
    pub(crate) fn patch_whole(&mut self) {
        if let Some(patches) = &mut self.patches {
            patches.give_up();
        }
    }

    /// Whether anybody follows the view.
    fn is_followed(&self) -> bool {
        self.patches.as_ref().is_some_and(Patches::are_made)
    }

    /// Carries out an op with patches for what it brings back and what it hides.
    pub(crate) fn patched<T>(&mut self, op: &Op<Made, Slice>, carry_out: impl FnOnce(&mut Self) -> T) -> T {
        if !self.is_followed() {
            return carry_out(self);
        }
        let before = self.before(op);
        let done = carry_out(self);
        self.after(before);
        done
    }

    fn before(&self, op: &Op<Made, Slice>) -> Before {
        let (mut shown, mut is_scattered) = (Vec::new(), false);
        let node = match &op.kind {
            OpKind::Set { target, .. }
            | OpKind::Insert { target, .. }
            | OpKind::Add { target, .. }
            | OpKind::Text { target, .. }
            | OpKind::Cut { target, .. } => self.find_target(target).ok(),
            OpKind::Put { target, key, .. } | OpKind::Remove { target, key } => {
                let map = self.find_target(target).ok();
                let map = map.filter(|map| self.expect_kind(*map, "a map").is_ok());
                shown.extend(map.map(|map| (map, key.clone(), self.live_entry(map, key))));
                map
            }
            OpKind::Delete { elements } => {
                let mut lists =
                    elements.iter().filter_map(|made| self.element_of(*made)).map(|(list, _)| list);
                let first = lists.next();
                is_scattered = lists.any(|list| Some(list) != first);
                first
            }
            OpKind::Move { element, .. } => self.element_of(*element).map(|element| element.0),
            OpKind::Source { .. } => None,
        };
        let mut node = node.unwrap_or(ROOT_NODE);
        while node != ROOT_NODE {
            let (parent, slot) = (self.nodes.node(node).parent, self.nodes.node(node).slot);
            if matches!(self.types.def(self.nodes.node(parent).ty), TypeDef::Map(_))
                && let Some(entry) = self.nodes.map(parent).entry(slot)
            {
                shown.push((parent, entry.key.to_string(), self.live_entry(parent, &entry.key)));
            }
            node = parent;
        }
        shown.reverse();
        Before { shown, is_scattered, mark: self.patch_mark() }
    }

    fn after(&mut self, before: Before) {
        if before.is_scattered {
            self.patch_whole();
            return;
        }
        for (map, key, shown) in before.shown {
            if self.live_entry(map, &key) != shown {
                self.patch_entry(map, &key, before.mark);
                return;
            }
        }
    }

    /// How many patches there are, to drop later ones again.
    pub(crate) fn patch_mark(&self) -> usize {
        self.patches.as_ref().map_or(0, |patches| patches.pending.len())
    }

    fn patch(&mut self, node: NodeIx, step: Option<PatchStep>, make: impl FnOnce(&Self) -> PatchAction) {
        if !self.is_followed() {
            return;
        }
        let Some(mut path) = self.steps_to(node) else { return };
        path.extend(step);
        let action = make(self);
        let moved = match &action {
            PatchAction::Splice { .. } => self.nodes.text(node).len(),
            PatchAction::Insert(_) | PatchAction::Delete | PatchAction::Move { .. } => {
                self.nodes.list(node).len().saturating_mul(size_of::<JsonValue>())
            }
            PatchAction::Set(_) | PatchAction::Remove => 0,
        };
        if let Some(patches) = &mut self.patches {
            patches.add(Patch { path, action }, moved);
        }
    }

    fn drop_after(&mut self, mark: usize) {
        if let Some(patches) = &mut self.patches {
            patches.drop_after(mark);
        }
    }

    /// Whether the view shows a node.
    pub(crate) fn is_shown(&self, node: NodeIx) -> bool {
        self.steps_to(node).is_some()
    }

    /// The way to a node in the view; none if the view does not show it.
    fn steps_to(&self, mut node: NodeIx) -> Option<Vec<PatchStep>> {
        let mut steps = Vec::new();
        while node != ROOT_NODE {
            let current = self.nodes.node(node);
            steps.push(match self.types.def(self.nodes.node(current.parent).ty) {
                TypeDef::List(_) => PatchStep::Index(self.nodes.list(current.parent).position(current.slot)?),
                TypeDef::Map(_) => {
                    let key = &self.nodes.map(current.parent).entry(current.slot)?.key;
                    if self.live_entry(current.parent, key) != Some(node) {
                        return None;
                    }
                    PatchStep::Key(key.to_string())
                }
                TypeDef::Struct { .. } => PatchStep::Key(self.field_name(node)?.to_owned()),
                TypeDef::Register { .. }
                | TypeDef::Counter
                | TypeDef::Text
                | TypeDef::Any { .. }
                | TypeDef::Place => return None,
            });
            node = current.parent;
        }
        steps.reverse();
        Some(steps)
    }

    pub(crate) fn patch_set(&mut self, node: NodeIx) {
        self.patch(node, None, |state| PatchAction::Set(state.view(node)));
    }

    pub(crate) fn patch_insert(&mut self, list: NodeIx, element: ElementIx, mark: usize) {
        if !self.is_followed() {
            return;
        }
        self.drop_after(mark);
        let Some(index) = self.nodes.list(list).position(element) else { return };
        let node = self.nodes.list(list).element(element).node;
        self.patch(list, Some(PatchStep::Index(index)), |state| PatchAction::Insert(state.view(node)));
    }

    pub(crate) fn patch_delete(&mut self, list: NodeIx, element: ElementIx) {
        if !self.is_followed() {
            return;
        }
        let Some(index) = self.nodes.list(list).position(element) else { return };
        self.patch(list, Some(PatchStep::Index(index)), |_| PatchAction::Delete);
    }

    /// An element stood at `from` and may stand elsewhere.
    pub(crate) fn patch_move(&mut self, list: NodeIx, element: ElementIx, from: Option<usize>) {
        if !self.is_followed() {
            return;
        }
        let to = self.nodes.list(list).position(element);
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            self.patch(list, Some(PatchStep::Index(from)), |_| PatchAction::Move { to });
        }
    }

    pub(crate) fn patch_entry(&mut self, map: NodeIx, key: &str, mark: usize) {
        if !self.is_followed() {
            return;
        }
        self.drop_after(mark);
        let shown = self.live_entry(map, key);
        self.patch(map, Some(PatchStep::Key(key.to_owned())), |state| match shown {
            Some(node) => PatchAction::Set(state.view(node)),
            None => PatchAction::Remove,
        });
    }

    pub(crate) fn patch_typed(&mut self, text: NodeIx, first: CharIx, content: &str) {
        if !self.is_followed() {
            return;
        }
        let (position, _) = self.nodes.text(text).position(first);
        self.patch(text, None, |_| PatchAction::Splice {
            position,
            removed: 0,
            inserted: content.to_owned(),
        });
    }

    pub(crate) fn patch_cut(&mut self, text: NodeIx, position: usize, removed: usize) {
        if self.is_followed() {
            let action = PatchAction::Splice { position, removed, inserted: String::new() };
            self.patch(text, None, |_| action);
        }
    }
}

#[cfg(test)]
mod tests;
