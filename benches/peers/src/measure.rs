//! What a cell reports: time per phase, bytes, checks, peak memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The most CPU time for one phase of many edits or updates.
const BUDGET: Duration = Duration::from_secs(60);

/// The time that a phase took, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spent {
    /// User and system time of all threads of the process.
    pub cpu: f64,
    pub wall: f64,
}

/// One cell's figures, which the child prints as a line of JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub engine: String,
    pub job: String,
    pub phases: BTreeMap<String, Spent>,
    /// Phases that were given up, and how many updates they had had by then.
    pub cut: BTreeMap<String, usize>,
    pub update_count: usize,
    pub bytes: BTreeMap<String, u64>,
    /// What was compared with the workload's own model, or between replicas.
    pub checks: BTreeMap<String, bool>,
    /// The most memory that the process held, in bytes, up to the end or to [`Report::note_peak`].
    pub peak_rss: u64,
    /// What it held before it began, where that was noted.
    pub floor_rss: u64,
}

impl Report {
    pub fn new(engine: &str, job: &str) -> Self {
        Self { engine: engine.to_owned(), job: job.to_owned(), ..Self::default() }
    }

    /// Runs a phase and adds up its time under `name`. What the phase returns is dropped outside of it.
    pub fn time<R>(&mut self, name: &str, phase: impl FnOnce() -> R) -> R {
        let (cpu, wall) = (cpu_time(), Instant::now());
        let result = phase();
        let spent = self.phases.entry(name.to_owned()).or_default();
        spent.cpu += cpu_time().saturating_sub(cpu).as_secs_f64();
        spent.wall += wall.elapsed().as_secs_f64();
        result
    }

    /// Runs a phase for one update after the other, until the budget is spent. Returns whether all had a turn.
    pub fn each(&mut self, name: &str, updates: &[Vec<u8>], mut apply: impl FnMut(&[u8])) -> bool {
        let done = self.time(name, || within_budget(updates, |update| apply(update)));
        self.note_done(name, done, updates.len())
    }

    /// Notes how much of a phase was done, and returns whether all was.
    pub fn note_done(&mut self, name: &str, done: usize, count: usize) -> bool {
        if done < count {
            self.cut.insert(name.to_owned(), done);
        }
        done == count
    }

    /// Notes how many updates there are and their bytes.
    pub fn updates(&mut self, updates: &[Vec<u8>]) {
        self.update_count = updates.len();
        self.bytes("updates", updates.iter().map(Vec::len).sum());
    }

    pub fn bytes(&mut self, name: &str, count: usize) {
        self.bytes.insert(name.to_owned(), count as u64);
    }

    pub fn check(&mut self, name: &str, holds: bool) {
        *self.checks.entry(name.to_owned()).or_insert(true) &= holds;
    }

    /// Notes the memory that the process holds before what is measured begins.
    pub fn note_floor(&mut self) {
        self.floor_rss = status_bytes("VmRSS:");
    }

    /// Notes the peak memory until here, where what follows is not part of what is measured.
    pub fn note_peak(&mut self) {
        if self.peak_rss == 0 {
            self.peak_rss = status_bytes("VmHWM:");
        }
    }

    pub fn seconds(&self, phase: &str) -> Option<Spent> {
        self.phases.get(phase).copied()
    }
}

/// Does something for one item after the other until [`BUDGET`] is spent, and returns for how many.
///
/// There are engines where each edit or update costs as much as there is history: a whole run takes minutes or
/// hours there, and says no more than a part of it.
pub fn within_budget<T>(items: &[T], mut run: impl FnMut(&T)) -> usize {
    let start = cpu_time();
    let mut done = 0;
    for item in items {
        if done % 256 == 255 && cpu_time().saturating_sub(start) > BUDGET {
            break;
        }
        run(item);
        done += 1;
    }
    done
}

/// The same sum as getrusage gives, but to the nanosecond and without unsafe code.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A line of what the system tells of this process; 0 on systems that do not tell.
fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
