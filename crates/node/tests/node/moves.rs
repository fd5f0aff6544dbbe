//! Logs that move: exported, imported elsewhere, recovered after two histories of one have been seen.

use std::fs;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::harness::{Ended, Node};

const SPACE: &str = "/api/v1/spaces/team/pages";

fn append(node: &Node, n: u64) {
    let body = json!({ "type": "T", "id": format!("id-{n}"), "payload": { "n": n } }).to_string();
    let answer = node.post(&format!("{SPACE}/events"), &body);
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn events(node: &Node) -> Value {
    node.get(&format!("{SPACE}/events?signatures=true")).json()
}

#[track_caller]
fn done(node: &Node, dir: &TempDir, args: &[&str]) -> Ended {
    let ended = node.cli(dir, args);
    assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
    ended
}

fn on(backend: &str) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("gangline.toml"), format!("[log_store]\nbackend = \"{backend}\"\n")).unwrap();
    dir
}

#[test]
fn a_log_moves_from_one_backend_to_another_and_goes_on_there() {
    let (at_a, at_b) = (on("sqlite"), on("git"));
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    (0..5).for_each(|n| append(&a, n));
    let before = events(&a);
    let file = at_a.path().join("pages.jsonl").to_str().unwrap().to_owned();
    let out = done(&a, &at_a, &["log", "export", "team/pages", &file, "--to", &b.url]);
    assert_eq!(
        out.stdout,
        format!("wrote 5 events of team/pages to {file}; appends here are sent to {}\n", b.url)
    );
    let lines: Vec<Value> =
        fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["gangline_log"], &lines[0]["next"], lines.len()), (&json!(1), &json!(5), 6));
    assert_eq!(lines[1..], before.as_array().unwrap()[..]);

    let refused = a.post(&format!("{SPACE}/events"), r#"{"type":"T","payload":{}}"#);
    assert_eq!(refused.refused(409, "log_moved")["to"], b.url);
    a.ask("POST", &format!("{SPACE}/lease"), &[], b"").refused(409, "log_moved");
    assert_eq!(events(&a), before, "it can still be read");
    assert_eq!(a.cli(&at_a, &["log", "export", "team/pages", &file]).code, 4, "the file is there already");

    let took = done(&b, &at_b, &["log", "import", &file]);
    assert_eq!(took.stdout, "team/pages has 5 events; it is appended to here from now on\n");
    assert_eq!(events(&b), before, "the same hashes everywhere");
    append(&b, 5);
    let again = b.post(&format!("{SPACE}/events"), r#"{"type":"T","id":"id-3","payload":{"n":3}}"#);
    assert_eq!((again.status, &again.json()["seq"]), (200, &json!(3)), "ids move too");
    done(&b, &at_b, &["log", "verify", "team/pages"]);
    let open = b.cli(&at_b, &["log", "import", &file]);
    assert_eq!(open.code, 4, "{open:?}");
}

#[test]
fn a_copy_is_kept_up_to_date_and_takes_no_appends() {
    let (at_a, at_b) = (on("sqlite"), on("sqlite"));
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    append(&a, 0);
    done(&a, &at_a, &["log", "export", "team/pages", "one", "--copy"]);
    append(&a, 1);
    append(&a, 2);
    done(&a, &at_a, &["log", "export", "team/pages", "two", "--copy"]);
    for file in ["one", "two", "two"] {
        let file = at_a.path().join(file).to_str().unwrap().to_owned();
        done(&b, &at_b, &["log", "import", &file, "--copy"]);
    }
    assert_eq!(events(&a), events(&b));
    b.post(&format!("{SPACE}/events"), r#"{"type":"T","payload":{}}"#).refused(409, "log_read_only");
    assert_eq!(b.get(SPACE).json()["access"], "copy");
    let older = at_a.path().join("one").to_str().unwrap().to_owned();
    assert_eq!(b.cli(&at_b, &["log", "import", &older, "--copy"]).code, 8, "it ends before what is here");
    assert_eq!(events(&a), events(&b));
    append(&a, 3);
}

#[test]
fn lines_that_break_a_rule_are_refused_and_the_offender_is_named() {
    let (at_a, at_b) = (on("sqlite"), on("memory"));
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    (0..4).for_each(|n| append(&a, n));
    done(&a, &at_a, &["log", "export", "team/pages", "good", "--copy"]);
    let good = fs::read_to_string(at_a.path().join("good")).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let without = |n: usize| {
        let kept: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != n).map(|(_, line)| *line).collect();
        kept.join("\n")
    };
    for (text, code, part) in [
        (good.replace(r#"{"n":2}"#, r#"{"n":7}"#), 5, "event 2 says hash"),
        (without(2), 5, "event 2 stands where event 1 belongs"),
        (without(4), 5, "its store says 4 events"),
        (good.replace("\"holder\":\"", "\"holder\":\"zz"), 5, "line 2 is no event"),
        (good.replacen("\"gangline_log\":1", "\"gangline_log\":9", 1), 2, "format 9"),
        (without(0), 2, "no export of a log"),
        (String::new(), 2, "no export of a log"),
    ] {
        fs::write(at_b.path().join("bad"), &text).unwrap();
        let ended = b.cli(&at_b, &["log", "import", "bad"]);
        assert_eq!(ended.code, code, "{part}: {ended:?}");
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    let other = b.ask("POST", "/api/v1/spaces/other/import", &[], good.as_bytes());
    other.refused(422, "not_a_log");
    // What was taken before the offender is a part of the log, so the good one goes on from there.
    let file = at_a.path().join("good").to_str().unwrap().to_owned();
    done(&b, &at_b, &["log", "import", &file]);
    assert_eq!(events(&a), events(&b));
}

#[test]
fn the_longer_of_two_histories_goes_on_and_the_other_is_kept() {
    let (at_a, at_b) = (on("sqlite"), on("sqlite"));
    let (a, b) = (Node::start(&at_a), Node::start(&at_b));
    append(&a, 0);
    append(&a, 1);
    done(&a, &at_a, &["log", "export", "team/pages", "shared", "--copy"]);
    let shared = at_a.path().join("shared").to_str().unwrap().to_owned();
    done(&b, &at_b, &["log", "import", &shared]);
    // Both go on: two histories of one log.
    append(&a, 2);
    (10..13).for_each(|n| append(&b, n));
    done(&b, &at_b, &["log", "export", "team/pages", "longer", "--copy"]);
    let longer = at_b.path().join("longer").to_str().unwrap().to_owned();
    let shorter = events(&a);

    let recovered = done(&a, &at_a, &["--json", "log", "recover", "team/pages", "--from", &longer]).json();
    assert_eq!((&recovered["relation"], &recovered["forked_at"]), (&json!("forked"), &json!(2)));
    assert_eq!(recovered["next"], 5);
    assert_eq!(events(&a), events(&b));
    append(&a, 3);
    done(&a, &at_a, &["log", "verify", "team/pages"]);
    let kept = at_a.path().join(recovered["kept"].as_str().unwrap());
    let lines: Vec<Value> = fs::read_to_string(kept)
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[..], shorter.as_array().unwrap()[..]);
    let left: Vec<_> = fs::read_dir(at_a.path().join("gangline-data")).unwrap().collect();
    assert!(left.iter().all(|entry| !format!("{entry:?}").contains("scratch-")), "{left:?}");

    let same = done(&b, &at_b, &["log", "recover", "team/pages", "--from", &longer]).stdout;
    assert!(same.starts_with("team/pages: both are the same\n"), "{same}");
    let epoch = b.get(SPACE).json()["epoch"].clone();
    append(&b, 4);
    assert!(b.get(SPACE).json()["epoch"].as_u64().unwrap() > epoch.as_u64().unwrap());
    assert_eq!(b.cli(&at_b, &["log", "recover", "other", "--from", &longer]).code, 2);
    assert_eq!(b.cli(&at_b, &["log", "recover", "team/pages", "--from", "nowhere"]).code, 3);
}
