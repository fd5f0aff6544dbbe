//! `gangline config check|show|schema`

mod reconcile;
mod schema;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Global;
use super::output::{Output, printable};
use gangline_trust::Rights;

use crate::config::{Flags, Origin, Settings, TlsSettings, Unit};
use crate::failure::Failure;
use crate::identity::show_key;
use crate::sources;

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong in the settings, all at once
    Check,
    /// Print the settings in force
    Show(ShowArgs),
    /// Print what a settings file may say, as JSON Schema
    Schema,
}

/// What `config show` takes.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Say where each value comes from
    #[arg(long)]
    origin: bool,
}

/// One setting: its table (or none), its key, its value in TOML and in JSON, and who said so.
struct Row {
    table: &'static str,
    key: String,
    text: String,
    json: Value,
    origin: Origin,
}

pub(super) fn run(global: &Global, command: &ConfigCommand, out: &Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => check(global, out),
        ConfigCommand::Show(args) => show(global, args, out),
        ConfigCommand::Schema => out.line(&format!("{:#}", schema::schema())),
    }
}

fn check(global: &Global, out: &Output) -> Result<(), Failure> {
    let file = global.settings_file()?.map(|found| found.path);
    let settings = global.settings(&Flags::default())?;
    if let Some(refusal) = settings.refusal(crate::trust::has_grants(&settings.data_dir.value)?) {
        return Err(Failure::settings(&[refusal]));
    }
    let unread = sources::check(&settings.reconcile).map_err(|mistakes| Failure::settings(&mistakes))?;
    if out.is_json() {
        return out.document(&json!({"ok": true, "file": file, "unread": unread}));
    }
    for reason in unread {
        eprintln!("not compared with its database: {}", printable(&reason));
    }
    match file {
        Some(path) => out.line(&format!("{path}: ok")),
        None => out.line("no settings file; the defaults are ok"),
    }
}

fn show(global: &Global, args: &ShowArgs, out: &Output) -> Result<(), Failure> {
    let settings = global.settings(&Flags::default())?;
    if out.is_json() {
        let mut object = Map::new();
        for row in rows(&settings) {
            let value = match args.origin {
                true => json!({"value": row.json, "origin": row.origin.to_string()}),
                false => row.json,
            };
            if row.table.is_empty() {
                object.insert(row.key, value);
            } else if let Some(table) = object.entry(row.table).or_insert_with(|| json!({})).as_object_mut() {
                table.insert(row.key, value);
            }
        }
        let sources = &settings.reconcile;
        let sources = sources.iter().map(|source| reconcile::object(source, args.origin)).collect();
        object.insert("reconcile".to_owned(), Value::Array(sources));
        return out.document(&object);
    }
    lines(&settings, args.origin).iter().try_for_each(|line| out.line(line))
}

/// The settings as a file that says the same.
fn lines(settings: &Settings, with_origin: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let setting = |key: &str, text: &str, origin: &Origin| {
        let setting = format!("{key} = {text}");
        if with_origin { format!("{setting:<48} # {origin}") } else { setting }
    };
    let mut table = "";
    for row in rows(settings) {
        if row.table != table {
            table = row.table;
            lines.push(format!("\n[{table}]"));
        }
        lines.push(setting(&row.key, &row.text, &row.origin));
    }
    for section in settings.reconcile.iter().flat_map(reconcile::sections) {
        lines.push(format!("\n{}", section.header));
        lines.extend(section.settings.iter().map(|(key, text, _, origin)| setting(key, text, origin)));
    }
    lines
}

fn rows(settings: &Settings) -> Vec<Row> {
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    };
    let mut rows = Vec::new();
    let mut row = |table: &'static str, key: &str, text: String, json: Value, origin: &Origin| {
        rows.push(Row { table, key: key.to_owned(), text, json, origin: origin.clone() });
    };
    let listen = &settings.listen;
    row("", "listen", quoted(&listen.value), json!(listen.value), &listen.origin);
    let dir = settings.data_dir.value.display().to_string();
    row("", "data_dir", quoted(&dir), json!(dir), &settings.data_dir.origin);
    let peers = &settings.rendezvous;
    row("", "rendezvous", list(&peers.value), json!(peers.value), &peers.origin);
    let agents: Vec<Value> = settings.agents.value.iter().map(|name| json!({"name": name})).collect();
    let tables: Vec<String> =
        settings.agents.value.iter().map(|name| format!("{{ name = {} }}", quoted(name))).collect();
    let tables = format!("[{}]", tables.join(", "));
    row("", "agent", tables, json!(agents), &settings.agents.origin);
    let insecure = &settings.insecure;
    row("", "insecure", insecure.value.to_string(), json!(insecure.value), &insecure.origin);
    for (author, listed) in &settings.trusted.value {
        let key = show_key(author);
        let (text, json) = match listed.rights == Rights::MEMBER {
            true => (quoted(&key), json!(key)),
            false => {
                let may: Vec<String> = listed.rights.held().into_iter().map(str::to_owned).collect();
                let text = format!("{{ key = {}, may = {} }}", quoted(&key), list(&may));
                (text, json!({"key": key, "may": may}))
            }
        };
        row("trust", &toml_key(&listed.name), text, json, &settings.trusted.origin);
    }
    let allow_v1 = &settings.allow_v1;
    row("trust", "allow_v1", allow_v1.value.to_string(), json!(allow_v1.value), &allow_v1.origin);
    let stops = &settings.stops_equivocators;
    let word = if stops.value { "stop" } else { "flag" };
    row("trust", "on_equivocation", quoted(word), json!(word), &stops.origin);
    match &settings.tls.value {
        None => {}
        Some(TlsSettings::SelfSigned) => {
            row("tls", "self_signed", "true".to_owned(), json!(true), &settings.tls.origin);
        }
        Some(TlsSettings::Files { cert, key }) => {
            for (name, path) in [("cert", cert), ("key", key)] {
                let path = path.display().to_string();
                row("tls", name, quoted(&path), json!(path), &settings.tls.origin);
            }
        }
    }
    let logs = &settings.logs;
    row(
        "log_store",
        "backend",
        quoted(logs.backend.value.name()),
        json!(logs.backend.value.name()),
        &logs.backend.origin,
    );
    if let Some(path) = &logs.path.value {
        let path = path.display().to_string();
        row("log_store", "path", quoted(&path), json!(path), &logs.path.origin);
    }
    let registry = logs.registry.value.name();
    row("lease", "registry", quoted(registry), json!(registry), &logs.registry.origin);
    let ttl = Unit::Time.show(logs.ttl.value);
    row("lease", "ttl", ttl.clone(), json!(ttl.trim_matches('"')), &logs.ttl.origin);
    for (name, url) in [("coordinator", &logs.coordinator), ("advertise", &logs.advertise)] {
        if let Some(text) = &url.value {
            row("lease", name, quoted(text), json!(text), &url.origin);
        }
    }
    row("lease", "follow", list(&logs.follow.value), json!(logs.follow.value), &logs.follow.origin);
    for (name, unit, limit) in settings.limits.each() {
        let text = unit.show(limit.value);
        let json = match text.strip_prefix('"') {
            Some(text) => json!(text.trim_end_matches('"')),
            None => json!(limit.value),
        };
        row("limits", name, text, json, &limit.origin);
    }
    rows
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key of a table, quoted where TOML wants it.
fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if bare { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
[[reconcile]]
name = "w"
database = "sqlite:/srv/$a b.db"
poll = "1500ms"
key = "import"
[reconcile.root]
table = "work flows"
version = "v"
key = "id"
document = "w:{id}"
fields = { "a b" = "text_merge" }
secret = ["p"]
[[reconcile.list]]
table = "jobs"
parent = "w"
key = "id"
fields = { other = "db_wins" }
refs = { other = "jobs" }
"#;

    #[test]
    fn what_is_shown_reads_back_as_the_same_settings() {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let text = format!(
            "rendezvous = \"ws://a:1/crdt-sync\"\n[[agent]]\nname = \"x\"\n[trust]\n\"a b\" = {{ key = \"{key}\", may = [\"read\", \"invite\"] }}\n[tls]\nself_signed = true\n[log_store]\npath = \"l\"\n[lease]\nttl = \"1500ms\"\nadvertise = \"http://a:1/\"\n[limits]\nbody_timeout = \"2m\"\n{SOURCE}"
        );
        let read = |text: &str| Settings::resolve(&Flags::default(), &|_| None, Some(("f", text))).unwrap();
        let settings = read(&text);
        let shown = lines(&settings, false).join("\n");
        let again = read(&shown);
        assert_eq!(again.rendezvous.value, settings.rendezvous.value);
        assert_eq!(again.agents.value, settings.agents.value);
        assert_eq!(again.trusted.value, settings.trusted.value);
        assert_eq!(again.tls.value, settings.tls.value);
        assert_eq!(again.logs.path.value, settings.logs.path.value);
        assert_eq!((again.logs.ttl.value, settings.logs.ttl.value), (1_500, 1_500));
        assert_eq!(again.logs.advertise.value.as_deref(), Some("http://a:1"));
        assert_eq!(again.limits.body_timeout.value, 120_000);
        let [source, other] = [&settings, &again].map(|settings| &settings.reconcile[0]);
        assert_eq!(source.mapping, other.mapping);
        assert_eq!((&source.database, source.key), (&other.database, other.key));
        assert_eq!((source.poll_ms, source.sweep_ms), (other.poll_ms, other.sweep_ms));
        assert_eq!(lines(&again, true).len(), lines(&settings, true).len());
        let line = lines(&settings, true).into_iter().find(|line| line.contains("version = ")).unwrap();
        assert_eq!(line.split_once('#').unwrap().1, " f:23", "{line}");
    }
}
