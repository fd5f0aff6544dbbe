//! What is wrong with a mapping whatever the database has.

use std::collections::BTreeSet;

use super::{Fields, Mapping, Policy};
use crate::schema::MappingMistake;

/// Names that a document keeps for itself begin with this.
const OWN: char = '$';

pub(super) fn mistakes(mapping: &Mapping) -> Vec<MappingMistake> {
    let mut check = Check { mapping, mistakes: Vec::new() };
    check.name();
    check.root();
    check.lists();
    check.mistakes
}

/// A column that is named beside the fields: as what, and which.
type Role<'a> = (&'static str, Option<&'a String>);

struct Check<'a> {
    mapping: &'a Mapping,
    mistakes: Vec<MappingMistake>,
}

impl Check<'_> {
    fn mistake(&mut self, place: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.push(MappingMistake {
            source_name: self.mapping.name.clone(),
            place: place.into(),
            what: what.into(),
            hint: hint.into(),
        });
    }

    fn name(&mut self) {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let name = &self.mapping.name;
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            self.mistake("name", "is not a name", "take 1 to 64 of a-z, 0-9, _ and -");
        }
    }

    fn root(&mut self) {
        let root = &self.mapping.root;
        let roles = [
            ("key", Some(&root.key)),
            ("version", root.version.as_ref()),
            ("soft_delete", root.soft_delete.as_ref()),
        ];
        self.table("root", &root.table, &roles);
        self.once(&root.table, &roles);
        if root.fields.is_empty() && self.mapping.lists.is_empty() {
            let place = if root.table.is_empty() { "root" } else { &root.table };
            self.mistake(place, "has no fields and no lists", "write fields = { name = \"db_wins\" }");
        }
        self.secrets(&root.table, &root.fields, &root.secret, &roles);
        // What soft_delete names is a field, and may be listed as what it is.
        let [key, version, soft_delete] = roles;
        self.fields(&root.table, &root.fields, &[key, version]);
        if let (_, Some(column)) = soft_delete
            && root.fields.get(column).is_some_and(|policy| *policy != Policy::DbOwned)
        {
            let place = format!("{}.{column}", root.table);
            self.mistake(place, "is soft_delete, which only the database changes", "take it out of fields");
        }
    }

    fn lists(&mut self) {
        let (root, lists) = (&self.mapping.root, &self.mapping.lists);
        let mut seen = BTreeSet::new();
        for list in lists {
            let roles = [("key", Some(&list.key)), ("parent", Some(&list.parent))];
            self.table("list", &list.table, &roles);
            if list.table == root.table {
                let hint = "a row is in one place of a document; read the others through a view";
                self.mistake(&*list.table, "is the root's table", hint);
            } else if !seen.insert(&list.table) {
                self.mistake(&*list.table, "is listed twice", "keep one [[reconcile.list]] for each table");
            }
            if root.fields.contains_key(&list.table) {
                let what = format!("has the name of a field of {}", root.table);
                self.mistake(&*list.table, what, "leave the field out, or read the table through a view");
            }
            self.fields(&list.table, &list.fields, &roles);
            self.secrets(&list.table, &list.fields, &list.secret, &roles);
            for (column, target) in &list.refs {
                let place = || format!("{}.{column}", list.table);
                if !list.fields.contains_key(column) {
                    self.mistake(place(), "is a reference and no field", "add it to fields");
                }
                if !lists.iter().any(|list| list.table == *target) {
                    let what = format!("names {target}, which is no list of this source");
                    self.mistake(place(), what, "name the table of a [[reconcile.list]]");
                }
            }
        }
    }

    fn table(&mut self, what: &str, table: &str, roles: &[Role<'_>]) {
        if table.is_empty() {
            self.mistake(what, "names no table", "write table = \"…\", a table of the database");
        }
        if table.starts_with(OWN) {
            self.mistake(table, "begins with $", "read the table through a view with another name");
        }
        for (role, column) in roles {
            if column.is_some_and(String::is_empty) {
                let place = if table.is_empty() { what } else { table };
                self.mistake(
                    place,
                    format!("has no {role}"),
                    format!("write {role} = \"…\", a column of it"),
                );
            }
        }
    }

    /// No column is two things at once. A list may have its key as its parent: one row for each root row.
    fn once(&mut self, table: &str, roles: &[Role<'_>]) {
        let mut rest = roles;
        while let Some(((role, column), after)) = rest.split_first() {
            rest = after;
            let column = column.filter(|column| !column.is_empty());
            let other = after.iter().find(|(_, other)| column.is_some() && *other == column);
            if let (Some(column), Some((other, _))) = (column, other) {
                let what = format!("is {role} and {other}");
                self.mistake(format!("{table}.{column}"), what, "name another column, or leave one out");
            }
        }
    }

    fn fields(&mut self, table: &str, fields: &Fields, roles: &[Role<'_>]) {
        for name in fields.keys() {
            let place = || format!("{table}.{name}");
            if name.is_empty() {
                self.mistake(table, "has a field without a name", "name a column of the table");
            }
            if name.starts_with(OWN) {
                self.mistake(place(), "begins with $", "read the table through a view with another name");
            }
            if let Some((role, _)) = roles.iter().find(|(_, column)| *column == Some(name)) {
                self.mistake(place(), format!("is the {role} already"), "take it out of fields");
            }
        }
    }

    fn secrets(&mut self, table: &str, fields: &Fields, secret: &BTreeSet<String>, roles: &[Role<'_>]) {
        for column in secret {
            let role = roles.iter().find(|(_, used)| *used == Some(column)).map(|(role, _)| *role);
            if let Some(role) = role.or_else(|| fields.contains_key(column).then_some("a field")) {
                let what = format!("is secret, and {role} too");
                self.mistake(format!("{table}.{column}"), what, "take it out of one of the two");
            }
        }
    }
}
