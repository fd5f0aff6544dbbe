//! Holding a mapping against a schema: every mistake with its table and column.

use std::collections::{BTreeMap, BTreeSet};

use super::{Column, ColumnKind, FieldShape, MappingMistake, Schema, TableSchema, TableShape};
use crate::mapping::{Fields, ListTable, Mapping, Policy};

/// Names that a document keeps for itself begin with this.
const OWN: char = '$';

pub(super) struct Check<'a> {
    mapping: &'a Mapping,
    schema: &'a Schema,
    mistakes: Vec<MappingMistake>,
}

impl<'a> Check<'a> {
    pub(super) fn new(mapping: &'a Mapping, schema: &'a Schema) -> Self {
        let mut check = Self { mapping, schema, mistakes: Vec::new() };
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let name = &mapping.name;
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            check.mistake("name", "is not a name", "take 1 to 64 of a-z, 0-9, _ and -");
        }
        let mut seen = BTreeSet::new();
        for list in &mapping.lists {
            if !seen.insert(&list.table) {
                check.mistake(&list.table, "is listed twice", "keep one [[reconcile.list]] for each table");
            }
            if mapping.root.fields.contains_key(&list.table) {
                let what = format!("has the name of a field of {}", mapping.root.table);
                check.mistake(&list.table, what, "leave the field out, or read the table through a view");
            }
        }
        check
    }

    pub(super) fn finish(self) -> Vec<MappingMistake> {
        self.mistakes
    }

    fn mistake(&mut self, place: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.push(MappingMistake {
            source_name: self.mapping.name.clone(),
            place: place.into(),
            what: what.into(),
            hint: hint.into(),
        });
    }

    pub(super) fn root(&mut self) -> Option<TableShape> {
        let root = &self.mapping.root;
        let table = self.table(&root.table)?;
        let key = self.key(&root.table, table, &root.key);
        if let Some(version) = &root.version
            && let Some(column) = self.column(&root.table, table, version)
            && column.kind != ColumnKind::Integer
        {
            let what = format!("is {}, and a version is an integer", column.declared);
            self.mistake(format!("{}.{version}", root.table), what, "leave version out of the mapping");
        }
        let mut fields = root.fields.clone();
        if let Some(column) = &root.soft_delete {
            fields.insert(column.clone(), Policy::DbOwned);
        }
        let used = [Some(&root.key), root.version.as_ref()];
        let fields = self.fields(&root.table, table, &fields, &root.secret, &used);
        Some(TableShape {
            table: root.table.clone(),
            key: key?,
            parent: None,
            fields: fields?,
            refs: BTreeMap::new(),
        })
    }

    pub(super) fn list(&mut self, list: &ListTable) -> Option<TableShape> {
        let table = self.table(&list.table)?;
        let key = self.key(&list.table, table, &list.key);
        let parent = self.column(&list.table, table, &list.parent).map(|column| column.kind);
        let used = [Some(&list.key), Some(&list.parent)];
        let fields = self.fields(&list.table, table, &list.fields, &list.secret, &used)?;
        let mut refs = BTreeMap::new();
        for (column, target) in &list.refs {
            let place = format!("{}.{column}", list.table);
            let field = fields.iter().position(|field| field.column == *column);
            let target_at = self.mapping.lists.iter().position(|list| list.table == *target);
            match (field, target_at) {
                (Some(field), Some(target)) => {
                    refs.insert(field, target);
                }
                (None, _) => self.mistake(place, "is a reference and no field", "add it to fields"),
                (_, None) => {
                    let what = format!("names {target}, which is no list of this source");
                    self.mistake(place, what, "name the table of a [[reconcile.list]]");
                }
            }
        }
        Some(TableShape {
            table: list.table.clone(),
            key: key?,
            parent: Some((list.parent.clone(), parent?)),
            fields,
            refs,
        })
    }

    fn table(&mut self, name: &str) -> Option<&'a TableSchema> {
        let found = self.schema.tables.get(name);
        if name.starts_with(OWN) {
            self.mistake(name, "begins with $", "read the table through a view with another name");
        }
        if found.is_none() {
            let names: Vec<&str> = self.schema.tables.keys().map(String::as_str).collect();
            self.mistake(name, "is no table of the database", format!("it has {}", names.join(", ")));
        }
        found
    }

    fn column(&mut self, table: &str, schema: &'a TableSchema, column: &str) -> Option<&'a Column> {
        let found = schema.columns.get(column);
        if found.is_none() {
            let names: Vec<&str> = schema.columns.keys().map(String::as_str).collect();
            let hint = format!("{table} has {}", names.join(", "));
            self.mistake(format!("{table}.{column}"), "is no column of the table", hint);
        }
        found
    }

    fn key(&mut self, table: &str, schema: &'a TableSchema, key: &str) -> Option<(String, ColumnKind)> {
        let column = self.column(table, schema, key)?;
        let place = format!("{table}.{key}");
        if !matches!(column.kind, ColumnKind::Integer | ColumnKind::Text) {
            let what = format!("is {}, and a key is an integer or a text", column.declared);
            self.mistake(&*place, what, "name another column as key");
        }
        if !schema.is_view && !schema.unique.iter().any(|unique| unique == key) {
            self.mistake(&*place, "is not unique", "name the primary key, or add a unique index");
        }
        Some((key.to_owned(), column.kind))
    }

    fn fields(
        &mut self,
        table: &str,
        schema: &'a TableSchema,
        fields: &Fields,
        secret: &BTreeSet<String>,
        used: &[Option<&String>],
    ) -> Option<Vec<FieldShape>> {
        for column in secret {
            self.column(table, schema, column);
            if fields.contains_key(column) || used.contains(&Some(column)) {
                let place = format!("{table}.{column}");
                self.mistake(place, "is secret and mapped", "take it out of one of the two");
            }
        }
        let mut shapes = Vec::new();
        for (name, policy) in fields {
            let place = format!("{table}.{name}");
            if name.starts_with(OWN) {
                self.mistake(&*place, "begins with $", "read the table through a view with another name");
            }
            if used.contains(&Some(name)) {
                self.mistake(&*place, "is key, parent or version already", "take it out of fields");
            }
            let Some(column) = self.column(table, schema, name) else { continue };
            if column.kind == ColumnKind::Other {
                let what = format!("is {}, which a document cannot have", column.declared);
                self.mistake(&*place, what, "take it out of fields");
            }
            if *policy == Policy::TextMerge && column.kind != ColumnKind::Text {
                let what = format!("is {}, and text_merge is for texts", column.declared);
                self.mistake(&*place, what, "write \"db_wins\"");
            }
            if column.is_generated && *policy != Policy::DbOwned {
                self.mistake(&*place, "is computed by the database", "write \"db_owned\"");
            }
            shapes.push(FieldShape {
                column: name.clone(),
                kind: column.kind,
                policy: *policy,
                is_nullable: column.is_nullable,
                has_default: column.has_default,
                is_generated: column.is_generated,
            });
        }
        (shapes.len() == fields.len()).then_some(shapes)
    }
}
