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
