//! Texts that both sides changed, beside what `git merge-file` makes of them; and what every splice must do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

#[path = "laws/world.rs"]
mod world;

use std::path::Path;
use std::process::Command;

use gangline_reconcile::{Mode, Splice, splices};
use proptest::prelude::*;
use serde_json::json;
use world::{Database, Node, shape};

/// What git makes of three texts; none where it finds a conflict.
fn git(directory: &Path, mine: &str, base: &str, theirs: &str) -> Option<String> {
    let files = [("mine", mine), ("base", base), ("theirs", theirs)].map(|(name, text)| {
        let file = directory.join(name);
        std::fs::write(&file, text).unwrap();
        file
    });
    let output = Command::new("git").args(["merge-file", "-p"]).args(files).output();
    let output = output.expect("git is on the machine: it is what is compared with");
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap()),
        Some(1..=127) => None,
        code => panic!("git merge-file ended with {code:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// What the document makes of them: the database has the one, somebody types the other.
fn document(mine: &str, base: &str, theirs: &str) -> String {
    let shape = shape(Mode::Merge);
    let mut database = Database::new();
    database.content["about"] = json!(base);
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    alice.patch(&shape, json!({"about": mine}));
    database.content["about"] = json!(theirs);
    alice.reconcile(&shape, &database.rows(&shape));
    alice.view()["about"].as_str().unwrap().to_owned()
}

/// What one side does at a place of the text.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Replace(Vec<String>),
    Delete,
    InsertBefore(Vec<String>),
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z ]{0,12}", 1 => "[ab]{0,2}", 1 => "\\PC{0,6}"].prop_map(|line| format!("{line}\n"))
}

fn change() -> impl Strategy<Value = Change> {
    let lines = || prop::collection::vec(line(), 1..3);
    prop_oneof![
        2 => Just(Change::Nothing),
        2 => lines().prop_map(Change::Replace),
        1 => Just(Change::Delete),
        1 => lines().prop_map(Change::InsertBefore),
    ]
}

/// Places, each with some lines, whose they are, what is done there, and the untouched lines behind them.
type Places = Vec<(Vec<String>, bool, Change, Vec<String>)>;

fn places() -> impl Strategy<Value = Places> {
    let lines = || prop::collection::vec(line(), 1..4);
    let place = (lines(), any::<bool>(), change(), lines());
    prop::collection::vec(place, 1..7)
}

/// Base, mine and theirs.
fn texts(places: &Places) -> (String, String, String) {
    let (mut base, mut mine, mut theirs) = (String::new(), String::new(), String::new());
    for (lines, is_mine, change, between) in places {
        let old = lines.concat();
        let new = match change {
            Change::Nothing => old.clone(),
            Change::Replace(new) => new.concat(),
            Change::Delete => String::new(),
            Change::InsertBefore(new) => new.concat() + &old,
        };
        let between = between.concat();
        base.extend([&*old, &*between]);
        mine.extend([if *is_mine { &*new } else { &*old }, &*between]);
        theirs.extend([if *is_mine { &*old } else { &*new }, &*between]);
    }
    (base, mine, theirs)
}

fn apply(old: &str, splices: &[Splice]) -> String {
    let mut chars: Vec<char> = old.chars().collect();
    for splice in splices.iter().rev() {
        chars.splice(splice.position..splice.position + splice.removed, splice.inserted.chars());
    }
    chars.into_iter().collect()
}

#[track_caller]
fn check(old: &str, new: &str) -> Vec<Splice> {
    let found = splices(old, new);
    assert_eq!(apply(old, &found), new);
    let mut end = None;
    for splice in &found {
        assert!(splice.removed > 0 || !splice.inserted.is_empty(), "a splice does something");
        // Two that touch would be one.
        assert!(
            end.is_none_or(|end| splice.position > end),
            "they ascend, with something between them: {found:?}"
        );
        end = Some(splice.position + splice.removed);
    }
    assert!(end.unwrap_or_default() <= old.chars().count());
    assert_eq!(found.is_empty(), old == new);
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn separate_lines_merge_as_git_merges_them(places in places()) {
        let directory = tempfile::tempdir().unwrap();
        let (base, mine, theirs) = texts(&places);
        if let Some(expected) = git(directory.path(), &mine, &base, &theirs) {
            prop_assert_eq!(document(&mine, &base, &theirs), expected, "{:?} {:?} {:?}", base, mine, theirs);
        }
    }

    #[test]
    fn splices_lead_from_any_text_to_any_other(
        old in "(\\PC|[ab]|\n){0,60}",
        new in "(\\PC|[ab]|\n){0,60}",
    ) {
        check(&old, &new);
    }

    #[test]
    fn splices_lead_from_a_text_to_what_was_made_of_it(
        lines in prop::collection::vec("([ab]{0,3}|\\PC{0,8})\n?", 0..60),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, "([ab\n]|\\PC){0,6}"), 0..8),
    ) {
        let old = lines.concat();
        let mut chars: Vec<char> = old.chars().collect();
        for (at, removed, inserted) in &edits {
            let at = at.index(chars.len() + 1);
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, inserted.chars());
        }
        let new: String = chars.into_iter().collect();
        let found = check(&old, &new);
        let back = check(&new, &old);
        let is_small = |found: &[Splice], most: usize| found.len() <= most;
        // Each edit touches a few lines, and each of those is a few splices at most.
        prop_assert!(is_small(&found, 16 * edits.len()) && is_small(&back, 16 * edits.len()));
    }
}

#[test]
fn one_sided_texts_are_that_sides_and_git_says_so_too() {
    let directory = tempfile::tempdir().unwrap();
    let (base, changed) = ("a\nb\nc\n", "a\nB and more\nc\nd\n");
    for (mine, theirs) in [(changed, base), (base, changed), (base, base), ("", base)] {
        let expected = git(directory.path(), mine, base, theirs).expect("no conflict");
        assert_eq!(document(mine, base, theirs), expected);
    }
}

#[test]
fn long_and_repetitive_texts_are_spliced_where_they_differ() {
    let long: String = (0..20_000).map(|n| format!("line {n} of many\n")).collect();
    let edited = long.replace("line 77 of", "line 77 out of").replace("line 19000 of many\n", "");
    assert_eq!(check(&long, &edited).len(), 2);
    let same = "a\n".repeat(20_000);
    let edited = format!("{}b\n{}c\n{}", "a\n".repeat(5_000), "a\n".repeat(9_000), "a\n".repeat(6_000));
    let found = check(&same, &edited);
    assert_eq!(
        found.iter().map(|splice| (splice.position, splice.inserted.as_str())).collect::<Vec<_>>(),
        [(10_000, "b\n"), (28_000, "c\n")]
    );
    let one_line = "ab".repeat(30_000);
    let edited = format!("{}X{}", &one_line[..30_001], &one_line[30_001..]);
    assert_eq!(check(&one_line, &edited).len(), 1);
    check(&one_line, &"ba".repeat(30_000));
    check(&long, "");
    check("", &long);
}

/// What the worst texts cost is bounded: by how many splices come of them, and by the test being done at all. Every other
/// line of a long text, every third character of a long line, and nothing in common at all: without bounds each takes
/// minutes.
#[test]
fn the_worst_texts_cost_no_more_than_the_bounds_allow() {
    const SPLICES_MAX: usize = 3_072;
    let lines = |end: &str| -> String {
        (0..200_000).map(|n| if n % 2 == 0 { format!("{n}\n") } else { format!("{n}{end}\n") }).collect()
    };
    let repeated = |end: &str| -> String { ["a\n", end].concat().repeat(100_000) };
    let characters =
        |end: char, count: usize| -> String { (0..count).flat_map(|_| ['a', 'b', end]).collect() };
    let permuted: String = (0..100_000_u64).map(|n| format!("{}\n", n * 7_919 % 100_000)).collect();
    let straight: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    let worst = [
        (lines("x"), lines("y")),
        (repeated("b\n"), repeated("c\n")),
        (repeated("b\n"), "b\n".repeat(150_000)),
        (characters('x', 100_000), characters('y', 100_000)),
        ("x".repeat(1_000_000), "y".repeat(900_000)),
        (straight, permuted),
    ];
    for (old, new) in &worst {
        let found = check(old, new);
        assert!(found.len() <= SPLICES_MAX, "{} splices", found.len());
    }
    // The worst case of 8 KB: nothing in common is one splice, and a third of all characters one for each.
    assert_eq!(check(&"x".repeat(8_192), &"y".repeat(8_192)).len(), 1);
    assert_eq!(check(&characters('x', 170), &characters('y', 170)).len(), 170);
    assert_eq!(check(&characters('x', 2_730), &characters('y', 2_730)).len(), 1, "too far apart: one");
}
