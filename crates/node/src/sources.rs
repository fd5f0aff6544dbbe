//! Databases that documents follow: which backend reads one, and their keys.
//!
//! A source signs what its database did with a key of its own, the same at every node that reconciles it. The first
//! node makes it; the others get it from the operator (`gangline reconcile key export` and `import`), and say
//! `key = "import"` so that they never make another. A node without the key only follows.
//!
//! In the data directory: `sources/<name>.key` is the key, `sources/<name>.pub` the public half, by which a node knows
//! that it had one. A key that is gone is not made anew: with another key all documents would begin again, beside those
//! that the other nodes have.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bft_json_crdt::keypair::{AuthorId, Keypair, make_keypair};
use gangline_reconcile::RowSource;
use gangline_store::SqliteSource;

use crate::config::{Database, KeyFrom, Mistake, ReconcileSettings, Settings, check_shape, public_key};
use crate::failure::{Exit, Failure};
use crate::identity::show_key;
use crate::key_file::{self, Remedies};
use crate::logs::chain;
use crate::private_file::{make_private_dir, write_private};

/// Returns the rows of a database, which need not be there yet.
pub(crate) fn rows_of(database: &Database) -> Arc<dyn RowSource> {
    match database {
        Database::Sqlite(path) => Arc::new(SqliteSource::new(path)),
    }
}

/// Holds the mappings against their databases. Returns why some could not be looked at.
///
/// # Errors
/// All that does not fit, each with its line, table and column.
pub(crate) fn check(sources: &[ReconcileSettings]) -> Result<Vec<String>, Vec<Mistake>> {
    let (mut mistakes, mut unread) = (Vec::new(), Vec::new());
    for source in sources {
        match rows_of(&source.database.database).schema() {
            Ok(schema) => mistakes.extend(check_shape(source, &schema).err().into_iter().flatten()),
            Err(error) if is_none(&source.database.database) => {
                let origin = source.origins.setting("database");
                let message = format!("reconcile {:?}: {}", source.mapping.name, chain(&error));
                mistakes.push(Mistake { origin, message, hint: Some("name the database's file".to_owned()) });
            }
            Err(error) => unread.push(format!("{}: {}", source.mapping.name, chain(&error))),
        }
    }
    if mistakes.is_empty() { Ok(unread) } else { Err(mistakes) }
}

/// Whether something is there under a database's name that can never be one: a folder, or a file of another kind.
fn is_none(database: &Database) -> bool {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let Database::Sqlite(path) = database;
    let mut begin = Vec::new();
    path.is_dir()
        || fs::File::open(path)
            .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut begin))
            .is_ok_and(|_| !begin.is_empty() && begin != MAGIC)
}

/// Holds the mappings of sources whose keys this node has or would make against their databases, as far as those can be
/// read: a node that does not start makes no keys.
fn check_before_keys(settings: &Settings) -> Result<(), Failure> {
    let mut mistakes = Vec::new();
    for source in &settings.reconcile {
        let is_ours = match look(&settings.data_dir.value, &source.mapping.name)? {
            SourceKey::Held(_) => true,
            SourceKey::Awaited => source.key == KeyFrom::Create,
            SourceKey::Lost(_) => false,
        };
        if is_ours && let Ok(schema) = rows_of(&source.database.database).schema() {
            mistakes.extend(check_shape(source, &schema).err().into_iter().flatten());
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(Failure::settings(&mistakes)) }
}

/// The folder inside the data directory.
const DIR: &str = "sources";
const REMEDIES: Remedies = Remedies {
    loose: "whoever has read it can write in the database's name",
    malformed: "put the right file back from a copy, or take it from another node: gangline reconcile key import",
};

/// A source's key as it is here.
#[derive(Clone, Debug)]
pub(crate) enum SourceKey {
    /// This node can reconcile.
    Held(Keypair),
    /// It was never here: this node only follows.
    Awaited,
    /// It was here and is gone: this node only follows.
    Lost(AuthorId),
}

impl SourceKey {
    /// The public half, where this node can reconcile.
    pub(crate) fn held(&self) -> Option<AuthorId> {
        match self {
            Self::Held(keypair) => Some(keypair.author()),
            Self::Awaited | Self::Lost(_) => None,
        }
    }

    /// Why this node only follows, if it does, and what to do.
    pub(crate) fn trouble(&self, name: &str) -> Option<String> {
        match self {
            Self::Held(_) => None,
            Self::Awaited => Some(format!(
                "the key of {name} is not here, so this node only follows; take it from the node that has it: \
                 gangline reconcile key export there, and import here"
            )),
            Self::Lost(key) => Some(format!(
                "the key of {name}, {}, is gone, so this node only follows; put the file back, or import it",
                show_key(key)
            )),
        }
    }
}

/// The file of a source's key.
pub(crate) fn key_path(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(DIR).join(format!("{name}.key"))
}

/// Reads a source's key, and makes none.
///
/// # Errors
/// When a file is malformed, readable by others, or cannot be read.
pub(crate) fn look(data_dir: &Path, name: &str) -> Result<SourceKey, Failure> {
    Ok(match (key_file::read(&key_path(data_dir, name), &REMEDIES)?, known(data_dir, name)?) {
        (Some(keypair), _) => SourceKey::Held(keypair),
        (None, Some(public)) => SourceKey::Lost(public),
        (None, None) => SourceKey::Awaited,
    })
}

/// Reads a source's key, and makes it where that is this node's part and there never was one.
///
/// # Errors
/// As [`look`], and when it cannot be written.
pub(crate) fn open(data_dir: &Path, source: &ReconcileSettings) -> Result<SourceKey, Failure> {
    let name = &source.mapping.name;
    match (look(data_dir, name)?, source.key) {
        (SourceKey::Awaited, KeyFrom::Create) => {
            let keypair = make_keypair();
            keep(data_dir, name, &keypair)?;
            tracing::info!(
                event = "source_key_made",
                source = name,
                "made {}; nodes that shall reconcile {name} too get it with `gangline reconcile key export`",
                key_path(data_dir, name).display()
            );
            Ok(SourceKey::Held(keypair))
        }
        (SourceKey::Held(keypair), _) => {
            // A key that was put there by hand, or a crash between the two files.
            if known(data_dir, name)? != Some(keypair.author()) {
                note(data_dir, name, &keypair.author())?;
            }
            Ok(SourceKey::Held(keypair))
        }
        (other, _) => Ok(other),
    }
}

/// Opens the keys of all sources in the settings, and says which ones are missing.
///
/// # Errors
/// As [`open`], and when a mapping does not fit its database: then no key is made.
pub(crate) fn open_all(settings: &Settings) -> Result<Vec<(String, SourceKey)>, Failure> {
    check_before_keys(settings)?;
    let mut keys = Vec::new();
    for source in &settings.reconcile {
        let key = open(&settings.data_dir.value, source)?;
        let name = source.mapping.name.clone();
        if let Some(trouble) = key.trouble(&name) {
            tracing::warn!(event = "source_key_missing", source = name, "{trouble}");
        }
        keys.push((name, key));
    }
    Ok(keys)
}

/// The public keys of all sources that this node has or had, by the names under which they are here.
pub(crate) fn own_keys(data_dir: &Path) -> BTreeMap<AuthorId, String> {
    let files = fs::read_dir(data_dir.join(DIR)).into_iter().flatten().flatten();
    let names = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".pub")?.to_owned()));
    names.filter_map(|name| Some((known(data_dir, &name).ok()??, name))).collect()
}

/// What became of a key that was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is there.
    New,
    /// It was there.
    Known,
    /// It is there, and the one before it was put here.
    InPlaceOf(Option<PathBuf>),
}

/// Puts a key in place. Another one is only put aside if `replace` says so.
///
/// # Errors
/// When there is or was another key, or something cannot be written.
pub(crate) fn place(data_dir: &Path, name: &str, keypair: &Keypair, replace: bool) -> Result<Kept, Failure> {
    let path = key_path(data_dir, name);
    let other = match look(data_dir, name)? {
        SourceKey::Held(held) if held.author() == keypair.author() => return Ok(Kept::Known),
        SourceKey::Held(held) => Some((held.author(), true)),
        SourceKey::Lost(public) if public == keypair.author() => None,
        SourceKey::Lost(public) => Some((public, false)),
        SourceKey::Awaited => None,
    };
    let Some((public, is_here)) = other else {
        keep(data_dir, name, keypair)?;
        return Ok(Kept::New);
    };
    if !replace {
        let had = if is_here { "has" } else { "had" };
        let message = format!("this node {had} another key for {name}: {}", show_key(&public));
        return Err(Failure::new(Exit::Conflict, "another_key", message).hint(
            "with --replace it is put aside; the documents that it has signed stay behind, with all that is not saved",
        ));
    }
    let aside = is_here.then(|| {
        let hex = public.to_string();
        path.with_file_name(format!("{name}.key.{}.old", hex.get(..8).unwrap_or_default()))
    });
    if let Some(aside) = &aside {
        fs::rename(&path, aside).map_err(|error| unwritable(aside, &error))?;
    }
    keep(data_dir, name, keypair)?;
    Ok(Kept::InPlaceOf(aside))
}

/// The key first: a public half without it would be a key that is gone.
fn keep(data_dir: &Path, name: &str, keypair: &Keypair) -> Result<(), Failure> {
    let dir = data_dir.join(DIR);
    make_private_dir(&dir).map_err(|error| unwritable(&dir, &error))?;
    key_file::write(&key_path(data_dir, name), keypair)?;
    note(data_dir, name, &keypair.author())
}

fn public_path(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(DIR).join(format!("{name}.pub"))
}

fn note(data_dir: &Path, name: &str, public: &AuthorId) -> Result<(), Failure> {
    let path = public_path(data_dir, name);
    let line = format!("{}\n", show_key(public));
    write_private(&path, line.as_bytes()).map_err(|error| unwritable(&path, &error))
}

fn known(data_dir: &Path, name: &str) -> Result<Option<AuthorId>, Failure> {
    let path = public_path(data_dir, name);
    let refused = |what: &str| {
        let message = format!("{} {what}", path.display());
        Failure::new(Exit::Failed, "key_unusable", message).hint("it has the public key; move it away")
    };
    match fs::read_to_string(&path) {
        Ok(text) => public_key(text.trim_end()).map(Some).ok_or_else(|| refused("is no public key")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(&format!("cannot be read: {error}"))),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "key_not_made", format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn settings(key: &str) -> ReconcileSettings {
        let text = format!(
            "[[reconcile]]\nname = \"w\"\ndatabase = \"sqlite:a.db\"\nkey = \"{key}\"\n\
             [reconcile.root]\ntable = \"t\"\nkey = \"id\"\ndocument = \"w:{{id}}\"\nfields = {{ a = \"db_wins\" }}\n"
        );
        Settings::resolve(&Flags::default(), &|_| None, Some(("f", &text))).unwrap().reconcile.remove(0)
    }

    #[track_caller]
    fn held(key: &SourceKey) -> AuthorId {
        match key {
            SourceKey::Held(keypair) => keypair.author(),
            SourceKey::Awaited | SourceKey::Lost(_) => panic!("{key:?}"),
        }
    }

    #[test]
    fn the_first_node_makes_the_key_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = held(&open(dir.path(), &settings("create")).unwrap());
        assert_eq!(held(&open(dir.path(), &settings("create")).unwrap()), made);
        assert_eq!(held(&open(dir.path(), &settings("import")).unwrap()), made);
        let mut names: Vec<_> = fs::read_dir(dir.path().join(DIR))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["w.key", "w.pub"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(key_path(dir.path(), "w")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_node_that_is_to_import_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let key = open(dir.path(), &settings("import")).unwrap();
        assert!(matches!(key, SourceKey::Awaited));
        assert!(key.trouble("w").unwrap().contains("only follows"));
        assert!(!dir.path().join(DIR).exists());
        let keypair = make_keypair();
        assert_eq!(place(dir.path(), "w", &keypair, false).unwrap(), Kept::New);
        assert_eq!(place(dir.path(), "w", &keypair, false).unwrap(), Kept::Known);
        assert_eq!(held(&open(dir.path(), &settings("import")).unwrap()), keypair.author());
    }

    #[test]
    fn a_key_that_is_gone_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let made = held(&open(dir.path(), &settings("create")).unwrap());
        let path = key_path(dir.path(), "w");
        let copy = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let key = open(dir.path(), &settings("create")).unwrap();
        assert!(matches!(key, SourceKey::Lost(public) if public == made), "{key:?}");
        assert!(key.trouble("w").unwrap().contains(&show_key(&made)));
        write_private(&path, &copy).unwrap();
        assert_eq!(held(&open(dir.path(), &settings("create")).unwrap()), made);
    }

    #[test]
    fn another_key_is_taken_only_if_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let first = held(&open(dir.path(), &settings("create")).unwrap());
        let keypair = make_keypair();
        let refused = place(dir.path(), "w", &keypair, false).unwrap_err();
        assert_eq!((refused.exit, refused.code.as_str()), (Exit::Conflict, "another_key"));
        assert_eq!(held(&look(dir.path(), "w").unwrap()), first);
        let Kept::InPlaceOf(Some(aside)) = place(dir.path(), "w", &keypair, true).unwrap() else {
            panic!("the first key is put aside")
        };
        assert_eq!(key_file::read(&aside, &REMEDIES).unwrap().unwrap().author(), first);
        assert_eq!(held(&open(dir.path(), &settings("create")).unwrap()), keypair.author());

        // Also one that is gone counts as another.
        fs::remove_file(key_path(dir.path(), "w")).unwrap();
        let third = make_keypair();
        assert!(place(dir.path(), "w", &third, false).unwrap_err().message.contains("had another key"));
        assert_eq!(place(dir.path(), "w", &keypair, false).unwrap(), Kept::New);
        fs::remove_file(key_path(dir.path(), "w")).unwrap();
        assert_eq!(place(dir.path(), "w", &third, true).unwrap(), Kept::InPlaceOf(None));
        assert_eq!(held(&look(dir.path(), "w").unwrap()), third.author());
    }
}
