//! Nodes that share one log on disk: whoever does not hold the space forwards to the holder.

use std::thread::sleep;

use super::storm::{Storm, events};
use super::{Nodes, TTL, lease, pause_the_holder, plan};
use crate::Team;

/// Three nodes on one log.
fn nodes(team: &Team, backend: &str) -> Nodes {
    let path = team.folder.path().join("shared");
    let settings = format!(
        "[log_store]\nbackend = \"{backend}\"\npath = \"{}\"\n[lease]\nttl = \"{}ms\"\n",
        path.display(),
        TTL.as_millis()
    );
    Nodes::start(["alice", "bob", "carol"].map(|name| plan(team, name, &settings)).to_vec())
}

fn a_killed_holder(backend: &str) {
    let team = Team::new();
    let mut nodes = nodes(&team, backend);
    let mut storm = Storm::on(&nodes.addresses);
    for _ in 0..2 {
        storm.wait_for(60);
        let holder = nodes.holder();
        nodes.kill(holder);
        let killed = storm.now();
        storm.wait_for_those(30, |told| told.said.began > killed);
        nodes.restart(holder);
        storm.wait_for_at(holder, 20);
    }
    let told = storm.settle(&team, &[nodes.node(0), nodes.node(1), nodes.node(2)]);
    // Each took part, though one held at a time.
    assert!((0..3).all(|n| told.iter().any(|told| told.at == n)));
}

#[test]
fn a_killed_holder_of_a_log_in_sqlite_loses_nothing() {
    a_killed_holder("sqlite");
}

#[test]
fn a_killed_holder_of_a_log_in_git_loses_nothing() {
    a_killed_holder("git");
}

/// `lock`: what whoever writes has locked.
fn a_holder_that_sleeps(backend: &str, lock: &str) {
    let team = Team::new();
    let nodes = nodes(&team, backend);
    let mut storm = Storm::on(&nodes.addresses);
    storm.wait_for(60);
    let holder = pause_the_holder(&nodes, &mut storm, Some(&team.folder.path().join("shared").join(lock)));
    // The others have it by now, and serve the clients of all.
    let paused = storm.now();
    storm.wait_for_those(60, |told| told.said.began > paused && told.at != holder);
    sleep(2 * TTL);
    let epoch_of_others = lease(nodes.node((holder + 1) % 3))["epoch"].as_u64().unwrap();
    nodes.node(holder).wake().unwrap();
    // It was in the middle of appends, and believes that it holds the space.
    storm.wait_for_at(holder, 40);
    storm.settle(&team, &[nodes.node(0), nodes.node(1), nodes.node(2)]);
    let log = events(nodes.node(0));
    let epochs: Vec<u64> = log.iter().map(|event| event["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted() && epochs.first() < Some(&epoch_of_others), "{epochs:?}");
}

#[test]
fn a_holder_of_a_log_in_sqlite_that_sleeps_is_fenced() {
    a_holder_that_sleeps("sqlite", "log.db-shm");
}

#[test]
fn a_holder_of_a_log_in_git_that_sleeps_is_fenced() {
    a_holder_that_sleeps("git", "gangline/lock");
}
