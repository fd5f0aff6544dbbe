//! What the query of a request for events says. Pure.

use gangline_lease::Seq;
use gangline_lease::limits::READ_EVENTS_MAX;
use http::StatusCode;

use crate::api::problem::Problem;

/// Events that are answered if nobody says how many.
const LIMIT: usize = 1_000;

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The first event.
    pub(super) from: Seq,
    /// How many; none in a stream that has no end.
    pub(super) limit: Option<usize>,
    /// Goes on as a stream.
    pub(super) follow: bool,
    /// An event that has to be there first.
    pub(super) at_least: Option<Seq>,
    /// Shows the holders' signatures too.
    pub(super) signatures: bool,
    /// What this node itself has, whatever others have.
    pub(super) copy: bool,
}

/// Reads the query of a request for events.
///
/// # Errors
/// What it says that means nothing.
pub(super) fn read(query: &str) -> Result<Wish, Problem> {
    let from = Seq::START;
    let mut wish = Wish { from, limit: None, follow: false, at_least: None, signatures: false, copy: false };
    for (name, value) in pairs(query) {
        let number = || value.parse::<u64>().map_err(|_| bad(name, value, "a whole number"));
        match name {
            "from" => wish.from = Seq(number()?),
            "at_least" => wish.at_least = Some(Seq(number()?)),
            "limit" => {
                let limit = usize::try_from(number()?).unwrap_or(usize::MAX).min(READ_EVENTS_MAX);
                if limit == 0 {
                    return Err(bad(name, value, "at least 1"));
                }
                wish.limit = Some(limit);
            }
            "follow" => wish.follow = truth(name, value)?,
            "signatures" => wish.signatures = truth(name, value)?,
            "copy" => wish.copy = truth(name, value)?,
            other => return Err(unknown(other, "from, limit, follow, at_least, signatures and copy")),
        }
    }
    if wish.copy && (wish.follow || wish.at_least.is_some()) {
        return Err(bad("copy", "true", "to be had with follow or at_least: a copy is read as it is"));
    }
    if !wish.follow {
        wish.limit.get_or_insert(LIMIT);
    }
    Ok(wish)
}

/// Refuses a query where there is nothing to say.
pub(super) fn none(query: &str) -> Result<(), Problem> {
    match pairs(query).next() {
        Some((name, _)) => Err(unknown(name, "none")),
        None => Ok(()),
    }
}

/// Reads a query that may ask for a copy.
pub(super) fn copy(query: &str) -> Result<bool, Problem> {
    let mut is_copy = false;
    for (name, value) in pairs(query) {
        match name {
            "copy" => is_copy = truth(name, value)?,
            other => return Err(unknown(other, "copy")),
        }
    }
    Ok(is_copy)
}

pub(super) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

pub(super) fn unknown(name: &str, known: &str) -> Problem {
    let detail = format!("`{name}` means nothing here");
    let hint = format!("known here: {known}");
    Problem::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail, hint).with("parameter", name)
}

pub(super) fn bad(name: &str, value: &str, expected: &str) -> Problem {
    let detail = format!("{name}={value} is not {expected}");
    let hint = "for example ?from=0&limit=100, or ?follow=true";
    Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", detail, hint).with("parameter", name)
}

pub(super) fn truth(name: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad(name, value, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_or_refused() {
        let plain = Wish {
            from: Seq(0),
            limit: Some(1_000),
            follow: false,
            at_least: None,
            signatures: false,
            copy: false,
        };
        assert_eq!(read(""), Ok(plain));
        assert_eq!(
            read("from=3&limit=7&at_least=5&signatures"),
            Ok(Wish { from: Seq(3), limit: Some(7), at_least: Some(Seq(5)), signatures: true, ..plain })
        );
        assert_eq!(read("limit=99999999").unwrap().limit, Some(10_000), "more is cut");
        assert_eq!(read("follow=true"), Ok(Wish { limit: None, follow: true, ..plain }));
        assert!(!read("follow=false").unwrap().follow);
        for (query, code) in [
            ("from=-1", "bad_parameter"),
            ("from=", "bad_parameter"),
            ("limit=0", "bad_parameter"),
            ("follow=yes", "bad_parameter"),
            ("form=1", "unknown_parameter"),
        ] {
            assert_eq!(read(query).map_err(|problem| problem.code()), Err(code), "{query}");
        }
        assert!(none("").is_ok() && none("durable=2").is_err());
    }
}
