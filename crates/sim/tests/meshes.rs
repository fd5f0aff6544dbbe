//! Meshes with faults and with each kind of hostile node: what must hold does, for a fixed set of seeds.
//! A seed that fails is played again with the command that the failure prints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

use gangline_sim::{Hostile, Report, Scenario, Topology, simulate};

#[track_caller]
fn check(scenario: Scenario) -> Report {
    let report = simulate(&scenario).unwrap();
    assert!(report.holds(), "{report}\nplay it again: {}", scenario.command());
    report
}

fn with(names: &str) -> Scenario {
    Scenario {
        nodes: 4,
        edits: 40,
        minutes: 2,
        hostile: Hostile::list(names).unwrap(),
        ..Scenario::default()
    }
}

/// Plays some seeds with one kind of hostile node.
#[track_caller]
fn seeds(scenario: &Scenario, count: u64) -> Vec<Report> {
    (0..count).map(|seed| check(Scenario { seed, ..scenario.clone() })).collect()
}

fn closes(reports: &[Report], reason: &str) -> u64 {
    reports.iter().filter_map(|report| report.closes.get(reason)).sum()
}

#[test]
fn meshes_of_every_shape_agree() {
    let mut busy = 0;
    for topology in [Topology::Chain, Topology::Star, Topology::Ring, Topology::Full, Topology::Random] {
        for seed in 0..3 {
            let report = check(Scenario { seed, topology, partitions: 3, crashes: 4, ..Scenario::default() });
            assert!(report.reconnect.is_some() && report.changes > 60, "{report}");
            assert_eq!(report.refused_edits, 0);
            busy += report.busy;
        }
    }
    assert!(busy > 0, "some disks were slow");
}

#[test]
fn meshes_in_which_frames_are_lost_all_the_time_agree() {
    for seed in 0..4 {
        check(Scenario { seed, loss_millionths: 20_000, crashes: 6, ..Scenario::default() });
    }
}

#[test]
fn versions_1_and_2_agree_in_one_mesh() {
    let reports = seeds(&Scenario { nodes: 6, v1_percent: 50, ..Scenario::default() }, 6);
    for version in [1, 2] {
        let has = |report: &&Report| report.edges.iter().any(|edge| edge.version == version);
        assert!(reports.iter().filter(has).count() >= 4, "version {version}");
    }
}

#[test]
fn equivocators_are_caught_by_all() {
    let reports = seeds(&with("equivocator"), 8);
    let caught = reports.iter().filter(|report| report.caught == ["equivocator"]).count();
    assert!(caught >= 6, "{caught} of 8");
}

#[test]
fn withholders_delay_nobody() {
    let reports = seeds(&with("withholder"), 8);
    assert!(closes(&reports, "incomplete") > 0, "they say that they gave, and are found out");
}

#[test]
fn floods_are_borne() {
    let reports = seeds(&with("flooder"), 3);
    assert!(reports.iter().map(|report| report.bad_frames).sum::<u64>() > 600);
}

#[test]
fn lies_about_heads_change_nothing() {
    let reports = seeds(&with("liar"), 8);
    assert!(closes(&reports, "incomplete") + closes(&reports, "protocol") > 0);
}

#[test]
fn replayed_frames_and_proofs_are_worth_nothing() {
    let reports = seeds(&with("replayer"), 8);
    assert!(closes(&reports, "refused") > 0, "proofs of others were shown, and refused");
}

#[test]
fn forged_changes_are_seen_by_nobody() {
    let reports = seeds(&with("forger"), 6);
    assert!(reports.iter().all(|report| report.bad_frames > 5), "they were sent");
}

#[test]
fn slow_readers_slow_nobody_down() {
    seeds(&with("slow-reader"), 8);
}

#[test]
fn all_of_them_together_change_nothing() {
    seeds(&Scenario { nodes: 5, v1_percent: 20, ..with("all") }, 2);
}

/// A vector counts as an acknowledgement. A link that was made to ask again once said its vector with changes that
/// were not on disk yet.
#[test]
fn what_a_link_says_again_is_on_disk() {
    for seed in [2, 11, 13] {
        check(Scenario { seed, hostile: Hostile::list("liar").unwrap(), ..Scenario::default() });
    }
}
