//! Refusals over HTTP: `application/problem+json` (RFC 9457) with a stable `code` and a `hint`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

/// A refusal. The code is stable; the words may change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    hint: String,
    more: Map<String, Value>,
    again_in: Option<u32>,
}

impl Problem {
    /// A refusal with what to do about it.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, code, detail: detail.into(), hint: hint.into(), more: Map::new(), again_in: None }
    }

    /// Adds a field of its own, such as the name of the field that is wrong.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// Says after how many seconds to come again.
    pub(crate) fn again_in(mut self, seconds: u32) -> Self {
        self.again_in = Some(seconds);
        self
    }

    /// The body's JSON is fine and says something that cannot be.
    pub(crate) fn field(code: &'static str, field: &str, detail: String, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail, hint).with("field", field)
    }

    /// Nothing is durable any more: the store has failed.
    pub(crate) fn store_failed(reason: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_failed",
            format!("the node cannot make anything durable: {reason}"),
            "see the node's log, repair the disk, and start the node again",
        )
    }

    /// A bug of ours.
    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            what,
            "this is a fault of the node; its log says more",
        )
    }

    /// The stable code, for metrics.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// What happened, for logs.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The status that goes with it.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body, as it is sent.
    pub(super) fn text(&self) -> String {
        self.body().to_string()
    }

    /// After how many seconds to come again, if that helps.
    pub(super) fn is_again_in(&self) -> Option<u32> {
        self.again_in
    }

    /// The body, as a value.
    pub(super) fn body(&self) -> Value {
        let mut body = self.more.clone();
        let title = self.status.canonical_reason().unwrap_or("Refused");
        body.insert("type".into(), format!("urn:gangline:problem:{}", self.code).into());
        body.insert("title".into(), title.into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("code".into(), self.code.into());
        body.insert("detail".into(), self.detail.clone().into());
        body.insert("hint".into(), self.hint.clone().into());
        Value::Object(body)
    }
}

/// The code of a refusal, left on the response for whoever counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemCode(pub(crate) &'static str);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text()).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.again_in {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(ProblemCode(self.code));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_code_hint_and_field() {
        let problem =
            Problem::field("unknown_field", "stagee", "no field `stagee`".into(), "did you mean `stage`?");
        let body = problem.body();
        assert_eq!(body["status"], 422);
        assert_eq!(body["code"], "unknown_field");
        assert_eq!(body["field"], "stagee");
        assert_eq!(body["hint"], "did you mean `stage`?");
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
