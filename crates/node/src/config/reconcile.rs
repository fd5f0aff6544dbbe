//! `[[reconcile]]`: databases that documents follow, and by which rules.
//!
//! The file's reader finds what the mapping alone tells; [`check_shape`] holds it against a database.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gangline_reconcile::{Mapping, MappingMistake, Schema, Shape};

use super::{Mistake, Origin};

/// One source.
#[derive(Clone, Debug)]
pub(crate) struct ReconcileSettings {
    /// Which rows become which documents.
    pub(crate) mapping: Mapping,
    /// Where they are.
    pub(crate) database: DatabasePlace,
    /// Where the source's key comes from.
    pub(crate) key: KeyFrom,
    /// How often the database is asked whether anybody has written, in milliseconds.
    pub(crate) poll_ms: u64,
    /// How often all rows are compared with what the documents follow, in milliseconds.
    pub(crate) sweep_ms: u64,
    /// Who said what.
    pub(crate) origins: Origins,
}

/// Where the key comes from that signs what the database did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyFrom {
    /// This node makes it, if there is none.
    #[default]
    Create,
    /// Another node has made it. Without a key file this node only follows.
    Import,
}

impl KeyFrom {
    /// As they are written.
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("create", Self::Create), ("import", Self::Import)];

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Import => "import",
        }
    }
}

/// A database, and how people may see it called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatabasePlace {
    /// As it was written, variables unread and passwords masked.
    pub(crate) shown: String,
    /// Which one it is.
    pub(crate) database: Database,
}

/// A database that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file of SQLite, as seen from where the node was started.
    Sqlite(PathBuf),
}

/// Where everything of a source stands in the settings.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// The source as a whole.
    pub(crate) source: Origin,
    /// By the name of the setting: `database`, `root.key`, `list.0.fields`.
    pub(crate) settings: BTreeMap<String, Origin>,
    /// By what mistakes name: `jobs`, `jobs.body`.
    pub(crate) places: BTreeMap<String, Origin>,
}

impl Origins {
    /// Where a setting stands; the default where nobody set it.
    pub(crate) fn setting(&self, name: &str) -> Origin {
        self.settings.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// A mistake in the mapping, with its line.
    pub(super) fn mistake(&self, mistake: MappingMistake) -> Mistake {
        let MappingMistake { source_name, place, what, hint } = mistake;
        let table = place.split_once('.').map_or(&*place, |(table, _)| table);
        let found = self.places.get(&place).or_else(|| self.places.get(table));
        let origin = found.or_else(|| self.settings.get(&place)).unwrap_or(&self.source).clone();
        Mistake { origin, message: format!("reconcile {source_name:?}: {place}: {what}"), hint: Some(hint) }
    }
}

/// Holds a source's mapping against the schema of its database.
///
/// # Errors
/// All that is wrong, each with its line, table and column.
pub(crate) fn check_shape(settings: &ReconcileSettings, schema: &Schema) -> Result<Shape, Vec<Mistake>> {
    Shape::bind(settings.mapping.clone(), schema)
        .map_err(|mistakes| mistakes.into_iter().map(|mistake| settings.origins.mistake(mistake)).collect())
}

/// Reads `sqlite:PATH`, with `${NAME}` for what the environment has.
///
/// # Errors
/// What is wrong and what to write. Values of variables are in neither, and passwords are masked.
pub(super) fn place(
    written: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<DatabasePlace, (String, String)> {
    const HINT: &str = "write for example \"sqlite:app.db\"";
    let shown = masked(written);
    let wrong = |what: String, hint: &str| Err((format!("database {shown:?} {what}"), hint.to_owned()));
    let url = match expanded(written, env) {
        Ok(url) => url,
        Err(Unread::Unclosed) => return wrong("has ${ without }".into(), "write ${NAME}"),
        Err(Unread::Unset(name)) => {
            return wrong(format!("wants {name}, which is not in the environment"), "set it for the node");
        }
    };
    let Some((scheme, rest)) = url.split_once(':') else {
        return wrong("does not say what it is".into(), HINT);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "sqlite" => {}
        "postgres" | "postgresql" => {
            return wrong("cannot be followed: this build has no PostgreSQL".into(), HINT);
        }
        _ => return wrong("is of no kind that this build knows".into(), HINT),
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() {
        return wrong("names no file".into(), HINT);
    }
    if path == ":memory:" {
        return wrong("is in memory, where nobody else could write it".into(), "name a file");
    }
    if path.contains('?') || path.starts_with("file:") {
        return wrong("has parameters, which are not known here".into(), "write sqlite: and the path alone");
    }
    Ok(DatabasePlace { database: Database::Sqlite(PathBuf::from(path)), shown })
}

/// Why a text's variables could not be read.
enum Unread {
    Unclosed,
    Unset(String),
}

fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Unread> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or(Unread::Unclosed)?;
        out.push_str(before);
        out.push_str(&env(name).filter(|value| !value.is_empty()).ok_or(Unread::Unset(name.to_owned()))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A database URL without its passwords: in `user:password@host`, also where the password has `@`, `/` or `?` itself,
/// in `password=`, and in all parameters that are not known to be harmless.
pub(crate) fn masked(url: &str) -> String {
    const MASK: &str = "***";
    const HARMLESS: [&str; 8] =
        ["application_name", "cache", "connect_timeout", "immutable", "mode", "nolock", "sslmode", "vfs"];
    let begin = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(begin);
    let mut out = scheme.to_owned();
    // What stands behind a question mark is no user, and whatever has no host has no login.
    let is_login = |login: &str| {
        !login.split(':').next().unwrap_or_default().contains('?')
            && !(scheme.is_empty() && (url.starts_with("sqlite:") || login.contains('?')))
    };
    let rest = match rest.rfind('@').map(|at| rest.split_at(at)) {
        Some((login, host)) if is_login(login) => {
            let user = login.split_once(':').map(|(user, _)| user);
            out.push_str(&user.map_or_else(|| login.to_owned(), |user| format!("{user}:{MASK}")));
            host
        }
        Some(_) | None => rest,
    };
    // Nothing is longer or shorter in lower case that is compared here.
    let lower = rest.to_ascii_lowercase();
    let mut at = 0;
    while let Some(found) = lower.get(at..).and_then(|rest| rest.find("password=")) {
        let value = at + found + "password=".len();
        let end =
            lower.get(value..).and_then(|rest| rest.find(['&', ' '])).map_or(rest.len(), |end| value + end);
        out.push_str(rest.get(at..value).unwrap_or_default());
        out.push_str(MASK);
        at = end;
    }
    out.push_str(rest.get(at..).unwrap_or_default());
    let Some((before, parameters)) = out.split_once('?') else { return out };
    let parameters = parameters.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if !HARMLESS.contains(&&*name.to_ascii_lowercase()) => format!("{name}={MASK}"),
        Some(_) | None => parameter.to_owned(),
    });
    let parameters: Vec<String> = parameters.collect();
    format!("{before}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (url, expected) in [
            ("postgres://app:secret@db/x", "postgres://app:***@db/x"),
            ("postgres://app:se@c/r?e:t@db:5432/x?a=b", "postgres://app:***@db:5432/x?a=***"),
            ("postgres://:secret@db", "postgres://:***@db"),
            ("postgres://app@db/x?sslpassword=secret&a=1", "postgres://app@db/x?sslpassword=***&a=***"),
            ("postgres://db/x?PASSWORD=secret", "postgres://db/x?PASSWORD=***"),
            ("host=db password=secret user=app", "host=db password=*** user=app"),
            ("app:secret@db", "app:***@db"),
            ("postgres://${LOGIN}@db", "postgres://${LOGIN}@db"),
            ("sqlite:a:b@c.db", "sqlite:a:b@c.db"),
            ("sqlite:app.db", "sqlite:app.db"),
            ("sqlcipher:app.db?key=hunter2", "sqlcipher:app.db?key=***"),
            ("sqlcipher:app.db?key=hun@ter2&mode=ro", "sqlcipher:app.db?key=***&mode=ro"),
            ("sqlcipher://app.db?KEY=hun:t@er2", "sqlcipher://app.db?KEY=***"),
            ("postgres://db/x?sslmode=require&token=secret", "postgres://db/x?sslmode=require&token=***"),
            ("", ""),
        ] {
            assert_eq!(masked(url), expected);
        }
    }

    #[test]
    fn a_database_may_come_from_the_environment_which_is_never_shown() {
        let env = |name: &str| match name {
            "DIR" => Some("/srv/data".to_owned()),
            "URL" => Some("postgres://app:secret@db/x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let found = place("sqlite:${DIR}/app.db", &env).unwrap();
        assert_eq!(found.database, Database::Sqlite("/srv/data/app.db".into()));
        assert_eq!(found.shown, "sqlite:${DIR}/app.db");
        for (written, expected) in [
            ("${URL}", "database \"${URL}\" cannot be followed: this build has no PostgreSQL"),
            ("sqlite:${NONE}", "database \"sqlite:${NONE}\" wants NONE, which is not in the environment"),
            ("sqlite:${EMPTY}", "wants EMPTY"),
            ("sqlite:${DIR", "has ${ without }"),
        ] {
            let (message, hint) = place(written, &env).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert!(!format!("{message} {hint}").contains("secret"), "{message} {hint}");
        }
    }

    #[test]
    fn a_database_is_a_file_of_sqlite() {
        let path = |url: &str| place(url, &|_| None).map(|found| found.database).map_err(|(what, _)| what);
        for (url, expected) in [
            ("sqlite:app.db", "app.db"),
            ("sqlite://app.db", "app.db"),
            ("sqlite:///srv/app.db", "/srv/app.db"),
            ("SQLite:./a b.db", "./a b.db"),
            ("sqlite:$HOME", "$HOME"),
        ] {
            assert_eq!(path(url), Ok(Database::Sqlite(expected.into())));
        }
        for (url, expected) in [
            ("", "does not say what it is"),
            ("app.db", "does not say what it is"),
            ("sqlite:", "names no file"),
            ("sqlite::memory:", "is in memory"),
            ("sqlite:app.db?mode=ro", "has parameters"),
            ("sqlite:file:app.db", "has parameters"),
            ("mysql://a:secret@b", "is of no kind that this build knows"),
            ("postgresql://a:secret@b", "this build has no PostgreSQL"),
        ] {
            let message = path(url).unwrap_err();
            assert!(message.contains(expected) && !message.contains("secret"), "{message}");
        }
    }
}
