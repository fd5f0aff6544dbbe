//! Items as plain values: as they are shown, as they are asked for, and the check of every field.

use bft_json_crdt::JsonValue;
use serde::{Deserialize, Serialize, Serializer};

use crate::{board::BoardError, field::Field};

/// Where a new item starts.
const STAGE_DEFAULT: &str = "1_backlog";

/// An item of the board as a plain value: what the HTTP interface answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Names the item.
    pub story_id: String,
    /// The column.
    pub stage: String,
    /// The title.
    pub name: String,
    /// Who works on it.
    pub agent: String,
    /// How often it was tried again.
    #[serde(serialize_with = "number")]
    pub retry_count: f64,
    /// Whether it waits for something.
    pub blocked: bool,
    /// What it waits for.
    pub depends_on: String,
    /// Who has claimed it; empty when unclaimed.
    pub claimed_by: String,
    /// When, in seconds since 1970; 0 when unclaimed.
    #[serde(serialize_with = "number")]
    pub claimed_at: f64,
}

impl Item {
    /// Returns the value of a field; integral numbers as integers.
    pub fn value(&self, field: Field) -> JsonValue {
        match field {
            Field::StoryId => JsonValue::String(self.story_id.clone()),
            Field::Stage => JsonValue::String(self.stage.clone()),
            Field::Name => JsonValue::String(self.name.clone()),
            Field::Agent => JsonValue::String(self.agent.clone()),
            Field::RetryCount => plain_number(self.retry_count),
            Field::Blocked => JsonValue::Bool(self.blocked),
            Field::DependsOn => JsonValue::String(self.depends_on.clone()),
            Field::ClaimedBy => JsonValue::String(self.claimed_by.clone()),
            Field::ClaimedAt => plain_number(self.claimed_at),
        }
    }

    /// Sets a field from a value of any type.
    ///
    /// # Errors
    /// [`BoardError::WrongType`], and nothing was set.
    fn set(&mut self, field: Field, value: &JsonValue) -> Result<(), BoardError> {
        let wrong = || BoardError::WrongType { field, found: kind(value) };
        let text = || value.as_str().map(str::to_owned).ok_or_else(wrong);
        let number = || value.as_f64().filter(|number| number.is_finite()).ok_or_else(wrong);
        match field {
            Field::StoryId => self.story_id = text()?,
            Field::Stage => self.stage = text()?,
            Field::Name => self.name = text()?,
            Field::Agent => self.agent = text()?,
            Field::RetryCount => self.retry_count = number()?,
            Field::Blocked => self.blocked = value.as_bool().ok_or_else(wrong)?,
            Field::DependsOn => self.depends_on = text()?,
            Field::ClaimedBy => self.claimed_by = text()?,
            Field::ClaimedAt => self.claimed_at = number()?,
        }
        Ok(())
    }

    fn with_defaults(story_id: String) -> Self {
        Self {
            story_id,
            stage: STAGE_DEFAULT.to_owned(),
            name: String::new(),
            agent: String::new(),
            retry_count: 0.0,
            blocked: false,
            depends_on: String::new(),
            claimed_by: String::new(),
            claimed_at: 0.0,
        }
    }
}

/// An item that is to be added: checked, with defaults where nothing was said.
#[derive(Clone, Debug, PartialEq)]
pub struct NewItem(Item);

impl NewItem {
    /// Returns a new item with every other field at its default: stage `1_backlog`, empty, 0, false.
    pub fn new(story_id: impl Into<String>) -> Self {
        Self(Item::with_defaults(story_id.into()))
    }

    /// Checks a JSON object with `story_id` and any of the other fields.
    ///
    /// # Errors
    /// [`BoardError`] naming the field that is missing, unknown, empty or of a wrong type.
    pub fn from_json(value: impl Into<JsonValue>) -> Result<Self, BoardError> {
        let mut item = Item::with_defaults(String::new());
        let mut has_story_id = false;
        for (field, value) in fields(value.into())? {
            has_story_id |= field == Field::StoryId;
            item.set(field, &value)?;
        }
        if !has_story_id {
            return Err(BoardError::Missing { field: Field::StoryId });
        }
        Self(item).check()
    }

    /// Sets another field than the default says.
    ///
    /// # Errors
    /// [`BoardError::WrongType`] if the value does not fit the field.
    pub fn with(mut self, field: Field, value: impl Into<JsonValue>) -> Result<Self, BoardError> {
        self.0.set(field, &value.into())?;
        Ok(self)
    }

    /// Returns the item as it will show.
    pub fn item(&self) -> &Item {
        &self.0
    }

    pub(crate) fn check(self) -> Result<Self, BoardError> {
        if self.0.story_id.is_empty() {
            return Err(BoardError::Empty { field: "story_id" });
        }
        Ok(self)
    }

    /// Returns what is inserted into the list of items: all nine fields.
    pub(crate) fn content(&self) -> JsonValue {
        let fields = Field::ALL.into_iter().map(|field| (field.name().to_owned(), stored(&self.0, field)));
        JsonValue::Object(fields.collect())
    }

    pub(crate) fn into_item(self) -> Item {
        self.0
    }
}

/// Fields of an item that are to be changed: checked, each at most once, never `story_id`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(Vec<(Field, JsonValue)>);

impl Patch {
    /// Returns a patch that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks a JSON object with any of the fields but `story_id`.
    ///
    /// # Errors
    /// [`BoardError`] naming the field that is unknown, of a wrong type, or may not be changed.
    pub fn from_json(value: impl Into<JsonValue>) -> Result<Self, BoardError> {
        fields(value.into())?
            .into_iter()
            .try_fold(Self::new(), |patch, (field, value)| patch.set(field, value))
    }

    /// Adds a field; the last value for a field counts.
    ///
    /// # Errors
    /// [`BoardError::WrongType`] if the value does not fit, [`BoardError::Fixed`] for `story_id`.
    pub fn set(mut self, field: Field, value: impl Into<JsonValue>) -> Result<Self, BoardError> {
        if field == Field::StoryId {
            return Err(BoardError::Fixed { field });
        }
        let mut checked = Item::with_defaults(String::new());
        checked.set(field, &value.into())?;
        self.0.retain(|(other, _)| *other != field);
        self.0.push((field, stored(&checked, field)));
        // Always in the order of the fields, as claims have it.
        self.0.sort_by_key(|(field, _)| *field);
        Ok(self)
    }

    /// Returns whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn fields(&self) -> &[(Field, JsonValue)] {
        &self.0
    }
}

/// Makes an item of what its registers show.
///
/// A register shows only what fits its type, so what does not is left at a default.
pub(crate) fn from_registers(read: impl Fn(Field) -> Option<JsonValue>) -> Item {
    let mut item = Item { stage: String::new(), ..Item::with_defaults(String::new()) };
    for field in Field::ALL {
        if let Some(value) = read(field) {
            let _ = item.set(field, &value);
        }
    }
    item
}

/// Returns a value of a field in the form in which it shows: integral numbers as integers.
pub(crate) fn shown(value: JsonValue) -> JsonValue {
    match value {
        JsonValue::Number(number) => plain_number(number),
        JsonValue::Null
        | JsonValue::Bool(_)
        | JsonValue::Integer(_)
        | JsonValue::String(_)
        | JsonValue::Text(_)
        | JsonValue::Array(_)
        | JsonValue::Object(_) => value,
    }
}

fn stored(item: &Item, field: Field) -> JsonValue {
    match field {
        Field::RetryCount => JsonValue::Number(item.retry_count),
        Field::ClaimedAt => JsonValue::Number(item.claimed_at),
        Field::StoryId
        | Field::Stage
        | Field::Name
        | Field::Agent
        | Field::Blocked
        | Field::DependsOn
        | Field::ClaimedBy => item.value(field),
    }
}

fn fields(value: JsonValue) -> Result<Vec<(Field, JsonValue)>, BoardError> {
    let JsonValue::Object(members) = value else { return Err(BoardError::NotAnObject) };
    members
        .into_iter()
        .map(|(name, value)| match Field::from_name(&name) {
            Some(field) => Ok((field, value)),
            None => Err(BoardError::UnknownField { field: name }),
        })
        .collect()
}

fn kind(value: &JsonValue) -> &'static str {
    match value {
        JsonValue::Null => "null",
        JsonValue::Bool(_) => "true or false",
        JsonValue::Integer(_) => "an integer",
        JsonValue::Number(number) if !number.is_finite() => "a number out of range",
        JsonValue::Number(_) => "a number",
        JsonValue::String(_) => "a string",
        JsonValue::Text(_) => "a text",
        JsonValue::Array(_) => "an array",
        JsonValue::Object(_) => "an object",
    }
}

/// Integers up to here are exact in a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn plain_number(number: f64) -> JsonValue {
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        JsonValue::Integer(number as i128)
    } else {
        JsonValue::Number(number)
    }
}

fn number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_shows_nine_fields_in_order() {
        let item = NewItem::from_json(json!({"story_id": "s", "retry_count": 2, "claimed_at": 1.5})).unwrap();
        assert_eq!(
            serde_json::to_string(item.item()).unwrap(),
            r#"{"story_id":"s","stage":"1_backlog","name":"","agent":"","retry_count":2,"blocked":false,"depends_on":"","claimed_by":"","claimed_at":1.5}"#
        );
    }

    #[test]
    fn every_refusal_names_its_field() {
        #[track_caller]
        fn check(value: serde_json::Value, expected: &str) {
            assert_eq!(NewItem::from_json(value).unwrap_err().to_string(), expected);
        }
        check(json!([1]), "an item is a JSON object");
        check(json!({}), "story_id is missing");
        check(json!({"story_id": ""}), "story_id must not be empty");
        check(json!({"story_id": 7}), "story_id must be a string, not an integer");
        check(json!({"story_id": null}), "story_id must be a string, not null");
        check(json!({"story_id": "s", "blocked": "yes"}), "blocked must be true or false, not a string");
        check(json!({"story_id": "s", "retry_count": "2"}), "retry_count must be a number, not a string");
        check(json!({"story_id": "s", "claimed_at": [1]}), "claimed_at must be a number, not an array");
        check(json!({"story_id": "s", "colour": 1}), "unknown field colour");
        check(json!({"story_id": "s", "Stage": "x"}), "unknown field Stage");
    }

    #[test]
    fn a_patch_never_renames() {
        assert_eq!(
            Patch::from_json(json!({"stage": "2_current", "story_id": "t"})).unwrap_err().to_string(),
            "story_id cannot be changed"
        );
        assert!(Patch::from_json(json!({})).unwrap().is_empty());
    }

    #[test]
    fn numbers_print_as_they_were_meant() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (3.0, "3"),
            (1.25, "1.25"),
            (1e300, "1e300"),
            (1_760_000_000.0, "1760000000"),
        ] {
            let item = NewItem::new("s").with(Field::ClaimedAt, JsonValue::Number(number)).unwrap();
            let shown = serde_json::to_value(item.item()).unwrap()["claimed_at"].to_string();
            assert_eq!(shown, text.replace("1e300", "1e+300"));
        }
        let infinite = NewItem::new("s").with(Field::RetryCount, JsonValue::Number(f64::INFINITY));
        assert_eq!(
            infinite.unwrap_err().to_string(),
            "retry_count must be a number, not a number out of range"
        );
    }
}
