//! `GET`, `POST`, `DELETE /api/v1/spaces/{space}/lease`

use axum::response::{IntoResponse, Response};
use gangline_lease::{Lease, SpaceName};
use http::StatusCode;

use super::refusal;
use crate::api::App;
use crate::api::items::answer;
use crate::api::problem::Problem;

async fn lease(app: &App, space: &SpaceName) -> Result<Option<Lease>, Problem> {
    app.logs.registry.lease(space).await.map_err(|error| refusal::registry(&error))
}

/// Who holds the space, and for how long.
pub(super) async fn show(app: &App, space: &SpaceName) -> Result<Response, Problem> {
    let lease = lease(app, space).await?;
    answer(StatusCode::OK, &app.show_lease(lease.as_ref()))
}

/// Makes this node the holder, or keeps it so.
pub(super) async fn acquire(app: &App, space: &SpaceName) -> Result<Response, Problem> {
    app.logs.authority.acquire(space).await.map_err(|error| refusal::lease(space, error))?;
    show(app, space).await
}

/// Lets another node have the space.
pub(super) async fn release(app: &App, space: &SpaceName) -> Result<Response, Problem> {
    app.logs.authority.release(space).await.map_err(|error| refusal::lease(space, error))?;
    match lease(app, space).await? {
        Some(lease) if lease.holder.node != app.author => {
            Err(refusal::held(space, &lease.holder, lease.left))
        }
        Some(_) | None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}
