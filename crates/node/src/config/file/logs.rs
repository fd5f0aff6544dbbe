//! The tables of logs and their leases: `[log_store]` and `[lease]`.

use toml::Spanned;
use toml::de::DeValue;

use super::Reader;
use crate::config::Sourced;
use crate::config::limits::Unit;
use crate::config::logs::{LeaseKeeper, LogBackend, LogLayer};

impl Reader<'_> {
    pub(super) fn log_store(&mut self, value: &Spanned<DeValue<'_>>, layer: &mut LogLayer) {
        let Some(table) = value.get_ref().as_table() else {
            let hint = "write [log_store] and below it backend = \"sqlite\"";
            self.mistake(value.span(), "`log_store` is a table".into(), Some(hint.into()));
            return;
        };
        for (key, value) in table.iter() {
            match key.get_ref().as_ref() {
                "backend" => {
                    layer.backend = self.one_of("log_store.backend", value, &LogBackend::NAMES);
                }
                "path" => layer.path = self.string("log_store.path", value),
                other => self.unknown(key.span(), "log_store.", other, &["backend", "path"]),
            }
        }
    }

    pub(super) fn lease(&mut self, value: &Spanned<DeValue<'_>>, layer: &mut LogLayer) {
        const KEYS: [&str; 5] = ["registry", "ttl", "coordinator", "advertise", "follow"];
        let Some(table) = value.get_ref().as_table() else {
            let hint = "write [lease] and below it ttl = \"10s\"";
            self.mistake(value.span(), "`lease` is a table".into(), Some(hint.into()));
            return;
        };
        for (key, value) in table.iter() {
            match key.get_ref().as_ref() {
                "registry" => layer.registry = self.one_of("lease.registry", value, &LeaseKeeper::NAMES),
                "ttl" => layer.ttl = self.time("lease.ttl", value),
                "coordinator" => layer.coordinator = self.string("lease.coordinator", value),
                "advertise" => layer.advertise = self.string("lease.advertise", value),
                "follow" => layer.follow = self.strings("lease.follow", value),
                other => self.unknown(key.span(), "lease.", other, &KEYS),
            }
        }
    }

    pub(super) fn one_of<T: Copy>(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        known: &[(&'static str, T)],
    ) -> Option<Sourced<T>> {
        let text = self.string(name, value)?;
        if let Some((_, found)) = known.iter().find(|(name, _)| *name == text.value) {
            return Some(Sourced { value: *found, origin: text.origin });
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let hint = match super::suggest::nearest(&text.value, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("known here: \"{}\"", names.join("\", \"")),
        };
        self.mistake(value.span(), format!("`{name}` = \"{}\" is not known", text.value), Some(hint));
        None
    }

    pub(super) fn time(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Sourced<u64>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(name, value, Unit::Time.expected());
            return None;
        };
        match Unit::Time.parse(text) {
            Ok(time) => Some(Sourced { value: time, origin: self.origin(&value.span()) }),
            Err(expected) => {
                self.mistake(value.span(), format!("`{name}`: {expected}"), None);
                None
            }
        }
    }
}
