//! Encoding and decoding of frames, with the floors beside them: copying the bytes, checking that they are
//! UTF-8, and finding out that they are JSON at all.

#![allow(clippy::indexing_slicing, reason = "a benchmark may panic")]

use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, SignedOp, add_crdt_fields};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::op::ROOT_ID;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use gangline_wire::{BulkWriter, decode, decode_text, encode};

/// Ops in one bulk.
const BULK_OPS: usize = 1_000;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Board {
    stages: ListCrdt<LwwRegisterCrdt<String>>,
}

fn main() {
    divan::main();
}

fn ops(count: usize) -> Vec<SignedOp> {
    let keypair = Keypair::from_seed(&[7; 32]);
    let base = BaseCrdt::<Board>::new(&keypair);
    let insert = base.doc.stages.insert(ROOT_ID, "1_backlog").sign(&keypair);
    let sets = (1..count).map(|n| base.doc.stages[0].set(format!("{n}_stage")).sign(&keypair));
    std::iter::once(insert).chain(sets).collect()
}

/// A frame as most are: one register of one item.
fn frame() -> Vec<u8> {
    encode(&ops(2)[1])
}

fn bulk() -> String {
    let mut bulk = BulkWriter::new(usize::MAX);
    for op in ops(BULK_OPS) {
        assert!(bulk.push(&encode(&op)));
    }
    bulk.finish()
}

#[divan::bench]
fn encode_op(bencher: Bencher<'_, '_>) {
    let op = &ops(2)[1];
    bencher.counter(ItemsCount::new(1_u32)).bench(|| encode(black_box(op)));
}

#[divan::bench]
fn decode_op(bencher: Bencher<'_, '_>) {
    let frame = frame();
    bencher.counter(ItemsCount::new(1_u32)).bench(|| decode(black_box(&frame)).expect("good"));
}

#[divan::bench]
fn refuse_garbage(bencher: Bencher<'_, '_>) {
    let mut frame = frame();
    frame.truncate(frame.len() - 2);
    bencher.counter(ItemsCount::new(1_u32)).bench(|| decode(black_box(&frame)).is_err());
}

#[divan::bench]
fn write_bulk(bencher: Bencher<'_, '_>) {
    let frames: Vec<Vec<u8>> = ops(BULK_OPS).iter().map(encode).collect();
    bencher.counter(ItemsCount::new(BULK_OPS)).bench(|| {
        let mut bulk = BulkWriter::new(usize::MAX);
        for frame in &frames {
            assert!(bulk.push(frame));
        }
        bulk.finish()
    });
}

#[divan::bench]
fn read_bulk(bencher: Bencher<'_, '_>) {
    let bulk = bulk();
    bencher
        .counter(ItemsCount::new(BULK_OPS))
        .bench(|| decode_text(black_box(bulk.as_bytes())).expect("good").ops.len());
}

#[divan::bench]
fn floor_copy(bencher: Bencher<'_, '_>) {
    let frame = frame();
    bencher.counter(BytesCount::new(frame.len())).bench(|| black_box(&frame).clone());
}

#[divan::bench]
fn floor_utf8(bencher: Bencher<'_, '_>) {
    let frame = frame();
    bencher.counter(BytesCount::new(frame.len())).bench(|| str::from_utf8(black_box(&frame)).is_ok());
}

#[divan::bench]
fn floor_is_json(bencher: Bencher<'_, '_>) {
    let frame = frame();
    bencher
        .counter(BytesCount::new(frame.len()))
        .bench(|| serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&frame)).is_ok());
}
