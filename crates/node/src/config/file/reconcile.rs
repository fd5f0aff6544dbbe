//! The tables of sources: `[[reconcile]]`, `[reconcile.root]` and `[[reconcile.list]]`.

use std::collections::{BTreeMap, BTreeSet};

use gangline_reconcile::{DocumentName, Fields, ListTable, Mapping, Mode, Policy, RootTable};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::config::limits::Unit;
use crate::config::reconcile::{self, DatabasePlace, KeyFrom, Origins, ReconcileSettings};
use crate::config::{Origin, suggest};

/// Keys of a source.
pub(crate) const SOURCE: [&str; 8] = ["name", "database", "mode", "key", "poll", "sweep", "root", "list"];
/// Keys of its root table.
pub(crate) const ROOT: [&str; 7] = ["table", "key", "version", "document", "soft_delete", "fields", "secret"];
/// Keys of a list.
pub(crate) const LIST: [&str; 6] = ["table", "parent", "key", "fields", "refs", "secret"];

/// As they are written.
pub(crate) const MODES: [(&str, Mode); 2] = [("merge", Mode::Merge), ("mirror", Mode::Mirror)];
/// As they are written.
pub(crate) const POLICIES: [(&str, Policy); 6] = [
    ("db_wins", Policy::DbWins),
    ("doc_wins", Policy::DocWins),
    ("keep_both", Policy::KeepBoth),
    ("db_owned", Policy::DbOwned),
    ("doc_owned", Policy::DocOwned),
    ("text_merge", Policy::TextMerge),
];

/// How often a database is asked: by default, at least and at most, in milliseconds.
const POLL: (u64, u64, u64) = (20, 1, 60_000);
/// How often all of it is looked through.
const SWEEP: (u64, u64, u64) = (60_000, 1_000, 86_400_000);

type Value<'a> = Spanned<DeValue<'a>>;

/// What is being read, for messages and origins.
struct Source {
    name: String,
    origins: Origins,
}

impl Reader<'_> {
    pub(super) fn reconcile(&mut self, value: &Value<'_>) -> Vec<ReconcileSettings> {
        let Some(entries) = value.get_ref().as_array() else {
            let hint = "write it with two brackets: [[reconcile]]";
            self.mistake(value.span(), "`reconcile` is a list of tables".into(), Some(hint.into()));
            return Vec::new();
        };
        let mut sources: Vec<ReconcileSettings> = Vec::new();
        for entry in entries.iter() {
            let Some(table) = entry.get_ref().as_table() else {
                let hint = "write [[reconcile]] and below it name = \"…\"";
                self.mistake(entry.span(), "a source is a table".into(), Some(hint.into()));
                continue;
            };
            if let Some(source) = self.source(entry, table) {
                self.beside(&source, &sources);
                sources.push(source);
            }
        }
        sources
    }

    /// What is wrong with a source because of those before it.
    fn beside(&mut self, source: &ReconcileSettings, others: &[ReconcileSettings]) {
        let mapping = &source.mapping;
        for other in others {
            if other.mapping.name == mapping.name {
                let origin = source.origins.setting("name");
                let message = format!("reconcile {:?}: name: two sources have it", mapping.name);
                self.mistakes.push(super::Mistake {
                    origin,
                    message,
                    hint: Some("name one differently; keys and documents go by it".into()),
                });
            }
            let (root, theirs) = (&mapping.root, &other.mapping.root);
            if root.document.overlaps(&theirs.document) {
                let origin = source.origins.setting("root.document");
                let template = root.document.template(&root.key);
                let message = format!(
                    "reconcile {:?}: {}: document {template:?} could be one of {:?}, {:?}",
                    mapping.name,
                    root.table,
                    other.mapping.name,
                    theirs.document.template(&theirs.key),
                );
                let hint = Some("begin the two with different words".into());
                self.mistakes.push(super::Mistake { origin, message, hint });
            }
        }
    }

    fn source(&mut self, entry: &Value<'_>, table: &DeTable<'_>) -> Option<ReconcileSettings> {
        let before = self.mistakes.len();
        let named = table.get("name").and_then(|name| name.get_ref().as_str());
        let source = self.origin(&entry.span());
        let origins = Origins { source, settings: BTreeMap::new(), places: BTreeMap::new() };
        let mut at = Source { name: named.unwrap_or_default().to_owned(), origins };
        let mut database: Option<DatabasePlace> = None;
        let (mut mode, mut key, mut poll_ms, mut sweep_ms) =
            (Mode::default(), KeyFrom::default(), POLL.0, SWEEP.0);
        let (mut root, mut lists) = (None, Vec::new());
        for (name, value) in table.iter() {
            let name = name.get_ref().as_ref();
            at.origins.settings.insert(name.to_owned(), self.origin(&value.span()));
            match name {
                "name" => {
                    self.string("reconcile.name", value);
                }
                "database" => database = self.database(&at, value),
                "mode" => {
                    mode = self.one_of("reconcile.mode", value, &MODES).map_or(mode, |mode| mode.value);
                }
                "key" => {
                    key = self.one_of("reconcile.key", value, &KeyFrom::NAMES).map_or(key, |key| key.value);
                }
                "poll" => poll_ms = self.interval("reconcile.poll", value, POLL),
                "sweep" => sweep_ms = self.interval("reconcile.sweep", value, SWEEP),
                "root" => root = self.root_table(&mut at, value),
                "list" => lists = self.lists(&mut at, value),
                _ => {}
            }
        }
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if !SOURCE.contains(&name) {
                self.unknown(key.span(), "reconcile.", name, &SOURCE);
            }
        }
        for (key, hint) in [
            ("name", "write for example name = \"workflows\""),
            ("database", "write for example database = \"sqlite:app.db\""),
            ("root", "write [reconcile.root] and below it table, key and document"),
        ] {
            if table.get(key).is_none() {
                let message = match named {
                    Some(named) => format!("reconcile {named:?}: {key}: is missing"),
                    None => format!("a source needs a `{key}`"),
                };
                self.mistake(entry.span(), message, Some(hint.into()));
            }
        }
        let mapping = Mapping { name: at.name, mode, root: root?, lists };
        if named.is_some() {
            let mistakes = mapping.mistakes().into_iter().map(|mistake| at.origins.mistake(mistake));
            self.mistakes.extend(mistakes);
        }
        // Also a source that is wrong in itself is compared with the others, so that all is told at once.
        match database {
            Some(database) => {
                Some(ReconcileSettings { mapping, database, key, poll_ms, sweep_ms, origins: at.origins })
            }
            None => {
                debug_assert!(self.mistakes.len() > before, "no database is a mistake");
                None
            }
        }
    }

    fn database(&mut self, at: &Source, value: &Value<'_>) -> Option<DatabasePlace> {
        let written = self.string("reconcile.database", value)?;
        match reconcile::place(&written.value, self.env) {
            Ok(place) => Some(place),
            Err((what, hint)) => {
                let message = format!("reconcile {:?}: {what}", at.name);
                self.mistake(value.span(), message, Some(hint));
                None
            }
        }
    }

    fn interval(&mut self, name: &str, value: &Value<'_>, (default, least, most): (u64, u64, u64)) -> u64 {
        let Some(time) = self.time(name, value) else { return default };
        if time.value < least || time.value > most {
            let [least, most] = [least, most].map(|time| Unit::Time.show(time));
            let message = format!("`{name}` is not between {least} and {most}");
            self.mistake(value.span(), message, None);
        }
        time.value
    }

    fn root_table(&mut self, at: &mut Source, value: &Value<'_>) -> Option<RootTable> {
        let Some(table) = value.get_ref().as_table() else {
            let hint = "write it with one bracket: [reconcile.root]";
            self.mistake(value.span(), "`reconcile.root` is one table".into(), Some(hint.into()));
            return None;
        };
        let mut reading = self.begin(at, "root", table, &ROOT);
        let [key, version, soft_delete] =
            ["key", "version", "soft_delete"].map(|name| reading.column(self, at, name));
        let key = key.unwrap_or_default();
        let document = self.document(at, &reading, &key);
        Some(RootTable {
            document,
            version,
            soft_delete,
            fields: reading.fields(self, at),
            secret: reading.secret(self, at),
            table: reading.table,
            key,
        })
    }

    /// The template; where it is wrong, one that is never used.
    fn document(&mut self, at: &Source, reading: &Reading<'_, '_>, key: &str) -> DocumentName {
        let stand_in = || DocumentName::parse("x-{x}", "x").expect("names the key once");
        let Some(value) = reading.of.get("document") else {
            let key = if key.is_empty() { "id" } else { key };
            let hint = format!("write for example document = \"workflow:{{{key}}}\"");
            let origin = reading.origin.clone();
            let place = if reading.table.is_empty() { &reading.section } else { &reading.table };
            let message = format!("reconcile {:?}: {place}: has no document", at.name);
            self.mistakes.push(super::Mistake { origin, message, hint: Some(hint) });
            return stand_in();
        };
        let Some(template) = self.string("reconcile.root.document", value) else { return stand_in() };
        match DocumentName::parse(&template.value, key) {
            Ok(document) => document,
            // Without a key there is nothing to name.
            Err(_) if key.is_empty() => stand_in(),
            Err(error) => {
                let message = format!("reconcile {:?}: {}: {error}", at.name, reading.table);
                self.mistake(value.span(), message, None);
                stand_in()
            }
        }
    }

    fn lists(&mut self, at: &mut Source, value: &Value<'_>) -> Vec<ListTable> {
        let Some(entries) = value.get_ref().as_array() else {
            let hint = "write it with two brackets: [[reconcile.list]]";
            self.mistake(value.span(), "`reconcile.list` is a list of tables".into(), Some(hint.into()));
            return Vec::new();
        };
        let mut lists = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            let Some(table) = entry.get_ref().as_table() else {
                let hint = "write [[reconcile.list]] and below it table = \"…\"";
                self.mistake(entry.span(), "a list is a table".into(), Some(hint.into()));
                continue;
            };
            let mut reading = self.begin(at, &format!("list.{number}"), table, &LIST);
            let [key, parent] =
                ["key", "parent"].map(|name| reading.column(self, at, name).unwrap_or_default());
            lists.push(ListTable {
                key,
                parent,
                fields: reading.fields(self, at),
                refs: reading.refs(self, at),
                secret: reading.secret(self, at),
                table: reading.table,
            });
        }
        lists
    }

    /// Notes where everything of a table stands, and names keys that nobody knows.
    fn begin<'t, 'v>(
        &mut self,
        at: &mut Source,
        path: &str,
        of: &'t DeTable<'v>,
        known: &[&str],
    ) -> Reading<'t, 'v> {
        let section = path.split('.').next().unwrap_or(path);
        for (key, value) in of.iter() {
            let name = key.get_ref().as_ref();
            at.origins.settings.insert(format!("{path}.{name}"), self.origin(&value.span()));
            if !known.contains(&name) {
                self.unknown(key.span(), &format!("reconcile.{section}."), name, known);
            }
        }
        let value = of.get("table");
        let table = value.and_then(|value| self.string(&format!("reconcile.{section}.table"), value));
        // A table of settings has no place of its own but that of the first thing in it.
        let first = of.iter().map(|(key, _)| key.span()).min_by_key(|span| span.start);
        let origin = match (&table, first) {
            (Some(table), _) => table.origin.clone(),
            (None, Some(first)) => self.origin(&first),
            (None, None) => at.origins.source.clone(),
        };
        let table = table.map(|table| table.value).unwrap_or_default();
        // The latter of two lists of one table is the one too many.
        at.origins.places.insert(table.clone(), origin.clone());
        at.origins.places.entry(section.to_owned()).or_insert_with(|| origin.clone());
        Reading { section: section.to_owned(), table, origin, of }
    }

    /// Says what is wrong with a column.
    fn wrong(&mut self, at: &Source, value: &Value<'_>, place: &str, what: &str, hint: String) {
        let message = format!("reconcile {:?}: {place}: {what}", at.name);
        self.mistake(value.span(), message, Some(hint));
    }
}

/// A table of the database as it is being read.
struct Reading<'t, 'v> {
    /// `root` or `list`.
    section: String,
    table: String,
    origin: Origin,
    of: &'t DeTable<'v>,
}

impl Reading<'_, '_> {
    /// Notes where a column stands that mistakes may name.
    fn place(&self, reader: &Reader<'_>, at: &mut Source, column: &str, value: &Value<'_>) {
        let place = format!("{}.{column}", self.table);
        at.origins.places.insert(place, reader.origin(&value.span()));
    }

    fn column(&mut self, reader: &mut Reader<'_>, at: &mut Source, name: &str) -> Option<String> {
        let value = self.of.get(name)?;
        let column = reader.string(&format!("reconcile.{}.{name}", self.section), value)?;
        self.place(reader, at, &column.value, value);
        Some(column.value)
    }

    fn fields(&mut self, reader: &mut Reader<'_>, at: &mut Source) -> Fields {
        let mut fields = Fields::new();
        let known = POLICIES.map(|(name, _)| name);
        let example = "write fields = { name = \"db_wins\", body = \"text_merge\" }";
        for (column, value) in self.entries(reader, "fields", example) {
            let place = format!("{}.{column}", self.table);
            self.place(reader, at, column, value);
            let Some(word) = value.get_ref().as_str() else {
                let hint = format!("known here: {}", known.join(", "));
                reader.wrong(at, value, &place, "has no rule", hint);
                continue;
            };
            match POLICIES.iter().find(|(name, _)| *name == word) {
                Some((_, policy)) => {
                    fields.insert(column.to_owned(), *policy);
                }
                None => {
                    let hint = match suggest::nearest(word, &known) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!("known here: {}", known.join(", ")),
                    };
                    reader.wrong(at, value, &place, &format!("{word:?} is no rule"), hint);
                    // The column is there, so nothing that refers to it is wrong.
                    fields.insert(column.to_owned(), Policy::DbWins);
                }
            }
        }
        fields
    }

    fn refs(&mut self, reader: &mut Reader<'_>, at: &mut Source) -> BTreeMap<String, String> {
        let mut refs = BTreeMap::new();
        let example = "write refs = { source_job_id = \"jobs\" }";
        for (column, value) in self.entries(reader, "refs", example) {
            self.place(reader, at, column, value);
            match value.get_ref().as_str() {
                Some(target) => {
                    refs.insert(column.to_owned(), target.to_owned());
                }
                None => {
                    let place = format!("{}.{column}", self.table);
                    reader.wrong(at, value, &place, "names no table", example.to_owned());
                }
            }
        }
        refs
    }

    fn secret(&mut self, reader: &mut Reader<'_>, at: &mut Source) -> BTreeSet<String> {
        let Some(value) = self.of.get("secret") else { return BTreeSet::new() };
        let name = format!("reconcile.{}.secret", self.section);
        let columns = reader.strings(&name, value).map(|columns| columns.value).unwrap_or_default();
        for column in &columns {
            self.place(reader, at, column, value);
        }
        columns.into_iter().collect()
    }

    /// What a table has, by column; nothing and a mistake where it is none.
    fn entries(&self, reader: &mut Reader<'_>, name: &str, example: &str) -> Vec<(&str, &Value<'_>)> {
        let Some(value) = self.of.get(name) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            let message = format!("`reconcile.{}.{name}` is a table", self.section);
            reader.mistake(value.span(), message, Some(example.to_owned()));
            return Vec::new();
        };
        table.iter().map(|(column, value)| (column.get_ref().as_ref(), value)).collect()
    }
}
