//! Bearer tokens for HTTP off loopback: made by `gangline key token`, shown once, kept as SHA-256.
//!
//! They live in `tokens.json` in the data directory. A running node notices a change of the file, so
//! a revoked token stops working at once, without a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::failure::{Exit, Failure};
use crate::private_file::{Stamp, lock, make_private_dir, stamp, write_private};

const FILE: &str = "tokens.json";
/// What tokens begin with, so that people and scanners recognise one.
const PREFIX: &str = "gangline_";

/// What a token's bearer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// GET only.
    Read,
    /// Everything.
    Write,
}

/// One token as it is kept: its name and its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// What people call it.
    pub(crate) name: String,
    /// What it allows.
    pub(crate) access: Access,
    /// Milliseconds since 1970.
    pub(crate) created_at_ms: u64,
    sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    version: u32,
    tokens: Vec<Kept>,
}

/// Makes a token called `name` and returns it. It cannot be shown again.
///
/// # Errors
/// When the name is taken or unfit, or the file cannot be read or written.
pub(crate) fn create(dir: &Path, name: &str, access: Access, now_ms: u64) -> Result<String, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        let message = format!("`{name}` is no name for a token: 1 to 64 of A-Z a-z 0-9 . _ -");
        return Err(Failure::new(Exit::Usage, "bad_token_name", message));
    }
    change(dir, |tokens| {
        if tokens.iter().any(|kept| kept.name == name) {
            let message = format!("a token called `{name}` exists");
            let failure = Failure::new(Exit::Conflict, "token_name_taken", message);
            return Err(failure.hint(format!("take another name, or `gangline key revoke {name}` first")));
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| {
            Failure::new(Exit::Failed, "no_randomness", format!("the system gives no random bytes: {error}"))
        })?;
        let token = format!("{PREFIX}{}", HEXLOWER.encode(&secret));
        tokens.push(Kept { name: name.to_owned(), access, created_at_ms: now_ms, sha256: hash(&token) });
        Ok(token)
    })
}

/// Whether there is a token called `name`.
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn exists(dir: &Path, name: &str) -> Result<bool, Failure> {
    Ok(list(dir)?.iter().any(|kept| kept.name == name))
}

/// Takes the token called `name` away.
///
/// # Errors
/// When there is none of that name, or the file cannot be read or written.
pub(crate) fn revoke(dir: &Path, name: &str) -> Result<(), Failure> {
    change(dir, |tokens| {
        let before = tokens.len();
        tokens.retain(|kept| kept.name != name);
        if tokens.len() == before {
            return Err(Failure::new(
                Exit::NotFound,
                "unknown_token",
                format!("there is no token called `{name}`"),
            )
            .hint("`gangline key show` lists them"));
        }
        Ok(())
    })
}

/// The tokens in `dir`, without their secrets (nobody has those).
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn list(dir: &Path) -> Result<Vec<Kept>, Failure> {
    Ok(read(&dir.join(FILE))?.tokens)
}

/// The tokens of a running node. Looks at the file on every use.
#[derive(Debug)]
pub(crate) struct Tokens {
    path: PathBuf,
    cached: Mutex<Option<(Stamp, Vec<Kept>)>>,
}

impl Tokens {
    /// Reads the tokens in `dir`, now and whenever they change.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join(FILE), cached: Mutex::new(None) }
    }

    /// What `token` allows, if it is one of ours. A file that cannot be read allows nothing.
    pub(crate) fn access(&self, token: &str) -> Option<Access> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if cached.as_ref().is_none_or(|(known, _)| *known != stamp) {
            let tokens = match read(&self.path) {
                Ok(file) => file.tokens,
                Err(error) => {
                    tracing::error!(event = "tokens_unreadable", "{error}");
                    Vec::new()
                }
            };
            *cached = Some((stamp, tokens));
        }
        let presented = hash(token);
        let (_, tokens) = cached.as_ref()?;
        tokens.iter().find(|kept| kept.sha256 == presented).map(|kept| kept.access)
    }
}

/// Comparing hashes of 256-bit secrets needs no constant time: what leaks is of the hash.
fn hash(token: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(token.as_bytes()))
}

fn read(path: &Path) -> Result<TokenFile, Failure> {
    let broken = |message: String| {
        Failure::new(Exit::Failed, "tokens_unreadable", message)
            .hint("put it right or move it away; without the file no token is valid")
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(TokenFile::default()),
        Err(error) => return Err(broken(format!("cannot read {}: {error}", path.display()))),
    };
    let file: TokenFile = serde_json::from_str(&text)
        .map_err(|error| broken(format!("{} is broken: {error}", path.display())))?;
    if file.version > 1 {
        return Err(broken(format!("{} is of a newer gangline (version {})", path.display(), file.version)));
    }
    Ok(file)
}

/// Reads, changes and replaces the file, one process at a time.
fn change<R>(dir: &Path, f: impl FnOnce(&mut Vec<Kept>) -> Result<R, Failure>) -> Result<R, Failure> {
    let path = dir.join(FILE);
    let failed = |error: io::Error| {
        Failure::new(Exit::Failed, "tokens_not_written", format!("cannot write {}: {error}", path.display()))
    };
    make_private_dir(dir).map_err(failed)?;
    let _lock = lock(&dir.join("tokens.lock")).map_err(failed)?;
    let mut file = read(&path)?;
    let result = f(&mut file.tokens)?;
    file.version = 1;
    let mut text = serde_json::to_string_pretty(&file).map_err(|error| failed(error.into()))?;
    text.push('\n');
    write_private(&path, text.as_bytes()).map_err(failed)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_until_it_is_revoked_and_is_never_stored() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(dir.path());
        assert_eq!(tokens.access("gangline_00"), None);
        let write = create(dir.path(), "ci", Access::Write, 5).unwrap();
        let read = create(dir.path(), "wall", Access::Read, 6).unwrap();
        assert_eq!(tokens.access(&write), Some(Access::Write));
        assert_eq!(tokens.access(&read), Some(Access::Read));
        assert_eq!(tokens.access(&write[..write.len() - 1]), None);
        assert_eq!(tokens.access(""), None);
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(!text.contains(write.trim_start_matches(PREFIX)), "only the hash is kept");
        revoke(dir.path(), "ci").unwrap();
        assert_eq!(tokens.access(&write), None);
        assert_eq!(tokens.access(&read), Some(Access::Read));
        assert_eq!(list(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn names_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), "ci", Access::Write, 0).unwrap();
        assert_eq!(create(dir.path(), "ci", Access::Read, 0).unwrap_err().exit, Exit::Conflict);
        assert_eq!(create(dir.path(), "a b", Access::Read, 0).unwrap_err().exit, Exit::Usage);
        assert_eq!(create(dir.path(), "", Access::Read, 0).unwrap_err().exit, Exit::Usage);
        assert_eq!(revoke(dir.path(), "no").unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn a_broken_file_allows_nothing_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(Tokens::new(dir.path()).access("x"), None);
        assert!(create(dir.path(), "ci", Access::Write, 0).is_err());
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "{");
    }
}
