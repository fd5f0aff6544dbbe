//! Rounds of edits, imports, saves and choices, beside what the oracle says of them.

use gangline_reconcile::{Layout, Mode, Take};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::generated::{scalar, whole};
use super::oracle::Oracle;
use super::world::{Database, Node, Open, merge, shape, write_rows};

#[derive(Clone, Debug)]
enum Round {
    Mine(Value),
    Theirs(Value),
    /// Somebody types into the own line of a text: of the root, or of a job.
    Type(bool, Option<String>),
    Follow,
    Save,
    Resolve(Index, Take),
}

fn key() -> impl Strategy<Value = String> {
    (0..3).prop_map(|n| format!("j{n}"))
}

fn patch(is_mine: bool) -> impl Strategy<Value = Value> {
    let number = || 0i64..4;
    let root = prop_oneof![
        scalar().prop_map(|value| json!({"name": value})),
        number().prop_map(|value| json!({"concurrency": value})),
        scalar().prop_map(|value| json!({"note": value})),
        scalar().prop_map(move |value| if is_mine {
            json!({"color": value})
        } else {
            json!({"owner": value})
        }),
    ];
    let job = prop_oneof![
        scalar().prop_map(|value| json!({"name": value})),
        scalar().prop_map(|value| json!({"adaptor": value})),
        number().prop_map(|value| json!({"position": value})),
        (scalar(), number()).prop_map(|(value, n)| json!({"name": value, "adaptor": value, "position": n})),
    ];
    let edge = prop_oneof![
        key().prop_map(|key| json!({"source_job_id": key})),
        any::<bool>().prop_map(|on| json!({"enabled": on})),
        number().prop_map(|n| json!({"weight": n as f64 / 2.0})),
    ];
    prop_oneof![
        2 => root,
        4 => (key(), job).prop_map(|(key, job)| json!({"jobs": {key: job}})),
        2 => key().prop_map(|key| json!({"jobs": {key: null}})),
        1 => edge.prop_map(|edge| json!({"edges": {"e1": edge}})),
        1 => Just(json!({"edges": {"e1": null}})),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let place = || prop_oneof![Just(None), key().prop_map(Some)];
    let take = prop_oneof![Just(Take::Theirs), Just(Take::Mine)];
    prop_oneof![
        6 => patch(true).prop_map(Round::Mine),
        4 => patch(false).prop_map(Round::Theirs),
        2 => (any::<bool>(), place()).prop_map(|(is_mine, place)| Round::Type(is_mine, place)),
        4 => Just(Round::Follow),
        1 => Just(Round::Save),
        2 => (any::<Index>(), take).prop_map(|(at, take)| Round::Resolve(at, take)),
    ]
}

/// The text at a place with a new line of one side.
fn typed(content: &Value, job: Option<&str>, is_mine: bool, line: usize) -> Option<Value> {
    let old = match job {
        None => &content["about"],
        Some(job) => content["jobs"].get(job)?.get("body")?,
    };
    let lines: Vec<&str> = old.as_str()?.lines().collect();
    let line = format!("{}{line}", if is_mine { 'm' } else { 't' });
    let new = match (&lines[..], is_mine) {
        ([_, "--", last], false) => format!("{line}\n--\n{last}\n"),
        ([first, "--", _], true) => format!("{first}\n--\n{line}\n"),
        // What has no lines yet gets them from the database.
        (_, false) => format!("{line}\n--\nm\n"),
        (_, true) => return None,
    };
    Some(match job {
        None => json!({"about": new}),
        Some(job) => json!({"jobs": {job: {"body": new}}}),
    })
}

fn sorted(mut open: Vec<Open>) -> Vec<Open> {
    open.sort_by(|a, b| a.0.cmp(&b.0));
    open
}

fn play(rounds: &[Round]) -> Result<(), TestCaseError> {
    let shape = shape(Mode::Merge);
    let mut database = Database::new();
    merge(&mut database.content, &json!({"about": "t\n--\nm\n", "jobs": {"j1": {"body": "t\n--\nm\n"}}}));
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    let mut oracle = Oracle::new(Layout::of(&shape), &database.content);
    for (number, round) in rounds.iter().enumerate() {
        match round {
            Round::Mine(patch) => {
                let patch = whole(patch, &oracle.view());
                if oracle.is_in_reach(&patch, &database.content) {
                    alice.patch(&shape, patch.clone());
                    oracle.edit(&patch);
                }
            }
            Round::Theirs(patch) => {
                let mut patch = whole(patch, &database.content);
                for list in ["jobs", "edges"] {
                    if let Some(rows) = patch[list].as_object_mut() {
                        rows.retain(|key, _| {
                            // What it deletes it puts anew only when the document has followed that.
                            database.content[list].get(key).is_some() || !oracle.is_taken(list, key)
                        });
                    } else {
                        patch.as_object_mut().unwrap().remove(list);
                    }
                }
                write_rows(&mut database.content, &patch);
            }
            Round::Type(true, job) => {
                if let Some(patch) = typed(&oracle.view(), job.as_deref(), true, number) {
                    alice.patch(&shape, patch.clone());
                    oracle.edit(&patch);
                }
            }
            Round::Type(false, job) => {
                if let Some(patch) = typed(&database.content, job.as_deref(), false, number) {
                    write_rows(&mut database.content, &patch);
                }
            }
            Round::Follow => follow(&shape, &database, &mut alice, &mut oracle),
            Round::Save => {
                follow(&shape, &database, &mut alice, &mut oracle);
                let plan = alice.save(&shape, &mut database);
                if !plan.writes.is_empty() {
                    oracle.save();
                    prop_assert_eq!(&database.content, &oracle.view(), "a save writes what shows");
                }
            }
            Round::Resolve(at, take) => {
                let open = oracle.open();
                let mut resolved = oracle.clone();
                if let Some(open) = open.get(at.index(open.len().max(1)))
                    && !(is_deleted_there(open) && has(&database.content, &open.0))
                    && resolved.resolve(open, *take)
                {
                    alice.resolve(&shape, &open.0, *take);
                    oracle = resolved;
                }
            }
        }
        prop_assert_eq!(alice.view(), oracle.view(), "after {} {:?}", number, round);
        prop_assert_eq!(sorted(alice.open()), oracle.open(), "after {} {:?}", number, round);
    }
    Ok(())
}

fn is_deleted_there(open: &Open) -> bool {
    open.1.is_none()
}

fn has(content: &Value, row: &str) -> bool {
    content.pointer(&format!("/{}", row.replace('.', "/"))).is_some()
}

fn follow(shape: &gangline_reconcile::Shape, database: &Database, alice: &mut Node, oracle: &mut Oracle) {
    alice.reconcile(shape, &database.rows(shape));
    oracle.follow(&database.content);
}

proptest! {
    #![proptest_config(super::cases(256))]

    #[test]
    fn a_document_shows_and_lists_what_the_oracle_says(rounds in prop::collection::vec(round(), 1..40)) {
        play(&rounds)?;
    }
}
