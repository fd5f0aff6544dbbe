//! `GET /crdt-sync`: where other nodes come in. The session is gangline-transport's.

use std::future::{Ready, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use gangline_transport::asks_for_v2;
use http::{HeaderValue, StatusCode, header};

use super::App;
use super::guard::Policy;
use super::problem::Problem;
use super::server::PeerAddr;

/// Lets a node in, if the policy does.
pub(super) fn enter(State(app): State<App>, request: Request) -> Ready<Result<Response, Problem>> {
    ready(accept(&app, request))
}

fn accept(app: &App, mut request: Request) -> Result<Response, Problem> {
    if app.policy == Policy::Tokens && !app.allow_v1 && !asks_for_v2(&request) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "v1_sync_refused",
            "this node can be reached from other machines, and a session of version 1 cannot prove its key",
            "write allow_v1 = true under [trust] to let such nodes in; what they may write stays in the trust list",
        ));
    }
    let from = request.extensions().get::<PeerAddr>().map(|addr| addr.0);
    let accepted = app.links.accept(&mut request, from).map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_linked",
            "this node takes no links at present",
            "it stops or was cut off; try again later",
        )
    })?;
    match accepted {
        Ok(response) => Ok(response.map(|()| Body::empty())),
        Err(error) => {
            let status = error.status();
            let (code, hint) = if status == StatusCode::UPGRADE_REQUIRED {
                ("upgrade_required", "this is where nodes meet over WebSocket; people want /")
            } else {
                ("no_session", "try again later, or raise limits.sessions_max")
            };
            let mut response = Problem::new(status, code, error.to_string(), hint).into_response();
            if status == StatusCode::UPGRADE_REQUIRED {
                let websocket = HeaderValue::from_static("websocket");
                response.headers_mut().insert(header::UPGRADE, websocket);
            }
            Ok(response)
        }
    }
}
