//! Reads request bodies within their bounds, and JSON out of them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::App;
use super::problem::Problem;

/// A body that was read whole.
#[derive(Debug)]
pub(crate) struct Whole(pub(crate) Bytes);

impl FromRequest<App> for Whole {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        read(&parts.headers, body, app).await.map(Self)
    }
}

/// Reads a body of at most `body_bytes_max`.
///
/// # Errors
/// 413 when it is larger, 408 when it takes too long, 400 when it breaks off.
pub(crate) async fn read(headers: &HeaderMap, body: Body, app: &App) -> Result<Bytes, Problem> {
    read_up_to(headers, body, app, limit(app)).await
}

/// How much a body may have, unless its route says otherwise.
pub(crate) fn limit(app: &App) -> usize {
    usize::try_from(app.limits.body_bytes_max.value).unwrap_or(usize::MAX)
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_up_to(
    headers: &HeaderMap,
    body: Body,
    app: &App,
    limit: usize,
) -> Result<Bytes, Problem> {
    let time = Duration::from_millis(app.limits.body_timeout.value);
    tokio::time::timeout(time, collect(headers, body, limit)).await.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            format!("the body did not arrive within {} ms", time.as_millis()),
            "send it again; limits.body_timeout is the bound",
        ))
    })
}

async fn collect(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let too_large = declared.is_some_and(|length| length > limit as u64);
    // A client that waits for leave to send hears the refusal before it has sent anything.
    if too_large && headers.contains_key(header::EXPECT) {
        return Err(over(limit));
    }
    let mut collected = BytesMut::new();
    let mut is_over = too_large;
    // What is too large is still read, and dropped: a client in the middle of sending would otherwise
    // see a broken connection instead of the refusal. The time-out bounds this.
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "body_broken",
                format!("the body broke off: {error}"),
                "send it again",
            )
        })?;
        let Some(data) = frame.data_ref() else { continue };
        is_over |= collected.len() + data.len() > limit;
        if is_over {
            collected = BytesMut::new();
        } else {
            collected.extend_from_slice(data);
        }
    }
    if is_over { Err(over(limit)) } else { Ok(collected.freeze()) }
}

fn over(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body is larger than {limit} bytes"),
        "send less; limits.body_bytes_max is the bound",
    )
}

/// Reads JSON. An object that says one thing twice, at whatever depth, is refused: who reads which of the two is anyone's
/// guess.
///
/// # Errors
/// 400 with the place of the mistake.
pub(crate) fn json(bytes: &[u8]) -> Result<Value, Problem> {
    let broken = |error: &serde_json::Error| {
        let detail = if bytes.is_empty() {
            "the body is empty".to_owned()
        } else {
            format!("the body is not JSON: {error}")
        };
        Problem::new(StatusCode::BAD_REQUEST, "bad_json", detail, "send one JSON object as UTF-8")
    };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| broken(&error))?;
    serde_json::from_slice::<DistinctKeys>(bytes).map_err(|error| broken(&error))?;
    Ok(value)
}

/// JSON in which no object has a key twice.
struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for DistinctKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self, M::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(M::Error::custom(format!("`{key}` is there twice")));
            }
            seen.insert(key);
            map.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Self, S::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn broken_json_is_400_whatever_it_is() {
        let deep = "[".repeat(200_000);
        for text in ["", "{", "{\"a\":1,\"a\":2}", "\u{feff}{}", &deep, "{} x", "nul"] {
            let problem = json(text.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), "bad_json", "{text:.20}");
            assert_eq!(problem.into_response().status(), 400);
        }
        assert!(json(&[b'"', 0xff, b'"']).is_err());
        assert_eq!(json(b"[1]").unwrap(), serde_json::json!([1]));
        let said_once = br#"{"a":{"b":1,"c":[1,-1,0.5,true,null,"b",{"b":1},{"b":2}]},"b":1}"#;
        assert!(json(said_once).is_ok());
        for text in [r#"{"a":{"b":1,"b":1}}"#, r#"[{"a":1,"\u0061":2}]"#, r#"{"a":[0,{"b":{"":1,"":1}}]}"#] {
            assert_eq!(json(text.as_bytes()).unwrap_err().code(), "bad_json", "{text}");
        }
    }

    #[tokio::test]
    async fn a_large_body_is_read_away_and_refused() {
        let none = HeaderMap::new();
        let chunks = (0..10).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 100])));
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        assert_eq!(collect(&none, body, 999).await.unwrap_err().code(), "body_too_large");
        assert_eq!(collect(&none, Body::from("x".repeat(10)), 10).await.unwrap().len(), 10);
        let mut waits = HeaderMap::new();
        waits.insert(header::EXPECT, "100-continue".parse().unwrap());
        waits.insert(header::CONTENT_LENGTH, "1000000".parse().unwrap());
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(collect(&waits, never, 10).await.unwrap_err().code(), "body_too_large");
    }
}
