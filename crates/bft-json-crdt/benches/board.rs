//! The engine on a board: local edits, remote application one by one and as a batch, loading, viewing, with
//! this machine's cost of signing, verifying and hashing in the same run.
//!
//! `cargo bench -p bft-json-crdt -- [ITEMS] [SETS]`; without arguments a small size that takes seconds.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "its input is its own")]
#![allow(missing_docs, reason = "a benchmark has no public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, SignedOp, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use serde_json::json;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Item {
    story_id: LwwRegisterCrdt<String>,
    stage: LwwRegisterCrdt<String>,
    name: LwwRegisterCrdt<String>,
    agent: LwwRegisterCrdt<String>,
    retry_count: LwwRegisterCrdt<f64>,
    blocked: LwwRegisterCrdt<bool>,
    depends_on: LwwRegisterCrdt<String>,
    claimed_by: LwwRegisterCrdt<String>,
    claimed_at: LwwRegisterCrdt<f64>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Board {
    items: ListCrdt<Item>,
}

fn timed<R>(what: &str, count: usize, f: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = f();
    report(what, count, start.elapsed());
    result
}

fn report(what: &str, count: usize, time: Duration) {
    let each = time.as_secs_f64() * 1e6 / count.max(1) as f64;
    println!("{what:<46} {:>9.1} ms {each:>9.3} µs each", time.as_secs_f64() * 1e3);
}

fn main() {
    let mut sizes = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let items = sizes.next().unwrap_or(1_000);
    let sets = sizes.next().unwrap_or(items * 10);
    let key = Keypair::from_seed(&[1; 32]);
    let other = Keypair::from_seed(&[2; 32]);
    println!("{items} items of nine fields, then {sets} single-field sets, each its own signed change\n");

    let message = [7; 32];
    let signature = key.sign(&message);
    timed("floor: sign 32 bytes", 2_000, || (0..2_000).for_each(|_| _ = black_box(key.sign(&message))));
    timed("floor: hash 200 bytes", 100_000, || {
        (0..100_000).for_each(|_| _ = black_box(digest(&SHA256, black_box(&[7; 200]))));
    });

    let mut local = BaseCrdt::<Board>::new(&key);
    let mut ops: Vec<SignedOp> = Vec::with_capacity(items + sets);
    timed("local: insert, sign, record", items, || {
        for n in 0..items {
            let item = json!({
                "story_id": format!("{n}"), "stage": "1_backlog", "name": format!("item number {n}"), "agent": "",
                "retry_count": 0.0, "blocked": false, "depends_on": "", "claimed_by": "", "claimed_at": 0.0,
            });
            let op = local.doc.items.push(item).sign(&key);
            let _ = local.apply(op.clone());
            ops.push(op);
        }
    });
    let mut random = 88_172_645_463_325_252u64;
    timed("local: set, sign, record", sets, || {
        for n in 0..sets {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let item = &local.doc.items[random as usize % items];
            let op = match random >> 32 & 3 {
                0 => item.stage.set("2_current"),
                1 => item.agent.set(format!("coder-{}", n % 7)),
                2 => item.retry_count.set(n as f64),
                _ => item.blocked.set(n % 2 == 0),
            };
            let op = op.sign(&key);
            let _ = local.apply(op.clone());
            ops.push(op);
        }
    });
    let total = ops.len();
    let changes: Vec<Change> = ops.iter().map(|op| op.change().clone()).collect();
    let bytes: usize = changes.iter().map(|change| change.bytes().len() + 64).sum();
    println!("encoded changes with signatures: {bytes} bytes, {} each", bytes / total);

    let first = changes[0].clone();
    assert_eq!(first.signature(), &key.sign(&first.digest().0));
    timed("floor: verify, key parsed each time", 500, || {
        (0..500).for_each(|_| assert!(black_box(&first).verify()));
    });
    black_box(signature);

    let json: Vec<Vec<u8>> =
        timed("v1 JSON: encode", total, || ops.iter().map(|op| serde_json::to_vec(op).unwrap()).collect());
    println!("v1 JSON: {} bytes each", json.iter().map(Vec::len).sum::<usize>() / total);
    timed("v1 JSON: decode and hash", total, || {
        json.iter().for_each(|json| drop(black_box(serde_json::from_slice::<SignedOp>(json).unwrap())));
    });
    drop(json);
    let decoded: Vec<Change> = timed("binary: decode and hash", total, || {
        changes.iter().map(|change| Change::decode(change.bytes(), *change.signature()).unwrap()).collect()
    });

    let mut single = BaseCrdt::<Board>::new(&other);
    timed("remote: verify and apply one by one", total, || {
        for op in &ops {
            let _ = single.apply(op.clone());
        }
    });
    let mut batch = BaseCrdt::<Board>::new(&other);
    let outcome =
        timed("remote: verify and apply as one batch", total, || batch.apply_changes(decoded.clone()));
    assert_eq!(outcome.applied.len(), total);
    let mut loaded = BaseCrdt::<Board>::new(&other);
    timed("load from the node's own log", total, || loaded.load(decoded).unwrap());
    let view = timed("view of the whole board", items, || CrdtNode::view(&loaded.doc));
    assert_eq!(view, CrdtNode::view(&local.doc));
    assert_eq!(view, CrdtNode::view(&single.doc));
    timed("replay of what is known", total, || {
        for op in &ops {
            let _ = single.apply(op.clone());
        }
    });
}
