//! Whole nodes: processes of the release binary on loopback, asked over HTTP, with this machine's cost of
//! signing, checking a signature and reaching the disk in the same run.
//!
//! `cargo bench -p gangline --bench processes -- [ITEMS]`; without arguments a size that takes seconds.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "its input is its own")]
#![allow(missing_docs, reason = "a benchmark has no public items")]

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use bft_json_crdt::keypair::make_keypair;
use gangline_tests::feed::Feed;
use gangline_tests::measure::{rate, spread, timed, timed_with};
use gangline_tests::node::{Node, Plan};
use serde_json::json;

const ONE_BY_ONE: usize = 200;
const CLIENTS: usize = 16;

fn main() {
    let items = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(2_000);
    let dir = tempfile::tempdir().unwrap();
    floors(dir.path());

    let a = plan(dir.path(), "a").start().unwrap();
    let mut taken = Vec::new();
    for n in 0..ONE_BY_ONE {
        taken.push(timed(|| add(&a, &format!("single-{n}"))));
    }
    spread("item added over HTTP, one client, durable", &mut taken);
    let all = timed(|| {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let a = &a;
                scope.spawn(move || {
                    (client..items).step_by(CLIENTS).for_each(|n| add(a, &format!("item-{n}")));
                });
            }
        });
    });
    rate(&format!("items added over HTTP, {CLIENTS} clients, durable"), items, "items", all);

    let total = items + ONE_BY_ONE;
    let b_plan = plan(dir.path(), "b").peer(&a);
    let (b, first) = timed_with(|| {
        let b = b_plan.start().unwrap();
        wait_for(&b, total);
        b
    });
    rate("whole board to a new node, process start included", total, "items", first);

    let mut feed = Feed::open(b.address(), "/api/v1/watch").unwrap();
    while feed.next_event().unwrap().kind != "ready" {}
    let mut taken = Vec::new();
    for n in 0..ONE_BY_ONE {
        let path = format!("/api/v1/items/single-{n}");
        taken.push(timed(|| {
            assert_eq!(a.request("PATCH", &path, Some(&json!({"stage": "2_current"}))).unwrap().status, 200);
            while feed.next_event().unwrap().kind != "change" {}
        }));
    }
    spread("edit at one node, durable at and told by the other", &mut taken);
    println!("memory: first node {} KiB, second {} KiB, with {total} items", memory(&a), memory(&b));

    a.kill().unwrap();
    let (_a, again) = timed_with(|| {
        let a = plan(dir.path(), "a").start().unwrap();
        wait_for(&a, total);
        a
    });
    rate("restart after kill -9 until the board is served", total, "items", again);
}

/// What this machine can do at best.
fn floors(dir: &Path) {
    let key = make_keypair();
    let mut taken: Vec<Duration> =
        (0..500u32).map(|n| timed(|| drop(key.sign(&n.to_le_bytes()).to_vec()))).collect();
    spread("floor: sign", &mut taken);
    let mut file = File::create(dir.join("floor")).unwrap();
    let mut taken: Vec<Duration> = (0..200)
        .map(|_| {
            timed(|| {
                file.write_all(&[7; 300]).unwrap();
                file.sync_data().unwrap();
            })
        })
        .collect();
    spread("floor: append 300 bytes and fdatasync", &mut taken);
    // The log overwrites the space of its journal: cheaper, since the file does not grow.
    let mut taken: Vec<Duration> = (0..200)
        .map(|_| {
            timed(|| {
                file.rewind().unwrap();
                file.write_all(&[8; 300]).unwrap();
                file.sync_data().unwrap();
            })
        })
        .collect();
    spread("floor: overwrite 300 bytes and fdatasync", &mut taken);
}

fn plan(dir: &Path, name: &str) -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_gangline"), dir.join(name))
}

fn add(node: &Node, story_id: &str) {
    let item = json!({"story_id": story_id, "name": "A name of some length"});
    assert_eq!(node.request("POST", "/api/v1/items", Some(&item)).unwrap().status, 201);
}

/// Looks every few milliseconds; asking for the items themselves would be most of the work.
fn wait_for(node: &Node, items: usize) {
    let shown =
        || node.request("GET", "/api/v1/status", None).unwrap().json()["documents"][0]["items"].as_u64();
    while shown().is_none_or(|shown| shown < items as u64) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Resident memory in KiB.
fn memory(node: &Node) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
