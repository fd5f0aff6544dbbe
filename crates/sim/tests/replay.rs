//! One seed, one run: byte for byte, on any machine.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use gangline_sim::{Hostile, Scenario, simulate};

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..2 {
        let hostile = Hostile::list("all").unwrap();
        let scenario =
            Scenario { seed, nodes: 4, minutes: 1, v1_percent: 30, hostile, ..Scenario::default() };
        let (first, second) = (simulate(&scenario).unwrap(), simulate(&scenario).unwrap());
        assert_eq!(first, second);
        assert_eq!(first.to_string(), second.to_string());
    }
}

#[test]
fn other_seeds_give_other_runs() {
    let of = |seed| simulate(&Scenario { seed, nodes: 3, minutes: 1, ..Scenario::default() }).unwrap();
    assert_ne!(of(1).fingerprint, of(2).fingerprint);
}

#[test]
fn the_command_of_a_scenario_names_all_of_it() {
    let hostile = Hostile::list("liar,forger").unwrap();
    let command = Scenario { seed: 9, hostile, ..Scenario::default() }.command();
    assert_eq!(
        command,
        "gangline simulate --seed 9 --nodes 5 --topology random --edits 60 --minutes 3 --loss 0.0005 \
         --partitions 2 --crashes 2 --v1 0 --hostile liar,forger"
    );
}
