//! What a database says of its tables, and a mapping that was held against it.

mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::check::Check;
use crate::mapping::{Mapping, Policy};

/// The tables of a database that a mapping may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// By name.
    pub tables: BTreeMap<String, TableSchema>,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSchema {
    /// By name.
    pub columns: BTreeMap<String, Column>,
    /// Columns that are unique by themselves.
    pub unique: Vec<String>,
    /// It is a view: it can be read, not written.
    pub is_view: bool,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What its values are in a document.
    pub kind: ColumnKind,
    /// The type as the schema has it, for messages.
    pub declared: String,
    /// Whether it may be null.
    pub is_nullable: bool,
    /// Whether an insert may leave it out.
    pub has_default: bool,
    /// Whether the database computes it.
    pub is_generated: bool,
}

/// What a column's values are in a document. Null is a value of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Exact integers of 64 bits.
    Integer,
    /// Finite floats: 5 is 5.0 here.
    Float,
    /// Integers and floats, as they are stored.
    Number,
    /// True and false.
    Boolean,
    /// Texts in UTF-8.
    Text,
    /// What a document cannot have.
    Other,
}

/// A mapping that fits a schema, with what is needed to read and write rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What the operator said.
    pub mapping: Mapping,
    /// The root table.
    pub root: TableShape,
    /// One for each list of the mapping, in its order.
    pub lists: Vec<TableShape>,
}

/// A table of a [`Shape`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Its name.
    pub table: String,
    /// The column that names a row, and the kind of its values: integers or texts.
    pub key: (String, ColumnKind),
    /// The column that holds the root row's key, in lists.
    pub parent: Option<(String, ColumnKind)>,
    /// The columns that the document has, ascending by name: a [`crate::Row`] has one value for each, in this order.
    /// The root's `soft_delete` column is one of them.
    pub fields: Vec<FieldShape>,
    /// Lists of this mapping whose rows a field names, by the field's place.
    pub refs: BTreeMap<usize, usize>,
}

/// A column that the document has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldShape {
    /// Its name.
    pub column: String,
    /// What its values are.
    pub kind: ColumnKind,
    /// Who prevails.
    pub policy: Policy,
    /// Whether it may be null.
    pub is_nullable: bool,
    /// Whether an insert may leave it out.
    pub has_default: bool,
    /// Whether the database computes it: then it is never written.
    pub is_generated: bool,
}

impl FieldShape {
    /// Returns whether a save writes it.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.policy != Policy::DbOwned && !self.is_generated
    }
}

/// What is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reconcile {source_name:?}: {place}: {what}; {hint}")]
pub struct MappingMistake {
    /// Which source.
    pub source_name: String,
    /// Table and column: `jobs.body`.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: String,
}

impl Shape {
    /// Holds a mapping against the schema of its database.
    ///
    /// # Errors
    /// All that is wrong, each with its place: what [`Mapping::mistakes`] says, and what the schema says.
    pub fn bind(mapping: Mapping, schema: &Schema) -> Result<Self, Vec<MappingMistake>> {
        let mut mistakes = mapping.mistakes();
        let mut check = Check::new(&mapping, schema);
        let root = check.root();
        let root_key = root.as_ref().map(|root| root.key.1);
        let lists: Vec<Option<TableShape>> =
            mapping.lists.iter().map(|list| check.list(list, root_key)).collect();
        mistakes.extend(check.finish());
        match (root, lists.into_iter().collect::<Option<Vec<_>>>()) {
            (Some(root), Some(lists)) if mistakes.is_empty() => Ok(Self { mapping, root, lists }),
            _ => Err(mistakes),
        }
    }

    /// Returns a table of the shape: the root for none, a list by its place.
    #[must_use]
    pub fn at(&self, list: Option<usize>) -> Option<&TableShape> {
        list.map_or(Some(&self.root), |list| self.lists.get(list))
    }

    /// Returns a table of the shape: the root for none, a list by its name.
    #[must_use]
    pub fn table(&self, list: Option<&str>) -> Option<&TableShape> {
        match list {
            None => Some(&self.root),
            Some(name) => self.lists.iter().find(|table| table.table == name),
        }
    }
}

impl TableShape {
    /// Returns the place of a field in a row.
    #[must_use]
    pub fn field(&self, column: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| field.column.as_str().cmp(column)).ok()
    }
}
