//! Nodes that know whom they talk to: durable on several, listed, called, refused.

use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use super::harness::{Node, run, until};

/// Asks until the answer is as wanted.
fn asked(mut ask: impl FnMut() -> Value, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let mut answer = Value::Null;
    until("the answer", || {
        answer = ask();
        is_wanted(&answer)
    });
    answer
}

fn linked() -> (Node, Node, [tempfile::TempDir; 2]) {
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let a = Node::start(&dirs[0]);
    let b = Node::start_with(&dirs[1], &["--listen", "127.0.0.1:0", "--peer", &a.sync_url()]);
    asked(|| b.get("/api/v1/peers").json(), |peers| peers[0]["state"] == "live");
    asked(|| a.get("/api/v1/peers").json(), |peers| peers[0]["state"] == "live");
    (a, b, dirs)
}

#[test]
fn a_write_is_answered_when_two_nodes_hold_it_or_says_in_time_that_they_do_not() {
    let (a, b, dirs) = linked();
    let written = a.post("/api/v1/items?durable=2", r#"{"story_id":"safe"}"#);
    assert_eq!(written.status, 201, "{written:?}");
    assert!(written.head.contains("gangline-durable: 2"), "{written:?}");
    // The other one really has it on its disk: it does not survive otherwise.
    b.process.signal("KILL");
    drop(b);
    let alone = a.post("/api/v1/items?durable=2&durable_ms=300", r#"{"story_id":"alone"}"#);
    let problem = alone.refused(504, "not_durable_enough");
    assert_eq!((problem["durable"].clone(), problem["wanted"].clone()), (1.into(), 2.into()));
    // It was written all the same.
    assert_eq!(a.get("/api/v1/items/alone").status, 200);
    a.post("/api/v1/items?durable=0", r#"{"story_id":"x"}"#).refused(400, "bad_parameter");
    assert_eq!(a.get("/api/v1/items/x").status, 404);
    a.stop();
    let b = Node::start(&dirs[1]);
    assert_eq!(b.get("/api/v1/items/safe").status, 200);
    assert_eq!(b.get("/api/v1/items/alone").status, 404);
}

#[test]
fn peers_are_listed_with_their_keys_and_answer_calls() {
    let (a, b, dirs) = linked();
    let key = a.get("/api/v1/status").json()["node_id"].as_str().unwrap().to_owned();
    let peers = b.get("/api/v1/peers").json();
    assert_eq!((&peers[0]["version"], &peers[0]["key"]), (&2.into(), &key.as_str().into()));
    assert_eq!(peers[0]["lacks"], Value::Null);
    let listed = b.cli(&dirs[1], &["peer", "list"]);
    assert_eq!(listed.code, 0);
    assert!(listed.stdout.contains("v2\tlive\tnothing"), "{listed:?}");
    for peer in [a.sync_url(), key.clone(), format!("ed25519:{key}")] {
        let pong = b.cli(&dirs[1], &["peer", "ping", &peer, "--json"]);
        assert_eq!(pong.code, 0, "{pong:?}");
        assert_eq!(pong.json()["key"], key.as_str());
    }
    let nobody = b.cli(&dirs[1], &["peer", "ping", "ws://127.0.0.1:1/crdt-sync"]);
    assert_eq!(nobody.code, 3, "{nobody:?}");
    let metrics = b.get("/metrics").body;
    assert!(metrics.contains(r#"gangline_sync_peers_by_version{code="2"} 1"#), "{metrics}");
    a.stop();
    let peers = asked(|| b.get("/api/v1/peers").json(), |peers| peers[0]["state"] != "live");
    assert!(peers[0]["lacks"].as_str().unwrap().contains("not connected"), "{peers}");
    let gone = b.cli(&dirs[1], &["peer", "ping", &key]);
    assert_eq!(gone.code, 3, "{gone:?}");
}

/// Off loopback a node takes the keys that it knows, and tells others what to do.
#[test]
fn off_loopback_a_stranger_is_refused_and_told_why() {
    let (own, other, strange) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let b = Node::start(&other);
    let key = b.get("/api/v1/status").json()["node_id"].as_str().unwrap().to_owned();
    b.stop();
    let settings = format!("[trust]\nfriend = \"ed25519:{key}\"\n");
    std::fs::write(own.path().join("gangline.toml"), settings).unwrap();
    let a = Node::start_with(&own, &["--listen", "0.0.0.0:0"]);
    let url = a.sync_url();
    let b = Node::start_with(&other, &["--listen", "127.0.0.1:0", "--peer", &url]);
    assert_eq!(b.post("/api/v1/items?durable=2", r#"{"story_id":"friendly"}"#).status, 201);
    let c = Node::start_with(&strange, &["--listen", "127.0.0.1:0", "--peer", &url]);
    let peers = asked(
        || c.get("/api/v1/peers").json(),
        |peers| peers[0]["reason"].as_str().is_some_and(|reason| reason.contains("refused")),
    );
    let reason = peers[0]["reason"].as_str().unwrap();
    let stranger = c.get("/api/v1/status").json()["node_id"].as_str().unwrap().to_owned();
    assert!(reason.contains(&stranger) && reason.contains("[trust]"), "{reason}");
    assert_eq!(c.get("/api/v1/items").json(), serde_json::json!([]));
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let dir = tempdir().unwrap();
    let well = run(dir.path(), &["doctor", "--json", "--timeout", "2s"]);
    let findings = well.json();
    assert!(findings["findings"].as_array().unwrap().len() >= 4, "{findings}");
    let node = Node::start(&dir);
    let up = node.cli(&dir, &["doctor"]);
    assert_eq!(up.code, 0, "{up:?}");
    assert!(up.stdout.contains("a node answers at"), "{up:?}");
    node.stop();
    // A peer that is not there, and an address that everybody reaches.
    std::fs::write(
        dir.path().join("gangline.toml"),
        "rendezvous = \"ws://127.0.0.1:1/crdt-sync\"\nlisten = \"0.0.0.0:0\"\n",
    )
    .unwrap();
    let ill = run(dir.path(), &["doctor", "--json", "--timeout", "2s"]);
    assert_eq!(ill.code, 8, "{ill:?}");
    let findings = ill.json();
    let of = |what: &str| {
        let all = findings["findings"].as_array().unwrap();
        all.iter().find(|finding| finding["check"] == what).unwrap_or(&Value::Null).clone()
    };
    assert_eq!(of("trust")["verdict"], "error", "{findings}");
    assert_eq!(of("peer")["verdict"], "warning", "{findings}");
    assert!(of("peer")["remedy"].as_str().unwrap().contains("start that node"));
}

/// Runs `ip` or `tc`; false where the machine does not let us.
fn net(args: &[&str]) -> bool {
    let (tool, args) = args.split_first().unwrap();
    Command::new(tool).args(args).output().is_ok_and(|output| output.status.success())
}

/// Two network namespaces, joined by a pair of virtual interfaces with delay and loss.
struct Wire([String; 2]);

impl Wire {
    fn lay() -> Option<Self> {
        let id = std::process::id();
        let names = [format!("gl{id}a"), format!("gl{id}b")];
        let [a, b] = &names;
        let (left, right) = (format!("v{id}a"), format!("v{id}b"));
        let wire = Self(names.clone());
        let is_laid = net(&["ip", "netns", "add", a])
            && net(&["ip", "netns", "add", b])
            && net(&[
                "ip", "link", "add", &left, "netns", a, "type", "veth", "peer", "name", &right, "netns", b,
            ])
            && [(a, &left, "10.77.0.1/24"), (b, &right, "10.77.0.2/24")].iter().all(|(ns, link, addr)| {
                net(&["ip", "-n", ns, "addr", "add", addr, "dev", link])
                    && net(&["ip", "-n", ns, "link", "set", link, "up"])
                    && net(&["ip", "-n", ns, "link", "set", "lo", "up"])
                    && net(&[
                        "tc", "-n", ns, "qdisc", "add", "dev", link, "root", "netem", "delay", "40ms",
                        "loss", "5%",
                    ])
            });
        is_laid.then_some(wire)
    }

    fn cut(&self, is_cut: bool) {
        let id = std::process::id();
        let state = if is_cut { "down" } else { "up" };
        assert!(net(&["ip", "-n", &self.0[0], "link", "set", &format!("v{id}a"), state]));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = net(&["ip", "netns", "del", name]);
        }
    }
}

/// Over a bad network two nodes still agree, also after it was gone for a while.
#[test]
fn over_a_slow_and_lossy_network_nodes_agree() {
    let Some(wire) = Wire::lay() else {
        eprintln!("skipped: this machine gives no network namespaces with delay and loss");
        return;
    };
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let start = |n: usize, args: &str| {
        let binary = env!("CARGO_BIN_EXE_gangline");
        let args = format!("exec {binary} up --insecure --listen 0.0.0.0:4000 --data-dir . {args}");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &wire.0[n], "sh", "-c", &args]).current_dir(dirs[n].path());
        let log = std::fs::File::create(dirs[n].path().join("log")).unwrap();
        Killed(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    };
    let cli = |n: usize, args: &[&str]| {
        let binary = env!("CARGO_BIN_EXE_gangline");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &wire.0[n], binary, "--node", "http://127.0.0.1:4000"]);
        let output = command.args(args).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let _a = start(0, "");
    let _b = start(1, "--peer ws://10.77.0.1:4000/crdt-sync");
    (0..2).for_each(|n| until("a node", || cli(n, &["status"]).0));
    let agree = |count: usize| {
        until("agreement", || {
            let (at_a, at_b) = (cli(0, &["item", "list", "--json"]).1, cli(1, &["item", "list", "--json"]).1);
            let items: Value = serde_json::from_str(&at_a).unwrap_or_default();
            at_a == at_b && items.as_array().is_some_and(|items| items.len() == count)
        });
    };
    for n in 0..6 {
        assert!(cli(n % 2, &["item", "add", &format!("story-{n}")]).0);
    }
    agree(6);
    wire.cut(true);
    for n in 6..10 {
        assert!(cli(n % 2, &["item", "add", &format!("story-{n}")]).0);
    }
    wire.cut(false);
    agree(10);
}

/// A process that is ended with the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
