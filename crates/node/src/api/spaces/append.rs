//! `POST /api/v1/spaces/{space}/events`

use axum::body::Body;
use axum::response::Response;
use gangline_lease::{Intent, Placed, SpaceName};
use http::{HeaderMap, StatusCode};

use super::shown::Appended;
use super::{intent, refusal};
use crate::api::items::answer;
use crate::api::problem::Problem;
use crate::api::{App, body};
use crate::clock;

/// Appends, here or through the holder; answers when that is durable.
pub(super) async fn append(
    app: &App,
    space: &SpaceName,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = body::read_up_to(headers, body, app, body::limit(app) + intent::ENVELOPE_BYTES_MAX).await?;
    let (intent, is_named) = intent::read(&bytes, headers, clock::now_ms())?;
    drop(bytes);
    let id = intent.id.clone();
    let known = match is_named {
        true => known(app, space, &intent).await?,
        // Nobody else has made this id.
        false => None,
    };
    let (status, placed) = match known {
        Some(first) => {
            app.metrics.log_repeated();
            (StatusCode::OK, first)
        }
        None => {
            let placed = app.logs.authority.submit(space, intent).await;
            let placed = placed.map_err(|error| refusal::append(space, error))?;
            app.metrics.log_appended();
            (StatusCode::CREATED, placed)
        }
    };
    answer(status, &Appended::of(&id, &placed))
}

/// Looks for an intent that came before. The log itself keeps it from landing twice; this tells its sender so.
async fn known(app: &App, space: &SpaceName, intent: &Intent) -> Result<Option<Placed>, Problem> {
    if let Some(divergence) = app.logs.authority.divergence(space) {
        return Err(refusal::diverged(space, &divergence));
    }
    match app.logs.store.find(space, &intent.id).await {
        Ok(Some(first)) if first.content == intent.content() => Ok(Some(first)),
        Ok(Some(first)) => Err(refusal::id_reused(&intent.id, &first)),
        // If the store cannot be read now, appending will say so.
        Ok(None) | Err(_) => Ok(None),
    }
}
