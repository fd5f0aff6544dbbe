//! `GET /api/v1/spaces`, and one of them.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use gangline_lease::SpaceName;
use http::StatusCode;
use serde_json::Value;

use super::{query, refusal};
use crate::api::App;
use crate::api::items::answer;
use crate::api::problem::Problem;
use crate::url::decode;

/// Spaces in one answer, unless fewer are asked for, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Spaces in the order of their names.
pub(in crate::api) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (after, limit) = read(query.as_deref().unwrap_or_default())?;
    let names = app.logs.store.spaces(after.as_ref(), limit).await.map_err(|error| refusal::store(&error))?;
    let mut shown = Vec::with_capacity(names.len());
    for name in names {
        shown.extend(look(&app, &name).await?);
    }
    answer(StatusCode::OK, &shown)
}

/// One space.
pub(super) async fn one(app: &App, space: &SpaceName) -> Result<Response, Problem> {
    let shown = look(app, space).await?.ok_or_else(|| refusal::no_such_space(space))?;
    answer(StatusCode::OK, &shown)
}

/// What this node itself has of a space, whatever others have.
pub(super) async fn copy(app: &App, space: &SpaceName) -> Result<Response, Problem> {
    let of_store = |error| refusal::store(&error);
    let state = app.logs.kept.state(space).await.map_err(of_store)?;
    let state = state.ok_or_else(|| refusal::no_such_space(space))?;
    let access = app.logs.kept.access(space).await.map_err(of_store)?.unwrap_or_default();
    answer(StatusCode::OK, &app.show_space(space, &state, &access, None))
}

async fn look(app: &App, space: &SpaceName) -> Result<Option<Value>, Problem> {
    let of_store = |error| refusal::store(&error);
    let Some(state) = app.logs.store.state(space).await.map_err(of_store)? else { return Ok(None) };
    let access = app.logs.store.access(space).await.map_err(of_store)?.unwrap_or_default();
    let lease = match app.logs.registry.lease(space).await {
        Ok(lease) => lease,
        // What is shown is a copy's, so nobody can say.
        Err(_) if app.logs.stale_ms().is_some() => None,
        Err(error) => return Err(refusal::registry(&error)),
    };
    Ok(Some(app.show_space(space, &state, &access, lease.as_ref())))
}

fn read(text: &str) -> Result<(Option<SpaceName>, usize), Problem> {
    let (mut after, mut limit) = (None, LIMIT);
    for (name, value) in query::pairs(text) {
        match name {
            "after" => {
                let text = decode(value).unwrap_or_default();
                let known =
                    SpaceName::new(&text).map_err(|_| query::bad(name, value, "the name of a space"))?;
                after = Some(known);
            }
            "limit" => {
                let count = value.parse().ok().filter(|count| *count > 0);
                limit = count.ok_or_else(|| query::bad(name, value, "a whole number from 1 on"))?;
            }
            other => return Err(query::unknown(other, "after and limit")),
        }
    }
    Ok((after, limit.min(LIMIT_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_or_refused() {
        assert_eq!(read("").unwrap(), (None, 100));
        let (after, limit) = read("limit=9999&after=team%2Fa:1").unwrap();
        assert_eq!((after.unwrap().as_str(), limit), ("team/a:1", 1_000));
        for query in ["limit=0", "limit=x", "after=", "after=a%20b", "before=a"] {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
