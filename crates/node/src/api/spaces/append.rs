//! `POST /api/v1/spaces/{space}/events`

use axum::body::Body;
use axum::response::Response;
use gangline_lease::SpaceName;
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
    let intent = intent::read(&bytes, headers, clock::now_ms())?;
    drop(bytes);
    let id = intent.id.clone();
    let landed = app.logs.authority.land(space, intent).await;
    let landed = landed.map_err(|error| refusal::append(space, error))?;
    let status = if landed.is_new {
        app.metrics.log_appended();
        StatusCode::CREATED
    } else {
        app.metrics.log_repeated();
        StatusCode::OK
    };
    answer(status, &Appended::of(&id, &landed.placed))
}
