//! The tables that say who is let in and by which certificate: `[trust]` and `[tls]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bft_json_crdt::keypair::AuthorId;
use gangline_trust::{Listed, Rights};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{FileLayer, Reader};
use crate::config::{Sourced, TlsSettings, public_key, suggest};

impl Reader<'_> {
    pub(super) fn trust(&mut self, value: &Spanned<DeValue<'_>>, layer: &mut FileLayer) {
        let Some(table) = value.get_ref().as_table() else {
            let hint = "write [trust] and below it name = \"ed25519:…\"";
            self.mistake(value.span(), "`trust` is a table".into(), Some(hint.into()));
            return;
        };
        let mut trusted: BTreeMap<AuthorId, Listed> = BTreeMap::new();
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            if name == "allow_v1" {
                layer.allow_v1 = self.boolean("trust.allow_v1", value);
                continue;
            }
            if name == "on_equivocation" {
                layer.stops_equivocators = self.on_equivocation(value);
                continue;
            }
            let entry = match value.get_ref().as_table() {
                Some(entry) => match self.listed(name, value, entry) {
                    Some(entry) => Some(entry),
                    None => continue,
                },
                None => {
                    // Both ways round are understood: name = "key" and key = "name".
                    let text = value.get_ref().as_str();
                    let entry = match (text.and_then(public_key), public_key(name)) {
                        (Some(key), _) => Some((key, name.to_owned())),
                        (None, Some(key)) => text.map(|text| (key, text.to_owned())),
                        (None, None) => None,
                    };
                    entry.map(|(key, name)| (key, Listed { name, rights: Rights::MEMBER }))
                }
            };
            let Some((author, listed)) = entry else {
                let hint = match suggest::nearest(name, &["allow_v1", "on_equivocation"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => NOT_A_KEY.into(),
                };
                self.mistake(value.span(), format!("`trust.{name}` is not a public key"), Some(hint));
                continue;
            };
            let name = listed.name.clone();
            if let Some(other) = trusted.insert(author, listed) {
                self.mistake(value.span(), format!("`{}` and `{name}` are one key", other.name), None);
            }
        }
        if !trusted.is_empty() {
            layer.trusted = Some(Sourced { value: trusted, origin: self.origin(&value.span()) });
        }
    }

    /// Reads `name = { key = "ed25519:…", may = ["connect", "read"] }`.
    fn listed(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        table: &DeTable<'_>,
    ) -> Option<(AuthorId, Listed)> {
        let before = self.mistakes.len();
        let (mut author, mut rights) = (None, Rights::MEMBER);
        for (key, value) in table.iter() {
            match key.get_ref().as_ref() {
                "key" => {
                    author = value.get_ref().as_str().and_then(public_key);
                    if author.is_none() {
                        let message = format!("`trust.{name}.key` is not a public key");
                        self.mistake(value.span(), message, Some(NOT_A_KEY.into()));
                    }
                }
                "may" => rights = self.rights(&format!("trust.{name}.may"), value),
                other => self.unknown(key.span(), &format!("trust.{name}."), other, &["key", "may"]),
            }
        }
        if self.mistakes.len() > before {
            return None;
        }
        if author.is_none() {
            self.mistake(value.span(), format!("`trust.{name}` names no `key`"), Some(NOT_A_KEY.into()));
        }
        Some((author?, Listed { name: name.to_owned(), rights }))
    }

    fn rights(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Rights {
        let mut rights = Rights::NONE;
        let Some(words) = self.strings(name, value) else { return rights };
        for word in &words.value {
            match word.parse::<Rights>() {
                Ok(right) => rights |= right,
                Err(_) => {
                    let hint = match suggest::nearest(word, &Rights::names()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("known here: {}", Rights::names().join(", ")),
                    };
                    self.mistake(
                        value.span(),
                        format!("`{name}` has `{word}`, which is no right"),
                        Some(hint),
                    );
                }
            }
        }
        if words.value.is_empty() {
            let hint = format!("known here: {}", Rights::names().join(", "));
            self.mistake(value.span(), format!("`{name}` is empty: the key may nothing"), Some(hint));
        }
        rights
    }

    pub(super) fn tls(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Sourced<TlsSettings>> {
        const HINT: &str = "write cert and key (files in PEM), or self_signed = true";
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(value.span(), "`tls` is a table".into(), Some(HINT.into()));
            return None;
        };
        let before = self.mistakes.len();
        let (mut cert, mut key, mut self_signed) = (None, None, false);
        for (name, value) in table.iter() {
            match name.get_ref().as_ref() {
                "cert" => cert = self.string("tls.cert", value),
                "key" => key = self.string("tls.key", value),
                "self_signed" => {
                    self_signed = self.boolean("tls.self_signed", value).is_some_and(|flag| flag.value);
                }
                other => self.unknown(name.span(), "tls.", other, &["cert", "key", "self_signed"]),
            }
        }
        if self.mistakes.len() > before {
            return None;
        }
        let found = match (cert, key, self_signed) {
            (Some(cert), Some(key), false) => {
                Ok(TlsSettings::Files { cert: PathBuf::from(cert.value), key: PathBuf::from(key.value) })
            }
            (None, None, true) => Ok(TlsSettings::SelfSigned),
            (None, None, false) => Err("`tls` names no certificate"),
            (Some(_), None, false) => Err("`tls.cert` stands without `tls.key`"),
            (None, Some(_), false) => Err("`tls.key` stands without `tls.cert`"),
            (Some(_), _, true) | (None, Some(_), true) => Err("`tls.self_signed` stands beside files"),
        };
        match found {
            Ok(found) => Some(Sourced { value: found, origin: self.origin(&value.span()) }),
            Err(message) => {
                self.mistake(value.span(), message.into(), Some(HINT.into()));
                None
            }
        }
    }
}

const NOT_A_KEY: &str = "a name and a public key: swift-otter = \"ed25519:\" and 64 hex digits; \
    `gangline key show` on the other machine prints it";
