//! What the rows of a mirror have in fields that the document owns, where the document has something else.
//!
//! A mirror's batch is signed at heads that have people's edits, so what the document was there does not tell which of them
//! are saved. In a merge it does, and nothing is noted.

use std::collections::BTreeMap;

use bft_json_crdt::JsonValue;

use crate::layout::{Layout, OWNED};
use crate::limits::OWNED_BYTES_MAX;
use crate::mapping::Mode;
use crate::path::Path;
use crate::unsaved::at;

/// Values of the rows, by place.
pub(crate) type Owned = BTreeMap<Path, JsonValue>;

/// What a content says of it.
pub(crate) fn owned(layout: &Layout, content: &JsonValue) -> Owned {
    let text = content.get(OWNED).filter(|_| layout.mode == Mode::Mirror).and_then(JsonValue::as_str);
    let noted: BTreeMap<String, serde_json::Value> =
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let each = noted.into_iter().filter_map(|(place, value)| Some((place.parse().ok()?, value.into())));
    each.collect()
}

/// As it stands in documents: the same bytes on every node. What is over the limit is left out.
pub(crate) fn to_text(owned: &Owned) -> String {
    let mut noted: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    let mut bytes = 0;
    for (place, value) in owned {
        let place = place.to_string();
        bytes += place.len() + value.as_str().map_or(8, str::len);
        if bytes > OWNED_BYTES_MAX {
            break;
        }
        noted.insert(place, value.clone().into());
    }
    serde_json::to_string(&noted).unwrap_or_default()
}

/// Returns what the rows had at a place when the document last followed them, from what it was there.
#[must_use]
pub fn followed_at(layout: &Layout, base: &JsonValue, place: &Path) -> Option<JsonValue> {
    owned(layout, base).remove(place).or_else(|| at(base, place).cloned())
}
