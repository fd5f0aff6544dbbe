//! What people, scripts and nodes do, generated.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A script writes the database; with whether it raises the version.
    Write(Value, bool),
    /// Somebody edits on a node.
    Edit(usize, Value),
    /// A node that has the source follows the database.
    Follow(usize),
    /// A node hears another one.
    Hear(usize, usize),
}

pub(crate) fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), (0i64..3).prop_map(|n| json!(format!("v{n}"))), Just(json!(""))]
}

fn lines() -> impl Strategy<Value = Value> {
    prop::collection::vec("[ab]{0,3}", 0..4).prop_map(|lines| json!(lines.join("\n")))
}

/// One field of the root, or of a row, or a row as a whole: as a merge patch.
pub(crate) fn patch(owns: bool) -> impl Strategy<Value = Value> {
    let root = prop_oneof![
        scalar().prop_map(|value| json!({"name": value})),
        (0i64..4).prop_map(|value| json!({"concurrency": value})),
        scalar().prop_map(|value| json!({"note": value})),
        scalar().prop_map(move |value| if owns { json!({"owner": value}) } else { json!({"color": value}) }),
        prop_oneof![lines(), Just(Value::Null)].prop_map(|value| json!({"about": value})),
    ];
    let key = || any::<Index>().prop_map(|at| format!("j{}", at.index(4)));
    let job = prop_oneof![
        scalar().prop_map(|value| json!({"name": value})),
        lines().prop_map(|value| json!({"body": value})),
        scalar().prop_map(|value| json!({"adaptor": value})),
        (0i64..4).prop_map(|value| json!({"position": value})),
    ];
    prop_oneof![
        3 => root,
        4 => (key(), job).prop_map(|(key, job)| json!({"jobs": {key: job}})),
        1 => key().prop_map(|key| json!({"jobs": {key: null}})),
        1 => (key(), any::<bool>()).prop_map(|(key, on)| json!({"edges": {"e1": {"source_job_id": key, "enabled": on, "weight": 5.0}}})),
        1 => Just(json!({"edges": {"e1": null}})),
    ]
}

pub(crate) fn steps(nodes: usize) -> impl Strategy<Value = Vec<Step>> {
    let node = move || 0..nodes;
    let step = prop_oneof![
        3 => (patch(true), any::<bool>()).prop_map(|(patch, raises)| Step::Write(patch, raises)),
        4 => (node(), patch(false)).prop_map(|(node, patch)| Step::Edit(node, patch)),
        3 => node().prop_map(Step::Follow),
        3 => (node(), node()).prop_map(|(a, b)| Step::Hear(a, b)),
    ];
    prop::collection::vec(step, 1..40)
}

/// Jobs and edges that are new come whole: as a database has them.
pub(crate) fn whole(patch: &Value, content: &Value) -> Value {
    let mut patch = patch.clone();
    let begin = |list: &str, template: Value, patch: &mut Value| {
        for (key, row) in patch[list].as_object_mut().into_iter().flatten() {
            if !row.is_null() && content[list][key].is_null() {
                let mut begun = template.clone();
                super::world::merge(&mut begun, row);
                *row = begun;
            }
        }
        if patch[list].is_null() {
            patch.as_object_mut().unwrap().remove(list);
        }
    };
    begin("jobs", json!({"name": "new", "body": "", "adaptor": null, "position": 0}), &mut patch);
    begin("edges", json!({"source_job_id": null, "enabled": true, "weight": 0.0}), &mut patch);
    patch
}
