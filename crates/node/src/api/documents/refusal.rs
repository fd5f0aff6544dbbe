//! What documents that follow a database refuse, as HTTP says it.

use gangline_doc::EditFailed;
use gangline_reconcile::{DoorError, PatchError, ReconcileError, SourceError};
use http::StatusCode;
use serde_json::json;

use super::{EditRefused, patch_or_edit};
use crate::api::problem::Problem;
use crate::documents::source::{FollowFailed, SaveFailed, SourceRuntime};

/// No such document.
pub(super) fn no_such_document(id: &str) -> Problem {
    let detail = format!("there is no document {id:?}");
    let hint = "GET /api/v1/documents lists those of this node and of its databases";
    Problem::new(StatusCode::NOT_FOUND, "no_such_document", detail, hint).with("id", id)
}

/// A document of which nothing is here yet.
pub(super) fn empty(id: &str, why: Option<String>) -> Problem {
    let detail = match why {
        Some(why) => format!("nothing of document {id:?} is here yet: {why}"),
        None => format!("nothing of document {id:?} is here yet"),
    };
    let hint = "it comes when its database answers, or from a peer that has it";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_here_yet", detail, hint).again_in(1)
}

/// This node has not the mapping, or not the key, and neither has any of the nodes that it asked.
pub(super) fn no_source(id: &str, asked: usize) -> Problem {
    let others = match asked {
        0 => "and is linked with no node that might have them".to_owned(),
        1 => "and so does the node that it is linked with, or it did not answer".to_owned(),
        more => format!("and so do the {more} nodes that it is linked with, or they did not answer"),
    };
    let detail =
        format!("this node cannot reconcile document {id:?}: it lacks its mapping or its key, {others}");
    let hint = "link it with a node that has [[reconcile]] for it, or ask that one; `gangline peer list` says who is \
                linked, `gangline reconcile status` there whether it has the source";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_source", detail, hint).with("id", id)
}

/// The root row is gone.
pub(super) fn deleted(id: &str) -> Problem {
    let detail = format!("the row of document {id:?} is deleted in the database");
    let hint = "it can be read; edits and saves are possible again when the row is restored";
    Problem::new(StatusCode::CONFLICT, "deleted", detail, hint).with("id", id)
}

/// The heads of `If-Match` are not known here.
pub(super) fn heads_too_old() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "heads_too_old",
        "the heads of If-Match are not among this document's",
        "read the document again and send the edit with its heads",
    )
}

/// Why a document was not opened.
pub(super) fn door_problem(error: &DoorError) -> Problem {
    let (code, hint) = match error {
        DoorError::Failed(_) => ("document_unusable", "see the node's log; what is stored is as it was"),
        DoorError::Stuck { .. } => ("document_stuck", "restart the node"),
        DoorError::TooMany { .. } | DoorError::Crowded { .. } => ("busy", "try again in a moment"),
        DoorError::Stopping | _ => ("stopping", "try again when the node runs"),
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string(), hint).again_in(1)
}

/// Why a patch does not fit.
pub(super) fn patch_problem(error: &PatchError) -> Problem {
    let (code, path) = match error {
        PatchError::NoObject => ("not_an_object", ""),
        PatchError::Unknown { path, .. } => ("unknown_field", &**path),
        PatchError::NoRow { path } => ("not_a_row", &**path),
        PatchError::BadKey { path, .. } => ("bad_key", &**path),
        PatchError::DbOwned { path } => ("db_owned", &**path),
        PatchError::Misfit { path, .. } => ("wrong_type", &**path),
        _ => ("bad_patch", ""),
    };
    let hint = if matches!(error, PatchError::DbOwned { .. }) {
        "change it in the database"
    } else {
        "GET the document shows its fields and what they hold"
    };
    Problem::field(code, path, error.to_string(), hint).with("path", path)
}

/// Why an edit was not made.
pub(super) fn edit_problem(failed: EditFailed<EditRefused>, id: &str) -> Problem {
    match failed {
        EditFailed::Refused(refused) => patch_or_edit(&refused),
        EditFailed::Unsignable(error) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "content_refused",
            format!("this cannot be signed: {error}"),
            "make the values smaller, or send them in several parts",
        )
        .with("id", id),
        EditFailed::Failed { reason } => Problem::store_failed(&reason),
        EditFailed::Busy { .. } => {
            let hint = "nothing was written; try again in a moment";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", failed.to_string(), hint).again_in(1)
        }
    }
}

/// Why a document does not follow.
pub(super) fn follow_problem(failed: &FollowFailed) -> Problem {
    let reason = failed.reason();
    let (status, code, hint) = match failed {
        FollowFailed::Source(SourceError::Busy { .. }) => {
            (StatusCode::SERVICE_UNAVAILABLE, "database_locked", "try again when its writer is done")
        }
        FollowFailed::Source(SourceError::Schema { .. }) => (
            StatusCode::CONFLICT,
            "schema_changed",
            "put the column back, or change [[reconcile]] and restart the node",
        ),
        FollowFailed::Source(SourceError::TooLarge { .. }) => {
            (StatusCode::CONFLICT, "root_too_large", "a document holds no more than that")
        }
        FollowFailed::Source(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            "see to the database; it is tried again",
        ),
        FollowFailed::Reconcile(ReconcileError::Older { .. }) => (
            StatusCode::CONFLICT,
            "older_version",
            "look at `gangline reconcile plan`, and accept it with `gangline reconcile run --accept-restored`",
        ),
        FollowFailed::Restored => (
            StatusCode::CONFLICT,
            "restored",
            "look at `gangline reconcile plan`, and accept it with `gangline reconcile run --accept-restored`",
        ),
        FollowFailed::Reconcile(_) => {
            (StatusCode::CONFLICT, "cannot_follow", "see the node's log, and report this")
        }
        FollowFailed::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_failed", "see the node's log"),
    };
    Problem::new(status, code, reason, hint)
}

/// Why nothing was saved.
pub(super) fn save_problem(failed: SaveFailed, source: &SourceRuntime, id: &str) -> Problem {
    let says = failed.to_string();
    match failed {
        SaveFailed::Follow(failed) => follow_problem(&failed),
        SaveFailed::Deleted => deleted(id),
        SaveFailed::Problems(problems) => {
            let is_conflict = |what: &str| what.contains("two values");
            let fields: Vec<_> = problems
                .iter()
                .map(|problem| json!({"path": problem.path.to_string(), "what": problem.what}))
                .collect();
            let first = problems.first();
            let code = match first.is_some_and(|problem| is_conflict(&problem.what)) {
                true => "conflict",
                false => "row_refused",
            };
            let what = first.map_or(says, |first| format!("{} {}", first.path, first.what));
            let detail = format!("nothing was saved: {what}");
            let hint = "resolve or mend what is listed in `fields`, and save again";
            let row = first.and_then(|first| first.path.row()).map(|(list, key)| format!("{list}.{key}"));
            Problem::new(StatusCode::CONFLICT, code, detail, hint)
                .with("fields", fields)
                .with("row", row)
                .with("column", first.and_then(|first| first.path.field()))
                .with("reason", first.map(|first| first.what.clone()))
        }
        SaveFailed::Refused(bad) => {
            let list = bad.list.and_then(|list| source.shape.lists.get(list));
            let table = list.map_or(&source.shape.root.table, |list| &list.table);
            let row = format!("{table}.{}", bad.key.as_deref().unwrap_or("?"));
            let detail =
                format!("nothing was saved: the database refuses {row}: {} {}", bad.column, bad.what);
            let hint = "change the row in the document so that the schema takes it, and save again";
            Problem::new(StatusCode::CONFLICT, "row_refused", detail, hint)
                .with("row", row)
                .with("column", bad.column)
                .with("reason", bad.what)
        }
        SaveFailed::Moved => {
            let hint = "try again; the document has taken over what the others wrote";
            Problem::new(StatusCode::CONFLICT, "conflict", says, hint).with("fields", json!([]))
        }
        SaveFailed::Unknown => {
            let hint = "ask for the document in a moment: what became of the save is found out then";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "save_unknown", says, hint).again_in(1)
        }
    }
}
