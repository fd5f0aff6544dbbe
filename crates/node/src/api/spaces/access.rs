//! `POST /api/v1/spaces/{space}/access`: opens or closes a space.

use axum::response::Response;
use bytes::Bytes;
use gangline_lease::{Access, Place, SpaceName};
use serde_json::Value;

use super::{list, refusal};
use crate::api::App;
use crate::api::body::json;
use crate::api::problem::Problem;

/// Fences whoever writes to the space, and answers how it is then.
pub(super) async fn set(app: &App, space: &SpaceName, body: &Bytes) -> Result<Response, Problem> {
    let access = read(&json(body)?)?;
    app.logs.authority.set_access(space, access).await.map_err(|error| refusal::lease(space, error))?;
    list::one(app, space).await
}

fn read(body: &Value) -> Result<Access, Problem> {
    let hint =
        r#"send {"access": "open"}, {"access": "copy"}, or {"access": "moved", "to": "http://other:3001"}"#;
    let wrong = |field: &str, detail: &str| Problem::field("bad_access", field, detail.into(), hint);
    let members = body.as_object().ok_or_else(|| wrong("access", "the body must be a JSON object"))?;
    if let Some(other) = members.keys().find(|key| !["access", "to"].contains(&key.as_str())) {
        return Err(Problem::field("unknown_field", other, format!("unknown field {other}"), hint));
    }
    let to = match members.get("to") {
        None => None,
        Some(to) => {
            let text = to.as_str().ok_or_else(|| wrong("to", "to must be a string"))?;
            Some(Place::new(text).map_err(|error| wrong("to", &error.to_string()))?)
        }
    };
    match (members.get("access").and_then(Value::as_str), to) {
        (Some("open"), None) => Ok(Access::Open),
        (Some("copy"), None) => Ok(Access::Copy),
        (Some("moved"), Some(to)) => Ok(Access::Moved { to }),
        (Some("moved"), None) => Err(wrong("to", "to is missing: where has it moved?")),
        (Some("open" | "copy"), Some(_)) => Err(wrong("to", "only what has moved has a place")),
        (Some(_) | None, _) => Err(wrong("access", "access is neither open nor copy nor moved")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn access_is_read_or_refused() {
        assert_eq!(read(&json!({ "access": "open" })), Ok(Access::Open));
        let to = Place::new("http://b:1").unwrap();
        assert_eq!(read(&json!({ "access": "moved", "to": "http://b:1" })), Ok(Access::Moved { to }));
        for bad in [
            json!([]),
            json!({}),
            json!({ "access": "shut" }),
            json!({ "access": "moved" }),
            json!({ "access": "moved", "to": "a b" }),
            json!({ "access": "open", "to": "x" }),
            json!({ "access": "open", "too": "x" }),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
