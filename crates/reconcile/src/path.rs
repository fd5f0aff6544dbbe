//! Places in a document as people write them: `name`, `jobs.j1`, `jobs.j1.body`.

use std::fmt;
use std::str::FromStr;

/// A place in a document: a field of the root, a row, or a field of a row.
///
/// In text the parts stand between dots; in a part `~1` stands for a dot and `~0` for `~`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// A field of the root.
    Field(String),
    /// A row of a list, by its key.
    Row(String, String),
    /// A field of a row.
    RowField(String, String, String),
}

impl Path {
    /// Returns the row that the place lies in or is; none for the root.
    #[must_use]
    pub fn row(&self) -> Option<(&str, &str)> {
        match self {
            Self::Field(_) => None,
            Self::Row(list, key) | Self::RowField(list, key, _) => Some((list, key)),
        }
    }

    /// Returns the field; none for a row as a whole.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field(field) | Self::RowField(_, _, field) => Some(field),
            Self::Row(..) => None,
        }
    }

    /// Returns the place of a field of a row, or of the root.
    #[must_use]
    pub fn of_field(row: Option<(&str, &str)>, field: &str) -> Self {
        match row {
            None => Self::Field(field.to_owned()),
            Some((list, key)) => Self::RowField(list.to_owned(), key.to_owned(), field.to_owned()),
        }
    }

    fn parts(&self) -> Vec<&str> {
        match self {
            Self::Field(field) => vec![field],
            Self::Row(list, key) => vec![list, key],
            Self::RowField(list, key, field) => vec![list, key, field],
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts().into_iter().map(|part| part.replace('~', "~0").replace('.', "~1"));
        f.write_str(&parts.collect::<Vec<_>>().join("."))
    }
}

/// A text is no place of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place of a document; write a field (name), a row (jobs.j1) or a row's field (jobs.j1.body)"
)]
pub struct BadPath(pub String);

impl FromStr for Path {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let bad = || BadPath(text.chars().take(200).collect());
        let parts: Option<Vec<String>> = text.split('.').map(unescape).collect();
        let mut parts = parts.ok_or_else(bad)?.into_iter();
        let path = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(field), None, ..) => Self::Field(field),
            (Some(list), Some(key), None, _) => Self::Row(list, key),
            (Some(list), Some(key), Some(field), None) => Self::RowField(list, key, field),
            _ => return Err(bad()),
        };
        if path.parts().iter().any(|part| part.is_empty()) { Err(bad()) } else { Ok(path) }
    }
}

fn unescape(part: &str) -> Option<String> {
    let mut text = String::with_capacity(part.len());
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => text.push('~'),
                '1' => text.push('.'),
                _ => return None,
            },
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_place_has_one_spelling(parts in prop::collection::vec("[a.~/\\PC]{1,6}", 1..4)) {
            let mut parts = parts.into_iter();
            let path = match (parts.next().unwrap(), parts.next(), parts.next()) {
                (field, None, _) => Path::Field(field),
                (list, Some(key), None) => Path::Row(list, key),
                (list, Some(key), Some(field)) => Path::RowField(list, key, field),
            };
            prop_assert_eq!(path.to_string().parse::<Path>(), Ok(path));
        }

        #[test]
        fn what_parses_is_spelled_the_same(text in "[ab.~01]{0,8}") {
            if let Ok(path) = text.parse::<Path>() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
