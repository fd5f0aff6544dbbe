//! Several processes on one log, in a file or in a repository: killed at any moment, a process loses nothing that it acknowledged, and another
//! takes over and goes on from the same log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and these run against the machine's clock"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bft_json_crdt::Keypair;
use gangline_lease::{
    Answer, AppendAuthority, Clock, Event, EventStore, LeaseRegistry, LeaseSettings, LocalForwarder, Moment,
    Parts, Reach, ReadLimit, Seq, SpaceName, Verifier,
    conformance::{block_on, intent},
};
use gangline_store::{BootClock, GitLog, SqliteLog};

const CHILD_BACKEND: &str = "GANGLINE_TEST_LOG_BACKEND";
const CHILD_DIR: &str = "GANGLINE_TEST_LOG_DIR";
const CHILD_NODE: &str = "GANGLINE_TEST_LOG_NODE";
const CHILD_THREADS: usize = 8;

struct WallClock(Instant);

impl Clock for WallClock {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(async move { thread::sleep(time) })
    }
}

/// What the processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Sqlite,
    Git,
}

trait Log: EventStore + LeaseRegistry {}
impl<T: EventStore + LeaseRegistry> Log for T {}

impl Backend {
    fn open(self, dir: &Path) -> Arc<dyn Log> {
        let clock = BootClock::system().unwrap();
        match self {
            Self::Sqlite => Arc::new(SqliteLog::open(dir, clock).unwrap()),
            Self::Git => Arc::new(GitLog::open(&dir.join("log.git"), clock).unwrap()),
        }
    }
}

fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

fn authority(backend: Backend, dir: &Path, node: u8) -> AppendAuthority {
    let log = backend.open(dir);
    let key = Keypair::from_seed(&[node; 32]);
    let counter = AtomicU64::new(u64::from(std::process::id()) << 32);
    let parts = Parts {
        reach: Reach { node: key.author(), url: None },
        key,
        store: Arc::clone(&log) as _,
        registry: log,
        // Nobody can be reached: whoever does not hold the space waits until it can have it.
        forwarder: Arc::new(LocalForwarder::new()),
        clock: Arc::new(WallClock(Instant::now())),
        random: Arc::new(move || counter.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    let ttl = Duration::from_secs(1);
    let settings = LeaseSettings { ttl, margin: Duration::from_millis(50), ..LeaseSettings::default() };
    AppendAuthority::new(parts, settings).unwrap()
}

fn events(backend: Backend, dir: &Path) -> Vec<Event> {
    let log = backend.open(dir);
    let state = block_on(log.state(&space())).unwrap().unwrap();
    let mut verifier = Verifier::new(space(), state.incarnation);
    let mut events = Vec::new();
    loop {
        let limit = ReadLimit { count: 500, bytes: usize::MAX };
        let more = block_on(log.read(&space(), Seq(events.len() as u64), limit)).unwrap();
        if more.is_empty() {
            break;
        }
        more.iter().for_each(|event| verifier.push(event).unwrap());
        events.extend(more);
    }
    // Another process may have appended since.
    assert!(verifier.end().unwrap().next >= state.head.next);
    events
}

/// Not a test by itself: what the others run in processes of their own. Says what was acknowledged.
#[test]
fn storm() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let node: u8 = std::env::var(CHILD_NODE).unwrap().parse().unwrap();
    let backend = std::env::var(CHILD_BACKEND).unwrap();
    let backend = if backend == "Git" { Backend::Git } else { Backend::Sqlite };
    let authority = authority(backend, Path::new(&dir), node);
    let pid = std::process::id();
    thread::scope(|scope| {
        for thread in 0..CHILD_THREADS {
            let authority = authority.clone();
            scope.spawn(move || {
                for n in 0.. {
                    block_on(authority.renew_due());
                    let id = format!("{node}-{pid}-{thread}-{n}");
                    if let Ok(placed) = block_on(authority.submit(&space(), intent(&id))) {
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "\nacknowledged {id} {}", placed.seq).unwrap();
                        out.flush().unwrap();
                    }
                }
            });
        }
    });
}

fn spawn(backend: Backend, dir: &Path, node: u8) -> (Child, impl Iterator<Item = (String, u64)> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storm", "--nocapture"])
        .env(CHILD_BACKEND, format!("{backend:?}"))
        .env(CHILD_DIR, dir)
        .env(CHILD_NODE, node.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let acknowledged = lines.filter_map(|line| {
        let (id, seq) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
        Some((id.to_owned(), seq.parse().ok()?))
    });
    (child, acknowledged)
}

/// Acknowledged is a part of the log, each once, where it was said to be.
fn check(backend: Backend, dir: &Path, acknowledged: &[(String, u64)]) -> usize {
    let events = events(backend, dir);
    let by_id: BTreeMap<&str, u64> = events.iter().map(|event| (event.id.as_str(), event.seq.0)).collect();
    assert_eq!(by_id.len(), events.len(), "each intent once");
    for (id, seq) in acknowledged {
        assert_eq!(by_id.get(id.as_str()), Some(seq), "{id} was acknowledged at {seq}");
    }
    events.len()
}

fn a_killed_process_loses_nothing_that_it_acknowledged(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for (node, kill_after) in [(1, 1), (1, 120), (2, 60)] {
        let (mut child, mut lines) = spawn(backend, dir.path(), node);
        let before = all.len();
        all.extend(lines.by_ref().take(kill_after));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still managed to say counts too.
        all.extend(lines);
        assert!(all.len() >= before + kill_after, "the storm ended early");
        let len = check(backend, dir.path(), &all);
        assert!(len >= all.len());
    }
}

fn two_processes_share_a_log_and_one_takes_over_from_the_other(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, mut one_says) = spawn(backend, dir.path(), 1);
    let mut all: Vec<_> = one_says.by_ref().take(40).collect();
    let (mut two, mut two_says) = spawn(backend, dir.path(), 2);
    all.extend(one_says.by_ref().take(40));
    one.kill().unwrap();
    one.wait().unwrap();
    all.extend(one_says);
    all.extend(two_says.by_ref().take(40));
    two.kill().unwrap();
    two.wait().unwrap();
    all.extend(two_says);
    check(backend, dir.path(), &all);
    let epochs: Vec<u64> = events(backend, dir.path()).iter().map(|event| event.epoch.0).collect();
    assert!(epochs.is_sorted() && epochs.first() < epochs.last(), "the second has taken over");
}

fn what_gathers_is_appended_together(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority(backend, dir.path(), 1);
    thread::scope(|scope| {
        for thread in 0..32 {
            let authority = authority.clone();
            scope.spawn(move || {
                for n in 0..20 {
                    block_on(authority.submit(&space(), intent(&format!("{thread}-{n}")))).unwrap();
                }
            });
        }
    });
    let events = events(backend, dir.path());
    assert_eq!(events.len(), 640);
    let batches = events.iter().filter(|event| event.signature.is_some()).count();
    assert!(batches < 320, "{batches} batches for 640 events of 32 threads");
}

macro_rules! on {
    ($name:ident, $backend:expr) => {
        mod $name {
            #[test]
            fn a_killed_process_loses_nothing_that_it_acknowledged() {
                super::a_killed_process_loses_nothing_that_it_acknowledged($backend);
            }

            #[test]
            fn two_processes_share_a_log_and_one_takes_over_from_the_other() {
                super::two_processes_share_a_log_and_one_takes_over_from_the_other($backend);
            }

            #[test]
            fn what_gathers_is_appended_together() {
                super::what_gathers_is_appended_together($backend);
            }
        }
    };
}

on!(sqlite, super::Backend::Sqlite);
on!(git, super::Backend::Git);
