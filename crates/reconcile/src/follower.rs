//! When which root is reconciled: what feeds say is gathered, failures are tried again, later and later.
//!
//! A machine without IO: [`Follower::handle`] takes what happened, [`Follower::poll_effect`] says what is to be done. A feed
//! only says that a root is dirty; the rows are read when it is run, so a run that begins after the last word has seen all.
//!
//! What somebody has open is run first, whatever else waits; then what is stored; then a few roots that nobody has opened.
//! The first word of what is open is not gathered, so that one commit is seen at once; those that follow upon it are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bounds of following. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowSettings {
    /// How long to wait for more before a root is run.
    pub gather_ms: u64,
    /// How long a root waits at most while it is named again and again.
    pub gather_max_ms: u64,
    /// How long after a run what is open is gathered again. Longer than a feed takes to look, or nothing ever is.
    pub rest_ms: u64,
    /// How long to wait after a first failure; each later one waits twice as long.
    pub retry_ms: u64,
    /// How long to wait at most.
    pub retry_max_ms: u64,
    /// Most roots that are run at a time.
    pub runs_max: usize,
    /// More that are run at a time where their documents are open.
    pub open_runs: usize,
    /// Most roots that wait; with more, the source is scanned instead. Those whose documents are open always may.
    pub waiting_max: usize,
    /// Most roots that nobody has opened that wait; more are left out.
    pub births_max: usize,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self {
            gather_ms: 20,
            gather_max_ms: 250,
            rest_ms: 40,
            retry_ms: 250,
            retry_max_ms: 30_000,
            runs_max: 4,
            open_runs: 2,
            waiting_max: 65_536,
            births_max: 1_000,
        }
    }
}

/// How near somebody is to a root's document. The first is run first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is open.
    Open,
    /// It has been opened, here or at a peer.
    Stored,
    /// Nobody has opened it yet. Whoever does gets the rows as they are then, so that nothing is lost by not running it.
    Unborn,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowInput {
    /// A feed names a root, whose document stands so at this moment.
    Dirty(String, Standing),
    /// A run has ended.
    Done(String),
    /// A run has failed, and is to be tried again.
    Failed(String),
    /// A run has failed in a way that trying again does not mend: it waits for a person, or the next word of the feed.
    GaveUp(String),
    /// Nothing more is run until [`FollowInput::Resume`].
    Pause,
    /// Runs go on.
    Resume,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowEffect {
    /// Read the root's rows, and let its document follow.
    Run(String),
    /// Roots were named that nobody remembers: scan.
    Scan,
    /// Roots that nobody has opened are left out from here on, since too many wait. Said once, until none waits any more.
    LeaveOut,
    /// A run failed and is tried again after so many milliseconds.
    RetryIn(String, u64),
}

#[derive(Clone, Copy, Debug)]
struct Root {
    /// When it was named first, since it was last run.
    named: u64,
    /// When it is to be run.
    due: u64,
    /// Failed runs in a row.
    failures: u32,
    is_running: bool,
    /// It was named again while it runs.
    is_named_again: bool,
    standing: Standing,
}

impl Root {
    /// Its place among those that do not run.
    fn place(&self, name: &str) -> (Standing, u64, String) {
        (self.standing, self.due, name.to_owned())
    }
}

/// Decides for one source.
#[derive(Debug)]
pub struct Follower {
    settings: FollowSettings,
    roots: BTreeMap<String, Root>,
    /// Those that do not run, in their order, by when they are due.
    due: BTreeSet<(Standing, u64, String)>,
    /// Those that were run, by when they have rested.
    resting: VecDeque<(u64, String)>,
    running: usize,
    /// How many there are that nobody has opened.
    births: usize,
    left_out: u64,
    is_leaving_out: bool,
    is_paused: bool,
    effects: VecDeque<FollowEffect>,
}

impl Follower {
    /// Returns a follower that knows of nothing.
    #[must_use]
    pub fn new(settings: FollowSettings) -> Self {
        Self {
            settings,
            roots: BTreeMap::new(),
            due: BTreeSet::new(),
            resting: VecDeque::new(),
            running: 0,
            births: 0,
            left_out: 0,
            is_leaving_out: false,
            is_paused: false,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now_ms: u64, input: FollowInput) {
        match input {
            FollowInput::Dirty(root, standing) => self.dirty(now_ms, root, standing),
            FollowInput::Done(root) => self.ended(now_ms, &root, None),
            FollowInput::Failed(root) => self.failed(now_ms, &root),
            FollowInput::GaveUp(root) => self.ended(now_ms, &root, None),
            FollowInput::Pause => self.is_paused = true,
            FollowInput::Resume => self.is_paused = false,
            FollowInput::Tick => {}
        }
        self.run_due(now_ms);
    }

    /// Returns what is to be done next.
    pub fn poll_effect(&mut self) -> Option<FollowEffect> {
        self.effects.pop_front()
    }

    /// Returns when [`FollowInput::Tick`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.is_paused {
            return None;
        }
        let may_run = |standing: &Standing| self.running < self.runs_max(*standing);
        let firsts = STANDINGS.iter().filter(|standing| may_run(standing));
        firsts.filter_map(|standing| self.first(*standing)).min()
    }

    /// Returns how long the oldest word of the feed has not been followed, in milliseconds.
    #[must_use]
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        self.roots.values().map(|root| now_ms.saturating_sub(root.named)).max().unwrap_or(0)
    }

    /// Returns how many roots wait or run.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.roots.len()
    }

    /// Returns whether one more root may wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.roots.len() < self.settings.waiting_max
    }

    /// Returns how many more roots that nobody has opened may wait.
    #[must_use]
    pub fn births_left(&self) -> usize {
        let room = self.settings.waiting_max.saturating_sub(self.roots.len());
        self.settings.births_max.saturating_sub(self.births).min(room)
    }

    /// Returns how often a root that nobody has opened was left out.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns how many roots wait since a run of them failed.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.roots.values().filter(|root| root.failures > 0).count()
    }

    /// Returns whether nothing is run.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    fn dirty(&mut self, now_ms: u64, root: String, standing: Standing) {
        if !self.roots.contains_key(&root) && !self.lets_in(standing) {
            return;
        }
        self.let_rise(now_ms);
        let settings = &self.settings;
        let is_first = standing == Standing::Open
            && !self.roots.contains_key(&root)
            && self.resting.iter().all(|(_, resting)| *resting != root);
        let due = now_ms + if is_first { 0 } else { settings.gather_ms };
        let known = self.roots.entry(root.clone()).or_insert_with(|| {
            self.births += usize::from(standing == Standing::Unborn);
            Root { named: now_ms, due, failures: 0, is_running: false, is_named_again: false, standing }
        });
        self.due.remove(&known.place(&root));
        self.births += usize::from(standing == Standing::Unborn);
        self.births -= usize::from(known.standing == Standing::Unborn);
        known.standing = standing;
        if known.is_running {
            known.is_named_again = true;
            return;
        }
        // One that failed waits for its next try.
        if known.failures == 0 {
            known.due = due.min(known.named + settings.gather_max_ms);
        }
        self.due.insert(known.place(&root));
    }

    /// Whether one more root may wait; what else is to be done about it is said.
    fn lets_in(&mut self, standing: Standing) -> bool {
        match standing {
            Standing::Open => true,
            Standing::Stored => {
                let has_room = self.has_room();
                if !has_room && !self.effects.contains(&FollowEffect::Scan) {
                    self.effects.push_back(FollowEffect::Scan);
                }
                has_room
            }
            Standing::Unborn => {
                let has_room = self.births_left() > 0;
                if !has_room {
                    self.left_out += 1;
                    if !std::mem::replace(&mut self.is_leaving_out, true) {
                        self.effects.push_back(FollowEffect::LeaveOut);
                    }
                }
                has_room
            }
        }
    }

    fn ended(&mut self, now_ms: u64, root: &str, retry: Option<(u64, u32)>) {
        let Some(known) = self.roots.get_mut(root).filter(|known| known.is_running) else { return };
        self.running -= 1;
        known.is_running = false;
        let is_named_again = std::mem::take(&mut known.is_named_again);
        if let Some((due, failures)) = retry {
            (known.due, known.failures) = (due, failures);
        } else if is_named_again {
            (known.named, known.failures) = (now_ms, 0);
            known.due = now_ms + self.settings.gather_ms;
        } else {
            self.births -= usize::from(known.standing == Standing::Unborn);
            self.is_leaving_out &= self.births > 0;
            self.roots.remove(root);
            self.let_rise(now_ms);
            self.resting.push_back((now_ms + self.settings.rest_ms, root.to_owned()));
            return;
        }
        self.due.insert(known.place(root));
    }

    /// Forgets those that have rested.
    fn let_rise(&mut self, now_ms: u64) {
        while self.resting.pop_front_if(|(until, _)| *until <= now_ms).is_some() {}
    }

    fn failed(&mut self, now_ms: u64, root: &str) {
        let Some(known) = self.roots.get(root) else { return };
        let failures = known.failures.saturating_add(1);
        let wait = self.settings.retry_ms.saturating_mul(1 << (failures - 1).min(20));
        let wait = wait.min(self.settings.retry_max_ms);
        self.effects.push_back(FollowEffect::RetryIn(root.to_owned(), wait));
        self.ended(now_ms, root, Some((now_ms + wait, failures)));
    }

    fn run_due(&mut self, now_ms: u64) {
        if self.is_paused {
            return;
        }
        for standing in STANDINGS {
            while self.running < self.runs_max(standing)
                && self.first(standing).is_some_and(|due| due <= now_ms)
                && let Some(name) = self.take_first(standing)
            {
                if let Some(root) = self.roots.get_mut(&name) {
                    root.is_running = true;
                    self.running += 1;
                    self.effects.push_back(FollowEffect::Run(name));
                }
            }
        }
    }

    /// How many runs there may be beside one more of these.
    fn runs_max(&self, standing: Standing) -> usize {
        match standing {
            Standing::Open => self.settings.runs_max + self.settings.open_runs,
            Standing::Stored | Standing::Unborn => self.settings.runs_max,
        }
    }

    /// When the first of these is due.
    fn first(&self, standing: Standing) -> Option<u64> {
        self.first_of(standing).map(|(_, due, _)| *due)
    }

    fn take_first(&mut self, standing: Standing) -> Option<String> {
        let first = self.first_of(standing)?.clone();
        self.due.remove(&first);
        Some(first.2)
    }

    fn first_of(&self, standing: Standing) -> Option<&(Standing, u64, String)> {
        let first = self.due.range((standing, 0, String::new())..).next();
        first.filter(|(of, _, _)| *of == standing)
    }
}

/// In the order in which they are run.
const STANDINGS: [Standing; 3] = [Standing::Open, Standing::Stored, Standing::Unborn];
