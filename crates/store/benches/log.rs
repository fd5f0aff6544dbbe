//! Appends to logs until they are durable, beside what the disk itself takes for the same bytes.
//!
//! `cargo bench -p gangline-store --bench log -- --growth 20000` appends that many events one by one to a log in git
//! and tells what each thousand of them took.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark")]

use std::{
    fs::File,
    future::{Future, poll_fn},
    io::Write as _,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bft_json_crdt::Keypair;
use divan::{Bencher, counter::ItemsCount};
use gangline_lease::{
    Answer, AppendAuthority, Clock, EventStore, EventType, Intent, IntentId, LeaseRegistry, LeaseSettings,
    LocalForwarder, Moment, Parts, Payload, Reach, ReadLimit, Seq, SpaceName, conformance::block_on,
};
use gangline_store::{BootClock, GitLog, SqliteLog};

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--growth");
    match arguments.nth(1).and_then(|count| count.parse().ok()) {
        Some(count) => growth(count),
        None => divan::main(),
    }
}

/// The floor: 200 bytes at the end of a file, and one sync.
#[divan::bench(sample_count = 200)]
fn floor_write_200_bytes_and_fdatasync(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("floor")).unwrap();
    bencher.bench_local(|| {
        file.write_all(&[7; 200]).unwrap();
        file.sync_data().unwrap();
    });
}

#[divan::bench(sample_count = 200)]
fn sqlite_append_one(bencher: Bencher<'_, '_>) {
    append_one(bencher, sqlite);
}

#[divan::bench(sample_count = 200)]
fn git_append_one(bencher: Bencher<'_, '_>) {
    append_one(bencher, git);
}

#[divan::bench(sample_count = 20)]
fn sqlite_append_ten_groups_of_100(bencher: Bencher<'_, '_>) {
    append_groups(bencher, sqlite);
}

#[divan::bench(sample_count = 20)]
fn git_append_ten_groups_of_100(bencher: Bencher<'_, '_>) {
    append_groups(bencher, git);
}

#[divan::bench(sample_count = 20)]
fn git_read_1000_of_groups(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let log = git(dir.path());
    let node = Node::new(Arc::clone(&log));
    node.append(2_000);
    let limit = ReadLimit { count: 1_000, bytes: usize::MAX };
    bencher
        .counter(ItemsCount::new(1_000_usize))
        .bench_local(|| block_on(log.read(&space(), Seq(500), limit)).unwrap());
}

trait Log: EventStore + LeaseRegistry {}
impl<T: EventStore + LeaseRegistry> Log for T {}

fn sqlite(dir: &Path) -> Arc<dyn Log> {
    Arc::new(SqliteLog::open(dir, BootClock::system().unwrap()).unwrap())
}

fn git(dir: &Path) -> Arc<dyn Log> {
    Arc::new(GitLog::open(&dir.join("log.git"), BootClock::system().unwrap()).unwrap())
}

fn append_one(bencher: Bencher<'_, '_>, open: fn(&Path) -> Arc<dyn Log>) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::new(open(dir.path()));
    node.append(1);
    bencher.bench_local(|| node.append(1));
}

/// What comes first is appended alone, what comes meanwhile goes together.
fn append_groups(bencher: Bencher<'_, '_>, open: fn(&Path) -> Arc<dyn Log>) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::new(open(dir.path()));
    node.append(1);
    bencher.counter(ItemsCount::new(1_001_usize)).bench_local(|| node.append(1_001));
}

fn growth(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::new(git(dir.path()));
    let mut floor = File::create(dir.path().join("floor")).unwrap();
    for thousand in 1..=count.div_ceil(1_000) {
        let mut times: Vec<Duration> = Vec::new();
        let mut floors: Vec<Duration> = Vec::new();
        for n in 0..1_000 {
            let start = Instant::now();
            node.append(1);
            times.push(start.elapsed());
            if n % 10 == 0 {
                let start = Instant::now();
                floor.write_all(&[7; 200]).unwrap();
                floor.sync_data().unwrap();
                floors.push(start.elapsed());
            }
        }
        times.sort();
        floors.sort();
        let [median, high] =
            [50, 99].map(|part| times.get(times.len() * part / 100).copied().unwrap_or_default());
        let floor = floors.get(floors.len() / 2).copied().unwrap_or_default();
        println!("{thousand:>4},000 events: median {median:?}, 99 of 100 within {high:?}, floor {floor:?}");
    }
}

struct WallClock(Instant);

impl Clock for WallClock {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(async move { std::thread::sleep(time) })
    }
}

fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

struct Node {
    authority: AppendAuthority,
    next: AtomicU64,
}

impl Node {
    fn new(log: Arc<dyn Log>) -> Self {
        let key = Keypair::from_seed(&[1; 32]);
        let random = AtomicU64::new(1);
        let parts = Parts {
            reach: Reach { node: key.author(), url: None },
            key,
            store: Arc::clone(&log) as _,
            registry: log,
            forwarder: Arc::new(LocalForwarder::new()),
            clock: Arc::new(WallClock(Instant::now())),
            random: Arc::new(move || {
                random.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }),
        };
        let (ttl, margin) = (Duration::from_secs(3_600), Duration::from_secs(60));
        let settings = LeaseSettings { ttl, margin, patience: ttl, ..LeaseSettings::default() };
        Self { authority: AppendAuthority::new(parts, settings).unwrap(), next: AtomicU64::new(0) }
    }

    /// Appends that many events of about 200 bytes at once.
    fn append(&self, count: usize) {
        let space = space();
        let mut waiting: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        for _ in 0..count {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let payload = format!("{{\"alias\":{n},\"target\":\"{}\"}}", "x".repeat(170));
            let intent = Intent {
                id: IntentId::new(&format!("i{n}")).unwrap(),
                kind: EventType::new("ALIAS_SET").unwrap(),
                payload: Payload::parse(payload.as_bytes()).unwrap(),
            };
            let submitted = self.authority.submit(&space, intent);
            waiting.push(Box::pin(async move {
                submitted.await.unwrap();
            }));
        }
        block_on(poll_fn(|context| {
            waiting.retain_mut(|one| one.as_mut().poll(context).is_pending());
            if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
}
