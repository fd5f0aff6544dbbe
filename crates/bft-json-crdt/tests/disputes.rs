//! Documents that follow a source: authored at past heads with the source's key, with a rank for each edit; and where
//! edits met is listed, the same on every replica.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, Dispute, JsonCrdt, JsonValue, OpState, PathSegment, Rank, SignError,
};
use bft_json_crdt::keypair::Keypair;
use serde_json::json;

type Replica = BaseCrdt<JsonCrdt>;

fn source() -> Keypair {
    Keypair::from_seed(&[100; 32])
}

fn alice() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn open(key: &Keypair) -> Replica {
    BaseCrdt::of_source(key, &source().author(), "workflow:1")
}

/// What the source says at some heads, and everybody else hears.
fn follow(base: &mut Replica, heads: &[bft_json_crdt::Digest], edit: impl FnOnce(&Replica)) -> Vec<Change> {
    let mut author = base.author_at(heads, source().author()).unwrap();
    author.begin();
    edit(&author);
    let changes = author.commit(&source()).unwrap();
    assert!(base.apply_changes(changes.clone()).states.iter().all(OpState::is_applied));
    changes
}

fn filled() -> (Replica, Vec<bft_json_crdt::Digest>) {
    let mut base = open(&alice());
    let changes = follow(&mut base, &[], |author| {
        author.declare_source("workflow:1").keep().unwrap();
        author.doc.put("name", json!("deploy")).keep().unwrap();
        author.doc.put("note", json!("old")).keep().unwrap();
        author.doc.put("jobs", json!({"j1": {"name": "build"}, "j2": {"name": "ship"}})).keep().unwrap();
    });
    assert_eq!(changes.len(), 1);
    let heads = base.heads();
    (base, heads)
}

fn log_of(base: &Replica) -> Vec<Change> {
    base.history(0, 1_000).iter().filter_map(|entry| base.change(&entry.digest)).collect()
}

fn job(base: &Replica, key: &str) -> JsonCrdt {
    base.doc.at("jobs").unwrap().at(key).unwrap()
}

fn path(dispute: &Dispute) -> String {
    let segments = dispute.path.iter().map(|segment| match segment {
        PathSegment::Key(key) | PathSegment::Field(key) => key.clone(),
        PathSegment::Element(_) => "-".to_owned(),
    });
    segments.collect::<Vec<_>>().join(".")
}

#[test]
fn a_replica_authors_for_the_source_at_past_heads() {
    let (mut base, heads) = filled();
    assert_eq!(base.source_name().as_deref(), Some("workflow:1"));
    base.transact(&alice(), |doc| doc.at("name").unwrap().set("mine").keep()).unwrap();
    let changes = follow(&mut base, &heads, |author| {
        assert_eq!(
            author.doc.at("name").unwrap().view(),
            JsonValue::from("deploy"),
            "it has not seen the edit"
        );
        author.set_rank(Rank::Above);
        author.doc.at("name").unwrap().set("theirs").keep().unwrap();
        author.set_rank(Rank::Below);
        author.doc.at("note").unwrap().set("new").keep().unwrap();
    });
    assert_eq!((changes.len(), changes[0].author()), (1, source().author()));
    assert_eq!(base.doc.at("name").unwrap().view(), JsonValue::from("theirs"));
    assert_eq!(base.doc.at("note").unwrap().view(), JsonValue::from("new"));
    let refused = base.author_at(&heads, source().author()).unwrap_err();
    assert_eq!(refused, SignError::WithoutOwn(changes[0].digest()));
    // Whoever has the same changes authors the same bytes.
    let mut other = open(&Keypair::from_seed(&[2; 32]));
    for change in base.history(0, 9) {
        let _ = other.apply_changes(vec![base.change(&change.digest).unwrap()]);
    }
    let tip = [changes[0].digest()];
    let edit = |author: &Replica| author.doc.at("note").unwrap().set("again").keep().unwrap();
    assert_eq!(follow(&mut base, &tip, edit), follow(&mut other, &tip, edit));
}

#[test]
fn ranks_of_one_change_count_edit_by_edit() {
    let (mut base, heads) = filled();
    for _ in 0..2 {
        base.transact(&alice(), |doc| {
            doc.at("name").unwrap().set("mine").keep()?;
            doc.at("note").unwrap().set("mine").keep()
        })
        .unwrap();
    }
    follow(&mut base, &heads, |author| {
        author.set_rank(Rank::Above);
        author.doc.at("name").unwrap().set("theirs").keep().unwrap();
        author.set_rank(Rank::Below);
        author.doc.at("note").unwrap().set("theirs").keep().unwrap();
    });
    let disputes = base.disputes();
    assert_eq!(disputes.iter().map(path).collect::<Vec<_>>(), ["name", "note"]);
    let sides = |dispute: &Dispute| {
        let shown = dispute.shown.clone().unwrap();
        (shown.value.to_string(), shown.rank, dispute.hidden[0].value.to_string(), dispute.hidden[0].rank)
    };
    let (theirs, mine) = ("\"theirs\"".to_owned(), "\"mine\"".to_owned());
    assert_eq!(sides(&disputes[0]), (theirs.clone(), Rank::Above, mine.clone(), Rank::Edit));
    assert_eq!(sides(&disputes[1]), (mine, Rank::Edit, theirs, Rank::Below));
    base.transact(&alice(), |doc| {
        doc.at("name").unwrap().set("chosen").keep()?;
        doc.at("note").unwrap().set("chosen").keep()
    })
    .unwrap();
    assert_eq!(base.disputes(), []);
}

#[test]
fn edits_in_what_the_source_removed_are_listed() {
    let (mut base, heads) = filled();
    base.transact(&alice(), |_| Ok(())).unwrap();
    let name = job(&base, "j1").at("name").unwrap();
    base.transact(&alice(), |_| name.set("mine").keep()).unwrap();
    follow(&mut base, &heads, |author| {
        author.set_rank(Rank::Above);
        author.doc.at("jobs").unwrap().remove("j1").keep().unwrap();
    });
    let disputes = base.disputes();
    assert_eq!(disputes.iter().map(path).collect::<Vec<_>>(), ["jobs.j1"]);
    assert_eq!((disputes[0].shown.clone(), disputes[0].removals.len()), (None, 0));
    assert_eq!(disputes[0].hidden[0].value, JsonValue::from("mine"));
}

#[test]
fn edits_that_left_no_value_in_what_the_source_removed_are_listed_too() {
    let bob = Keypair::from_seed(&[2; 32]);
    let (mut base, _) = filled();
    let jobs = base.doc.at("jobs").unwrap();
    let heads = base.heads();
    let text = |text: &str| JsonValue::Text(text.to_owned());
    follow(&mut base, &heads, |author| {
        let row = |body| JsonValue::Object([("body".to_owned(), text(body))].into());
        for (key, body) in [("cut", "all"), ("typed", ""), ("removed", "")] {
            author.doc.at("jobs").unwrap().put(key, row(body)).keep().unwrap();
        }
    });
    let heads = base.heads();
    let log: Vec<Change> = log_of(&base);
    let mut other = open(&bob);
    assert!(other.apply_changes(log).states.iter().all(OpState::is_applied));
    let body = |base: &Replica, key: &str| job(base, key).at("body").unwrap().as_text().unwrap();
    let splice = |base: &mut Replica, key: &Keypair, job: &str, cut: usize, typed: &str| {
        let text = body(base, job);
        base.transact(key, |_| text.splice(0, cut, typed).into_iter().try_for_each(|op| op.keep())).unwrap()
    };
    let mut edits = splice(&mut base, &alice(), "cut", 3, "");
    edits.extend(base.transact(&alice(), |_| jobs.at("removed").unwrap().remove("body").keep()).unwrap());
    // Two people type into one text.
    edits.extend(splice(&mut base, &alice(), "typed", 0, "A"));
    edits.extend(splice(&mut other, &bob, "typed", 0, "B"));
    let known = |change: &Change| !base.contains(&change.digest());
    let from_bob: Vec<Change> = edits.iter().filter(|change| known(change)).cloned().collect();
    let _ = base.apply_changes(from_bob);
    let removals = follow(&mut base, &heads, |author| {
        author.set_rank(Rank::Above);
        for key in ["cut", "typed", "removed"] {
            author.doc.at("jobs").unwrap().remove(key).keep().unwrap();
        }
    });
    let disputes = base.disputes();
    assert_eq!(disputes.iter().map(path).collect::<Vec<_>>(), ["jobs.cut", "jobs.removed", "jobs.typed"]);
    assert_eq!((disputes[0].hidden.len(), &disputes[0].hidden[0].value), (1, &JsonValue::Null));
    assert_eq!(disputes[2].hidden.len(), 2, "{:?}", disputes[2]);
    // In any order, and out of a snapshot.
    let mut late = open(&alice());
    let mut changes: Vec<Change> = log_of(&base);
    changes.retain(|change| !removals.contains(change) && !edits.contains(change));
    let _ = late.apply_changes(changes);
    let _ = late.apply_changes(removals);
    let _ = late.apply_changes(edits);
    assert_eq!(late.disputes(), disputes);
    let opened = Replica::open(&alice(), &late.save().unwrap()).unwrap();
    assert_eq!(opened.disputes(), disputes);
}

#[test]
fn edits_in_what_was_removed_are_listed_until_a_put_has_seen_them() {
    let (mut base, heads) = filled();
    let name = job(&base, "j1").at("name").unwrap();
    base.transact(&alice(), |_| name.set("mine").keep()).unwrap();
    let removed = follow(&mut base, &heads, |author| {
        author.set_rank(Rank::Above);
        author.doc.at("jobs").unwrap().remove("j1").keep().unwrap();
    });
    // A put that has not seen them hides them, and they are still to be had.
    follow(&mut base, &[removed[0].digest()], |author| {
        author.set_rank(Rank::Above);
        author.doc.at("jobs").unwrap().put("j1", json!({"name": "anew"})).keep().unwrap();
    });
    let disputes = base.disputes();
    assert_eq!(disputes.iter().map(path).collect::<Vec<_>>(), ["jobs.j1"]);
    assert_eq!(disputes[0].shown.as_ref().unwrap().value, json!({"name": "anew"}).into());
    assert_eq!(disputes[0].hidden[0].value, JsonValue::from("mine"));
    let jobs = base.doc.at("jobs").unwrap();
    base.transact(&alice(), |_| jobs.put("j1", json!({})).keep()).unwrap();
    assert_eq!(base.disputes(), []);
    assert_eq!(job(&base, "j1").view(), json!({"name": "anew"}).into());
}

#[test]
fn a_removal_that_lost_is_listed_until_something_has_seen_it() {
    let (mut base, heads) = filled();
    let jobs = base.doc.at("jobs").unwrap();
    base.transact(&alice(), |_| jobs.remove("j2").keep()).unwrap();
    assert_eq!(base.disputes(), [], "a removal alone meets nothing");
    follow(&mut base, &heads, |author| {
        author.set_rank(Rank::Above);
        job(author, "j2").at("name").unwrap().set("theirs").keep().unwrap();
    });
    let disputes = base.disputes();
    assert_eq!(disputes.iter().map(path).collect::<Vec<_>>(), ["jobs.j2"]);
    assert_eq!(disputes[0].removals.iter().map(|lost| lost.author).collect::<Vec<_>>(), [alice().author()]);
    assert_eq!(job(&base, "j2").at("name").unwrap().view(), JsonValue::from("theirs"));
    let mut kept = base.clone();
    let name = job(&kept, "j2").at("name").unwrap();
    kept.transact(&alice(), |_| name.set("theirs").keep()).unwrap();
    assert_eq!(kept.disputes(), [], "whoever has seen both keeps the entry");
    let jobs = base.doc.at("jobs").unwrap();
    base.transact(&alice(), |_| jobs.remove("j2").keep()).unwrap();
    assert_eq!(base.disputes(), []);
    assert!(base.doc.at("jobs").unwrap().at("j2").is_none());
}

#[test]
fn many_disputes_in_a_list_are_found_at_once() {
    let mut base = open(&alice());
    base.transact(&alice(), |doc| {
        doc.put("rows", json!([])).keep()?;
        let rows = doc.at("rows").unwrap().as_list().unwrap();
        (0..20_000).try_for_each(|n| rows.push(n).keep())
    })
    .unwrap();
    let beginning = log_of(&base);
    for n in [2, 3] {
        let key = Keypair::from_seed(&[n; 32]);
        let mut other = open(&key);
        assert!(other.apply_changes(beginning.clone()).states.iter().all(OpState::is_applied));
        let changes = other.transact(&key, |doc| {
            let rows = doc.at("rows").unwrap().as_list().unwrap();
            (0..20_000).try_for_each(|at| rows[at].set(i64::from(n)).keep())
        });
        assert!(base.apply_changes(changes.unwrap()).states.iter().all(OpState::is_applied));
    }
    // To hash the rows' change for each would be 400 million hashes.
    let disputes = base.disputes();
    assert_eq!(disputes.len(), 20_000);
    assert!(disputes.iter().all(|dispute| dispute.hidden.len() == 1));
}

#[test]
fn disputes_in_two_elements_of_one_id_are_told_in_one_order() {
    let mut beginning = open(&alice());
    beginning.transact(&alice(), |doc| doc.put("rows", json!([])).keep()).unwrap();
    let beginning = log_of(&beginning);
    let heard = |key: &Keypair, changes: &[&[Change]]| {
        let mut base = open(key);
        for changes in changes {
            assert!(base.apply_changes(changes.to_vec()).states.iter().all(OpState::is_applied));
        }
        base
    };
    // One key adds a row on two sides: one op with one number in two changes, hence one id.
    let mallory = Keypair::from_seed(&[66; 32]);
    let sides = [false, true].map(|more| {
        let mut base = heard(&mallory, &[&beginning]);
        let row = base.transact(&mallory, |doc| {
            doc.at("rows").unwrap().as_list().unwrap().push("row").keep()?;
            if more { doc.put("more", 1).keep() } else { Ok(()) }
        });
        let row = row.unwrap();
        // Two people set the row of this side, neither having seen the other.
        let sets = [10, 20].map(|n| {
            let key = Keypair::from_seed(&[n + u8::from(more); 32]);
            let mut base = heard(&key, &[&beginning, &row]);
            let set = |doc: &JsonCrdt| {
                doc.at("rows").unwrap().as_list().unwrap()[0].set(format!("{n} {more}")).keep()
            };
            base.transact(&key, set).unwrap()
        });
        [row, sets.concat()].concat()
    });
    let bob = Keypair::from_seed(&[2; 32]);
    let one = heard(&bob, &[&beginning, &sides[0], &sides[1]]).disputes();
    let other = heard(&bob, &[&beginning, &sides[1], &sides[0]]).disputes();
    assert_eq!((one.len(), path(&one[0]), path(&one[1])), (2, "rows.-".to_owned(), "rows.-".to_owned()));
    assert_eq!(one[0].path, one[1].path);
    assert_eq!(one, other);
}
