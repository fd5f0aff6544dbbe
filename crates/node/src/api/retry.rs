//! Puts [`super::idempotency`] in front of the writes: POST and PATCH with an `Idempotency-Key`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest as _, Sha256};

use super::idempotency::Kept;
use super::problem::{Problem, ProblemCode};
use super::{App, body, documents, login, spaces};

const HEADER: &str = "idempotency-key";
const KEY_BYTES_MAX: usize = 255;

/// Answers a request that was answered before as it was then, and any other by way of its handler.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let repeats =
        matches!(*request.method(), Method::POST | Method::PATCH) && request.uri().path() != login::PATH;
    let Some(key) = request.headers().get(HEADER).filter(|_| repeats).cloned() else {
        return next.run(request).await;
    };
    answer(app, &key, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(app: App, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Problem> {
    let key =
        key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY_BYTES_MAX).ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "bad_idempotency_key",
                "Idempotency-Key is not 1 to 255 visible ASCII characters",
                "send a fresh UUID for each write, and the same one when repeating it",
            )
        })?;
    let key = key.to_owned();
    let (parts, incoming) = request.into_parts();
    let limit = body::limit(&app) + spaces::body_extra(parts.uri.path());
    let limit = limit + documents::body_extra(parts.uri.path());
    let bytes = body::read_up_to(&parts.headers, incoming, &app, limit).await?;
    let mut print = Sha256::new();
    for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), &bytes] {
        print.update((part.len() as u64).to_le_bytes());
        print.update(part);
    }
    let slot = app.keys.slot(&key, print.finalize().into()).map_err(|_| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this Idempotency-Key came with another request before",
            "send a fresh key with each new request",
        )
    })?;
    let request = Request::from_parts(parts, Body::from(bytes));
    // In a task of its own: a client that goes away must not leave a write without its remembered answer.
    let work = tokio::spawn(async move { app.keys.answer(&key, &slot, run(next, request)).await });
    let kept = work.await.map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = (kept.status, kept.body).into_response();
    *response.headers_mut() = kept.headers;
    if let Some(code) = kept.code {
        response.extensions_mut().insert(ProblemCode(code));
    }
    Ok(response)
}

async fn run(next: Next, request: Request) -> Kept {
    let (parts, body) = next.run(request).await.into_parts();
    let code = parts.extensions.get::<ProblemCode>().map(|code| code.0);
    match body.collect().await {
        Ok(body) => Kept { status: parts.status, headers: parts.headers, body: body.to_bytes(), code },
        // Our own handlers' bodies are in memory.
        Err(_) => Kept {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            code: Some("internal"),
        },
    }
}
