//! How values, places and outcomes of followed documents look in a terminal.

use std::io::IsTerminal as _;

use serde_json::Value;

use crate::cli::item::plain;
use crate::cli::output::printable;

/// Characters of a value that are shown in a table.
const WIDTH: usize = 36;
/// Of them, those before the first difference.
const BEFORE: usize = 8;

/// A value on one line, harmless for a terminal. Nothing there, null and an empty text are three things.
pub(super) fn value(value: Option<&Value>) -> String {
    match value {
        None => "–".to_owned(),
        Some(Value::String(text)) if text.is_empty() || is_scalar(text) => format!("{text:?}"),
        Some(value) => printable(&plain(value)),
    }
}

/// A text that would look like something else.
fn is_scalar(text: &str) -> bool {
    text == "–"
        || serde_json::from_str::<Value>(text).is_ok_and(|value| !value.is_object() && !value.is_array())
}

/// Values beside each other: on a terminal each cut to where they differ, and whole for programs.
pub(super) fn beside(values: &[Option<&Value>]) -> Vec<String> {
    if !std::io::stdout().is_terminal() {
        return values.iter().map(|each| value(*each)).collect();
    }
    cut(values)
}

/// Values beside each other, each cut to where they differ.
fn cut(values: &[Option<&Value>]) -> Vec<String> {
    let texts: Vec<Vec<char>> = values.iter().map(|each| value(*each).chars().collect()).collect();
    let there = || texts.iter().zip(values).filter(|(_, value)| value.is_some()).map(|(text, _)| text);
    let Some(first) = there().next() else { return values.iter().map(|each| value(*each)).collect() };
    let same = there().fold(first.len(), |same, text| {
        first.iter().zip(text).take(same).take_while(|(a, b)| a == b).count()
    });
    let is_one = there().all(|text| text == first);
    let skipped = if is_one { 0 } else { same.saturating_sub(BEFORE) };
    let shortened = |(text, value): (&Vec<char>, &Option<&Value>)| {
        if value.is_none() || text.len() <= WIDTH {
            return text.iter().collect();
        }
        let mut shown: String = text.iter().skip(skipped).take(WIDTH).collect();
        if skipped > 0 {
            shown.insert(0, '…');
        }
        if text.len() > skipped + WIDTH {
            shown.push('…');
        }
        shown
    };
    texts.iter().zip(values).map(shortened).collect()
}

/// One value; on a terminal cut where it is long.
pub(super) fn short(each: Option<&Value>) -> String {
    beside(&[each]).remove(0)
}

/// An outcome for people.
pub(super) fn outcome(name: &str) -> &str {
    match name {
        "same" => "the same on both sides",
        "stranded" => "merged; what people wrote stands where the text around it is deleted",
        "prevails" => "CONFLICT: the database's shows",
        "gives_way" => "CONFLICT: the document's shows",
        "both" => "CONFLICT: to be chosen",
        "deleted" => "CONFLICT: deleted in the database",
        "revived" => "CONFLICT: deleted in the document",
        other => other,
    }
}

/// A text of an answer, harmless for a terminal.
pub(in crate::cli) fn text(of: &Value, key: &str) -> String {
    printable(of.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// A number of an answer.
pub(in crate::cli) fn number(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// A list of an answer.
pub(in crate::cli) fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// `1 change`, `2 changes`.
pub(in crate::cli) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `version 7 → 8`, where there are versions.
pub(in crate::cli) fn versions(of: &Value) -> Option<String> {
    let version =
        |key: &str| of.get(key).filter(|version| !version.is_null()).map(|it| printable(&plain(it)));
    match (version("from"), version("to")) {
        (Some(from), Some(to)) if from == to => Some(format!("version {to}")),
        (Some(from), Some(to)) => Some(format!("version {from} → {to}")),
        (None, Some(to)) => Some(format!("version {to}")),
        (_, None) => None,
    }
}

/// What is wrong with a document, with the places that are known.
pub(super) fn problems(of: &Value) -> Vec<String> {
    let line = |problem: &Value| match (text(problem, "path"), text(problem, "what")) {
        (path, what) if path.is_empty() => what,
        (path, what) => format!("{path}: {what}"),
    };
    list(of, "problems").iter().map(line).collect()
}

/// A value at a place: a row that is null is not there.
pub(super) fn there<'a>(of: &'a Value, path: &str, key: &str) -> Option<&'a Value> {
    let is_row = parts(path).is_some_and(|parts| parts.len() == 2);
    of.get(key).filter(|value| !(is_row && value.is_null()))
}

/// A place in a document as its parts. None where it is none.
pub(super) fn parts(path: &str) -> Option<Vec<String>> {
    let unescape = |part: &str| {
        let mut out = String::new();
        let mut chars = part.chars();
        while let Some(c) = chars.next() {
            match c {
                '~' => out.push(match chars.next()? {
                    '0' => '~',
                    '1' => '.',
                    _ => return None,
                }),
                c => out.push(c),
            }
        }
        (!out.is_empty()).then_some(out)
    };
    path.split('.').map(unescape).collect::<Option<Vec<_>>>().filter(|parts| parts.len() <= 3)
}

/// A place in a document from its parts.
pub(super) fn path(parts: &[&str]) -> String {
    parts.iter().map(|part| part.replace('~', "~0").replace('.', "~1")).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_null_and_empty_look_different() {
        let shown =
            [None, Some(json!(null)), Some(json!("")), Some(json!("null")), Some(json!(5)), Some(json!("5"))];
        let shown: Vec<String> = shown.iter().map(|each| value(each.as_ref())).collect();
        assert_eq!(shown, ["–", "null", "\"\"", "\"null\"", "5", "\"5\""]);
        assert_eq!(value(Some(&json!("a b"))), "a b");
        // Whoever may write a document says nothing to a terminal.
        assert_eq!(value(Some(&json!("\u{1b}[2Ja\nb"))), "\\u{1b}[2Ja\\nb");
        assert_eq!(value(Some(&json!({"a": "\u{202e}b"}))), "{\"a\":\"\\u{202e}b\"}");
    }

    #[test]
    fn long_values_are_cut_to_where_they_differ() {
        let common = "x".repeat(100);
        let [a, b] = ["one end", "another end"].map(|end| json!(format!("{common}{end}")));
        assert_eq!(cut(&[Some(&a), Some(&b), None]), ["…xxxxxxxxone end", "…xxxxxxxxanother end", "–"]);
        let long = json!("y".repeat(50));
        assert_eq!(cut(&[Some(&long)]).remove(0), format!("{}…", "y".repeat(36)));
        assert_eq!(
            cut(&[Some(&long), Some(&long)]),
            [cut(&[Some(&long)]).remove(0), cut(&[Some(&long)]).remove(0)]
        );
        assert_eq!(cut(&[Some(&json!("short")), Some(&a)])[0], "short");
        assert_eq!(cut(&[None, None]), ["–", "–"]);
    }

    #[test]
    fn places_are_taken_apart_and_put_together() {
        for (text, expected) in [
            ("name", Some(vec!["name"])),
            ("jobs.j~11.body", Some(vec!["jobs", "j.1", "body"])),
            ("jobs.a~0b", Some(vec!["jobs", "a~b"])),
            ("a.b.c.d", None),
            ("a..b", None),
            ("", None),
            ("a~", None),
            ("a~2", None),
        ] {
            let found = parts(text);
            assert_eq!(
                found.as_deref(),
                expected.map(|parts| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).as_deref()
            );
            if let Some(found) = found {
                assert_eq!(path(&found.iter().map(String::as_str).collect::<Vec<_>>()), text);
            }
        }
    }

    #[test]
    fn versions_are_shown_where_there_are_any() {
        let shown = |from: Value, to: Value| versions(&json!({"from": from, "to": to}));
        assert_eq!(shown(json!(7), json!(8)).as_deref(), Some("version 7 → 8"));
        assert_eq!(shown(json!(7), json!(7)).as_deref(), Some("version 7"));
        assert_eq!(shown(json!(null), json!(8)).as_deref(), Some("version 8"));
        assert_eq!(shown(json!(null), json!(null)), None);
        assert_eq!(shown(json!(null), json!("\u{1b}c")).as_deref(), Some("version \\u{1b}c"));
        assert_eq!((count(1, "op"), count(2, "op")), ("1 op".into(), "2 ops".into()));
    }
}
