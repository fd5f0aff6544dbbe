//! The items of the board over HTTP. What may be done with them is `gangline_doc::board`'s to say.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bft_json_crdt::json_crdt::JsonValue;
use bytes::Bytes;
use gangline_doc::board::{self, Action, HistoryError};
use gangline_doc::{NewItem, Patch};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use super::board::{blocking, board_problem, edit, read, unknown_item};
use super::body::{Whole, json as parse};
use super::conflicts;
use super::problem::Problem;
use crate::clock;
use crate::identity::node_name;

type StoryId = Result<Path<String>, PathRejection>;

fn story_id(path: StoryId) -> Result<String, Problem> {
    path.map(|Path(id)| id).map_err(|error| {
        let hint = "write the story_id as percent-encoded UTF-8";
        Problem::new(StatusCode::BAD_REQUEST, "bad_path", error.to_string(), hint)
    })
}

/// An answer that is JSON already.
pub(super) fn json_text(status: StatusCode, text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Turns a value into an answer.
pub(super) fn answer(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_string(value).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(json_text(status, text))
}

/// `GET /api/v1/items`
pub(super) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    let text = read(&app.replica, |base| serde_json::to_string(&board::items(base))).await?;
    Ok(json_text(StatusCode::OK, text.map_err(|error| Problem::internal(error.to_string()))?))
}

/// `POST /api/v1/items`
pub(super) async fn add(State(app): State<App>, Whole(body): Whole) -> Result<Response, Problem> {
    let new = NewItem::from_json(parse(&body)?).map_err(|error| board_problem(&error))?;
    let item = edit(&app.replica, move |editor| board::add(editor, new)).await?;
    let mut response = answer(StatusCode::CREATED, &item)?;
    let place = format!("/api/v1/items/{}", crate::url::segment(&item.story_id));
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// `GET /api/v1/items/{story_id}`
pub(super) async fn show(State(app): State<App>, path: StoryId) -> Result<Response, Problem> {
    let id = story_id(path)?;
    let wanted = id.clone();
    let item = read(&app.replica, move |base| board::find(base, &wanted)).await?;
    answer(StatusCode::OK, &item.ok_or_else(|| unknown_item(&id))?)
}

/// `PATCH /api/v1/items/{story_id}`
pub(super) async fn patch(
    State(app): State<App>,
    path: StoryId,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let id = story_id(path)?;
    let patch = Patch::from_json(parse(&body)?).map_err(|error| board_problem(&error))?;
    let item = edit(&app.replica, move |editor| board::patch(editor, &id, &patch)).await?;
    answer(StatusCode::OK, &item)
}

/// `DELETE /api/v1/items/{story_id}`
pub(super) async fn remove(State(app): State<App>, path: StoryId) -> Result<Response, Problem> {
    let id = story_id(path)?;
    edit(&app.replica, move |editor| board::remove(editor, &id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/items/{story_id}/claim`
pub(super) async fn claim(
    State(app): State<App>,
    path: StoryId,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let id = story_id(path)?;
    let agent = agent(&body)?.unwrap_or_else(|| app.agent.clone());
    let now_s = clock::now_ms() / 1000;
    let item = edit(&app.replica, move |editor| board::claim(editor, &id, &agent, now_s)).await?;
    answer(StatusCode::OK, &item)
}

/// `POST /api/v1/items/{story_id}/release`
pub(super) async fn release(
    State(app): State<App>,
    path: StoryId,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let id = story_id(path)?;
    let agent = agent(&body)?;
    let item = edit(&app.replica, move |editor| board::release(editor, &id, agent.as_deref())).await?;
    answer(StatusCode::OK, &item)
}

/// `GET /api/v1/items/{story_id}/history`
pub(super) async fn history(State(app): State<App>, path: StoryId) -> Result<Response, Problem> {
    let id = story_id(path)?;
    let replica = app.replica.clone();
    let wanted = id.clone();
    // Everything in it comes from the durable log.
    let entries =
        blocking(move || board::history(&replica, &wanted)).await?.map_err(|error| match error {
            HistoryError::NotFound { story_id } => unknown_item(&story_id),
            HistoryError::Log(error) => Problem::store_failed(&error.to_string()),
            other => Problem::internal(other.to_string()),
        })?;
    let shown: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            let mut object = json!({
                "seq": entry.seq.0,
                "received_at_ms": entry.received_at_ms,
                "digest": entry.digest.to_string(),
                "author": entry.author.to_string(),
                "author_name": app.author_name(&entry.author),
                "author_seq": entry.author_seq,
                "lamport": entry.lamport,
                "signature": if entry.is_vouched { "verified" } else { "covered" },
            });
            if let Some(object) = object.as_object_mut() {
                object.extend(action(entry.action));
            }
            object
        })
        .collect();
    answer(StatusCode::OK, &shown)
}

/// What was done, as the fields `action`, `field` and `value`.
pub(super) fn action(action: Action) -> serde_json::Map<String, Value> {
    let (name, field, value) = match action {
        Action::Add(value) => ("add", None, Some(value)),
        Action::Set(field, value) => ("set", Some(field), Some(value)),
        Action::Remove => ("remove", None, None),
    };
    let mut object = serde_json::Map::new();
    object.insert("action".into(), name.into());
    object.insert("field".into(), field.map(|field| field.name()).into());
    object.insert("value".into(), value.map_or(Value::Null, |value| Value::from(shown(value))));
    object
}

/// A value as items show it: numbers without a fraction as integers, also inside an object.
pub(super) fn shown(value: JsonValue) -> JsonValue {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is in range")]
        JsonValue::Number(number) if number.fract() == 0.0 && number.abs() <= EXACT_MAX => {
            JsonValue::Integer(number as i128)
        }
        JsonValue::Array(values) => JsonValue::Array(values.into_iter().map(shown).collect()),
        JsonValue::Object(members) => {
            JsonValue::Object(members.into_iter().map(|(key, value)| (key, shown(value))).collect())
        }
        other @ (JsonValue::Null
        | JsonValue::Bool(_)
        | JsonValue::Integer(_)
        | JsonValue::Number(_)
        | JsonValue::Text(_)
        | JsonValue::String(_)) => other,
    }
}

/// `GET /api/v1/items/{story_id}/conflicts`
pub(super) async fn conflicts_of(State(app): State<App>, path: StoryId) -> Result<Response, Problem> {
    let id = story_id(path)?;
    let found = read(&app.replica, move |base| board::conflicts(base, &id)).await?;
    let found = found.map_err(|error| board_problem(&error))?;
    answer(StatusCode::OK, &conflicts::shown(&found, &|author| app.author_name(author)))
}

/// `GET /api/v1/conflicts`
pub(super) async fn conflicts_of_all(State(app): State<App>) -> Result<Response, Problem> {
    let found = read(&app.replica, conflicts::all).await?;
    let shown: serde_json::Map<String, Value> = found
        .into_iter()
        .map(|(id, found)| (id, conflicts::shown(&found, &|author| app.author_name(author))))
        .collect();
    answer(StatusCode::OK, &shown)
}

/// The `agent` of a body that may be empty.
fn agent(body: &Bytes) -> Result<Option<String>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let body = parse(body)?;
    let Value::Object(members) = &body else {
        return Err(board_problem(&gangline_doc::BoardError::NotAnObject));
    };
    if let Some(other) = members.keys().find(|key| *key != "agent") {
        let detail = format!("unknown field {other}");
        return Err(Problem::field("unknown_field", other, detail, "the only field here is `agent`"));
    }
    match members.get("agent") {
        None => Ok(None),
        Some(Value::String(agent)) if !agent.is_empty() => Ok(Some(agent.clone())),
        Some(Value::String(_)) => {
            Err(Problem::field("empty_field", "agent", "agent must not be empty".into(), "give it a name"))
        }
        Some(_) => {
            Err(Problem::field("wrong_type", "agent", "agent must be a string".into(), "write a string"))
        }
    }
}

impl super::AppInner {
    /// What people call an author: the name in the trust list, else the one made from the key.
    pub(super) fn author_name(&self, author: &bft_json_crdt::keypair::AuthorId) -> String {
        self.gate.name_of(author).unwrap_or_else(|| node_name(author))
    }
}
