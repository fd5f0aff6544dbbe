//! The outbox: what any writer touches is noted, and what is missing in it is said to be.

use std::collections::BTreeSet;

use super::fixture::{TWO_WORKFLOWS, bind, mapping, read_all, scan, update, workflows};
use super::{Check, Ground};
use crate::schema::Shape;
use crate::source::{Continuity, OutboxPosition, RowSource, SaveOutcome};

pub(super) const CHECKS: &[Check] = &[
    ("without_an_outbox_nothing_is_known", without_an_outbox_nothing_is_known),
    ("an_outbox_notes_every_root_that_is_touched", an_outbox_notes_every_root_that_is_touched),
    ("what_is_not_committed_is_not_noted", what_is_not_committed_is_not_noted),
    ("an_outbox_is_read_in_pages", an_outbox_is_read_in_pages),
    ("an_outbox_that_is_there_stays", an_outbox_that_is_there_stays),
    ("another_mapping_is_another_outbox", another_mapping_is_another_outbox),
    ("uninstalling_leaves_nothing_behind", uninstalling_leaves_nothing_behind),
    ("the_statements_can_be_executed_by_hand", the_statements_can_be_executed_by_hand),
    ("two_sources_share_a_database", two_sources_share_a_database),
    ("a_restored_backup_is_told", a_restored_backup_is_told),
    ("entries_that_are_missing_are_a_gap", entries_that_are_missing_are_a_gap),
    ("a_save_shows_in_the_outbox", a_save_shows_in_the_outbox),
    ("what_the_outbox_says_is_what_a_scan_says", what_the_outbox_says_is_what_a_scan_says),
];

fn end(source: &dyn RowSource, shape: &Shape) -> OutboxPosition {
    let read = source.outbox(shape, None, 1).unwrap().expect("an outbox is installed");
    assert_eq!(read.roots, [""; 0], "who has read nothing yet has to scan anyway");
    assert_eq!(read.continuity, Continuity::Gap);
    read.position
}

/// Which roots a statement touches by the outbox, sorted.
fn touched(
    ground: &dyn Ground,
    source: &dyn RowSource,
    shape: &Shape,
    at: &mut OutboxPosition,
    sql: &str,
) -> Vec<String> {
    ground.execute(sql);
    let read = source.outbox(shape, Some(*at), 1_000).unwrap().unwrap();
    assert_eq!((read.continuity, read.is_more), (Continuity::Whole, false), "{sql}");
    *at = read.position;
    let roots: BTreeSet<String> = read.roots.iter().cloned().collect();
    assert_eq!(roots.len(), read.roots.len(), "each root once");
    roots.into_iter().collect()
}

fn without_an_outbox_nothing_is_known(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    assert_eq!(source.outbox(&shape, None, 10).unwrap(), None);
    assert_eq!(source.was_saved(&shape, "save-1").unwrap(), None);
    source.prune(&shape).unwrap();
    source.uninstall(&shape).unwrap();
}

fn an_outbox_notes_every_root_that_is_touched(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    let mut at = end(source.as_ref(), &shape);
    let steps: [(&str, &[&str]); 16] = [
        ("INSERT INTO workflows (id, name) VALUES (4, 'new')", &["4"]),
        ("UPDATE workflows SET name = 'newer' WHERE id = 4", &["4"]),
        ("UPDATE workflows SET lock_version = 5 WHERE id = 4", &["4"]),
        ("UPDATE workflows SET id = 5 WHERE id = 4", &["4", "5"]),
        ("UPDATE workflows SET deleted_at = 'now' WHERE id = 5", &["5"]),
        ("DELETE FROM workflows WHERE id = 5", &["5"]),
        ("UPDATE workflows SET password = 'correct horse'", &[]),
        ("INSERT INTO jobs (id, workflow_id, name) VALUES ('d', 2, 'deploy')", &["2"]),
        ("UPDATE jobs SET body = 'make' WHERE id IN ('a', 'd')", &["1", "2"]),
        ("UPDATE jobs SET workflow_id = 30 WHERE id = 'd'", &["2", "30"]),
        ("UPDATE edges SET job_id = NULL WHERE id = 1", &["1"]),
        ("DELETE FROM jobs WHERE id = 'd'", &["30"]),
        ("DELETE FROM edges", &["1", "2"]),
        ("DELETE FROM workflows WHERE id = 777", &[]),
        // What the database does on its own account counts too: jobs go with their workflow.
        ("DELETE FROM workflows WHERE id = 2", &["2"]),
        ("DELETE FROM jobs", &["1"]),
    ];
    for (sql, expected) in steps {
        assert_eq!(touched(ground, source.as_ref(), &shape, &mut at, sql), expected, "{sql}");
    }
}

fn what_is_not_committed_is_not_noted(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    let at = end(source.as_ref(), &shape);
    ground.execute_while("UPDATE workflows SET name = 'soon' WHERE id = 1", &mut || {
        let read = source.outbox(&shape, Some(at), 10).unwrap().unwrap();
        assert_eq!((read.roots, read.position), (Vec::new(), at));
    });
    let read = source.outbox(&shape, Some(at), 10).unwrap().unwrap();
    assert_eq!(read.roots, ["1"]);
}

fn an_outbox_is_read_in_pages(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    source.install(&shape).unwrap();
    let mut at = end(source.as_ref(), &shape);
    for id in 0..10 {
        ground.execute(&format!("INSERT INTO workflows (id) VALUES ({id})"));
    }
    let mut roots = Vec::new();
    loop {
        let read = source.outbox(&shape, Some(at), 3).unwrap().unwrap();
        assert_eq!(read.continuity, Continuity::Whole);
        let again = source.outbox(&shape, Some(at), 3).unwrap().unwrap();
        assert_eq!(again, read, "an answer that got lost can be asked for again");
        assert!(read.roots.len() <= 3);
        roots.extend(read.roots);
        at = read.position;
        if !read.is_more {
            break;
        }
    }
    assert_eq!(roots, (0..10).map(|id| id.to_string()).collect::<Vec<_>>());
    let read = source.outbox(&shape, Some(at), 3).unwrap().unwrap();
    assert_eq!((read.roots.len(), read.position, read.is_more), (0, at, false));
}

fn an_outbox_that_is_there_stays(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    let at = end(source.as_ref(), &shape);
    ground.execute("UPDATE workflows SET name = 'x' WHERE id = 1");
    source.install(&shape).unwrap();
    ground.open().install(&shape).unwrap();
    source.prune(&shape).unwrap();
    let read = source.outbox(&shape, Some(at), 10).unwrap().unwrap();
    assert_eq!((read.roots.as_slice(), read.continuity), (["1".to_owned()].as_slice(), Continuity::Whole));
}

fn another_mapping_is_another_outbox(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let mut fewer = mapping();
    fewer.lists.truncate(1);
    let fewer = bind(source.as_ref(), fewer);
    source.install(&fewer).unwrap();
    let mut at = end(source.as_ref(), &fewer);
    assert_eq!(touched(ground, source.as_ref(), &fewer, &mut at, "DELETE FROM edges WHERE id = 1"), [""; 0]);
    assert_eq!(source.outbox(&shape, Some(at), 10).unwrap(), None, "it does not watch edges");

    source.install(&shape).unwrap();
    assert_eq!(source.outbox(&fewer, Some(at), 10).unwrap(), None);
    let read = source.outbox(&shape, Some(at), 10).unwrap().unwrap();
    assert_eq!(read.continuity, Continuity::Gap, "nobody has watched edges in between");
    let mut at = read.position;
    assert_eq!(touched(ground, source.as_ref(), &shape, &mut at, "DELETE FROM edges WHERE id = 2"), ["2"]);
    source.uninstall(&shape).unwrap();
    assert_eq!(source.outbox(&shape, Some(at), 10).unwrap(), None);
}

fn uninstalling_leaves_nothing_behind(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    let before = source.schema().unwrap();
    source.install(&shape).unwrap();
    assert_eq!(source.schema().unwrap(), before, "what is installed is no table to be mapped");
    ground.execute(TWO_WORKFLOWS);
    let digests = scan(source.as_ref(), &shape);
    source.uninstall(&shape).unwrap();
    assert_eq!(source.schema().unwrap(), before);
    assert_eq!(scan(source.as_ref(), &shape), digests);
    ground.execute("UPDATE workflows SET name = 'still writable'; DELETE FROM edges");
    source.uninstall(&shape).unwrap();
    source.install(&shape).unwrap();
    end(source.as_ref(), &shape);
}

fn the_statements_can_be_executed_by_hand(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let statements = source.install_sql(&shape).unwrap();
    assert_eq!(source.install_sql(&shape).unwrap(), statements, "always the same");
    assert_eq!(source.outbox(&shape, None, 10).unwrap(), None, "only printed");
    statements.iter().for_each(|statement| ground.execute(statement));
    let mut at = end(source.as_ref(), &shape);
    source.install(&shape).unwrap();
    let sql = "UPDATE jobs SET body = 'x' WHERE id = 'a'";
    assert_eq!(touched(ground, source.as_ref(), &shape, &mut at, sql), ["1"]);
    statements.iter().for_each(|statement| ground.execute(statement));
    let read = source.outbox(&shape, Some(at), 10).unwrap().unwrap();
    assert_eq!(read.continuity, Continuity::Gap, "executed again, it is another outbox");
}

fn two_sources_share_a_database(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    let mut other = mapping();
    other.name = "flows-2".to_owned();
    other.lists.remove(1);
    let other = bind(source.as_ref(), other);
    source.install(&shape).unwrap();
    source.install(&other).unwrap();
    let (mut at, mut other_at) = (end(source.as_ref(), &shape), end(source.as_ref(), &other));
    let sql = "UPDATE jobs SET body = 'x' WHERE id = 'a'";
    assert_eq!(touched(ground, source.as_ref(), &shape, &mut at, sql), ["1"]);
    assert_eq!(
        touched(ground, source.as_ref(), &other, &mut other_at, "DELETE FROM edges"),
        ["1"],
        "of jobs"
    );
    assert_eq!(
        touched(ground, source.as_ref(), &shape, &mut at, "DELETE FROM workflows WHERE id = 30"),
        ["1", "2", "30"]
    );
    source.uninstall(&shape).unwrap();
    assert_eq!(source.outbox(&shape, Some(at), 10).unwrap(), None);
    // What the other one noted is gone with its entries; whoever has not read it yet has to scan.
    let read = source.outbox(&other, Some(other_at), 10).unwrap().unwrap();
    assert_ne!(read.continuity, Continuity::Restored);
    let mut other_at = read.position;
    let sql = "INSERT INTO workflows (id) VALUES (8)";
    assert_eq!(touched(ground, source.as_ref(), &other, &mut other_at, sql), ["8"]);
    source.uninstall(&other).unwrap();
    assert_eq!(source.outbox(&other, Some(other_at), 10).unwrap(), None);
}

fn a_restored_backup_is_told(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    ground.execute("UPDATE workflows SET name = 'kept' WHERE id = 1");
    let before = end(source.as_ref(), &shape);
    let digests = scan(source.as_ref(), &shape);
    ground.backup();
    for n in 0..5 {
        ground.execute(&format!("UPDATE workflows SET name = 'lost {n}' WHERE id = 1"));
    }
    let after = end(source.as_ref(), &shape);
    let pulse = source.pulse().unwrap();
    ground.restore();
    assert_ne!(source.pulse().unwrap(), pulse);
    assert_eq!(scan(source.as_ref(), &shape), digests);
    let continuity = |at| source.outbox(&shape, Some(at), 10).unwrap().unwrap().continuity;
    assert_eq!(
        continuity(before),
        Continuity::Whole,
        "who has seen no more than the backup has missed nothing"
    );
    assert_eq!(continuity(after), Continuity::Restored);
    // The outbox grows over the place where it was: its entries are others.
    for n in 0..9 {
        ground.execute(&format!("UPDATE workflows SET name = 'other {n}' WHERE id = 2"));
        assert_eq!(continuity(after), Continuity::Restored, "after {n}");
    }
    let read = source.outbox(&shape, Some(before), 20).unwrap().unwrap();
    assert_eq!((read.roots.as_slice(), read.continuity), (["2".to_owned()].as_slice(), Continuity::Whole));
    let told = source.outbox(&shape, Some(after), 20).unwrap().unwrap();
    assert_eq!(continuity(told.position), Continuity::Whole, "told once");
}

fn entries_that_are_missing_are_a_gap(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    source.install(&shape).unwrap();
    let first = end(source.as_ref(), &shape);
    for id in 0..6 {
        ground.execute(&format!("INSERT INTO workflows (id) VALUES ({id})"));
    }
    let middle = source.outbox(&shape, Some(first), 3).unwrap().unwrap().position;
    let last = end(source.as_ref(), &shape);
    ground.execute("DELETE FROM gangline_outbox WHERE key IN ('1', '2', '3', '4')");
    let read = |at| source.outbox(&shape, Some(at), 10).unwrap().unwrap();
    assert_eq!(read(first).continuity, Continuity::Gap);
    assert_eq!(read(middle).continuity, Continuity::Gap);
    assert_eq!(read(first).position, last, "it goes on at the end");
    assert_eq!((read(last).continuity, read(last).roots.len()), (Continuity::Whole, 0));
}

fn a_save_shows_in_the_outbox(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    let at = end(source.as_ref(), &shape);
    let pulse = source.pulse().unwrap();
    let name = ("name", super::text("saved"));
    let request = super::fixture::request(
        source.as_ref(),
        &shape,
        "2",
        vec![update(&shape, None, "2", std::slice::from_ref(&name))],
    );
    assert_eq!(source.was_saved(&shape, "save-1").unwrap(), Some(false));
    assert!(matches!(source.save(&shape, &request).unwrap(), SaveOutcome::Saved(_)));
    assert_eq!(source.was_saved(&shape, "save-1").unwrap(), Some(true));
    assert_eq!(source.was_saved(&shape, "save-2").unwrap(), Some(false));
    assert_eq!(source.outbox(&shape, Some(at), 10).unwrap().unwrap().roots, ["2"]);
    assert_ne!(source.pulse().unwrap(), pulse);
    source.prune(&shape).unwrap();
    assert_eq!(source.was_saved(&shape, "save-1").unwrap(), Some(true));
}

fn what_the_outbox_says_is_what_a_scan_says(ground: &dyn Ground) {
    let (source, shape) = workflows(ground);
    ground.execute(TWO_WORKFLOWS);
    source.install(&shape).unwrap();
    let mut at = end(source.as_ref(), &shape);
    let mut before = scan(source.as_ref(), &shape);
    // A walk that any run repeats: each step one of a few statements on one of a few rows.
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for step in 0..120 {
        let (root, other, job) = ([1, 2, 30][draw(3) as usize], draw(4) + 1, draw(6));
        let sql = match draw(7) {
            0 => format!(
                "DELETE FROM jobs WHERE id = 'j{job}'; INSERT INTO jobs (id, workflow_id, name) VALUES ('j{job}', {root}, 'n{step}')"
            ),
            1 => format!("UPDATE jobs SET body = 'b{step}', workflow_id = {root} WHERE id = 'j{job}'"),
            2 => format!("UPDATE workflows SET concurrency = {other} WHERE id = {root}"),
            3 => format!("DELETE FROM jobs WHERE id = 'j{job}'"),
            4 => format!("INSERT INTO edges (id, workflow_id) VALUES ({step}0, {root})"),
            5 => format!("UPDATE edges SET condition = 'c{other}' WHERE workflow_id = {root}"),
            _ => "UPDATE workflows SET password = 'unseen'".to_owned(),
        };
        let noted = touched(ground, source.as_ref(), &shape, &mut at, &sql);
        let after = scan(source.as_ref(), &shape);
        for (root, digest) in &after {
            assert!(before.get(root) == Some(digest) || noted.contains(root), "{sql}: {root} was not noted");
        }
        before = after;
    }
    assert_eq!(before, read_all(source.as_ref(), &shape));
}
