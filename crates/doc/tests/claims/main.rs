//! What a replica and its board claim, each checked against a log whose answers the test drives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod authoring;
mod board;
mod convergence;
mod durability;
mod failure;
mod liars;
mod manual_log;
mod readers;
mod trust;

use std::sync::Arc;

use bft_json_crdt::keypair::Keypair;
use gangline_doc::{
    BoardError, EditFailed, Entry, LogSeq, NewItem, OriginId, PipelineDoc, ReadLimit, Replica,
    ReplicaSettings, Ticket, board as on_board,
};
use manual_log::ManualLog;

type Board = Replica<PipelineDoc>;

/// A replica whose log answers at once.
fn replica(seed: u8) -> Board {
    open(seed, &ManualLog::prompt())
}

/// A replica on that log.
fn open(seed: u8, log: &ManualLog) -> Board {
    Replica::open(Keypair::from_seed(&[seed; 32]), Arc::new(log.clone()), ReplicaSettings::default()).unwrap()
}

/// Adds an item of that name.
fn add(replica: &Board, story_id: &str) -> Ticket {
    try_add(replica, story_id).unwrap()
}

fn try_add(replica: &Board, story_id: &str) -> Result<Ticket, EditFailed<BoardError>> {
    replica.edit(1, |editor| on_board::add(editor, NewItem::new(story_id))).map(|(_, ticket)| ticket)
}

/// All durable entries from `from` on, read in small steps.
fn entries(replica: &Board, from: LogSeq) -> Vec<Arc<Entry>> {
    let mut all = Vec::new();
    loop {
        let some = replica.entries(from.plus(all.len()), ReadLimit { count: 3, bytes: 1_000 }).unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

/// Delivers everything durable at `from` to `to`, as one batch.
fn deliver(from: &Board, to: &Board) {
    let changes = entries(from, LogSeq::START).iter().map(|entry| entry.change().clone()).collect();
    let (batch, _ticket) = to.apply(2, OriginId(0), changes).unwrap();
    assert!(batch.states.iter().all(|state| !state.is_refused()), "{:?}", batch.states);
}

fn story_ids(replica: &Board) -> Vec<String> {
    replica.read(on_board::items).0.into_iter().map(|item| item.story_id).collect()
}
