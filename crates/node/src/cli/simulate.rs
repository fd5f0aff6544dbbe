//! `gangline simulate`: a mesh of nodes on virtual time, with faults and liars, and whether what must hold held.

use std::collections::BTreeSet;
use std::ops::Range;

use clap::Args;
use gangline_sim::{Hostile, Report, Scenario, ScenarioError, Topology, simulate};

use super::output::Output;
use crate::failure::{Exit, Failure};

/// Most failed seeds that are named in the end.
const NAMED_MAX: usize = 10;

/// What `simulate` takes.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Decides about everything else; the same seed gives the same run, byte for byte [default: 0]
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Play one run for each of these seeds, the last one not included
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    seeds: Option<Range<u64>>,
    /// Honest nodes
    #[arg(long, value_name = "N", default_value_t = 5)]
    nodes: usize,
    /// How they are connected: chain, star, ring, full or random
    #[arg(long, value_name = "NAME", default_value = "random", value_parser = str::parse::<Topology>)]
    topology: Topology,
    /// Hostile nodes, one of each: equivocator, withholder, flooder, liar, replayer, forger, slow-reader; or all
    #[arg(long, value_name = "NAMES", value_parser = parse_hostile)]
    hostile: Option<Names>,
    /// Edits of honest nodes
    #[arg(long, value_name = "N", default_value_t = 60)]
    edits: usize,
    /// How long there are faults, in virtual minutes
    #[arg(long, value_name = "N", default_value_t = 3)]
    minutes: u64,
    /// The share of frames that take their connection with them, from 0 to 0.5
    #[arg(long, value_name = "P", default_value = "0.0005", value_parser = parse_loss)]
    loss: u64,
    /// How often the net falls apart
    #[arg(long, value_name = "N", default_value_t = 2)]
    partitions: usize,
    /// How often a node loses power
    #[arg(long, value_name = "N", default_value_t = 2)]
    crashes: usize,
    /// Connections between honest nodes that speak version 1, of a hundred
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    v1: u64,
}

/// Hostile nodes by name. A type of its own, since clap takes a set for a list of values.
#[derive(Clone, Debug)]
struct Names(BTreeSet<Hostile>);

fn parse_hostile(text: &str) -> Result<Names, ScenarioError> {
    Hostile::list(text).map(Names)
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    let range = range.ok_or("seeds are a range such as 0..500")?;
    if range.is_empty() {
        return Err(format!("{}..{} is empty: the last seed is not included", range.start, range.end));
    }
    Ok(range)
}

/// A share, in millionths.
fn parse_loss(text: &str) -> Result<u64, String> {
    let share: f64 = text.parse().map_err(|_| "a share such as 0.01".to_owned())?;
    if !(0.0..=0.5).contains(&share) {
        return Err("it goes from 0 to 0.5".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 0.5")]
    Ok((share * 1e6).round() as u64)
}

impl SimulateArgs {
    fn scenario(&self, seed: u64) -> Scenario {
        Scenario {
            seed,
            nodes: self.nodes,
            topology: self.topology,
            hostile: self.hostile.clone().map_or_else(BTreeSet::new, |names| names.0),
            edits: self.edits,
            minutes: self.minutes,
            loss_millionths: self.loss,
            partitions: self.partitions,
            crashes: self.crashes,
            v1_percent: self.v1,
        }
    }
}

/// Plays one run, or many.
pub(super) fn run(args: &SimulateArgs, out: &Output) -> Result<(), Failure> {
    let seeds = args.seeds.clone().unwrap_or_else(|| {
        let seed = args.seed.unwrap_or_default();
        seed..seed.saturating_add(1)
    });
    let (is_one, mut played, mut failed) = (args.seeds.is_none(), 0_u64, Vec::new());
    for seed in seeds {
        let scenario = args.scenario(seed);
        let report = simulate(&scenario)
            .map_err(|error| Failure::new(Exit::Usage, "bad_scenario", error.to_string()))?;
        played += 1;
        show(&report, is_one, out)?;
        if !report.holds() {
            failed.push(report);
        }
    }
    let Some(first) = failed.first() else {
        if !is_one && !out.is_json() {
            out.line(&format!("{played} runs: everything held in all of them"))?;
        }
        return Ok(());
    };
    let names: Vec<&str> = first.broken().map(|verdict| verdict.name).collect();
    let message = match is_one {
        true => format!("seed {}: what must hold did not: {}", first.scenario.seed, names.join(", ")),
        false => {
            let seeds: Vec<String> =
                failed.iter().take(NAMED_MAX).map(|report| report.scenario.seed.to_string()).collect();
            let more = if failed.len() > NAMED_MAX { " and more" } else { "" };
            format!("{} of {played} runs failed: seed {}{more}", failed.len(), seeds.join(", "))
        }
    };
    let command = first.scenario.command();
    Err(Failure::new(Exit::Failed, "verdict_failed", message).hint(format!("play it again: {command}")))
}

fn show(report: &Report, is_one: bool, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.document(report);
    }
    if is_one || !report.holds() {
        return out.line(report.to_string().trim_end());
    }
    let healed = report.heal_ms.unwrap_or_default() as f64 / 1e3;
    out.line(&format!(
        "seed {}: held; agreed after {healed:.1} s, {} changes, {} connections, fingerprint {}",
        report.scenario.seed, report.changes, report.connections, report.fingerprint
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range() {
        assert_eq!(parse_seeds("3..9"), Ok(3..9));
        for bad in ["", "3", "9..3", "3..3", "a..b", "3..=9"] {
            assert!(parse_seeds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_between_none_and_half() {
        assert_eq!(parse_loss("0.01"), Ok(10_000));
        for bad in ["", "1", "-0.1", "NaN", "1%"] {
            assert!(parse_loss(bad).is_err(), "{bad}");
        }
    }
}
