//! The bridge from async handlers to the replica, which may block on a lock or on the log.

use gangline_doc::{BoardError, EditFailed, Editor, Field, PipelineDoc, Replica, Ticket};
use http::StatusCode;

use super::problem::Problem;
use crate::clock;
use crate::config::nearest;

/// Runs `work` where blocking is allowed.
///
/// # Errors
/// When it panicked.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(error.to_string()))
}

/// Waits until everything that a ticket stands for is durable.
///
/// # Errors
/// When it never will be.
pub(crate) async fn durable(ticket: Ticket) -> Result<(), Problem> {
    let (tell, told) = tokio::sync::oneshot::channel();
    ticket.on_done(Box::new(move |result| drop(tell.send(result))));
    match told.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Problem::store_failed(&error.reason)),
        Err(_) => Err(Problem::store_failed("the store went away")),
    }
}

/// Makes an edit and returns its result when it is durable.
///
/// # Errors
/// What the board says, or why nothing can be written.
pub(crate) async fn edit<R, F>(replica: &Replica<PipelineDoc>, f: F) -> Result<R, Problem>
where
    R: Send + 'static,
    F: FnOnce(&mut Editor<'_, PipelineDoc>) -> Result<R, BoardError> + Send + 'static,
{
    let replica = replica.clone();
    let (result, ticket) =
        blocking(move || replica.edit(clock::now_ms(), f)).await?.map_err(|error| refused(&error))?;
    durable(ticket).await?;
    Ok(result)
}

/// Reads the document and returns what was seen when all of it is durable.
///
/// # Errors
/// When it never will be.
pub(crate) async fn read<R, F>(replica: &Replica<PipelineDoc>, f: F) -> Result<R, Problem>
where
    R: Send + 'static,
    F: FnOnce(&bft_json_crdt::json_crdt::BaseCrdt<PipelineDoc>) -> R + Send + 'static,
{
    let replica = replica.clone();
    let (result, ticket) = blocking(move || replica.read(f)).await?;
    durable(ticket).await?;
    Ok(result)
}

fn refused(error: &EditFailed<BoardError>) -> Problem {
    match error {
        EditFailed::Refused(error) => board_problem(error),
        EditFailed::Unsignable(error) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "content_refused",
            format!("this cannot be signed: {error}"),
            "make the values smaller",
        ),
        EditFailed::Failed { reason } => Problem::store_failed(reason),
        EditFailed::Busy { .. } => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            error.to_string(),
            "nothing was written; try again in a moment",
        ),
    }
}

/// What the board says, as HTTP says it.
pub(crate) fn board_problem(error: &BoardError) -> Problem {
    let says = error.to_string();
    match error {
        BoardError::NotFound { story_id } => unknown_item(story_id),
        BoardError::Taken { story_id } => Problem::new(
            StatusCode::CONFLICT,
            "story_id_taken",
            says,
            "choose another story_id, or change that item with PATCH",
        )
        .with("field", "story_id")
        .with("story_id", story_id.as_str()),
        BoardError::Claimed { by } => Problem::new(
            StatusCode::CONFLICT,
            "already_claimed",
            says,
            "take another item, or wait until it is released",
        )
        .with("claimed_by", by.as_str()),
        BoardError::NotAnObject => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not_an_object",
            "the body must be a JSON object",
            "send an object such as {\"story_id\": \"story-1\"}",
        ),
        BoardError::UnknownField { field } => {
            let names = Field::ALL.map(Field::name);
            let hint = match nearest(field, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the fields are {}", names.join(", ")),
            };
            Problem::field("unknown_field", field, says, hint)
        }
        BoardError::Missing { field } => {
            Problem::field("missing_field", field.name(), says, "give it a value")
        }
        BoardError::Empty { field } => Problem::field("empty_field", field, says, "give it a value"),
        BoardError::WrongType { field, .. } => {
            Problem::field("wrong_type", field.name(), says, format!("write {}", field.expects()))
        }
        BoardError::Fixed { field } => {
            let hint = "add another item and remove this one; a story_id stays as it is";
            Problem::field("fixed_field", field.name(), says, hint)
        }
        other @ (BoardError::Edit(_) | _) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "content_refused",
            other.to_string(),
            "make the values smaller",
        ),
    }
}

/// There is no such item.
pub(crate) fn unknown_item(story_id: &str) -> Problem {
    let detail = format!("no item `{story_id}` on this board");
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_item",
        detail,
        "GET /api/v1/items lists them; it may have been removed",
    )
    .with("story_id", story_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gangline_doc::NewItem;
    use serde_json::json;

    #[test]
    fn every_refusal_of_the_board_has_its_status_and_code() {
        let from = |value: serde_json::Value| board_problem(&NewItem::from_json(value).unwrap_err());
        for (problem, status, code) in [
            (from(json!([])), 422, "not_an_object"),
            (from(json!({})), 422, "missing_field"),
            (from(json!({"story_id": ""})), 422, "empty_field"),
            (from(json!({"story_id": 1})), 422, "wrong_type"),
            (from(json!({"story_id": "a", "stagee": "b"})), 422, "unknown_field"),
            (board_problem(&BoardError::Taken { story_id: "a".into() }), 409, "story_id_taken"),
            (board_problem(&BoardError::Claimed { by: "a".into() }), 409, "already_claimed"),
            (board_problem(&BoardError::NotFound { story_id: "a".into() }), 404, "unknown_item"),
        ] {
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code));
        }
    }
}
