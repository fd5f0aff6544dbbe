//! Which tables and columns of a database a document follows, and who prevails where both sides changed something.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

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

/// A template is not `…{key}…` with the root's key column in braces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "document {template:?} does not contain {{{key}}} exactly once; write for example \"workflow:{{{key}}}\""
)]
pub struct BadDocumentName {
    /// What was written.
    pub template: String,
    /// The key column.
    pub key: String,
}

impl DocumentName {
    /// Takes a template apart.
    ///
    /// # Errors
    /// [`BadDocumentName`] where it does not name the key column once, or has other braces.
    pub fn parse(template: &str, key: &str) -> Result<Self, BadDocumentName> {
        let bad = || BadDocumentName { template: template.to_owned(), key: key.to_owned() };
        let (prefix, suffix) = template.split_once(&format!("{{{key}}}")).ok_or_else(bad)?;
        if [prefix, suffix].iter().any(|part| part.contains(['{', '}'])) {
            return Err(bad());
        }
        Ok(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
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
