//! Making a repository, and what is checked before an existing one is written to.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use git2::{ConfigLevel, ErrorCode, ObjectType, Repository, RepositoryInitOptions, RepositoryOpenFlags};

use super::repo::Repo;
use crate::{OpenLogError, dir_lock::sync_dir, worker::Failure};

/// Where the index, the leases and the lock are, in the repository's directory.
const SIDE_DIR: &str = "gangline";
const LOCK_NAME: &str = "lock";
/// Where branches' former files are, see [`super::writer`].
const FORMER_DIR: &str = "former";
/// What libgit2 is told beside the repository's own configuration.
const SETTINGS_NAME: &str = "config";
const SETTINGS: &str = "[core]\n\tfsyncObjectFiles = true\n";
/// The entry of the repository's configuration that says that its logs are appended to here.
const FORMAT_KEY: &str = "gangline.format";
const FORMAT: i32 = 1;

/// Why a repository of logs cannot be opened. None of its logs was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenGitLogError {
    /// A newer program wrote it, and this one would not understand it. Use that version or a later one.
    #[error(
        "{} was written by a newer version (format {found}, this one knows up to {known}); install that \
         version or a later one",
        .path.display()
    )]
    Newer {
        /// The repository.
        path: PathBuf,
        /// Its format.
        found: i32,
        /// The newest format that this program knows.
        known: i32,
    },
    /// It is not this program's: somebody else's repository, a clone (which may be read only), no repository at all.
    /// Use another directory.
    #[error("{} is not a repository that this program keeps logs in: {why}; use another directory", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// It cannot be read or written. Check owner, permissions and the disk.
    #[error("the repository {} cannot be used", .path.display())]
    Git {
        /// The repository.
        path: PathBuf,
        /// What git's library said.
        #[source]
        source: git2::Error,
    },
    /// It cannot be read or written. Check owner, permissions and the disk.
    #[error("the repository {} cannot be used", .path.display())]
    Io {
        /// The repository.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file with the leases, or an index in memory, cannot be had; see there.
    #[error(transparent)]
    Side(#[from] OpenLogError),
}

pub(super) struct Opened {
    pub(super) writer: Repo,
    pub(super) reader: Repo,
    pub(super) side: PathBuf,
    pub(super) lock: File,
}

/// Opens a repository that is written to, or makes one.
pub(super) fn open(path: &Path) -> Result<Opened, OpenGitLogError> {
    let io_error = |source| OpenGitLogError::Io { path: path.to_owned(), source };
    let git_error = |source| OpenGitLogError::Git { path: path.to_owned(), source };
    check_dir(path)?;
    let side = path.join(SIDE_DIR);
    fs::create_dir_all(former_dir(path)).map_err(io_error)?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(side.join(LOCK_NAME));
    let lock = lock.map_err(io_error)?;
    lock.lock().map_err(io_error)?;
    let opened = prepare(path).and_then(|()| {
        let mut writer = Repo::durable(path).map_err(git_error)?;
        // Written once, or `git fsck` misses what every commit names.
        writer.put(ObjectType::Tree, b"").map_err(|failure| match failure {
            Failure::Refused(source) => io_error(io::Error::other(source)),
            Failure::Unknown(_) | Failure::Damaged(_) => {
                io_error(io::Error::from(io::ErrorKind::InvalidData))
            }
        })?;
        Ok((writer, Repo::open(path).map_err(git_error)?))
    });
    lock.unlock().map_err(io_error)?;
    let (writer, reader) = opened?;
    Ok(Opened { writer, reader, side, lock })
}

/// Refuses directories of others before anything is made in them.
fn check_dir(path: &Path) -> Result<(), OpenGitLogError> {
    let io_error = |source| OpenGitLogError::Io { path: path.to_owned(), source };
    let foreign = |why| Err(OpenGitLogError::Foreign { path: path.to_owned(), why });
    if !path.exists() {
        return Ok(());
    }
    let names = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let names = names.map_err(io_error)?;
    if names.iter().any(|name| name == ".git") {
        return foreign("it is a working tree");
    }
    let is_empty = names.iter().all(|name| name == SIDE_DIR);
    if !is_empty && !names.iter().any(|name| name == "objects") {
        return foreign("it has other files");
    }
    Ok(())
}

/// Where branches' former files are.
pub(super) fn former_dir(path: &Path) -> PathBuf {
    path.join(SIDE_DIR).join(FORMER_DIR)
}

/// Opens a handle that writes nothing.
pub(super) fn handle(path: &Path) -> Result<Repository, git2::Error> {
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, &[] as &[&OsStr])
}

/// Opens a handle that syncs what it writes: what was acknowledged survives the loss of power. Where git itself would
/// read that setting, it warns of an old name.
pub(super) fn durable_handle(path: &Path) -> Result<Repository, git2::Error> {
    let git = handle(path)?;
    let settings = path.join(SIDE_DIR).join(SETTINGS_NAME);
    put_settings(&settings)
        .map_err(|error| git2::Error::from_str(&format!("{}: {error}", settings.display())))?;
    let mut config = git.config()?;
    config.add_file(&settings, ConfigLevel::App, true)?;
    git.set_config(&config)?;
    if !git.config()?.get_bool("core.fsyncObjectFiles")? {
        return Err(git2::Error::from_str("the repository cannot be made to sync what is written"));
    }
    Ok(git)
}

fn put_settings(path: &Path) -> io::Result<()> {
    if fs::read(path).is_ok_and(|found| found == SETTINGS.as_bytes()) {
        return Ok(());
    }
    // Whole at once: others may read it at any time.
    let fresh = path.with_extension(std::process::id().to_string());
    fs::write(&fresh, SETTINGS)?;
    fs::rename(fresh, path)
}

/// Makes the repository if there is none, and sets what it needs.
fn prepare(path: &Path) -> Result<(), OpenGitLogError> {
    let io_error = |source| OpenGitLogError::Io { path: path.to_owned(), source };
    let git_error = |source| OpenGitLogError::Git { path: path.to_owned(), source };
    let foreign = |why| Err(OpenGitLogError::Foreign { path: path.to_owned(), why });
    let git = match Repository::open_bare(path) {
        Ok(git) => git,
        Err(error) if error.code() == ErrorCode::NotFound => {
            let mut options = RepositoryInitOptions::new();
            options.bare(true).no_reinit(false).mkpath(true).external_template(false);
            Repository::init_opts(path, &options).map_err(git_error)?
        }
        Err(error) => return Err(git_error(error)),
    };
    if !git.is_bare() {
        return foreign("it has a working tree");
    }
    let mut config = git.config().map_err(git_error)?;
    let mut is_new = false;
    match config.snapshot().and_then(|config| config.get_i32(FORMAT_KEY)) {
        Ok(found) if found > FORMAT => {
            return Err(OpenGitLogError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        Ok(_) => {}
        Err(_) if git.references().map_err(git_error)?.next().is_some() => {
            return foreign("it has branches, and it was not this program that made it");
        }
        Err(_) => {
            config.set_bool("core.logAllRefUpdates", false).map_err(git_error)?;
            is_new = true;
        }
    }
    sync(path, is_new).map_err(io_error)?;
    if is_new {
        // Last: a repository that was not finished is begun anew.
        config.set_i32(FORMAT_KEY, FORMAT).map_err(git_error)?;
        File::open(path.join("config")).and_then(|file| file.sync_all()).map_err(io_error)?;
        sync_dir(path).map_err(io_error)?;
    }
    Ok(())
}

/// Makes the directories that objects and branches are put into, and all that `init` has made, durable: libgit2 syncs
/// the directory that it puts a file into, and none above.
fn sync(path: &Path, is_new: bool) -> io::Result<()> {
    let objects = path.join("objects");
    let logs = path.join("refs/heads/gangline/log");
    let fans = (0..=u8::MAX).map(|first| objects.join(format!("{first:02x}")));
    // A `git gc` takes away what is empty.
    let missing: Vec<PathBuf> = fans.chain([logs.clone()]).filter(|dir| !dir.is_dir()).collect();
    if missing.is_empty() && !is_new {
        return Ok(());
    }
    missing.iter().try_for_each(fs::create_dir_all)?;
    for file in ["HEAD", "config"] {
        File::open(path.join(file))?.sync_all()?;
    }
    sync_dir(&objects)?;
    for dir in logs.ancestors().take_while(|dir| dir.starts_with(path)) {
        sync_dir(dir)?;
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}
