//! Why a field shows what it shows.

use axum::extract::State;
use axum::response::Response;
use bft_json_crdt::json_crdt::{CrdtNode as _, HistoryEntry, PathSegment};
use gangline_reconcile::{Conflict, Path, Policy, at, followed_at};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::shown::{by, with};
use super::{DocumentName, enter, look, name_in};
use crate::api::asked::Asked;
use crate::api::items::answer;
use crate::api::problem::Problem;
use crate::api::{App, blocking};
use crate::documents::views::Shown;

/// Which place is meant.
#[derive(Deserialize)]
pub(in crate::api) struct Place {
    path: String,
}

/// Most writes that one answer shows, the last ones.
const WRITES_MAX: usize = 100;

/// `GET /api/v1/documents/{id}/explain?path=`
pub(in crate::api) async fn explain(
    State(app): State<App>,
    path: DocumentName,
    Asked(place): Asked<Place>,
) -> Result<Response, Problem> {
    let place: Path = place.path.parse().map_err(|error: gangline_reconcile::BadPath| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_path", error.to_string(), "for example ?path=jobs.j1.body")
    })?;
    let (guest, _) = enter(&app, &name_in(path)?).await?;
    let shown = look(&guest).await?;
    let open = shown.conflicts.iter().find(|open| open.path == place).cloned();
    let (is, was) = (at(&shown.content, &place).cloned(), followed_at(&shown.layout, &shown.base, &place));
    if is.is_none() && was.is_none() && open.is_none() {
        let detail = format!("there is nothing at {place}");
        let hint = "GET the document shows what there is";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_such_place", detail, hint));
    }
    let (document, wanted) = (guest.document(), place.clone());
    let writes: Vec<HistoryEntry> = blocking(move || {
        document.replica.read(|base| {
            let names = match &wanted {
                Path::Field(field) => vec![field],
                Path::Row(list, key) => vec![list, key],
                Path::RowField(list, key, field) => vec![list, key, field],
            };
            let segments: Vec<PathSegment> = names.into_iter().cloned().map(PathSegment::Key).collect();
            base.doc.at_path(&segments).map(|node| node.history()).unwrap_or_default()
        })
    })
    .await?
    .0;
    let list = place.row().map(|(list, _)| list);
    let policy = place.field().and_then(|field| shown.layout.field(list, field)).map(|field| field.policy);
    let unsaved = shown.unsaved.iter().any(|unsaved| unsaved.path == place);
    let skip = writes.len().saturating_sub(WRITES_MAX);
    let writes: Vec<Value> = writes.iter().skip(skip).map(|write| write_json(write, &shown)).collect();
    // What the database had when the document followed it last.
    let database = open.as_ref().and_then(|open| open.theirs.as_ref()).or(was.as_ref());
    let sides =
        [("shown", is.as_ref()), ("base", was.as_ref()), ("document", is.as_ref()), ("database", database)];
    let shown = json!({
            "path": place.to_string(),
            "policy": policy,
            "rule": policy.map_or_else(|| "row".to_owned(), |policy| policy.to_string()),
            "writes": writes,
            "unsaved": unsaved,
            "conflict": open.is_some(),
            "why": why(policy, open.as_ref(), unsaved),
    });
    answer(StatusCode::OK, &with(shown, &sides))
}

fn write_json(write: &HistoryEntry, shown: &Shown) -> Value {
    let last = write.edits.last();
    let shown = json!({
        "digest": write.digest.to_string(),
        "author": write.author.to_string(),
        "by": by(&write.author, shown.author),
        "lamport": write.lamport,
    });
    with(shown, &[("value", last.and_then(|edit| edit.value.as_ref()))])
}

/// One sentence.
fn why(policy: Option<Policy>, open: Option<&Conflict>, unsaved: bool) -> String {
    let Some(open) = open else {
        return match (policy, unsaved) {
            (Some(Policy::TextMerge), true) => {
                "the characters of both sides are there, and not all of them are saved"
            }
            (Some(Policy::DocOwned), _) => {
                "the document owns this field: the database gets it with the next save"
            }
            (_, true) => "somebody has changed it here and not saved it",
            (_, false) => "it is what the database has",
        }
        .to_owned();
    };
    let who = if open.shows_theirs { "the database's value shows" } else { "people's value shows" };
    let rule = match policy {
        Some(Policy::KeepBoth) => {
            "both sides have changed it, and somebody has to choose before it is saved".to_owned()
        }
        Some(policy) => format!("both sides have changed it, and its rule is {policy}"),
        None if open.theirs.is_none() => {
            "the database has deleted the row, and somebody has edited it".to_owned()
        }
        None => "somebody has deleted the row, and the database has changed it".to_owned(),
    };
    format!("{who}: {rule}; the other one is kept")
}
