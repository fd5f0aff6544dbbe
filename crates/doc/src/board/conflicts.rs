//! The values of an item that do not show: written concurrently, or in an element made while apart.

use bft_json_crdt::{AuthorId, BaseCrdt, Digest, JsonValue, json_crdt::Conflict};

use super::{BoardError, story::Story};
use crate::{field::Field, item::shown, pipeline::PipelineDoc};

/// A value that an item keeps beside the one it shows. Setting the field settles it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldConflict {
    /// The field.
    pub field: Field,
    /// The value that does not show.
    pub value: JsonValue,
    /// The write, where it competed with the one that shows; unknown for what a duplicate shows.
    pub write: Option<Write>,
}

/// Who wrote a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The author.
    pub author: AuthorId,
    /// The change.
    pub digest: Digest,
    /// Its logical time.
    pub lamport: u64,
}

/// Returns the values of an item that do not show, in the order of its fields; equal ones once.
///
/// # Errors
/// [`BoardError::NotFound`].
pub fn conflicts(base: &BaseCrdt<PipelineDoc>, story_id: &str) -> Result<Vec<FieldConflict>, BoardError> {
    let story = Story::find(&base.doc, story_id)
        .ok_or_else(|| BoardError::NotFound { story_id: story_id.to_owned() })?;
    let item = story.item();
    let mut found = Vec::new();
    for field in Field::ALL {
        let shows = item.value(field);
        let mut of_field: Vec<FieldConflict> = Vec::new();
        let mut add = |value: JsonValue, write| {
            let value = shown(value);
            if value != shows && of_field.iter().all(|known| known.value != value) {
                of_field.push(FieldConflict { field, value, write });
            }
        };
        for element in story.elements() {
            for Conflict { value, author, digest, lamport, .. } in element.conflicts(field) {
                add(value, Some(Write { author, digest, lamport }));
            }
        }
        for element in story.elements() {
            // That a duplicate is unclaimed disputes nobody's claim.
            if !matches!(field, Field::ClaimedBy | Field::ClaimedAt) || element.is_claimed() {
                add(element.value(field), None);
            }
        }
        found.append(&mut of_field);
    }
    Ok(found)
}
