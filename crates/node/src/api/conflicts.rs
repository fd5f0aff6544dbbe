//! Conflicts of the whole board in one pass, and how they are shown.

use std::collections::BTreeMap;

use bft_json_crdt::json_crdt::BaseCrdt;
use bft_json_crdt::keypair::AuthorId;
use gangline_doc::PipelineDoc;
use gangline_doc::board::{self, FieldConflict};
use serde_json::{Value, json};

/// Every item with values that do not show. O(board), and a lookup for each item in conflict.
pub(super) fn all(base: &BaseCrdt<PipelineDoc>) -> BTreeMap<String, Vec<FieldConflict>> {
    let mut candidates: BTreeMap<String, bool> = BTreeMap::new();
    for item in base.doc.items.iter() {
        let bft_json_crdt::json_crdt::JsonValue::String(id) = item.story_id.view() else { continue };
        let disputed = !(item.story_id.conflicts().is_empty()
            && item.stage.conflicts().is_empty()
            && item.name.conflicts().is_empty()
            && item.agent.conflicts().is_empty()
            && item.retry_count.conflicts().is_empty()
            && item.blocked.conflicts().is_empty()
            && item.depends_on.conflicts().is_empty()
            && item.claimed_by.conflicts().is_empty()
            && item.claimed_at.conflicts().is_empty());
        // A second element with this story_id makes a candidate too.
        candidates.entry(id).and_modify(|known| *known = true).or_insert(disputed);
    }
    candidates
        .into_iter()
        .filter(|(_, disputed)| *disputed)
        .filter_map(|(id, _)| {
            let found = board::conflicts(base, &id).ok().filter(|found| !found.is_empty())?;
            Some((id, found))
        })
        .collect()
}

/// As JSON: the field, the value that does not show, and who wrote it, where that is known.
pub(super) fn shown(found: &[FieldConflict], name: &dyn Fn(&AuthorId) -> String) -> Value {
    found
        .iter()
        .map(|conflict| {
            json!({
                "field": conflict.field.name(),
                "value": Value::from(conflict.value.clone()),
                "author": conflict.write.map(|write| write.author.to_string()),
                "author_name": conflict.write.map(|write| name(&write.author)),
                "digest": conflict.write.map(|write| write.digest.to_string()),
                "lamport": conflict.write.map(|write| write.lamport),
            })
        })
        .collect()
}
