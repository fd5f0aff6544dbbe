//! When which root is reconciled: what feeds say is gathered, failures are tried again, later and later.
//!
//! A machine without IO: [`Follower::handle`] takes what happened, [`Follower::poll_effect`] says what is to be done. A feed
//! only says that a root is dirty; the rows are read when it is run, so a run that begins after the last word has seen all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bounds of following. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowSettings {
    /// How long to wait for more before a root is run.
    pub gather_ms: u64,
    /// How long a root waits at most while it is named again and again.
    pub gather_max_ms: u64,
    /// How long to wait after a first failure; each later one waits twice as long.
    pub retry_ms: u64,
    /// How long to wait at most.
    pub retry_max_ms: u64,
    /// Most roots that are run at a time.
    pub runs_max: usize,
    /// Most roots that wait; with more, the source is scanned instead.
    pub waiting_max: usize,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self {
            gather_ms: 20,
            gather_max_ms: 250,
            retry_ms: 250,
            retry_max_ms: 30_000,
            runs_max: 4,
            waiting_max: 65_536,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowInput {
    /// A feed names a root.
    Dirty(String),
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
}

/// Decides for one source.
#[derive(Debug)]
pub struct Follower {
    settings: FollowSettings,
    roots: BTreeMap<String, Root>,
    /// Those that do not run, by when they are due.
    due: BTreeSet<(u64, String)>,
    running: usize,
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
            running: 0,
            is_paused: false,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now_ms: u64, input: FollowInput) {
        match input {
            FollowInput::Dirty(root) => self.dirty(now_ms, root),
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
        if self.is_paused || self.running >= self.settings.runs_max {
            return None;
        }
        self.due.first().map(|(due, _)| *due)
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

    fn dirty(&mut self, now_ms: u64, root: String) {
        let settings = &self.settings;
        if !self.roots.contains_key(&root) && self.roots.len() >= settings.waiting_max {
            if !self.effects.contains(&FollowEffect::Scan) {
                self.effects.push_back(FollowEffect::Scan);
            }
            return;
        }
        let due = now_ms + settings.gather_ms;
        let new = Root { named: now_ms, due, failures: 0, is_running: false, is_named_again: false };
        let known = self.roots.entry(root.clone()).or_insert(new);
        if known.is_running {
            known.is_named_again = true;
        } else if known.failures == 0 {
            self.due.remove(&(known.due, root.clone()));
            known.due = due.min(known.named + settings.gather_max_ms);
            self.due.insert((known.due, root));
        }
        // One that failed waits for its next try.
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
            self.roots.remove(root);
            return;
        }
        self.due.insert((known.due, root.to_owned()));
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
        while self.running < self.settings.runs_max
            && let Some((due, name)) = self.due.pop_first()
        {
            if due > now_ms {
                self.due.insert((due, name));
                return;
            }
            if let Some(root) = self.roots.get_mut(&name) {
                root.is_running = true;
                self.running += 1;
                self.effects.push_back(FollowEffect::Run(name));
            }
        }
    }
}
