//! `gangline config schema`: what a settings file may say, as JSON Schema, for editors.

use gangline_trust::Rights;
use serde_json::{Map, Value, json};

use crate::config::{KeyFrom, LeaseKeeper, Limits, LogBackend, MODES, POLICIES, Unit};

/// The schema (draft 2020-12).
pub(super) fn schema() -> Value {
    let texts = || json!({ "oneOf": [text(""), { "type": "array", "items": text("") }] });
    let mut limits = Map::new();
    for (name, unit, limit) in Limits::default().each() {
        let shown = unit.show(limit.value);
        let default = match shown.strip_prefix('"') {
            Some(text) => json!(text.trim_end_matches('"')),
            None => json!(limit.value),
        };
        let mut property = match unit {
            Unit::Count => json!({ "type": "integer" }),
            Unit::Bytes => json!({ "type": ["integer", "string"] }),
            Unit::Time => json!({ "type": "string" }),
        };
        if let Some(property) = property.as_object_mut() {
            property.insert("description".into(), json!(unit.expected()));
            property.insert("default".into(), default);
        }
        limits.insert(name.to_owned(), property);
    }
    let listed = table(
        "A key, with what it may do",
        &["key"],
        json!({
            "key": text("ed25519: and 64 hex digits"),
            "may": { "type": "array", "items": { "enum": Rights::names() } },
        }),
    );
    let mut whole = table(
        "Settings of gangline",
        &[],
        json!({
            "listen": text("The address to listen on; port 0 picks one"),
            "data_dir": text("Where the key, the tokens and the log live"),
            "rendezvous": texts(),
            "insecure": { "type": "boolean", "default": false },
            "agent": { "type": "array", "items": table("An agent", &["name"], json!({ "name": text("") })) },
            "trust": {
                "type": "object",
                "properties": {
                    "allow_v1": { "type": "boolean", "default": false },
                    "on_equivocation": { "enum": ["flag", "stop"] },
                },
                "additionalProperties": { "oneOf": [text("A public key"), listed] },
            },
            "tls": table("The certificate to serve with", &[], json!({
                "cert": text("A file in PEM"), "key": text("A file in PEM"), "self_signed": { "type": "boolean" },
            })),
            "log_store": table("Where logs live", &[], json!({
                "backend": { "enum": LogBackend::NAMES.map(|(name, _)| name) }, "path": text("A folder"),
            })),
            "lease": table("Who grants leases", &[], json!({
                "registry": { "enum": LeaseKeeper::NAMES.map(|(name, _)| name) },
                "ttl": text(Unit::Time.expected()),
                "coordinator": text("http://host:port"),
                "advertise": text("http://host:port"),
                "follow": texts(),
            })),
            "limits": table("Bounds", &[], Value::Object(limits)),
            "reconcile": { "type": "array", "items": source() },
        }),
    );
    if let Some(whole) = whole.as_object_mut() {
        whole.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    }
    whole
}

fn source() -> Value {
    let fields = json!({
        "type": "object",
        "additionalProperties": { "enum": POLICIES.map(|(name, _)| name) },
        "description": "The columns that a document has, each with who prevails",
    });
    let secret = json!({ "type": "array", "items": text("A column that is never read nor written") });
    let root = table(
        "The table whose rows have a document each",
        &["table", "key", "document"],
        json!({
            "table": text("Its name"),
            "key": text("The column that names a row"),
            "version": text("A column of integers that rises with each version"),
            "document": text("How the document of a row is called: workflow:{id}"),
            "soft_delete": text("A column that is not null in rows that count as deleted"),
            "fields": fields,
            "secret": secret,
        }),
    );
    let list = table(
        "A table whose rows belong to a root row each",
        &["table", "parent", "key"],
        json!({
            "table": text("Its name"),
            "parent": text("The column that holds the root row's key"),
            "key": text("The column that names a row"),
            "fields": fields,
            "refs": { "type": "object", "additionalProperties": text("The table of a list") },
            "secret": secret,
        }),
    );
    table(
        "A database that documents follow",
        &["name", "database", "root"],
        json!({
            "name": { "type": "string", "pattern": "^[a-z0-9_-]{1,64}$" },
            "database": text("sqlite:PATH; ${NAME} is taken from the environment"),
            "mode": { "enum": MODES.map(|(name, _)| name), "default": "merge" },
            "key": { "enum": KeyFrom::NAMES.map(|(name, _)| name), "default": "create" },
            "poll": text(Unit::Time.expected()),
            "sweep": text(Unit::Time.expected()),
            "root": root,
            "list": { "type": "array", "items": list },
        }),
    )
}

fn text(description: &str) -> Value {
    match description {
        "" => json!({ "type": "string" }),
        _ => json!({ "type": "string", "description": description }),
    }
}

fn table(description: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object", "description": description, "additionalProperties": false,
        "required": required, "properties": properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LIMIT_NAMES, LIST, ROOT, SOURCE, TOP};

    #[test]
    fn the_schema_has_exactly_the_keys_that_are_read() {
        let schema = schema();
        let keys = |pointer: &str| {
            let properties = schema.pointer(pointer).and_then(|table| table.get("properties"));
            let mut keys: Vec<_> = properties.unwrap().as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let sorted = |known: &[&str]| {
            let mut known: Vec<String> = known.iter().map(|key| (*key).to_owned()).collect();
            known.sort();
            known
        };
        assert_eq!(keys(""), sorted(TOP));
        assert_eq!(keys("/properties/limits"), sorted(LIMIT_NAMES));
        assert_eq!(keys("/properties/reconcile/items"), sorted(&SOURCE));
        assert_eq!(keys("/properties/reconcile/items/properties/root"), sorted(&ROOT));
        assert_eq!(keys("/properties/reconcile/items/properties/list/items"), sorted(&LIST));
    }

    #[test]
    fn rules_are_named_as_they_show() {
        assert!(POLICIES.iter().all(|(name, policy)| policy.to_string() == *name));
        assert!(MODES.iter().all(|(name, mode)| mode.to_string() == *name));
    }
}
