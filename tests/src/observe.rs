//! What can be seen of nodes from outside, and waiting for it.

use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::feed::Feed;
use crate::http::PATIENCE;
use crate::node::Node;

/// Healing a partition of thousands of edits may take this long on a busy machine.
const PATIENCE_TO_CONVERGE: Duration = Duration::from_secs(60);

/// Returns the node's own account of itself.
///
/// # Errors
///
/// If the node does not answer.
pub fn status(node: &Node) -> io::Result<Value> {
    Ok(node.request("GET", "/api/v1/status", None)?.json())
}

/// Returns the heads of the board's document: equal heads mean equal histories.
///
/// # Errors
///
/// If the node does not answer.
pub fn heads(node: &Node) -> io::Result<Value> {
    Ok(status(node)?.pointer("/documents/0/heads").cloned().unwrap_or_default())
}

/// Returns how many ops the node's board is made of.
///
/// # Errors
///
/// If the node does not answer.
pub fn op_count(node: &Node) -> io::Result<u64> {
    let status = status(node)?;
    status
        .pointer("/documents/0/ops")
        .and_then(Value::as_u64)
        .ok_or_else(|| io::Error::other(status.to_string()))
}

/// Waits until all `nodes` have the same history, looking again after each change that one of them announces.
///
/// # Errors
///
/// If they fall silent before, or it takes too long; the error holds what each of them says.
pub fn wait_for_one_history(nodes: &[&Node]) -> io::Result<()> {
    // Opened before the first look, so that no change can fall between the two.
    let (tell, changes) = mpsc::channel();
    for node in nodes {
        let mut feed = Feed::open(node.address(), "/api/v1/watch")?;
        let tell = tell.clone();
        std::thread::spawn(move || {
            while feed.next_event().is_ok() {
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
    }
    drop(tell);
    let deadline = now() + PATIENCE_TO_CONVERGE;
    loop {
        let seen = nodes.iter().map(|node| heads(node)).collect::<io::Result<Vec<Value>>>()?;
        if seen.windows(2).all(|pair| matches!(pair, [one, other] if one == other)) {
            return Ok(());
        }
        let is_over = now() > deadline || changes.recv_timeout(PATIENCE).is_err();
        if is_over {
            let seen = nodes.iter().map(|node| status(node)).collect::<io::Result<Vec<Value>>>()?;
            return Err(io::Error::other(format!("they do not agree: {seen:#?}")));
        }
        // What was announced while looking needs no look of its own.
        while changes.try_recv().is_ok() {}
    }
}

/// Asks for the status until `holds`, for what no stream announces: who is connected.
///
/// # Errors
///
/// If it takes too long; the error holds the last answer.
pub fn wait_for_status(node: &Node, holds: impl Fn(&Value) -> bool) -> io::Result<Value> {
    let deadline = now() + PATIENCE;
    loop {
        let status = status(node)?;
        if holds(&status) {
            return Ok(status);
        }
        if now() > deadline {
            return Err(io::Error::other(format!("it never came to that: {status:#}")));
        }
    }
}

/// Returns how much memory the node's process has in use, in bytes.
///
/// # Errors
///
/// If there is no such process, or no `/proc`.
pub fn memory_bytes(node: &Node) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", node.pid()))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: u64| kib << 10).ok_or_else(|| io::Error::other("no VmRSS"))
}

#[expect(clippy::disallowed_methods, reason = "bounds how long a test waits for another process")]
fn now() -> Instant {
    Instant::now()
}
