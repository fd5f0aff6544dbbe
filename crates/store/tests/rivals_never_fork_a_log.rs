//! Several nodes that all believe to hold a space, at the same time: nothing but the store keeps them apart, and that is
//! enough.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and these run on real threads"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bft_json_crdt::Keypair;
use gangline_lease::{
    Answer, AppendAuthority, Clock, EventStore, LeaseSettings, LocalForwarder, Moment, Parts, Reach,
    ReadLimit, Seq, SpaceName,
    conformance::{ForgetfulRegistry, ManualClock, block_on, intent},
    verify,
};
use gangline_store::{BootClock, GitLog, SqliteLog};

const RIVALS: u8 = 4;
const INTENTS: usize = 60;

struct WallClock(Instant);

impl Clock for WallClock {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(async move { thread::sleep(time) })
    }
}

fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

/// Is granted whatever it asks for.
fn rival(store: Arc<dyn EventStore>, node: u8) -> AppendAuthority {
    let key = Keypair::from_seed(&[node; 32]);
    let random = AtomicU64::new(u64::from(node) << 32);
    let parts = Parts {
        reach: Reach { node: key.author(), url: None },
        key,
        store,
        registry: Arc::new(ForgetfulRegistry),
        forwarder: Arc::new(LocalForwarder::new()),
        clock: Arc::new(WallClock(Instant::now())),
        random: Arc::new(move || random.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    AppendAuthority::new(parts, LeaseSettings::default()).unwrap()
}

/// Appends until it is done, or has failed so often that the log must be broken. Returns what was acknowledged.
fn append(store: Arc<dyn EventStore>, node: u8) -> Vec<(String, Seq)> {
    let authority = rival(store, node);
    let mut acknowledged = Vec::new();
    let mut failed = 0;
    for n in 0..INTENTS {
        let id = format!("{node}-{n}");
        match block_on(authority.submit(&space(), intent(&id))) {
            Ok(placed) => acknowledged.push((id, placed.seq)),
            Err(_) if failed < 2 => failed += 1,
            Err(_) => break,
        }
    }
    acknowledged
}

fn rivals_never_fork_a_log(open: impl Fn() -> Arc<dyn EventStore>) {
    let stores: Vec<Arc<dyn EventStore>> = (0..RIVALS).map(|_| open()).collect();
    let all: Vec<(String, Seq)> = thread::scope(|scope| {
        let rivals: Vec<_> = stores
            .into_iter()
            .zip(1..)
            .map(|(store, node)| scope.spawn(move || append(store, node)))
            .collect();
        rivals.into_iter().flat_map(|rival| rival.join().unwrap()).collect()
    });
    let store = open();
    let state = block_on(store.state(&space())).unwrap().unwrap();
    let limit = ReadLimit { count: 10_000, bytes: usize::MAX };
    let events = block_on(store.read(&space(), Seq(0), limit)).unwrap();
    verify(&space(), &state, events.clone()).unwrap();
    let places: BTreeMap<&str, Seq> = events.iter().map(|event| (event.id.as_str(), event.seq)).collect();
    for (id, seq) in &all {
        assert_eq!(places.get(id.as_str()), Some(seq), "{id} was acknowledged at {seq}");
    }
    assert!(all.len() > INTENTS * 2, "{} were acknowledged", all.len());
}

fn boot() -> BootClock {
    BootClock::of("boot", ManualClock::new())
}

#[test]
fn in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    rivals_never_fork_a_log(|| Arc::new(SqliteLog::open(dir.path(), boot()).unwrap()));
}

#[test]
fn in_a_repository() {
    let dir = tempfile::tempdir().unwrap();
    rivals_never_fork_a_log(|| Arc::new(GitLog::open(&dir.path().join("log.git"), boot()).unwrap()));
}
