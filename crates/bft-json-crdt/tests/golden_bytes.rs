//! The canonical encoding and the JSON form, byte for byte: documents and peers of every later version must
//! understand them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{
    BaseCrdt, Change, CrdtNode, JsonCrdt, JsonValue, OpState, SignedOp, UnsignedOp, add_crdt_fields,
};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::op::{ROOT_ID, Rank};
use bft_json_crdt::text_crdt::TextCrdt;
use data_encoding::HEXLOWER;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Item {
    name: LwwRegisterCrdt<String>,
    size: LwwRegisterCrdt<f64>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Doc {
    items: ListCrdt<Item>,
    map: MapCrdt<Item>,
    count: CounterCrdt,
}

/// One change of each kind of op, by two authors.
fn changes() -> (Vec<SignedOp>, BaseCrdt<Doc>) {
    let (alice, bob) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
    let mut a = BaseCrdt::<Doc>::new(&alice);
    let mut b = BaseCrdt::<Doc>::new(&bob);
    let mut ops = Vec::new();
    let mut share = |op: SignedOp, a: &mut BaseCrdt<Doc>, b: &mut BaseCrdt<Doc>| {
        assert_eq!((a.apply(op.clone()), b.apply(op.clone())), (OpState::Ok, OpState::Ok));
        ops.push(op);
    };
    let op = a.doc.items.insert(ROOT_ID, json!({"name": "ä", "size": 1})).sign(&alice);
    share(op, &mut a, &mut b);
    let op = b.doc.items[0].name.set("b").sign(&bob);
    share(op, &mut a, &mut b);
    let op = a.doc.items.insert(ROOT_ID, json!({"size": -0.5})).sign(&alice);
    share(op, &mut a, &mut b);
    let op = b.doc.items[0].name.set("late").sign(&bob);
    share(op, &mut a, &mut b);
    let op = a.doc.map.put("k", json!({"name": "m"})).sign(&alice);
    share(op, &mut a, &mut b);
    let op = b.doc.map.remove("k").sign(&bob);
    share(op, &mut a, &mut b);
    let op = a.doc.map.put("k", json!({"name": "again"})).sign(&alice);
    share(op, &mut a, &mut b);
    let op = b.doc.items.delete_idx(1).sign(&bob);
    share(op, &mut a, &mut b);
    let op = a.doc.count.add(-300).sign(&alice);
    share(op, &mut a, &mut b);
    (ops, a)
}

#[test]
fn bytes_digests_and_signatures_are_those_on_file() {
    let (ops, base) = changes();
    let mut text = String::new();
    for op in &ops {
        let change = op.change();
        text += &format!(
            "bytes {}\ndigest {}\nsignature {}\nid {}\njson {}\n\n",
            HEXLOWER.encode(change.bytes()),
            change.digest(),
            HEXLOWER.encode(change.signature()),
            HEXLOWER.encode(&op.id()),
            serde_json::to_string(op).unwrap(),
        );
    }
    text += &format!("view {}\n", CrdtNode::view(&base.doc));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/changes.txt");
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "the encoding changed:\n{text}");
}

#[test]
fn files_of_this_version_open_for_ever() {
    let golden = include_str!("golden/changes.txt");
    let mut base = BaseCrdt::<Doc>::new(&Keypair::from_seed(&[3; 32]));
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap().to_owned()
    };
    let (blocks, view) = golden.rsplit_once("\n\n").unwrap();
    for block in blocks.split("\n\n") {
        let bytes = HEXLOWER.decode(field(block, "bytes").as_bytes()).unwrap();
        let signature = HEXLOWER.decode(field(block, "signature").as_bytes()).unwrap();
        let change = Change::decode(&bytes, signature.try_into().unwrap()).unwrap();
        assert_eq!(change.digest().to_string(), field(block, "digest"));
        let op: SignedOp = serde_json::from_str(&field(block, "json")).unwrap();
        assert_eq!(op.change().bytes(), &bytes[..]);
        assert_eq!(base.apply(op), OpState::Ok);
    }
    assert_eq!(format!("view {}", CrdtNode::view(&base.doc)), view.trim_end());
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Page {
    title: LwwRegisterCrdt<String>,
    body: TextCrdt,
    lines: ListCrdt<Item>,
    map: MapCrdt<Item>,
    any: JsonCrdt,
    count: CounterCrdt,
}

fn page_keys() -> [Keypair; 3] {
    [1, 2, 3].map(|seed| Keypair::from_seed(&[seed; 32]))
}

fn open_page(key: &Keypair) -> BaseCrdt<Page> {
    let [alice, ..] = page_keys();
    BaseCrdt::of_source(key, &alice.author(), "rows")
}

/// The changes of a document that follows a source, alice: of one op each the kinds that the default document's
/// first changes lack; then of many, which name what all three authors made; and a save mark.
fn changes_of_a_page() -> Vec<Change> {
    let keys = page_keys();
    let mut team = keys.clone().map(|key| open_page(&key));
    let mut log = Vec::new();
    let mut share = |changes: Vec<Change>, team: &mut [BaseCrdt<Page>; 3]| {
        assert_eq!(changes.len(), 1);
        for base in team {
            let _ = base.apply_changes(changes.clone());
            assert!(base.contains(&changes[0].digest()));
        }
        log.extend(changes);
    };
    type Edit = fn(&BaseCrdt<Page>) -> Vec<UnsignedOp>;
    let edits: [(usize, Rank, Edit); 13] = [
        (0, Rank::Edit, |page| vec![page.declare_source("rows")]),
        (1, Rank::Edit, |page| vec![page.doc.body.insert(0, "gängline\u{1f415}")]),
        (2, Rank::Edit, |page| vec![page.doc.body.insert(4, "-")]),
        (1, Rank::Edit, |page| vec![page.doc.body.cut(2, 4)]),
        (0, Rank::Edit, |page| vec![page.doc.lines.push(json!({"name": "one"}))]),
        (1, Rank::Edit, |page| vec![page.doc.lines.push(json!({"name": "two", "size": 2}))]),
        (2, Rank::Edit, |page| vec![page.doc.lines.move_idx(1, 0)]),
        (2, Rank::Edit, |page| vec![page.doc.any.put("text", JsonValue::Text("tëxt".into()))]),
        (0, Rank::Above, |page| vec![page.doc.title.set("the source says so")]),
        (1, Rank::Edit, |page| vec![page.doc.title.set("a person")]),
        (0, Rank::Below, |page| vec![page.doc.title.set("unless somebody minds")]),
        (0, Rank::Above, |page| {
            let doc = &page.doc;
            vec![
                doc.map.put("k", json!({"name": "m", "size": 0.5})),
                doc.any.put("list", json!([null, {"deep": [true, i64::MIN]}, "s"])),
                doc.lines[0].name.set("renamed"),
                doc.lines[1].name.set("renamed too"),
                doc.body.insert(1, "x"),
                doc.body.cut(0, 3),
                doc.lines.move_idx(0, 1),
                doc.count.add(i64::MIN),
            ]
        }),
        (1, Rank::Edit, |page| {
            let doc = &page.doc;
            vec![
                doc.map.remove("k"),
                doc.map.put("k", json!({})),
                doc.any.at("text").unwrap().as_text().unwrap().cut(1, 2),
                doc.lines.delete_idx(0),
                doc.lines.insert_idx(0, json!({"name": "new"})),
                doc.body.insert(doc.body.len(), "end"),
                doc.count.add(7),
            ]
        }),
    ];
    for (who, rank, edit) in edits {
        team[who].begin_as(rank);
        edit(&team[who]).into_iter().for_each(|op| op.keep().unwrap());
        let made = team[who].commit(&keys[who]).unwrap();
        share(made, &mut team);
    }
    let mark = team[2].save_mark(&keys[2]).unwrap();
    share(vec![mark], &mut team);
    log
}

/// In a file of their own, so that those of the default document stay as they are.
#[test]
fn changes_of_every_kind_are_those_on_file_and_open_for_ever() {
    let mut text = String::new();
    for change in changes_of_a_page() {
        let (bytes, signature) = (HEXLOWER.encode(change.bytes()), HEXLOWER.encode(change.signature()));
        text += &format!("bytes {bytes}\ndigest {}\nsignature {signature}\n", change.digest());
        if let Ok(op) = SignedOp::try_from(change) {
            text +=
                &format!("id {}\njson {}\n", HEXLOWER.encode(&op.id()), serde_json::to_string(&op).unwrap());
        }
        text += "\n";
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/changes-of-a-page.txt");
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "the encoding changed:\n{text}");

    let mut reader = open_page(&Keypair::from_seed(&[9; 32]));
    for block in golden.trim_end().split("\n\n") {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let bytes = HEXLOWER.decode(field("bytes").unwrap().as_bytes()).unwrap();
        let signature = HEXLOWER.decode(field("signature").unwrap().as_bytes()).unwrap();
        let change = Change::decode(&bytes, signature.try_into().unwrap()).unwrap();
        assert_eq!(change.digest().to_string(), field("digest").unwrap());
        assert_eq!(field("json").is_some(), change.op_count() == 1);
        if let Some(json) = field("json") {
            let op: SignedOp = serde_json::from_str(json).unwrap();
            assert_eq!(op.change().bytes(), &bytes[..]);
            assert_eq!(HEXLOWER.encode(&op.id()), field("id").unwrap());
        }
        assert_eq!(reader.apply_changes(vec![change]).states, [OpState::Ok]);
    }
    let view = concat!(
        r#"{"any":{"list":[null,{"deep":[true,-9223372036854775808]},"s"],"text":"tt"},"#,
        r#""body":"ine🐕end","count":-9223372036854775801,"#,
        r#""lines":[{"name":"new","size":0.0},{"name":"renamed","size":2.0}],"#,
        r#""map":{"k":{"name":"","size":0.0}},"title":"unless somebody minds"}"#,
    );
    assert_eq!(CrdtNode::view(&reader.doc).to_string(), view);
}
