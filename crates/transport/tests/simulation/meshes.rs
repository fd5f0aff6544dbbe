//! Whatever happens on the way, honest nodes end alike, acknowledged edits stay, and nobody forks a chain.

use gangline_transport::session::SessionSettings;

use crate::net::{Faults, Net};
use crate::rng::Rng;

/// Runs `f` for some seeds; `SEED` replays one, `SEEDS` says how many.
fn for_seeds(count: u64, f: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SEED") {
        return f(seed);
    }
    for seed in 0..number("SEEDS").unwrap_or(count) {
        let replay = Replay(seed);
        f(seed);
        std::mem::forget(replay);
    }
}

struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        eprintln!("replay with SEED={}", self.0);
    }
}

fn chain(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|n| (n, n - 1)).collect()
}

fn star(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|n| (n, 0)).collect()
}

fn ring(count: usize) -> Vec<(usize, usize)> {
    (0..count).map(|n| (n, (n + 1) % count)).collect()
}

fn full(count: usize) -> Vec<(usize, usize)> {
    (0..count).flat_map(|n| (0..n).map(move |m| (n, m))).collect()
}

fn any_mesh(rng: &mut Rng) -> (usize, Vec<(usize, usize)>) {
    let count = 3 + rng.below(4);
    let edges = match rng.below(4) {
        0 => chain(count),
        1 => star(count),
        2 => ring(count),
        _ => full(count),
    };
    (count, edges)
}

/// Small batches and bulks, so that every limit is met.
fn tight(rng: &mut Rng) -> SessionSettings {
    SessionSettings {
        bulk_bytes_max: [0, 3_000, 8 << 20][rng.below(3)],
        send_ops_max: 1 + rng.below(20),
        send_bytes_max: 1 + rng.below(10_000),
        batch_frames_max: 1 + rng.below(20),
        ..SessionSettings::default()
    }
}

fn converges(seed: u64) {
    let mut rng = Rng::new(seed);
    let (count, edges) = any_mesh(&mut rng);
    let settings = tight(&mut rng);
    let mut net = Net::new(seed, count, &edges, settings);
    net.faults = Faults {
        delay_ms: (1, 1 + rng.next() % 400),
        duplicated_percent: rng.next() % 20,
        reordered_percent: rng.next() % 30,
        lost_percent: rng.next() % 3,
    };
    for _ in 0..150 {
        let pause = net.rng.ms((0, 800));
        net.run(pause);
        let node = net.rng.below(count);
        let edge = net.rng.below(net.edges.len());
        match net.rng.below(100) {
            0..60 => (0..1 + net.rng.below(4)).for_each(|_| {
                if net.nodes[node].replica.is_some() {
                    net.edit(node);
                }
            }),
            60..68 => net.edges[edge].is_cut = true,
            68..78 => net.edges[edge].is_cut = false,
            78..82 => net.crash(node),
            82..90 if net.nodes[node].replica.is_none() => net.restart(node),
            90..95 => {
                let length = net.rng.below(200);
                let garbage = net.rng.bytes(length);
                let is_text = net.rng.chance(50);
                net.inject(&garbage, is_text);
            }
            _ => {
                if let Some(mut frame) = net.some_frame() {
                    if net.rng.chance(70) {
                        let at = net.rng.below(frame.len());
                        frame[at] ^= 1 << net.rng.below(8);
                    }
                    net.inject(&frame, false);
                }
            }
        }
    }
    net.heal_and_settle(600_000);
    for node in &net.nodes {
        for digest in node.acked() {
            let is_there =
                net.nodes.iter().all(|other| other.replica().read(|base| base.contains(&digest)).0);
            assert!(is_there, "an acknowledged change is lost");
        }
        assert!(node.replica().equivocations().is_empty(), "a node forked its own chain");
    }
}

#[test]
fn honest_nodes_converge() {
    for_seeds(24, converges);
}

/// Without faults, and with all links up before the edits.
fn transmissions(count: usize, edges: &[(usize, usize)]) -> u64 {
    let mut net = Net::new(7, count, edges, SessionSettings::default());
    net.run(1_000);
    assert!(net.is_quiet());
    for node in 0..count {
        for _ in 0..10 {
            net.edit(node);
            let pause = net.rng.ms((0, 30));
            net.run(pause);
        }
    }
    net.heal_and_settle(60_000);
    assert!(net.closed.is_empty());
    let changes: u64 = net.nodes[0].replica().durable().0;
    let edges = edges.len() as u64;
    assert!(net.transmissions <= 2 * edges * changes, "more than one transmission per edge and direction");
    assert!(net.transmissions >= changes * (count as u64 - 1));
    net.transmissions / changes
}

#[test]
fn relaying_costs_at_most_one_transmission_per_edge_and_direction() {
    // A tree has one way only, so every edge is crossed exactly once.
    assert_eq!(transmissions(5, &chain(5)), 4);
    assert_eq!(transmissions(6, &star(6)), 5);
    assert!(transmissions(5, &ring(5)) <= 10);
    assert!(transmissions(4, &full(4)) <= 12);
}

#[test]
fn two_edges_between_two_nodes_and_one_to_oneself_are_harmless() {
    let mut net = Net::new(3, 2, &[(0, 1), (1, 0), (0, 1), (0, 0), (1, 1)], SessionSettings::default());
    for _ in 0..20 {
        net.edit(0);
        net.edit(1);
        net.run(50);
    }
    net.heal_and_settle(60_000);
    assert!(net.closed.is_empty(), "{:?}", net.closed);
}

/// Both sides of a cut go on for minutes; the sessions notice by silence, and come back.
#[test]
fn a_long_partition_heals() {
    let mut net = Net::new(11, 3, &chain(3), SessionSettings::default());
    net.run(1_000);
    net.edges[0].is_cut = true;
    for _ in 0..200 {
        net.edit(0);
        net.edit(2);
        net.run(1_500);
    }
    assert!(!net.agrees());
    let idle = net.closed.iter().filter(|(_, reason)| reason.name() == "idle").count();
    assert_eq!(idle, 2, "both ends notice: {:?}", net.closed);
    net.heal_and_settle(60_000);
    assert_eq!(net.nodes[1].replica().durable().0, net.nodes[1].replica().stats().changes as u64);
}

/// A node that comes late gets more than fits into one text frame.
#[test]
fn a_large_document_follows_its_bulk() {
    let settings = SessionSettings { bulk_bytes_max: 20_000, ..SessionSettings::default() };
    let mut net = Net::new(13, 2, &[], settings.clone());
    for _ in 0..300 {
        net.edit(0);
    }
    net.run(10_000);
    let log = std::mem::take(&mut net.nodes[0].log);
    let mut late = Net::new(13, 2, &chain(2), settings);
    late.nodes[0].log = log;
    late.nodes[0].open();
    late.heal_and_settle(60_000);
    let changes = late.nodes[1].replica().durable().0;
    assert!(changes >= 300);
    assert!(late.transmissions > 0 && late.transmissions < changes, "part in the bulk, part behind it");
}
