//! What people and agents do with the board: pure functions over the document and an edit.
//!
//! **One story, one item.** Two nodes that add a `story_id` while apart make two list elements. They show as
//! one item, by a rule over the document alone, so everywhere the same: the fields of the first element in
//! document order, except that a claim of any of them shows (the first one's), since a claim must not vanish
//! when boards meet. What the others hold is in [`conflicts`]. Every edit writes to all of them, which
//! settles the fields it names, and [`remove`] removes all of them.
//!
//! A lookup of a `story_id` is O(log n): the document indexes that field from the first lookup on.

mod conflicts;
mod history;
mod story;

use bft_json_crdt::{BaseCrdt, json_crdt::EditError};

use self::story::Story;
pub use self::{
    conflicts::{FieldConflict, Write, conflicts},
    history::{Action, HistoryEntry, HistoryError, history},
};
use crate::{
    field::Field,
    item::{Item, NewItem, Patch},
    pipeline::PipelineDoc,
    replica::Editor,
};

/// Returns the items in document order, one per `story_id`.
pub fn items(base: &BaseCrdt<PipelineDoc>) -> Vec<Item> {
    story::all(&base.doc)
}

/// Returns the item of that `story_id`.
pub fn find(base: &BaseCrdt<PipelineDoc>, story_id: &str) -> Option<Item> {
    Story::find(&base.doc, story_id).map(|story| story.item())
}

/// Adds an item at the end of the board.
///
/// # Errors
/// [`BoardError::Taken`] if there is one of that `story_id`, [`BoardError::Empty`] for an empty one.
pub fn add(editor: &mut Editor<'_, PipelineDoc>, new: NewItem) -> Result<Item, BoardError> {
    let new = new.check()?;
    if Story::find(editor.doc(), &new.item().story_id).is_some() {
        return Err(BoardError::Taken { story_id: new.into_item().story_id });
    }
    let op = editor.doc().items.try_push(new.content())?;
    editor.record(op);
    Ok(new.into_item())
}

/// Changes fields of an item; those that already show the value, undisputed, are left alone.
///
/// # Errors
/// [`BoardError::NotFound`].
pub fn patch(
    editor: &mut Editor<'_, PipelineDoc>,
    story_id: &str,
    patch: &Patch,
) -> Result<Item, BoardError> {
    let story = the_story(editor, story_id)?;
    story.set(editor, patch.fields())?;
    Ok(story.item())
}

/// Claims an item for an agent, if nobody else has: `claimed_by` and `claimed_at` in one go.
///
/// Claiming what one has already claimed changes nothing. Of two claims made while apart one wins, the same
/// everywhere, and the other is in [`conflicts`].
///
/// # Errors
/// [`BoardError::Claimed`] by another, [`BoardError::NotFound`], [`BoardError::Empty`] for an agent without
/// a name.
pub fn claim(
    editor: &mut Editor<'_, PipelineDoc>,
    story_id: &str,
    agent: &str,
    now_s: u64,
) -> Result<Item, BoardError> {
    if agent.is_empty() {
        return Err(BoardError::Empty { field: "agent" });
    }
    let story = the_story(editor, story_id)?;
    let by = story.item().claimed_by;
    if by.is_empty() {
        story.set_claim(editor, agent, now_s)?;
    } else if by != agent {
        return Err(BoardError::Claimed { by });
    }
    Ok(story.item())
}

/// Gives a claim up: an agent its own, or with `None` whoever's it is. Unclaimed items stay as they are.
///
/// # Errors
/// [`BoardError::Claimed`] by another than `agent`, [`BoardError::NotFound`].
pub fn release(
    editor: &mut Editor<'_, PipelineDoc>,
    story_id: &str,
    agent: Option<&str>,
) -> Result<Item, BoardError> {
    let story = the_story(editor, story_id)?;
    let by = story.item().claimed_by;
    if !by.is_empty() {
        if agent.is_some_and(|agent| agent != by) {
            return Err(BoardError::Claimed { by });
        }
        story.set_claim(editor, "", 0)?;
    }
    Ok(story.item())
}

/// Removes an item and returns what it was.
///
/// # Errors
/// [`BoardError::NotFound`].
pub fn remove(editor: &mut Editor<'_, PipelineDoc>, story_id: &str) -> Result<Item, BoardError> {
    let story = the_story(editor, story_id)?;
    let item = story.item();
    story.delete(editor)?;
    Ok(item)
}

fn the_story<'a>(editor: &Editor<'a, PipelineDoc>, story_id: &str) -> Result<Story<'a>, BoardError> {
    Story::find(editor.doc(), story_id).ok_or_else(|| BoardError::NotFound { story_id: story_id.to_owned() })
}

/// Why something cannot be done with the board. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// No item of that id; it may have been removed.
    #[error("no item {story_id}")]
    NotFound {
        /// The id asked for.
        story_id: String,
    },
    /// The id is in use. Choose another, or change that item.
    #[error("there is already an item {story_id}")]
    Taken {
        /// The id.
        story_id: String,
    },
    /// Another agent has the item. Take another one, or wait until it is released.
    #[error("claimed by {by}")]
    Claimed {
        /// Who has it.
        by: String,
    },
    /// What was given is not a JSON object.
    #[error("an item is a JSON object")]
    NotAnObject,
    /// Items have no such field.
    #[error("unknown field {field}")]
    UnknownField {
        /// Its name, as given.
        field: String,
    },
    /// A field that must be given was not.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: Field,
    },
    /// A field or argument must not be empty.
    #[error("{field} must not be empty")]
    Empty {
        /// Its name.
        field: &'static str,
    },
    /// The field holds another type.
    #[error("{field} must be {}, not {found}", .field.expects())]
    WrongType {
        /// The field.
        field: Field,
        /// What was given, in words.
        found: &'static str,
    },
    /// The field cannot be changed. Add another item and remove this one.
    #[error("{field} cannot be changed")]
    Fixed {
        /// The field.
        field: Field,
    },
    /// The engine refuses the content: too large or too deep.
    #[error(transparent)]
    Edit(#[from] EditError),
}
