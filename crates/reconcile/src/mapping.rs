//! Which tables and columns of a database a document follows, and who prevails where both sides changed something.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schema::MappingMistake;

/// What an operator says of one source: which rows become which documents, and by which rules.
///
/// [`crate::Shape::bind`] holds it against the database's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The source's name: 1 to 64 of `a-z0-9_-`.
    pub name: String,
    /// What happens to what people have not saved.
    pub mode: Mode,
    /// One document for each of its rows.
    pub root: RootTable,
    /// Tables whose rows belong to a root row.
    pub lists: Vec<ListTable>,
}

impl Mapping {
    /// Returns what is wrong with it whatever the database has, each with its table and column.
    #[must_use]
    pub fn mistakes(&self) -> Vec<MappingMistake> {
        check::mistakes(self)
    }
}

/// What a database change does to edits that are not saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Both sides' changes are merged.
    #[default]
    Merge,
    /// Afterwards the document equals the database; what is dropped is listed, and can be had back.
    Mirror,
}

/// The table whose rows have a document each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootTable {
    /// Its name.
    pub table: String,
    /// The column that names a row: unique, of integers or texts.
    pub key: String,
    /// A column of integers that rises with each version.
    pub version: Option<String>,
    /// How the document of a row is called.
    pub document: DocumentName,
    /// A column that is not null in rows that count as deleted.
    pub soft_delete: Option<String>,
    /// The columns that the document has.
    pub fields: Fields,
    /// Columns that are never read nor written.
    pub secret: BTreeSet<String>,
}

/// A table whose rows belong to a root row each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTable {
    /// Its name, and that of the list in the document.
    pub table: String,
    /// The column that holds the root row's key.
    pub parent: String,
    /// The column that names a row: unique, of integers or texts.
    pub key: String,
    /// The columns that the document has.
    pub fields: Fields,
    /// Fields that name a row of a list of this mapping.
    pub refs: BTreeMap<String, String>,
    /// Columns that are never read nor written.
    pub secret: BTreeSet<String>,
}

/// An allow-list of columns, each with its rule.
pub type Fields = BTreeMap<String, Policy>;

/// Who prevails in a field that both sides changed since they last agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The database's value shows, the document's is kept as a conflict.
    DbWins,
    /// The document's value shows, the database's is kept as a conflict.
    DocWins,
    /// One shows, and nothing is saved in its place before somebody has chosen.
    KeepBoth,
    /// Only the database changes it.
    DbOwned,
    /// The database's value begins a row; from then on only the document changes it.
    DocOwned,
    /// Both sides' characters.
    TextMerge,
}

/// How documents are called: `workflow:{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentName {
    prefix: String,
    suffix: String,
}

/// Why a template names no documents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadDocumentName {
    /// It is not `…{key}…` with the root's key column in braces.
    #[error(
        "document {template:?} does not contain {{{key}}} exactly once; write for example \"workflow:{{{key}}}\""
    )]
    NoKey {
        /// What was written.
        template: String,
        /// The key column.
        key: String,
    },
    /// It has a character that does not read the same in every URL.
    #[error("document {template:?} has {found:?} beside the key; take A-Z, a-z, 0-9, `.`, `_`, `:` and `-`")]
    Character {
        /// What was written.
        template: String,
        /// The first such character.
        found: char,
    },
    /// Nothing sets its documents apart from others'.
    #[error(
        "document {template:?} has no letter or digit beside the key; write for example \"workflow:{{{key}}}\""
    )]
    Bare {
        /// What was written.
        template: String,
        /// The key column.
        key: String,
    },
    /// It leaves no room for keys.
    #[error("document {template:?} has {length} characters beside the key, and {max} is the most")]
    TooLong {
        /// What was written.
        template: String,
        /// How many it has.
        length: usize,
        /// How many it may have.
        max: usize,
    },
}

impl DocumentName {
    /// Of a document's name, of 256 bytes at most, what is not the key.
    pub const AROUND_MAX: usize = 128;

    /// Takes a template apart.
    ///
    /// What is beside the key is `A-Za-z0-9._:-` with a letter or a digit: a name is a segment of a URL's path, where
    /// nothing of this is ever escaped, and a key alone could be `..`. Keys may have any characters; whoever makes a
    /// URL escapes them.
    ///
    /// # Errors
    /// [`BadDocumentName`]
    pub fn parse(template: &str, key: &str) -> Result<Self, BadDocumentName> {
        let template_and_key = || (template.to_owned(), key.to_owned());
        let no_key = || {
            let (template, key) = template_and_key();
            BadDocumentName::NoKey { template, key }
        };
        let (prefix, suffix) = template.split_once(&format!("{{{key}}}")).ok_or_else(no_key)?;
        let around = || prefix.chars().chain(suffix.chars());
        if around().any(|c| matches!(c, '{' | '}')) {
            return Err(no_key());
        }
        if let Some(found) = around().find(|c| !c.is_ascii_alphanumeric() && !".:_-".contains(*c)) {
            return Err(BadDocumentName::Character { template: template.to_owned(), found });
        }
        if !around().any(|c| c.is_ascii_alphanumeric()) {
            let (template, key) = template_and_key();
            return Err(BadDocumentName::Bare { template, key });
        }
        let length = prefix.len() + suffix.len();
        if length > Self::AROUND_MAX {
            let template = template.to_owned();
            return Err(BadDocumentName::TooLong { template, length, max: Self::AROUND_MAX });
        }
        Ok(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }

    /// Returns whether one name could be that of a document of each of the two.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let begins = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        let ends = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
        begins(&self.prefix, &other.prefix) && ends(&self.suffix, &other.suffix)
    }

    /// Returns the template, with the key column in braces.
    #[must_use]
    pub fn template(&self, key: &str) -> String {
        format!("{}{{{key}}}{}", self.prefix, self.suffix)
    }

    /// Returns the name of the document of a root row.
    #[must_use]
    pub fn of(&self, root: &str) -> String {
        format!("{}{root}{}", self.prefix, self.suffix)
    }

    /// Returns the key of the root row that a document follows; none where the name is another one's.
    #[must_use]
    pub fn root_of<'a>(&self, document: &'a str) -> Option<&'a str> {
        let key = document.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        (!key.is_empty()).then_some(key)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DbWins => "db_wins",
            Self::DocWins => "doc_wins",
            Self::KeepBoth => "keep_both",
            Self::DbOwned => "db_owned",
            Self::DocOwned => "doc_owned",
            Self::TextMerge => "text_merge",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merge => "merge",
            Self::Mirror => "mirror",
        })
    }
}
