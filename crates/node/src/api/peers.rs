//! `GET /api/v1/peers`, `POST /api/v1/peers/ping`: who is connected, and whether they answer.

use axum::extract::State;
use axum::response::Response;
use gangline_transport::{CallError, Direction, PeerState, PeerStatus};
use http::StatusCode;
use serde_json::{Value, json};

use super::App;
use super::body::{Whole, json as parse};
use super::items::answer;
use super::problem::Problem;
use crate::identity::node_name;
use crate::links::PingError;

/// How long a ping waits for its answer.
const PING_MS: u64 = 5_000;

/// `GET /api/v1/peers`
pub(super) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    answer(StatusCode::OK, &shown(&app))
}

/// All peers, as people and programs see them.
pub(super) fn shown(app: &App) -> Vec<Value> {
    app.links.peers().peers.iter().map(peer).collect()
}

/// `POST /api/v1/peers/ping`
pub(super) async fn ping(State(app): State<App>, Whole(body): Whole) -> Result<Response, Problem> {
    let body = parse(&body)?;
    let Some(wanted) = body.get("peer").and_then(Value::as_str) else {
        let hint = "send {\"peer\": \"…\"} with a URL, a key or a name of GET /api/v1/peers";
        return Err(Problem::field("wrong_type", "peer", "peer must be a string".into(), hint));
    };
    let pong = app.links.ping(wanted, PING_MS).await.map_err(|error| no_answer(wanted, &error))?;
    let name = app.author_name(&pong.key);
    let micros = u64::try_from(pong.micros).unwrap_or(u64::MAX);
    answer(
        StatusCode::OK,
        &json!({ "peer": wanted, "key": pong.key.to_string(), "name": name, "micros": micros }),
    )
}

fn no_answer(wanted: &str, error: &PingError) -> Problem {
    let list = "`gangline peer list` shows who is connected";
    match error {
        PingError::Unknown | PingError::Call(CallError::NotConnected(_)) => Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_peer",
            format!("no peer `{wanted}` is connected to this node"),
            list,
        ),
        PingError::Unproved { version: Some(1) } => Problem::new(
            StatusCode::CONFLICT,
            "peer_speaks_v1",
            format!("`{wanted}` speaks version 1 of the sync, in which nobody can be called"),
            "bring that node up to date",
        ),
        PingError::Unproved { .. } => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "peer_not_connected",
            format!("`{wanted}` is not connected at this moment"),
            list,
        ),
        PingError::Call(error @ CallError::Timeout(_)) => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "peer_silent", error.to_string(), list)
        }
        PingError::Call(error) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "peer_lost", error.to_string(), list)
        }
    }
}

fn peer(peer: &PeerStatus) -> Value {
    let (state, retry_in_ms) = match peer.state {
        PeerState::Connecting => ("connecting", None),
        PeerState::Syncing => ("syncing", None),
        PeerState::Live => ("live", None),
        PeerState::BackingOff { retry_in_ms } => ("backing_off", Some(retry_in_ms)),
    };
    // A peer that is fine has no reason to give, whatever was wrong before.
    let reason = peer.last_error.clone().filter(|_| peer.state != PeerState::Live);
    json!({
        "url": peer.url.clone().or_else(|| peer.addr.map(|addr| addr.to_string())),
        "direction": match peer.direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        },
        "state": state,
        "version": peer.version,
        "key": peer.key.map(|key| key.to_string()),
        "name": peer.name.clone().or_else(|| peer.key.as_ref().map(node_name)),
        "lag": peer.behind,
        "lacks": lacks(peer),
        "pending": peer.pending,
        "reason": reason,
        "failures": peer.failures,
        "retry_in_ms": retry_in_ms,
        "since_ms": peer.since_ms,
        "received_ops": peer.stats.received_ops,
        "sent_ops": peer.stats.sent_ops,
        "received_bytes": peer.received_bytes,
        "sent_bytes": peer.sent_bytes,
        "held_back_ops": peer.stats.held_back_ops,
        "held_there": peer.held_there.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "bad_frames": peer.stats.bad_frames,
    })
}

/// What a peer does not have, and why, in a sentence; none if it has all.
fn lacks(peer: &PeerStatus) -> Option<String> {
    let held = match peer.held_there.len() {
        0 => None,
        count => Some(format!("its trust list holds back the changes of {count} keys")),
    };
    match peer.state {
        PeerState::Live if peer.behind > 0 => Some(format!("{} changes: they are being sent", peer.behind)),
        PeerState::Live => held,
        PeerState::Syncing => Some("unknown yet: the two compare what they hold".to_owned()),
        PeerState::Connecting | PeerState::BackingOff { .. } => {
            let why = peer.last_error.as_deref().unwrap_or("the connection is being made");
            Some(format!("all that is new: it is not connected ({why})"))
        }
    }
}
