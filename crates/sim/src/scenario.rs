//! What is played: how many nodes, connected how, with which faults and which liars. Everything else follows from
//! the seed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::rng::Rng;

/// Most honest nodes of a run.
pub const NODES_MAX: usize = 64;
/// Most edits of a run.
pub const EDITS_MAX: usize = 100_000;
/// Longest run, in virtual minutes.
pub const MINUTES_MAX: u64 = 24 * 60;
/// Most partitions, and most crashes, of a run.
pub const FAULTS_MAX: usize = 1_000;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// Decides about everything that the rest leaves open.
    pub seed: u64,
    /// Honest nodes.
    pub nodes: usize,
    /// How the honest nodes are connected.
    pub topology: Topology,
    /// Hostile nodes, one of each; each is connected to up to three honest ones.
    pub hostile: BTreeSet<Hostile>,
    /// Edits of honest nodes while there are faults.
    pub edits: usize,
    /// How long there are faults.
    pub minutes: u64,
    /// How many of a million frames take their connection with them.
    pub loss_millionths: u64,
    /// How often the net falls apart.
    pub partitions: usize,
    /// How often a node loses power.
    pub crashes: usize,
    /// How many of a hundred connections between honest nodes speak version 1.
    pub v1_percent: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 0,
            nodes: 5,
            topology: Topology::Random,
            hostile: BTreeSet::new(),
            edits: 60,
            minutes: 3,
            loss_millionths: 500,
            partitions: 2,
            crashes: 2,
            v1_percent: 0,
        }
    }
}

/// Why a scenario cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// A number is outside of what makes sense.
    #[error("{what} is {found}; it goes from {min} to {max}")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// What was asked for.
        found: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// There is no such topology.
    #[error("no topology is called \"{0}\"; there are chain, star, ring, full and random")]
    UnknownTopology(String),
    /// There is no such liar.
    #[error("no hostile node is called \"{0}\"; there are {names}, and all", names = Hostile::names())]
    UnknownHostile(String),
}

impl Scenario {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`ScenarioError::OutOfRange`] for the first that makes no sense.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let ranges = [
            ("the number of nodes", self.nodes as u64, 1, NODES_MAX as u64),
            ("the number of edits", self.edits as u64, 0, EDITS_MAX as u64),
            ("the number of minutes", self.minutes, 1, MINUTES_MAX),
            ("the loss in millionths", self.loss_millionths, 0, 500_000),
            ("the number of partitions", self.partitions as u64, 0, FAULTS_MAX as u64),
            ("the number of crashes", self.crashes as u64, 0, FAULTS_MAX as u64),
            ("the percentage of version 1", self.v1_percent, 0, 100),
        ];
        match ranges.into_iter().find(|(_, found, min, max)| found < min || found > max) {
            Some((what, found, min, max)) => Err(ScenarioError::OutOfRange { what, found, min, max }),
            None => Ok(()),
        }
    }

    /// The command that plays this again.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!(
            "gangline simulate --seed {} --nodes {} --topology {} --edits {} --minutes {} --loss {} \
             --partitions {} --crashes {} --v1 {}",
            self.seed,
            self.nodes,
            self.topology,
            self.edits,
            self.minutes,
            self.loss_millionths as f64 / 1e6,
            self.partitions,
            self.crashes,
            self.v1_percent,
        );
        if !self.hostile.is_empty() {
            let names: Vec<&str> = self.hostile.iter().map(|it| it.name()).collect();
            command.push_str(&format!(" --hostile {}", names.join(",")));
        }
        command
    }
}

/// How honest nodes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// One after the other.
    Chain,
    /// All to the first.
    Star,
    /// A chain whose ends meet.
    Ring,
    /// Each to each.
    Full,
    /// A tree, and about as many connections again.
    Random,
}

impl Topology {
    const ALL: [Self; 5] = [Self::Chain, Self::Star, Self::Ring, Self::Full, Self::Random];

    fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Star => "star",
            Self::Ring => "ring",
            Self::Full => "full",
            Self::Random => "random",
        }
    }

    /// The connections, each from the one that dials.
    pub(crate) fn edges(self, nodes: usize, rng: &mut Rng) -> Vec<(usize, usize)> {
        let mut edges: Vec<(usize, usize)> = match self {
            Self::Chain => (1..nodes).map(|n| (n, n - 1)).collect(),
            Self::Star => (1..nodes).map(|n| (n, 0)).collect(),
            Self::Ring => {
                let closing = (nodes > 2).then(|| (0, nodes - 1));
                (1..nodes).map(|n| (n, n - 1)).chain(closing).collect()
            }
            Self::Full => (0..nodes).flat_map(|a| (0..a).map(move |b| (a, b))).collect(),
            Self::Random => {
                let mut edges: BTreeSet<(usize, usize)> = (1..nodes).map(|n| (n, rng.below(n))).collect();
                for _ in 0..nodes {
                    let (a, b) = (rng.below(nodes), rng.below(nodes));
                    if a != b {
                        edges.insert((a.max(b), a.min(b)));
                    }
                }
                edges.into_iter().collect()
            }
        };
        for edge in &mut edges {
            if rng.chance(500_000) {
                *edge = (edge.1, edge.0);
            }
        }
        edges
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topology {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| ScenarioError::UnknownTopology(text.to_owned()))
    }
}

/// A node whose key is good and whose behaviour is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hostile {
    /// Signs two changes after the same one, tells different peers different ones, and puts old disks back.
    Equivocator,
    /// Takes and acknowledges everything, says that it gave everything, and gives nothing but its own.
    Withholder,
    /// Sends as much as the window lets it: noise, questions, vectors, calls, changes again and again.
    Flooder,
    /// Says that it holds what it does not, and lacks what it holds.
    Liar,
    /// Plays back frames of other connections, hellos and proofs included.
    Replayer,
    /// Sends changes in others' names, and its own with bad signatures.
    Forger,
    /// Takes one frame a minute.
    SlowReader,
}

impl Hostile {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Equivocator,
        Self::Withholder,
        Self::Flooder,
        Self::Liar,
        Self::Replayer,
        Self::Forger,
        Self::SlowReader,
    ];

    /// What it goes by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Equivocator => "equivocator",
            Self::Withholder => "withholder",
            Self::Flooder => "flooder",
            Self::Liar => "liar",
            Self::Replayer => "replayer",
            Self::Forger => "forger",
            Self::SlowReader => "slow-reader",
        }
    }

    /// Reads a list of names, divided by commas; `all` stands for each of them.
    ///
    /// # Errors
    /// [`ScenarioError::UnknownHostile`] for the first name that nobody has.
    pub fn list(text: &str) -> Result<BTreeSet<Self>, ScenarioError> {
        let mut found = BTreeSet::new();
        for name in text.split(',').map(str::trim) {
            match Self::ALL.into_iter().find(|it| it.name() == name) {
                Some(hostile) => _ = found.insert(hostile),
                None if name == "all" => found.extend(Self::ALL),
                None => return Err(ScenarioError::UnknownHostile(name.to_owned())),
            }
        }
        Ok(found)
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for hostile in Hostile::ALL {
            assert_eq!(Hostile::list(hostile.name()), Ok(BTreeSet::from([hostile])));
        }
        assert_eq!(Hostile::list("liar, all").map(|all| all.len()), Ok(7));
        assert_eq!(Hostile::list("lair"), Err(ScenarioError::UnknownHostile("lair".to_owned())));
        for topology in Topology::ALL {
            assert_eq!(topology.to_string().parse(), Ok(topology));
        }
        assert!("".parse::<Topology>().is_err());
    }

    #[test]
    fn every_topology_connects_all() {
        for topology in Topology::ALL {
            for nodes in 1..12 {
                let edges = topology.edges(nodes, &mut Rng::new(nodes as u64));
                let mut reached = BTreeSet::from([0]);
                for _ in 0..nodes {
                    for (a, b) in &edges {
                        if reached.contains(a) || reached.contains(b) {
                            reached.extend([*a, *b]);
                        }
                    }
                }
                assert_eq!(reached.len(), nodes, "{topology} of {nodes}: {edges:?}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(Scenario::default().check(), Ok(()));
        let error = Scenario { nodes: 0, ..Scenario::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "the number of nodes is 0; it goes from 1 to 64");
    }
}
