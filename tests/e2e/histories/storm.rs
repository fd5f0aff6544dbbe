//! Clients in threads of their own that append one event after the other, each until they are told where it stands.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use gangline_tests::history::{Acknowledged, check};
use gangline_tests::http::{self, Response};
use gangline_tests::node::Node;
use serde_json::{Value, json};

use super::{CLIENT_PATIENCE, NAME, PATIENCE, SPACE, done};
use crate::Team;

/// Clients that begin at each node.
const CLIENTS: usize = 2;
/// What a client waits before it asks again.
const PAUSE: Duration = Duration::from_millis(5);

/// An append that a client was told of.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) said: Acknowledged,
    /// The node that said so.
    pub(super) at: usize,
    epoch: Value,
    hash: Value,
}

/// Clients at work.
pub(super) struct Storm {
    began: Instant,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    answers: Receiver<Told>,
    told: Vec<Told>,
    /// What was answered in place of a result, for whoever looks why a test takes long.
    refusals: Arc<Mutex<BTreeSet<String>>>,
}

impl Storm {
    /// Lets clients loose on nodes, some at each.
    pub(super) fn on(addresses: &[SocketAddr]) -> Self {
        let (tell, answers) = mpsc::channel();
        let (is_over, refusals) = (Arc::<AtomicBool>::default(), Arc::default());
        let began = Instant::now();
        let clients = (0..addresses.len() * CLIENTS).map(|name| {
            let client = Client {
                name,
                began,
                addresses: addresses.to_vec(),
                is_over: Arc::clone(&is_over),
                tell: tell.clone(),
                refusals: Arc::clone(&refusals),
            };
            spawn(move || client.run())
        });
        let clients = clients.collect();
        Self { began, is_over, clients, answers, told: Vec::new(), refusals }
    }

    /// Waits until so many more appends were acknowledged.
    pub(super) fn wait_for(&mut self, count: usize) {
        self.wait_for_those(count, |_| true);
    }

    /// Waits until a node has acknowledged so many more appends.
    pub(super) fn wait_for_at(&mut self, node: usize, count: usize) {
        self.wait_for_those(count, |told| told.at == node);
    }

    /// Waits until so many more appends were acknowledged that count.
    pub(super) fn wait_for_those(&mut self, count: usize, counts: impl Fn(&Told) -> bool) {
        let left = self.left_of(count, PATIENCE, counts);
        assert!(left == 0, "{left} of {count} never came; {}", self.refused());
    }

    /// Waits for an append that was begun from now on; returns whether it was acknowledged in time.
    pub(super) fn goes_on_within(&mut self, time: Duration) -> bool {
        let now = self.now();
        self.left_of(1, time, |told| told.said.began > now) == 0
    }

    fn left_of(&mut self, count: usize, time: Duration, counts: impl Fn(&Told) -> bool) -> usize {
        let end = Instant::now() + time;
        let mut left = count;
        while left > 0 {
            let told = self.answers.recv_timeout(end.saturating_duration_since(Instant::now()));
            let Ok(told) = told else { break };
            left -= usize::from(counts(&told));
            self.told.push(told);
        }
        left
    }

    /// Microseconds since the clients began, on their clock.
    pub(super) fn now(&self) -> u64 {
        micros(self.began)
    }

    fn refused(&self) -> String {
        format!("refusals: {:?}", self.refusals.lock().unwrap())
    }

    /// Ends the storm: each client until its last append is settled. Then holds all against the log of `node`, which
    /// each of `nodes` has to tell alike. Returns what the clients were told.
    pub(super) fn settle(mut self, team: &Team, nodes: &[&Node]) -> Vec<Told> {
        self.is_over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        self.told.extend(self.answers.try_iter());
        let logs = nodes.iter().map(|node| events(node)).collect::<Vec<_>>();
        assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "the nodes tell different logs");
        let log = &logs[0];
        let said: Vec<Acknowledged> = self.told.iter().map(|told| told.said.clone()).collect();
        check("the storm", log.iter().map(|event| event["id"].as_str().unwrap()), &said);
        for told in &self.told {
            let event = &log[usize::try_from(told.said.seq).unwrap()];
            assert_eq!((&event["epoch"], &event["hash"]), (&told.epoch, &told.hash), "{told:?}");
        }
        // Every client went on until it was told, so nothing is in the log that nobody knows of.
        assert_eq!(log.len(), self.told.len());
        done(nodes[0], team.folder.path(), &["log", "verify", NAME]);
        // The same id again is answered with the first result, wherever.
        for (n, told) in self.told.iter().enumerate().step_by(self.told.len() / 10 + 1) {
            let node = nodes[n % nodes.len()];
            let again = post(node, &told.said.id);
            assert_eq!((again.status, &again.json()["hash"]), (200, &told.hash), "{told:?}");
        }
        eprintln!("{} appends, {:?}, {}", log.len(), self.began.elapsed(), self.refused());
        std::mem::take(&mut self.told)
    }
}

/// A test that fails leaves no storm behind.
impl Drop for Storm {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// All events that a node tells.
pub(super) fn events(node: &Node) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let path = format!("{SPACE}/events?limit=10000&from={}", events.len());
        let answer = node.request("GET", &path, None).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json());
        let Value::Array(page) = answer.json() else { panic!("no array") };
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Their ids.
pub(super) fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Appends one event, and insists on success.
#[track_caller]
pub(super) fn append(node: &Node, id: &str) {
    let answer = post(node, id);
    assert_eq!(answer.status, 201, "{}", answer.json());
}

/// Asks a node to append one event.
pub(super) fn post(node: &Node, id: &str) -> Response {
    node.request("POST", &format!("{SPACE}/events"), Some(&body(id))).unwrap()
}

fn body(id: &str) -> Value {
    json!({ "type": "T", "id": id, "payload": {} })
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap()
}

struct Client {
    name: usize,
    began: Instant,
    addresses: Vec<SocketAddr>,
    is_over: Arc<AtomicBool>,
    tell: Sender<Told>,
    refusals: Arc<Mutex<BTreeSet<String>>>,
}

/// How one question ended.
enum Answer {
    /// It is in the log; whether it was there before.
    Landed { is_new: bool, body: Value },
    /// Nothing was appended.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Client {
    fn run(self) {
        let mut at = self.name % self.addresses.len();
        for n in 0_u64.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let id = format!("{}-{n}", self.name);
            let began = micros(self.began);
            let end = Instant::now() + PATIENCE;
            let (mut was_refused, mut may_have_landed) = (false, false);
            let (is_new, body) = loop {
                match self.ask(at, &id) {
                    Answer::Landed { is_new, body } => break (is_new, body),
                    Answer::Refused => was_refused = true,
                    Answer::Unknown => may_have_landed = true,
                }
                assert!(Instant::now() < end, "{id} is never settled");
                at = (at + 1) % self.addresses.len();
                sleep(PAUSE);
            };
            // A node whose question is lost asks again itself, and finds what it has appended.
            assert!(is_new || may_have_landed || !was_refused, "{id} was refused, and is there: {body}");
            let seq = body["seq"].as_u64().unwrap();
            let said = Acknowledged { id, seq, began, ended: micros(self.began) };
            let told = Told { said, at, epoch: body["epoch"].clone(), hash: body["hash"].clone() };
            if self.tell.send(told).is_err() {
                return;
            }
            // Back to its own node, if it had to leave.
            at = self.name % self.addresses.len();
        }
    }

    fn ask(&self, at: usize, id: &str) -> Answer {
        let path = format!("{SPACE}/events");
        let answer =
            http::request_within(CLIENT_PATIENCE, self.addresses[at], "POST", &path, Some(&body(id)));
        let refused = |what: String| self.refusals.lock().unwrap().insert(what);
        let Ok(answer) = answer else {
            refused("no answer".into());
            return Answer::Unknown;
        };
        // A node that is killed in the middle of an answer has not answered.
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return Answer::Unknown };
        match answer.status {
            201 | 200 => Answer::Landed { is_new: answer.status == 201, body },
            503 => {
                let code = body["code"].as_str().unwrap();
                refused(code.to_owned());
                if code == "unknown" { Answer::Unknown } else { Answer::Refused }
            }
            status => panic!("{status}: {body}"),
        }
    }
}
