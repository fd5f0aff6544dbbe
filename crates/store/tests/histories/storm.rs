//! Processes that append as fast as they can, from several clients each, and say what they were told.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use bft_json_crdt::Keypair;
use gangline_lease::{
    Answer, AppendAuthority, AppendError, Clock, EventStore, LeaseError, LeaseRegistry, LeaseSettings,
    LocalForwarder, Moment, Parts, Reach, ReadLimit, Seq, SpaceName,
    conformance::{block_on, intent},
};
use gangline_store::{BootClock, GitLog, SqliteLog};
use gangline_tests::history::Acknowledged;
use rustix::{
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
    time::{ClockId, clock_gettime},
};

/// How long leases are in these tests.
pub(crate) const TTL: Duration = Duration::from_secs(1);
const CLIENTS: usize = 8;
/// Longer than anything here takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

const DIR: &str = "GANGLINE_TEST_LOG_DIR";
const NODE: &str = "GANGLINE_TEST_LOG_NODE";
const BACKEND: &str = "GANGLINE_TEST_LOG_BACKEND";
const AHEAD: &str = "GANGLINE_TEST_LOG_AHEAD_MS";

pub(crate) fn space() -> SpaceName {
    SpaceName::new("s").unwrap()
}

/// Where the log lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Git,
}

/// A store and the registry beside it.
pub(crate) struct Log {
    pub(crate) store: Arc<dyn EventStore>,
    registry: Arc<dyn LeaseRegistry>,
}

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Git];

    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Git => "git",
        }
    }

    /// Whether some process has the store locked for writing.
    fn is_locked(self, dir: &Path) -> bool {
        match self {
            Self::Sqlite => {
                let mut file = rusqlite::Connection::open(dir.join("log.db")).unwrap();
                file.busy_timeout(Duration::ZERO).unwrap();
                file.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).is_err()
            }
            Self::Git => {
                let lock = std::fs::File::open(dir.join("log.git/gangline/lock")).unwrap();
                lock.try_lock().is_err()
            }
        }
    }

    /// Opens the log with a clock that is ahead of the machine's.
    pub(crate) fn open(self, dir: &Path, ahead: Duration) -> Log {
        let clock = BootClock::of("this", Arc::new(MachineClock { ahead }));
        match self {
            Self::Sqlite => {
                let log = Arc::new(SqliteLog::open(dir, clock).unwrap());
                Log { store: Arc::clone(&log) as _, registry: log }
            }
            Self::Git => {
                let log = Arc::new(GitLog::open(&dir.join("log.git"), clock).unwrap());
                Log { store: Arc::clone(&log) as _, registry: log }
            }
        }
    }
}

/// The machine's boot clock, and so much more.
struct MachineClock {
    ahead: Duration,
}

fn micros() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000 + u64::try_from(time.tv_nsec).unwrap() / 1_000
}

impl Clock for MachineClock {
    fn now(&self) -> Moment {
        Moment(micros() / 1_000).plus(self.ahead)
    }

    fn sleep(&self, time: Duration) -> Answer<'static, ()> {
        Box::pin(async move { thread::sleep(time) })
    }
}

pub(crate) fn authority(backend: Backend, dir: &Path, node: u8, ahead: Duration) -> AppendAuthority {
    let Log { store, registry } = backend.open(dir, ahead);
    let key = Keypair::from_seed(&[node; 32]);
    let counter = AtomicU64::new(u64::from(std::process::id()) << 32);
    let parts = Parts {
        reach: Reach { node: key.author(), url: None },
        key,
        store,
        registry,
        // Nobody can be reached: whoever does not hold the space waits until it can have it.
        forwarder: Arc::new(LocalForwarder::new()),
        clock: Arc::new(MachineClock { ahead }),
        random: Arc::new(move || counter.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    let (margin, patience) = (Duration::from_millis(50), Duration::from_secs(3));
    let settings = LeaseSettings { ttl: TTL, margin, patience, ..LeaseSettings::default() };
    AppendAuthority::new(parts, settings).unwrap()
}

/// Is the process that a test has started, if it is one.
pub(crate) fn run_if_asked() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let text = |name| std::env::var(name).unwrap();
    let backend = Backend::ALL.into_iter().find(|backend| backend.name() == text(BACKEND)).unwrap();
    let node: u8 = text(NODE).parse().unwrap();
    let ahead = Duration::from_millis(text(AHEAD).parse().unwrap());
    let authority = authority(backend, Path::new(&dir), node, ahead);
    let has_refused = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (authority, has_refused) = (&authority, &has_refused);
            scope.spawn(move || {
                client_loop(authority, &format!("{node}-{}-{client}", std::process::id()), has_refused)
            });
        }
    });
}

/// One intent after the other, each until it is acknowledged.
fn client_loop(authority: &AppendAuthority, name: &str, has_refused: &AtomicBool) {
    for n in 0.. {
        let id = format!("{name}-{n}");
        let began = micros();
        let placed = loop {
            block_on(authority.renew_due());
            match block_on(authority.submit(&space(), intent(&id))) {
                Ok(placed) => break placed,
                Err(AppendError::NotAppended {
                    source: source @ (LeaseError::Store(_) | LeaseError::Registry(_)),
                    ..
                }) => {
                    if !has_refused.swap(true, Ordering::SeqCst) {
                        say(&format!("refused {source:?}"));
                        let read = block_on(authority.read(&space(), Seq::START, ReadLimit::default()));
                        say(&format!(
                            "then {}",
                            if read.is_ok_and(|events| !events.is_empty()) { "read" } else { "unreadable" }
                        ));
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                Err(_) => {}
            }
        };
        say(&format!("acknowledged {id} {} {began} {}", placed.seq, micros()));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The test runner may have begun a line.
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// One such process.
pub(crate) struct Storm {
    child: Child,
    lines: Receiver<String>,
    acknowledged: Vec<Acknowledged>,
}

impl Storm {
    /// Starts one whose clock is so much ahead.
    pub(crate) fn start(backend: Backend, dir: &Path, node: u8, ahead: Duration) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "storm", "--nocapture"]);
        Self::spawn(command, backend, dir, node, ahead)
    }

    /// Starts one that cannot write files of more than 256 KiB.
    pub(crate) fn start_with_little_room(backend: Backend, dir: &Path, node: u8) -> Self {
        let mut command = Command::new("sh");
        // Without the signal, a write that does not fit is an error, as on a full disk.
        command.args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" --exact storm --nocapture"]);
        command.arg(std::env::current_exe().unwrap());
        Self::spawn(command, backend, dir, node, Duration::ZERO)
    }

    fn spawn(mut command: Command, backend: Backend, dir: &Path, node: u8, ahead: Duration) -> Self {
        let mut child = command
            .env(DIR, dir)
            .env(NODE, node.to_string())
            .env(BACKEND, backend.name())
            .env(AHEAD, ahead.as_millis().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, acknowledged: Vec::new() }
    }

    /// Waits until so many more appends were acknowledged.
    pub(crate) fn wait_for(&mut self, count: usize) {
        let wanted = self.acknowledged.len() + count;
        while self.acknowledged.len() < wanted {
            let line = self.line();
            self.note(&line);
        }
    }

    /// Waits until an append was refused, and returns why.
    pub(crate) fn wait_for_refusal(&mut self) -> String {
        self.wait_for_line("refused ")
    }

    /// Waits for what reading brought after the refusal.
    pub(crate) fn wait_for_read(&mut self) -> String {
        self.wait_for_line("then ")
    }

    fn wait_for_line(&mut self, begin: &str) -> String {
        loop {
            let line = self.line();
            self.note(&line);
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.to_owned();
            }
        }
    }

    fn line(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        self.lines.recv_timeout(until - Instant::now()).expect("the process says something")
    }

    fn note(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("acknowledged ") else { return };
        let words: Vec<&str> = rest.split(' ').collect();
        // The last line of a killed process may be torn.
        let [id, seq, began, ended] = words[..] else { return };
        let (Ok(seq), Ok(began), Ok(ended)) = (seq.parse(), began.parse(), ended.parse()) else { return };
        self.acknowledged.push(Acknowledged { id: id.to_owned(), seq, began, ended });
    }

    /// Stops it while it does not have the store locked.
    pub(crate) fn stop_between_writes(&self, backend: Backend, dir: &Path) {
        self.stop_when(|| !backend.is_locked(dir));
    }

    /// Stops it while it has the store locked.
    pub(crate) fn stop_in_a_write(&self, backend: Backend, dir: &Path) {
        self.stop_when(|| backend.is_locked(dir));
    }

    fn stop_when(&self, is_right: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.stop();
            if is_right() {
                return;
            }
            assert!(Instant::now() < until, "it was never stopped at the right moment");
            self.wake();
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// Wakes it, and waits until it or another one has appended something since.
    pub(crate) fn wake_until_either_gets_on(&mut self, other: &mut Self) {
        let woken = micros();
        self.wake();
        let until = Instant::now() + PATIENCE;
        let gets_on = |storm: &Self| storm.acknowledged.last().is_some_and(|last| last.ended > woken);
        while !gets_on(self) && !gets_on(other) {
            assert!(Instant::now() < until, "one of them gets on");
            for storm in [&mut *self, &mut *other] {
                if let Ok(line) = storm.lines.recv_timeout(Duration::from_millis(10)) {
                    storm.note(&line);
                }
            }
        }
    }

    /// Stops it, and waits until it does: what it was told to do, each of its threads does when it is next seen
    /// by the system, and until then it may yet take the lock.
    fn stop(&self) {
        self.signal(Signal::STOP);
        waitid(WaitId::Pid(Pid::from_child(&self.child)), WaitIdOptions::STOPPED).unwrap();
    }

    pub(crate) fn wake(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it, and returns all that it has said.
    pub(crate) fn kill(mut self) -> Vec<Acknowledged> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.note(&line);
        }
        std::mem::take(&mut self.acknowledged)
    }
}

/// A test that fails leaves no storm behind.
impl Drop for Storm {
    fn drop(&mut self) {
        let _is_gone_already = self.child.kill();
        let _waited_for = self.child.wait();
    }
}
