//! The router as a whole, without sockets.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bft_json_crdt::keypair::make_keypair;
use gangline_store::MemoryOpLog;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{ROUTES, router};
use crate::assemble::{Data, assemble, bind};
use crate::config::{Flags, Settings};
use crate::logs::Opened;

async fn ask(router: &axum::Router, method: &str, path: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    // A stream has no end to wait for.
    if response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream") {
        return (status, String::new());
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn the_table_of_routes_is_what_the_router_answers() {
    let flags = Flags { listen: Some("127.0.0.1:0".into()), ..Flags::default() };
    let settings = Settings::resolve(&flags, &|_| None, None).unwrap();
    let listener = bind(&settings).await.unwrap();
    let data = Data {
        keypair: make_keypair(),
        log: Arc::new(MemoryOpLog::new()),
        logs: Opened::memory(),
        documents: Arc::new(crate::documents::MemoryDocuments::default()),
        dir: None,
    };
    let parts = assemble(&settings, data, listener, CancellationToken::new()).unwrap();
    let router = router(&parts.app);
    for (path, methods) in ROUTES {
        let path = path.replace("{story_id}", "x").replace("{file}", "board.js").replace("{space}", "x");
        for method in ["get", "post", "patch", "delete", "put"] {
            let (status, body) = ask(&router, &method.to_uppercase(), &path).await;
            let expected = methods.contains(&method);
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, expected, "{method} {path}");
            assert!(!body.contains("no_such_route"), "{method} {path}");
        }
    }
    let (status, body) = ask(&router, "GET", "/api/v2").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("no_such_route"));
}
