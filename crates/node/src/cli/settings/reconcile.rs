//! Sources as they stand in a settings file, and as JSON.

use std::collections::BTreeSet;

use gangline_reconcile::Fields;
use serde_json::{Map, Value, json};

use super::{quoted, toml_key};
use crate::config::{Origin, ReconcileSettings, Unit};

/// A table of the settings file: its header, and its settings with their origins.
pub(super) struct Section {
    /// `[[reconcile]]`, `[reconcile.root]` or `[[reconcile.list]]`.
    pub(super) header: &'static str,
    /// Key, value in TOML, value in JSON, who said so.
    pub(super) settings: Vec<(&'static str, String, Value, Origin)>,
}

/// A source's tables, in the order in which they are written. Passwords are masked, variables left as they are.
pub(super) fn sections(source: &ReconcileSettings) -> Vec<Section> {
    let mapping = &source.mapping;
    let (poll, sweep) = (Unit::Time.show(source.poll_ms), Unit::Time.show(source.sweep_ms));
    let mut head = Writer::new("[[reconcile]]", source, String::new());
    head.text("name", &mapping.name);
    head.text("database", &source.database.shown);
    head.text("mode", &mapping.mode.to_string());
    head.text("key", source.key.name());
    head.text("poll", poll.trim_matches('"'));
    head.text("sweep", sweep.trim_matches('"'));
    let mut root = Writer::new("[reconcile.root]", source, "root.".to_owned());
    root.text("table", &mapping.root.table);
    root.text("key", &mapping.root.key);
    root.optional("version", mapping.root.version.as_deref());
    root.text("document", &mapping.root.document.template(&mapping.root.key));
    root.optional("soft_delete", mapping.root.soft_delete.as_deref());
    root.fields(&mapping.root.fields);
    root.secret(&mapping.root.secret);
    let mut sections = vec![head.section, root.section];
    for (number, list) in mapping.lists.iter().enumerate() {
        let mut table = Writer::new("[[reconcile.list]]", source, format!("list.{number}."));
        table.text("table", &list.table);
        table.text("parent", &list.parent);
        table.text("key", &list.key);
        table.fields(&list.fields);
        if !list.refs.is_empty() {
            table.table("refs", list.refs.iter().map(|(column, target)| (&**column, target.clone())));
        }
        table.secret(&list.secret);
        sections.push(table.section);
    }
    sections
}

/// A source as one object; with origins, each value is `{value, origin}`.
pub(super) fn object(source: &ReconcileSettings, with_origin: bool) -> Value {
    let mut whole = Map::new();
    let mut lists = Vec::new();
    for section in sections(source) {
        let settings = section.settings.into_iter().map(|(key, _, value, origin)| {
            let value = match with_origin {
                true => json!({ "value": value, "origin": origin.to_string() }),
                false => value,
            };
            (key.to_owned(), value)
        });
        match section.header {
            "[[reconcile]]" => whole.extend(settings),
            "[reconcile.root]" => {
                whole.insert("root".into(), settings.collect());
            }
            _ => lists.push(settings.collect::<Value>()),
        }
    }
    whole.insert("list".into(), Value::Array(lists));
    Value::Object(whole)
}

struct Writer<'a> {
    section: Section,
    source: &'a ReconcileSettings,
    path: String,
}

impl<'a> Writer<'a> {
    fn new(header: &'static str, source: &'a ReconcileSettings, path: String) -> Self {
        Self { section: Section { header, settings: Vec::new() }, source, path }
    }

    fn put(&mut self, key: &'static str, text: String, value: Value) {
        let origin = self.source.origins.setting(&format!("{}{key}", self.path));
        self.section.settings.push((key, text, value, origin));
    }

    fn text(&mut self, key: &'static str, value: &str) {
        self.put(key, quoted(value), json!(value));
    }

    fn optional(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn fields(&mut self, fields: &Fields) {
        self.table("fields", fields.iter().map(|(column, policy)| (&**column, policy.to_string())));
    }

    fn table<'t>(&mut self, key: &'static str, entries: impl Iterator<Item = (&'t str, String)>) {
        let entries: Vec<_> = entries.collect();
        let texts: Vec<String> =
            entries.iter().map(|(name, value)| format!("{} = {}", toml_key(name), quoted(value))).collect();
        let text = if texts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", texts.join(", ")) };
        let value = entries.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        self.put(key, text, Value::Object(value));
    }

    fn secret(&mut self, columns: &BTreeSet<String>) {
        if columns.is_empty() {
            return;
        }
        let texts: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
        self.put("secret", format!("[{}]", texts.join(", ")), json!(columns));
    }
}
