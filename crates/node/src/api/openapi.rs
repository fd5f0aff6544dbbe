//! `GET /api/v1/openapi.json`: the description of the routes, written by hand and held to them by a test.

use std::future::{Ready, ready};

use axum::response::Response;
use http::StatusCode;

use super::items::json_text;

const TEXT: &str = include_str!("openapi.json");

/// Answers the description.
pub(super) fn serve() -> Ready<Response> {
    ready(json_text(StatusCode::OK, TEXT.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ROUTES;

    #[test]
    fn the_description_names_exactly_the_routes_there_are() {
        let description: serde_json::Value = serde_json::from_str(TEXT).unwrap();
        let mut described: Vec<(String, Vec<String>)> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, methods)| (path.clone(), methods.as_object().unwrap().keys().cloned().collect()))
            .collect();
        described.sort();
        let mut routes: Vec<(String, Vec<String>)> = ROUTES
            .iter()
            .map(|(path, methods)| ((*path).to_owned(), methods.iter().map(|m| (*m).to_owned()).collect()))
            .collect();
        routes.sort();
        assert_eq!(described, routes);
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn references_lead_somewhere() {
        let description: serde_json::Value = serde_json::from_str(TEXT).unwrap();
        for reference in TEXT.split("\"$ref\": \"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(description.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
