//! A document with every kind of node inside every other, and a history of three authors with every kind of op.

use std::sync::LazyLock;

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, DocumentId, EditError, JsonCrdt, JsonValue, Rank, UnsignedOp, add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use serde_json::json;

/// The document, and each of its parts.
#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
pub struct Part {
    /// A register.
    pub name: LwwRegisterCrdt<String>,
    /// A text.
    pub body: TextCrdt,
    /// A counter.
    pub count: CounterCrdt,
    /// A list.
    pub kids: ListCrdt<Part>,
    /// A map.
    pub parts: MapCrdt<Part>,
    /// JSON of any shape.
    pub any: JsonCrdt,
}

/// The key that all histories use for entries of maps.
const KEY: &str = "k";

/// Returns the authors' keys; the first is the document's source.
#[must_use]
pub fn keys() -> [Keypair; 3] {
    [1, 2, 3].map(|seed| Keypair::from_seed(&[seed; 32]))
}

/// Returns which document it is: one that follows the first author.
#[must_use]
pub fn document() -> DocumentId {
    let [source, ..] = keys();
    DocumentId::of_source(&source.author(), "kinds")
}

/// Opens an empty replica.
#[must_use]
pub fn open(keypair: &Keypair) -> BaseCrdt<Part> {
    BaseCrdt::with_document(keypair, document())
}

/// One edit of each kind, as far as the document has what it is about; `n` says where and of what kind.
pub fn edit(part: &Part, n: usize) {
    let at = |len: usize| n % len.max(1);
    let mut edits: Vec<Result<UnsignedOp, EditError>> = vec![
        part.name.try_set(format!("{n}")),
        part.body.try_insert(at(part.body.len() + 1), "héllo"),
        part.count.try_add(-3),
        part.kids.try_push(json!({"name": "kid", "body": "text", "count": n, "any": {"a": [n, "s", null]}})),
        part.parts.try_put(KEY, json!({"name": "part", "kids": [{"name": "inner"}, {}]})),
        Ok(part.any.put(
            KEY,
            if n.is_multiple_of(2) { JsonValue::Text("tx".into()) } else { json!([1, {}]).into() },
        )),
    ];
    if part.body.len() > 2 {
        edits.push(part.body.try_cut(at(part.body.len() - 2), 2));
    }
    if let Some(kid) = part.kids.get(at(part.kids.len())) {
        edits.push(kid.name.try_set("renamed"));
        edits.push(kid.body.try_insert(0, "y"));
        edits.push(Ok(part.kids.move_idx(at(part.kids.len()), part.kids.len() - 1)));
    }
    if part.kids.len() > 2 {
        edits.push(Ok(part.kids.delete_idx(at(part.kids.len()))));
    }
    if let Some(entry) = part.parts.get(KEY) {
        edits.push(entry.count.try_add(1));
        edits.push(entry.kids.try_push(json!({})));
    }
    if n % 3 == 2 {
        edits.push(part.parts.try_remove(KEY));
    }
    if let Some(text) = part.any.at(KEY).and_then(|any| any.as_text()) {
        edits.push(text.try_insert(at(text.len()), "z"));
    }
    if let Some(list) = part.any.at(KEY).and_then(|any| any.as_list()) {
        edits.push(Ok(list.push(json!("pushed"))));
    }
    for edit in edits {
        // After a fork an element may share its name with another one, and then nobody can name it.
        let _ = edit.and_then(UnsignedOp::keep);
    }
}

/// Returns a history in causal order: a source that declares itself and edits at each rank, two persons who edit at
/// the same time, one of them on two devices that know nothing of each other, and a save mark.
///
/// # Panics
///
/// If the engine refuses what it made.
#[must_use]
pub fn history() -> Vec<Change> {
    static HISTORY: LazyLock<Vec<Change>> = LazyLock::new(make_history);
    HISTORY.clone()
}

fn make_history() -> Vec<Change> {
    let keys = keys();
    let mut team = keys.clone().map(|key| open(&key));
    let [source, bob, carol] = &mut team;
    let mut log = Vec::new();
    source.begin();
    source.declare_source("kinds").keep().expect("the document is the source's");
    log.extend(source.commit(&keys[0]).expect("a declaration"));
    let turn = |base: &mut BaseCrdt<Part>, key: &Keypair, log: &mut Vec<Change>, rank: Rank, n: usize| {
        let _ = base.apply_changes(log.clone());
        base.begin_as(rank);
        edit(&base.doc, n);
        base.commit(key).expect("edits that fit")
    };
    let made = turn(source, &keys[0], &mut log, Rank::Above, 0);
    log.extend(made);
    let by_bob = turn(bob, &keys[1], &mut log, Rank::Edit, 1);
    let mut other = open(&keys[1]);
    let elsewhere = turn(&mut other, &keys[1], &mut log, Rank::Edit, 2);
    let by_carol = turn(carol, &keys[2], &mut log, Rank::Edit, 3);
    log.extend([by_bob, elsewhere, by_carol].concat());
    let made = turn(source, &keys[0], &mut log, Rank::Below, 4);
    log.extend(made);
    let made = turn(carol, &keys[2], &mut log, Rank::Edit, 5);
    log.extend(made);
    log.push(carol.save_mark(&keys[2]).expect("a save mark"));
    log
}

/// Returns all that a replica shows: the view, the conflicts at every node, the heads and the chains.
#[must_use]
pub fn portrait(base: &BaseCrdt<Part>) -> String {
    let mut out = CrdtNode::view(&base.doc).to_string();
    out += &format!("\n{:?} {:?}", base.heads(), base.version_vector());
    out += &format!("\n{:?} {:?}", base.equivocations(), base.source());
    paint(&base.doc, &mut out);
    out
}

fn paint(part: &Part, out: &mut String) {
    *out += &format!("\n{:?} {:?}", part.name.conflicts(), part.kids.conflicts());
    for key in part.parts.keys() {
        *out += &format!("{key}: {:?}", part.parts.conflicts(&key));
        part.parts.get(&key).iter().for_each(|part| paint(part, out));
    }
    part.kids.iter().for_each(|kid| paint(&kid, out));
    if let Some(any) = part.any.as_map() {
        any.keys().iter().for_each(|key| *out += &format!("{key}: {:?}", any.conflicts(key)));
    }
}
