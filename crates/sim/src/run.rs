//! One run: faults, the end of faults, the parting from hostile nodes, and what meeting again costs.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::Digest;
use bft_json_crdt::json_crdt::CAUSAL_QUEUE_MAX;
use bft_json_crdt::limits::CAUSAL_QUEUE_BYTES_MAX;
use gangline_wire::limits::FRAME_BYTES_MAX;

use crate::node::{BOARD, DOCUMENTS, IN_FLIGHT_BYTES_MAX, Open};
use crate::report::{EdgeReport, Memory, Reconnect, Report, Verdict};
use crate::scenario::{Hostile, Scenario, ScenarioError};
use crate::world::{Fault, World};

/// How long honest nodes may take to agree once all faults are over: the longest pause of a dialer, the time after
/// which a silent peer is given up, and as much again.
pub const HEAL_MS_MAX: u64 = 180_000;
/// How long they must go on agreeing.
const STAY_MS: u64 = 5_000;
/// How often is looked.
const LOOK_MS: u64 = 500;
/// Frames that may wait in a link: a batch to be taken in, and its outbox with what one more input may add.
const LINK_FRAMES_MAX: usize = 1_024 + 64 + 64;
/// Ends of connections of which one side must be wrong.
const QUARRELS: [&str; 7] = [
    "protocol",
    "too_many_bad_frames",
    "refused",
    "refused_by_peer",
    "frame_too_large",
    "store_failed",
    "incomplete",
];
/// Edits between the two meetings of the last measurement.
const MISSED_EDITS: usize = 6;

/// Plays a scenario.
///
/// # Errors
/// [`ScenarioError`] for one that makes no sense.
pub fn simulate(scenario: &Scenario) -> Result<Report, ScenarioError> {
    scenario.check()?;
    let mut world = World::new(scenario);
    plan(scenario, &mut world);
    let end = scenario.minutes * 60_000;
    while world.now < end {
        world.run(LOOK_MS.min(end - world.now));
        world.sample();
    }
    world.heal();
    let heal_ms = until_agreed(&mut world);
    let mut verdicts = vec![converged(&world, "agreement", heal_ms)];
    world.part_from_hostile();
    let reconnect = heal_ms.and_then(|_| meet_again(&mut world));
    let again_ms = heal_ms.and_then(|_| until_agreed(&mut world));
    verdicts.push(converged(&world, "agreement without hostile nodes", again_ms));
    verdicts.extend(judge(&world));
    verdicts.extend(reconnect.map(cheap));
    Ok(report(scenario, &world, verdicts, heal_ms, reconnect))
}

/// Spreads edits and faults over the run.
fn plan(scenario: &Scenario, world: &mut World) {
    let end = scenario.minutes * 60_000;
    for _ in 0..scenario.edits {
        let (at, node) = (world.rng.below(end as usize) as u64, world.rng.below(scenario.nodes));
        world.plan_edit(at, node);
    }
    for _ in 0..scenario.partitions {
        let at = world.rng.below(end as usize) as u64;
        let lasts = world.rng.between(5_000, 60_000);
        let side: BTreeSet<usize> = (0..world.nodes.len()).filter(|_| world.rng.chance(500_000)).collect();
        let crosses = |edge: &crate::world::Edge| {
            let [a, b] = edge.nodes;
            side.contains(&a) != side.contains(&b)
        };
        let edges: Vec<usize> =
            world.edges.iter().enumerate().filter(|(_, edge)| crosses(edge)).map(|(at, _)| at).collect();
        let torn = world.rng.chance(500_000);
        world.plan_fault(at, Fault::Cut { edges: edges.clone(), torn });
        world.plan_fault(at + lasts, Fault::Heal { edges });
    }
    for _ in 0..scenario.nodes as u64 * scenario.minutes {
        let (at, node) = (world.rng.below(end as usize) as u64, world.rng.below(scenario.nodes));
        world.plan_fault(at, Fault::AskAgain { node });
    }
    for _ in 0..scenario.crashes {
        let (at, node) = (world.rng.below(end as usize) as u64, world.rng.below(scenario.nodes));
        let lasts = world.rng.between(100, 30_000);
        world.plan_fault(at, Fault::Crash { node });
        world.plan_fault(at + lasts, Fault::Restart { node });
    }
}

/// Waits until honest nodes agree, and go on to; returns how long it took.
fn until_agreed(world: &mut World) -> Option<u64> {
    let start = world.now;
    let mut since = None;
    while world.now - start <= HEAL_MS_MAX + STAY_MS && !world.tally.stands_still {
        match world.differs() {
            None => {
                let since = *since.get_or_insert(world.now);
                if world.now - since >= STAY_MS {
                    return (since - start <= HEAL_MS_MAX).then_some(since - start);
                }
            }
            Some(_) => since = None,
        }
        world.run(LOOK_MS);
        world.sample();
    }
    None
}

/// Takes the net down to one connection, and measures what it costs to meet again: with nothing new, then with some
/// changes missing.
fn meet_again(world: &mut World) -> Option<Reconnect> {
    let all: Vec<usize> = (0..world.edges.len()).collect();
    let is_ours = |at: &usize| {
        world.edges.get(*at).is_some_and(|it| !it.is_v1 && it.nodes.iter().all(|node| world.is_honest(*node)))
    };
    let ours: Vec<usize> = all.iter().copied().filter(is_ours).collect();
    let at = *world.rng.pick(&ours)?;
    let dialer = world.edges.get(at)?.nodes[0];
    let rest: Vec<usize> = all.iter().copied().filter(|it| is_between_honest(world, *it)).collect();
    world.cut(&all, true);
    world.run(60_000);
    let nothing_new = meet(world, at)?;
    world.cut(&[at], true);
    world.run(5_000);
    let before = world.signed();
    for _ in 0..MISSED_EDITS {
        world.edit(dialer);
        world.run(2_000);
    }
    let open = world.nodes.get(dialer)?.faces.first()?.open.as_ref()?;
    let new: BTreeSet<_> = world.signed().difference(&before).copied().collect();
    let (mut missing, mut missing_bytes_max) = (0, 0);
    for document in 0..DOCUMENTS.len() {
        missing_bytes_max += 6 * vector_bytes(open, document) + 256;
        for change in open.changes(document).ok()? {
            if new.contains(&change.digest()) {
                missing += 1;
                missing_bytes_max += change.bytes().len() as u64 + 72;
            }
        }
    }
    // Hello and proof: one entry for each document, and one for the abilities.
    let nothing_new_max = 150 + 64 * (1 + DOCUMENTS.len() as u64);
    missing_bytes_max += 2 * nothing_new_max;
    let missing_bytes = meet(world, at)?.iter().sum();
    for edge in rest {
        world.mend(edge);
    }
    Some(Reconnect { nothing_new, nothing_new_max, missing, missing_bytes, missing_bytes_max })
}

fn is_between_honest(world: &World, at: usize) -> bool {
    world.edges.get(at).is_some_and(|edge| edge.nodes.iter().all(|node| world.is_honest(*node)))
}

/// The bytes of a document's vector, with its keys, counts and tips.
fn vector_bytes(open: &Open, document: usize) -> u64 {
    let (vector, _) = open.source(document).survey();
    vector.values().map(|tips| 35 + 42 * tips.len() as u64).sum::<u64>() + 16
}

/// Lets two nodes meet, and returns what each sent until both had said all.
fn meet(world: &mut World, at: usize) -> Option<[u64; 2]> {
    let before = world.edges.get(at)?.bytes;
    world.mend(at);
    for _ in 0..200 {
        world.run(100);
        if world.is_level(at) {
            world.run(1_000);
            let after = world.edges.get(at)?.bytes;
            return Some([after[0] - before[0], after[1] - before[1]]);
        }
    }
    None
}

fn verdict(name: &'static str, holds: bool, detail: impl Into<String>) -> Verdict {
    Verdict { name, holds, detail: detail.into() }
}

fn converged(world: &World, name: &'static str, heal_ms: Option<u64>) -> Verdict {
    match heal_ms {
        Some(ms) => verdict(name, true, format!("honest nodes agree after {:.1} s", ms as f64 / 1e3)),
        None => {
            let why = world.differs().unwrap_or_else(|| "they agree too late, or not for long".to_owned());
            verdict(name, false, format!("not within {} s: {why}", HEAL_MS_MAX / 1_000))
        }
    }
}

fn cheap(it: Reconnect) -> Verdict {
    let is_small = it.nothing_new.iter().all(|bytes| *bytes <= it.nothing_new_max);
    let detail = format!(
        "nothing new: {} and {} bytes of {}; {} changes missing: {} bytes of {}",
        it.nothing_new[0],
        it.nothing_new[1],
        it.nothing_new_max,
        it.missing,
        it.missing_bytes,
        it.missing_bytes_max
    );
    verdict("meeting again is cheap", is_small && it.missing_bytes <= it.missing_bytes_max, detail)
}

fn judge(world: &World) -> Vec<Verdict> {
    let (honest, signed) = (world.honest_authors(), world.signed());
    let (mut forged, mut accused, mut looked_at) = (0, 0, 0);
    for node in world.nodes.iter().filter(|node| node.hostile.is_none()) {
        for open in node.faces.iter().filter_map(|face| face.open.as_ref()) {
            for document in 0..DOCUMENTS.len() {
                let changes = open.changes(document).unwrap_or_default();
                looked_at += changes.len();
                let is_forged = |it: &&bft_json_crdt::Change| {
                    honest.contains(&it.author()) && !signed.contains(&it.digest())
                };
                forged += changes.iter().filter(is_forged).count();
            }
            accused += open.equivocations().iter().filter(|it| honest.contains(&it.author)).count();
        }
    }
    let (acked, lost) = world.lost();
    let tally = &world.tally;
    let memory = memory(world);
    let is_bounded = memory.link_frames <= LINK_FRAMES_MAX
        && memory.socket_frames <= world.settings.batch_frames_max
        && memory.sent_bytes <= 2 * FRAME_BYTES_MAX
        && memory.applied_bytes <= world.settings.batch_bytes_max + FRAME_BYTES_MAX
        && memory.causal_queue <= CAUSAL_QUEUE_MAX
        && memory.causal_queue_bytes <= CAUSAL_QUEUE_BYTES_MAX
        && memory.in_flight_bytes <= IN_FLIGHT_BYTES_MAX + world.settings.batch_bytes_max + FRAME_BYTES_MAX;
    let mut health = tally.broken.clone();
    health
        .extend(tally.stands_still.then(|| "time stands still: events at one moment without end".to_owned()));
    health.extend(
        (tally.ignored_deadlines > 0)
            .then(|| format!("{} passed deadlines were not acted on", tally.ignored_deadlines)),
    );
    health.extend(
        (tally.two_batches > 0)
            .then(|| format!("{} batches came before the last was stored", tally.two_batches)),
    );
    let quarrels: u64 = QUARRELS.iter().filter_map(|name| tally.closes_between_honest.get(name)).sum();
    let has_equivocator = world.nodes.iter().any(|node| node.hostile == Some(Hostile::Equivocator));
    health.extend(
        (tally.refused_edits > 0 && !has_equivocator)
            .then(|| format!("{} edits were refused", tally.refused_edits)),
    );
    vec![
        verdict(
            "nothing forged",
            forged == 0,
            format!("{forged} of {looked_at} changes were not signed by their author"),
        ),
        verdict(
            "nothing lost",
            lost == 0,
            format!("{lost} of {acked} acknowledged changes are missing somewhere"),
        ),
        verdict("nobody accused", accused == 0, format!("{accused} accusations of honest authors")),
        verdict("nobody passes for another", tally.impostors == 0, format!("{} impostors", tally.impostors)),
        verdict(
            "honest nodes bear each other",
            quarrels == 0,
            format!("{quarrels} connections between them were refused or broken off"),
        ),
        verdict(
            "durable first",
            tally.told_early + tally.acked_early == 0,
            format!(
                "{} changes sent and {} acknowledged before they were on disk",
                tally.told_early, tally.acked_early
            ),
        ),
        verdict(
            "told once",
            tally.told_back + tally.told_twice == 0,
            format!(
                "{} changes went back where they came from, {} twice over one connection",
                tally.told_back, tally.told_twice
            ),
        ),
        verdict(
            "bounded memory",
            is_bounded,
            format!(
                "at most {} frames in a link, {} bytes to a socket, {} changes waiting for others",
                memory.link_frames, memory.sent_bytes, memory.causal_queue
            ),
        ),
        verdict(
            "healthy",
            health.is_empty(),
            if health.is_empty() { "no node stumbled".to_owned() } else { health.join("; ") },
        ),
    ]
}

fn memory(world: &World) -> Memory {
    let tally = &world.tally;
    Memory {
        link_frames: tally.queued_max,
        socket_frames: tally.raw_max,
        sent_bytes: tally.batch_bytes_max,
        applied_bytes: tally.applied_bytes_max,
        causal_queue: tally.replica_queue_max,
        causal_queue_bytes: tally.replica_queue_bytes_max,
        in_flight_bytes: tally.in_flight_bytes_max,
    }
}

fn report(
    scenario: &Scenario,
    world: &World,
    verdicts: Vec<Verdict>,
    heal_ms: Option<u64>,
    reconnect: Option<Reconnect>,
) -> Report {
    let tally = &world.tally;
    let names: BTreeMap<usize, String> = world
        .nodes
        .iter()
        .enumerate()
        .map(|(n, node)| (n, node.hostile.map_or_else(|| format!("n{n}"), |kind| kind.name().to_owned())))
        .collect();
    let name = |node: usize| names.get(&node).cloned().unwrap_or_default();
    let edges = world.edges.iter().map(|edge| EdgeReport {
        dialer: name(edge.nodes[0]),
        listener: name(edge.nodes[1]),
        version: if edge.is_v1 { 1 } else { 2 },
        bytes: edge.bytes,
    });
    let first = world.nodes.first().and_then(|node| node.faces.first()?.open.as_ref());
    let changes: usize = first.map_or(0, |open| open.stats().iter().map(|it| it.changes).sum());
    let honest = world.honest_authors();
    let caught: BTreeSet<usize> = first
        .map(Open::equivocations)
        .unwrap_or_default()
        .iter()
        .filter(|it| !honest.contains(&it.author))
        .filter_map(|it| world.nodes.iter().position(|node| node.author() == it.author))
        .collect();
    Report {
        scenario: scenario.clone(),
        verdicts,
        heal_ms,
        virtual_ms: world.now,
        edits: tally.edits,
        busy: tally.busy,
        refused_edits: tally.refused_edits,
        changes: changes as u64,
        transmissions_per_change: tally.transmissions as f64 / changes.max(1) as f64,
        connections: tally.connections,
        closes: tally.closes.clone(),
        closes_between_honest: tally.closes_between_honest.clone(),
        bad_frames: tally.bad_frames,
        edges: edges.collect(),
        memory: memory(world),
        reconnect,
        caught: caught.into_iter().map(name).collect(),
        fingerprint: format!("{:016x}", tally.fingerprint()),
    }
}

impl World {
    /// Notes how full honest replicas are.
    fn sample(&mut self) {
        for node in self.nodes.iter().filter(|node| node.hostile.is_none()) {
            let Some(open) = node.faces.first().and_then(|face| face.open.as_ref()) else { continue };
            for stats in open.stats() {
                let tally = &mut self.tally;
                tally.replica_queue_max = tally.replica_queue_max.max(stats.queue.len);
                tally.replica_queue_bytes_max = tally.replica_queue_bytes_max.max(stats.queue.bytes);
                tally.in_flight_bytes_max = tally.in_flight_bytes_max.max(stats.in_flight_bytes);
            }
        }
    }

    /// Honest nodes that are connected through honest nodes by what carries a document, the lowest number first.
    fn groups(&self, document: usize) -> Vec<Vec<usize>> {
        let honest = (0..self.nodes.len()).filter(|node| self.is_honest(*node));
        let mut group: BTreeMap<usize, usize> = honest.map(|node| (node, node)).collect();
        for _ in 0..self.nodes.len() {
            for edge in self.edges.iter().filter(|edge| !edge.is_v1 || document == BOARD) {
                let [Some(a), Some(b)] = edge.nodes.map(|node| group.get(&node).copied()) else { continue };
                let least = a.min(b);
                edge.nodes.iter().for_each(|node| _ = group.insert(*node, least));
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (node, least) in group {
            groups.entry(least).or_default().push(node);
        }
        groups.into_values().collect()
    }

    fn open_of(&self, node: usize) -> Option<&Open> {
        self.nodes.get(node)?.faces.first()?.open.as_ref()
    }

    /// Says which honest nodes differ that must not; none when they agree.
    fn differs(&self) -> Option<String> {
        for document in 0..DOCUMENTS.len() {
            for group in self.groups(document) {
                let mut first: Option<(usize, _)> = None;
                for node in &group {
                    let Some(open) = self.open_of(*node) else { return Some(format!("node {node} is down")) };
                    let vector = open.source(document).survey().0;
                    match &first {
                        None => first = Some((*node, vector)),
                        Some((other, expected)) if *expected != vector => {
                            return Some(format!(
                                "nodes {other} and {node} hold different changes of document {document}"
                            ));
                        }
                        Some(_) => {}
                    }
                }
                let mut pictures =
                    group.iter().filter_map(|node| Some((node, self.open_of(*node)?.picture(document))));
                let Some((other, expected)) = pictures.next() else { continue };
                if let Some((node, _)) = pictures.find(|(_, picture)| *picture != expected) {
                    return Some(format!("nodes {other} and {node} show document {document} differently"));
                }
            }
        }
        None
    }

    /// How many changes were acknowledged, and how many of those are missing at a node that must have them.
    fn lost(&self) -> (usize, usize) {
        let (mut acked, mut lost) = (0, 0);
        for document in 0..DOCUMENTS.len() {
            for group in self.groups(document) {
                let digests: Vec<Digest> = group
                    .iter()
                    .filter_map(|node| self.nodes.get(*node)?.faces.first())
                    .flat_map(|face| {
                        face.acked.iter().filter(|(at, _)| *at == document).map(|(_, digest)| *digest)
                    })
                    .collect();
                acked += digests.len();
                let mut missing = BTreeSet::new();
                for open in group.iter().filter_map(|node| self.open_of(*node)) {
                    let held = open.source(document).contains(&digests);
                    missing.extend(
                        digests.iter().zip(held).filter(|(_, held)| !held).map(|(digest, _)| *digest),
                    );
                }
                lost += missing.len();
            }
        }
        (acked, lost)
    }
}
