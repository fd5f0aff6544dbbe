//! Reads a settings file. Everything wrong in it is reported at once, each with its line.

use std::collections::BTreeMap;
use std::ops::Range;

use bft_json_crdt::keypair::AuthorId;
use gangline_trust::Listed;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::limits::{self, Limits};
use super::logs::LogLayer;
use super::reconcile::ReconcileSettings;
use super::{Mistake, Origin, Sourced, TlsSettings, suggest};

mod logs;
pub(super) mod reconcile;
mod tables;

/// Keys at the top of the file.
pub(crate) const TOP: &[&str] = &[
    "rendezvous",
    "agent",
    "listen",
    "data_dir",
    "insecure",
    "trust",
    "tls",
    "log_store",
    "lease",
    "limits",
    "reconcile",
];

/// What a file says. Nothing is filled in.
#[derive(Debug, Default)]
pub(super) struct FileLayer {
    pub(super) listen: Option<Sourced<String>>,
    pub(super) data_dir: Option<Sourced<String>>,
    pub(super) rendezvous: Option<Sourced<Vec<String>>>,
    pub(super) agents: Option<Sourced<Vec<String>>>,
    pub(super) insecure: Option<Sourced<bool>>,
    pub(super) trusted: Option<Sourced<BTreeMap<AuthorId, Listed>>>,
    pub(super) tls: Option<Sourced<TlsSettings>>,
    pub(super) allow_v1: Option<Sourced<bool>>,
    pub(super) stops_equivocators: Option<Sourced<bool>>,
    pub(super) logs: LogLayer,
    pub(super) limits: Vec<(&'static str, Sourced<u64>)>,
    pub(super) reconcile: Vec<ReconcileSettings>,
}

/// Reads `text`, the content of the file that the user calls `path`. What it takes from the environment is in `env`.
///
/// # Errors
/// Every mistake in the file, in the order of its lines.
pub(super) fn read(
    path: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<FileLayer, Vec<Mistake>> {
    let mut reader = Reader { path, text, env, mistakes: Vec::new() };
    let mut layer = FileLayer::default();
    match DeTable::parse(text) {
        Ok(table) => reader.top(table.get_ref(), &mut layer),
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            reader.mistake(span, error.message().trim().replace('\n', ", "), None);
        }
    }
    if reader.mistakes.is_empty() {
        return Ok(layer);
    }
    reader.mistakes.sort_by_key(|mistake| mistake.line());
    Err(reader.mistakes)
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn top(&mut self, table: &DeTable<'_>, layer: &mut FileLayer) {
        for (key, value) in table.iter() {
            match key.get_ref().as_ref() {
                "listen" => layer.listen = self.string("listen", value),
                "data_dir" => layer.data_dir = self.string("data_dir", value),
                "rendezvous" => layer.rendezvous = self.strings("rendezvous", value),
                "insecure" => layer.insecure = self.boolean("insecure", value),
                "agent" => layer.agents = self.agents(value),
                "trust" => self.trust(value, layer),
                "tls" => layer.tls = self.tls(value),
                "log_store" => self.log_store(value, &mut layer.logs),
                "lease" => self.lease(value, &mut layer.logs),
                "limits" => self.limits(value, layer),
                "reconcile" => layer.reconcile = self.reconcile(value),
                other => self.unknown(key.span(), "", other, TOP),
            }
        }
    }

    fn agents(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Sourced<Vec<String>>> {
        let mut names = Vec::new();
        let Some(list) = value.get_ref().as_array() else {
            let hint = "write it with two brackets: [[agent]]";
            self.mistake(value.span(), "`agent` is a list of tables".into(), Some(hint.into()));
            return None;
        };
        for entry in list.iter() {
            let Some(table) = entry.get_ref().as_table() else {
                let hint = "write [[agent]] and below it name = \"coder-1\"";
                self.mistake(entry.span(), "an agent is a table".into(), Some(hint.into()));
                continue;
            };
            let mut name = None;
            for (key, value) in table.iter() {
                match key.get_ref().as_ref() {
                    "name" => name = Some((value.span(), self.string("agent.name", value))),
                    other => self.unknown(key.span(), "agent.", other, &["name"]),
                }
            }
            match name {
                None => self.mistake(entry.span(), "an agent needs a `name`".into(), None),
                Some((_, None)) => {}
                Some((span, Some(name))) if name.value.trim().is_empty() => {
                    self.mistake(span, "an agent's name is empty".into(), None);
                }
                Some((span, Some(name))) if names.contains(&name.value) => {
                    self.mistake(span, format!("two agents are called `{}`", name.value), None);
                }
                Some((_, Some(name))) => names.push(name.value),
            }
        }
        Some(Sourced { value: names, origin: self.origin(&value.span()) })
    }

    fn on_equivocation(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Sourced<bool>> {
        let stops = match value.get_ref().as_str() {
            Some("flag") => false,
            Some("stop") => true,
            Some(_) | None => {
                let hint = "\"flag\" shows it in `gangline status`; \"stop\" also lets in no more changes of that key";
                let message = "`trust.on_equivocation` is neither \"flag\" nor \"stop\"".to_owned();
                self.mistake(value.span(), message, Some(hint.into()));
                return None;
            }
        };
        Some(Sourced { value: stops, origin: self.origin(&value.span()) })
    }

    fn limits(&mut self, value: &Spanned<DeValue<'_>>, layer: &mut FileLayer) {
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(value.span(), "`limits` is a table".into(), Some("write [limits]".into()));
            return;
        };
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            let known = limits::NAMES.iter().find(|known| **known == name);
            let (Some(known), Some((unit, least))) = (known, Limits::spec(name)) else {
                self.unknown(key.span(), "limits.", name, limits::NAMES);
                continue;
            };
            let text = match value.get_ref() {
                DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
                DeValue::String(text) => text.as_ref(),
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => {
                    self.wrong_type(&format!("limits.{name}"), value, unit.expected());
                    continue;
                }
            };
            match unit.parse(text) {
                Ok(number) if number < least => {
                    let message =
                        format!("`limits.{name}` is below {}, the least it may be", unit.show(least));
                    self.mistake(value.span(), message, None);
                }
                Ok(number) => {
                    layer.limits.push((known, Sourced { value: number, origin: self.origin(&value.span()) }));
                }
                Err(expected) => self.mistake(value.span(), format!("`limits.{name}`: {expected}"), None),
            }
        }
    }

    fn string(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Sourced<String>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(name, value, "a string");
            return None;
        };
        Some(Sourced { value: text.to_owned(), origin: self.origin(&value.span()) })
    }

    fn strings(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Sourced<Vec<String>>> {
        let origin = self.origin(&value.span());
        if let Some(text) = value.get_ref().as_str() {
            return Some(Sourced { value: vec![text.to_owned()], origin });
        }
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(name, value, "a string or an array of strings");
            return None;
        };
        let texts: Vec<_> =
            list.iter().filter_map(|entry| self.string(name, entry)).map(|text| text.value).collect();
        Some(Sourced { value: texts, origin })
    }

    fn boolean(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Sourced<bool>> {
        let Some(flag) = value.get_ref().as_bool() else {
            self.wrong_type(name, value, "true or false");
            return None;
        };
        Some(Sourced { value: flag, origin: self.origin(&value.span()) })
    }

    fn wrong_type(&mut self, name: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = value.get_ref().type_str();
        self.mistake(value.span(), format!("`{name}` is {expected}, found {found}"), None);
    }

    fn unknown(&mut self, span: Range<usize>, prefix: &str, name: &str, known: &[&str]) {
        let hint = match suggest::nearest(name, known) {
            Some(near) => format!("did you mean `{prefix}{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.mistake(span, format!("unknown key `{prefix}{name}`"), Some(hint));
    }

    fn mistake(&mut self, span: Range<usize>, message: String, hint: Option<String>) {
        let origin = self.origin(&span);
        self.mistakes.push(Mistake { origin, message, hint });
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }
}
