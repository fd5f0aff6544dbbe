//! Logs through whole nodes: processes of the release binary on loopback, over HTTP, beside what the disk takes in the
//! same run.
//!
//! `cargo bench -p gangline --bench logs -- [EVENTS]`: events per measurement, 20,000 if not given; `-- growth`
//! appends 100,000 events to one log and tells what each tenth of them took; `-- idle` has 100,000 spaces that nobody
//! uses.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "its input is its own")]
#![allow(missing_docs, reason = "a benchmark has no public items")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gangline_tests::measure::{rate, spread, timed};
use gangline_tests::node::{Node, Plan};
use gangline_tests::observe::memory_bytes;

const CLIENTS: usize = 64;
const SINGLE: usize = 500;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let events = arguments.iter().filter_map(|argument| argument.parse().ok()).next().unwrap_or(20_000);
    let dir = tempfile::tempdir().unwrap();
    floor(dir.path());
    if has("growth") {
        return growth(dir.path());
    }
    if has("idle") {
        return idle(dir.path());
    }
    for backend in ["memory", "sqlite", "git"] {
        let node = start(dir.path(), backend, backend, "10s");
        let mut client = Client::open(node.address());
        let mut taken: Vec<Duration> =
            (0..SINGLE).map(|_| timed(|| assert_eq!(client.append("one"), 201))).collect();
        spread(&format!("{backend}: one event, one client"), &mut taken);
        let count = if backend == "git" { events / 4 } else { events };
        let next = AtomicUsize::new(0);
        let all = timed(|| {
            std::thread::scope(|scope| {
                for _ in 0..CLIENTS {
                    scope.spawn(|| {
                        let mut client = Client::open(node.address());
                        while next.fetch_add(1, Ordering::Relaxed) < count {
                            assert_eq!(client.append("many"), 201);
                        }
                    });
                }
            });
        });
        rate(&format!("{backend}: {CLIENTS} clients, one space"), count, "events", all);
        node.stop().unwrap();
    }
    hand_over(dir.path());
}

/// From the death of a holder to the first event of the next one, which waits with an append from the start.
fn hand_over(dir: &Path) {
    let mut taken = Vec::new();
    for n in 0..5 {
        let log = dir.join(format!("shared-{n}"));
        let one = start_at(dir, &format!("one-{n}"), &log, "2s");
        let two = start_at(dir, &format!("two-{n}"), &log, "2s");
        let mut client = Client::open(one.address());
        for _ in 0..20 {
            assert_eq!(client.append("s"), 201);
        }
        let died = Instant::now();
        one.kill().unwrap();
        let mut client = Client::open(two.address());
        while client.append("s") != 201 {}
        taken.push(died.elapsed());
        two.stop().unwrap();
    }
    spread("hand-over after kill -9, ttl 2 s", &mut taken);
}

fn growth(dir: &Path) {
    for backend in ["sqlite", "git"] {
        let node = start(dir, backend, backend, "10s");
        let (next, part) = (AtomicUsize::new(0), 10_000);
        for tenth in 1..=10 {
            let all = timed(|| {
                std::thread::scope(|scope| {
                    for _ in 0..CLIENTS {
                        scope.spawn(|| {
                            let mut client = Client::open(node.address());
                            while next.fetch_add(1, Ordering::Relaxed) < tenth * part {
                                assert_eq!(client.append("s"), 201);
                            }
                        });
                    }
                });
            });
            next.store(tenth * part, Ordering::Relaxed);
            rate(&format!("{backend}: events up to {}", tenth * part), part, "events", all);
            let mut client = Client::open(node.address());
            let mut taken: Vec<Duration> =
                (0..50).map(|_| timed(|| assert_eq!(client.append("s"), 201))).collect();
            spread(&format!("{backend}: one event then"), &mut taken);
        }
        node.stop().unwrap();
    }
}

fn idle(dir: &Path) {
    let spaces = 100_000;
    let node = start(dir, "idle", "sqlite", "1s");
    let before = memory_bytes(&node).unwrap();
    let next = AtomicUsize::new(0);
    let all = timed(|| {
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = Client::open(node.address());
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= spaces {
                            break;
                        }
                        assert_eq!(client.append(&format!("space-{n}")), 201);
                    }
                });
            }
        });
    });
    rate("first event of each of 100,000 spaces", spaces, "events", all);
    let used = memory_bytes(&node).unwrap();
    std::thread::sleep(Duration::from_secs(70));
    let cpu = cpu_seconds(&node);
    std::thread::sleep(Duration::from_secs(10));
    let cpu = cpu_seconds(&node) - cpu;
    let idle = memory_bytes(&node).unwrap();
    println!("memory before {} MiB, used {} MiB, idle {} MiB", before >> 20, used >> 20, idle >> 20);
    println!("processor time in 10 s of idleness: {cpu:.2} s");
    node.stop().unwrap();
    let (node, again) = {
        let began = Instant::now();
        let node = start(dir, "idle", "sqlite", "1s");
        (node, began.elapsed())
    };
    println!("start with 100,000 spaces: {again:?}, memory {} MiB", memory_bytes(&node).unwrap() >> 20);
}

/// Seconds of processor time that a node has used.
fn cpu_seconds(node: &Node) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<f64> = after_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    (fields[11] + fields[12]) / 100.0
}

fn start(dir: &Path, name: &str, backend: &str, ttl: &str) -> Node {
    let settings = format!("[log_store]\nbackend = \"{backend}\"\n[lease]\nttl = \"{ttl}\"\n");
    start_with(dir, name, &settings)
}

fn start_at(dir: &Path, name: &str, log: &Path, ttl: &str) -> Node {
    let settings = format!("[log_store]\npath = \"{}\"\n[lease]\nttl = \"{ttl}\"\n", log.display());
    start_with(dir, name, &settings)
}

fn start_with(dir: &Path, name: &str, settings: &str) -> Node {
    let config = dir.join(format!("{name}.toml"));
    std::fs::write(&config, settings).unwrap();
    let plan = Plan::new(env!("CARGO_BIN_EXE_gangline"), dir.join(name));
    plan.args(&["--config", config.to_str().unwrap()]).start().unwrap()
}

/// A connection that is kept.
struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), address }
    }

    /// Appends an event of about 200 bytes and returns the status.
    fn append(&mut self, space: &str) -> u16 {
        let body = format!(
            "{{\"type\":\"ALIAS_SET\",\"payload\":{{\"alias\":\"2\",\"target\":\"x:2 {}\"}}}}",
            "x".repeat(170)
        );
        let request = format!(
            "POST /api/v1/spaces/{space}/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut status = 0;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let text = line.trim_end();
            if status == 0 {
                status = text.split(' ').nth(1).unwrap().parse().unwrap();
            } else if text.is_empty() {
                break;
            } else if let Some(found) = text.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = found.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        status
    }
}

fn floor(dir: &Path) {
    let mut file = File::create(dir.join("floor")).unwrap();
    let mut taken: Vec<Duration> = (0..300)
        .map(|_| {
            timed(|| {
                file.write_all(&[7; 200]).unwrap();
                file.sync_data().unwrap();
            })
        })
        .collect();
    spread("floor: append 200 bytes and fdatasync", &mut taken);
}
