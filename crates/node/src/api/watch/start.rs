//! Where a stream begins, from what the client says it has seen. Pure.

use gangline_doc::LogSeq;
use http::StatusCode;

use crate::api::problem::Problem;

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The first change that is sent.
    pub(super) cursor: LogSeq,
    /// The client has seen what this log never had: it is another log, and the client has to look anew.
    pub(super) is_reset: bool,
}

/// Decides from `Last-Event-ID`, else `from=` in the query, else the present end.
///
/// # Errors
/// When a position is no number.
pub(super) fn start(last_id: Option<&str>, query: Option<&str>, end: LogSeq) -> Result<Start, Problem> {
    let at = |cursor: u64| match cursor <= end.0 {
        true => Start { cursor: LogSeq(cursor), is_reset: false },
        false => Start { cursor: end, is_reset: true },
    };
    if let Some(id) = last_id.filter(|id| !id.is_empty()) {
        if id == "-1" {
            return Ok(at(0));
        }
        let seen: u64 = id.parse().map_err(|_| bad_position("Last-Event-ID"))?;
        return Ok(at(seen.saturating_add(1)));
    }
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut from = None;
    for pair in pairs {
        match pair.split_once('=') {
            Some(("from", value)) => from = Some(value.parse().map_err(|_| bad_position("from"))?),
            _ => {
                let detail = format!("`{pair}` means nothing here");
                let hint = "the only parameter is from=SEQ";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail, hint));
            }
        }
    }
    Ok(from.map_or(Start { cursor: end, is_reset: false }, at))
}

pub(in crate::api) fn bad_position(what: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad_position",
        format!("{what} is not a position of the log"),
        "send the id of the last event you have, a whole number",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last_id: Option<&str>, query: Option<&str>, end: u64) -> (u64, bool) {
        let start = start(last_id, query, LogSeq(end)).unwrap();
        (start.cursor.0, start.is_reset)
    }

    #[test]
    fn a_stream_goes_on_right_after_the_last_event() {
        assert_eq!(at(None, None, 7), (7, false), "live from now");
        assert_eq!(at(Some("4"), None, 7), (5, false));
        assert_eq!(at(Some("6"), None, 7), (7, false), "nothing missed");
        assert_eq!(at(Some("-1"), None, 7), (0, false), "was there before the first change");
        assert_eq!(at(None, Some("from=0"), 7), (0, false));
        assert_eq!(at(None, Some("from=7"), 7), (7, false));
        assert_eq!(at(Some("4"), Some("from=0"), 7), (5, false), "a browser that comes back sends both");
        assert_eq!(at(Some(""), Some(""), 7), (7, false));
    }

    #[test]
    fn ids_of_another_log_are_told() {
        assert_eq!(at(Some("7"), None, 7), (7, true));
        assert_eq!(at(Some(&u64::MAX.to_string()), None, 7), (7, true));
        assert_eq!(at(None, Some("from=8"), 7), (7, true));
        assert_eq!(at(Some("0"), None, 0), (0, true));
    }

    #[test]
    fn nonsense_is_refused() {
        for (id, query) in [
            (Some("x"), None),
            (Some("-2"), None),
            (Some("1.5"), None),
            (None, Some("from=")),
            (None, Some("form=1")),
        ] {
            assert!(start(id, query, LogSeq(3)).is_err(), "{id:?} {query:?}");
        }
    }
}
