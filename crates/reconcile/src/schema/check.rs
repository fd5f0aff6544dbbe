//! Holding a mapping against a schema: every mistake with its table and column.

use std::collections::{BTreeMap, BTreeSet};

use super::{Column, ColumnKind, FieldShape, MappingMistake, Schema, TableSchema, TableShape};
use crate::mapping::{Fields, ListTable, Mapping, Policy};

pub(super) struct Check<'a> {
    mapping: &'a Mapping,
    schema: &'a Schema,
    mistakes: Vec<MappingMistake>,
}

impl<'a> Check<'a> {
    pub(super) fn new(mapping: &'a Mapping, schema: &'a Schema) -> Self {
        Self { mapping, schema, mistakes: Vec::new() }
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
            let what = format!("is {}, and a version is an integer", declared(column));
            self.mistake(format!("{}.{version}", root.table), what, "leave version out of the mapping");
        }
        let mut fields = root.fields.clone();
        if let Some(column) = &root.soft_delete {
            fields.insert(column.clone(), Policy::DbOwned);
        }
        let fields = self.fields(&root.table, table, &fields, &root.secret);
        Some(TableShape {
            table: root.table.clone(),
            key: key?,
            parent: None,
            fields: fields?,
            refs: BTreeMap::new(),
        })
    }

    /// `root_key`: what the keys of root rows are, if that is known.
    pub(super) fn list(&mut self, list: &ListTable, root_key: Option<ColumnKind>) -> Option<TableShape> {
        let table = self.table(&list.table)?;
        let key = self.key(&list.table, table, &list.key);
        let parent = self.column(&list.table, table, &list.parent);
        if let (Some(parent), Some(root_key)) = (parent, root_key)
            && parent.kind != root_key
        {
            let root = &self.mapping.root;
            let what = format!("is {}, and holds no keys of {}", declared(parent), root.table);
            let hint = format!("name the column that refers to {}.{}", root.table, root.key);
            self.mistake(format!("{}.{}", list.table, list.parent), what, hint);
        }
        let fields = self.fields(&list.table, table, &list.fields, &list.secret)?;
        let mut refs = BTreeMap::new();
        for (column, target) in &list.refs {
            let field = fields.iter().position(|field| field.column == *column);
            let target_at = self.mapping.lists.iter().position(|list| list.table == *target);
            // Where one of them is missing, the mapping itself is wrong.
            if let (Some(field), Some(target)) = (field, target_at) {
                self.reference(&list.table, fields.get(field)?, target);
                refs.insert(field, target);
            }
        }
        Some(TableShape {
            table: list.table.clone(),
            key: key?,
            parent: Some((list.parent.clone(), parent?.kind)),
            fields,
            refs,
        })
    }

    fn reference(&mut self, table: &str, field: &FieldShape, target: usize) {
        let schema = self.schema;
        let Some(target) = self.mapping.lists.get(target) else { return };
        let key = schema.tables.get(&target.table).and_then(|table| table.columns.get(&target.key));
        let column = schema.tables.get(table).and_then(|table| table.columns.get(&field.column));
        if let (Some(key), Some(column)) = (key, column)
            && key.kind != field.kind
        {
            let what = format!("is {}, and holds no keys of {}", declared(column), target.table);
            let hint = format!("{}.{} is {}; take it out of refs", target.table, target.key, declared(key));
            self.mistake(format!("{table}.{}", field.column), what, hint);
        }
    }

    fn table(&mut self, name: &str) -> Option<&'a TableSchema> {
        let found = self.schema.tables.get(name);
        if found.is_none() && !name.is_empty() {
            let names: Vec<&str> = self.schema.tables.keys().map(String::as_str).collect();
            self.mistake(name, "is no table of the database", format!("it has {}", names.join(", ")));
        }
        found
    }

    fn column(&mut self, table: &str, schema: &'a TableSchema, column: &str) -> Option<&'a Column> {
        let found = schema.columns.get(column);
        if found.is_none() && !column.is_empty() {
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
            let what = format!("is {}, and a key is an integer or a text", declared(column));
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
    ) -> Option<Vec<FieldShape>> {
        for column in secret {
            // One that is mapped too is looked for below.
            if !fields.contains_key(column) {
                self.column(table, schema, column);
            }
        }
        let mut shapes = Vec::new();
        for (name, policy) in fields {
            let place = format!("{table}.{name}");
            let Some(column) = self.column(table, schema, name) else { continue };
            if column.kind == ColumnKind::Other {
                let what = format!("is {}, which a document cannot have", declared(column));
                self.mistake(&*place, what, "take it out of fields");
            }
            if *policy == Policy::TextMerge && column.kind != ColumnKind::Text {
                let what = format!("is {}, and text_merge is for texts", declared(column));
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

fn declared(column: &Column) -> &str {
    if column.declared.is_empty() { "of no type" } else { &column.declared }
}
