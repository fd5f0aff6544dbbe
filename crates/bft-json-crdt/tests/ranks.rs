//! Documents that follow a source of data: what its changes say prevails or gives way by rank, on every replica
//! alike, and nobody else can claim a rank.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, EditError, Invalidity, JsonValue, OpState, Rank, SignError,
    SignedOp, add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Job {
    name: LwwRegisterCrdt<String>,
    body: TextCrdt,
    steps: ListCrdt<LwwRegisterCrdt<String>>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Workflow {
    title: LwwRegisterCrdt<String>,
    jobs: MapCrdt<Job>,
    order: ListCrdt<LwwRegisterCrdt<String>>,
}

type Replica = BaseCrdt<Workflow>;

const NAME: &str = "workflow:1";

fn source() -> Keypair {
    Keypair::from_seed(&[100; 32])
}

fn alice() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn open(key: &Keypair) -> Replica {
    BaseCrdt::of_source(key, &source().author(), NAME)
}

fn text(base: &Replica) -> String {
    CrdtNode::view(&base.doc).to_string()
}

fn edit(base: &mut Replica, key: &Keypair, rank: Rank, edit: impl FnOnce(&Workflow)) -> Vec<Change> {
    base.begin_as(rank);
    edit(&base.doc);
    base.commit(key).unwrap()
}

/// A source's document with a job and three lines in order, and a person's replica of it.
fn pair() -> (Replica, Replica, Vec<Change>) {
    let (mut database, mut person) = (open(&source()), open(&alice()));
    database.begin();
    database.declare_source(NAME).keep().unwrap();
    doc_begins(&database.doc);
    let beginning = database.commit(&source()).unwrap();
    assert_eq!(beginning.len(), 1);
    assert!(person.apply_changes(beginning.clone()).states.iter().all(OpState::is_applied));
    assert_eq!(person.source(), Some(source().author()));
    (database, person, beginning)
}

fn declare(base: &mut Replica) -> Vec<Change> {
    base.begin();
    base.declare_source(NAME).keep().unwrap();
    base.commit(&source()).unwrap()
}

fn doc_begins(doc: &Workflow) {
    doc.title.set("begin").keep().unwrap();
    doc.jobs.put("j", json!({"name": "begin", "body": "text", "steps": ["a"]})).keep().unwrap();
    for line in ["x", "y", "z"] {
        doc.order.push(line).keep().unwrap();
    }
}

/// Both edit without having seen the other's; then both hear all. They agree, and return what they show.
fn merge(database: &mut Replica, person: &mut Replica, theirs: Vec<Change>, ours: Vec<Change>) -> String {
    assert!(person.apply_changes(theirs.clone()).states.iter().all(OpState::is_applied));
    assert!(database.apply_changes(ours).states.iter().all(OpState::is_applied));
    assert_eq!(text(database), text(person));
    assert_eq!(database.doc.title.conflicts(), person.doc.title.conflicts());
    assert_eq!(database.doc.jobs.conflicts("j"), person.doc.jobs.conflicts("j"));
    assert_eq!(database.heads(), person.heads());
    text(person)
}

#[test]
fn a_sources_rank_comes_before_the_lamport_in_registers() {
    for (rank, theirs_wins) in [(Rank::Below, false), (Rank::Above, true)] {
        // Whoever edits more has the higher lamport, and it does not count.
        for (their_edits, our_edits) in [(1, 3), (3, 1)] {
            let (mut database, mut person, _) = pair();
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            for n in 0..their_edits {
                let set = |doc: &Workflow| doc.title.set(format!("source {n}")).keep().unwrap();
                theirs.extend(edit(&mut database, &source(), rank, set));
            }
            for n in 0..our_edits {
                let set = |doc: &Workflow| doc.title.set(format!("person {n}")).keep().unwrap();
                ours.extend(edit(&mut person, &alice(), Rank::Edit, set));
            }
            merge(&mut database, &mut person, theirs, ours);
            let (shown, hidden) = (person.doc.title.view(), person.doc.title.conflicts());
            assert_eq!(shown.as_str().unwrap().starts_with("source"), theirs_wins, "{rank:?}: {shown}");
            assert_eq!(hidden.len(), 1);
            assert_eq!(hidden[0].value.as_str().unwrap().starts_with("person"), theirs_wins);
            // A later edit has seen both, and counts whatever its rank.
            let set = |doc: &Workflow| doc.title.set("later").keep().unwrap();
            let later = edit(&mut person, &alice(), Rank::Edit, set);
            merge(&mut database, &mut person, Vec::new(), later);
            assert_eq!(person.doc.title.view(), JsonValue::from("later"));
            assert!(person.doc.title.conflicts().is_empty());
        }
    }
    // At equal rank the lamport decides as among persons.
    let (mut database, mut person, _) = pair();
    let theirs = edit(&mut database, &source(), Rank::Edit, |doc| doc.title.set("source").keep().unwrap());
    let mut ours = edit(&mut person, &alice(), Rank::Edit, |doc| doc.title.set("first").keep().unwrap());
    ours.extend(edit(&mut person, &alice(), Rank::Edit, |doc| doc.title.set("person").keep().unwrap()));
    merge(&mut database, &mut person, theirs, ours);
    assert_eq!(person.doc.title.view(), JsonValue::from("person"));
}

#[test]
fn a_removal_that_outranks_edits_stays_and_lists_them() {
    for rank in [Rank::Below, Rank::Edit, Rank::Above] {
        let (mut database, mut person, _) = pair();
        let theirs = edit(&mut database, &source(), rank, |doc| doc.jobs.remove("j").keep().unwrap());
        let ours = edit(&mut person, &alice(), Rank::Edit, |doc| {
            let job = doc.jobs.get("j").unwrap();
            job.name.set("edited").keep().unwrap();
            job.body.insert(4, "!").keep().unwrap();
            job.steps.push("b").keep().unwrap();
        });
        merge(&mut database, &mut person, theirs, ours);
        if rank == Rank::Above {
            assert!(person.doc.jobs.is_empty());
            let conflicts = person.doc.jobs.conflicts("j");
            let lost: Vec<_> = conflicts.iter().map(|conflict| conflict.value.to_string()).collect();
            assert!(
                lost.contains(&"\"edited\"".to_owned()) && lost.contains(&"\"b\"".to_owned()),
                "{lost:?}"
            );
            // A put that has seen the removal begins anew.
            let put = |doc: &Workflow| doc.jobs.put("j", json!({"name": "anew"})).keep().unwrap();
            let anew = edit(&mut person, &alice(), Rank::Edit, put);
            merge(&mut database, &mut person, Vec::new(), anew);
            let job = CrdtNode::view(&person.doc.jobs.get("j").unwrap());
            assert_eq!(serde_json::Value::from(job), json!({"name": "anew", "body": "", "steps": []}));
        } else {
            let job = person.doc.jobs.get("j").unwrap();
            assert_eq!((job.name.view(), job.body.text()), (JsonValue::from("edited"), "text!".to_owned()));
            assert_eq!(job.steps.len(), 2);
        }
    }
}

#[test]
fn a_persons_removal_outranks_what_the_source_does_below() {
    for (rank, stays_removed) in [(Rank::Below, true), (Rank::Edit, false), (Rank::Above, false)] {
        for puts in [false, true] {
            let (mut database, mut person, _) = pair();
            let theirs = edit(&mut database, &source(), rank, |doc| {
                if puts {
                    doc.jobs.put("j", json!({"name": "source"})).keep().unwrap();
                } else {
                    doc.jobs.get("j").unwrap().name.set("source").keep().unwrap();
                }
            });
            let ours = edit(&mut person, &alice(), Rank::Edit, |doc| doc.jobs.remove("j").keep().unwrap());
            merge(&mut database, &mut person, theirs, ours);
            assert_eq!(person.doc.jobs.is_empty(), stays_removed, "{rank:?}");
        }
    }
}

#[test]
fn of_concurrent_moves_the_one_of_higher_rank_decides() {
    for (rank, expected) in [(Rank::Below, ["z", "x", "y"]), (Rank::Above, ["x", "z", "y"])] {
        for more in [0, 2] {
            let (mut database, mut person, _) = pair();
            let mut theirs =
                edit(&mut database, &source(), rank, |doc| doc.order.move_idx(2, 1).keep().unwrap());
            let mut ours =
                edit(&mut person, &alice(), Rank::Edit, |doc| doc.order.move_idx(2, 0).keep().unwrap());
            // Lamports that say otherwise.
            for _ in 0..more {
                let set = |doc: &Workflow| doc.title.set("t").keep().unwrap();
                theirs.extend(edit(&mut database, &source(), Rank::Edit, set));
                ours.extend(edit(&mut person, &alice(), Rank::Edit, set));
            }
            merge(&mut database, &mut person, theirs, ours);
            let order: Vec<_> = person.doc.order.iter().map(|line| line.view()).collect();
            assert_eq!(order, expected.map(JsonValue::from), "{rank:?}");
        }
    }
}

/// Changes fields of a signed op, and signs it rightly.
fn resign(op: &SignedOp, signer: &Keypair, fields: &[(&str, serde_json::Value)]) -> SignedOp {
    let mut json = serde_json::to_value(op).unwrap();
    for (name, value) in fields {
        json[name] = value.clone();
    }
    json["digest"] = json!("00".repeat(32));
    let error = serde_json::from_value::<SignedOp>(json.clone()).unwrap_err().to_string();
    let digest = error[error.find("hashes to ").unwrap() + 10..][..64].to_owned();
    let signed: bft_json_crdt::Digest = digest.parse().unwrap();
    json["digest"] = json!(digest);
    json["signature"] = json!(data_encoding::HEXLOWER.encode(&signer.sign(&signed.0)));
    serde_json::from_value(json).unwrap()
}

#[test]
fn everybody_elses_rank_reads_as_a_persons_edit() {
    let (mallory, bob) = (Keypair::from_seed(&[66; 32]), Keypair::from_seed(&[2; 32]));
    for claimed in [0, 2] {
        let (_, mut person, beginning) = pair();
        let (mut liar, mut honest) = (open(&mallory), open(&bob));
        for base in [&mut liar, &mut honest] {
            assert!(base.apply_changes(beginning.clone()).states.iter().all(OpState::is_applied));
        }
        // Bob edits twice, so that his lamport is the higher one; or once, and the liar twice.
        let (one, two) = if claimed == 2 { (&mut liar, &mut honest) } else { (&mut honest, &mut liar) };
        let key = |base: &Replica| if base.author() == bob.author() { bob.clone() } else { mallory.clone() };
        let single = one.doc.title.set("once").try_sign(&key(one)).unwrap();
        let first = two.doc.title.set("first").try_sign(&key(two)).unwrap();
        let second = two.doc.title.set("twice").try_sign(&key(two)).unwrap();
        let (lie, truth) = if claimed == 2 { (&single, &second) } else { (&second, &single) };
        let lie = resign(lie, &mallory, &[("rank", json!(claimed))]);
        for op in [&first, truth, &lie] {
            assert_eq!(person.apply(op.clone()), OpState::Ok);
        }
        assert_eq!(person.doc.title.view(), JsonValue::from("twice"), "rank {claimed}");
        // A copy of theirs that claims a rank of its own is signed with it, and still is an edit.
        let removal = edit(&mut honest, &bob, Rank::Above, |doc| doc.jobs.remove("j").keep().unwrap());
        let inside = |doc: &Workflow| doc.jobs.get("j").unwrap().name.set("alive").keep().unwrap();
        let _ = edit(&mut person, &alice(), Rank::Edit, inside);
        assert!(person.apply_changes(removal).states[0].is_applied());
        assert_eq!(person.doc.jobs.get("j").unwrap().name.view(), JsonValue::from("alive"));
    }
}

#[test]
fn only_the_sources_key_and_name_declare_it() {
    let (database, person) = (open(&source()), open(&alice()));
    let wrong = |name: &str| EditError::NotTheSource(name.to_owned());
    assert_eq!(
        database.declare_source("workflow:2").try_sign(&source()).unwrap_err(),
        SignError::Edit(wrong("workflow:2"))
    );
    assert_eq!(person.declare_source(NAME).try_sign(&alice()).unwrap_err(), SignError::Edit(wrong(NAME)));
    let elsewhere = BaseCrdt::<Workflow>::with_document(&source(), DocumentId([7; 32]));
    assert!(elsewhere.declare_source(NAME).try_sign(&source()).is_err());
    assert_eq!((database.source(), database.change_count()), (None, 0));

    let good = database.declare_source(NAME).try_sign(&source()).unwrap();
    let wrong_name = resign(&good, &source(), &[("op", json!({"source": {"name": "workflow:2"}}))]);
    let wrong_author = resign(&good, &alice(), &[("author", json!(alice().author()))]);
    let wrong_document = resign(&good, &source(), &[("document", json!(DocumentId::DEFAULT))]);
    let mut bob = open(&Keypair::from_seed(&[2; 32]));
    let invalid = OpState::Invalid(Invalidity::NotTheSource);
    for op in [&wrong_name, &wrong_author] {
        assert_eq!(bob.apply(op.clone()), invalid);
    }
    assert_eq!(BaseCrdt::<Workflow>::new(&alice()).apply(wrong_document), invalid);
    assert_eq!((bob.source(), bob.change_count()), (None, 0));
    assert_eq!(bob.apply(good), OpState::Ok);
    assert_eq!(bob.source(), Some(source().author()));
}

#[test]
fn ranks_count_from_the_declaration_on() {
    let (mut database, mut person) = (open(&source()), open(&alice()));
    let early = edit(&mut database, &source(), Rank::Above, |doc| doc.title.set("early").keep().unwrap());
    let declared = declare(&mut database);
    let mut ours = Vec::new();
    for n in 0..2 {
        ours.extend(edit(&mut person, &alice(), Rank::Edit, |doc| {
            doc.title.set(format!("{n}")).keep().unwrap()
        }));
    }
    merge(&mut database, &mut person, [early, declared].concat(), ours);
    assert_eq!(person.doc.title.view(), JsonValue::from("1"), "what came before is an edit for ever");
    assert_eq!(database.source(), person.source());
    // One that is declared again and given up leaves the first.
    drop(database.declare_source(NAME));
    assert_eq!(database.source(), Some(source().author()));
    database.begin();
    database.declare_source(NAME).keep().unwrap();
    database.roll_back();
    assert_eq!(database.source(), Some(source().author()));
    let above = edit(&mut database, &source(), Rank::Above, |doc| doc.title.set("above").keep().unwrap());
    let below = edit(&mut person, &alice(), Rank::Edit, |doc| doc.title.set("below").keep().unwrap());
    merge(&mut database, &mut person, above, below);
    assert_eq!(person.doc.title.view(), JsonValue::from("above"));
}

#[test]
fn a_source_that_forks_before_it_declares_itself_is_ranked_alike_everywhere() {
    // One story of the key begins without a declaration, the other one with it.
    let (mut silent, mut declared, mut person) = (open(&source()), open(&source()), open(&alice()));
    let above = edit(&mut silent, &source(), Rank::Above, |doc| doc.title.set("silent").keep().unwrap());
    let declaration = declare(&mut declared);
    let mut ours = Vec::new();
    for n in 0..2 {
        ours.extend(edit(&mut person, &alice(), Rank::Edit, |doc| {
            doc.title.set(format!("{n}")).keep().unwrap()
        }));
    }
    let show = |stories: [&[Change]; 3]| {
        let mut bob = open(&Keypair::from_seed(&[2; 32]));
        for story in stories {
            assert!(bob.apply_changes(story.to_vec()).states.iter().all(OpState::is_applied));
        }
        (text(&bob), bob.doc.title.conflicts())
    };
    let first = show([&above, &declaration, &ours]);
    assert_eq!(first, show([&declaration, &above, &ours]));
    assert_eq!(first, show([&ours, &declaration, &above]));
}

#[test]
fn the_content_that_is_kept_follows_a_move_that_signing_brings_to_the_front() {
    let (mut database, mut person, _) = pair();
    let shown =
        |base: &Replica| base.doc.order.iter().map(|line| line.view().to_string()).collect::<String>();
    let _ = person.content();
    // The person moves the first line to the end; before it is signed, the source's move, which counts more, comes.
    let ids: Vec<_> = (0..3).map(|at| person.doc.order.id_at(at).unwrap()).collect();
    let moved = person.doc.order.move_after(ids[0], ids[2]);
    let theirs = edit(&mut database, &source(), Rank::Above, |doc| {
        doc.order.move_after(ids[0], ids[1]).keep().unwrap();
    });
    assert!(person.apply_changes(theirs).states.iter().all(OpState::is_applied));
    assert_eq!(shown(&person), r#""y""x""z""#);
    assert_eq!(*person.content(), CrdtNode::view(&person.doc));
    person.watch();
    let signed = moved.sign(&alice());
    assert_eq!(person.apply(signed.clone()), OpState::Ok);
    assert_eq!(shown(&person), r#""y""z""x""#, "it has seen the source's");
    assert_eq!(*person.content(), CrdtNode::view(&person.doc));
    assert!(!person.take_patches().is_empty());
    assert!(database.apply(signed).is_applied());
    assert_eq!(text(&database), text(&person));
}
