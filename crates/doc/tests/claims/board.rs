//! The board: claims that race, stories that were added twice while apart, and the history of an item.

use bft_json_crdt::{JsonValue, keypair::Keypair};
use gangline_doc::{
    BoardError, EditFailed, Field, FieldConflict, Item, LogSeq, NewItem, OriginId, Patch,
    board::{self, Action},
};
use serde_json::json;

use crate::{Board, add, deliver, replica, story_ids};

/// Runs one board function as an edit and drops its ticket.
fn edit<R>(
    board: &Board,
    f: impl FnOnce(&mut gangline_doc::Editor<'_, gangline_doc::PipelineDoc>) -> Result<R, BoardError>,
) -> Result<R, BoardError> {
    match board.edit(1_000, f) {
        Ok((result, _ticket)) => Ok(result),
        Err(EditFailed::Refused(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

fn claim(board: &Board, story_id: &str, agent: &str, now_s: u64) -> Result<Item, BoardError> {
    edit(board, |editor| board::claim(editor, story_id, agent, now_s))
}

fn patch(board: &Board, story_id: &str, fields: serde_json::Value) -> Result<Item, BoardError> {
    edit(board, |editor| board::patch(editor, story_id, &Patch::from_json(fields)?))
}

fn add_with(board: &Board, fields: serde_json::Value) -> Item {
    edit(board, |editor| board::add(editor, NewItem::from_json(fields)?)).unwrap()
}

fn find(board: &Board, story_id: &str) -> Option<Item> {
    board.read(|base| board::find(base, story_id)).0
}

fn conflicts(board: &Board, story_id: &str) -> Vec<(Field, JsonValue)> {
    let conflicts = board.read(|base| board::conflicts(base, story_id)).0.unwrap();
    conflicts.into_iter().map(|FieldConflict { field, value, .. }| (field, value)).collect()
}

fn exchange(a: &Board, b: &Board) {
    deliver(a, b);
    deliver(b, a);
}

#[test]
fn items_are_added_changed_and_removed() {
    let board = replica(1);
    let added = add_with(&board, json!({"story_id": "s", "name": "First", "retry_count": 2}));
    assert_eq!(find(&board, "s"), Some(added));
    assert_eq!(
        edit(&board, |editor| board::add(editor, NewItem::new("s"))),
        Err(BoardError::Taken { story_id: "s".to_owned() })
    );
    assert_eq!(
        edit(&board, |editor| board::add(editor, NewItem::new(""))),
        Err(BoardError::Empty { field: "story_id" })
    );
    let _ticket = add(&board, "t");
    let before = board.stats().changes;
    let item = patch(&board, "s", json!({"stage": "2_current", "blocked": true, "retry_count": 2})).unwrap();
    assert_eq!((item.stage.as_str(), item.blocked, item.retry_count), ("2_current", true, 2.0));
    assert_eq!(board.stats().changes, before + 2, "a field that shows the value already is left alone");
    assert!(matches!(patch(&board, "no", json!({})), Err(BoardError::NotFound { .. })));
    assert_eq!(story_ids(&board), ["s", "t"]);
    edit(&board, |editor| board::remove(editor, "s")).unwrap();
    assert_eq!(story_ids(&board), ["t"]);
    assert!(matches!(edit(&board, |editor| board::remove(editor, "s")), Err(BoardError::NotFound { .. })));
}

#[test]
fn a_claim_is_one_agents() {
    let board = replica(1);
    let _ticket = add(&board, "s");
    let item = claim(&board, "s", "ann", 100).unwrap();
    assert_eq!((item.claimed_by.as_str(), item.claimed_at), ("ann", 100.0));
    let changes = board.stats().changes;
    assert_eq!(claim(&board, "s", "ann", 200).unwrap().claimed_at, 100.0, "one's own claim stays as it is");
    assert_eq!(board.stats().changes, changes);
    let taken = Err(BoardError::Claimed { by: "ann".to_owned() });
    assert_eq!(claim(&board, "s", "bob", 200), taken);
    assert_eq!(edit(&board, |editor| board::release(editor, "s", Some("bob"))), taken);
    let item = edit(&board, |editor| board::release(editor, "s", Some("ann"))).unwrap();
    assert_eq!((item.claimed_by.as_str(), item.claimed_at), ("", 0.0));
    let changes = board.stats().changes;
    edit(&board, |editor| board::release(editor, "s", None)).unwrap();
    assert_eq!(board.stats().changes, changes, "nothing to release");
    assert_eq!(claim(&board, "s", "bob", 300).unwrap().claimed_by, "bob");
    assert_eq!(edit(&board, |editor| board::release(editor, "s", None)).unwrap().claimed_by, "");
    assert_eq!(claim(&board, "s", "", 1), Err(BoardError::Empty { field: "agent" }));
    assert!(matches!(claim(&board, "no", "ann", 1), Err(BoardError::NotFound { .. })));
}

#[test]
fn of_two_claims_made_apart_one_wins_everywhere_and_the_other_is_a_conflict() {
    let (a, b) = (replica(1), replica(2));
    let _ticket = add(&a, "s");
    exchange(&a, &b);
    claim(&a, "s", "ann", 100).unwrap();
    claim(&b, "s", "bob", 200).unwrap();
    exchange(&a, &b);

    let item = find(&a, "s").unwrap();
    assert_eq!(find(&b, "s"), Some(item.clone()));
    let (loser, loser_at) = if item.claimed_by == "ann" { ("bob", 200) } else { ("ann", 100) };
    assert_eq!(item.claimed_at, if loser == "bob" { 100.0 } else { 200.0 }, "one agent has both fields");
    let expected = [
        (Field::ClaimedBy, JsonValue::String(loser.to_owned())),
        (Field::ClaimedAt, JsonValue::Integer(loser_at)),
    ];
    assert_eq!(conflicts(&a, "s"), expected);
    assert_eq!(conflicts(&b, "s"), expected);
    let seed = if loser == "ann" { 1 } else { 2 };
    let full = a.read(|base| board::conflicts(base, "s")).0.unwrap();
    assert_eq!(full[0].write.unwrap().author, Keypair::from_seed(&[seed; 32]).author());

    assert_eq!(claim(&a, "s", loser, 300), Err(BoardError::Claimed { by: item.claimed_by.clone() }));
    edit(&b, |editor| board::release(editor, "s", Some(&item.claimed_by))).unwrap();
    exchange(&a, &b);
    assert_eq!(conflicts(&a, "s"), []);
    assert_eq!(claim(&a, "s", loser, 300).unwrap().claimed_by, loser);
}

/// The two changes of a claim may arrive one by one. Somebody who sees only `claimed_by` and releases it left
/// `claimed_at` of the claim behind, since what showed 0 was not written.
#[test]
fn a_claim_that_arrives_in_halves_is_released_as_a_whole() {
    let (a, b) = (replica(1), replica(2));
    let _ticket = add(&a, "s");
    claim(&a, "s", "ann", 100).unwrap();
    let changes: Vec<_> =
        crate::entries(&a, LogSeq::START).iter().map(|entry| entry.change().clone()).collect();
    let (_, _ticket) = b.apply(1, OriginId(1), changes[..2].to_vec()).unwrap();
    edit(&b, |editor| board::release(editor, "s", None)).unwrap();
    exchange(&a, &b);
    let item = find(&a, "s").unwrap();
    assert_eq!((item.claimed_by.as_str(), item.claimed_at), ("", 0.0));
    assert_eq!(find(&b, "s"), Some(item));
}

#[test]
fn a_story_added_twice_while_apart_is_one_item() {
    let (a, b) = (replica(1), replica(2));
    add_with(&a, json!({"story_id": "s", "name": "from a", "retry_count": 1}));
    add_with(&b, json!({"story_id": "s", "name": "from b", "stage": "2_current", "retry_count": 1}));
    let _ticket = add(&b, "t");
    exchange(&a, &b);

    let item = find(&a, "s").unwrap();
    assert_eq!(find(&b, "s"), Some(item.clone()));
    assert_eq!(story_ids(&a).len(), 2);
    let (other_name, other_stage) =
        if item.name == "from a" { ("from b", "2_current") } else { ("from a", "1_backlog") };
    assert_eq!(
        conflicts(&b, "s"),
        [(Field::Stage, other_stage.into()), (Field::Name, other_name.into())],
        "values that are equal are no conflict"
    );

    // An edit settles its field, whichever element shows.
    let item = patch(&b, "s", json!({"name": "settled"})).unwrap();
    assert_eq!(item.name, "settled");
    exchange(&a, &b);
    assert_eq!(find(&a, "s"), Some(item));
    assert_eq!(conflicts(&a, "s"), [(Field::Stage, other_stage.into())]);

    edit(&a, |editor| board::remove(editor, "s")).unwrap();
    assert_eq!(find(&a, "s"), None, "the duplicate does not come out from behind");
    exchange(&a, &b);
    assert_eq!(story_ids(&b), ["t"]);
    add_with(&b, json!({"story_id": "s", "name": "anew"}));
    exchange(&a, &b);
    assert_eq!(find(&a, "s").unwrap().name, "anew");
}

#[test]
fn a_claim_shows_whichever_duplicate_it_was_made_on() {
    for claimer in [0, 1] {
        let boards = [replica(1), replica(2)];
        for board in &boards {
            let _ticket = add(board, "s");
        }
        claim(&boards[claimer], "s", "ann", 100).unwrap();
        exchange(&boards[0], &boards[1]);
        for board in &boards {
            let item = find(board, "s").unwrap();
            assert_eq!((item.claimed_by.as_str(), item.claimed_at), ("ann", 100.0));
            assert_eq!(conflicts(board, "s"), [], "that the other was unclaimed disputes nothing");
            assert!(matches!(claim(board, "s", "bob", 200), Err(BoardError::Claimed { .. })));
        }
        edit(&boards[1 - claimer], |editor| board::release(editor, "s", None)).unwrap();
        exchange(&boards[0], &boards[1]);
        for board in &boards {
            assert_eq!(find(board, "s").unwrap().claimed_by, "");
        }
    }
}

#[test]
fn duplicates_claimed_by_two_show_one_and_keep_the_other() {
    let (a, b) = (replica(1), replica(2));
    let _tickets = [add(&a, "s"), add(&b, "s")];
    claim(&a, "s", "ann", 100).unwrap();
    claim(&b, "s", "bob", 200).unwrap();
    exchange(&a, &b);
    let item = find(&a, "s").unwrap();
    assert_eq!(find(&b, "s"), Some(item.clone()));
    let loser = if item.claimed_by == "ann" { "bob" } else { "ann" };
    assert!(conflicts(&a, "s").contains(&(Field::ClaimedBy, loser.into())));
    assert_eq!(conflicts(&a, "s"), conflicts(&b, "s"));
}

#[test]
fn history_tells_who_did_what() {
    let (a, b) = (replica(1), replica(2));
    let _ticket = add(&a, "s");
    let _ticket = add(&a, "other");
    exchange(&a, &b);
    patch(&b, "s", json!({"stage": "2_current"})).unwrap();
    exchange(&a, &b);
    claim(&a, "s", "ann", 100).unwrap();

    let history = board::history(&a, "s").unwrap();
    let author = |seed: u8| Keypair::from_seed(&[seed; 32]).author();
    let told: Vec<_> = history.iter().map(|entry| (entry.author, entry.author_seq)).collect();
    assert_eq!(told, [(author(1), 1), (author(2), 1), (author(1), 3), (author(1), 4)]);
    assert!(matches!(&history[0].action, Action::Add(item) if item.get("story_id") == Some(&"s".into())));
    let sets: Vec<_> = history[1..].iter().map(|entry| entry.action.clone()).collect();
    assert_eq!(
        sets,
        [
            Action::Set(Field::Stage, "2_current".into()),
            Action::Set(Field::ClaimedBy, "ann".into()),
            Action::Set(Field::ClaimedAt, JsonValue::Integer(100)),
        ]
    );
    assert!(history.iter().all(|entry| entry.is_vouched));
    assert_eq!(history[0].received_at_ms, 1);
    assert!(history.is_sorted_by(|x, y| x.seq < y.seq));

    patch(&a, "s", json!({"blocked": true})).unwrap();
    assert_eq!(board::history(&a, "s").unwrap().len(), 5, "the index follows the log");
    assert!(board::history(&a, "none").is_err());
}
