//! What there is to run: engines, jobs, sizes.

use std::str::FromStr;

/// An engine under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Gangline,
    Automerge,
    Yrs,
    Loro,
    Diamond,
}

impl Engine {
    pub const ALL: [Self; 5] = [Self::Gangline, Self::Automerge, Self::Yrs, Self::Loro, Self::Diamond];

    pub fn name(self) -> &'static str {
        match self {
            Self::Gangline => "gangline",
            Self::Automerge => "automerge",
            Self::Yrs => "yrs",
            Self::Loro => "loro",
            Self::Diamond => "diamond-types",
        }
    }

    /// Whether the engine can do the job at all. What is ours alone is told apart in tables of its own.
    fn can(self, job: Job) -> bool {
        match self {
            Self::Gangline => true,
            Self::Automerge | Self::Yrs | Self::Loro => !job.is_ours(),
            Self::Diamond => job.workload() == 'A' && !job.is_ours(),
        }
    }
}

impl FromStr for Engine {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let engine = Self::ALL.into_iter().find(|engine| engine.name() == name);
        engine.ok_or_else(|| format!("no engine is called {name}"))
    }
}

/// How many edits a change has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// All of them, or as many as a change may have.
    AtOnce,
    PerEdit,
    /// Up to [`COALESCED_EDITS_MAX`].
    Coalesced,
}

/// Edits that share a change where edits are coalesced.
pub const COALESCED_EDITS_MAX: usize = 64;

impl Grouping {
    pub fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::PerEdit => "per-edit",
            Self::Coalesced => "coalesced",
        }
    }

    /// As the tables and the progress say it.
    pub fn title(self) -> &'static str {
        match self {
            Self::AtOnce => "one change for all",
            Self::PerEdit => "a change per edit",
            Self::Coalesced => "up to 64 edits per change",
        }
    }
}

/// How a replica gets what another one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Singly,
    Batched,
    /// Together, and with few signatures: those that cover the others of their author's chain.
    Covered,
}

impl Delivery {
    fn name(self) -> &'static str {
        match self {
            Self::Singly => "singly",
            Self::Batched => "batched",
            Self::Covered => "covered",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Singly => "one by one",
            Self::Batched => "batched",
            Self::Covered => "as covered chains",
        }
    }
}

/// The kinds of documents whose cost per op is followed as they grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growing {
    /// Sets of one register, each its own change.
    Changes,
    /// Sets of one register.
    Register,
    /// Inserts at random places of one list.
    List,
    /// Puts of new keys.
    Map,
    /// Additions to one counter.
    Counter,
    /// Runs of typing and cutting at random places of one text.
    Text,
    /// New objects in a JSON value of any shape, and sets of their fields.
    Json,
}

impl Growing {
    fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Register => "register",
            Self::List => "list",
            Self::Map => "map",
            Self::Counter => "counter",
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Changes => "register, a change per op",
            Self::Register => "register",
            Self::List => "list, anywhere",
            Self::Map => "map, new keys",
            Self::Counter => "counter",
            Self::Text => "text, runs anywhere",
            Self::Json => "JSON of any shape",
        }
    }
}

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// A.
    Text(Grouping),
    /// B, all but memory.
    Board(Grouping),
    /// B, a process that only applies the updates that [`Job::Board`] left in a file.
    BoardMemory(Grouping, Delivery),
    /// C.
    Exchange(Grouping, Delivery),
    /// G, the cost per op of documents that grow.
    Growth(Growing),
}

impl Job {
    pub const ALL: [Self; 22] = [
        Self::Text(Grouping::AtOnce),
        Self::Text(Grouping::PerEdit),
        Self::Text(Grouping::Coalesced),
        Self::Board(Grouping::PerEdit),
        Self::Board(Grouping::Coalesced),
        Self::BoardMemory(Grouping::PerEdit, Delivery::Singly),
        Self::BoardMemory(Grouping::PerEdit, Delivery::Covered),
        Self::BoardMemory(Grouping::Coalesced, Delivery::Singly),
        Self::BoardMemory(Grouping::Coalesced, Delivery::Covered),
        Self::Exchange(Grouping::PerEdit, Delivery::Singly),
        Self::Exchange(Grouping::PerEdit, Delivery::Batched),
        Self::Exchange(Grouping::PerEdit, Delivery::Covered),
        Self::Exchange(Grouping::Coalesced, Delivery::Singly),
        Self::Exchange(Grouping::Coalesced, Delivery::Batched),
        Self::Exchange(Grouping::Coalesced, Delivery::Covered),
        Self::Growth(Growing::Changes),
        Self::Growth(Growing::Register),
        Self::Growth(Growing::List),
        Self::Growth(Growing::Map),
        Self::Growth(Growing::Counter),
        Self::Growth(Growing::Text),
        Self::Growth(Growing::Json),
    ];

    /// The name of a job that a child is to run, made of what it is made of.
    pub fn name(self) -> String {
        let words = match self {
            Self::Text(grouping) => vec!["text", grouping.name()],
            Self::Board(grouping) => vec!["board", grouping.name()],
            Self::BoardMemory(grouping, delivery) => vec!["board-memory", grouping.name(), delivery.name()],
            Self::Exchange(grouping, delivery) => vec!["exchange", grouping.name(), delivery.name()],
            Self::Growth(growing) => vec!["growth", growing.name()],
        };
        words.join(".")
    }

    /// As the progress says it.
    pub fn title(self) -> String {
        match self {
            Self::Text(grouping) | Self::Board(grouping) => grouping.title().to_owned(),
            Self::BoardMemory(grouping, delivery) => {
                format!("a process that only applies, {}, {}", grouping.title(), delivery.title())
            }
            Self::Exchange(grouping, delivery) => format!("{}, {}", grouping.title(), delivery.title()),
            Self::Growth(growing) => growing.title().to_owned(),
        }
    }

    pub fn workload(self) -> char {
        match self {
            Self::Text(_) => 'A',
            Self::Board(_) | Self::BoardMemory(..) => 'B',
            Self::Exchange(..) => 'C',
            Self::Growth(_) => 'G',
        }
    }

    /// Whether no peer has anything to put beside it: coalescing is for signatures, and so is covering.
    fn is_ours(self) -> bool {
        match self {
            Self::Text(grouping) | Self::Board(grouping) => grouping == Grouping::Coalesced,
            Self::BoardMemory(grouping, delivery) | Self::Exchange(grouping, delivery) => {
                grouping == Grouping::Coalesced || delivery == Delivery::Covered
            }
            Self::Growth(_) => true,
        }
    }
}

impl FromStr for Job {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|job| job.name() == name).ok_or_else(|| format!("no job is called {name}"))
    }
}

/// The workloads, in the order of their tables.
pub const WORKLOADS: [char; 4] = ['A', 'B', 'C', 'G'];

/// Lists what to run: workload by workload, so that what is compared ran close together in time.
pub fn cells(workloads: &[char], engines: &[Engine]) -> Vec<(Engine, Job)> {
    let mut cells = Vec::new();
    for workload in WORKLOADS.into_iter().filter(|workload| workloads.contains(workload)) {
        for &engine in engines {
            let jobs = Job::ALL.into_iter().filter(|job| job.workload() == workload && engine.can(*job));
            cells.extend(jobs.map(|job| (engine, job)));
        }
    }
    cells
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub name: &'static str,
    /// A: edits of the trace.
    pub edits: usize,
    /// B: items, and single-field sets of them.
    pub items: usize,
    pub sets: usize,
    /// C: replicas, items they start from, and what each of them does.
    pub replicas: usize,
    pub base_items: usize,
    pub replica_sets: usize,
    pub replica_inserts: usize,
    /// G: ops of the small documents, how many of them are measured, and ops of the large one.
    pub small_ops: usize,
    pub small_documents: usize,
    pub large_ops: usize,
}

impl Scale {
    pub const FULL: Self = Self {
        name: "full",
        edits: 259_778,
        items: 10_000,
        sets: 100_000,
        replicas: 20,
        base_items: 1_000,
        replica_sets: 500,
        replica_inserts: 50,
        small_ops: 10_000,
        small_documents: 50,
        large_ops: 1_000_000,
    };
    pub const SMALL: Self = Self {
        name: "small",
        edits: 5_000,
        items: 1_000,
        sets: 10_000,
        replicas: 5,
        base_items: 200,
        replica_sets: 200,
        replica_inserts: 20,
        small_ops: 1_000,
        small_documents: 50,
        large_ops: 50_000,
    };
}

impl FromStr for Scale {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let scale = [Self::SMALL, Self::FULL].into_iter().find(|scale| scale.name == name);
        scale.ok_or_else(|| format!("no scale is called {name}: small or full"))
    }
}
