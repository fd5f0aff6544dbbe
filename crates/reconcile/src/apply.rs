//! Carrying out edits on a document: which ops they become, and with which rank.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;
use bft_json_crdt::json_crdt::{EditError, JsonCrdt, UnsignedOp};
use bft_json_crdt::op::Rank;
use bft_json_crdt::text_crdt::TextCrdt;

use crate::diff::Edit;
use crate::layout::Layout;
use crate::mapping::Policy;
use crate::path::Path;
use crate::text::{Splice, rebase, splices};

/// Whose edits they are: a person's are all of one rank, the source's of that which the field's policy gives. The source
/// edits a text that it knows: what changes there was found before.
pub(crate) enum Hand<'a> {
    Person,
    Source { layout: &'a Layout, set_rank: &'a dyn Fn(Rank), splices: &'a [Splice] },
}

impl Hand<'_> {
    fn ranks(&self, path: &Path) {
        let Self::Source { layout, set_rank, .. } = self else { return };
        let list = path.row().map(|(list, _)| list);
        set_rank(match path.field() {
            Some(field) => layout.field(list, field).map_or(Rank::Above, |field| rank_of(field.policy)),
            None => Rank::Above,
        });
    }

    fn ranks_insert(&self, path: &Path, row: &BTreeMap<String, JsonValue>) {
        let (Self::Source { layout, set_rank, .. }, Some((list, _))) = (self, path.row()) else { return };
        let policies = layout.lists.get(list).into_iter().flat_map(|list| list.fields.values());
        let most = policies.map(|field| rank_of(field.policy)).max();
        // A row begins as a whole, with the rank of the field that prevails most.
        set_rank(most.filter(|_| !row.is_empty()).unwrap_or(Rank::Above));
    }

    fn ranks_above(&self) {
        if let Self::Source { set_rank, .. } = self {
            set_rank(Rank::Above);
        }
    }

    fn ranks_text(&self) {
        if let Self::Source { set_rank, .. } = self {
            set_rank(Rank::Edit);
        }
    }

    /// A list, or a row of one. Where somebody has put something else in its place, a person's edit puts it back: with all
    /// that is in it, since puts of one kind are one entry.
    fn entry(&self, node: &JsonCrdt, key: &str) -> Result<JsonCrdt, EditError> {
        let missing = || EditError::NoSuchKey(key.to_owned());
        let is_there = node.at(key).is_some_and(|entry| entry.as_map().is_some());
        if !is_there && matches!(self, Self::Person) {
            node.put(key, JsonValue::Object(BTreeMap::new())).keep()?;
        }
        node.at(key).ok_or_else(missing)
    }

    /// What leads from a text to another.
    fn splices<'a>(&'a self, text: &TextCrdt, old: Option<&str>, new: &str) -> Cow<'a, [Splice]> {
        if let Self::Source { splices, .. } = self {
            return (*splices).into();
        }
        let now = text.text();
        match old.filter(|old| *old != now) {
            // Made for an older text than this one.
            Some(old) => rebase(old, &now, &splices(old, new)).into(),
            None => splices(&now, new).into(),
        }
    }
}

/// The rank of what the database writes to a field.
fn rank_of(policy: Policy) -> Rank {
    match policy {
        Policy::DbWins | Policy::DbOwned => Rank::Above,
        Policy::DocWins | Policy::DocOwned => Rank::Below,
        Policy::KeepBoth | Policy::TextMerge => Rank::Edit,
    }
}

/// Carries out an edit on a document, in the transaction that is open.
///
/// # Errors
/// [`EditError`] where the document is not as the edit supposes.
pub(crate) fn apply(document: &JsonCrdt, edit: &Edit, hand: &Hand<'_>) -> Result<(), EditError> {
    match edit {
        Edit::Own(name, value) => {
            hand.ranks_above();
            put(document, name, Some(value))
        }
        Edit::AddList(name) => {
            hand.ranks_above();
            document.put(name, JsonValue::Object(Default::default())).keep()
        }
        Edit::DropList(name) => {
            hand.ranks_above();
            document.remove(name).keep()
        }
        Edit::Insert { path, row } => {
            let Some((list, key)) = path.row() else { return Ok(()) };
            hand.ranks_insert(path, row);
            hand.entry(document, list)?.put(key, JsonValue::Object(row.clone())).keep()
        }
        Edit::Remove { path, .. } => {
            let Some((list, key)) = path.row() else { return Ok(()) };
            hand.ranks_above();
            hand.entry(document, list)?.remove(key).keep()
        }
        Edit::Write { path, .. } => {
            let Some(field) = path.field() else { return Ok(()) };
            let row = match path.row() {
                None => document.clone(),
                Some((list, key)) => hand.entry(&hand.entry(document, list)?, key)?,
            };
            write(&row, field, edit, path, hand)
        }
    }
}

fn write(row: &JsonCrdt, field: &str, edit: &Edit, path: &Path, hand: &Hand<'_>) -> Result<(), EditError> {
    let Edit::Write { old, new, .. } = edit else { return Ok(()) };
    let new = new.as_ref();
    // Whoever writes a text anew beside which another value stands has seen both: characters alone would leave that there.
    let is_disputed = matches!(hand, Hand::Person)
        && row.as_map().is_some_and(|fields| !fields.conflicts(field).is_empty());
    if let Some(JsonValue::Text(new)) = new
        && let Some(text) = row.at(field).and_then(|node| node.as_text()).filter(|_| !is_disputed)
    {
        hand.ranks_text();
        // From the end, so that the positions of those before stay.
        let old = old.as_ref().and_then(JsonValue::as_str);
        for splice in hand.splices(&text, old, new).iter().rev() {
            text.splice(splice.position, splice.removed, &splice.inserted)
                .into_iter()
                .try_for_each(UnsignedOp::keep)?;
        }
        return Ok(());
    }
    // Between null and a text the kind changes: what was there is removed, so that it does not stay beside the new one.
    // That is the source's as its scalars are: it prevails.
    let is_text = row.at(field).map(|node| node.as_text().is_some());
    let becomes_text = matches!(new, Some(JsonValue::Text(_)));
    let changes_kind = is_text.is_some_and(|is_text| is_text != becomes_text || becomes_text && is_disputed);
    if changes_kind || matches!(new, Some(JsonValue::Text(_))) {
        hand.ranks_above();
    } else {
        hand.ranks(path);
    }
    if changes_kind && new.is_some() {
        row.remove(field).keep()?;
    }
    put(row, field, new)
}

fn put(row: &JsonCrdt, field: &str, new: Option<&JsonValue>) -> Result<(), EditError> {
    match (new, row.at(field)) {
        (None, None) => Ok(()),
        (None, Some(_)) => row.remove(field).keep(),
        (Some(new), Some(node)) if !matches!(new, JsonValue::Text(_)) && node.as_register().is_some() => {
            node.set(new.clone()).keep()
        }
        (Some(new), _) => row.put(field, new.clone()).keep(),
    }
}
