//! Bundles of the history of a board: bytes, and the cost of encoding and decoding, with this machine's cost of
//! hashing in the same run.
//!
//! `cargo bench -p bft-json-crdt --bench bundle -- [ITEMS] [SETS]`; without arguments a small size that takes
//! seconds.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "its input is its own")]
#![allow(missing_docs, reason = "a benchmark has no public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bft_json_crdt::DocumentId;
use bft_json_crdt::bundle::{Signatures, decode, encode};
use bft_json_crdt::json_crdt::{BaseCrdt, Change, CrdtNode, add_crdt_fields};
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

/// Runs `f` three times, and reports the best.
fn timed<R>(what: &str, count: usize, mut f: impl FnMut() -> R) -> R {
    let mut best = Duration::MAX;
    let mut last = None;
    for _ in 0..3 {
        drop(last.take());
        let start = Instant::now();
        last = Some(f());
        best = best.min(start.elapsed());
    }
    let each = best.as_secs_f64() * 1e6 / count.max(1) as f64;
    println!("{what:<46} {:>9.1} ms {each:>9.3} µs each", best.as_secs_f64() * 1e3);
    last.unwrap()
}

fn history(items: usize, sets: usize) -> Vec<Change> {
    let key = Keypair::from_seed(&[1; 32]);
    let mut base = BaseCrdt::<Board>::with_document(&key, DocumentId([7; 32]));
    let mut changes = Vec::with_capacity(items + sets);
    for n in 0..items {
        let item = json!({
            "story_id": format!("{n}"), "stage": "1_backlog", "name": format!("item number {n}"), "agent": "",
            "retry_count": 0.0, "blocked": false, "depends_on": "", "claimed_by": "", "claimed_at": 0.0,
        });
        let op = base.doc.items.push(item).sign(&key);
        let _ = base.apply(op.clone());
        changes.push(op.into_change());
    }
    let mut random = 88_172_645_463_325_252u64;
    for n in 0..sets {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let item = &base.doc.items[random as usize % items];
        let op = match random >> 32 & 3 {
            0 => item.stage.set("2_current"),
            1 => item.agent.set(format!("coder-{}", n % 7)),
            2 => item.retry_count.set(n as f64),
            _ => item.blocked.set(n % 2 == 0),
        };
        let op = op.sign(&key);
        let _ = base.apply(op.clone());
        changes.push(op.into_change());
    }
    changes
}

fn main() {
    let mut sizes = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let items = sizes.next().unwrap_or(1_000);
    let sets = sizes.next().unwrap_or(items * 10);
    let total = items + sets;
    println!("{items} items of nine fields, then {sets} single-field sets, each its own change\n");
    let changes = history(items, sets);
    let canonical: usize = changes.iter().map(|change| change.bytes().len()).sum();
    println!("canonical, without signatures: {canonical} bytes, {} each", canonical / total);

    timed("floor: hash all changes", total, || {
        changes.iter().for_each(|change| _ = black_box(digest(&SHA256, black_box(change.bytes()))));
    });
    timed("floor: decode and hash canonical bytes", total, || {
        let decoded = changes.iter().map(|change| Change::decode(change.bytes(), [0; 64]).unwrap());
        decoded.collect::<Vec<_>>()
    });
    for signatures in [Signatures::Covering, Signatures::All] {
        let bundle =
            timed(&format!("encode, {signatures:?}"), total, || encode(&changes, signatures).unwrap());
        let each = bundle.len() as f64 / total as f64;
        println!("bundle, {signatures:?}: {} bytes, {each:.2} each", bundle.len());
        timed(&format!("decode as it comes, {signatures:?}"), total, || {
            assert_eq!(decode(&bundle).unwrap().map(|change| drop(change.unwrap())).count(), total);
        });
        let decoded = timed(&format!("decode and keep, {signatures:?}"), total, || {
            decode(&bundle).unwrap().map(|change| change.unwrap().change).collect::<Vec<_>>()
        });
        assert!(decoded.iter().zip(&changes).all(|(a, b)| a.bytes() == b.bytes()));
    }
}
