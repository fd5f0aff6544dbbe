//! Documents that follow a database, at whole nodes: processes of the release binary on loopback, an SQLite file that
//! somebody else writes, and a client that watches. Told is the time from their commit to the client's notice, and what
//! processor time a node spends on it: of single commits, and of commits upon each other, which a node gathers.
//!
//! `cargo bench -p gangline --bench documents -- [COMMITS [ROOTS JOBS [COMMITS_LARGE ROWS_LARGE]]]`; without arguments
//! 200 commits to one of 50 roots with 200 jobs each, and 30 to a root of 10,000.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "its input is its own")]
#![allow(missing_docs, reason = "a benchmark has no public items")]

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gangline_tests::feed::Feed;
use gangline_tests::measure::{spread, timed};
use gangline_tests::node::{Node, Plan};
use rusqlite::Connection;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_gangline");

/// A node asks its database this often whether anybody has committed: commits come anywhere in between.
const POLL_MS: u64 = 20;

/// Commits that are further apart are followed each by itself.
const APART: Duration = Duration::from_millis(60);

/// What is spent while nothing happens is looked at for this long.
const IDLE: Duration = Duration::from_secs(2);

/// Seconds of processor time in a quarter of that, below which a node has finished what it has begun.
const CALM: f64 = 0.025;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE workflows (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE jobs (id TEXT PRIMARY KEY, workflow_id INTEGER NOT NULL, name TEXT, body TEXT, adaptor TEXT,
        position INTEGER, weight REAL, enabled BOOLEAN, updated_at DATETIME);
    CREATE INDEX jobs_of ON jobs (workflow_id);
";

const SETTINGS: &str = r#"
[[reconcile]]
name = "bench"
database = "sqlite:DATABASE"
[reconcile.root]
table = "workflows"
key = "id"
document = "workflow:{id}"
fields = { name = "db_wins" }
[[reconcile.list]]
table = "jobs"
parent = "workflow_id"
key = "id"
fields = { name = "db_wins", body = "text_merge", adaptor = "db_wins", position = "db_wins", weight = "db_wins", enabled = "db_wins", updated_at = "db_wins" }
"#;

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let size = |at: usize, usual: usize| given.get(at).copied().unwrap_or(usual).max(1);
    let dir = tempfile::tempdir().unwrap();
    floors(dir.path());
    follow(&dir.path().join("many"), size(1, 50), size(2, 200), size(0, 200));
    follow(&dir.path().join("large"), 1, size(4, 10_000), size(3, 30));
}

/// Commits one cell at a time, and waits for each notice: by scans, by the outbox, and at a node beside.
fn follow(dir: &Path, roots: usize, jobs: usize, commits: usize) {
    println!("\n{roots} roots of {jobs} rows, {commits} commits of one cell");
    std::fs::create_dir_all(dir).unwrap();
    let app = database(dir, roots, jobs);
    let settings = dir.join("gangline.toml");
    std::fs::write(&settings, SETTINGS.replace("DATABASE", dir.join("app.db").to_str().unwrap())).unwrap();
    let plan = Plan::new(PROGRAM, dir.join("a")).args(&["--config", settings.to_str().unwrap()]);
    let node = plan.start().unwrap();
    let filled = timed(|| (0..roots).for_each(|root| show(&node, root)));
    println!("{:<56} {:>8.3} s", "all documents filled, and shown over HTTP", filled.as_secs_f64());

    let mut work = Work { app: &app, root: roots / 2, roots, jobs, done: 0 };
    let mut feed = work.watch(&node);
    work.run("commit -> notice, feed by scan", commits, APART, &node, &mut feed);
    work.run("  commits upon each other", commits, Duration::ZERO, &node, &mut feed);
    drop(feed);

    let address = format!("http://{}", node.address());
    let mut install = Command::new(PROGRAM);
    install.args(["reconcile", "install", "bench", "--yes", "--node", &address]).current_dir(dir);
    assert!(install.output().unwrap().status.success());
    wait(|| node.request("GET", "/api/v1/reconcile", None).unwrap().json()[0]["feed"] == "outbox");
    let mut feed = work.watch(&node);
    work.run("commit -> notice, outbox", commits, APART, &node, &mut feed);
    work.run("  commits upon each other", commits, Duration::ZERO, &node, &mut feed);
    drop(feed);

    let peer = Plan::new(PROGRAM, dir.join("b")).peer(&node).start().unwrap();
    let place = work.place();
    let shown = |node: &Node| node.request("GET", &place, None).unwrap();
    wait(|| shown(&peer).status == 200 && shown(&peer).json()["heads"] == shown(&node).json()["heads"]);
    let mut feed = work.watch(&peer);
    work.run("commit -> notice at a node without the database, outbox", commits, APART, &peer, &mut feed);
}

struct Work<'a> {
    app: &'a Connection,
    root: usize,
    roots: usize,
    jobs: usize,
    done: usize,
}

impl Work<'_> {
    fn place(&self) -> String {
        format!("/api/v1/documents/workflow:{}", self.root)
    }

    fn watch(&self, node: &Node) -> Feed {
        let path = format!("/api/v1/watch?document=workflow:{}&client=bench", self.root);
        let mut feed = Feed::open(node.address(), &path).unwrap();
        while feed.next_event().unwrap().kind != "ready" {}
        feed
    }

    /// Commits, and has `node` and its `feed` measured.
    fn run(&mut self, what: &str, commits: usize, apart: Duration, node: &Node, feed: &mut Feed) {
        for _ in 0..3 {
            self.commit();
            notice(feed);
        }
        let mut spent = -1.0;
        while processor_time(node) > spent + CALM {
            spent = processor_time(node);
            std::thread::sleep(IDLE / 4);
        }
        let (idle_from, idle_start) = (processor_time(node), Instant::now());
        std::thread::sleep(IDLE);
        let idle = (processor_time(node) - idle_from) / idle_start.elapsed().as_secs_f64();

        let mut taken = Vec::with_capacity(commits);
        let (from, start) = (processor_time(node), Instant::now());
        for n in 0..commits {
            std::thread::sleep(apart + Duration::from_millis(n as u64 * 7 % POLL_MS));
            self.commit();
            taken.push(timed(|| notice(feed)));
        }
        let all = start.elapsed().as_secs_f64();
        spread(what, &mut taken);
        let busy = processor_time(node) - from - idle * all;
        println!(
            "{:<56} {:>8.3} ms of processor time a commit; {:.1} % of one when idle",
            "",
            busy / commits as f64 * 1e3,
            idle * 100.0
        );
    }

    fn commit(&mut self) {
        self.done += 1;
        let job = id(self.done * 37 % self.jobs * self.roots + self.root);
        let update = "UPDATE jobs SET position = ?1 WHERE id = ?2";
        let position = 1_000_000 + self.done as i64;
        assert_eq!(self.app.execute(update, (position, job)).unwrap(), 1);
    }
}

fn notice(feed: &mut Feed) {
    let event = loop {
        let event = feed.next_event().unwrap();
        if event.kind == "db_changed" {
            break event;
        }
    };
    let told: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(told["changes"].as_array().unwrap().len(), 1, "{told}");
}

fn id(n: usize) -> String {
    format!("{n:08x}-0000-4000-8000-{:012x}", n * 7_919)
}

fn database(dir: &Path, roots: usize, jobs: usize) -> Connection {
    let app = Connection::open(dir.join("app.db")).unwrap();
    app.busy_timeout(Duration::from_secs(10)).unwrap();
    app.execute_batch(&format!("{SCHEMA} BEGIN")).unwrap();
    for root in 0..roots {
        app.execute("INSERT INTO workflows VALUES (?1, 'a workflow')", [root as i64]).unwrap();
    }
    let mut insert = app
        .prepare("INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, 'http', ?5, ?6, true, '2030-01-01 12:00:00')")
        .unwrap();
    for n in 0..roots * jobs {
        let body = format!("fetch('https://example.org/{n}').then(response => response.json())");
        let row = (id(n), (n % roots) as i64, format!("job number {n}"), body, n as i64, n as f64 / 3.0);
        insert.execute(row).unwrap();
    }
    drop(insert);
    app.execute_batch("COMMIT").unwrap();
    app
}

fn show(node: &Node, root: usize) {
    let place = format!("/api/v1/documents/workflow:{root}");
    assert_eq!(node.request("GET", &place, None).unwrap().status, 200);
}

fn wait(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a node's process has spent so far, in seconds: it is counted in hundredths.
fn processor_time(node: &Node) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap_or_default();
    // The name of the program, in brackets, may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// What this machine's disk can do at best.
fn floors(dir: &Path) {
    let mut file = File::create(dir.join("floor")).unwrap();
    let mut sync = |is_over: bool| {
        let mut taken: Vec<Duration> = (0..200)
            .map(|_| {
                timed(|| {
                    if is_over {
                        file.rewind().unwrap();
                    }
                    file.write_all(&[7; 300]).unwrap();
                    file.sync_data().unwrap();
                })
            })
            .collect();
        let how = if is_over { "overwrite" } else { "append" };
        spread(&format!("floor: {how} 300 bytes and fdatasync"), &mut taken);
    };
    sync(false);
    sync(true);
}
