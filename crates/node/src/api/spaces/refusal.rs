//! What the log refuses, as HTTP says it.

use std::time::Duration;

use gangline_lease::{
    Access, AppendError, Divergence, IntentId, LeaseError, Placed, Reach, Refused, RegistryError, SpaceName,
    Stopped, StoreError,
};
use http::StatusCode;

use crate::api::App;
use crate::api::problem::Problem;
use crate::logs::chain;

/// How soon to come again, in seconds.
const AGAIN: u32 = 1;

/// Why an append is not acknowledged.
pub(super) fn append(space: &SpaceName, error: AppendError) -> Problem {
    match error {
        AppendError::IdReused { id, first } => id_reused(&id, &first),
        AppendError::Unknown { id } => unknown(&id),
        AppendError::NotAppended { id, source } => lease(space, source).with("id", id.as_str()),
        AppendError::Refused { id, refused } => match refused {
            Refused::IdReused(first) => id_reused(&id, &first),
            Refused::Diverged(how) => diverged_text(space, &how),
            Refused::Closed(access) => closed(space, &access),
            Refused::Busy => busy("the holder has too many appends waiting".into()),
            Refused::Forbidden(why) => Problem::new(
                StatusCode::FORBIDDEN,
                "forward_refused",
                format!("the holder does not take appends from this node: {why}"),
                "have the holder's node trust this one: gangline key trust",
            ),
            other => Problem::internal(other.to_string()),
        }
        .with("id", id.as_str()),
        other => Problem::internal(other.to_string()),
    }
}

/// Why a space is not acquired, or was not when an append wanted it.
pub(super) fn lease(space: &SpaceName, error: LeaseError) -> Problem {
    let says = error.to_string();
    match error {
        LeaseError::Held { holder, left } => held(space, &holder, left),
        LeaseError::Diverged { divergence, .. } => diverged(space, &divergence),
        LeaseError::Closed { access, .. } => closed(space, &access),
        LeaseError::Absent { .. } => no_such_space(space),
        LeaseError::NotSealed { .. } => unavailable(
            "not_sealed",
            says,
            "make sure that all nodes of this log have the same [log_store] and [lease]",
        ),
        LeaseError::Contended => unavailable("contended", says, "try again in a moment, with the same id"),
        LeaseError::TooManySpaces { .. } => unavailable("too_many_spaces", says, "use another node for some"),
        LeaseError::Busy { .. } => busy(says),
        LeaseError::Registry(error) => registry(&error),
        LeaseError::Store(error) => store(&error),
        other => Problem::internal(other.to_string()),
    }
}

/// The registry cannot be asked.
pub(super) fn registry(error: &RegistryError) -> Problem {
    let hint = "nothing was written; see the cause, and try again";
    unavailable("registry_unavailable", chain(error), hint)
}

/// The store cannot do what it was asked for.
pub(super) fn store(error: &StoreError) -> Problem {
    let says = chain(error);
    match error {
        StoreError::Refused { .. } if says.contains("full") => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk_full",
            says,
            "nothing was written; make room on the disk, then try again",
        ),
        StoreError::Refused { .. } => {
            unavailable("store_refused", says, "nothing was written; repair the cause, then try again")
        }
        StoreError::Unknown { .. } => {
            unavailable("unknown", says, "it may have happened or not; ask again with the same id")
        }
        StoreError::Damaged { .. } => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "log_damaged",
            says,
            "what is stored is not what was written: restore a backup, or recover the space from a copy",
        ),
        other => Problem::internal(other.to_string()),
    }
}

/// Where the logs are at a coordinator, only that one opens, closes and replaces them.
pub(super) fn elsewhere(app: &App) -> Result<(), Problem> {
    let Some(url) = app.logs.coordinator() else { return Ok(()) };
    let detail = format!("the logs of this node are at its coordinator, {url}");
    Err(Problem::new(StatusCode::CONFLICT, "at_coordinator", detail, "ask there: gangline --node URL")
        .with("coordinator", url.to_string()))
}

/// There is no such space.
pub(super) fn no_such_space(space: &SpaceName) -> Problem {
    let detail = format!("there is no space `{space}`");
    let hint = "GET /api/v1/spaces lists them; the first append makes one";
    Problem::new(StatusCode::NOT_FOUND, "no_such_space", detail, hint).with("space", space.as_str())
}

/// The id stands for other content.
pub(super) fn id_reused(id: &IntentId, first: &Placed) -> Problem {
    let detail = format!("the id `{id}` was used for other content, at event {}", first.seq);
    let hint = "take another id; the same one is for asking again with the same type and payload";
    Problem::new(StatusCode::CONFLICT, "id_reused", detail, hint)
        .with("id", id.as_str())
        .with("seq", first.seq.0)
        .with("epoch", first.epoch.0)
        .with("hash", first.hash.to_string())
}

/// Another node has the space.
pub(super) fn held(space: &SpaceName, holder: &Reach, left: Duration) -> Problem {
    let node = holder.node;
    let detail = format!("ed25519:{node} holds `{space}` for another {} ms", left.as_millis());
    let hint = "ask that node, or come again when its lease has run out";
    let problem = Problem::new(StatusCode::CONFLICT, "lease_held", detail, hint)
        .with("space", space.as_str())
        .with("holder", node.to_string())
        .with("expires_in_ms", u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    match &holder.url {
        Some(url) => problem.with("holder_url", url.as_str()),
        None => problem,
    }
}

/// The log is not the one that this node has seen.
pub(super) fn diverged(space: &SpaceName, divergence: &Divergence) -> Problem {
    diverged_text(space, &divergence.to_string())
}

/// The log is not the one that this node has a copy of.
pub(super) fn not_followed(space: &SpaceName, why: &Stopped) -> Problem {
    diverged_text(space, &why.to_string())
}

fn diverged_text(space: &SpaceName, how: &str) -> Problem {
    let detail = format!("`{space}` is not served, its log has diverged: {how}");
    let hint = "gangline log verify looks at it; gangline log recover goes on from a copy";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_diverged", detail, hint).with("space", space.as_str())
}

fn closed(space: &SpaceName, access: &Access) -> Problem {
    let problem = match access {
        Access::Moved { to } => {
            let detail = format!("the log of `{space}` has moved to {to}");
            let problem = Problem::new(StatusCode::CONFLICT, "log_moved", detail, "append there");
            problem.with("to", to.as_str())
        }
        Access::Copy | Access::Open => {
            let detail = format!("`{space}` is a copy here, its log is appended to elsewhere");
            let hint = "append at the node that it is a copy of";
            Problem::new(StatusCode::CONFLICT, "log_read_only", detail, hint)
        }
    };
    problem.with("space", space.as_str())
}

fn unknown(id: &IntentId) -> Problem {
    let detail = format!("whether the intent `{id}` was appended is not known");
    let hint = "send it again with the same id: that returns the first result, or does it";
    unavailable("unknown", detail, hint).with("id", id.as_str())
}

fn busy(detail: String) -> Problem {
    unavailable("busy", detail, "nothing was written; try again in a moment")
}

fn unavailable(code: &'static str, detail: String, hint: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, hint).again_in(AGAIN)
}
