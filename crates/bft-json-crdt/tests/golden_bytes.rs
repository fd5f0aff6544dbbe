//! The canonical encoding and the JSON form, byte for byte: documents and peers of every later version must
//! understand them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, OpState, SignedOp, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::op::ROOT_ID;
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
