//! Nodes whose logs are at another node, their coordinator: members hold, forward and follow.

use std::fs;
use std::path::Path;
use std::thread::sleep;

use gangline_tests::node::{Node, Plan};
use serde_json::{Value, json};

use super::storm::{Storm, append, events, ids, post};
use super::{NAME, Nodes, SPACE, TTL, command, done, get, lease, pause_the_holder, plan, until};
use crate::Team;

/// The coordinator, then a member, then a member that follows.
const COORDINATOR: usize = 0;
const MEMBER: usize = 1;
const FOLLOWER: usize = 2;

fn nodes(team: &Team) -> Nodes {
    let ttl = format!("ttl = \"{}ms\"\n", TTL.as_millis());
    let first: Plan = plan(team, "coordinator", &format!("[lease]\n{ttl}"));
    let mut nodes = Nodes::start(vec![first]);
    let at = nodes.addresses[COORDINATOR];
    let member = format!("[lease]\nregistry = \"node\"\ncoordinator = \"http://{at}\"\n{ttl}");
    nodes.add(plan(team, "member", &member));
    nodes.add(plan(team, "follower", &format!("{member}follow = [\"*\"]\n")));
    [MEMBER, FOLLOWER].into_iter().for_each(|n| meets(nodes.node(n)));
    nodes
}

/// Waits until a node has reached its coordinator.
fn meets(node: &Node) {
    until("the coordinator", || !lease(node).is_null());
}

/// Makes a node the holder.
fn acquire(node: &Node) {
    until("the lease", || node.request("POST", &format!("{SPACE}/lease"), None).unwrap().status == 200);
}

fn all(nodes: &Nodes) -> [&Node; 3] {
    [nodes.node(COORDINATOR), nodes.node(MEMBER), nodes.node(FOLLOWER)]
}

/// Whether what a node answers is its copy.
fn is_stale(node: &Node) -> bool {
    get(node, &format!("{SPACE}/events")).is_ok_and(|answer| answer.head.contains("x-gangline-stale: "))
}

#[test]
fn a_killed_member_that_holds_loses_nothing() {
    let team = Team::new();
    let mut nodes = nodes(&team);
    acquire(nodes.node(MEMBER));
    let mut storm = Storm::on(&nodes.addresses);
    storm.wait_for(60);
    assert_eq!(nodes.holder(), MEMBER, "whoever appends all the time keeps the space");
    nodes.kill(MEMBER);
    let killed = storm.now();
    storm.wait_for_those(30, |told| told.said.began > killed);
    nodes.restart(MEMBER);
    storm.wait_for_at(MEMBER, 20);
    storm.settle(&team, &all(&nodes));
}

#[test]
fn a_member_that_holds_and_sleeps_is_fenced() {
    let team = Team::new();
    let nodes = nodes(&team);
    acquire(nodes.node(MEMBER));
    let mut storm = Storm::on(&nodes.addresses);
    storm.wait_for(60);
    assert_eq!(pause_the_holder(&nodes, &mut storm, None), MEMBER);
    let paused = storm.now();
    storm.wait_for_those(60, |told| told.said.began > paused);
    sleep(2 * TTL);
    nodes.node(MEMBER).wake().unwrap();
    storm.wait_for_at(MEMBER, 40);
    storm.settle(&team, &all(&nodes));
    let log = events(nodes.node(FOLLOWER));
    let holders: Vec<&Value> = log.iter().map(|event| &event["holder"]).collect();
    assert_ne!(holders.first(), holders.last(), "another has taken over");
}

#[test]
fn a_killed_coordinator_loses_nothing_and_its_followers_answer() {
    let team = Team::new();
    let mut nodes = nodes(&team);
    acquire(nodes.node(MEMBER));
    let mut storm = Storm::on(&nodes.addresses);
    storm.wait_for(60);
    let follower = nodes.node(FOLLOWER);
    until("a copy", || status(follower)["copies"]["events"].as_u64().is_some_and(|count| count > 0));
    nodes.kill(COORDINATOR);
    let follower = nodes.node(FOLLOWER);
    until("a stale answer", || is_stale(follower));
    let copied = ids(&events(follower));
    assert!(!copied.is_empty());
    nodes.restart(COORDINATOR);
    let restarted = storm.now();
    for n in 0..3 {
        storm.wait_for_those(20, |told| told.at == n && told.said.began > restarted);
    }
    until("a fresh answer", || !is_stale(nodes.node(FOLLOWER)));
    storm.settle(&team, &all(&nodes));
    let log = ids(&events(nodes.node(FOLLOWER)));
    assert_eq!(log[..copied.len()], copied, "what was answered meanwhile was the log's beginning");
}

#[test]
fn an_older_backup_is_noticed_and_the_longer_log_is_gone_on_with() {
    let team = Team::new();
    let mut nodes = nodes(&team);
    append(nodes.node(MEMBER), "one");
    nodes.kill(COORDINATOR);
    let data = team.folder.path().join("coordinator");
    let backup = team.folder.path().join("backup");
    copy_all(&data, &backup);
    nodes.restart(COORDINATOR);
    meets(nodes.node(MEMBER));
    meets(nodes.node(FOLLOWER));
    append(nodes.node(MEMBER), "two");
    append(nodes.node(FOLLOWER), "three");
    until("the copy", || status(nodes.node(FOLLOWER))["copies"]["events"] == 3);

    nodes.kill(COORDINATOR);
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&backup, &data).unwrap();
    nodes.restart(COORDINATOR);
    // Whoever was there when it was longer does not go on with it, whether it holds the space or copies it.
    for n in [MEMBER, FOLLOWER] {
        let node = nodes.node(n);
        meets(node);
        refused(node, "four");
    }
    until("the divergence", || status(nodes.node(FOLLOWER))["copies"]["stopped"][0]["space"] == NAME);
    // The coordinator cannot know: once nobody has the space any more, it goes on from what it has.
    until("an append", || post(nodes.node(COORDINATOR), "another").status == 201);
    let follower = nodes.node(FOLLOWER);
    refused(follower, "four");
    let answer = get(follower, &format!("{SPACE}/events")).unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("log_diverged")));
    assert_eq!(status(follower)["copies"]["events"], 3, "no second history is followed");

    // What the follower keeps is the longer one.
    let folder = team.folder.path();
    done(follower, folder, &["log", "export", NAME, "copy.jsonl", "--copy"]);
    let coordinator = nodes.node(COORDINATOR);
    let said = done(coordinator, folder, &["log", "recover", NAME, "--from", "copy.jsonl"]);
    assert!(said.contains("they part at event 1"), "{said}");
    assert_eq!(ids(&events(coordinator)), ["one", "two", "three"]);
    // It is what all have seen, so all serve it again: whoever looks by itself, and whoever is asked.
    let follower = nodes.node(FOLLOWER);
    until("an end of the divergence", || {
        let status = status(follower);
        status["diverged"] == json!([]) && status["copies"]["stopped"] == json!([])
    });
    for (n, id) in [(MEMBER, "five"), (FOLLOWER, "six"), (COORDINATOR, "seven")] {
        append(nodes.node(n), id);
    }
    let follower = nodes.node(FOLLOWER);
    until("the copy", || status(follower)["copies"]["events"] == 6);
    assert_eq!(ids(&events(follower)), ["one", "two", "three", "five", "six", "seven"]);
    done(follower, folder, &["log", "verify", NAME]);
    let (code, said) = command(follower, folder, &["log", "export", NAME, "copy.jsonl", "--copy"]);
    assert_eq!(code, 4, "{said}");
}

fn status(node: &Node) -> Value {
    get(node, "/api/v1/status").map(|answer| answer.json()["log"].clone()).unwrap_or_default()
}

/// Insists that a node does not serve the space.
#[track_caller]
fn refused(node: &Node, id: &str) {
    let answer = post(node, id);
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("log_diverged")), "{}", answer.json());
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}
