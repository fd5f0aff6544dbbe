//! Logs under faults: real nodes, clients that append at all of them, nodes that are killed, stopped and woken. What
//! a client was told is in the log, once, where it was said to be, in an order that real time allows; a client that
//! was told nothing, or that it is not known, asks again with the same id until it is.

#![allow(clippy::disallowed_methods, reason = "leases end by the machine's clock, and clients have no other")]

mod coordinated;
mod shared;
mod storm;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use gangline_tests::http::{self, Response};
use gangline_tests::node::{Node, Plan};
use serde_json::Value;

use self::storm::Storm;
use crate::Team;

/// How long leases are in these tests.
const TTL: Duration = Duration::from_secs(1);
/// Longer than anything here takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client waits for a node that may be stopped.
const CLIENT_PATIENCE: Duration = Duration::from_millis(700);
/// Between two looks at what nobody announces.
const LOOK: Duration = Duration::from_millis(10);

const SPACE: &str = "/api/v1/spaces/team/pages";
const NAME: &str = "team/pages";

/// Nodes that can be killed and come back where they were. One that is not there is none.
struct Nodes {
    plans: Vec<Plan>,
    running: Vec<Option<Node>>,
    addresses: Vec<SocketAddr>,
}

impl Nodes {
    fn start(plans: Vec<Plan>) -> Self {
        let running: Vec<Node> = plans.iter().map(|plan| plan.start().unwrap()).collect();
        let addresses: Vec<SocketAddr> = running.iter().map(Node::address).collect();
        let plans = plans.into_iter().zip(&addresses).map(|(plan, address)| plan.at(*address)).collect();
        Self { plans, running: running.into_iter().map(Some).collect(), addresses }
    }

    fn add(&mut self, plan: Plan) {
        let Self { plans, running, addresses } = Self::start(vec![plan]);
        self.plans.extend(plans);
        self.running.extend(running);
        self.addresses.extend(addresses);
    }

    fn node(&self, n: usize) -> &Node {
        self.running[n].as_ref().unwrap()
    }

    fn kill(&mut self, n: usize) {
        self.running[n].take().unwrap().kill().unwrap();
    }

    /// Starts a node that was killed.
    fn restart(&mut self, n: usize) {
        self.running[n] = Some(self.plans[n].start().unwrap());
    }

    /// Waits until one of those that run says that it holds the space, and returns which.
    fn holder(&self) -> usize {
        let mut found = None;
        until("a holder", || {
            let running = self.running.iter().enumerate().filter_map(|(n, node)| Some((n, node.as_ref()?)));
            found = running.filter(|(_, node)| lease(node)["here"] == true).map(|(n, _)| n).next();
            found.is_some()
        });
        found.unwrap()
    }
}

/// Stops the holder, and waits until another has taken over. A node that was stopped in the middle of a write has
/// locked `file` for all: then it is woken, and stopped again.
fn pause_the_holder(nodes: &Nodes, storm: &mut Storm, file: Option<&Path>) -> usize {
    for _ in 0..100 {
        let holder = nodes.holder();
        let node = nodes.node(holder);
        node.pause().unwrap();
        if !file.is_some_and(|file| has_locked(node, file)) && storm.goes_on_within(4 * TTL) {
            return holder;
        }
        node.wake().unwrap();
        storm.wait_for(1);
    }
    panic!("nobody has ever taken over");
}

/// Whether a node has a file locked for writing, or some of it.
fn has_locked(node: &Node, file: &Path) -> bool {
    let inode = format!(":{}", std::fs::metadata(file).unwrap().ino());
    let pid = node.pid().to_string();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|words| {
        words.contains(&"WRITE")
            && words.contains(&pid.as_str())
            && words.iter().any(|word| word.ends_with(&inode))
    })
}

/// What a node says of the lease; null if it cannot say.
fn lease(node: &Node) -> Value {
    let answer = get(node, &format!("{SPACE}/lease"));
    answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.json()).unwrap_or_default()
}

/// Asks a node that may be stopped.
fn get(node: &Node, path: &str) -> io::Result<Response> {
    http::request_within(CLIENT_PATIENCE, node.address(), "GET", path, None)
}

/// Looks until it is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} never came");
        sleep(LOOK);
    }
}

/// A plan with these settings.
fn plan(team: &Team, name: &str, settings: &str) -> Plan {
    let path = team.folder.path().join(format!("{name}.toml"));
    std::fs::write(&path, settings).unwrap();
    team.plan(name).args(&["--config", path.to_str().unwrap()])
}

/// Runs a command against a node, and returns its exit code with what it has said.
fn command(node: &Node, folder: &Path, args: &[&str]) -> (i32, String) {
    let url = format!("http://{}", node.address());
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangline"));
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("GANGLINE_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    let output = command.args(["--node", &url]).args(args).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap(), said)
}

/// Insists that a command succeeds.
#[track_caller]
fn done(node: &Node, folder: &Path, args: &[&str]) -> String {
    let (code, said) = command(node, folder, args);
    assert_eq!(code, 0, "{args:?}: {said}");
    said
}
