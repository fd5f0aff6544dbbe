//! The demo ends well, and shows what it says.

use serde_json::Value;
use tempfile::tempdir;

use super::harness::{Process, run};

#[test]
fn three_boards_part_and_agree() {
    let dir = tempdir().unwrap();
    let ended = run(dir.path(), &["demo", "--duration", "0s", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let told: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(events[0], "started");
    let cut = events.iter().position(|event| *event == "cut").unwrap();
    let healed = events.iter().position(|event| *event == "healed").unwrap();
    assert!(cut < healed);
    let apart = told.iter().find(|event| event["event"] == "apart").unwrap();
    assert_ne!(apart["together"], apart["alone"]);
    let summary = told.last().unwrap();
    assert_eq!((summary["event"].as_str(), summary["agree"].as_bool()), (Some("summary"), Some(true)));
    assert_eq!(summary["items"], 7);
    let mut disputed: Vec<&String> = summary["conflicts"].as_object().unwrap().keys().collect();
    disputed.sort();
    assert_eq!(disputed, ["export", "login", "search"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn for_people_it_ends_with_a_summary() {
    let dir = tempdir().unwrap();
    let ended = run(dir.path(), &["demo", "--duration", "0s"]);
    assert_eq!(ended.code, 0);
    assert!(ended.stdout.contains("All three boards agree: 7 items"), "{}", ended.stdout);
}

#[test]
fn kept_boards_stay_until_they_are_told_to_stop() {
    let dir = tempdir().unwrap();
    let mut demo = Process::spawn(dir.path(), &["demo", "--duration", "0s", "--keep", "--json"]);
    let started: Value = serde_json::from_str(&demo.stdout.next()).unwrap();
    demo.stdout.until("\"kept\"");
    let board = started["nodes"][1]["board"].as_str().unwrap();
    let items = run(dir.path(), &["--node", board, "--json", "item", "list"]).json();
    assert_eq!(items.as_array().unwrap().len(), 7);
    demo.signal("INT");
    assert_eq!(demo.ended(), 0);
}
