//! One process at a time: an operating-system lock on a file in the data directory.
//!
//! The lock ends with the process, however it ends, so there is nothing to clean up after a crash.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

const FILE_NAME: &str = "lock";

/// Keeps every other process, and every other part of this one, out of a data directory until dropped.
#[derive(Debug)]
pub struct DirLock {
    dir: PathBuf,
    _file: File,
}

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirLockError {
    /// Somebody has it. Stop that process, or use another directory.
    #[error(
        "data directory {} is in use{}; stop that node, or give this one a directory of its own (--data-dir)",
        .dir.display(), holder(.pid)
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that has it, as far as is known.
        pid: Option<u32>,
    },
    /// The directory cannot be made, or its lock file cannot be written. Check its owner and permissions.
    #[error("data directory {} cannot be used", .dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DirLock {
    /// Makes the directory if there is none, durably, and takes its lock.
    ///
    /// # Errors
    /// [`DirLockError::InUse`] at once if somebody has it; this never waits.
    pub fn acquire(dir: &Path) -> Result<Self, DirLockError> {
        let io_error = |source| DirLockError::Io { dir: dir.to_owned(), source };
        create_dir(dir).map_err(io_error)?;
        let path = dir.join(FILE_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirLockError::InUse { dir: dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        // Only for the message of whoever comes second, so it need not be durable.
        file.set_len(0).map_err(io_error)?;
        writeln!(file, "{}", std::process::id()).map_err(io_error)?;
        Ok(Self { dir: dir.to_owned(), _file: file })
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn holder(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// Makes a directory and those above it, each durable in the one that holds it.
fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = parent(dir);
    create_dir(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other?,
    }
    sync_dir(parent)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let lock = DirLock::acquire(&path).unwrap();
        assert_eq!(lock.dir(), path);
        let message = DirLock::acquire(&path).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "data directory {} is in use by process {}; stop that node, or give this one a directory of \
                 its own (--data-dir)",
                path.display(),
                std::process::id()
            )
        );
        drop(lock);
        DirLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = DirLock::acquire(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("file/below cannot be used"), "{error}");
    }
}
